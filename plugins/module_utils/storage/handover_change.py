# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the drives that guests shall have to the steps on the host and the devices for libvirt, or to a refusal. No side effects.

What a guest was given once is its own: it is neither examined nor written to again. Everything else is refused while anybody uses it, and if it holds
something whose loss was not consented to for that very drive.
"""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from ..host.iommu import VFIO, whole_groups
from . import at_boot
from .contents import Contents
from .handover import ALL, DRIVE, NVME, PARTITION, Found, Given, Record, Slot, Step, Stopped, Wanted, Wish, find_slot, refused, slot_of, stopped_of
from .handover_rules import check_guests, may_stop, refusal
from .partitioning import Share, Table, disk_uuid, partition_device, partition_uuid, plan, to_sfdisk

SETTLE = ("udevadm", "settle", "--timeout=60")
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
#: As section 12.6.1 has it for data drives; how many queues and which I/O threads is for kvm_tuning.
DISK_DRIVER = {"type": "raw", "cache": "none", "io": "native"}


class Item(NamedTuple):
    """One wanted device with the drive that is meant, as it will be given; ``fresh`` if the drive is not the guest's already."""

    wanted: Wanted
    slot: Slot
    given: Given
    fresh: bool


class Change(NamedTuple):
    """The way from what is found to what is wanted. ``first`` are the steps that may fail for being used; then come the files, then ``steps``."""

    first: Tuple[Step, ...] = ()
    steps: Tuple[Step, ...] = ()
    conf_path: str = ""
    conf: Tuple[Optional[str], Optional[str]] = (None, None)
    fstab: Tuple[Optional[str], Optional[str]] = (None, None)
    initramfs: bool = False
    record_before: Optional[Record] = None
    record: Optional[Record] = None
    domains: Tuple[Dict[str, Any], ...] = ()
    before: str = ""
    after: str = ""
    last: Tuple[Step, ...] = ()
    warnings: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        files = self.conf[0] != self.conf[1] or self.fstab[0] != self.fstab[1]
        return bool(self.first or self.steps or self.last) or files or self.initramfs

    @property
    def diffs(self) -> List[Diff]:
        shown = [(self.before, self.after, "drives"), (self.conf[0] or "", self.conf[1] or "", "/" + self.conf_path),
                 (self.fstab[0] or "", self.fstab[1] or "", "/etc/fstab")]
        return [Diff(*entry) for entry in shown if entry[0] != entry[1]]

    @property
    def told(self) -> List[str]:
        """What is or would be done, in order."""
        told = [step.told for step in self.first]
        if self.conf[0] != self.conf[1]:
            told.append("write /" + self.conf_path)
        if self.fstab[0] != self.fstab[1]:
            told.append("write /etc/fstab")
        told += [step.told for step in self.steps]
        told += ["make the initramfs anew, which has a copy of mdadm.conf"] if self.initramfs else []
        return told + [step.told for step in self.last]


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted; raises :class:`FleetError` if any of it may not or cannot be done: then nothing is."""
    record = found.record or Record()
    items = _items(wish, found, record)
    leaving = [one for one in record.given if not any(_same(one, item.given) for item in items)]
    _no_drive_twice(items)
    for guest in wish.guests:
        given = [item.given.pci for item in items if item.given.guest == guest and item.given.kind == NVME]
        whole_groups(given, found.functions, guest)
    check_guests(wish, found, [item.given for item in items], leaving)
    stops, reasons = _stops(wish, found, items)
    reasons += _not_to_be_taken(wish, found, items, [array.device for array in stops])
    if reasons:
        raise refused(reasons)
    tables = _tables(items, found)
    steps = _preparing(wish, found, items, tables)
    return _change(wish, found, record, items, leaving, stops, tables, steps)


# which device is what --------------------------------------------------------------------------------------------------------------------------


def _items(wish: Wish, found: Found, record: Record) -> List[Item]:
    pairs = [(wanted, find_slot(wanted.drive, found)) for wanted in wish.wanted if wanted.drive != ALL]
    named = {slot.pci for _wanted, slot in pairs if slot.pci}
    rest = [wanted for wanted in wish.wanted if wanted.drive == ALL]
    pairs += [(wanted, slot) for wanted in rest for slot in _all_others(found, record, wanted.guest, named)]
    items: List[Item] = []
    numbers: Dict[Tuple[str, str], int] = {}
    for wanted, slot in pairs:
        if wanted.kind == NVME and slot.pci not in found.nvme:
            raise FleetError("{0} is no NVMe device, so it cannot be passed through as one. Give it under drives or partitions.".format(slot.label))
        number = 0
        if wanted.kind != NVME:
            number = numbers[wanted.guest, slot.id] = numbers.get((wanted.guest, slot.id), 0) + 1
        taken = {other.target for other in wish.wanted if other.guest == wanted.guest and other is not wanted}
        taken |= {item.given.target for item in items if item.given.guest == wanted.guest}
        items.append(_item(wanted, slot, number, found, record, taken - {""}))
    return items


def _item(wanted: Wanted, slot: Slot, number: int, found: Found, record: Record, taken: Set[str]) -> Item:
    source = slot.pci
    if wanted.kind != NVME and slot.drive is not None and not slot.drive.id:
        raise FleetError("{0} has no name that lasts in /dev/disk/by-id, so guest {1} could get another drive after the next boot. It was not touched.".format(
            slot.label, wanted.guest))
    if wanted.kind == DRIVE:
        source = "/dev/disk/by-id/" + slot.id
    elif wanted.kind == PARTITION:
        source = "/dev/disk/by-partuuid/" + partition_uuid(slot.id, wanted.guest, number)
    known = next((one for one in record.given if one.guest == wanted.guest and one.source == source), None)
    target = "" if wanted.kind == NVME else _target(wanted, source, known, found, taken)
    given = Given(wanted.guest, wanted.kind, slot.id, slot.names, slot.pci, source, target, wanted.filesystem, number, bool(known and known.ready))
    return Item(wanted, slot, given, not given.ready)


def _target(wanted: Wanted, source: str, known: Optional[Given], found: Found, taken: Set[str]) -> str:
    """The disk's name in the guest: as asked for, as it is, or the first that is free."""
    guest = found.guests.get(wanted.guest)
    disks: Mapping[str, str] = guest.disks if guest else {}
    there = next((target for target, path in disks.items() if path == source), "")
    if wanted.target and there and there != wanted.target:
        raise FleetError("Guest {0} has {1} as {2} already, but {3} is asked for. Leave the target out, or take the disk away first.".format(
            wanted.guest, source, there, wanted.target))
    if wanted.target and disks.get(wanted.target, source) != source:
        raise FleetError("Guest {0} has another disk at {1}: {2}. Nothing was changed. Choose another target, or leave it out to get the first that is "
                         "free.".format(wanted.guest, wanted.target, disks[wanted.target] or "an empty one"))
    candidates = [known.target] if known else []
    candidates += ["vd" + letter for letter in "bcdefghijklmnopqrstuvwxyz"]
    target = wanted.target or there or next((name for name in candidates if name not in taken | set(disks)), "")
    if not target:
        raise FleetError("Guest {0} has no free name for another virtio disk: vdb to vdz are taken.".format(wanted.guest))
    return target


