# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads and changes the files and units that :mod:`settings` decides on."""
import os
from typing import Any, Dict, Mapping, Sequence

from . import records, units
from .errors import FleetError
from .files import read_text, remove, remove_if_empty, write_atomic
from .host import Host
from .settings import Change, State, check_record
from .units import Unit


def read_record(name: str, host: Host) -> Dict[str, Any]:
    """What is remembered of the first change; raises :class:`FleetError` if it is damaged."""
    return check_record(records.read(name, host.sysfs.root), name)


def write_record(name: str, host: Host, record: Mapping[str, Any]) -> None:
    """Remember that."""
    records.write(name, record, host.sysfs.root)


def read_state(host: Host, files: Sequence[str], units: Sequence[str]) -> State:
    """How these files and units are now."""
    return State({path: read_text(host.path(path)) for path in files}, read_units(host, units))


def read_units(host: Host, names: Sequence[str]) -> Dict[str, Unit]:
    """How units stand; those that do not exist are left out."""
    return units.with_scripts(host.commands, units.read_units(host.commands, names))


def change_files(change: Change, host: Host, modes: Mapping[str, int]) -> None:
    """Write what differs, and let systemd read its own."""
    for path in change.changed_files:
        text = change.after.files[path]
        if text is None:
            remove(host.path(path))
            if os.path.dirname(path).endswith(".d"):  # a directory of drop-ins is ours if nobody else has a file there
                remove_if_empty(host.path(os.path.dirname(path)))
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
        units.bring(host.commands, name, found[name], unit, name in change.restart)


def make_or_undo(name: str, change: Change, record: Mapping[str, Any], host: Host) -> None:
    """Make a change; if a daemon does not start with it, its files go back, the daemon gets them, and the failure is told. ``record`` is that from before."""
    write_record(name, host, change.record)
    change_files(change, host, {})
    try:
        change_units(change, host)
        units.check_running(host.commands, change.restart)
    except FleetError as error:
        back = change._replace(before=change.after, after=change.before)
        change_files(back, host, {})
        change_units(back, host)
        write_record(name, host, record)
        raise FleetError("{0} The files are as they were.".format(error.message))


def finish(name: str, change: Change, host: Host) -> None:
    """Remember what is still needed, or nothing."""
    if change.keep:
        write_record(name, host, {key: value for key, value in change.record.items() if key not in ("restart", "reload", "making")})
    else:
        records.drop(name, host.sysfs.root)
