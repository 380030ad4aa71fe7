# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The PCI devices that placement cares about: GPUs, NVMe drives, network cards and InfiniBand or RoCE adapters, with node and PCIe switch.

Devices are told by PCI class, never by vendor name, and always addressed in full (domain:bus:slot.function). Virtual functions are left
out: they belong to their physical function. Classes: PCI Code and ID Assignment Specification; files: the kernel's
Documentation/ABI/testing/sysfs-bus-pci.
"""
import re
from typing import Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from .model import DEVICE_KINDS, Device, pci_order
from .sysfs import Sysfs

_DEVICES = "sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")

_NVIDIA, _AMD, _INTEL = "0x10de", "0x1002", "0x8086"
#: Which classes are a GPU to compute on, by vendor. The VGA controller (0300) of other vendors is the console of the management controller
#: or an integrated one; 0380 and 1200 is what AMD Instinct and Intel Data Center GPUs call themselves; FPGAs are 1200 too, so not any vendor.
_GPU_CLASSES: Mapping[str, Tuple[str, ...]] = {
    _NVIDIA: ("0300", "0302"),
    _AMD: ("0302", "0380", "1200"),
    _INTEL: ("0302", "0380"),
}
_NVME, _ETHERNET, _INFINIBAND = "0108", "0200", "0207"


class PciTree:
    """The PCI devices below a root: who is below which bridge, and on which NUMA node."""

    def __init__(self, sysfs: Sysfs, nodes: Collection[int]) -> None:
        self.sysfs = sysfs
        self.addresses = sorted((name for name in sysfs.entries(_DEVICES) if _ADDRESS.match(name)), key=pci_order)
        self._nodes = frozenset(nodes)
        self._node: Dict[str, int] = {}

    def attribute(self, address: str, name: str) -> Optional[str]:
        """What a file of a device says."""
        return self.sysfs.read("{0}/{1}/{2}".format(_DEVICES, address, name))

    def bridges(self, address: str) -> List[str]:
        """The PCI functions above a device, from the root port down; sysfs shows them as the directories it is in."""
        return pci_path(self.sysfs.link("{0}/{1}".format(_DEVICES, address)))[:-1]

    def node(self, address: str) -> int:
        """The NUMA node of a device: its own word, else that of the nearest bridge above it, else the only node there is, else -1.

        Firmware often names the node of a root port only, and the kernel then says -1 of what is behind a hot-plug port or a VMD.
        """
        if address not in self._node:
            own = self._said(address)
            above = [said for said in (self._said(bridge) for bridge in reversed(self.bridges(address))) if said != -1] if own == -1 else []
            only = next(iter(self._nodes)) if len(self._nodes) == 1 else -1
            self._node[address] = own if own != -1 else (above + [only])[0]
        return self._node[address]

    def is_virtual(self, address: str) -> bool:
        """Whether the device is a virtual function of another."""
        return self.sysfs.exists("{0}/{1}/physfn".format(_DEVICES, address))

    def _said(self, address: str) -> int:
        said = self.sysfs.number("{0}/{1}/numa_node".format(_DEVICES, address), -1)
        return said if said in self._nodes else -1


class _Found(NamedTuple):
    address: str
    kind: str


def pci_path(link: str) -> List[str]:
    """The PCI addresses in the path of a device, outermost first; ``pci0000:00`` is a root bus and no device."""
    return [part for part in link.split("/") if _ADDRESS.match(part)]


def read_devices(sysfs: Sysfs, nodes: Collection[int]) -> List[Device]:
    """The devices of :data:`DEVICE_KINDS`, in PCI order, numbered within their kind."""
    tree = PciTree(sysfs, nodes)
    adapters = _members(sysfs, "infiniband")
    found = [_Found(address, kind) for address, kind in ((address, _kind(tree, address, adapters)) for address in tree.addresses) if kind]
    bridges = {device.address: tree.bridges(device.address) for device in found}
    switches = _switches(bridges)
    interfaces = _members(sysfs, "net")
    controllers = _members(sysfs, "nvme")
    names: Dict[str, Callable[[str], str]] = {
        "gpu": lambda address: gpu_name(sysfs, address),
        "nvme": lambda address: " ".join(drive_name(sysfs, name) for name in controllers.get(address, [])),
        "hca": lambda address: ",".join(adapters.get(address, [])),
        "nic": lambda address: ",".join(interfaces.get(address, [])),
    }
    counts = dict.fromkeys(DEVICE_KINDS, 0)
    devices = []
    for address, kind in found:
        devices.append(Device(address, kind, counts[kind], tree.node(address), switches[address], names[kind](address)))
        counts[kind] += 1
    return devices


def _kind(tree: PciTree, address: str, adapters: Mapping[str, List[str]]) -> str:
    """What a device is to placement; empty for the bridges, USB controllers and other functions that it passes over."""
    code = (tree.attribute(address, "class") or "")[2:6]
    if code[:2] in ("03", "12"):
        kind = "gpu" if code in _GPU_CLASSES.get(tree.attribute(address, "vendor") or "", ()) else ""
    elif code == _INFINIBAND or address in adapters:
        kind = "hca"
    else:
        kind = {_NVME: "nvme", _ETHERNET: "nic"}.get(code, "")
    return "" if kind and tree.is_virtual(address) else kind


def _members(sysfs: Sysfs, subsystem: str) -> Dict[str, List[str]]:
    """The names of a class (``mlx5_0``, ``enp1s0``, ``nvme0``) by the PCI device they are on, the last PCI function in their path."""
    members: Dict[str, List[str]] = {}
    for name in sysfs.entries("sys/class/" + subsystem):
        place = "sys/class/{0}/{1}".format(subsystem, name)
        path = pci_path(sysfs.link(place)) or pci_path(sysfs.link(place + "/device"))
        if path:
            members.setdefault(path[-1], []).append(name)
    return members


def _switches(bridges: Mapping[str, List[str]]) -> Dict[str, Optional[str]]:
    """The nearest bridge above each device that has another card below it too; the functions of one card count as one."""
    below: Dict[str, Set[str]] = {}
    for address, above in bridges.items():
        for bridge in above:
            below.setdefault(bridge, set()).add(address.rpartition(".")[0])
    return {
        address: next((bridge for bridge in reversed(above) if len(below[bridge]) > 1), None)
        for address, above in bridges.items()
    }


def drive_name(sysfs: Sysfs, controller: str) -> str:
    """Model and serial number of an NVMe controller, as far as it tells them."""
    place = "sys/class/nvme/{0}/".format(controller)
    return " ".join(word for word in (sysfs.read(place + "model"), sysfs.read(place + "serial")) if word)


def gpu_name(sysfs: Sysfs, address: str) -> str:
    """The product name of a GPU; only NVIDIA's driver knows it, and not while the GPU is handed to a guest."""
    for line in (sysfs.read("proc/driver/nvidia/gpus/{0}/information".format(address)) or "").splitlines():
        key, _colon, value = line.partition(":")
        if key.strip() == "Model":
            return value.strip()
    return ""
