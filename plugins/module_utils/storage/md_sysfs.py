# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the arrays of a running kernel, or of a recorded one, from sysfs.

/proc/mdstat and a member's own state go on saying that all is well when the drive of a raid0 was pulled. ``md/array_state`` says ``broken``, from Linux 5.4
on; before that, and for single members, it shows in the drive's directory, which is gone or does not name the array as its holder.
Names and file systems come from udev's database, and from mdadm where udev has none, as for arrays that do not run.
"""
import re
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..host.drives import Drive, read_drives
from ..host.sysfs import Sysfs
from .blocks import Place, made_of, mounts_of, numbers, read_places
from .md import ACTIVE, FAILED, GONE, JOURNAL, REBUILDING, SPARE, Array, FileSystem, Member, Mount, NfsCache, Sync
from .md_text import parse_udev

#: What ``mdadm --detail --export`` or ``--examine --export`` says about a device, by its option and the kernel's name; empty where it says nothing.
Ask = Callable[[str, str], Mapping[str, str]]

_MD = re.compile(r"^md(\d+|_\S+)$", re.ASCII)
_UNKNOWN_UUID = re.compile(r"^[0:]*$")


def nobody(_option: str, _device: str) -> Mapping[str, str]:
    """Asks no program: for recorded hosts."""
    return {}


def read_arrays(sysfs: Sysfs, ask: Ask = nobody) -> List[Array]:
    """All arrays, by the number in their names."""
    nodes = [int(name[4:]) for name in sysfs.entries("sys/devices/system/node") if re.match(r"^node\d+$", name)]
    names = sorted((name for name in sysfs.entries("sys/block") if _MD.match(name)), key=lambda name: (len(name), name))
    running = [name for name in names if sysfs.exists("sys/block/{0}/md/array_state".format(name))]
    if not running:
        return []
    drives = {drive.device: drive for drive in read_drives(sysfs, nodes)}
    places = read_places(sysfs)
    arrays = [_array(sysfs, name, drives, places, ask) for name in running]
    return [array for array in arrays if array.state != "clear" or array.members]


def _array(sysfs: Sysfs, name: str, drives: Mapping[str, Drive], places: Sequence[Place], ask: Ask) -> Array:
    place = "sys/block/{0}/md".format(name)
    members = _members(sysfs, name, place, drives)
    udev = _udev(sysfs, name)
    known: Dict[str, str] = {key: value for key, value in udev.items() if key.startswith("MD_")}
    if "MD_UUID" not in known or _UNKNOWN_UUID.match(known["MD_UUID"]):
        known = dict(ask("--detail", name) or known)
    level, disks = sysfs.read(place + "/level") or "", _first(sysfs, place + "/raid_disks")
    if not level and known.get("MD_LEVEL") != "container" and members:
        # An array that waits for members knows neither its level nor how many there should be; its members' superblocks do.
        carried = ask("--examine", members[0].device)
        level, disks = carried.get("MD_LEVEL", ""), _whole(carried.get("MD_DEVICES", ""))
    parts = list(made_of(sysfs, name))
    mounts = tuple(mounts_of(sysfs, parts, places))
    return Array(
        name,
        "sysfs",
        level=level or known.get("MD_LEVEL", ""),
        state=sysfs.read(place + "/array_state") or "",
        uuid=_uuid(sysfs.read(place + "/uuid") or "", known.get("MD_UUID", "")),
        name=known.get("MD_NAME") or known.get("MD_DEVNAME", ""),
        metadata=sysfs.read(place + "/metadata_version") or "",
        chunk_bytes=_first(sysfs, place + "/chunk_size"),
        size_bytes=sysfs.number("sys/block/{0}/size".format(name), 0) * 512,
        raid_disks=disks,
        members=members,
        sync=_sync(sysfs, place),
        mismatches=sysfs.number(place + "/mismatch_cnt", 0),
        trim=_trim(sysfs, "sys/block/{0}/queue".format(name)),
        file_system=_file_system(udev, mounts),
        mounts=mounts,
        nfs_cache=_nfs_cache(sysfs, numbers(sysfs, parts), places),
    )


def _members(sysfs: Sysfs, array: str, place: str, drives: Mapping[str, Drive]) -> Tuple[Member, ...]:
    names = [name[4:] for name in sysfs.entries(place) if name.startswith("dev-")]
    members = [_member(sysfs, array, place, name, drives) for name in names]
    return tuple(sorted(members, key=lambda member: (member.slot is None, member.slot or 0, len(member.device), member.device)))


def _member(sysfs: Sysfs, array: str, place: str, name: str, drives: Mapping[str, Drive]) -> Member:
    own = "{0}/dev-{1}".format(place, name)
    flags = tuple(flag for flag in (sysfs.read(own + "/state") or "").split(",") if flag)
    slot = sysfs.number(own + "/slot", -1)
    whole = _whole_drive(sysfs.link(own + "/block"), name, drives)
    here = sysfs.read(own + "/block/dev") is not None and (not sysfs.exists(own + "/block/holders") or sysfs.exists(own + "/block/holders/" + array))
    drive = drives.get(whole) if here else None
    queue = own + ("/block/queue" if whole == name else "/block/../queue")
    return Member(
        # A slash in a name (cciss/c0d0) is an exclamation mark in sysfs.
        name.replace("!", "/"),
        _role(flags, slot) if here else GONE,
        slot if slot >= 0 else None,
        flags,
        sysfs.number(own + "/errors", 0),
        len((sysfs.read(own + "/bad_blocks") or "").splitlines()),
        sysfs.number(own + "/size", 0) * 1024,
        _trim(sysfs, queue) if here else None,
        drive.id if drive else "",
        drive.serial if drive else "",
        drive.node if drive else -1,
    )


def _role(flags: Sequence[str], slot: int) -> str:
    """By the flags of md/dev-*/state: a member with a slot that is not in sync is being filled."""
    if "faulty" in flags:
        return FAILED
    if "journal" in flags:
        return JOURNAL
    if slot < 0:
        return SPARE
    return ACTIVE if "in_sync" in flags else REBUILDING


def _whole_drive(link: str, name: str, drives: Mapping[str, Drive]) -> str:
    """The drive that a partition is on: the directory its own is in."""
    above = link.split("/")[-2:-1]
    return above[0] if name not in drives and above and above[0] in drives else name


def _udev(sysfs: Sysfs, name: str) -> Dict[str, str]:
    number = sysfs.read("sys/block/{0}/dev".format(name))
    return parse_udev(sysfs.read("run/udev/data/b{0}".format(number)) or "") if number else {}


def _uuid(kernel: str, known: str) -> str:
    """In mdadm's form. The kernel, if it is new enough, has it in another, and as zeros for arrays with metadata of others."""
    digits = kernel.replace("-", "").lower()
    if len(digits) == 32 and digits.strip("0"):
        return ":".join(digits[start:start + 8] for start in range(0, 32, 8))
    return "" if _UNKNOWN_UUID.match(known) else known


