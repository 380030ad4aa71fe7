# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Taking back what guests were given: drives to the host's driver, arrays assembled and mounted, mdadm.conf and fstab as they were. No side effects.

An array whose members still have their superblocks is assembled with all that it holds. One that guests have written over can only be made anew, with the
same UUID, name and file system UUID, and only where the loss of what the guests left was consented to, drive by drive.
"""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..host.drives import Drive
from ..host.errors import FleetError
from ..host.iommu import VFIO
from . import at_boot
from .contents import MD, Contents
from .handover import NVME, Found, Record, Step, Stopped, refused
from .handover_change import SETTLE, Change, clearing
from .md import Array, can_lose
from .partitioning import partition_device

_UUID_OPTION = {"ext4": ("-U",), "ext3": ("-U",), "ext2": ("-U",), "xfs": ("-m",)}


class Member(NamedTuple):
    """A place in an array that was: its drive if that is visible, and whether its superblock is still that of the array."""

    id: str
    drive: Optional[Drive]
    device: str
    intact: bool
    contents: Optional[Contents]


def release(found: Found) -> List[Step]:
    """Give devices that no guest has any more back to the kernel's own driver, where libvirt did not (it was not running, or they were not managed)."""
    record = found.record or Record()
    held = {pci for guest in found.guests.values() for pci in guest.hostdevs | guest.held}
    steps: List[Step] = []
    for pci in sorted({one.pci for one in record.given if one.kind == NVME} - held):
        function = found.functions.get(pci)
        if function is not None and function.driver in (VFIO, ""):
            place = "sys/bus/pci/devices/" + pci
            steps.append(Step("give {0} back to the host's driver".format(pci), text_in="\n", path=place + "/driver_override"))
            steps += [Step("", text_in=pci, path=place + "/driver/unbind")] if function.driver else []
            steps.append(Step("", text_in=pci, path="sys/bus/pci/drivers_probe"))
    return steps + [Step("let udev see that", SETTLE)] if steps else []


def still_held(found: Found) -> Dict[str, List[str]]:
    """What guests still have of what was given, by guest."""
    record = found.record or Record()
    held: Dict[str, List[str]] = {}
    for one in record.given:
        guest = found.guests.get(one.guest)
        if guest is not None and (guest.has(one.source) or one.source in guest.held):
            held.setdefault(one.guest, []).append(one.source)
    return held


def refuse_held(found: Found, foreseen: bool, when_running: str) -> None:
    """Raise for devices that guests still have. ``foreseen`` is for check mode, where they have not been taken away yet."""
    for name, sources in sorted(still_held(found).items()):
        guest = found.guests[name]
        if guest.running and not (foreseen and when_running == "live"):
            if foreseen and when_running == "refuse":
                raise FleetError("Guest {0} is running and has {1}. Nothing was taken back. Shut it down, or set when_running to live.".format(
                    name, ", ".join(sources)), running=[name])
            if not foreseen or when_running == "next_boot":
                raise FleetError("Guest {0} still has {1}, so the host was not given back yet. Shut it down and run this again.".format(
                    name, ", ".join(sources)), running=[name])
        if not guest.running and not foreseen:
            raise FleetError("Guest {0} still has {1} in its configuration. Take that away first: module libvirt_domain with state restored, as the role "
                             "does.".format(name, ", ".join(sources)))


