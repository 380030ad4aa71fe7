# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a host's subnet managers, and changes them; what is to be changed is decided in :mod:`opensm`."""
import os
import re
from typing import Dict, List, Sequence, Tuple

from ..host import apt, records, services
from ..host.errors import FleetError
from ..host.files import read_text, remove, remove_if_empty
from ..host.host import Host
from ..host.sysfs import Sysfs
from ..host.units import read_units
from .ib_text import guid
from .opensm import PARTITIONS, PROGRAMS, ROOTS, STARTERS, TEMPLATE, Change, Found, Wish, config_path, unit_of
from .subnet_manager import Asked, choose_port, read_ports, watch

RECORD = "opensm"


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    record = records.read(RECORD, host.root)
    ports = _ports(wish, host, record.get("current", [])) if wish.present else ()
    paths = {TEMPLATE, PARTITIONS, ROOTS} | {config_path(port) for port in ports} | set(record.get("files", {}))
    units = {unit_of(port) for port in list(ports) + record.get("ports", [])} | set(STARTERS) | set(_instances(host)) | set(record.get("units", {}))
    missing = tuple(apt.missing(PROGRAMS)) if wish.present else ()
    unknown = _unknown(wish, host) if wish.settings and "opensm" not in missing else ()
    return Found(
        read_units(host.commands, units), {path: read_text(host.path(path)) for path in paths}, ports, missing, unknown, record)


def carry_out(change: Change, host: Host, wait: float = 0) -> None:
    """Do it. What was found is on the disk before the first step, so a run cut short is completed by the next.

    Waits for so many seconds at most until those that start have found their place, as master or behind one.
    """
    if change:
        if change.before.ports:
            _set_up(change, host)
            _settle(change, host, wait)
        else:
            _give_back(change, host)
    if not change.before.ports:
        records.drop(RECORD, host.root)


def _set_up(change: Change, host: Host) -> None:
    record = dict(change.record)
    record.setdefault("directory", os.path.isdir(host.path("etc/opensm")))
    if change.install:
        record["packages"] = sorted(set(record["packages"]) | set(apt.try_install(host.commands, change.install).added))
    records.write(RECORD, record, host.root)
    if change.install:  # masked before its package comes, which would start one on every port
        host.commands.output(("systemctl", "mask", STARTERS[0]))
        apt.install(host.commands, change.install)
    services.carry_out(host, change.units, change.files, _mode, change.touched)
    records.write(RECORD, {key: value for key, value in record.items() if key != "pending"}, host.root)


def _settle(change: Change, host: Host, seconds: float) -> None:
    """If all subnet managers of a fabric started at once, it would be without any. Whether all is well in the end is for ib_sm_info to say."""
    for port in change.started if seconds > 0 else []:
        try:
            watch(port, Asked(own=True), host.commands, Sysfs(host.root), seconds)
        except FleetError:
            return


def _give_back(change: Change, host: Host) -> None:
    services.carry_out(host, change.units, change.files, _mode, change.touched)
    if change.unmask:
        host.commands.output(("systemctl", "unmask", STARTERS[0]))
    if change.purge:
        apt.purge(host.commands, change.purge)
    for port in change.record.get("ports", []):
        _remove_tree(host.path("var/cache/opensm-" + guid(port)))
    if not change.record.get("directory"):
        remove_if_empty(host.path("etc/opensm"))


def _mode(path: str) -> int:
    """Settings may hold the key by which subnet managers trust each other."""
    return 0o600 if "/opensm/" in path else 0o644


def _ports(wish: Wish, host: Host, chosen_before: Sequence[str]) -> Tuple[str, ...]:
    """The GUIDs of the ports. One that was chosen before stays while it is there, whatever its link does, so that a second run does not move anything."""
    there = read_ports(host.commands, Sysfs(host.root))
    known = [port.guid for port in there]
    if not wish.ports:
        before = [port for port in chosen_before if port in known]
        return tuple(before[:1]) or (choose_port(there, "").guid,)
    found: List[str] = []
    for name in wish.ports:
        port = choose_port(there, name).guid
        if port in found:
            raise FleetError("ports has {0}, the port {1}, twice.".format(name, port))
        found.append(port)
    return tuple(found)


def _instances(host: Host) -> List[str]:
    """Instances of opensm@ that run or are enabled, whoever made them."""
    text = host.commands.run(("systemctl", "list-units", "--plain", "--no-legend", "--full", "--type=service", "opensm@*")).out
    running = [line.split()[0] for line in text.splitlines() if line.split()]
    return [name for name in running if re.match(r"^opensm@.+\.service\Z", name)]


def _unknown(wish: Wish, host: Host) -> Tuple[str, ...]:
    """Settings that this OpenSM does not know. It tells all it knows by writing a file; what it passes over it does not tell."""
    result = host.commands.run(("opensm", "--create-config", "/dev/stdout", "--log_file", "/dev/null"))
    known: Dict[str, bool] = {line.split(None, 1)[0]: True for line in result.out.splitlines() if line and line[0] not in "# -"}
    if result.rc != 0 or "sm_priority" not in known:
        return ()
    return tuple(key for key, _value in wish.settings if key not in known)


def _remove_tree(path: str) -> None:
    """What OpenSM left in its own directory; it makes no directories in it."""
    if os.path.isdir(path):
        for name in os.listdir(path):
            remove(os.path.join(path, name))
        remove_if_empty(path)
