# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a drive holds and who uses it, and so whether it may be taken.

Two kinds of things are in the way. A *use* (a mount, swap, an array, LVM, an open device) is ended by whoever began it; nothing consents to taking a drive
that is in use. *Content* (a signature of a file system, a partition table, an old array) is lost if its owner names the drive, and only that drive.
"""
import errno
import os
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..host.commands import Commands
from ..host.drives import Drive, read_drives
from ..host.errors import FleetError
from ..host.sysfs import Sysfs
from .blocks import Place, exported, made_of, mounts_of, partitions, read_places, swap_devices, writers
from .md_query import examine
from .md_text import Superblock

#: What an operating system is on: a drive with one of these mounted is never a data drive.
SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/etc", "/home", "/opt", "/srv", "/usr", "/var", "/var/log", "/var/tmp", "/tmp")

#: The superblock of md as libblkid names it.
MD = "linux_raid_member"

_TABLES = {"gpt": "a GPT partition table", "dos": "an MBR partition table", "PMBR": "a protective MBR"}
_KINDS = {
    MD: "the superblock of an md array", "LVM2_member": "an LVM physical volume", "crypto_LUKS": "an encrypted volume (LUKS)", "swap": "swap space",
    "zfs_member": "a member of a ZFS pool", "bcache": "a bcache device",
}

_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "vfat", "exfat", "ntfs", "iso9660", "squashfs", "zonefs", "bcachefs")

#: Tells whether somebody holds this device exclusively, by the kernel's name.
Busy = Callable[[str], bool]


class Signature(NamedTuple):
    """Something that libblkid recognizes on a device, with its UUID and label if it has any."""

    type: str
    uuid: str = ""
    label: str = ""
    device: str = ""

    @property
    def told(self) -> str:
        """What it is, in words."""
        what = _TABLES.get(self.type) or _KINDS.get(self.type) or (
            "a file system ({0})" if self.type in _FILE_SYSTEMS else "data of the type {0}").format(self.type)
        return what + (' labelled "{0}"'.format(self.label) if self.label else "") + (" (UUID {0})".format(self.uuid) if self.uuid else "")


class Uses(NamedTuple):
    """Who uses a drive now: sentences without their subject; ``arrays`` are md arrays that it is a member of, ``system`` whether it holds the OS."""

    told: Tuple[str, ...] = ()
    arrays: Tuple[str, ...] = ()
    system: bool = False


class Contents(NamedTuple):
    """A drive with all the names that last and that no other drive has, its users, and what is on it."""

    drive: Drive
    names: Tuple[str, ...]
    uses: Uses = Uses()
    signatures: Tuple[Signature, ...] = ()
    partitions: Tuple[str, ...] = ()
    superblock: Optional[Superblock] = None

    @property
    def id(self) -> str:
        """The name by which consent is given; empty if none is its alone, as where two name spaces of a drive have one serial number."""
        return next((name for name in (self.drive.id, self.drive.serial) + self.names if name in self.names), "")

    @property
    def label(self) -> str:
        return "/dev/{0}".format(self.drive.device) + (" (serial {0})".format(self.drive.serial) if self.drive.serial else "")


def parse_wipefs(text: str, device: str = "") -> List[Signature]:
    """What ``wipefs --no-act --parsable`` prints: offset, UUID, label, type. A label may have commas in it."""
    found = []
    for line in text.splitlines():
        words = line.split(",")
        if len(words) >= 4 and re.match(r"^0x[0-9a-f]+$", words[0]):
            found.append(Signature(words[-1], words[1], ",".join(words[2:-1]), device))
    return found


def signatures(commands: Commands, device: str) -> List[Signature]:
    """All signatures on a device, each type once."""
    found: Dict[Tuple[str, str], Signature] = {}
    for signature in parse_wipefs(commands.output(("wipefs", "--no-act", "--parsable", "/dev/" + device)), device):
        found.setdefault((signature.type, signature.uuid), signature)
    return list(found.values())


def is_busy(device: str) -> bool:
    """Whether an exclusive open is refused: ZFS, iSCSI and programs hold drives without sysfs showing it (open(2), O_EXCL on block devices)."""
    try:
        os.close(os.open("/dev/" + device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise FleetError("/dev/{0} could not be opened: {1}. Run the task with become: true; if it was, the drive does not work.".format(
            device, error.strerror))
    return False


def read_uses(sysfs: Sysfs, device: str, places: Sequence[Place], swaps: Sequence[str]) -> Uses:
    """Who uses a drive, as far as the kernel's own tables tell."""
    tree = made_of(sysfs, device)
    told: List[str] = []
    arrays = tuple(sorted(name for name in tree if sysfs.exists("sys/class/block/{0}/md".format(name))))
    paths = [mount.path for mount in mounts_of(sysfs, list(tree), places)]
    swap = [name for name in tree if name in swaps]
    system = any(path in SYSTEM_MOUNTS for path in paths) or bool(swap)
    told += ["is mounted at {0}".format(path) for path in sorted(set(paths))]
    told += ["is used as swap (/dev/{0})".format(name) for name in swap]
    for name in sorted(tree):
        if tree[name] and name not in arrays and not sysfs.exists("sys/class/block/{0}/partition".format(name)):
            told.append("is held by {0}".format(_holder(sysfs, name)))
    told += ["is exported by nvmet as {0}".format(subsystem) for subsystem in exported(sysfs, list(tree))]
    if system:
        told.append("holds the operating system")
    if sysfs.read("sys/class/block/{0}/ro".format(device)) == "1":
        told.append("can only be read")
    return Uses(tuple(told), arrays, system)


