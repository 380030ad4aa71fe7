# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guests of a host: the domains that libvirt has, which of them are tuned, and what is wanted of each.

A guest's size and GPUs are those of its own XML, as nvidia-vm makes it; what a person gives goes before. What each feature is to become is
a switch: its value sets it, ``none`` (or 0) takes it away, ``leave`` does not touch it.
"""
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ..host import cpuset
from ..host.errors import FleetError
from ..host.topology import Topology
from .requests import HUGE_PAGES, MOST_VCPUS, kib

LEAVE = "leave"
#: Which domains are tuned, unless names are given.
SELECTIONS = ("auto", "all", "running", "autostart")

_CHOICES: Dict[str, Tuple[str, ...]] = {
    "pinning": ("auto", "core", "thread", "none", LEAVE),
    "emulator": ("same_node", "none", LEAVE),
    "numa": ("auto", "none", LEAVE),
    "hugepages": tuple(HUGE_PAGES) + (LEAVE,),
    "iothreads": ("disks", "vcpus", LEAVE),
    "disks": ("data", "all", "none", LEAVE),
    "disk_format": ("raw", LEAVE),
}
_OF_ONE_GUEST = ("name", "vcpus", "memory", "memory_kib", "gpus", "max_nodes", "beyond_gpu_nodes")


class Disk(NamedTuple):
    """A disk of a domain: its device name in the guest, its bus, the type of its source, and the format of its image."""

    target: str
    bus: str
    type: str
    format: str


class MemoryCell(NamedTuple):
    """The memory of a guest's NUMA cell, its vCPUs, and the host node it is bound to; None if it may come from several."""

    vcpus: FrozenSet[int]
    memory_kib: int
    node: Optional[int]


class Domain(NamedTuple):
    """A guest as libvirt has it configured. ``pci`` are the host's devices that it is given; ``page_kib`` is 0 without huge pages.

    ``configured`` are all settings in the words of libvirt_domain; ``pending`` names those that are not in force in the running guest.
    """

    name: str
    running: bool
    autostart: bool
    persistent: bool
    vcpus: int
    memory_kib: int
    page_kib: int
    pins: Mapping[int, FrozenSet[int]]
    threads_per_core: int
    cells: Tuple[MemoryCell, ...]
    disks: Tuple[Disk, ...]
    pci: FrozenSet[str]
    configured: Mapping[str, Any]
    pending: Tuple[str, ...]

    @classmethod
    def from_info(cls, info: Mapping[str, Any], place: str = "domain") -> "Domain":
        """An entry of what libvirt_domain_info returns. Raises :class:`FleetError` for what was written by hand and is none."""
        try:
            return cls._from_info(info)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FleetError(
                "{0} is not as libvirt_domain_info returns a domain ({1}: {2}). Give an entry of its domains as it is.".format(
                    place, type(error).__name__, error
                )
            )

    @classmethod
    def _from_info(cls, info: Mapping[str, Any]) -> "Domain":
        has: Mapping[str, Any] = info["configured"]
        pages = str(has.get("hugepages") or "none")
        return cls(
            name=str(info["name"]),
            running=bool(info["running"]),
            autostart=bool(info["autostart"]),
            persistent=bool(info["persistent"]),
            vcpus=int(info["vcpus"]),
            memory_kib=int(info["memory_kib"]),
            # Pages of the host's default size, which is 2 MiB on x86 unless the kernel was told otherwise.
            page_kib=HUGE_PAGES["2M"] if pages == "default" else HUGE_PAGES.get(pages, 0),
            pins={int(vcpu): cpuset.parse(cpus) for vcpu, cpus in has.get("vcpupin", {}).items()},
            threads_per_core=int((has.get("topology") or {}).get("threads") or 1),
            cells=tuple(_cell(cell) for cell in has.get("cells") or ()),
            disks=tuple(
                Disk(str(disk["target"]), disk.get("bus") or "", disk.get("type") or "", (disk.get("driver") or {}).get("type") or "raw")
                for disk in has.get("disks") or ()
            ),
            pci=frozenset(str(pci) for pci in info["pci"]),
            configured=has,
            pending=tuple(str(setting) for setting in info["differences"]),
        )

    def gpus(self, topology: Topology) -> Tuple[int, ...]:
        """The indices of the host's GPUs that it is given."""
        return tuple(gpu.index for gpu in topology.gpus if gpu.pci in self.pci)

    def to_pinned(self, topology: Topology) -> Dict[str, Any]:
        """As the planner takes what is pinned already."""
        return {
            "name": self.name,
            "vcpupin": self.pins,
            "gpus": self.gpus(topology),
            "cells": [{"node": cell.node, "memory_kib": cell.memory_kib} for cell in self.cells if cell.node is not None],
        }


