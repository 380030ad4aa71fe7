# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A KVM host on paper: a RAID-1 for the system, an array of three NVMe drives at /raid, and three more drives."""
from ansible_collections.dgxops.fleet.plugins.module_utils.host.drives import Drive
from ansible_collections.dgxops.fleet.plugins.module_utils.host.iommu import Function
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import Contents, Signature, Uses
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover import Found, Guest, Wish
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import Array, FileSystem, Member, Mount
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_text import Superblock

UUID = "10a6aaf3:8b38ea2e:44c0adb5:25a8a5c6"
SIZE = 2**40
CONF = "HOMEHOST <system>\nARRAY /dev/md1 metadata=1.2 name=dgx:1 UUID=%s\nMAILADDR root\n" % UUID
FSTAB = "UUID=root / ext4 defaults 0 1\nUUID=fsid  /raid ext4 defaults 0 2\n"
RAID = Mount("/raid", "ext4", "rw,relatime")


def drive(number):
    return Drive("nvme%dn1" % number, "nvme-M_S%d" % number, "M", "S%d" % number, SIZE, False, "0000:%02x:00.0" % (0x20 + number), 0)


def names(one):
    return (one.id, one.serial, one.device + "-wwid")


def member(number, slot):
    return Member("nvme%dn1" % number, "active", slot, ("in_sync",), drive="nvme-M_S%d" % number, serial="S%d" % number)


def array(**changes):
    """md1 of drives 1 to 3."""
    found = Array(
        "md1", "sysfs", level="raid0", state="clean", uuid=UUID, name="dgx:1", metadata="1.2", chunk_bytes=524288, size_bytes=3 * SIZE, raid_disks=3,
        members=(member(1, 0), member(2, 1), member(3, 2)), file_system=FileSystem("ext4", "fsid", "data"), mounts=(RAID,),
    )  # fmt: skip
    return found._replace(**changes)


def superblock(number, uuid=UUID):
    return Superblock("nvme%dn1" % number, metadata="1.2", uuid=uuid, name="dgx:1", level="raid0", raid_disks=3)


def holding(number, *signatures, **more):
    """What a drive holds: types of signatures, with its superblock if md's is among them."""
    found = tuple(Signature(one, device="nvme%dn1" % number) for one in signatures)
    block = superblock(number) if "linux_raid_member" in signatures else None
    return Contents(drive(number), names(drive(number)), signatures=found, superblock=block)._replace(**more)


def host(**changes):
    """Drive 0 is the system's; 1 to 3 are md1, mounted at /raid; 4 and 5 are blank; 6 has a file system. vm1 runs, vm2 does not."""
    drives = tuple(drive(number) for number in range(7))
    uses = {one.device: Uses() for one in drives}
    uses["nvme0n1"] = Uses(("is mounted at /", "holds the operating system"), (), True)
    for number in (1, 2, 3):
        uses["nvme%dn1" % number] = Uses(("is mounted at /raid",), ("md1",))
    contents = {one.device: holding(number) for number, one in enumerate(drives)}
    for number in (1, 2, 3):
        contents["nvme%dn1" % number] = holding(number, "linux_raid_member")
    contents["nvme6n1"] = holding(6, "xfs")
    functions = {one.pci: Function(one.pci, "0108", str(number), "nvme") for number, one in enumerate(drives)}
    found = Found(
        functions=functions, nvme=tuple(sorted(functions)), drives=drives, names={one.device: names(one) for one in drives}, uses=uses, contents=contents,
        tables={}, sectors={one.device: 512 for one in drives}, arrays=(array(),), array_uses={"md1": Uses(("is mounted at /raid",), ("md1",))},
        users={"md1": ()}, links={"md1": ("/dev/md/1",)}, real={}, guests={"vm1": Guest("vm1", True), "vm2": Guest("vm2")},
        conf=CONF, conf_path="etc/mdadm/mdadm.conf", fstab=FSTAB, initramfs=True, root_is_on_one=True, record=None,
    )  # fmt: skip
    return found._replace(**changes)


def stopped(found):
    """The same host after md1 was unmounted and stopped."""
    uses = {device: Uses() if one.arrays else one for device, one in found.uses.items()}
    return found._replace(arrays=(), array_uses={}, users={}, uses=uses)


def without(found, *numbers):
    """The host while these drives are with a guest as PCI devices."""
    gone = {drive(number).device for number in numbers}
    addresses = {drive(number).pci for number in numbers}
    functions = {address: one._replace(driver="vfio-pci") if address in addresses else one for address, one in found.functions.items()}
    return found._replace(
        drives=tuple(one for one in found.drives if one.device not in gone), functions=functions,
        contents={device: one for device, one in found.contents.items() if device not in gone},
    )  # fmt: skip


def wish(*guests, **more):
    """What a play asks for: guests as its variables have them."""
    return Wish.from_params(dict({"guests": list(guests), "arrays": [], "wipe": [], "when_running": "live"}, **more))


def guest(name="vm1", **given):
    return dict({"name": name}, **given)
