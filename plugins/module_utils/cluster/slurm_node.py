# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as Slurm sees it: sockets, cores, threads, memory, and GPUs with the cores next to them.

Sources: slurm.conf(5) *NodeName*, gres.conf(5) *Cores* and *File*, and what slurmd counts itself (src/slurmd/common/xcpuinfo.c in Slurm).
``Cores`` are logical indexes: hwloc's ``Core L#``, in which core 0 is the first core of the first socket. The kernel's CPU numbers are others
as soon as there is SMT or firmware that deals the numbers out by turns, so they must never be written there.
"""
import re
from typing import Any, Dict, Hashable, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from ..host import cpuset
from ..host.affinity import near_cpus
from ..host.errors import FleetError
from ..host.model import Cpu, Device
from ..host.topology import Topology

#: slurmctld drains a node that has less memory than its line says ("Low RealMemory"), and a new kernel may keep a little more for itself.
RESERVED_MEMORY_MIB = 1024
_GIB = 1024

_FAMILY = re.compile(r"\b(?:[A-Z]{1,2}\d{1,4}[A-Z]?)\b")
_TYPE = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]*$", re.ASCII)


class Choices(NamedTuple):
    """How a host is to be described: each NUMA node as a socket of its own or not, the type of its GPUs (None: by their name), memory kept back."""

    numa_node_as_socket: bool = False
    gpu_type: Optional[str] = None
    reserved_memory_mib: int = RESERVED_MEMORY_MIB


#: Real sockets, types by name.
AS_FOUND = Choices()


class Gpu(NamedTuple):
    """``/dev/nvidia<minor>``, its type, and the logical cores next to it as a CPU list; both are empty if not known."""

    minor: int
    type: str
    cores: str


class SlurmNode(NamedTuple):
    """All that Slurm's configuration says of a host, and nothing else of it: what is kept of a node that may be down tomorrow."""

    cpus: int
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    real_memory_mib: int
    gpus: Tuple[Gpu, ...]
    numa_node_as_socket: bool = False

    def to_dict(self) -> Dict[str, Any]:
        """JSON types, as :meth:`from_dict` takes them."""
        return dict(self._asdict(), gpus=[dict(gpu._asdict()) for gpu in self.gpus])

    @classmethod
    def from_dict(cls, described: Mapping[str, Any], place: str = "node") -> "SlurmNode":
        """The node that :meth:`to_dict` wrote; raises :class:`FleetError` naming what is wrong with any other dictionary."""
        numbers = [_number(described, key, place) for key in cls._fields[:5]]
        gpus = described.get("gpus") or []
        if not isinstance(gpus, (list, tuple)) or not all(isinstance(gpu, Mapping) for gpu in gpus):
            raise FleetError("{0}.gpus is {1!r}, but a list such as [{{minor: 0, type: v100, cores: 0-23}}] is expected.".format(place, gpus))
        cpus, sockets, cores, threads, memory = numbers
        found = []
        for at, gpu in enumerate(gpus):
            here = "{0}.gpus[{1}]".format(place, at)
            near = cpuset.parse(str(gpu.get("cores") or ""))
            if near and max(near) >= sockets * cores:  # slurmctld would not start
                raise FleetError("{0}.cores is {1}, but the node has the cores 0-{2}. Describe it again.".format(here, gpu["cores"], sockets * cores - 1))
            found.append(Gpu(_number(gpu, "minor", here), checked_type(str(gpu.get("type") or "")), cpuset.show(near)))
        return cls(cpus, sockets, cores, threads, memory, _checked(found, place), bool(described.get("numa_node_as_socket")))


