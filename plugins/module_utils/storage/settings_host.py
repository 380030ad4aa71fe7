# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads and changes the files and units that :mod:`settings` decides on."""
import json
import os
from typing import Any, Dict, Mapping, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import BACKUPS, read_text, remove, write_atomic
from ..host.sysfs import Sysfs
from .settings import Change, State, Unit, parse_record


class Host:
    """A host's files below a root, and its programs."""

    def __init__(self, commands: Commands, root: str = "/") -> None:
        self.sysfs, self.commands = Sysfs(root), commands

    def path(self, name: str) -> str:
        return self.sysfs.path(name)


def record_path(name: str) -> str:
    """Where it is remembered what the first change found."""
    return "{0}/{1}.json".format(BACKUPS.lstrip("/"), name)


def read_record(name: str, host: Host) -> Dict[str, Any]:
    return parse_record(read_text(host.path(record_path(name))), record_path(name))


def write_record(name: str, host: Host, record: Mapping[str, Any]) -> None:
    place = host.path(record_path(name))
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    text = json.dumps(record, sort_keys=True) + "\n"
    if text != read_text(place):
        write_atomic(place, text, 0o600)


def read_state(host: Host, files: Sequence[str], units: Sequence[str]) -> State:
    """How these files and units are now."""
    return State({path: read_text(host.path(path)) for path in files}, read_units(host, units))


def read_units(host: Host, names: Sequence[str]) -> Dict[str, Unit]:
    """How units stand; those that do not exist are left out."""
    if not names:
        return {}
    result = host.commands.run(("systemctl", "show", "--property=Id,LoadState,UnitFileState,ActiveState") + tuple(names))
    units = {}
    for block in result.out.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") in ("not-found", None):
            continue
        enablement = values.get("UnitFileState", "")
        if enablement in ("", "generated"):  # a script in /etc/init.d, of which systemd itself does not know
            enablement = host.commands.run(("systemctl", "is-enabled", values["Id"])).out.strip() or "disabled"
        units[values["Id"]] = Unit(enablement, values.get("ActiveState") in ("active", "activating", "reloading"))
    return units


def change_files(change: Change, host: Host, modes: Mapping[str, int]) -> None:
    """Write what differs, and let systemd read its own."""
    for path in change.changed_files:
        text = change.after.files[path]
        if text is None:
            remove(host.path(path))
            _remove_if_empty(host.path(os.path.dirname(path)))
        else:
            write_atomic(host.path(path), text, modes.get(path, 0o644))
    if change.reload:
        host.commands.output(("systemctl", "daemon-reload"))


def stop_units(change: Change, host: Host) -> None:
    """Stop what is to stop, before its files change: Debian's script for cachefilesd, once told not to run, does not stop it either."""
    for name, unit in change.before.units.items():
        if unit.active and not change.after.units.get(name, unit).active:
            host.commands.output(("systemctl", "stop", name), timeout=300)


def change_units(change: Change, host: Host) -> None:
    """Bring the units to where they belong, and start those anew whose files changed."""
    found = read_units(host, sorted(change.after.units))
    for name, unit in sorted(change.after.units.items(), key=lambda entry: entry[1].active):
        if name not in found:
            if unit.active or unit.enablement == "enabled":
                raise FleetError("This host has no {0}. Install its package and run this again.".format(name))
            continue
        _bring(host, name, found[name], unit, name in change.restart)


def _bring(host: Host, name: str, found: Unit, wanted: Unit, restart: bool) -> None:
    if found.active and not wanted.active:
        host.commands.output(("systemctl", "stop", name), timeout=300)
    if found.enablement != wanted.enablement:
        verb = {"enabled": "enable", "disabled": "disable", "masked": "mask"}.get(wanted.enablement)
        if "masked" in found.enablement:
            host.commands.output(("systemctl", "unmask", name))
        if verb:
            host.commands.output(("systemctl", verb, name), timeout=300)
    if wanted.active and (restart or not found.active):
        host.commands.output(("systemctl", "restart", name), timeout=300)


def finish(name: str, change: Change, host: Host) -> None:
    """Remember what is still needed, or nothing."""
    if change.keep:
        write_record(name, host, {key: value for key, value in change.record.items() if key not in ("restart", "reload", "making")})
    else:
        remove(host.path(record_path(name)))


def _remove_if_empty(directory: str) -> None:
    """Directories of drop-ins are ours if nobody else has a file there; others stay."""
    if directory.endswith(".d"):
        try:
            os.rmdir(directory)
        except OSError:
            pass
