# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The places worth trying for a guest, best first: sets of GPUs and of NUMA nodes. Whether one holds the guest is decided elsewhere."""
import itertools
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from .requests import Guest
from .room import Room

#: With more combinations than this only neighbourhoods are tried: 16 choose 8 is 12,870, but 64 choose 8 is 4 thousand million.
MOST_COMBINATIONS = 13000


class Site(NamedTuple):
    """A set of GPUs, and of nodes that hold or neighbour them."""

    gpus: Tuple[int, ...]
    nodes: Tuple[int, ...]


def sites(room: Room, guest: Guest, required: Set[int], enough: "Enough") -> Iterator[Site]:
    """All sites for a guest, best first. ``required`` nodes must be among those of a site; ``enough`` tells hopeless sets apart early."""
    for gpus in gpu_sets(room, guest):
        anchored = set(room.nodes_of_gpus(gpus))
        for nodes in _node_sets(room, guest, anchored, enough):
            if required <= set(nodes):
                yield Site(gpus, nodes)


class Enough:
    """A quick lower bound: can any set of this many nodes hold the guest? CPUs and memory are summed over the best nodes of each."""

    def __init__(self, threads: Dict[int, int], vcpus: int, memory: Dict[int, int], memory_kib: int) -> None:
        self.threads, self.vcpus, self.memory, self.memory_kib = threads, vcpus, memory, memory_kib

    def worth_trying(self, nodes: Iterable[int]) -> List[int]:
        """Those of the nodes that have something of both to give."""
        return [node for node in nodes if self.threads[node] and (self.memory[node] or not self.memory_kib)]

    def could_hold(self, nodes: Sequence[int], count: int) -> bool:
        """Whether the ``count`` roomiest of these nodes have the CPUs, and the ``count`` roomiest have the memory."""
        threads = sorted([self.threads[node] for node in nodes], reverse=True)[:count]
        memory = sorted([self.memory[node] for node in nodes], reverse=True)[:count]
        return sum(threads) >= self.vcpus and sum(memory) >= self.memory_kib

    def hold(self, nodes: Sequence[int]) -> bool:
        """Whether these nodes together have the CPUs and the memory."""
        return sum([self.threads[node] for node in nodes]) >= self.vcpus and sum([self.memory[node] for node in nodes]) >= self.memory_kib


def _node_sets(room: Room, guest: Guest, anchored: Set[int], enough: Enough) -> Iterator[Tuple[int, ...]]:
    """The nodes of the GPUs, all of them first; a guest without GPUs (or whose GPUs have no node) goes to the fewest that hold it."""
    nodes = sorted(anchored)
    most = guest.max_nodes or len(room.memory)
    if not nodes:
        yield from _fewest(room, sorted(room.memory), most, enough)
        return
    if len(nodes) <= most:
        yield tuple(nodes)
    # A GPU node without room, or fewer vCPUs than GPU nodes: better near some of the GPUs than nowhere.
    if len(nodes) > 1:
        yield from _fewest(room, nodes, min(most, len(nodes) - 1), enough)
    if guest.beyond_gpu_nodes:
        near = sorted(set(room.memory) - anchored, key=lambda node: (min(room.distance(gpu_node, node) for gpu_node in nodes), node))
        # Beside the GPUs as far as there is room; without any of that where it is full, or too small to be worth one of max_nodes.
        with_room = enough.worth_trying(nodes)
        for beside in [with_room, []] if with_room else [[]]:
            for count in range(1, min(most - len(beside), len(near)) + 1):
                for added in itertools.combinations(near, count) if _combinations(len(near), count) <= MOST_COMBINATIONS else [tuple(near[:count])]:
                    yield tuple(sorted(beside + list(added)))


