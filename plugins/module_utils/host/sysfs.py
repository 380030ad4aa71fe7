# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CPUs, NUMA nodes, memory and huge pages of a host, read from sysfs below any root.

Files as described in the kernel's Documentation/admin-guide/cputopology.rst and Documentation/ABI/stable/sysfs-devices-node.
What a kernel, an architecture or a virtual machine leaves out is survived: no thread files, offline CPUs, gaps in the numbers, nodes
without memory or without CPUs, no nodes at all.
"""
import os
import re
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Set, Tuple

from . import cpuset
from .errors import FleetError
from .model import LOCAL_DISTANCE, REMOTE_DISTANCE, Cpu, Node, Pages

_CPUS = "sys/devices/system/cpu"
_NODES = "sys/devices/system/node"
_MEMORY = re.compile(r"^(?:Node \d+ )?MemTotal:\s*(\d+) kB", re.MULTILINE)
_POOL = re.compile(r"^hugepages-(\d+)kB$")


class Sysfs:
    """The files of a host below a root: ``/`` itself, or a recorded or simulated tree. Paths are given relative to the root."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """Where a file is on this machine."""
        return os.path.join(self.root, path)

    def read(self, path: str) -> Optional[str]:
        """The text of a file without the white space around it; None if it is not there or gives nothing, as drivers may choose."""
        try:
            with open(os.path.join(self.root, path), "rb", 0) as handle:
                return handle.read().decode("utf-8", "replace").strip()
        except OSError:
            return None

    def number(self, path: str, default: int) -> int:
        """The whole number in a file; ``default`` if there is none."""
        try:
            return int(self.read(path) or "")
        except ValueError:
            return default

    def cpus(self, *paths: str) -> Optional[FrozenSet[int]]:
        """The CPUs of the first of these files that can be read as such; files named ``…list`` and ``online`` are lists, others masks."""
        for path in paths:
            text = self.read(path)
            if text is not None:
                try:
                    return cpuset.parse(text) if path.endswith(("list", "online")) else cpuset.parse_mask(text)
                except FleetError:
                    continue
        return None

    def entries(self, path: str) -> List[str]:
        """The names in a directory, sorted; none if it is not there."""
        try:
            return sorted(os.listdir(os.path.join(self.root, path)))
        except OSError:
            return []

    def link(self, path: str) -> str:
        """The text of a symbolic link; empty if there is none."""
        try:
            return os.readlink(os.path.join(self.root, path))
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether something is there, be it a dangling link."""
        return os.path.lexists(os.path.join(self.root, path))

    def write(self, name: str, text: str) -> None:
        """Write a kernel file as ``echo`` does: in one piece, and never creating it. Some of these files cannot be opened for reading."""
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)


class Computer(NamedTuple):
    """The part of a topology that the kernel's CPU and memory subsystems know."""

    cpus: List[Cpu]
    nodes: List[Node]


def read_computer(sysfs: Sysfs) -> Computer:
    """CPUs and nodes; raises :class:`FleetError` where there are no CPUs to be found."""
    numbers = _numbered(sysfs.entries(_CPUS), "cpu")
    if not numbers:
        raise FleetError("No CPU was found in {0}. A directory with cpu0 in it was expected: is sysfs mounted there?".format(sysfs.path(_CPUS)))
    places = _node_cpus(sysfs)
    nodes = _nodes(sysfs, list(places)) or [_only_node(sysfs)]
    node_of = {cpu: node for node in reversed(list(places)) for cpu in places[node]}
    elsewhere = nodes[0].id if len(nodes) == 1 else -1
    online = _online(sysfs, numbers)
    found = _online_cpus(sysfs, sorted(online), node_of, elsewhere)
    for number in numbers:
        if number not in online:
            linked = _numbered(sysfs.entries("{0}/cpu{1}".format(_CPUS, number)), "node")
            node = next((candidate for candidate in linked if candidate in places), elsewhere)
            found.append(Cpu(number, -1, 0, -1, node, (), None, False))
    return Computer(sorted(found), nodes)


def _numbered(names: Iterable[str], prefix: str) -> List[int]:
    """The numbers of ``cpu0``, ``cpu1``, ``cpu10`` in order, other names (``cpufreq``) left out."""
    return sorted(int(name[len(prefix):]) for name in names if name.startswith(prefix) and name[len(prefix):].isdigit())


def _online(sysfs: Sysfs, numbers: List[int]) -> Set[int]:
    """The CPUs that are in use: listed as online, not switched off, and with a topology if any has one.

    A CPU that went offline loses its topology directory; kernels that are too old for the list still show that.
    """
    listed = sysfs.cpus(_CPUS + "/online")
    online = {number for number in numbers if not listed or number in listed}
    online = {number for number in online if sysfs.read("{0}/cpu{1}/online".format(_CPUS, number)) != "0"}
    described = {number for number in online if sysfs.exists("{0}/cpu{1}/topology".format(_CPUS, number))}
    return described or online


