# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What block devices are made of each other, and where they are mounted, by sysfs and proc(5)."""
import os
import re
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

from ..host.mountinfo import parse_mountinfo, unescape
from ..host.sysfs import Sysfs
from .md import Mount

_FLAGS = re.compile(r"^flags:\s*([0-7]{1,12})$", re.MULTILINE)


class Place(NamedTuple):
    """What /proc/self/mountinfo says of one mount: the device's number, the source as it was given, and the rest."""

    number: str
    source: str
    mount: Mount


def read_places(sysfs: Sysfs) -> List[Place]:
    """What is mounted, in the order in which it was."""
    mounts = parse_mountinfo(sysfs.read("proc/self/mountinfo") or "")
    return [Place(one.device, one.source, Mount(one.path, one.type, ",".join(one.options + one.super_options))) for one in mounts]


def swap_devices(sysfs: Sysfs) -> List[str]:
    """The kernel's names of the devices in /proc/swaps; swap files are on file systems, which are mounted."""
    lines = (sysfs.read("proc/swaps") or "").splitlines()[1:]
    paths = [unescape(line.split()[0]) for line in lines if line.startswith("/dev/")]
    return [path.rpartition("/")[2] for path in paths]


def partitions(sysfs: Sysfs, name: str) -> List[str]:
    """The partitions that the kernel knows on a device."""
    place = "sys/class/block/" + name
    return [entry for entry in sysfs.entries(place) if entry.startswith(name) and sysfs.exists("{0}/{1}/partition".format(place, entry))]


def whole_drive(sysfs: Sysfs, name: str) -> str:
    """The drive that a device is a partition of, or the device itself."""
    place = "sys/class/block/" + name
    return sysfs.link(place).rstrip("/").split("/")[-2] if sysfs.exists(place + "/partition") else name


def made_of(sysfs: Sysfs, name: str) -> Dict[str, str]:
    """A device with its partitions and all that is made of them (arrays, LVM, LUKS, bcache): the kernel's names, and who each is on."""
    found: Dict[str, str] = {}
    loops = _loops(sysfs)
    waiting = [(name, "")]
    while waiting:
        current, below = waiting.pop()
        if current in found:
            continue
        found[current] = below
        waiting += [(loop, current) for loop, backing in loops if backing == "/dev/" + current]
        waiting += [(entry, below or current) for entry in partitions(sysfs, current)]
        waiting += [(entry, current) for entry in sysfs.entries("sys/class/block/{0}/holders".format(current))]
    return found


def _loops(sysfs: Sysfs) -> List[Tuple[str, str]]:
    """Loop devices with what they are made of; they are no holders of it, and do not open it exclusively (drivers/block/loop.c)."""
    found = [(name, sysfs.read("sys/block/{0}/loop/backing_file".format(name))) for name in sysfs.entries("sys/block") if name.startswith("loop")]
    return [(name, backing) for name, backing in found if backing]


def exported(sysfs: Sysfs, names: Sequence[str]) -> List[str]:
    """The subsystems by which this host gives one of these devices away over a network. nvmet does not open it exclusively (drivers/nvme/target)."""
    place = "sys/kernel/config/nvmet/subsystems"
    found = []
    for subsystem in sysfs.entries(place):
        for number in sysfs.entries("{0}/{1}/namespaces".format(place, subsystem)):
            space = "{0}/{1}/namespaces/{2}".format(place, subsystem, number)
            device = os.path.realpath(sysfs.path((sysfs.read(space + "/device_path") or "").lstrip("/")))
            if sysfs.read(space + "/enable") == "1" and os.path.basename(device) in names:
                found.append(subsystem)
    return found


def writers(sysfs: Sysfs) -> Dict[str, List[str]]:
    """The programs that have a block device open for writing, by the device's name: a guest's QEMU, dd, a file system of its own kind. Most do not ask for
    it exclusively. Those that only read do so for a moment, as udev and monitors, and are not told."""
    paths = {"/dev/" + name: name for name in sysfs.entries("sys/class/block")}
    found: Dict[str, List[str]] = {}
    for number in sorted((entry for entry in sysfs.entries("proc") if entry.isdigit()), key=int):
        place = "proc/" + number
        for handle in sysfs.entries(place + "/fd"):
            name = paths.get(sysfs.link("{0}/fd/{1}".format(place, handle)))
            if name and _writes(sysfs.read("{0}/fdinfo/{1}".format(place, handle)) or ""):
                program = "{0} (process {1})".format(sysfs.read(place + "/comm") or "a program", number)
                found.setdefault(name, []).extend([] if program in found.get(name, ()) else [program])
    return found


def _writes(fdinfo: str) -> bool:
    """By the access mode, the last two bits of the flags, which are octal (proc(5), open(2))."""
    match = _FLAGS.search(fdinfo)
    return bool(match and int(match.group(1), 8) & os.O_ACCMODE != os.O_RDONLY)


def numbers(sysfs: Sysfs, names: Sequence[str]) -> Set[str]:
    """The device numbers, major:minor, of these."""
    return {number for number in (sysfs.read("sys/class/block/{0}/dev".format(name)) for name in names) if number}


def mounts_of(sysfs: Sysfs, names: Sequence[str], places: Sequence[Place]) -> List[Mount]:
    """Where these devices are mounted. Btrfs and ZFS have numbers of their own, but name the device."""
    known = numbers(sysfs, names)
    return [place.mount for place in places if place.number in known or place.source in ["/dev/" + name for name in names]]