def decide_back(wipe: Sequence[str], found: Found, foreseen: bool) -> Change:
    """The way back; ``foreseen`` is for check mode, where drives may still be with guests, and are taken for unharmed."""
    record = found.record
    if record is None:
        return Change(conf_path=found.conf_path, conf=(found.conf, found.conf), fstab=(found.fstab, found.fstab))
    steps: List[Step] = []
    mounting: List[Step] = []
    warnings: List[str] = []
    arrays = {member: one for one in record.arrays for member in one.members}
    reasons: List[Dict[str, str]] = []
    for one in record.arrays:
        running = next((array for array in found.arrays if array.uuid == one.uuid and array.state not in ("inactive", "clear")), None)
        if running is None:
            made, why = _array_back(one, found, wipe, foreseen)
        else:
            made, why = _completed(one, running, found, wipe)
        steps += made
        reasons += why
        mounting += _mounting(one, _fstab_back(record, found) or "", running is not None and bool(running.mounts))
    if reasons:
        raise refused(reasons)
    kept: List[str] = []
    for drive_id in record.tables:
        if drive_id not in arrays:
            made, told = _freed(drive_id, found, wipe)
            steps += made
            warnings += told
            kept += [drive_id] if told else []
    conf, fstab = _conf_back(record, found), _fstab_back(record, found)
    if fstab != found.fstab:
        mounting.insert(0, Step("let systemd see /etc/fstab", ("systemctl", "daemon-reload")))
    initramfs = found.initramfs and (conf != found.conf or record.initramfs)
    # What is left of it, so that a later run with consent can have it too.
    left = Record(tables=tuple(kept)) if kept else None
    before = "".join("{0}: {1} {2}\n".format(one.guest, one.kind, one.drive) for one in record.given)
    before += "".join("array {0}: stopped\n".format(one.device) for one in record.arrays)
    after = "".join("array {0}: {1}\n".format(one.device, "mounted at " + ", ".join(mount.path for mount in one.mounts) if one.mounts else "running")
                    for one in record.arrays)
    return Change((), tuple(steps), found.conf_path, (found.conf, conf), (found.fstab, fstab), initramfs, record, left, (), before, after, tuple(mounting),
                  tuple(warnings))


