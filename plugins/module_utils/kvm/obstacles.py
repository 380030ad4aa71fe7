# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a guest finds no place: the rule, a sentence with the remedy, and what would fit."""
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host import cpuset
from .choices import Site, gpu_sets
from .requests import HUGE_PAGES, Guest
from .room import Room
from .seating import sit, threads_for


class Obstacle(NamedTuple):
    """Why a guest does not fit at a site, and what would get it past this; there may be more behind it.

    ``remedy`` says the same as ``fits``, ``hint`` what else might help.
    """

    rule: str
    reason: str
    fits: Mapping[str, Any]
    remedy: str = ""
    hint: str = ""


def gpus_obstacle(room: Room, guest: Guest) -> Optional[Obstacle]:
    """A GPU that is not there or belongs to another guest, or too few that are free."""
    if not guest.gpu_count:
        return None
    free = room.free_gpus()
    fits = {"gpus": free if guest.gpus is not None else len(free)}
    for index in guest.gpus or ():
        if index not in room.gpu_nodes:
            message = "{0} asks for GPU {1}, but this host has {2}.".format(
                guest.name, index, "GPU " + cpuset.show(room.gpu_nodes) if room.gpu_nodes else "no GPU"
            )
            return Obstacle("gpus", message, fits)
        if index in room.gpu_holder:
            message = "{0} asks for GPU {1}, which {2} has.".format(guest.name, index, room.gpu_holder[index])
            return Obstacle("gpus", message, fits, "Free are {0}.".format(cpuset.show(free) or "none"))
    if guest.gpus is None and len(free) < guest.gpu_count:
        message = "{0} asks for {1} GPUs, but only {2} of {3} are free.".format(guest.name, guest.gpu_count, len(free), len(room.gpu_nodes))
        return Obstacle("gpus", message, fits)
    return None


def page_obstacle(guest: Guest) -> Optional[Obstacle]:
    """QEMU refuses a memory backend that is not a multiple of its page size (backends/hostmem.c)."""
    if not guest.page_kib or guest.memory_kib % guest.page_kib == 0:
        if guest.page_kib and not guest.memory_kib:
            return Obstacle("pages", "{0} asks for huge pages, but its memory is not given. Give memory_kib.".format(guest.name), {})
        return None
    below = guest.memory_kib // guest.page_kib
    fits = {"memory_kib": (below + 1) * guest.page_kib, "pages": below + 1}
    name = next(word for word, size in HUGE_PAGES.items() if size == guest.page_kib)
    message = "{0} has {1} KiB of memory, which is {2:.1f} pages of {3} and not a whole number of them.".format(
        guest.name, guest.memory_kib, guest.memory_kib / guest.page_kib, name
    )
    remedy = "Give it {0} KiB ({1} pages){2}.".format(
        fits["memory_kib"], below + 1, " or {0} KiB ({1} pages)".format(below * guest.page_kib, below) if below else ""
    )
    return Obstacle("pages", message, fits, remedy)


def emulator_obstacle(room: Room, guest: Guest) -> Optional[Obstacle]:
    """CPUs named for the emulator that are not there, or that serve a vCPU."""
    cpus = guest.emulator_cpus
    if not cpus:
        return None
    absent = sorted(cpu for cpu in cpus if cpu not in room.node_of)
    if absent:
        message = "{0} asks for its emulator on CPU {1}, which is not online on this host.".format(guest.name, cpuset.show(absent))
        return Obstacle("emulator_cpus", message, {"emulator": "same_node"})
    used = sorted(cpu for cpu in cpus if cpu in room.holder)
    if used:
        message = "{0} asks for its emulator on CPU {1}, which serves a vCPU of {2}.".format(guest.name, cpuset.show(used), room.holder[used[0]])
        return Obstacle("emulator_cpus", message, {"emulator": "same_node"})
    return None


