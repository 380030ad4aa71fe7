# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads where the cache's file system is and where it is mounted, and carries out what :mod:`volume` decided."""
import os
from typing import List, Optional, Tuple

from ..host.errors import FleetError
from ..host.files import remove_if_empty
from ..host.host import Host
from ..host.settings import State
from ..host.settings_host import change_files, change_units, finish, read_record, read_state, write_record
from .blocks import Place, made_of, mounts_of, numbers, read_places, writers
from .contents import Signature, signatures
from .volume import FSTAB, TRIM_TIMER, Found, Plan, Wish

#: To make a file system on 30 TB may discard all of it first.
_MAKE_TIMEOUT = 1800.0


def record_name(wish: Wish) -> str:
    """One record for each path."""
    return "cache_volume/" + (wish.path.strip("/").replace("/", "-") or "root")


def read(wish: Wish, host: Host, may_be_missing: bool = False) -> Found:
    """Read everything once; ``may_be_missing`` is for check mode, where the array may have yet to be made."""
    record = read_record(record_name(wish), host)
    place = host.path(wish.device.lstrip("/")) if wish.device else ""
    exists = bool(place) and os.path.exists(place)
    name = os.path.basename(os.path.realpath(place)) if exists else ""
    if wish.present and not exists and not may_be_missing:
        raise FleetError("There is no device {0} on this host. Make the array first, or name another device.".format(wish.device))
    if exists and not host.sysfs.exists("sys/class/block/" + name):
        raise FleetError("{0} is not a block device.".format(wish.device))
    places = read_places(host.sysfs)
    at = next((one for one in reversed(places) if one.mount.path == wish.path), None)
    marks: Tuple[Signature, ...] = tuple(signatures(host.commands, name)) if exists and wish.present else ()
    own = at is not None and (at.number in numbers(host.sysfs, [name]) if name else _is_recorded(record, at, host))
    mounts = tuple(mounts_of(host.sysfs, list(made_of(host.sysfs, name)), places)) if name else ()
    if wish.present and exists:
        _refuse_holders(wish, name, host)
    units: List[str] = [TRIM_TIMER] if wish.trim == "timer" or TRIM_TIMER in record.get("units", {}) else []
    state = read_state(host, [FSTAB], units) if units else State(read_state(host, [FSTAB], []).files, {})
    programs = writers(host.sysfs).get(name, []) if wish.present and exists and not own else []
    return Found(exists, marks, mounts, at, own, _stripe(host, name), None if at else _count(host.path(wish.path.lstrip("/"))), state, record, tuple(programs))


def _is_recorded(record: object, at: Place, host: Host) -> bool:
    """Whether what is mounted is the file system that our line of fstab names: asked where the array is no longer known by its path."""
    line = record.get("line", "") if isinstance(record, dict) else ""
    uuid = line.split(" ")[0].replace("UUID=", "")
    link = host.path("dev/disk/by-uuid/" + uuid)
    device = os.path.basename(os.path.realpath(link)) if uuid and os.path.exists(link) else os.path.basename(at.source)
    return bool(line) and at.number in numbers(host.sysfs, [device])


def _refuse_holders(wish: Wish, name: str, host: Host) -> None:
    held = host.sysfs.entries("sys/class/block/{0}/holders".format(name))
    if held:
        raise FleetError("{0} is held by {1}, so it can be neither formatted nor mounted. End that use first.".format(wish.device, ", ".join(held)))


def _stripe(host: Host, name: str) -> Tuple[int, int]:
    """Of an array by sysfs: its chunk, and how many members hold data in a stripe."""
    place = "sys/class/block/{0}/md".format(name)
    chunk = host.sysfs.number(place + "/chunk_size", 0)
    disks = host.sysfs.number(place + "/raid_disks", 0)
    parity = {"raid5": 1, "raid4": 1, "raid6": 2, "raid10": disks // 2}.get(host.sysfs.read(place + "/level") or "", 0)
    return (chunk, disks - parity) if chunk and disks > parity else (0, 0)


def _count(path: str) -> Optional[int]:
    return len(os.listdir(path)) if os.path.isdir(path) else None


def carry_out(wish: Wish, plan: Plan, host: Host) -> None:
    """Do it. What is about to be done is on the disk before the first step."""
    name = record_name(wish)
    if plan and (plan.change.keep or plan.change.record):
        write_record(name, host, plan.change.record)
    for argv in plan.commands:
        _run(argv, wish, host)
    if "making" in plan.change.record:  # it is whole now, and from here on it may hold data
        write_record(name, host, {key: value for key, value in plan.change.record.items() if key != "making"})
    if plan.commands:
        host.commands.run(("udevadm", "settle", "--timeout=60"), timeout=300)
    change_files(plan.change, host, {})
    if plan.make_directory:
        os.makedirs(host.path(wish.path.lstrip("/")), mode=0o755, exist_ok=True)
    for argv in plan.mount:
        _run(argv, wish, host)
    if plan.change.changed_units:
        change_units(plan.change, host)
    if plan.remove_directory:
        remove_if_empty(host.path(wish.path.lstrip("/")))
    finish(name, plan.change, host)


def _run(argv: Tuple[str, ...], wish: Wish, host: Host) -> None:
    result = host.commands.run(argv, timeout=_MAKE_TIMEOUT)
    if result.rc != 0:
        said = (result.err.strip() or result.out.strip()).replace("\n", "; ")
        hint = " See who uses it (fuser --verbose --mount {0}), and end that first.".format(wish.path) if argv[0] == "umount" else ""
        raise FleetError("{0} failed and said: {1}.{2}".format(" ".join(argv), said.rstrip("."), hint))