def _all_others(found: Found, record: Record, guest: str, named: Any) -> List[Slot]:
    """The NVMe devices that hold no operating system and that nobody else is to have."""
    if not found.root_is_on_one:
        raise FleetError("Guest {0} shall have all NVMe drives, but the running system is on none of this host's drives (it was booted over the network or "
                         "from a medium), so they do not show which hold an operating system. Name the drives.".format(guest))
    slots = []
    for pci in found.nvme:
        drives = found.drives_at(pci)
        if pci in named or any(found.uses[drive.device].system for drive in drives):
            continue
        slots.append(slot_of(drives[0], found) if drives else find_slot(pci, found))
    if not slots:
        raise FleetError("Guest {0} shall have all NVMe drives, but there is none that holds no operating system and is not named elsewhere.".format(guest))
    return slots


def _same(one: Given, other: Given) -> bool:
    return (one.guest, one.source) == (other.guest, other.source)


def _no_drive_twice(items: Sequence[Item]) -> None:
    by_drive: Dict[str, List[Item]] = {}
    for item in items:
        by_drive.setdefault(item.slot.pci if item.given.kind == NVME else item.slot.id, []).append(item)
    whole = {item.slot.pci: item for item in items if item.given.kind == NVME}
    for same in by_drive.values():
        kinds = {item.given.kind for item in same}
        if len(same) > 1 and kinds != {PARTITION}:
            _twice(same[0], same[1])
    for item in items:
        if item.given.kind != NVME and item.slot.pci in whole:
            _twice(whole[item.slot.pci], item)


