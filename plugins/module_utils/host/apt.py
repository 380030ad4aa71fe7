# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packages of Debian and Ubuntu: what is installed, what an installation would bring and take, and doing it. Nothing that was not named goes unasked."""
import re
from typing import Dict, Iterable, Mapping, NamedTuple, Sequence, Tuple

from .commands import Commands, Result, program_path
from .errors import FleetError

# Another apt, such as unattended-upgrades, is waited for (from apt 1.9.11 on; before, it is a failure that says so).
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold",
        "--option=DPkg::Lock::Timeout=120")
_TIMEOUT = 900


class Trial(NamedTuple):
    """What apt would do: packages that are new on this host, and packages that go."""

    added: Tuple[str, ...]
    removed: Tuple[str, ...]


def statuses(commands: Commands, names: Iterable[str]) -> Dict[str, str]:
    """How dpkg has these packages: ``installed``, ``config-files``, ``half-configured`` …; those it never heard of are left out."""
    result = commands.run(("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n") + tuple(names))
    pairs = (line.split() for line in result.out.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1] not in ("not-installed", "unknown")}


def installed(commands: Commands, names: Iterable[str] = ()) -> Tuple[str, ...]:
    """Those of the packages that are installed; without names, all that are."""
    return tuple(sorted(name for name, status in statuses(commands, names).items() if status == "installed"))


def candidate(commands: Commands, name: str) -> str:
    """The version of a package that would be installed, or is; empty if the archives have none."""
    match = re.search(r"^  Candidate: (\S+)$", commands.run(("apt-cache", "policy", name)).out, re.MULTILINE)
    return match.group(1) if match and match.group(1) != "(none)" else ""


def knows(commands: Commands, name: str) -> bool:
    """Whether the package lists have a package of this name; a host without apt knows none."""
    try:
        return commands.run(("apt-cache", "show", "--no-all-versions", name)).rc == 0
    except FleetError:
        return False


def missing(programs: Mapping[str, str]) -> Tuple[str, ...]:
    """The packages of those programs that are not installed; ``programs`` maps program to package."""
    return tuple(sorted({package for program, package in programs.items() if not program_path(program)}))


def try_install(commands: Commands, names: Sequence[str], may_go: Sequence[str] = ()) -> Trial:
    """What an installation would do; the package lists are fetched where they are missing or stale.

    Raises :class:`FleetError` if apt cannot install them, or if others than ``may_go`` would go for it.
    """
    trial = _simulate(commands, "install", names)
    if trial.rc != 0:
        commands.output(_APT + ("update",), _TIMEOUT)
        trial = _simulate(commands, "install", names)
    if trial.rc != 0:
        raise FleetError("apt cannot install {0}: {1}".format(", ".join(names), (trial.err or trial.out).strip().replace("\n", "; ")))
    plan = _parse(trial)
    unasked = set(plan.removed) - set(may_go)
    if unasked:
        raise FleetError("To install {0}, apt would also remove {1}. Nothing was changed; install it by hand, or remove what is in its way.".format(
            ", ".join(names), ", ".join(sorted(unasked))))
    return plan


def install(commands: Commands, names: Sequence[str]) -> None:
    """Install packages, without those that they only recommend."""
    commands.output(_APT + ("install",) + tuple(names), _TIMEOUT)


def complete(commands: Commands) -> None:
    """Let dpkg finish what was cut short."""
    commands.output(("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "--configure", "--pending"), _TIMEOUT)


def needed_by_others(commands: Commands, names: Sequence[str]) -> Tuple[str, ...]:
    """Those of the packages that cannot go without others that were not named."""
    if not set(_parse(_simulate(commands, "remove", names)).removed) - set(names):
        return ()
    return tuple(name for name in names if set(_parse(_simulate(commands, "remove", [name])).removed) - set(names))


def purge(commands: Commands, names: Sequence[str]) -> None:
    """Remove packages with their settings."""
    commands.output(_APT + ("purge",) + tuple(names), _TIMEOUT)


def remove(commands: Commands, names: Sequence[str]) -> None:
    """Remove packages and leave their settings."""
    commands.output(_APT + ("remove",) + tuple(names), _TIMEOUT)


def _simulate(commands: Commands, verb: str, names: Sequence[str]) -> Result:
    return commands.run(_APT + (verb,) + tuple(names) + ("--simulate",), _TIMEOUT)


def _parse(trial: Result) -> Trial:
    # A new package is told as "Inst NAME (VERSION …", one that is only made newer as "Inst NAME [OLD] (VERSION …".
    added = re.findall(r"^Inst (\S+) \(", trial.out, re.MULTILINE)
    removed = re.findall(r"^(?:Remv|Purg) (\S+)", trial.out, re.MULTILINE)
    return Trial(tuple(sorted(set(added))), tuple(sorted(set(removed))))