def _holder(sysfs: Sysfs, name: str) -> str:
    """A device that is made of others, with the name that device mapper gives it."""
    mapped = sysfs.read("sys/class/block/{0}/dm/name".format(name))
    uuid = sysfs.read("sys/class/block/{0}/dm/uuid".format(name)) or ""
    kind = {"LVM": "LVM volume", "CRYPT": "LUKS volume", "mpath": "multipath device"}.get(uuid.partition("-")[0], "device mapper")
    return "the {0} {1} ({2})".format(kind, mapped, name) if mapped else name


class Drives:
    """The drives of a host, found by any of their names."""

    def __init__(self, sysfs: Sysfs, busy: Busy = is_busy) -> None:
        nodes = [int(name[4:]) for name in sysfs.entries("sys/devices/system/node") if re.match(r"^node\d+$", name)]
        self.all = read_drives(sysfs, nodes)
        self._sysfs, self._busy = sysfs, busy
        self._places, self._swaps = read_places(sysfs), swap_devices(sysfs)
        self._links: Dict[str, List[str]] = {}
        for name in sysfs.entries("dev/disk/by-id"):
            self._links.setdefault(sysfs.link("dev/disk/by-id/" + name).rpartition("/")[2], []).append(name)
        self._names = {drive.device: self._names_of(drive) for drive in self.all}
        self._writers: Optional[Dict[str, List[str]]] = None

    @property
    def root_is_on_one(self) -> bool:
        """Whether the running system is on a drive of this host at all, and so shows which drives are the system's."""
        return any("/" in [mount.path for mount in mounts_of(self._sysfs, list(made_of(self._sysfs, drive.device)), self._places)] for drive in self.all)

    def names(self, drive: Drive) -> Tuple[str, ...]:
        """The names of a drive that last: those in /dev/disk/by-id, the serial number, the world wide name."""
        return self._names[drive.device]

    def _names_of(self, drive: Drive) -> Tuple[str, ...]:
        wwid = self._sysfs.read("sys/class/block/{0}/wwid".format(drive.device)) or self._sysfs.read("sys/class/block/{0}/device/wwid".format(drive.device))
        found = [drive.id] + self._links.get(drive.device, []) + [drive.serial, wwid or ""]
        return tuple(sorted({name for name in found if name}))

    def own_names(self, drive: Drive) -> Tuple[str, ...]:
        """Those of its names that no other drive of this host has: by others nobody consents to anything."""
        others = {name for other in self.all if other.device != drive.device for name in self.names(other)}
        return tuple(name for name in self.names(drive) if name not in others)

    def _programs(self) -> Dict[str, List[str]]:
        """Who writes to which device, looked up once."""
        if self._writers is None:
            self._writers = writers(self._sysfs)
        return self._writers

    def uses(self, drive: Drive) -> Uses:
        return read_uses(self._sysfs, drive.device, self._places, self._swaps)

    def called(self, word: str) -> Drive:
        """The drive that a user names by path, id, serial number or world wide name; raises :class:`FleetError` if there is none, or more than one."""
        name = word
        if word.startswith("/dev/"):
            name = os.path.basename(os.path.realpath(self._sysfs.path(word.lstrip("/"))))
        fitting = [drive for drive in self.all if name == drive.device and word.startswith("/dev/") or word in self.names(drive)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise FleetError("{0} is the name of {1} drives: {2}. Name one by its path in /dev/disk/by-id.".format(
                word, len(fitting), ", ".join(drive.device for drive in fitting)))
        if word.startswith("/dev/") and self._sysfs.exists("sys/class/block/{0}/partition".format(name)):
            raise FleetError("{0} is a partition. Whole drives are expected; one that has partitions is taken only with consent.".format(word))
        there = ", ".join("{0} ({1})".format(drive.device, drive.id or drive.serial or "no id") for drive in self.all)
        raise FleetError("There is no drive {0} on this host. A path in /dev/disk/by-id, a name in there or a serial number is expected. "
                         "There are: {1}.".format(word, there or "none"))

    def contents(self, drive: Drive, commands: Commands) -> Contents:
        """All that is on a drive and in its way. Reads the drive; writes nothing."""
        uses = self.uses(drive)
        found = signatures(commands, drive.device)
        parts = partitions(self._sysfs, drive.device)
        for part in parts:
            found += signatures(commands, part)
        if not uses.told and not uses.arrays and self._busy(drive.device):
            uses = uses._replace(told=("is held open by a program or by the kernel (fuser -v /dev/{0}, zpool status)".format(drive.device),))
        programs = [program for name in [drive.device] + parts for program in self._programs().get(name, ())]
        uses = uses._replace(told=uses.told + (("is open for writing by {0}".format(", ".join(dict.fromkeys(programs))),) if programs else ()))
        superblock = examine(drive.device, commands) if any(one.type == MD and one.device == drive.device for one in found) else None
        return Contents(drive, self.own_names(drive), uses, tuple(found), tuple(parts), superblock)


def refusal(found: Contents, consented: Sequence[str], own: Sequence[str] = (), least_bytes: int = 0) -> str:
    """Why a drive may not be taken, as a sentence with the remedy; empty if it may.

    ``consented`` are the names of drives whose content may be lost, ``own`` the UUIDs of arrays whose superblocks are not in the way.
    """
    arrays = ["is part of the array {0}".format(name) for name in found.uses.arrays]
    told = arrays + list(found.uses.told)
    if told:
        return "{0} {1}. It was not touched. {2}".format(found.label, " and ".join(told), _remedy(found.uses))
    if found.drive.size_bytes < max(least_bytes, 1):
        return "{0} has {1} bytes, but at least {2} were said. It was not touched. Is it the right drive?".format(
            found.label, found.drive.size_bytes, least_bytes)
    kept = [one for one in found.signatures if not (one.type == MD and found.superblock is not None and found.superblock.uuid in own)]
    if (not kept and not found.partitions) or set(consented) & set(found.names):
        return ""
    held = [_with_place(one, found) for one in kept] or ["the partitions {0}".format(", ".join(found.partitions))]
    return "{0} holds {1}. It was not touched. To take it anyway and lose that data, add its id {2} to wipe (raid_cache_wipe in the role).".format(
        found.label, " and ".join(held), found.id or "(it has none of its own: clear it by hand)")


def _with_place(one: Signature, found: Contents) -> str:
    if one.type == MD and found.superblock is not None and one.device == found.drive.device:
        return "the superblock of the md array {0} (UUID {1})".format(found.superblock.name or "without a name", found.superblock.uuid)
    return one.told + (" on {0}".format(one.device) if one.device != found.drive.device else "")


def _remedy(uses: Uses) -> str:
    if uses.system:
        return "Nothing consents to that. Name other drives."
    if uses.arrays:
        return "Stop that array first if it is no longer wanted (md_array with state: absent)."
    return "End that use first; nothing consents to taking a drive that is in use."
