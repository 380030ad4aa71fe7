# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What block devices are made of each other, and where they are mounted, by sysfs and proc(5)."""
from typing import Dict, List, NamedTuple, Sequence, Set

from ..host.mountinfo import parse_mountinfo, unescape
from ..host.sysfs import Sysfs
from .md import Mount


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
    waiting = [(name, "")]
    while waiting:
        current, below = waiting.pop()
        if current in found:
            continue
        found[current] = below
        waiting += [(entry, below or current) for entry in partitions(sysfs, current)]
        waiting += [(entry, current) for entry in sysfs.entries("sys/class/block/{0}/holders".format(current))]
    return found


def numbers(sysfs: Sysfs, names: Sequence[str]) -> Set[str]:
    """The device numbers, major:minor, of these."""
    return {number for number in (sysfs.read("sys/class/block/{0}/dev".format(name)) for name in names) if number}


def mounts_of(sysfs: Sysfs, names: Sequence[str], places: Sequence[Place]) -> List[Mount]:
    """Where these devices are mounted. Btrfs and ZFS have numbers of their own, but name the device."""
    known = numbers(sysfs, names)
    return [place.mount for place in places if place.number in known or place.source in ["/dev/" + name for name in names]]