def _cell(cell: Mapping[str, Any]) -> MemoryCell:
    node = cell.get("node")
    nodes = frozenset() if node is None else cpuset.parse(node)
    return MemoryCell(cpuset.parse(cell.get("vcpus") or ""), int(cell["memory_kib"]), min(nodes) if len(nodes) == 1 else None)


class Switches(NamedTuple):
    """What is wanted of each feature of a guest; see :data:`_CHOICES`, and the role kvm_tuning for what they mean."""

    pinning: str = "auto"
    emulator: str = "same_node"
    numa: str = "auto"
    hugepages: str = LEAVE
    iothreads: Union[str, int] = "disks"
    disks: Union[str, Tuple[str, ...]] = "data"
    disk_format: str = LEAVE

    def changed_by(self, given: Mapping[str, Any], place: str) -> "Switches":
        """These switches with what is given in their stead; ``place`` is named where that is not understood."""
        found = {name: _switch(name, given[name], place) for name in self._fields if given.get(name) is not None}
        return self._replace(**found)


def _switch(name: str, value: Any, place: str) -> Any:
    choices = _CHOICES[name]
    if isinstance(value, str) and value in choices:
        return value
    if name == "emulator":
        expected = "or a CPU list"
        try:
            cpus = cpuset.show(cpuset.parse(value))
            if cpus:
                return cpus
        except FleetError:
            pass
    elif name == "iothreads":
        expected = "or a number of I/O threads"
        number = int(value) if isinstance(value, str) and value.isdigit() else value
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MOST_VCPUS:
            return number
    elif name == "disks":
        expected = "or a list of targets such as [vdb]"
        if isinstance(value, (list, tuple)) and all(isinstance(target, str) for target in value):
            return tuple(value)
    else:
        expected = "and nothing else"
    raise FleetError("{0}{1} is {2!r}, but one of {3}, {4}, is expected.".format(place, name, value, ", ".join(choices), expected))


class Guest(NamedTuple):
    """A guest to tune: its domain (None on paper, where there is no libvirt yet), what is wanted, and its size and GPUs (indices, or a count)."""

    name: str
    domain: Optional[Domain]
    switches: Switches
    vcpus: int
    memory_kib: int
    gpus: Union[int, Tuple[int, ...]]
    resized: Mapping[str, int]
    max_nodes: Optional[int]
    beyond_gpu_nodes: bool

    @property
    def running(self) -> bool:
        """Whether it runs at this moment."""
        return self.domain is not None and self.domain.running

    def tuned_disks(self) -> List[Disk]:
        """Its disks that the switch ``disks`` means, or would mean were it on: ``none`` is about the data disks."""
        chosen = self.switches.disks
        mine = self.domain.disks if self.domain else ()
        if not isinstance(chosen, str):
            absent = sorted(set(chosen) - {disk.target for disk in mine})
            if absent and self.domain:
                raise FleetError("{0} has no disk {1}; it has {2}.".format(self.name, ", ".join(absent), ", ".join(disk.target for disk in mine) or "none"))
            return [disk for disk in mine if disk.target in chosen]
        # Queues and I/O threads are virtio's, and what is tuned is how QEMU reads a file or block device of this host.
        able = sorted((disk for disk in mine if disk.bus == "virtio" and disk.type in ("file", "block")), key=lambda disk: (len(disk.target), disk.target))
        if chosen == LEAVE:
            return []
        return able if chosen == "all" else able[1:]  # the first drive is the system's, those after it hold data (section 12.6.2)

    def wanted_iothreads(self) -> Optional[int]:
        """How many I/O threads it is to have; None leaves them alone."""
        wanted = self.switches.iothreads
        if wanted == LEAVE:
            return None
        if wanted == "vcpus":
            return self.vcpus
        if wanted == "disks":
            return None if self.switches.disks == LEAVE else 0 if self.switches.disks == "none" else len(self.tuned_disks())
        return int(wanted)


