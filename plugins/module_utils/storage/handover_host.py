# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what there is of drives, arrays and IOMMU groups on this host, and carries out what :mod:`handover_change` and :mod:`handover_back` decided."""
import os
from typing import Dict, List, Mapping, Optional, Sequence, Set

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import BACKUPS, keep_once, read_text, remove, write_atomic
from ..host.host import Host as AnyHost
from ..host.iommu import nvme_addresses, read_functions
from ..host.sysfs import Sysfs
from .blocks import read_places, swap_devices
from .contents import Busy, Drives, is_busy, read_uses
from .handover import ALL, NVME, Found, Guest, Record, Step, Wish, full_pci
from .handover_change import Change
from .md import Array
from .md_conf import PATHS
from .md_query import asker
from .md_sysfs import read_arrays
from .partitioning import Table, from_sfdisk

PLACE = BACKUPS + "/kvm_passthrough"
_RECORD = PLACE.lstrip("/") + "/record.json"
#: Debian's hook copies mdadm.conf into the initramfs, where arrays are assembled before the system on the drives can read its own.
_HOOK, _TOOL = "usr/share/initramfs-tools/hooks/mdadm", "usr/sbin/update-initramfs"
_SETTLED = ("root", "cwd", "exe")


class Host(AnyHost):
    """One whose drives may be ``busy``."""

    def __init__(self, commands: Commands, root: str = "/", busy: Busy = is_busy) -> None:
        super().__init__(commands, root)
        self.busy = busy


def read_record(host: Host) -> Optional[Record]:
    """What was given to guests so far; None if nothing."""
    place = host.path(_RECORD)
    text = read_text(place)
    return Record.from_json(text, place) if text is not None else None


def read(host: Host, guests: Sequence[Guest], record: Optional[Record], wish: Optional[Wish]) -> Found:
    """Read everything once. Only the drives that ``wish`` names and that no guest has yet are examined; without a wish, those that are to come back."""
    sysfs = host.sysfs
    drives = Drives(sysfs, host.busy)
    names = {drive.device: drives.names(drive) for drive in drives.all}
    arrays = tuple(read_arrays(sysfs, asker(host.commands)))
    places, swaps = read_places(sysfs), swap_devices(sysfs)
    functions = read_functions(sysfs)
    looked_at = _devices_to_examine(wish, record, drives, names)
    sources = sorted({path for guest in guests for path in list(guest.disks.values()) + list(guest.held) if path.startswith("/dev/")})
    conf_path = next((path for path in PATHS if os.path.exists(host.path(path))), PATHS[0])
    array_uses = {array.device: read_uses(sysfs, array.device, places, swaps) for array in arrays}
    uses = {drive.device: drives.uses(drive) for drive in drives.all}
    in_the_way = {array for device in looked_at for array in uses[device].arrays} if wish else set()
    return Found(
        functions=functions, nvme=tuple(nvme_addresses(sysfs, functions)), drives=tuple(drives.all), names=names,
        uses=uses,
        contents={drive.device: drives.contents(drive, host.commands) for drive in drives.all if drive.device in looked_at},
        tables=_tables(host, looked_at | _divided(wish, drives, names)),
        sectors={drive.device: sysfs.number("sys/block/{0}/queue/logical_block_size".format(drive.device), 512) for drive in drives.all},
        arrays=arrays, array_uses=array_uses,
        users={array.device: tuple(_users(host, array)) for array in arrays if array.device in in_the_way and array.mounts},
        links={array.device: tuple(_links(sysfs, array.device)) for array in arrays},
        real={path: os.path.basename(os.path.realpath(host.path(path.lstrip("/")))) for path in sources},
        guests={guest.name: guest for guest in guests}, conf=read_text(host.path(conf_path)), conf_path=conf_path, fstab=read_text(host.path("etc/fstab")),
        initramfs=os.path.exists(host.path(_HOOK)) and os.path.exists(host.path(_TOOL)), root_is_on_one=drives.root_is_on_one, record=record)