def _array_back(one: Stopped, found: Found, wipe: Sequence[str], foreseen: bool) -> Tuple[List[Step], List[Dict[str, str]]]:
    members = [_member(member, part, one, found) for member, part in zip(one.members, one.parts)]
    away = [member.id for member in members if member.drive is None]
    if away and not foreseen:
        raise FleetError("The array {0} cannot be brought back: {1} of its drives are not there: {2}. Plug them in and run this again.".format(
            one.told, len(away), ", ".join(away)))
    devices = ["/dev/" + member.device for member in members if member.drive is not None]
    path = "/dev/" + one.device
    inactive = [array for array in found.arrays if array.state in ("inactive", "clear") and {entry.device for entry in array.members} & {
        member.device for member in members}]
    run = ("--run",) if len(one.members) < one.raid_disks else ()
    steps = [Step("stop what udev put together of {0}".format(array.device), ("mdadm", "--stop", "/dev/" + array.device)) for array in inactive]
    if all(member.intact or member.drive is None for member in members):
        return steps + [Step("assemble {0}".format(one.device), ("mdadm", "--assemble", path, "--uuid=" + one.uuid) + run + tuple(devices))], []
    if any(one.parts) or not one.level or len(members) != one.raid_disks:
        raise FleetError("The array {0} cannot be assembled any more, and it was made of partitions or not whole, so it is not made anew either. No drive was "
                         "written to. Make it by hand with UUID {1} (mdadm --create --uuid), and run this again.".format(one.told, one.uuid))
    whole = [member for member in members if member.intact and not _is_given_up(member, wipe)]
    if whole and len(members) - sum(member.intact for member in members) <= can_lose(one.level, one.raid_disks):
        return _rebuilt(one, members, path, steps, found, wipe)
    reasons = _reasons(one, members, found, wipe, "the array {0} cannot be assembled, only made anew and empty".format(one.device))
    for member in members:
        steps += clearing(member.device, member.contents) if not member.intact else []
    argv = ["mdadm", "--create", path, "--run", "--metadata=" + (one.metadata or "1.2"), "--level=" + one.level,
            "--raid-devices={0}".format(len(devices)), "--uuid=" + one.uuid]
    argv += ["--name=" + one.name.rpartition(":")[2]] if one.name else []
    argv += ["--homehost=" + one.name.partition(":")[0]] if ":" in one.name else []
    argv += ["--chunk={0}".format(one.chunk_bytes // 1024)] if one.chunk_bytes else []
    steps.append(Step("make {0} anew with its UUID".format(one.device), tuple(argv + devices)))
    return steps + _file_system(one, path), reasons


def _rebuilt(one: Stopped, members: Sequence[Member], path: str, steps: Sequence[Step], found: Found,
             wipe: Sequence[str]) -> Tuple[List[Step], List[Dict[str, str]]]:
    """An array with redundancy has all its data on the members that are left; those that guests wrote over are filled from them."""
    kept, lost = [member for member in members if member.intact], [member for member in members if not member.intact and member.drive is not None]
    reasons = _reasons(one, members, found, wipe, "the array {0} has to be rebuilt onto it".format(one.device))
    done = list(steps)
    done.append(Step("assemble {0} of the members that are left".format(one.device), (
        "mdadm", "--assemble", path, "--uuid=" + one.uuid, "--run") + tuple("/dev/" + member.device for member in kept)))
    return done + _filled(one, lost, path), reasons


def _filled(one: Stopped, lost: Sequence[Member], path: str) -> List[Step]:
    steps: List[Step] = []
    for member in lost:
        steps += clearing(member.device, member.contents)
    devices = tuple("/dev/" + member.device for member in lost)
    rebuild = Step("rebuild {0} onto {1}".format(one.device, ", ".join(member.id for member in lost)), ("mdadm", "--manage", path, "--add") + devices)
    return steps + [rebuild] if lost else []


def _completed(one: Stopped, running: Array, found: Found, wipe: Sequence[str]) -> Tuple[List[Step], List[Dict[str, str]]]:
    """An array that a run which was cut short has assembled of the members that were left, and not filled the others yet."""
    there = {member.device for member in running.members}
    members = [_member(member, part, one, found) for member, part in zip(one.members, one.parts)]
    lost = [member for member in members if member.drive is not None and member.device not in there and not member.intact]
    if not lost or any(one.parts) or not can_lose(one.level, one.raid_disks):
        return [], []
    return _filled(one, lost, "/dev/" + running.device), _reasons(one, lost, found, wipe, "the array {0} has to be rebuilt onto it".format(one.device))


def _file_system(one: Stopped, path: str) -> List[Step]:
    """The file system that was, empty, with its UUID and label, so that fstab finds it."""
    option = _UUID_OPTION.get(one.fs_type)
    if not one.fs_type or option is None:
        return []
    argv = ["mkfs." + one.fs_type, "-q", "-f" if one.fs_type == "xfs" else "-F"]
    if one.fs_uuid:
        argv += [option[0], "uuid=" + one.fs_uuid if one.fs_type == "xfs" else one.fs_uuid]
    argv += ["-L", one.fs_label] if one.fs_label else []
    return [Step("make {0} on {1} with its UUID".format(one.fs_type, one.device), tuple(argv + [path]))]


def _member(member_id: str, part: int, one: Stopped, found: Found) -> Member:
    drive = next((drive for drive in found.drives if member_id in found.names[drive.device] or member_id in (drive.id, drive.device)), None)
    if drive is None:
        return Member(member_id, None, "", False, None)
    device = partition_device(drive.device, part) if part else drive.device
    contents = found.contents.get(drive.device)
    if contents is None:
        return Member(member_id, drive, device, False, None)
    block = contents.superblock
    whole = not part and block is not None and block.uuid == one.uuid
    partition = bool(part) and any(entry.type == MD and entry.device == device for entry in contents.signatures)
    others = [entry for entry in contents.signatures if entry.type != MD and not part]
    return Member(member_id, drive, device, (whole or partition) and not others, contents)


def _is_given_up(member: Member, wipe: Sequence[str]) -> bool:
    return member.contents is not None and bool(set(wipe) & set(member.contents.names + (member.id,)))


def _reasons(one: Stopped, members: Sequence[Member], found: Found, wipe: Sequence[str], so: str) -> List[Dict[str, str]]:
    """Why the members may not be written to; ``so`` is what would be done."""
    reasons = [why for why in (_not_given_up(member, one, wipe, so) for member in members) if why]
    return reasons + [{"device": member.device, "id": member.id, "reason": "/dev/{0} {1}. End that use first.".format(
        member.device, " and ".join(found.uses[member.drive.device].told))} for member in members if member.drive and found.uses[member.drive.device].told]


def _not_given_up(member: Member, one: Stopped, wipe: Sequence[str], so: str) -> Optional[Dict[str, str]]:
    contents = member.contents
    if contents is None or _is_given_up(member, wipe):
        return None
    if member.intact:
        # Either it stays as it is, or so many of its neighbours were written over that what is left of the array on it is of no use to anybody.
        return None
    held = [entry.told for entry in contents.signatures] or (["the partitions " + ", ".join(contents.partitions)] if contents.partitions else [])
    if not held and not member.intact:
        held = ["no superblock of the array any more, but maybe what a guest wrote"]
    return {"device": member.device, "id": member.id, "consent": "wipe", "reason": "{0} holds {1}, so {2}. To give up what guests left on this drive, add "
            "its id {3} to wipe (kvm_passthrough_revert_wipe in the role).".format(contents.label, " and ".join(held), so, member.id)}


def _freed(drive_id: str, found: Found, wipe: Sequence[str]) -> Tuple[List[Step], List[str]]:
    """A drive that was blank, or given up, before it was divided: blank again with consent, else left with what guests have on it."""
    drive = next((drive for drive in found.drives if drive_id in found.names[drive.device] or drive_id == drive.id), None)
    contents = found.contents.get(drive.device) if drive else None
    if drive is None or contents is None or not (contents.signatures or contents.partitions):
        return [], []
    if not set(wipe) & set(contents.names):
        return [], ["{0} keeps the partitions that were made for guests, and what is on them. To have it blank, add its id {1} to wipe "
                    "(kvm_passthrough_revert_wipe in the role) and run this again.".format(contents.label, drive_id)]
    told = contents.uses.told
    if told:
        raise FleetError("{0} {1}, so it was not made blank. End that use first.".format(contents.label, " and ".join(told)))
    return clearing(drive.device, contents), []


def _mounting(one: Stopped, fstab: str, mounted: bool) -> List[Step]:
    """As fstab says, or else as it was."""
    if mounted:
        return []
    steps = []
    for mount in one.mounts:
        if at_boot.set_aside(fstab, (), (mount,)) != fstab:
            steps.append(Step("mount {0}".format(mount.path), ("mount", mount.path)))
            continue
        options = ",".join(dict.fromkeys(mount.options.split(","))) or "defaults"
        steps.append(Step("mount {0}".format(mount.path), ("mount", "-t", mount.type, "-o", options, "/dev/" + one.device, mount.path)))
    return steps


def _conf_back(record: Record, found: Found) -> Optional[str]:
    if not record.arrays:
        return found.conf
    if found.conf == record.conf_after:
        return record.conf_before
    conf = found.conf
    if conf is None:
        return None
    for one in record.arrays:
        conf = at_boot.no_longer_ignoring(conf, one.uuid, one.conf)
    return conf


def _fstab_back(record: Record, found: Found) -> Optional[str]:
    if not record.arrays or found.fstab is None:
        return found.fstab
    if found.fstab == record.fstab_after and record.fstab_before is not None:
        return record.fstab_before
    fstab = found.fstab
    for one in record.arrays:
        fstab = at_boot.put_back(fstab, one.sources, one.mounts)
    return fstab
