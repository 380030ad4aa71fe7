# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian and Ubuntu packages: what is there, what could be, and how it is brought and taken away without touching others."""
import re
from typing import FrozenSet, List, Sequence

from .commands import Commands
from .errors import FleetError

_APT = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold",
        "--option=DPkg::Lock::Timeout=300"]
_TIMEOUT = 900


def installed(commands: Commands) -> FrozenSet[str]:
    """All packages that are installed."""
    text = commands.output(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"])
    return frozenset(line.split()[0] for line in text.splitlines() if line.split()[1:] == ["installed"])


def candidate(commands: Commands, package: str) -> str:
    """The version that would be installed, or is; empty if the archives have none."""
    match = re.search(r"^  Candidate: (\S+)$", commands.run(["apt-cache", "policy", package]).out, re.MULTILINE)
    return match.group(1) if match and match.group(1) != "(none)" else ""


def install(commands: Commands, packages: Sequence[str]) -> None:
    """Install packages; raises :class:`FleetError`, before anything is changed, if apt would remove others for them."""
    words = _APT + ["install"] + list(packages)
    trial = commands.run(words + ["--simulate"], _TIMEOUT)
    if trial.rc != 0:  # package lists that were never fetched, or are stale
        commands.output(_APT + ["update"], _TIMEOUT)
        trial = commands.run(words + ["--simulate"], _TIMEOUT)
    unasked: List[str] = re.findall(r"^Remv (\S+)", trial.out, re.MULTILINE)
    if unasked:
        raise FleetError("To install {0}, apt would remove {1}. Nothing was changed; install it by hand, or remove what is in its way.".format(
            ", ".join(packages), ", ".join(sorted(unasked))))
    commands.output(words, _TIMEOUT)


def purge(commands: Commands, packages: Sequence[str]) -> None:
    """Remove packages with their files; raises :class:`FleetError`, before anything is changed, if others that came later need them."""
    words = _APT + ["purge"] + list(packages)
    trial = commands.run(words + ["--simulate"], _TIMEOUT)
    others = sorted(set(re.findall(r"^(?:Remv|Purg) (\S+)", trial.out, re.MULTILINE)) - set(packages))
    if others:
        raise FleetError("{0} cannot be removed without {1}, which came later. Remove those first, or keep all.".format(
            ", ".join(packages), ", ".join(others)))
    commands.output(words, _TIMEOUT)
