# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units of systemd and packages of the distribution: how they stand, and how they are brought to stand otherwise."""
import json
import os
import re
import shutil
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from .commands import SYSTEM_PATH, Commands
from .errors import FleetError
from .files import BACKUPS, Diff, read_text, remove, write_atomic

_PROPERTIES = "--property=Id,LoadState,UnitFileState,ActiveState,SubState"
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold")
_APT_TIMEOUT = 900


class Unit(NamedTuple):
    """How a unit stands: ``enabled``, ``disabled``, ``masked`` or what else systemd calls it, and whether it runs."""

    enablement: str
    active: bool

    @property
    def in_charge(self) -> bool:
        """Whether it does its work, now or after the next boot."""
        return self.active or self.enablement in ("enabled", "enabled-runtime")

    def __str__(self) -> str:
        return "{0}, {1}".format(self.enablement, "running" if self.active else "stopped")


class Host:
    """A host's files below a root (other than ``/`` for tests) and its programs."""

    def __init__(self, commands: Commands, root: str = "/") -> None:
        self.commands = commands
        self.root = root

    def path(self, name: str) -> str:
        """Where a file is on this machine; names are relative to the root."""
        return os.path.join(self.root, name)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> List[str]:
    """The names, of files or units, whose value is another afterwards; those that are not named there stay as they are."""
    return sorted(name for name, value in after.items() if before.get(name) != value)


def units_diff(before: Mapping[str, Unit], after: Mapping[str, Unit]) -> List[Diff]:
    """The units that change, for ``--diff``; none if none do."""
    names = differences(before, after)
    lines = ["".join("{0}: {1}\n".format(name, units.get(name, "not there")) for name in names) for units in (before, after)]
    return [Diff(lines[0], lines[1], "units")] if names else []


def carry_out(host: Host, units: Mapping[str, Unit], files: Mapping[str, Optional[str]], modes: Callable[[str], int], again: Mapping[str, str]) -> None:
    """Stop what is to stop, write files (None: remove), let systemd read them, and start what is to run; ``again`` maps running units to restart or reload.

    In this order two that exclude each other never run together. Raises :class:`FleetError` for a unit that does not start.
    """
    found = read_units(host.commands, units)
    for name, unit in sorted(units.items()):
        if not unit.active and (name in found or unit.enablement == "masked"):
            bring(host.commands, name, found.get(name), unit)
    for path, text in sorted(files.items()):
        if text is None:
            remove(host.path(path))
        elif read_text(host.path(path)) != text:
            write_atomic(host.path(path), text, modes(path))
    host.commands.output(("systemctl", "daemon-reload"))
    wanted = {name: unit for name, unit in units.items() if unit.active}
    found = read_units(host.commands, wanted)
    for name, unit in sorted(wanted.items()):
        bring(host.commands, name, found.get(name), unit)
    for name, way in sorted(again.items()):
        host.commands.output(("systemctl", way, name))
    for name, unit in read_units(host.commands, wanted).items():
        if not unit.active:
            raise FleetError("{0} did not start; journalctl -u {0} says why.".format(name))


def read_units(commands: Commands, names: Iterable[str]) -> Dict[str, Unit]:
    """The units of these names that the host has."""
    asked = sorted(set(names))
    if not asked:
        return {}
    text = commands.output(["systemctl", "show", _PROPERTIES] + asked)
    units = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") not in ("not-found", None):
            # One that has died and waits for its next start does not run.
            active = values.get("ActiveState") in ("active", "activating", "reloading") and values.get("SubState") != "auto-restart"
            units[values["Id"]] = Unit(values.get("UnitFileState") or values["LoadState"], active)
    return units