def _devices_to_examine(wish: Optional[Wish], record: Optional[Record], drives: Drives, names: Mapping[str, Sequence[str]]) -> Set[str]:
    record = record or Record()
    if wish is None:
        coming = {member for one in record.arrays for member in one.members} | set(record.tables)
        return {drive.device for drive in drives.all if coming & (set(names[drive.device]) | {drive.device})}
    ready = {(one.guest, one.pci) for one in record.given if one.ready and one.kind == NVME}
    found = set()
    for drive in drives.all:
        known = set(names[drive.device]) | {drive.pci}
        for wanted in wish.wanted:
            word = wanted.drive[len("/dev/disk/by-id/"):] if wanted.drive.startswith("/dev/disk/by-id/") else full_pci(wanted.drive) or wanted.drive
            means = word in known or (wanted.drive == ALL and drive.device.startswith("nvme") and not drives.uses(drive).system)
            if means and wanted.kind != NVME:
                found.add(drive.device)
            elif means and (wanted.guest, drive.pci) not in ready:  # it goes with all its name spaces
                found |= {other.device for other in drives.all if other.device == drive.device or drive.pci and other.pci == drive.pci}
    # What every guest concerned has already is its own; looking at it would only cost time.
    given = {drive.device for drive in drives.all if _all_ready(drive.device, wish, record, names)}
    return found - given


def _all_ready(device: str, wish: Wish, record: Record, names: Mapping[str, Sequence[str]]) -> bool:
    wanted = [one for one in wish.wanted if one.drive.rpartition("/")[2] in names[device]]
    ready = [one for one in record.given if one.ready and set(one.names) & set(names[device])]
    return bool(wanted) and bool(ready) and sorted((one.guest, one.kind) for one in wanted) == sorted(
        (one.guest, one.kind) for one in ready if one.guest in {entry.guest for entry in wanted})


def _divided(wish: Optional[Wish], drives: Drives, names: Mapping[str, Sequence[str]]) -> Set[str]:
    """The drives of which guests shall have partitions: their tables are compared each time."""
    words = {one.drive.rpartition("/")[2] for one in wish.wanted if one.kind == "partition"} if wish else set()
    return {drive.device for drive in drives.all if words & set(names[drive.device]) or drive.device in words}


def _tables(host: Host, devices: Set[str]) -> Dict[str, Table]:
    found = {}
    for device in sorted(devices):
        result = host.commands.run(("sfdisk", "--json", "/dev/" + device))
        table = from_sfdisk(result.out) if result.rc == 0 else None
        if table is not None:
            found[device] = table
    return found


def _links(sysfs: Sysfs, array: str) -> List[str]:
    """The paths below /dev/md and /dev/disk by which an array goes."""
    found = []
    for directory in ("dev/md", "dev/disk/by-id", "dev/disk/by-uuid", "dev/disk/by-label"):
        found += ["/{0}/{1}".format(directory, name) for name in sysfs.entries(directory)
                  if sysfs.link("{0}/{1}".format(directory, name)).rpartition("/")[2] == array]
    return found