def why_nowhere(room: Room, guest: Guest, pinning: str) -> Obstacle:
    """What stands in the way at the best that the guest could have hoped for: the roomiest of the nodes it may use."""
    gpus = next(iter(gpu_sets(room, guest)), ())
    near = room.nodes_of_gpus(gpus)
    allowed = near if near and not guest.beyond_gpu_nodes else sorted(room.memory)
    fed = [node for node in allowed if room.memory[node] or guest.numa == "none" or not guest.memory_kib]
    widths = [1]
    if pinning == "core" and room.widths:
        capacity = {width: width * sum(room.cores(node, width) for node in fed) for width in room.widths}
        widths = [width for width in room.widths if capacity[width] and guest.vcpus % width == 0]
        best = max(room.widths, key=lambda width: (capacity[width], -width))
        if best not in widths and capacity[best] and not any(capacity[width] >= guest.vcpus for width in widths):
            return _odd_obstacle(guest, best, capacity[best])
    obstacles = [found for width in widths for found in _obstacles(room, guest, gpus, fed, pinning, width)]
    if obstacles:
        nearest = [found for found in obstacles if found.rule == "node_memory"] or obstacles[:1]
        return max(nearest, key=lambda found: found.fits.get("memory_kib", 0))
    if guest.emulator_cpus and any(room.threads(node) for node in fed):
        message = "{0} asks for its emulator on CPU {1}, which is not on the nodes that it can sit on.".format(guest.name, guest.emulator)
        return Obstacle("emulator_cpus", message, {"emulator": "same_node"})
    message = "{0} finds no free {1} with memory beside it: node {2}{3} has none.".format(
        guest.name, "core" if pinning == "core" else "CPU", cpuset.show(allowed), ", where its GPUs are," if near else ""
    )
    return Obstacle("node_cpus", message, {"vcpus": 0, "nodes": []})


def _obstacles(room: Room, guest: Guest, gpus: Tuple[int, ...], nodes: Sequence[int], pinning: str, width: int) -> Iterator[Obstacle]:
    """What stands in the way on the nodes with most CPUs, and on those with most memory."""
    threads = {node: room.cores(node, width) * width if pinning == "core" else threads_for(room, guest, node, pinning) for node in nodes}
    usable = [node for node in nodes if threads[node]]
    most = min(guest.max_nodes or len(usable), guest.vcpus // width)
    for order in (threads, room.memory):
        roomiest = sorted(usable, key=lambda node, order=order: (-order[node], node))[:most]  # type: ignore[misc]
        if not roomiest:
            return
        site = Site(gpus, tuple(sorted(roomiest)))
        rule = sit(room, guest, site, pinning)
        if rule == "node_cpus":
            yield _cpu_obstacle(room, guest, site, pinning, sum(threads[node] for node in roomiest), width)
        elif rule == "node_memory":
            yield _memory_obstacle(room, guest, site)


def _odd_obstacle(guest: Guest, width: int, most: int) -> Obstacle:
    low, high = guest.vcpus // width * width, -(-guest.vcpus // width) * width
    counts = [count for count in (low, high) if 0 < count <= most] or [most]
    message = "{0} has {1} vCPUs, which do not fill cores of {2} threads.".format(guest.name, guest.vcpus, width)
    return Obstacle("core_threads", message, {"vcpus": counts[-1]}, "Give it {0}, or pin it by thread.".format(" or ".join(map(str, counts))))


def _cpu_obstacle(room: Room, guest: Guest, site: Site, pinning: str, most: int, width: int) -> Obstacle:
    where = "node {0}".format(cpuset.show(site.nodes)) if len(site.nodes) < len(room.memory) else "this host"
    free = {"core": "{0} free cores ({1} threads)".format(most // width, most), "thread": "{0} free threads".format(most)}
    message = "{0} asks for {1} vCPUs{2}, but {3} has {4}.".format(
        guest.name,
        guest.vcpus,
        "" if pinning == "none" else " pinned by " + pinning,
        "{0}, where its GPUs are,".format(where) if site.gpus else where,
        free.get(pinning, "no CPU that is online"),
    )
    hint = "With beyond_gpu_nodes: true it may use neighbouring nodes too." if site.gpus and not guest.beyond_gpu_nodes and len(room.memory) > 1 else ""
    return Obstacle("node_cpus", message, {"vcpus": most, "nodes": list(site.nodes)}, "{0} vCPUs would fit.".format(most), hint)


def _memory_obstacle(room: Room, guest: Guest, site: Site) -> Obstacle:
    nodes = site.nodes if guest.numa == "auto" else tuple(sorted(room.memory))
    unit = guest.page_kib or 1
    most = sum(room.memory[node] // unit * unit for node in nodes)
    message = "{0} asks for {1} KiB of memory{2}, but node {3} has {4} KiB left.".format(
        guest.name,
        guest.memory_kib,
        " in pages of {0} KiB".format(unit) if guest.page_kib else "",
        cpuset.show(nodes),
        most,
    )
    remedy = "{0} KiB would fit.".format(most) if most else "Nothing fits there."
    return Obstacle("node_memory", message, {"memory_kib": most, "nodes": list(nodes)}, remedy)