def bring(commands: Commands, name: str, found: Optional[Unit], wanted: Unit) -> None:
    """Let a unit stand as wanted. A mask hides how it stood before, so that is looked at again below it."""
    if found is not None and found.active and not wanted.active:
        commands.output(("systemctl", "stop", name))
    if found is not None and "masked" in found.enablement and wanted.enablement != "masked":
        commands.output(("systemctl", "unmask", name))
        found = read_units(commands, [name]).get(name)
    # A static unit has no way of being enabled; a link that is there is from when it had one.
    verb = {"enabled": "enable", "disabled": "disable", "masked": "mask", "static": "disable"}.get(wanted.enablement)
    if verb and (found is None or found.enablement != wanted.enablement):
        commands.output(("systemctl", verb, name))
    if wanted.active and (found is None or not found.active):
        commands.output(("systemctl", "start", name))


def program_path(name: str) -> str:
    """Where a program is, also for a user whose path does not lead there; empty if it is not installed."""
    path = ":".join(part for part in (os.environ.get("PATH", ""), SYSTEM_PATH) if part)
    return shutil.which(name, path=path) or ""


def missing_programs(programs: Mapping[str, str]) -> List[str]:
    """The packages of those programs that are not installed; ``programs`` maps program to package."""
    return sorted({package for program, package in programs.items() if not program_path(program)})


def what_comes_with(commands: Commands, packages: Sequence[str]) -> List[str]:
    """All packages that installing these would add; refuses if it would remove others. Fetches the package lists if these are missing or stale."""
    words = _APT + ("install",) + tuple(packages) + ("--simulate",)
    trial = commands.run(words, _APT_TIMEOUT)
    if trial.rc != 0:
        commands.output(_APT + ("update",), _APT_TIMEOUT)
        trial = commands.run(words, _APT_TIMEOUT)
    if trial.rc != 0:
        raise FleetError("apt cannot install {0}: {1}".format(", ".join(packages), (trial.err or trial.out).strip().replace("\n", "; ")))
    others = sorted(set(re.findall(r"^Remv (\S+)", trial.out, re.MULTILINE)))
    if others:
        raise FleetError("To install {0}, apt would remove {1}. Nothing was changed; install it by hand, or remove what is in its way.".format(
            ", ".join(packages), ", ".join(others)))
    return sorted(set(re.findall(r"^Inst (\S+) \(", trial.out, re.MULTILINE)))


def apt_knows(commands: Commands, package: str) -> bool:
    """Whether the package lists have a package of this name."""
    try:
        return commands.run(("apt-cache", "show", "--no-all-versions", package)).rc == 0
    except FleetError:
        return False


def install(commands: Commands, packages: Sequence[str]) -> None:
    """Install packages."""
    commands.output(_APT + ("install",) + tuple(packages), _APT_TIMEOUT)


def purge(commands: Commands, packages: Sequence[str]) -> None:
    """Remove packages that were installed by :func:`install`, and their settings."""
    commands.output(_APT + ("purge",) + tuple(packages), _APT_TIMEOUT)


def remove_if_empty(directory: str) -> None:
    """Remove a directory, unless others have files there or there is none."""
    try:
        os.rmdir(directory)
    except OSError:
        pass


def read_record(name: str, root: str = "/") -> Dict[str, Any]:
    """What a role found before its first change; raises :class:`FleetError` if the file is damaged."""
    place = record_place(name, root)
    text = read_text(place)
    if text is None:
        return {}
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        raise FleetError("{0} is damaged; it holds how this host was before the first change. Remove it to take what is now for that.".format(place))


def write_record(name: str, record: Mapping[str, Any], root: str = "/") -> None:
    """Keep what was found; only root may read it."""
    place = record_place(name, root)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    write_atomic(place, json.dumps(record, sort_keys=True) + "\n", 0o600)


def drop_record(name: str, root: str = "/") -> None:
    """Forget what was found, once it is given back."""
    place = record_place(name, root)
    remove(place)
    remove_if_empty(os.path.dirname(place))


def record_place(name: str, root: str = "/") -> str:
    """Where the record of a role is."""
    return os.path.join(root, BACKUPS.lstrip("/"), name + ".json")