def _fewest(room: Room, nodes: Sequence[int], most: int, enough: Enough) -> Iterator[Tuple[int, ...]]:
    def badness(chosen: Tuple[int, ...]) -> Tuple[int, int, int, int, Tuple[int, ...]]:
        """Far apart is worst; then sharing cores with other guests; then CPUs beside GPUs that nobody has yet; then leaving much unused."""
        apart = sum([room.distance(one, other) for one, other in itertools.combinations(chosen, 2)])
        shared = max(0, enough.vcpus - sum([room.whole(node) for node in chosen]))
        return apart, shared, sum([room.unclaimed[node] for node in chosen]), sum([room.threads(node) for node in chosen]), chosen

    nodes = enough.worth_trying(nodes)
    for count in range(1, min(most, len(nodes)) + 1):
        if count > 1 and not enough.could_hold(nodes, count):
            continue
        if _combinations(len(nodes), count) <= MOST_COMBINATIONS:
            candidates: Iterable[Tuple[int, ...]] = itertools.combinations(nodes, count)
        else:
            candidates = _neighbourhoods(room, nodes, count)
        holding = [chosen for chosen in candidates if enough.hold(chosen)]
        yield from sorted(holding, key=badness) if len(holding) > 1 else holding


def _combinations(nodes: int, count: int) -> int:
    """Binomial coefficient; math.comb came with Python 3.8."""
    ways = 1
    for at in range(min(count, nodes - count)):
        ways = ways * (nodes - at) // (at + 1)
    return ways


def _neighbourhoods(room: Room, nodes: Sequence[int], count: int) -> List[Tuple[int, ...]]:
    """Around each node its nearest ones; and the roomiest of all, which hold a guest if any set of that many does."""
    found = set()
    for centre in nodes:
        by_distance = sorted((room.distance(centre, other), other) for other in nodes)
        found.add(tuple(sorted(other for _distance, other in by_distance[:count])))
    found.add(tuple(sorted(sorted(nodes, key=lambda node: (-room.threads(node), node))[:count])))
    found.add(tuple(sorted(sorted(nodes, key=lambda node: (-room.memory[node], node))[:count])))
    return sorted(found)


def gpu_sets(room: Room, guest: Guest) -> Iterator[Tuple[int, ...]]:
    """The sets of GPUs that a guest may get, best first: those it names, or blocks of free ones."""
    if guest.gpus is not None:
        yield guest.gpus
        return
    seen = set()
    for _key, gpus in sorted(_ranked_blocks(room, guest.gpu_count)):
        if gpus not in seen:
            seen.add(gpus)
            yield gpus


def _ranked_blocks(room: Room, count: int) -> Iterator[Tuple[Tuple[int, int, int, int], Tuple[int, ...]]]:
    """Blocks of free GPUs with their rank: fewest nodes, then whole aligned blocks, then the tightest gap.

    On a DGX-2 a guest's first GPU is a multiple of its GPU count (Fabric Manager guide, *Supported VM configurations*); aligned blocks of
    other machines share switches in the same way. The tightest gap first keeps large blocks whole for large guests.
    """
    free = room.free_gpus()
    available = set(free)
    for start in free:
        block = tuple(range(start, start + count))
        if available.issuperset(block):
            aligned = start % count == 0
            parent = start // (2 * count) * 2 * count
            beside = sum(1 for index in range(parent, parent + 2 * count) if index in available)
            yield (_nodes_of(room, block), 0 if aligned else 1, beside, start), block
    by_node: Dict[Optional[int], List[int]] = {}
    for index in free:
        by_node.setdefault(room.gpu_nodes[index], []).append(index)
    for on_node in by_node.values():
        if len(on_node) >= count:
            yield (1, 2, len(on_node), on_node[0]), tuple(on_node[:count])
    fullest = [index for _node, on_node in sorted(by_node.items(), key=lambda item: (-len(item[1]), item[1])) for index in on_node]
    if len(fullest) >= count:
        scattered = tuple(sorted(fullest[:count]))
        yield (_nodes_of(room, scattered), 3, len(free), scattered[0]), scattered


def _nodes_of(room: Room, gpus: Iterable[int]) -> int:
    return len({room.gpu_nodes[index] for index in gpus})