def _users(host: Host, array: Array) -> List[str]:
    """Who has files open below the mount points of an array, or uses them without a process: loop devices, swap files, NFS exports, the NFS cache."""
    sysfs = host.sysfs
    paths = tuple(mount.path.rstrip("/") for mount in array.mounts)
    found: List[str] = []
    for pid in sysfs.entries("proc"):
        if pid.isdigit() and _has_open(sysfs, pid, paths):
            found.append("{0} (process {1})".format(sysfs.read("proc/{0}/comm".format(pid)) or "a program", pid))
    for name in sysfs.entries("sys/block"):
        behind = sysfs.read("sys/block/{0}/loop/backing_file".format(name)) if name.startswith("loop") else None
        found += ["the loop device {0} ({1})".format(name, behind)] if behind and _below(behind, paths) else []
    found += ["swap in the file {0}".format(line.split()[0]) for line in (sysfs.read("proc/swaps") or "").splitlines()[1:] if _below(line.split()[0], paths)]
    exported = sorted({line.split()[0] for line in (sysfs.read("var/lib/nfs/etab") or "").splitlines() if line.split()})
    found += ["the NFS export of {0}".format(path) for path in exported if _below(path, paths)]
    inner = sorted({place.mount.path for place in read_places(sysfs) if _below(place.mount.path, paths)} - {mount.path for mount in array.mounts})
    found += ["what is mounted at {0}".format(path) for path in inner]
    if array.nfs_cache.directory and array.nfs_cache.active:
        found.append("the NFS cache in {0} (stop cachefilesd)".format(array.nfs_cache.directory))
    return found


def _has_open(sysfs: Sysfs, pid: str, paths: Sequence[str]) -> bool:
    places = ["proc/{0}/{1}".format(pid, name) for name in _SETTLED]
    places += ["proc/{0}/fd/{1}".format(pid, name) for name in sysfs.entries("proc/{0}/fd".format(pid))]
    if any(_below(sysfs.link(place), paths) for place in places):
        return True
    return any(_below(line.split(None, 5)[5], paths) for line in (sysfs.read("proc/{0}/maps".format(pid)) or "").splitlines() if len(line.split(None, 5)) == 6)


def _below(path: str, directories: Sequence[str]) -> bool:
    return any(path == directory or path.startswith(directory + "/") for directory in directories)


# carrying out ----------------------------------------------------------------------------------------------------------------------------------


def carry_out(change: Change, host: Host) -> None:
    """Do it. What is about to be done is on the disk before the first step, so that a run that is cut short anywhere is completed by the next."""
    before, after = change.record_before, change.record
    if change and after is not None:
        known = {(one.guest, one.source) for one in (before.given if before else ()) if one.ready}
        given = tuple(one._replace(ready=(one.guest, one.source) in known) for one in after.given)
        _write_record(host, after._replace(given=given, initramfs=change.initramfs))
    elif change and before is not None and change.initramfs != before.initramfs:
        _write_record(host, before._replace(initramfs=change.initramfs))
    run_steps(change.first, host)
    _write_files(change, host)
    run_steps(change.steps, host)
    if change.initramfs:
        host.commands.output(("update-initramfs", "-u", "-k", "all"), timeout=1800)
    run_steps(change.last, host)
    if after != before:
        _write_record(host, after)


def run_steps(steps: Sequence[Step], host: Host) -> None:
    """Do these, in order."""
    for step in steps:
        if step.argv[:1] == ("mount",) and step.argv[-1] in [place.mount.path for place in read_places(host.sysfs)]:
            continue  # systemd was faster
        if step.path:
            _write_kernel(host.path(step.path), step.text_in or "")
        elif step.argv == ("udevadm", "settle", "--timeout=60"):
            host.commands.run(step.argv, timeout=90)
        else:
            host.commands.output(step.argv, timeout=900, text_in=step.text_in)


def _write_kernel(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as handle:
            handle.write(text)
    except OSError as error:
        raise FleetError("{0} could not be written: {1}. The device was not given back to the host's driver. virsh nodedev-reattach may, or a reboot.".format(
            path, error.strerror))


def _write_files(change: Change, host: Host) -> None:
    for path, (before, after) in ((change.conf_path, change.conf), ("etc/fstab", change.fstab)):
        if before == after:
            continue
        place = host.path(path)
        if before is not None:
            keep_once(place, os.path.basename(path), host.path(PLACE.lstrip("/")))
        if after is None:
            remove(place)
        else:
            write_atomic(place, after)


def _write_record(host: Host, record: Optional[Record]) -> None:
    place = host.path(_RECORD)
    if record is None:
        remove(place)
        return
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    write_atomic(place, record.to_json(), 0o600)