def _online_cpus(sysfs: Sysfs, online: List[int], node_of: Dict[int, int], elsewhere: int) -> List[Cpu]:
    """The CPUs in use. Threads of a core share all numbers, so each core is read once."""
    sockets, caches = _sockets(sysfs, online), _third_level_caches(sysfs, online)
    found: List[Cpu] = []
    rest = set(online)
    for number in online:
        if number not in rest:
            continue
        place = "{0}/cpu{1}/topology".format(_CPUS, number)
        shared = sysfs.cpus(*[place + "/" + name for name in ("thread_siblings_list", "core_cpus_list", "thread_siblings", "core_cpus")])
        threads = tuple(sorted(((shared or frozenset()) & rest) | {number}))
        rest -= set(threads)
        die = max(sysfs.number(place + "/die_id", 0), 0)
        core = sysfs.number(place + "/core_id", -1)
        found.extend(
            Cpu(thread, sockets[number], die, core if core >= 0 else number, node_of.get(thread, elsewhere), threads, caches.get(thread), True)
            for thread in threads
        )
    return found


def _sockets(sysfs: Sysfs, online: List[int]) -> Dict[int, int]:
    """The socket of each CPU. Where the kernel does not know its number and says -1 (POWER, s390, ARM), the packages are counted."""
    socket_of: Dict[int, int] = {}
    counted = 0
    for number in online:
        if number in socket_of:
            continue
        place = "{0}/cpu{1}/topology".format(_CPUS, number)
        package = sysfs.cpus(*[place + "/" + name for name in ("core_siblings_list", "package_cpus_list", "core_siblings", "package_cpus")])
        socket = sysfs.number(place + "/physical_package_id", -1)
        if socket < 0:
            socket, counted = counted, counted + 1
        socket_of.update(dict.fromkeys((package or frozenset()) | {number}, socket))
    return socket_of


def _third_level_caches(sysfs: Sysfs, online: List[int]) -> Dict[int, int]:
    """The level 3 cache of each CPU that has one, numbered by their lowest CPUs: the kernel's own ids have gaps and differ from reader to reader."""
    cache_of: Dict[int, int] = {}
    count = 0
    for number in online:
        if number in cache_of:
            continue
        place = "{0}/cpu{1}/cache".format(_CPUS, number)
        for index in reversed([name for name in sysfs.entries(place) if name.startswith("index")]):
            if sysfs.read("{0}/{1}/level".format(place, index)) == "3":
                shared = sysfs.cpus(*["{0}/{1}/{2}".format(place, index, name) for name in ("shared_cpu_list", "shared_cpu_map")])
                for cpu in (shared or frozenset()) | {number}:
                    cache_of.setdefault(cpu, count)
                count += 1
                break
    return cache_of


def _node_cpus(sysfs: Sysfs) -> Dict[int, FrozenSet[int]]:
    """The CPUs of each node by the node's number, ascending."""
    return {
        number: sysfs.cpus("{0}/node{1}/cpulist".format(_NODES, number), "{0}/node{1}/cpumap".format(_NODES, number)) or frozenset()
        for number in _numbered(sysfs.entries(_NODES), "node")
    }


def _nodes(sysfs: Sysfs, numbers: List[int]) -> List[Node]:
    nodes = []
    for position, number in enumerate(numbers):
        place = "{0}/node{1}".format(_NODES, number)
        nodes.append(
            Node(number, _memory(sysfs, place + "/meminfo"), _distances(sysfs, place, position, len(numbers)), _pools(sysfs, place + "/hugepages"))
        )
    return nodes


def _only_node(sysfs: Sysfs) -> Node:
    """A kernel without NUMA shows no nodes: all memory is one node."""
    return Node(0, _memory(sysfs, "proc/meminfo"), (LOCAL_DISTANCE,), _pools(sysfs, "sys/kernel/mm/hugepages"))


def _memory(sysfs: Sysfs, path: str) -> int:
    match = _MEMORY.search(sysfs.read(path) or "")
    return int(match.group(1)) if match else 0


def _distances(sysfs: Sysfs, place: str, position: int, count: int) -> Tuple[int, ...]:
    given = (sysfs.read(place + "/distance") or "").split()
    if len(given) == count and all(value.isdigit() and int(value) >= LOCAL_DISTANCE for value in given):
        return tuple(int(value) for value in given)
    return tuple(LOCAL_DISTANCE if other == position else REMOTE_DISTANCE for other in range(count))


def _pools(sysfs: Sysfs, place: str) -> Dict[int, Pages]:
    pools: Dict[int, Pages] = {}
    for name in sysfs.entries(place):
        match = _POOL.match(name)
        if match:
            total = sysfs.number("{0}/{1}/nr_hugepages".format(place, name), 0)
            pools[int(match.group(1))] = Pages(total, min(total, sysfs.number("{0}/{1}/free_hugepages".format(place, name), total)))
    return dict(sorted(pools.items()))
