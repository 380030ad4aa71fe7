# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as placement sees it: CPUs by socket, die, core and NUMA node; memory and huge pages per node; PCI devices by node and switch.

The same model comes from a sysfs tree (:meth:`Topology.from_sysfs`), from libvirt's capabilities XML
(:meth:`Topology.from_capabilities`) and from the plain dictionary that playbooks carry (:meth:`Topology.from_dict`).
"""
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Tuple

from . import cpuset, topology_dict
from .capabilities import read_capabilities
from .errors import FleetError
from .model import DEVICE_KINDS, Cpu, Device, Node, Pages, pci_order
from .pci import read_devices
from .sysfs import Sysfs, read_computer

__all__ = ["DEVICE_KINDS", "Cpu", "Device", "Node", "Pages", "Topology"]


class Topology:
    """CPUs, nodes and devices of one host, each sorted by id (devices by PCI address). Not changed once made."""

    def __init__(self, cpus: Iterable[Cpu], nodes: Iterable[Node], devices: Iterable[Device] = ()) -> None:
        self.cpus: Tuple[Cpu, ...] = tuple(sorted(cpus, key=lambda cpu: cpu.id))
        self.nodes: Tuple[Node, ...] = tuple(sorted(nodes, key=lambda node: node.id))
        self.devices: Tuple[Device, ...] = tuple(sorted(devices, key=lambda device: pci_order(device.pci)))
        #: The CPUs that can run something.
        self.online: Tuple[Cpu, ...] = tuple(cpu for cpu in self.cpus if cpu.online)
        self._cpu = {cpu.id: cpu for cpu in self.cpus}
        self._node = {node.id: node for node in self.nodes}
        members: Dict[int, List[int]] = {}
        for cpu in self.online:
            members.setdefault(cpu.node, []).append(cpu.id)
        self._members = {node: frozenset(ids) for node, ids in members.items()}

    @classmethod
    def from_sysfs(cls, root: str = "/") -> "Topology":
        """The host whose ``/sys`` and ``/proc`` are below ``root``: this one, or a recorded or simulated one.

        Raises :class:`FleetError` where no CPU is to be found.
        """
        sysfs = Sysfs(root)
        computer = read_computer(sysfs)
        return cls(computer.cpus, computer.nodes, read_devices(sysfs, [node.id for node in computer.nodes]))

    @classmethod
    def from_capabilities(cls, xml_text: str) -> "Topology":
        """The host that libvirt's capabilities XML tells of: its online CPUs and its nodes; libvirt lists the devices elsewhere.

        Raises :class:`FleetError` if that is no such XML or has no topology in it.
        """
        return cls(*read_capabilities(xml_text))

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> "Topology":
        """The host that a dictionary of :meth:`to_dict`'s shape describes; what may be left out is filled in.

        Raises :class:`FleetError` naming the place for anything that cannot be a host.
        """
        return cls(*topology_dict.read(described))

    def to_dict(self) -> Dict[str, Any]:
        """``cpus``, ``nodes`` and ``devices`` as JSON types, in full; page sizes are strings of KiB, as JSON keys must be."""
        return topology_dict.write(self.cpus, self.nodes, self.devices)

    def cpu(self, number: int) -> Cpu:
        """The CPU of this number, online or not."""
        if number not in self._cpu:
            raise FleetError("This host has no CPU {0}; it has {1}.".format(number, cpuset.show(self._cpu) or "none"))
        return self._cpu[number]

    def node(self, number: int) -> Node:
        """The NUMA node of this number."""
        if number not in self._node:
            raise FleetError("This host has no NUMA node {0}; it has {1}.".format(number, cpuset.show(self._node) or "none"))
        return self._node[number]

    def cpus_of_node(self, number: int) -> FrozenSet[int]:
        """The online CPUs of a node; none for a node that has only memory."""
        return self._members.get(number, frozenset())

    def cores(self) -> List[Tuple[int, ...]]:
        """The online threads of each physical core, by node, then by the lowest thread."""
        leaders = [cpu for cpu in self.online if cpu.siblings[0] == cpu.id]
        return [cpu.siblings for cpu in sorted(leaders, key=lambda cpu: (cpu.node, cpu.id))]

    def of_kind(self, kind: str) -> List[Device]:
        """The devices of one of :data:`DEVICE_KINDS`, by index."""
        return sorted((device for device in self.devices if device.kind == kind), key=lambda device: device.index)

    @property
    def gpus(self) -> List[Device]:
        """The GPUs by index."""
        return self.of_kind("gpu")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        return (self.cpus, self.nodes, self.devices) == (other.cpus, other.nodes, other.devices)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<Topology: {0} CPUs online of {1}, {2} cores, {3} nodes, {4} devices>".format(
            len(self.online), len(self.cpus), len(self.cores()), len(self.nodes), len(self.devices)
        )
