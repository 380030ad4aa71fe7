# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads how a host keeps its time, and changes it; what is to be changed is decided in :mod:`timesyncd`."""
import os
import re
from typing import Dict, Optional, Tuple

from . import apt, records
from .errors import FleetError
from .files import read_text, remove, remove_if_empty, write_atomic
from .host import Host
from .timesyncd import DROP_IN, OTHER_PACKAGES, OTHER_UNITS, PACKAGE, RECORD, SERVICE, Change, Found, State, Wish, Zone, check_record
from .units import Unit, bring, why_not
from .units import read_units as units_of


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    told = host.commands.output(("systemctl", "--version"))
    version = re.match(r"systemd (\d{1,6})\b", told)  # 249, and in some releases 257.4 or 258~rc1
    if not version:
        raise FleetError("systemctl --version does not tell a version, but {0!r}. This host needs systemd.".format(" ".join(told.split()[:3])))
    known = wish.timezone is not None and os.path.isfile(host.path("usr/share/zoneinfo/" + wish.timezone))
    return Found(
        State(read_packages(host), read_units(host), read_text(host.path(DROP_IN)), read_zone(host)),
        int(version.group(1)), known, check_record(records.read(RECORD, host.root)),
    )


def read_units(host: Host) -> Dict[str, Unit]:
    """The time services that this host has."""
    return units_of(host.commands, (SERVICE,) + OTHER_UNITS)


def read_packages(host: Host) -> Tuple[str, ...]:
    """Those of the time services' packages that are installed."""
    return apt.installed(host.commands, (PACKAGE,) + OTHER_PACKAGES)


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
            records.drop(RECORD, host.root)
        return change.before
    records.write(RECORD, change.record, host.root)
    _change_packages(change, host)
    _change_files(change, host)
    _change_units(change, host)
    now = State(read_packages(host), read_units(host), read_text(host.path(DROP_IN)), read_zone(host))
    if change.keep:
        records.write(RECORD, {key: value for key, value in change.record.items() if key != "restart"}, host.root)
    else:
        records.drop(RECORD, host.root)
    return now


def _change_packages(change: Change, host: Host) -> None:
    if change.install:
        apt.try_install(host.commands, change.install, change.remove)
        apt.install(host.commands, change.install)
    if PACKAGE in change.remove:  # the role's own, so with its files; of the others the settings stay
        apt.purge(host.commands, [PACKAGE])


def _change_files(change: Change, host: Host) -> None:
    if change.after.drop_in is None:
        remove(host.path(DROP_IN))
        remove_if_empty(host.path(os.path.dirname(DROP_IN)))
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
            bring(host.commands, name, found.get(name), unit, change.restart and name == SERVICE)
        now = read_units(host)
        for name, unit in wanted:
            if unit.active and not now.get(name, Unit("", False)).active:
                raise FleetError(why_not(host.commands, name))
    except FleetError as error:
        for name, unit in sorted(found.items(), key=lambda entry: entry[1].active):
            try:
                bring(host.commands, name, None, unit, False)
            except FleetError:
                pass  # the first failure is the one to tell
        raise FleetError("{0} The services run as before.".format(error.message))
