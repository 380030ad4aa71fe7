# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packages that chapter 2 needs and that a host may lack after it was set up anew. A DGX has them all; DGX EL has dnf instead of apt."""
from typing import Sequence

from ..host import apt
from ..host.commands import Commands, program_path
from ..host.errors import FleetError

_TIMEOUT = 900.0


def install(packages: Sequence[str], commands: Commands) -> None:
    """Install them by apt or dnf; raises :class:`FleetError` with what they said if they cannot."""
    if program_path("apt-get"):
        apt.try_install(commands, packages)
        apt.install(commands, packages)
    elif program_path("dnf"):
        commands.output(("dnf", "--assumeyes", "install") + tuple(packages), _TIMEOUT)
    else:
        raise FleetError("{0} must be installed, but this host has neither apt-get nor dnf. Install it by hand.".format(" and ".join(packages)))