def _checked(gpus: Iterable[Gpu], place: str) -> Tuple[Gpu, ...]:
    """GPUs in order; raises :class:`FleetError` for what slurmd ends at: a device file twice, or types for some of a node's GPUs only."""
    found = tuple(sorted(gpus))
    minors = [gpu.minor for gpu in found]
    twice = sorted(minor for minor in set(minors) if minors.count(minor) > 1)
    if twice:
        raise FleetError("{0}: several GPUs have the device file /dev/nvidia{1}. Each must have its own.".format(place, twice[0]))
    if len({bool(gpu.type) for gpu in found}) > 1:
        nameless, typed = ([gpu for gpu in found if bool(gpu.type) == wanted][0] for wanted in (False, True))
        raise FleetError("{0}: Slurm wants a type for all GPUs of a node or for none, but /dev/nvidia{1} has none, and /dev/nvidia{2} is {3}. Give one for "
                         "all (gpu_type), or \"\" for none.".format(place, nameless.minor, typed.minor, typed.type))
    return found


def _number(described: Mapping[str, Any], key: str, place: str) -> int:
    given = described.get(key)
    if isinstance(given, bool) or not re.match(r"^\d{1,18}$", str(given), re.ASCII):
        raise FleetError("{0}.{1} is {2!r}, but a whole number is expected, as slurm_node_info returns it.".format(place, key, given))
    return int(str(given))


