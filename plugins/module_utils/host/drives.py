# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The drives of a host, by names that last: which is which, how large, at which PCI address and on which NUMA node.

Kernel names (nvme3n1) change from boot to boot, so every drive comes with its id, the name under /dev/disk/by-id that is made of model and
serial number (persistent-storage rules of udev). What a drive carries is not told here.
"""
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from .pci import PciTree, pci_path
from .sysfs import Sysfs

#: Blocks as sysfs counts them, whatever the drive's own are (Documentation/ABI/stable/sysfs-block).
_SECTOR = 512
_NVME = re.compile(r"^nvme\d+n\d+$")
_CONTROLLER = re.compile(r"^nvme\d+$")
_SUBSYSTEM = re.compile(r"^nvme-subsys\d+$")
#: Drives by name: NVMe name spaces, SCSI and SATA disks, virtio and Xen disks, eMMC. Loop, md, dm, optical and RAM devices are none.
_DRIVE = re.compile(r"^(nvme\d+n\d+|sd[a-z]+|vd[a-z]+|xvd[a-z]+|mmcblk\d+)$")
#: Ids in the order of preference: those with model and serial number first, those with a number of the drive's own choice last.
_ID_ORDER = ("nvme-", "ata-", "scsi-", "virtio-", "mmc-", "usb-", "wwn-")
_ID_LAST = re.compile(r"^(nvme-(eui\.|nvme\.|uuid\.)|scsi-[0-9S]|wwn-)")
#: These name what is on a drive, and go when that goes.
_OF_CONTENT = ("lvm-pv-uuid-",)


class Drive(NamedTuple):
    """A drive: ``device`` is the kernel's name of today, ``id`` its lasting name (empty if nothing names it), ``pci`` its controller's address."""

    device: str
    id: str
    model: str
    serial: str
    size_bytes: int
    rotational: bool
    pci: str
    node: int


def read_drives(sysfs: Sysfs, nodes: List[int]) -> List[Drive]:
    """All drives, by kernel name in the order of their numbers."""
    tree = PciTree(sysfs, nodes)
    ids = _ids(sysfs)
    found = [_drive(sysfs, tree, name, ids.get(name, "")) for name in sorted(sysfs.entries("sys/block"), key=_by_number) if _DRIVE.match(name)]
    known = [drive.id for drive in found]
    # What udev has not named is called as udev would, unless that is another's name already: name spaces of one drive have its serial number.
    return [drive._replace(id="") if known.count(drive.id) > 1 and drive.device not in ids else drive for drive in found]


def _drive(sysfs: Sysfs, tree: PciTree, name: str, known_as: str) -> Drive:
    controller = _controller(sysfs, name)
    place = "sys/class/nvme/" + controller if controller else "sys/block/{0}/device".format(name)
    path = pci_path(sysfs.link("sys/class/nvme/" + controller) if controller else sysfs.link("sys/block/" + name))
    model, serial = sysfs.read(place + "/model") or "", sysfs.read(place + "/serial") or _page_serial(sysfs, name)
    if not known_as and controller and serial:
        known_as = "nvme-" + re.sub(r"\s+", "_", "{0}_{1}".format(model, serial))
    size = sysfs.number("sys/block/{0}/size".format(name), 0) * _SECTOR
    rotational = sysfs.read("sys/block/{0}/queue/rotational".format(name)) == "1"
    return Drive(name, known_as, model, serial, size, rotational, path[-1] if path else "", tree.node(path[-1]) if path else -1)


def _controller(sysfs: Sysfs, name: str) -> Optional[str]:
    """The NVMe controller of a name space. With native multipath the name space hangs below a subsystem that lists its controllers."""
    if not _NVME.match(name):
        return None
    path = sysfs.link("sys/block/" + name).split("/")
    if any(_CONTROLLER.match(part) for part in path):
        return next(part for part in path if _CONTROLLER.match(part))
    subsystem = next((part for part in path if _SUBSYSTEM.match(part)), "")
    members = [entry for entry in sysfs.entries("sys/class/nvme-subsystem/" + subsystem) if _CONTROLLER.match(entry)] if subsystem else []
    return members[0] if members else name.rpartition("n")[0]


def _page_serial(sysfs: Sysfs, name: str) -> str:
    """The serial number of a SCSI or SATA disk, from its vital product data: four bytes of header, then text (SPC, page 80h)."""
    page = sysfs.read("sys/block/{0}/device/vpd_pg80".format(name)) or ""
    return "".join(letter for letter in page if " " <= letter <= "~").strip()


def _ids(sysfs: Sysfs) -> Dict[str, str]:
    """The best name in /dev/disk/by-id of each whole drive."""
    found: Dict[str, List[str]] = {}
    for name in sysfs.entries("dev/disk/by-id"):
        target = sysfs.link("dev/disk/by-id/" + name).rpartition("/")[2]
        if _DRIVE.match(target) and not name.startswith(_OF_CONTENT):
            found.setdefault(target, []).append(name)
    return {target: min(names, key=_preference) for target, names in found.items()}


def _preference(name: str) -> Tuple[bool, int, int, str]:
    rank = next((rank for rank, prefix in enumerate(_ID_ORDER) if name.startswith(prefix)), len(_ID_ORDER))
    return bool(_ID_LAST.match(name)), rank, len(name), name


def _by_number(name: str) -> Tuple[str, int, Tuple[int, ...], str]:
    """Orders nvme2n1 before nvme10n1 and sdb before sdaa."""
    return re.split(r"\d", name)[0][:2], len(re.split(r"\d", name)[0]), tuple(int(number) for number in re.findall(r"\d+", name)), name
