# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The words in which a host is described: CPU, NUMA node, pool of huge pages, PCI device.

Readers of sysfs, of libvirt's XML and of dictionaries all make these; :class:`~.topology.Topology` holds them together.
"""
from typing import Mapping, NamedTuple, Optional, Tuple

#: Device kinds the collection places by. Which PCI devices they are: see :mod:`.pci`.
DEVICE_KINDS = ("gpu", "nvme", "nic", "hca")

#: SLIT values: 10 is the node itself (ACPI 6.5, 5.2.17), and 20 what Linux says of any other where the firmware has no table
#: (LOCAL_DISTANCE and REMOTE_DISTANCE in include/linux/topology.h).
LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20


class Cpu(NamedTuple):
    """A hardware thread.

    ``siblings`` are the online threads of its core, itself included, ascending. The kernel tells nothing about an offline CPU:
    its ``socket`` and ``core`` are -1 and its ``siblings`` empty. ``node`` is -1 if the kernel names none. ``l3`` numbers the
    level 3 cache, None where there is none.
    """

    id: int
    socket: int
    die: int
    core: int
    node: int
    siblings: Tuple[int, ...]
    l3: Optional[int]
    online: bool


class Pages(NamedTuple):
    """A pool of huge pages of one size on one node, in pages."""

    total: int
    free: int


class Node(NamedTuple):
    """A NUMA node; ``distances`` are SLIT values by position in the list of nodes; ``pages`` by page size in KiB."""

    id: int
    memory_kib: int
    distances: Tuple[int, ...]
    pages: Mapping[int, Pages]


class Device(NamedTuple):
    """A PCI device; ``index`` counts within its kind in PCI order; ``switch`` is the nearest upstream bridge shared with others.

    ``node`` is -1 if neither the device nor a bridge above it has one.
    """

    pci: str
    kind: str
    index: int  # type: ignore[assignment]  # a tuple's method of that name is of no use here
    node: int
    switch: Optional[str]
    name: str


def pci_order(address: str) -> Tuple[int, int, int, int]:
    """A key that sorts full PCI addresses by number: domain 10000 (VMD) comes after 0002, which text order would not give."""
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return int(domain, 16), int(bus, 16), int(slot, 16), int(function, 16)
