# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What keeps a head node up, as far as it can be read: whether its system is on a mirror, and its power supplies.

"Consider using RAID-1 for the OS drive in the head node as well as redundant power supplies" (chapter 10).
"""
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.mountinfo import parse_mountinfo, seen_at
from ..host.sysfs import Sysfs
from .head_node import Supply, judge_power, power_supplies

_REDUNDANT = ("raid1", "raid10", "raid4", "raid5", "raid6")
# Drives that a controller makes up from others call themselves so; Linux sees one drive, whatever is behind it.
_CONTROLLERS = re.compile(r"\b(MR\d{4}|SMC\d{4}|PERC|LOGICAL VOLUME|ServeRAID|RAID \d|MegaRAID|LSI|AVAGO)", re.IGNORECASE)

#: Partition, encryption, LVM and arrays in any order come to half of this.
_DEEPEST = 12


class Mirror(NamedTuple):
    """Whether the drive under ``/`` may fail; None where Linux cannot tell."""

    survives: Optional[bool]
    device: str
    said: str


class Power(NamedTuple):
    """Whether a power supply may fail; None if nobody tells."""

    survives: Optional[bool]
    supplies: Tuple[Supply, ...]
    said: str


def read_mirror(sysfs: Sysfs) -> Mirror:
    """What ``/`` is on, through partitions, LVM and encryption down to drives and arrays."""
    number, source = _root(sysfs)
    name = os.path.basename(sysfs.link("sys/dev/block/" + number)) if number else ""
    if not name and source.startswith("/dev/"):
        # btrfs has a number of its own, and names its device.
        name = os.path.basename(os.path.realpath(sysfs.path(source.lstrip("/"))))
    if not name or not sysfs.exists("sys/class/block/" + name):
        return Mirror(None, "", "/ is not on a drive that Linux shows ({0}).".format(source or "nothing is known of it"))
    leaves = _leaves(sysfs, name, 0)
    unsafe = [leaf for leaf in leaves if leaf.survives is False]
    unknown = [leaf for leaf in leaves if leaf.survives is None]
    worst = (unsafe or unknown or leaves)[0]
    return Mirror(worst.survives, worst.device, worst.said)


def read_power(sysfs: Sysfs, commands: Commands) -> Power:
    """Ask the management controller, where there are one and ipmitool."""
    if not any(sysfs.exists(place) for place in ("dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0")):
        return Power(None, (), "There is no management controller that Linux can ask (/dev/ipmi0). Look at the machine, or at its controller's web page.")
    try:
        result = commands.run(("ipmitool", "sdr", "type", "Power Supply"), 60)
    except FleetError as error:
        return Power(None, (), error.message)
    if result.rc != 0:
        return Power(None, (), "ipmitool could not ask the management controller: {0}".format((result.err or result.out).strip().replace("\n", "; ")))
    supplies = power_supplies(result.out)
    survives, said = judge_power(supplies)
    return Power(survives, tuple(supplies), said)


def to_dict(mirror: Mirror, power: Power) -> Dict[str, Any]:
    """As JSON types."""
    return {
        "mirror": dict(mirror._asdict()),
        "power": {"survives": power.survives, "supplies": [dict(supply._asdict()) for supply in power.supplies], "said": power.said},
    }


def _root(sysfs: Sysfs) -> Tuple[str, str]:
    """Number and name of the device of ``/``; a file system without one, such as btrfs or ZFS, has only the name."""
    mount = seen_at(parse_mountinfo(sysfs.read("proc/self/mountinfo") or ""), "/")
    if mount is None:
        return "", ""
    return "" if mount.device.startswith("0:") else mount.device, mount.source


def _leaves(sysfs: Sysfs, name: str, depth: int) -> List[Mirror]:
    place = "sys/class/block/" + name
    level = sysfs.read(place + "/md/level")
    if level in _REDUNDANT:
        lost = sysfs.number(place + "/md/degraded", 0)
        state = sysfs.read(place + "/md/array_state") or "unknown"
        if lost:
            return [Mirror(False, name, "/ is on {0} ({1}), which has lost {2} of its {3} members. Replace the drive.".format(
                name, level, lost, sysfs.number(place + "/md/raid_disks", 0)))]
        return [Mirror(True, name, "/ is on {0} ({1}, {2}).".format(name, level, state))]
    if depth > _DEEPEST:
        return [Mirror(None, name, "{0} lies deeper below / than this was made for.".format(name))]
    below = sysfs.entries(place + "/slaves")
    if below:
        return [leaf for one in below for leaf in _leaves(sysfs, one, depth + 1)]
    if sysfs.exists(place + "/partition"):
        name = os.path.basename(os.path.dirname(os.path.realpath(sysfs.path(place))))
        # A firmware RAID or an array may carry the partition table itself.
        return _leaves(sysfs, name, depth + 1)
    words = " ".join(filter(None, (sysfs.read(place + "/device/vendor"), sysfs.read(place + "/device/model"))))
    if _CONTROLLERS.search(words):
        return [Mirror(None, name, "/ is on {0} ({1}), which a controller makes up of other drives. Ask its tool, such as storcli64, for the level.".format(
            name, words))]
    if name.startswith(("vd", "xvd", "nbd", "rbd", "loop")):
        return [Mirror(None, name, "/ is on {0}, a drive that somebody else lends this machine.".format(name))]
    model = " ({0})".format(words) if words else ""
    return [Mirror(False, name, "/ is on one drive, {0}{1}. If it fails, so does the head node; consider RAID-1 (chapter 10).".format(name, model))]
