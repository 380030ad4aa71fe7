# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a guest fits at a site, and which CPUs and how much memory of each node it would take there."""
import itertools
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

from .choices import Site
from .requests import Guest
from .room import Room, share_by_weight, share_evenly


class Seat(NamedTuple):
    """What a guest would take at a site: its CPUs by node in vCPU order, its memory in KiB by node, threads per core (1 under *thread*)."""

    site: Site
    pinning: str
    width: int
    cpus: Mapping[int, Sequence[int]]
    vcpus: Mapping[int, int]
    memory: Mapping[int, int]


def threads_by_node(room: Room, guest: Guest, pinning: str) -> Dict[int, int]:
    """How many of its vCPUs each node could take."""
    if pinning == "core" and len(room.widths) == 1 and guest.vcpus % room.widths[0] == 0:
        return {node: room.whole(node) for node in room.memory}
    if pinning == "thread":
        return {node: room.threads(node) for node in room.memory}
    return {node: threads_for(room, guest, node, pinning) for node in room.memory}


def threads_for(room: Room, guest: Guest, node: int, pinning: str) -> int:
    """How many of its vCPUs a node could take."""
    if pinning == "core":
        return max([width * room.cores(node, width) for width in room.widths if guest.vcpus % width == 0], default=0)
    if pinning == "thread":
        return room.threads(node)
    return guest.vcpus if room.cpus_of[node] else 0


def sit(room: Room, guest: Guest, site: Site, pinning: str) -> Union[Seat, str]:
    """A seat at this site, or the rule in its way: ``node_cpus`` or ``node_memory``."""
    nodes = site.nodes
    cpus: Dict[int, Sequence[int]] = {}
    width = 1
    if pinning == "core":
        width, shares = _share_cores(room, guest, nodes)
        cpus = {node: list(itertools.chain.from_iterable(room.choose_cores(node, width, share // width))) for node, share in zip(nodes, shares)}
    else:
        shares = share_evenly(guest.vcpus, [threads_for(room, guest, node, pinning) for node in nodes])
        if pinning == "thread":
            cpus = {node: room.choose_threads(node, count) for node, count in zip(nodes, shares)}
    if not shares:
        return "node_cpus"
    vcpus = dict(zip(nodes, shares))
    memory = memory_shares(room, guest, vcpus)
    if guest.memory_kib and not memory:
        return "node_memory"
    return Seat(site, pinning, width, cpus, vcpus, memory)


def _share_cores(room: Room, guest: Guest, nodes: Sequence[int]) -> Tuple[int, List[int]]:
    """Threads per core, and the vCPUs of each node; no shares if whole cores of one width do not do."""
    for width in room.widths:
        if guest.vcpus % width == 0:
            shares = share_evenly(guest.vcpus // width, [room.cores(node, width) for node in nodes])
            if shares:
                return width, [count * width for count in shares]
    return 1, []


def memory_shares(room: Room, guest: Guest, vcpus: Mapping[int, int]) -> Dict[int, int]:
    """KiB by node in proportion to its vCPUs, in whole pages; empty if that cannot be.

    Without cells nothing ties memory to nodes, so the rest of the host helps out, nearest nodes being the kernel's own choice.
    """
    unit = guest.page_kib or (1024 if guest.memory_kib % 1024 == 0 else 1)
    nodes = sorted(vcpus)
    shares = share_by_weight(guest.memory_kib // unit, [vcpus[node] for node in nodes], [room.memory[node] // unit for node in nodes])
    if not shares and guest.numa == "none":
        most_first = sorted((node for node in room.memory if room.memory[node] >= unit), key=lambda node: (-room.memory[node], node))
        nodes = most_first[:max(1, guest.memory_kib // unit)]
        shares = share_by_weight(guest.memory_kib // unit, [room.memory[node] for node in nodes], [room.memory[node] // unit for node in nodes])
    return {node: share * unit for node, share in zip(nodes, shares)}
