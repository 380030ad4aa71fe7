# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Services that are files and units: what differs, and bringing both to where they should, in an order that hurts nobody."""
from typing import Any, Callable, List, Mapping, Optional

from .errors import FleetError
from .files import Diff, read_text, remove, write_atomic
from .host import Host
from .units import Unit, bring, read_units, why_not


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
            raise FleetError(why_not(host.commands, name))
