# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads how a host keeps its time, and changes it; what is to be changed is decided in :mod:`timesyncd`."""
import json
import os
import re
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from .commands import Commands
from .errors import FleetError
from .files import read_text, remove, write_atomic
from .timesyncd import DROP_IN, OTHER_PACKAGES, OTHER_UNITS, PACKAGE, RECORD, SERVICE, Change, Found, State, Unit, Wish, Zone, parse_record

_PROPERTIES = "--property=Id,LoadState,UnitFileState,ActiveState"
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold")
_APT_TIMEOUT = 600


class Host:
    """A host's files below a root (other than ``/`` for tests) and its programs."""

    def __init__(self, commands: Commands, root: str = "/") -> None:
        self.commands = commands
        self.root = root

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    version = host.commands.output(("systemctl", "--version")).split(None, 2)
    if len(version) < 2 or not version[1].isdigit():
        raise FleetError("systemctl --version does not tell a version, but {0!r}. This host needs systemd.".format(" ".join(version)))
    known = wish.timezone is not None and os.path.isfile(host.path("usr/share/zoneinfo/" + wish.timezone))
    return Found(
        State(read_packages(host), read_units(host), read_text(host.path(DROP_IN)), read_zone(host)),
        int(version[1]), known, parse_record(read_text(host.path(RECORD))),
    )


def read_units(host: Host) -> Dict[str, Unit]:
    """The time services that this host has, each under its own name and not under an alias."""
    text = host.commands.output(("systemctl", "show", _PROPERTIES, SERVICE) + OTHER_UNITS)
    units = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") not in ("not-found", None):
            active = values.get("ActiveState") in ("active", "activating", "reloading")
            units[values["Id"]] = Unit(values.get("UnitFileState") or values["LoadState"], active)
    return units


def read_packages(host: Host) -> Tuple[str, ...]:
    """Those of the time services' packages that are installed."""
    result = host.commands.run(("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", PACKAGE) + OTHER_PACKAGES)
    return tuple(sorted(line.split()[0] for line in result.out.splitlines() if line.split()[1:] == ["installed"]))


def read_zone(host: Host) -> Zone:
    """The time zone; a /etc/localtime that is no link is told by an empty one."""
    place, text = host.path("etc/localtime"), read_text(host.path("etc/timezone"))
    link: Optional[str] = None
    if os.path.islink(place):
        link = os.readlink(place)
    elif os.path.exists(place):
        link = ""
    return Zone(link, text.strip() if text is not None else None)


def carry_out(change: Change, host: Host) -> State:
    """Do it and verify it. What was found is on the disk before the first step and removed after the last, so a run cut short is completed by the next."""
    if not change:
        if not change.keep:
            remove(host.path(RECORD))
        return change.before
    _write_record(host, change.record)
    _change_packages(change, host)
    _change_files(change, host)
    _change_units(change, host)
    now = State(read_packages(host), read_units(host), read_text(host.path(DROP_IN)), read_zone(host))
    if change.keep:
        _write_record(host, {key: value for key, value in change.record.items() if key != "restart"})
    else:
        remove(host.path(RECORD))
    return now


def _change_packages(change: Change, host: Host) -> None:
    if change.install:
        allowed = set(change.remove)
        words = _APT + ("install",) + tuple(change.install)
        trial = host.commands.run(words + ("--simulate",), _APT_TIMEOUT)
        if trial.rc != 0:  # a host whose package lists were never fetched, or are stale
            host.commands.output(_APT + ("update",), _APT_TIMEOUT)
            trial = host.commands.run(words + ("--simulate",), _APT_TIMEOUT)
        unasked = set(re.findall(r"^Remv (\S+)", trial.out, re.MULTILINE)) - allowed
        if unasked:
            raise FleetError("To install {0}, apt would also remove {1}. Nothing was changed; install it by hand, or remove what is in its way.".format(
                ", ".join(change.install), ", ".join(sorted(unasked))))
        host.commands.output(words, _APT_TIMEOUT)
    if PACKAGE in change.remove:  # the role's own, so with its files; of the others the settings stay
        host.commands.output(_APT + ("purge", PACKAGE), _APT_TIMEOUT)


def _change_files(change: Change, host: Host) -> None:
    if change.after.drop_in is None:
        remove(host.path(DROP_IN))
        _remove_if_empty(host.path(os.path.dirname(DROP_IN)))
    elif change.after.drop_in != change.before.drop_in:
        write_atomic(host.path(DROP_IN), change.after.drop_in)
    zone = change.after.zone
    if zone == change.before.zone:
        return
    place = host.path("etc/localtime")
    if zone.link:
        with_new_name = place + ".dgxops"
        remove(with_new_name)
        os.symlink(zone.link, with_new_name)
        os.replace(with_new_name, place)
    else:
        remove(place)
    if zone.name is not None:
        write_atomic(host.path("etc/timezone"), zone.name + "\n")


def _change_units(change: Change, host: Host) -> None:
    """First those that are to stop, so that never two set the clock; if the others then do not start, everything goes back."""
    found = read_units(host)
    wanted = sorted(change.after.units.items(), key=lambda entry: entry[1].active)
    try:
        for name, unit in wanted:
            _bring(host, name, found.get(name), unit, change.restart and name == SERVICE)
        now = read_units(host)
        for name, unit in wanted:
            if unit.active and not now.get(name, Unit("", False)).active:
                raise FleetError(_why_not(host, name))
    except FleetError as error:
        for name, unit in sorted(found.items(), key=lambda entry: entry[1].active):
            try:
                _bring(host, name, None, unit, False)
            except FleetError:
                pass  # the first failure is the one to tell
        raise FleetError("{0} The services run as before.".format(error.message))


def _bring(host: Host, name: str, found: Optional[Unit], wanted: Unit, restart: bool) -> None:
    if found is None:
        found = read_units(host).get(name)
        if found is None:
            raise FleetError("This host has no {0} any more, which is to be brought back. Install its package and run this again.".format(name))
    steps: List[Sequence[str]] = []
    if found.enablement != wanted.enablement:
        if "masked" in found.enablement:
            steps.append(("unmask",))
        verb = {"enabled": "enable", "disabled": "disable", "masked": "mask"}.get(wanted.enablement)
        if verb:
            steps.append((verb,))
    if found.active and not wanted.active:
        steps.insert(0, ("stop",))
    elif wanted.active and (restart or not found.active):
        steps.append(("restart",))
    for step in steps:
        host.commands.output(("systemctl",) + tuple(step) + (name,))


def _why_not(host: Host, name: str) -> str:
    """systemd starts nothing, and says so to nobody, if a condition of the unit is not met."""
    text = host.commands.run(("systemctl", "cat", name)).out
    conditions = [line for line in text.splitlines() if line.startswith("Condition")]
    hint = " It starts only if all of this holds: {0}.".format("; ".join(conditions)) if conditions else ""
    return "{0} did not start; journalctl -u {0} says why.{1}".format(name, hint)


def _write_record(host: Host, record: Mapping[str, object]) -> None:
    place = host.path(RECORD)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    write_atomic(place, json.dumps(record, sort_keys=True) + "\n", 0o600)


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass  # others have files there, or there is none