def choose(domains: Sequence[Domain], given: Sequence[Mapping[str, Any]], selection: Any) -> List[str]:
    """The names of the guests to tune, sorted. Raises :class:`FleetError` for a name that no domain has.

    Domains that libvirt forgets when they stop have no configuration to tune, so they are not among ``all``.
    """
    lasting = [domain for domain in domains if domain.persistent]
    names = [str(entry.get("name") or "") for entry in given]
    if isinstance(selection, (list, tuple)):
        chosen = {str(name) for name in selection}
    elif selection == "running":
        chosen = {domain.name for domain in lasting if domain.running}
    elif selection == "autostart":
        chosen = {domain.name for domain in lasting if domain.autostart}
    elif selection == "all" or (selection == "auto" and not names):
        chosen = {domain.name for domain in lasting}
    elif selection == "auto":
        chosen = set(names)
    else:
        raise FleetError("kvm_tuning_select is {0!r}, but one of {1}, or a list of names, is expected.".format(selection, ", ".join(SELECTIONS)))
    unknown = sorted((chosen | set(names)) - {domain.name for domain in domains})
    if unknown:
        raise FleetError(
            "There is no domain {0} on this host; it has {1}. Correct the name in kvm_tuning_guests or kvm_tuning_select, or define the domain first.".format(
                ", ".join(unknown), ", ".join(sorted(domain.name for domain in domains)) or "none"
            )
        )
    return sorted(chosen)


def read_guest(name: str, domain: Optional[Domain], given: Mapping[str, Any], switches: Switches, topology: Topology) -> Guest:
    """What is wanted of one guest: as given, else as in its own XML. Raises :class:`FleetError` for what contradicts that."""
    place = "guest {0}: ".format(name)
    unknown = sorted(str(key) for key in given if key not in _OF_ONE_GUEST and key not in _CHOICES)
    if unknown:
        raise FleetError("{0}there is no setting {1}. Known are {2}.".format(place, unknown[0], ", ".join(_OF_ONE_GUEST + tuple(_CHOICES))))
    memory = given.get("memory_kib") if given.get("memory_kib") is not None else given.get("memory")
    resized = {}
    if given.get("vcpus") is not None:
        resized["vcpus"] = _count(given["vcpus"], place + "vcpus")
    if memory is not None:
        resized["memory_kib"] = kib(memory, place + "memory")
    if domain is None and "vcpus" not in resized:
        raise FleetError("{0}its vCPUs are not known. Give vcpus, or define the domain first.".format(place))
    return Guest(
        name=name,
        domain=domain,
        switches=switches.changed_by(given, place),
        vcpus=resized.get("vcpus", domain.vcpus if domain else 0),
        memory_kib=resized.get("memory_kib", domain.memory_kib if domain else 0),
        gpus=_gpus(domain.gpus(topology) if domain else (), given.get("gpus"), place),
        resized=resized,
        max_nodes=given.get("max_nodes"),
        beyond_gpu_nodes=bool(given.get("beyond_gpu_nodes", False)),
    )


def _count(value: Any, place: str) -> int:
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_VCPUS:
        raise FleetError("{0} is {1!r}, but a number of vCPUs is expected.".format(place, value))
    return number


def _gpus(passed: Tuple[int, ...], given: Any, place: str) -> Union[int, Tuple[int, ...]]:
    """The GPUs of the guest's own XML; those given only count where it has none yet, for this is not the place to hand out devices."""
    if given is None:
        return passed
    if isinstance(given, (list, tuple)) and all(str(index).isdigit() for index in given):
        wanted: Union[int, Tuple[int, ...]] = tuple(sorted({int(index) for index in given}))
        agrees = wanted == passed
    elif str(given).isdigit():
        wanted = int(given)
        agrees = wanted == len(passed)
    else:
        raise FleetError("{0}gpus is {1!r}, but a number of GPUs or a list of GPU indices is expected.".format(place, given))
    if passed and not agrees:
        raise FleetError(
            "{0}gpus is {1!r}, but GPU {2} is passed through to it. Leave gpus out, or change the devices of the domain first.".format(
                place, given, cpuset.show(passed)
            )
        )
    return passed or wanted


def cannot_run_together(guests: Iterable[Guest], topology: Topology) -> List[str]:
    """A sentence for each two guests that are given the same device, so that only one of them can run at a time."""
    listed = [guest for guest in guests if guest.domain is not None]
    kinds = {device.pci: "{0} {1}".format("GPU" if device.kind == "gpu" else device.kind, device.index) for device in topology.devices}
    found = []
    for at, one in enumerate(listed):
        for other in listed[at + 1:]:
            shared = sorted(one.domain.pci & other.domain.pci) if one.domain and other.domain else []
            if shared:
                found.append(
                    "{0} and {1} are both given {2}, so they never run at the same time and cannot be planned together. Say in "
                    "kvm_tuning_select which guests do run together: running, autostart, or a list of names.".format(
                        one.name, other.name, _some([kinds.get(pci, pci) for pci in shared])
                    )
                )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else "{0} and {1} devices more".format(", ".join(names[:3]), len(names) - 3)