def _twice(one: Item, other: Item) -> None:
    raise FleetError("{0} is to go to guest {1} ({2}) and to guest {3} ({4}). Nothing was changed. A drive goes to one guest as a whole, or to several as "
                     "partitions.".format(one.slot.label, one.given.guest, one.given.kind, other.given.guest, other.given.kind))


# what may be taken -----------------------------------------------------------------------------------------------------------------------------


def _stops(wish: Wish, found: Found, items: Sequence[Item]) -> Tuple[List[Any], List[Dict[str, str]]]:
    """The arrays in the way, and refusals for those that were not named; raises :class:`FleetError` for what is in use. A drive that a guest has
    already must not be in an array either."""
    devices = {drive.device: item for item in items for drive in _visible(item, found)}
    in_the_way: List[Any] = []
    reasons: List[Dict[str, str]] = []
    for array in found.arrays:
        concerned = [devices[device] for device, item in devices.items() if array.device in found.uses[device].arrays]
        if concerned:
            why = may_stop(array, wish, found, concerned[0].slot, concerned[0].given.guest)
            reasons += [why] if why else []
            in_the_way.append(array)
    return in_the_way, reasons


def _visible(item: Item, found: Found) -> List[Any]:
    if item.given.kind == NVME:
        return found.drives_at(item.given.pci)
    return [item.slot.drive] if item.slot.drive else []


def _not_to_be_taken(wish: Wish, found: Found, items: Sequence[Item], stopped: Sequence[str]) -> List[Dict[str, str]]:
    """Refusals of drives, all at once."""
    reasons: List[Dict[str, str]] = []
    told = set()
    for item in items:
        function = found.functions.get(item.given.pci)
        drives = _visible(item, found)
        guest = found.guests.get(item.given.guest)
        if not drives and item.fresh and function and function.driver == VFIO and not (guest and guest.has(item.given.source)):
            raise FleetError("{0} is with the driver {1} and in no guest, so what it holds cannot be seen. Nothing was changed. Give it back to the "
                             "host first: "
                             "virsh nodedev-reattach pci_{2}.".format(function.told, VFIO, item.given.pci.replace(":", "_").replace(".", "_")))
        if not drives and item.given.kind != NVME:
            drives = [item.slot.there]
        for drive in drives:
            if drive.device not in told:
                told.add(drive.device)
                why = refusal(item, found, drive, wish.wipe, stopped, _ours(item, found, drive.device))
                reasons += [why] if why else []
    return reasons


def _ours(item: Item, found: Found, device: str) -> bool:
    """Whether the partition table on a drive is one that was made for guests, of which this one gets no more than its part: a whole drive has no others."""
    table = found.tables.get(device)
    if table is None or table.uuid != disk_uuid(item.slot.id) or item.given.kind == NVME:
        return False
    mine = partition_uuid(item.slot.id, item.given.guest, item.given.number)
    return item.given.kind == PARTITION or item.given.filesystem != "none" and [part.uuid for part in table.partitions] == [mine]


# preparing -------------------------------------------------------------------------------------------------------------------------------------


def _tables(items: Sequence[Item], found: Found) -> Dict[str, Table]:
    """The partition table that each drive shall have, by the drive's id; those that are as wanted included."""
    shares: Dict[str, List[Item]] = {}
    for item in items:
        if item.given.kind == PARTITION or (item.given.kind == DRIVE and item.given.filesystem != "none" and item.fresh):
            shares.setdefault(item.slot.id, []).append(item)
    tables = {}
    for drive_id, sharing in shares.items():
        drive = sharing[0].slot.there
        there = found.tables.get(drive.device)
        if there is not None and there.uuid == disk_uuid(drive_id):
            tables[drive_id] = there
            _each_has_its_part(sharing, there, found.sectors[drive.device])
        else:
            if any(not item.fresh for item in sharing):
                raise FleetError("{0} no longer has the partitions that were made for guests: somebody has changed its table. Nothing was changed. Restore the "
                                 "table, or take the drive away from the guests (kvm_passthrough_state: absent) and give it anew.".format(
                                     sharing[0].slot.label))
            wanted = [Share(item.given.guest, item.given.number, item.wanted.size_bytes) for item in sharing]
            tables[drive_id] = plan(drive_id, drive.size_bytes, found.sectors[drive.device], wanted)
    return tables