def node_of(topology: Topology, minors: Optional[Mapping[str, int]] = None, choices: Choices = AS_FOUND, memory_kib: int = 0) -> SlurmNode:
    """The host as Slurm is to see it.

    ``memory_kib`` is what the kernel counts in all, by which slurmd goes too; its nodes may know less, as they do of memory that came while it ran.

    ``minors`` are the numbers of the device files by PCI address; a GPU without one is in other hands (a guest's, no driver) and left out. Where no
    driver can be asked, for a machine that is planned, it is None, and the GPUs count in PCI order. Raises :class:`FleetError` for a host that
    Slurm cannot describe.
    """
    sockets = slurm_sockets(topology, choices.numa_node_as_socket)
    cores = logical_cores(topology)
    threads = {len(core) for core in cores}
    if len(threads) > 1:
        raise FleetError(
            "Some cores of this host have {0} online threads, others {1}. Slurm knows one number of threads per core for all of a node: switch all "
            "second threads on, or all off.".format(min(threads), max(threads))
        )
    sizes = {len(members) for members in sockets}
    if len(sizes) > 1:
        raise FleetError(
            "The {0} of this host have {1} online cores. Slurm knows one number of cores per socket for all of a node: switch cores on or off "
            "so that all have the same.".format("NUMA nodes" if choices.numa_node_as_socket else "sockets", ", ".join(str(len(one)) for one in sockets))
        )
    gpus = _checked((
        Gpu(minor, checked_type(choices.gpu_type) if choices.gpu_type is not None else type_of(gpu.name), _cores_near(gpu, topology, cores, sockets))
        for gpu, minor in _numbered_gpus(topology, minors)
    ), "GPUs")
    memory = _memory(max(memory_kib, sum(node.memory_kib for node in topology.nodes)) // 1024, choices.reserved_memory_mib)
    return SlurmNode(len(topology.online), len(sockets), sizes.pop(), threads.pop(), memory, gpus, choices.numa_node_as_socket)


def doubts(topology: Topology, minors: Optional[Mapping[str, int]] = None) -> List[str]:
    """What should be known about a description that is right as far as it goes."""
    found = []
    if minors is None:
        if topology.gpus:
            found.append("The numbers of the GPUs' device files are not known here and were taken to be in PCI order; the driver may number otherwise.")
    else:
        others = [gpu.pci for gpu in topology.gpus if gpu.pci not in minors]
        if others:
            found.append("NVIDIA's driver does not have these GPUs, so Slurm does not get them: {0}.".format(", ".join(others)))
    astray = [gpu.pci for gpu in topology.gpus if not topology.cpus_of_node(gpu.node)]
    if astray:
        found.append("The firmware names no NUMA node with CPUs for these GPUs, so Slurm may use them from any core: {0}.".format(", ".join(astray)))
    return found


def logical_cores(topology: Topology) -> List[Tuple[int, ...]]:
    """The online threads of each core, in the order of hwloc's logical indexes.

    hwloc sorts what is inside a thing by its lowest CPU: sockets, in them NUMA nodes, in those level 3 caches, in those cores. What holds more
    CPUs is outside, since on some machines a NUMA node holds sockets.
    """
    members: Dict[Hashable, Set[int]] = {}
    for cpu in topology.online:
        for place in _places(cpu):
            members.setdefault(place, set()).add(cpu.id)
    order = {place: (-len(cpus), min(cpus)) for place, cpus in members.items()}

    def position(core: Tuple[int, ...]) -> List[int]:
        outside_in = sorted(order[place] for place in _places(topology.cpu(core[0])))
        return [lowest for _size, lowest in outside_in] + [core[0]]

    return sorted(topology.cores(), key=position)


def _places(cpu: Cpu) -> List[Tuple[str, int, int]]:
    """What a CPU is in, as far as the kernel tells."""
    places = [("socket", cpu.socket, 0), ("die", cpu.socket, cpu.die)]
    if cpu.node >= 0:
        places.append(("node", cpu.node, 0))
    if cpu.l3 is not None:
        places.append(("l3", cpu.l3, 0))
    return places


def slurm_sockets(topology: Topology, numa_node_as_socket: bool = False) -> List[List[int]]:
    """The logical cores of each of Slurm's sockets: of the real ones, or of each NUMA node that has CPUs."""
    sockets: Dict[int, List[int]] = {}
    for index, core in enumerate(logical_cores(topology)):
        cpu = topology.cpu(core[0])
        if numa_node_as_socket and cpu.node < 0:
            raise FleetError("The kernel names no NUMA node for CPU {0}, so NUMA nodes cannot be sockets here. Leave numa_node_as_socket off.".format(cpu.id))
        sockets.setdefault(cpu.node if numa_node_as_socket else cpu.socket, []).append(index)
    return list(sockets.values())


def _cores_near(gpu: Device, topology: Topology, cores: List[Tuple[int, ...]], sockets: List[List[int]]) -> str:
    """The logical cores of all of Slurm's sockets on the GPU's NUMA node, whole sockets as gres.conf(5) wants them; empty if nothing is near."""
    near = near_cpus(topology, gpu)
    return cpuset.show(index for members in sockets if any(cores[inside][0] in near for inside in members) for index in members)


def _numbered_gpus(topology: Topology, minors: Optional[Mapping[str, int]]) -> List[Tuple[Device, int]]:
    if minors is None:
        return [(gpu, gpu.index) for gpu in topology.gpus]
    known = {gpu.pci for gpu in topology.gpus}
    for address in minors:
        if address not in known:
            there = ", ".join(sorted(known)) or "none at all"
            raise FleetError("NVIDIA's driver has a GPU at {0}, but sysfs shows none there, only {1}.".format(address, there))
    return [(gpu, minors[gpu.pci]) for gpu in topology.gpus if gpu.pci in minors]


def type_of(name: str) -> str:
    """The type that users ask for, from the product name: ``Tesla V100-SXM3-32GB`` is v100. The longer name would do for a user of one model only."""
    match = _FAMILY.search(name.upper())
    if match:
        return match.group(0).lower()
    words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"^nvidia\s+", "", name.lower())).strip("_")
    return words if _TYPE.match(words) else ""


def checked_type(name: str) -> str:
    """A type as the user gave it, if Slurm can read it: a colon, comma or number would be taken for something else in ``--gres``."""
    if name and not _TYPE.match(name):
        raise FleetError("{0!r} cannot be a type of GPU in Slurm. Begin with a letter and use letters, digits, _, . and - only, such as v100.".format(name))
    return name


def _memory(found_mib: int, reserved_mib: int) -> int:
    """RealMemory: whole GiB, so that equal hosts whose firmware takes a page more or less have equal lines."""
    left = found_mib - reserved_mib
    if reserved_mib < 0 or left <= 0:
        raise FleetError("Of the {0} MiB of memory of this host, {1} are to be reserved, which leaves none. Give from 0 to {2}.".format(
            found_mib, reserved_mib, max(found_mib - 1, 0)))
    return left // _GIB * _GIB or left
