# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drives and arrays for stories about making arrays, in few words."""
from ansible_collections.dgxops.fleet.plugins.module_utils.host.drives import Drive
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import MD, Contents, Signature, Uses
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import ACTIVE, GONE, Array, Member
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_change import Found, Wish
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_text import Superblock

OURS, FRESH, OTHER = "0a:0a:0a:0a", "0f:0f:0f:0f", "0b:0b:0b:0b"
CONF = "HOMEHOST <system>\nMAILADDR root\n"


def drive(number, size=3840 * 10 ** 9):
    return Drive("nvme{0}n1".format(number), "nvme-MZ_S{0}".format(number), "MZ", "S{0}".format(number), size, False, "", 0)


def contents(number, signatures=(), uses=(), arrays=(), system=False, block=None, partitions=()):
    one = drive(number)
    return Contents(one, (one.id, one.serial, "eui.{0}".format(number)), Uses(tuple(uses), tuple(arrays), system), tuple(signatures), tuple(partitions), block)


def member_of(number, uuid=OURS, name="dgx01:raid", disks=4, level="raid0", arrays=()):
    """A drive with the superblock of an array."""
    device = drive(number).device
    block = Superblock(device, metadata="1.2", uuid=uuid, name=name, level=level, raid_disks=disks)
    return contents(number, [Signature(MD, "0a0a", name, device)], arrays=arrays, block=block)


def array(numbers=range(4), device="md127", uuid=OURS, name="dgx01:raid", level="raid0", state="clean", disks=None, lost=(), mounts=()):
    members = tuple(Member(drive(number).device, GONE if number in lost else ACTIVE, slot) for slot, number in enumerate(numbers))
    return Array(device, "sysfs", level, state, uuid, name, "1.2", 524288, 10 ** 12, len(members) if disks is None else disks, members, mounts=tuple(mounts))


def wish(state="present", **changes):
    return Wish("raid", state, "raid0", (), 512, 0, ())._replace(**changes)


def found(numbers=range(4), carried=(), arrays=(), **changes):
    """A host; drives of which nothing is said are blank."""
    drives = tuple(drive(number) for number in numbers)
    held = {one.device: contents(number) for number, one in zip(numbers, drives)}
    held.update({one.drive.device: one for one in carried})
    uses = {one.device: Uses(tuple("is mounted at " + mount.path for mount in one.mounts)) for one in arrays}
    host = Found(tuple(arrays), drives, held, uses, {}, CONF, "etc/mdadm/mdadm.conf", "", None, True)
    return host._replace(**changes)