def _sync(sysfs: Sysfs, place: str) -> Sync:
    action = sysfs.read(place + "/sync_action") or "idle"
    done = re.match(r"^(\d{1,18}) / (\d{1,18})$", sysfs.read(place + "/sync_completed") or "", re.ASCII)
    percent = round(100.0 * int(done.group(1)) / int(done.group(2)), 1) if done and int(done.group(2)) else None
    speed = sysfs.number(place + "/sync_speed", -1)
    return Sync(action, percent, speed if speed >= 0 and action != "idle" else None)


def _trim(sysfs: Sysfs, queue: str) -> Optional[bool]:
    """Whether blocks can be discarded; None where the kernel does not say."""
    most = sysfs.number(queue + "/discard_max_bytes", -1)
    return most > 0 if most >= 0 else None


def _file_system(udev: Mapping[str, str], mounts: Sequence[Mount]) -> FileSystem:
    """By udev; after a drive was pulled udev forgets, but the kernel knows what is mounted."""
    return FileSystem(udev.get("ID_FS_TYPE") or (mounts[0].type if mounts else ""), udev.get("ID_FS_UUID", ""), udev.get("ID_FS_LABEL", ""))


def _nfs_cache(sysfs: Sysfs, own: Set[str], places: Sequence[Place]) -> NfsCache:
    """Whether cachefilesd is told to keep the NFS cache on one of these devices (cachefilesd.conf(5)), and whether the kernel uses it."""
    settings = dict(line.split(None, 1) for line in (sysfs.read("etc/cachefilesd.conf") or "").splitlines() if len(line.split(None, 1)) == 2)
    directory = settings.get("dir", "").strip()
    around = [place for place in places if directory == place.mount.path or directory.startswith(place.mount.path.rstrip("/") + "/")]
    if not directory.startswith("/") or not around or max(reversed(around), key=lambda place: len(place.mount.path)).number not in own:
        return NfsCache()
    caches = sysfs.read("proc/fs/fscache/caches")
    if caches is None:  # before Linux 5.17
        return NfsCache(directory)
    tag = settings.get("tag", "CacheFiles").strip()
    # The columns are reference, volumes, objects, accesses, state (A is active), name.
    return NfsCache(directory, any(words[5:] == ["A", tag] for words in (line.split() for line in caches.splitlines())))


def _first(sysfs: Sysfs, path: str) -> int:
    """The number in a file; during a reshape the old value follows in brackets."""
    return _whole((sysfs.read(path) or "").partition(" ")[0])


def _whole(text: str) -> int:
    return int(text) if re.match(r"^\d{1,12}$", text, re.ASCII) else 0
