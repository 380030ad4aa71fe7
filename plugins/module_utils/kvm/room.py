# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The room a host has left while a plan is being made: free cores, threads and memory by NUMA node, free GPUs.

Only this file knows who holds which CPU. Choosing never changes anything; ``take`` and its kin do. Cores are kept in order and only
ever leave, so that the cost of a plan grows with the CPUs it hands out, not with guests times CPUs.
"""
import itertools
from typing import Collection, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ..host.topology import Topology

#: The online threads of one physical core.
Core = Tuple[int, ...]
#: Die and level 3 cache: cores of one group share a cache.
Group = Tuple[int, int]


class Room:
    """The free CPUs, memory (KiB) and GPUs of one host.

    ``kept_cores`` are the host's own, per node; ``kept_memory_kib`` likewise; ``kept_cpus`` get no vCPU (they were asked for emulators).
    """

    def __init__(self, topology: Topology, kept_cores: Mapping[int, int], kept_memory_kib: int, kept_cpus: FrozenSet[int]) -> None:
        self.topology = topology
        self.memory: Dict[int, int] = {node.id: max(0, node.memory_kib - kept_memory_kib) for node in topology.nodes}
        #: All CPUs of each node that are online, whoever has them; where there is only one node, what names none is on that.
        self.cpus_of: Dict[int, FrozenSet[int]] = {node: topology.cpus_of_node(node) for node in self.memory}
        if len(self.memory) == 1:
            self.cpus_of = dict.fromkeys(self.memory, frozenset([cpu.id for cpu in topology.online]))
        self.node_of: Dict[int, int] = {cpu: node for node, cpus in self.cpus_of.items() for cpu in cpus}
        self.gpu_nodes: Dict[int, Optional[int]] = {gpu.index: self._known(gpu.node) for gpu in topology.gpus}
        self.gpu_holder: Dict[int, str] = {}
        #: How many GPUs that nobody has there are by node; None are those of no known node.
        self.unclaimed: Dict[Optional[int], int] = dict.fromkeys(self.memory, 0)
        for gpu_node in self.gpu_nodes.values():
            self.unclaimed[gpu_node] = self.unclaimed.get(gpu_node, 0) + 1
        self.holder: Dict[int, str] = {}
        self.reserved: Set[int] = set()
        self.kept_cpus = kept_cpus
        self.core_of: Dict[int, Core] = {}
        self._distances = {node.id: node.distances for node in topology.nodes}
        self._position = {node.id: at for at, node in enumerate(topology.nodes)}
        # whole[node][width][group] and loose[node] are dictionaries without values: sets that remember their order.
        # group[cpu] is the one of whole's that the CPU's core belongs to.
        self._whole: Dict[int, Dict[int, Dict[Group, Dict[Core, None]]]] = {node: {} for node in self.memory}
        self._count: Dict[int, Dict[int, int]] = {node: {} for node in self.memory}
        self._group: Dict[int, Dict[Core, None]] = {}
        self._loose: Dict[int, Dict[int, None]] = {node: {} for node in self.memory}
        self._free: Dict[int, int] = dict.fromkeys(self.memory, 0)
        self._list_cores(topology, kept_cores)
        #: The numbers of threads that the host's cores have, widest first: ``[2]``, or ``[2, 1]`` where some siblings are offline.
        self.widths: List[int] = sorted({len(core) for core in self.core_of.values()}, reverse=True)
        self._discard(cpu for cpu in kept_cpus if cpu in self.node_of)

    def _known(self, node: int) -> Optional[int]:
        """The node, if the host has it; where there is only one, what names none is on that."""
        if node in self.memory:
            return node
        return next(iter(self.memory)) if len(self.memory) == 1 else None

    def _list_cores(self, topology: Topology, kept_cores: Mapping[int, int]) -> None:
        kept: Dict[int, int] = {}
        for core in topology.cores():
            first = topology.cpu(core[0])
            node = self.node_of.get(first.id)
            if node is None:
                continue
            for cpu in core:
                self.core_of[cpu] = core
            # The lowest cores are the host's: the kernel boots on the first CPU, and its interrupts and timers gather there.
            if kept.get(node, 0) < kept_cores.get(node, 0):
                kept[node] = kept.get(node, 0) + 1
                self.reserved.update(core)
                continue
            width = len(core)
            group = self._whole[node].setdefault(width, {}).setdefault((first.die, -1 if first.l3 is None else first.l3), {})
            group[core] = None
            for cpu in core:
                self._group[cpu] = group
            self._count[node][width] = self._count[node].get(width, 0) + 1
            self._free[node] += width

    def nodes_of_gpus(self, gpus: Collection[int]) -> List[int]:
        """The nodes of these GPUs, as far as they are known, ascending."""
        if not gpus:
            return []
        return sorted({node for node in (self.gpu_nodes[index] for index in gpus) if node is not None})

    def cores(self, node: int, width: int) -> int:
        """How many whole cores of this many threads a node has left."""
        return self._count[node].get(width, 0)

    def threads(self, node: int) -> int:
        """How many threads a node has left, those of half-used cores included."""
        return self._free[node]

    def whole(self, node: int) -> int:
        """How many threads a node has left in cores of which nobody has any."""
        return self._free[node] - len(self._loose[node])

    def distance(self, one: int, other: int) -> int:
        """The SLIT distance between two nodes."""
        return self._distances[one][self._position[other]]

    def free_gpus(self) -> List[int]:
        """The indices of the GPUs that no guest has, ascending."""
        return sorted(index for index in self.gpu_nodes if index not in self.gpu_holder)

    def free_on(self, nodes: Iterable[int]) -> List[int]:
        """The CPUs of these nodes on which no vCPU runs and that are not reserved, ascending."""
        found: List[int] = []
        for node in nodes:
            found.extend(self._loose[node])
            found.extend(cpu for groups in self._whole[node].values() for cores in groups.values() for core in cores for cpu in core)
        return sorted(found)

    def idle_on(self, nodes: Collection[int]) -> List[int]:
        """CPUs of these nodes that no vCPU uses, ascending: free ones, else the host's own, else those asked for emulators."""
        return self.free_on(nodes) or self._unused(self.reserved, nodes) or self._unused(self.kept_cpus, nodes)

    def _unused(self, cpus: Iterable[int], nodes: Collection[int]) -> List[int]:
        return sorted(cpu for cpu in cpus if self.node_of.get(cpu) in nodes and cpu not in self.holder)

    def choose_cores(self, node: int, width: int, count: int) -> List[Core]:
        """``count`` whole cores of a node: under one cache if one has them (the fullest such), else under few; lowest first."""
        groups = self._whole[node].get(width, {})
        if len(groups) == 1:
            return list(itertools.islice(next(iter(groups.values())), count))
        chosen: List[Core] = []
        left = {group: cores for group, cores in groups.items() if cores}
        while len(chosen) < count and left:
            missing = count - len(chosen)
            holding = [group for group in left if len(left[group]) >= missing]
            group = min(holding, key=lambda one: (len(left[one]), one)) if holding else min(left, key=lambda one: (-len(left[one]), one))
            chosen.extend(itertools.islice(left.pop(group), missing))
        return chosen

    def choose_threads(self, node: int, count: int) -> List[int]:
        """``count`` threads of a node: whole cores first, so that two guests share a core only where there is no other room.

        The first threads of the cores come first, then their siblings: 11 vCPUs on cores 0-5 are 0-5,48-52 (section 12.2.2).
        """
        cores: List[Core] = []
        for width in self.widths:
            missing = count - sum(len(core) for core in cores)
            if missing <= 0:
                break
            cores.extend(self.choose_cores(node, width, min(self.cores(node, width), -(-missing // width))))
        threads = [cpu for rank in itertools.zip_longest(*cores) for cpu in rank if cpu is not None]
        if len(threads) < count:
            threads.extend(sorted(self._loose[node]))
        return threads[:count]

    def take(self, guest: str, cpus: Collection[int], memory: Mapping[int, int], gpus: Iterable[int]) -> None:
        """Give CPUs, memory (KiB by node) and GPUs to a guest."""
        self._discard(cpus)
        for cpu in cpus:
            if cpu not in self.holder:
                self.holder[cpu] = guest
        for node, kib in memory.items():
            if node in self.memory:
                self.memory[node] = max(0, self.memory[node] - kib)
        for index in gpus:
            if index not in self.gpu_holder:
                self.gpu_holder[index] = guest
                if index in self.gpu_nodes:
                    self.unclaimed[self.gpu_nodes[index]] -= 1

    def _discard(self, cpus: Iterable[int]) -> None:
        for cpu in cpus:
            group = self._group.get(cpu)
            if group is None:  # not on this host, or reserved
                continue
            core = self.core_of[cpu]
            node = self.node_of[core[0]]
            loose = self._loose[node]
            if core in group:
                del group[core]
                self._count[node][len(core)] -= 1
                for thread in core:
                    loose[thread] = None
            if cpu in loose:
                del loose[cpu]
                self._free[node] -= 1


def share_evenly(need: int, room: Sequence[int]) -> List[int]:
    """``need`` units over places with this room: as even as it goes, at least one each; empty if that cannot be.

    The first places get what does not divide: 11 over two is 6 and 5.
    """
    return share_by_weight(need, [1] * len(room), room)


def share_by_weight(need: int, weights: Sequence[int], room: Sequence[int]) -> List[int]:
    """``need`` units over places in proportion to their weights, at least one each, never more than fits; empty if that cannot be."""
    if len(room) == 1:
        return [need] if 1 <= need <= room[0] else []
    if need < len(room) or sum(room) < need or min(room, default=0) < 1:
        return []
    total = sum(weights)
    shares = [max(1, min(most, need * weight // total)) for weight, most in zip(weights, room)]
    while sum(shares) > need:  # a place too light for one unit got one all the same: the heaviest gives it
        heaviest = max(range(len(shares)), key=lambda one: shares[one])
        shares[heaviest] -= 1
    left = need - sum(shares)
    while left:
        open_places = [place for place in range(len(shares)) if shares[place] < room[place]]
        each = max(1, left // len(open_places))
        for place in open_places:
            more = min(each, room[place] - shares[place], left)
            shares[place] += more
            left -= more
    return shares
