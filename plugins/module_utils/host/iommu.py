# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""IOMMU groups: which PCI devices can only be handed to a guest together.

Devices of a group can reach each other's memory past the IOMMU, so VFIO gives a group away as a whole; bridges in it stay with the host
(the kernel's Documentation/driver-api/vfio.rst).
"""
from typing import Dict, List, Mapping, NamedTuple, Sequence

from .errors import FleetError
from .pci import PciTree
from .sysfs import Sysfs

NVME_CLASS = "0108"
#: The kernel's driver of a device that is held for guests.
VFIO = "vfio-pci"

_BRIDGE = "06"
_DEVICES = "sys/bus/pci/devices"
_KINDS = {"01": "storage", "02": "network", "03": "display", "04": "multimedia", "0c": "bus controller", "08": "system device", "12": "accelerator"}


class Function(NamedTuple):
    """A PCI function: ``group`` is its IOMMU group, empty without an IOMMU; ``driver`` is empty if none has it."""

    address: str
    pci_class: str
    group: str
    driver: str

    @property
    def told(self) -> str:
        """It in words."""
        kind = "NVMe" if self.pci_class == NVME_CLASS else _KINDS.get(self.pci_class[:2], "class " + self.pci_class)
        return "{0} ({1}{2})".format(self.address, kind, ", driver " + self.driver if self.driver else "")


def read_functions(sysfs: Sysfs) -> Dict[str, Function]:
    """All PCI functions but bridges, by address."""
    found = {}
    for address in PciTree(sysfs, ()).addresses:
        place = "{0}/{1}".format(_DEVICES, address)
        code = (sysfs.read(place + "/class") or "")[2:6]
        if code[:2] != _BRIDGE:
            found[address] = Function(address, code, _last(sysfs, place + "/iommu_group"), _last(sysfs, place + "/driver"))
    return found


def nvme_addresses(sysfs: Sysfs, functions: Dict[str, Function]) -> List[str]:
    """The NVMe controllers by class, whatever their vendor or driver. Virtual functions belong to their physical one."""
    tree = PciTree(sysfs, ())
    return [address for address in tree.addresses if address in functions and functions[address].pci_class == NVME_CLASS and not tree.is_virtual(address)]


def whole_groups(given: Sequence[str], functions: Mapping[str, Function], guest: str) -> None:
    """Raise :class:`FleetError` unless these devices, all for one guest, are whole IOMMU groups."""
    for address in given:
        function = functions.get(address)
        if function is None:
            raise FleetError("There is no PCI device {0} on this host any more, which guest {1} shall have. Plug the drive in, or leave it out.".format(
                address, guest), pci=address)
        if not function.group:
            raise FleetError(
                "{0} has no IOMMU group, so it cannot be handed to guest {1}: the IOMMU is off. Turn it on in the firmware (VT-d or AMD-Vi) and boot with "
                "intel_iommu=on on Intel hosts (module kernel_cmdline). Nothing was changed.".format(function.told, guest), pci=address)
        others = [other for other in functions.values() if other.group == function.group and other.address not in given]
        if others:
            raise FleetError(
                "{0} is in IOMMU group {1} with {2}. VFIO gives a group to one guest as a whole. Nothing was changed. Give guest {3} all of the group if "
                "these are NVMe drives that it may have, or use the drive by drives or partitions instead.".format(
                    function.told, function.group, ", ".join(other.told for other in others), guest), pci=address, group=function.group)


def _last(sysfs: Sysfs, link: str) -> str:
    return sysfs.link(link).rpartition("/")[2]
