# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packages that chapter 2 needs and that a host may lack after it was set up anew. A DGX has them all."""
import os
import shutil
from typing import Mapping, Sequence, Tuple

from ..host.commands import SYSTEM_PATH, Commands
from ..host.errors import FleetError

_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold")
_TIMEOUT = 900.0


def lacking(programs: Mapping[str, str]) -> Tuple[str, ...]:
    """The packages of those programs that are not there; ``programs`` has the package of each."""
    path = os.environ.get("PATH", "") + os.pathsep + SYSTEM_PATH
    return tuple(sorted({package for program, package in programs.items() if shutil.which(program, path=path) is None}))


def install(packages: Sequence[str], commands: Commands) -> None:
    """Install them by apt or dnf; raises :class:`FleetError` with what they said if they cannot."""
    path = os.environ.get("PATH", "") + os.pathsep + SYSTEM_PATH
    if shutil.which("apt-get", path=path):
        words = _APT + ("install",) + tuple(packages)
        if commands.run(words, _TIMEOUT).rc != 0:  # a host whose package lists were never fetched, or are stale
            commands.output(_APT + ("update",), _TIMEOUT)
            commands.output(words, _TIMEOUT)
    elif shutil.which("dnf", path=path):
        commands.output(("dnf", "--assumeyes", "install") + tuple(packages), _TIMEOUT)
    else:
        raise FleetError("{0} must be installed, but this host has neither apt-get nor dnf. Install it by hand.".format(" and ".join(packages)))