def _each_has_its_part(sharing: Sequence[Item], table: Table, sector: int) -> None:
    for item in sharing:
        wanted = partition_uuid(item.slot.id, item.given.guest, item.given.number)
        part = next((part for part in table.partitions if part.uuid == wanted), None)
        size = item.wanted.size_bytes
        if part is None or (size is not None and size // 2 ** 20 * 2 ** 20 != part.size * sector):
            problem = "has no part for guest {0} (number {1})".format(item.given.guest, item.given.number) if part is None else (
                "gives guest {0} {1:.2f} GiB, but {2:.2f} GiB are asked for".format(item.given.guest, part.size * sector / 2 ** 30, (size or 0) / 2 ** 30))
            raise FleetError("{0} is divided already, and {1}. Dividing it anew would cost the guests their data, so nothing was changed. Ask for "
                             "what is there, or "
                             "use another drive; to start over, take the drive back with consent first (kvm_passthrough_state: absent).".format(
                                 item.slot.label, problem))


def _preparing(wish: Wish, found: Found, items: Sequence[Item], tables: Mapping[str, Table]) -> List[Step]:
    steps: List[Step] = []
    fresh = {item.slot.id: item for item in items if item.fresh and item.given.kind != NVME}
    for drive_id, item in fresh.items():
        drive = item.slot.there
        table = tables.get(drive_id)
        there = found.tables.get(drive.device)
        if table is not None and there is not None and table.same(there):
            continue
        if table is not None:
            steps += clearing(drive.device, found.contents.get(drive.device))
            steps.append(Step("divide {0} into {1}".format(drive_id, len(table.partitions)), (
                "sfdisk", "--quiet", "--wipe", "always", "--wipe-partitions", "always", "/dev/" + drive.device), to_sfdisk(table)))
            steps.append(Step("let udev see that", SETTLE))
    for item in items:
        steps += _formatting(item, found, tables)
    return steps


def _formatting(item: Item, found: Found, tables: Mapping[str, Table]) -> List[Step]:
    """A file system on a partition that has nothing on it yet, once: what a guest makes of it later is its own affair."""
    if not item.fresh or item.given.kind == NVME or item.given.filesystem == "none":
        return []
    drive, table = item.slot.there, tables[item.slot.id]
    wanted = partition_uuid(item.slot.id, item.given.guest, item.given.number)
    number = next(part.number for part in table.partitions if part.uuid == wanted)
    device = partition_device(drive.device, number)
    contents = found.contents.get(drive.device)
    same = table.same(found.tables.get(drive.device))
    if same and contents and any(one.device == device for one in contents.signatures):
        return []
    return [Step("make {0} on partition {1} of {2}".format(item.given.filesystem, number, item.slot.id), MAKE[item.given.filesystem] + ("/dev/" + device,))]


def clearing(device: str, contents: Optional[Contents]) -> List[Step]:
    """Erase the signatures of a drive, partitions first: their contents would show again if the same partitions were made again."""
    if contents is None or not (contents.signatures or contents.partitions):
        return []
    devices = sorted({one.device for one in contents.signatures if one.device not in ("", device)}) + [device]
    erasing = [Step("erase the signatures on {0}".format(name), ("wipefs", "--quiet", "--all", "/dev/" + name)) for name in devices]
    return erasing + [Step("let udev see that", SETTLE)]


# the whole -------------------------------------------------------------------------------------------------------------------------------------


def _change(wish: Wish, found: Found, record: Record, items: Sequence[Item], leaving: Sequence[Given], stops: Sequence[Any], tables: Mapping[str, Table],
            steps: Sequence[Step]) -> Change:
    arrays = list(record.arrays)
    first: List[Step] = []
    for array in stops:
        first += [Step("unmount {0}".format(mount.path), ("umount", mount.path)) for mount in reversed(array.mounts)]
        first.append(Step("stop {0}".format(array.device), ("mdadm", "--stop", "/dev/" + array.device)))
        known = next((one for one in arrays if one.uuid == array.uuid), None)
        if known is None:
            arrays.append(_remembered(array, found))
    conf, fstab = found.conf, found.fstab
    for one in arrays:
        conf = at_boot.ignoring(conf, one.uuid) if one.uuid else conf
        fstab = at_boot.set_aside(fstab, one.sources, one.mounts) if fstab is not None else None
    still = [one for one in leaving if one.guest in found.guests and found.guests[one.guest].has(one.source)]
    given = tuple(item.given._replace(ready=True) for item in items) + tuple(still)
    made = tuple(dict.fromkeys(record.tables + tuple(sorted(tables))))
    initramfs = found.initramfs and (conf != found.conf or record.initramfs)
    known_conf, known_fstab = record.arrays != (), record.arrays != ()
    after = record._replace(
        given=given, arrays=tuple(arrays), tables=made, initramfs=False,
        conf_before=record.conf_before if known_conf else found.conf, conf_after=conf,
        fstab_before=record.fstab_before if known_fstab else found.fstab, fstab_after=fstab)
    if not arrays:
        after = after._replace(conf_before=None, conf_after=None, fstab_before=None, fstab_after=None)
    if fstab != found.fstab:
        steps = [Step("let systemd see /etc/fstab", ("systemctl", "daemon-reload"))] + list(steps)
    before, shown = _lines(record.given, stops, found, tables, False), _lines(given, stops, found, tables, True)
    return Change(tuple(first), tuple(steps), found.conf_path, (found.conf, conf), (found.fstab, fstab), initramfs, found.record,
                  after if after != Record() else None, tuple(_domains(wish, found, items, still)), before, shown)


def _remembered(array: Any, found: Found) -> Stopped:
    one = stopped_of(array, found)
    sources = at_boot.sources_of(array.device, found.links.get(array.device, ()), one.fs_uuid, one.fs_label)
    return one._replace(sources=tuple(sources), conf=at_boot.statements_of(found.conf, array.uuid))


def _lines(given: Sequence[Given], stops: Sequence[Any], found: Found, tables: Mapping[str, Table], after: bool) -> str:
    """Who has what, in words, for the diff."""
    lines = ["{0}: {1} {2} {3}({4})".format(one.guest, one.kind, one.drive, "as {0} ".format(one.target) if one.target else "", one.source) for one in given]
    if not after:
        lines += ["array {0} of {1}: {2}".format(array.device, len(array.members), "mounted at " + ", ".join(mount.path for mount in array.mounts)
                                                 if array.mounts else "running") for array in stops]
    else:
        lines += ["array {0} of {1}: stopped".format(array.device, len(array.members)) for array in stops]
    text = "".join(line + "\n" for line in lines)
    for drive_id, table in sorted(tables.items()):
        drive = next((drive for drive in found.drives if drive.id == drive_id or drive.serial == drive_id), None)
        shown = table if after else found.tables.get(drive.device) if drive else None
        text += "".join("{0}: {1}\n".format(drive_id, line) for line in shown.lines(found.sectors[drive.device]).splitlines()) if shown and drive else ""
    return text


def _domains(wish: Wish, found: Found, items: Sequence[Item], leaving: Sequence[Given]) -> List[Dict[str, Any]]:
    """The devices of each guest, as the module libvirt_domain takes them."""
    names = list(dict.fromkeys(list(wish.guests) + [one.guest for one in leaving]))
    domains = []
    for name in names:
        hostdevs: List[Dict[str, Any]] = [{"pci": one.pci, "state": "absent"} for one in leaving if one.guest == name and one.kind == NVME]
        gone = {one.source for one in leaving if one.guest == name and one.kind != NVME}
        there = found.guests[name].disks if name in found.guests else {}
        disks: List[Dict[str, Any]] = [{"target": target, "state": "absent"} for target, source in sorted(there.items()) if source in gone]
        mine = [item.given for item in items if item.given.guest == name]
        hostdevs += [{"pci": one.pci, "managed": True} for one in mine if one.kind == NVME]
        kept = {one.target for one in mine if one.target}
        disks = [disk for disk in disks if disk["target"] not in kept]
        disks += [{"target": one.target, "type": "block", "source": one.source, "bus": "virtio", "driver": dict(DISK_DRIVER)} for one in mine if one.target]
        if hostdevs or disks:
            domains.append({"name": name, "hostdevs": hostdevs, "disks": disks})
    return domains
