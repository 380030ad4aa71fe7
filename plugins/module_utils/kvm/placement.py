# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planner: a host, guests and a policy in; a plan for the whole host out, or refusals that say what would fit.

The rules it never breaks (sections 12.2 to 12.5 of the Best Practices for DGX, with their slips mended):

1. no CPU serves two vCPUs; under *core* no physical core serves two guests, and guest siblings are host siblings;
2. sockets x cores x threads are the vCPUs; cells cover all vCPUs and all memory, each once;
3. a guest sits on the nodes of its GPUs, else on the fewest that hold it; a cell's memory comes from the node of its CPUs;
4. huge pages are counted per node, rounded up, and never exceed the node;
5. emulator and I/O threads run on the guest's nodes, on CPUs that no vCPU uses if any are left;
6. what is pinned stays unless asked; the order in which guests are listed does not matter;
7. there is no plan that breaks a rule: a guest that cannot be placed is refused, and the others are planned without it.
"""
from functools import reduce
from math import gcd
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ..host import cpuset
from ..host.topology import Topology
from .choices import Enough, Site, sites
from .plan import Cell, GuestTopology, Placement, Plan, Refusal
from .requests import HUGE_PAGES, Guest, Pinned, Policy, read_guests, read_policy
from .room import Room, share_by_weight, share_evenly

__all__ = ["Plan", "Placement", "Refusal", "plan"]


class Seat(NamedTuple):
    """What a guest would take at a site: its CPUs by node in vCPU order, its memory in KiB by node, threads per core (1 under *thread*)."""

    site: Site
    pinning: str
    width: int
    cpus: Mapping[int, Sequence[int]]
    vcpus: Mapping[int, int]
    memory: Mapping[int, int]


class Obstacle(NamedTuple):
    """Why a guest does not fit at a site, and what would fit there."""

    rule: str
    message: str
    fits: Mapping[str, Any]


def plan(topology: Topology, guests: Iterable[Mapping[str, Any]], policy: Optional[Mapping[str, Any]] = None) -> Plan:
    """Place guests on a host.

    ``guests`` have ``name``, ``vcpus``, ``memory_kib`` (or ``memory: 96G``), ``gpus`` (indices, or a count), and optionally ``pinning``,
    ``emulator``, ``iothreads``, ``hugepages``, ``numa``, ``max_nodes`` and ``beyond_gpu_nodes``; ``policy`` gives their defaults, and
    ``reserved_cores`` (per node), ``reserved_memory_kib`` (per node), ``pinned`` (guests with their ``vcpupin``) and ``move``.
    Raises :class:`FleetError` for input that cannot be understood; what cannot be placed is a :class:`Refusal` in the plan.
    """
    rules = read_policy(policy)
    wanted = read_guests(guests, policy)
    return _Planner(topology, wanted, rules).plan()


class _Planner:
    def __init__(self, topology: Topology, guests: List[Guest], policy: Policy) -> None:
        self.topology = topology
        self.guests = guests
        self.policy = policy
        self.warnings: List[str] = []
        self.refusals: List[Refusal] = []
        self.seats: Dict[str, Seat] = {}
        self.pins: Dict[str, Mapping[int, int]] = {}
        kept = {node.id: policy.cores_kept(node.id) for node in topology.nodes}
        self.room = Room(topology, kept, policy.reserved_memory_kib, self._emulator_cpus())

    def _emulator_cpus(self) -> FrozenSet[int]:
        """CPUs asked for by name for an emulator: no vCPU may go there (rule 5)."""
        return frozenset(cpu for guest in self.guests for cpu in _named_cpus(guest))

    def plan(self) -> Plan:
        names = {guest.name for guest in self.guests}
        for stranger in self.policy.pinned:
            if stranger.name not in names:
                self._make_way(stranger)
        waiting = [guest for guest in self.guests if not self._stays(guest)]
        for guest in sorted(waiting, key=_hardest_first):
            self._seat(guest)
        placements = [self._placement(guest) for guest in self.guests if guest.name in self.seats]
        self.refusals.sort(key=lambda refusal: refusal.guest)
        return Plan(
            [placement for placement in placements if placement.guest.name in self.seats],
            self.refusals,
            self.warnings,
            tuple(self.room.free_on(self.room.memory)),
            tuple(sorted(self.room.reserved)),
        )

    # -- guests that are there already -------------------------------------------------------------------------------------------------

    def _make_way(self, stranger: Pinned) -> None:
        """Leave the CPUs of a guest that is not planned here alone; a pin as wide as a node reserves nothing, for it binds nothing."""
        cpus = stranger.cpus
        wide = sorted(node for node in self.room.memory if self.topology.cpus_of_node(node) and self.topology.cpus_of_node(node) <= cpus)
        if wide and len(cpus) > len(stranger.pins):
            self.warnings.append(
                "{0} may run on all CPUs of node {1}: its pins ({2}) reserve nothing.".format(stranger.name, cpuset.show(wide), cpuset.show(cpus))
            )
            cpus = frozenset()
        clash = sorted(cpu for cpu in cpus if cpu in self.room.holder)
        if clash:
            others = sorted({self.room.holder[cpu] for cpu in clash})
            self.warnings.append(
                "{0} shares CPU {1} with {2} by their present pins. Plan these guests together to part them.".format(
                    stranger.name, cpuset.show(clash), ", ".join(others)
                )
            )
        self.room.take(stranger.name, cpus, stranger.memory, stranger.gpus)

    def _stays(self, guest: Guest) -> bool:
        """Keep the pins a guest has if they break no rule; say whether the guest is settled (seated, or refused)."""
        present = next((one for one in self.policy.pinned if one.name == guest.name and one.pins), None)
        if present is None or self.policy.move == "always" or guest.pinning == "none":
            return False
        reasons = []
        for pinning in [guest.pinning] if guest.pinning else ["core", "thread"]:
            seat, reason = self._present_seat(guest, present, pinning)
            if seat is not None:
                self._occupy(guest, seat, {vcpu: min(cpus) for vcpu, cpus in present.pins.items()})
                return True
            reasons.append(reason)
        if self.policy.move == "never":
            message = "{0} is pinned already, and its pins cannot stay: {1} Set move to if_needed to let the plan move it.".format(guest.name, reasons[-1])
            self._refuse(guest, Obstacle("pinned", message, {"move": "if_needed"}))
            return True
        return False

    def _present_seat(self, guest: Guest, present: Pinned, pinning: str) -> Tuple[Optional[Seat], str]:
        """The seat that the present pins amount to, or why they are none."""
        problem = self._pins_problem(guest, present, pinning)
        if problem:
            return None, problem
        pins = [min(present.pins[vcpu]) for vcpu in range(guest.vcpus)]
        width = 1
        if pinning == "core":
            width = len(self.room.core_of[pins[0]])
            groups = [tuple(pins[at:at + width]) for at in range(0, len(pins), width)]
            if any(group != self.room.core_of.get(group[0]) for group in groups):
                return None, "they do not put pairs of vCPUs on the threads of one core."
        nodes = tuple(sorted({self.room.node_of[cpu] for cpu in pins}))
        gpus = guest.gpus if guest.gpus is not None else tuple(sorted(present.gpus))
        problem = self._site_problem(guest, gpus, nodes)
        if problem:
            return None, problem
        cpus = {node: [cpu for cpu in pins if self.room.node_of[cpu] == node] for node in nodes}
        vcpus = {node: len(cpus[node]) for node in nodes}
        memory = self._memory(guest, vcpus)
        if guest.memory_kib and not memory:
            return None, "the memory of node {0} does not hold it.".format(cpuset.show(nodes))
        return Seat(Site(gpus, nodes), pinning, width, cpus, vcpus, memory), ""

    def _pins_problem(self, guest: Guest, present: Pinned, pinning: str) -> str:
        if sorted(present.pins) != list(range(guest.vcpus)):
            return "they pin vCPU {0}, but it has {1} vCPUs.".format(cpuset.show(present.pins), guest.vcpus)
        if any(len(cpus) != 1 for cpus in present.pins.values()):
            return "a vCPU may run on more than one CPU."
        cpus = present.cpus
        absent = sorted(cpu for cpu in cpus if cpu not in self.room.node_of)
        if absent:
            return "CPU {0} is not online on this host.".format(cpuset.show(absent))
        if len(cpus) != guest.vcpus:
            return "two of its vCPUs share a CPU."
        kept = self.room.reserved | self._emulator_cpus()
        if kept & cpus:
            return "CPU {0} is reserved.".format(cpuset.show(kept & cpus))
        for core in {self.room.core_of[cpu] for cpu in cpus} if pinning == "core" else ():
            shared = [cpu for cpu in core if cpu in self.room.holder]
            if shared:
                return "CPU {0} of the core {1} belongs to {2}.".format(shared[0], cpuset.show(core), self.room.holder[shared[0]])
        for cpu in sorted(cpus):
            owner = self._owner(cpu)
            if owner:
                return "CPU {0} is pinned by {1} too.".format(cpu, owner)
        return ""

    def _owner(self, cpu: int) -> str:
        """Who bars this CPU for a newcomer: a guest on it, or a guest under *core* on its core."""
        if cpu in self.room.holder:
            return self.room.holder[cpu]
        for sibling in self.room.core_of[cpu]:
            owner = self.room.holder.get(sibling, "")
            if owner in self.seats and self.seats[owner].pinning == "core":
                return owner
        return ""

    def _site_problem(self, guest: Guest, gpus: Tuple[int, ...], nodes: Tuple[int, ...]) -> str:
        if guest.gpus is None and len(gpus) != guest.gpu_count:
            return "it has {0} GPUs, but {1} are asked for.".format(len(gpus), guest.gpu_count)
        obstacle = self._gpus_obstacle(guest, gpus)
        if obstacle:
            return obstacle.message
        near = {self.room.gpu_nodes[index] for index in gpus} & set(self.room.memory)
        if near and not set(nodes) <= near and not guest.beyond_gpu_nodes:
            return "they are on node {0}, but its GPUs are on node {1}.".format(cpuset.show(nodes), cpuset.show(near))
        if guest.max_nodes and len(nodes) > guest.max_nodes:
            return "they are on {0} nodes, but at most {1} may be used.".format(len(nodes), guest.max_nodes)
        return ""

    # -- guests that need a seat -------------------------------------------------------------------------------------------------------

    def _seat(self, guest: Guest) -> None:
        """Take the first site that holds the guest; refuse it with the reason of the best site if none does."""
        obstacle = self._gpus_obstacle(guest, guest.gpus or ()) or self._page_obstacle(guest) or self._emulator_obstacle(guest)
        if obstacle:
            self._refuse(guest, obstacle)
            return
        reason: Optional[Obstacle] = None
        required = {self.room.node_of[cpu] for cpu in _named_cpus(guest)}
        for pinning in self._pinnings(guest):
            first: Optional[Obstacle] = None
            for site in sites(self.room, guest, required, self._enough(guest, pinning)):
                found = self._try(guest, site, pinning)
                if isinstance(found, Seat):
                    self._occupy(guest, found, None)
                    return
                first = first or found
            reason = first or reason
        self._refuse(guest, reason or self._nowhere(guest))

    def _pinnings(self, guest: Guest) -> List[str]:
        if guest.pinning:
            return [guest.pinning]
        if any(guest.vcpus % width == 0 for width in self.room.widths[:1]):
            return ["core", "thread"]
        return ["thread"]

    def _enough(self, guest: Guest, pinning: str) -> Enough:
        room = self.room
        if pinning == "core":
            threads = {node: max((width * room.cores(node, width) for width in room.widths if guest.vcpus % width == 0), default=0) for node in room.memory}
        elif pinning == "thread":
            threads = {node: room.threads(node) for node in room.memory}
        else:
            threads = {node: guest.vcpus if self.topology.cpus_of_node(node) else 0 for node in room.memory}
        bound = guest.numa == "auto"
        return Enough(threads, guest.vcpus, room.memory, guest.memory_kib if bound else 0)

    def _try(self, guest: Guest, site: Site, pinning: str) -> Union[Seat, Obstacle]:
        """A seat at this site, or the obstacle in its way."""
        room, nodes = self.room, site.nodes
        cpus: Dict[int, Sequence[int]] = {}
        width = 1
        shares: List[int] = []
        if pinning == "core":
            for width in room.widths:
                if guest.vcpus % width == 0:
                    shares = share_evenly(guest.vcpus // width, [room.cores(node, width) for node in nodes])
                    if shares:
                        chosen = {node: room.choose_cores(node, width, count) for node, count in zip(nodes, shares)}
                        cpus = {node: [cpu for core in cores for cpu in core] for node, cores in chosen.items()}
                        shares = [count * width for count in shares]
                        break
        elif pinning == "thread":
            shares = share_evenly(guest.vcpus, [room.threads(node) for node in nodes])
            cpus = {node: room.choose_threads(node, count) for node, count in zip(nodes, shares)}
        else:
            shares = share_evenly(guest.vcpus, [guest.vcpus if self.topology.cpus_of_node(node) else 0 for node in nodes])
        if not shares:
            return self._cpu_obstacle(guest, site, pinning)
        vcpus = dict(zip(nodes, shares))
        memory = self._memory(guest, vcpus)
        if guest.memory_kib and not memory:
            return self._memory_obstacle(guest, site)
        return Seat(site, pinning, width, cpus, vcpus, memory)

    def _memory(self, guest: Guest, vcpus: Mapping[int, int]) -> Dict[int, int]:
        """KiB by node in proportion to its vCPUs, in whole pages; empty if that cannot be.

        Without cells nothing ties memory to nodes, so the rest of the host helps out, nearest nodes being the kernel's own choice.
        """
        unit = guest.page_kib or (1024 if guest.memory_kib % 1024 == 0 else 1)
        nodes = sorted(vcpus)
        shares = share_by_weight(guest.memory_kib // unit, [vcpus[node] for node in nodes], [self.room.memory[node] // unit for node in nodes])
        if not shares and guest.numa == "none":
            nodes = [node for node in self.room.memory if self.room.memory[node] >= unit]
            shares = share_by_weight(guest.memory_kib // unit, [self.room.memory[node] for node in nodes], [self.room.memory[node] // unit for node in nodes])
        return {node: share * unit for node, share in zip(nodes, shares)}

    def _occupy(self, guest: Guest, seat: Seat, pins: Optional[Mapping[int, int]]) -> None:
        taken = [cpu for node in seat.site.nodes for cpu in seat.cpus.get(node, ())]
        self.room.take(guest.name, taken, seat.memory, seat.site.gpus)
        self.seats[guest.name] = seat
        if pins is not None:
            self.pins[guest.name] = pins
        if guest.pinning is None and seat.pinning == "thread" and self.room.widths[:1] != [1]:
            self.warnings.append(
                "{0} is pinned by thread, not by core: its {1} vCPUs {2}.".format(
                    guest.name, guest.vcpus, "do not fill whole cores" if guest.vcpus % self.room.widths[0] else "found no whole cores"
                )
            )

    # -- refusals ----------------------------------------------------------------------------------------------------------------------

    def _refuse(self, guest: Guest, obstacle: Obstacle) -> None:
        asked: Dict[str, Any] = {
            "vcpus": guest.vcpus,
            "memory_kib": guest.memory_kib,
            "gpus": list(guest.gpus) if guest.gpus is not None else guest.gpu_count,
            "pinning": guest.pinning or "core or thread",
        }
        room = self.room
        free = {
            "nodes": {
                node: {
                    "threads": room.threads(node),
                    "cores": sum(room.cores(node, width) for width in room.widths),
                    "memory_kib": room.memory[node],
                }
                for node in sorted(room.memory)
            },
            "gpus": room.free_gpus(),
        }
        self.refusals.append(Refusal(guest.name, obstacle.rule, obstacle.message, asked, free, obstacle.fits))

    def _gpus_obstacle(self, guest: Guest, gpus: Iterable[int]) -> Optional[Obstacle]:
        free = self.room.free_gpus()
        fits = {"gpus": free if guest.gpus is not None else len(free)}
        for index in gpus:
            if index not in self.room.gpu_nodes:
                message = "{0} asks for GPU {1}, but this host has {2}.".format(
                    guest.name, index, "GPU " + cpuset.show(self.room.gpu_nodes) if self.room.gpu_nodes else "no GPU"
                )
                return Obstacle("gpus", message, fits)
            if index in self.room.gpu_holder:
                message = "{0} asks for GPU {1}, which {2} has. Free are {3}.".format(
                    guest.name, index, self.room.gpu_holder[index], cpuset.show(free) or "none"
                )
                return Obstacle("gpus", message, fits)
        if guest.gpus is None and len(free) < guest.gpu_count:
            message = "{0} asks for {1} GPUs, but only {2} of {3} are free.".format(guest.name, guest.gpu_count, len(free), len(self.room.gpu_nodes))
            return Obstacle("gpus", message, fits)
        return None

    def _page_obstacle(self, guest: Guest) -> Optional[Obstacle]:
        """QEMU refuses a memory backend that is not a multiple of its page size (backends/hostmem.c)."""
        if not guest.page_kib or guest.memory_kib % guest.page_kib == 0:
            if guest.page_kib and not guest.memory_kib:
                return Obstacle("pages", "{0} asks for huge pages, but its memory is not given. Give memory_kib.".format(guest.name), {})
            return None
        below = guest.memory_kib // guest.page_kib
        fits = {"memory_kib": (below + 1) * guest.page_kib, "pages": below + 1}
        name = next(word for word, size in HUGE_PAGES.items() if size == guest.page_kib)
        message = (
            "{0} has {1} KiB of memory, which is {2:.1f} pages of {3} and not a whole number of them. Give it {4} KiB ({5} pages){6}.".format(
                guest.name, guest.memory_kib, guest.memory_kib / guest.page_kib, name, fits["memory_kib"], below + 1,
                " or {0} KiB ({1} pages)".format(below * guest.page_kib, below) if below else "",
            )
        )
        return Obstacle("pages", message, fits)

    def _emulator_obstacle(self, guest: Guest) -> Optional[Obstacle]:
        cpus = _named_cpus(guest)
        absent = sorted(cpu for cpu in cpus if cpu not in self.room.node_of)
        if absent:
            message = "{0} asks for its emulator on CPU {1}, which is not online on this host.".format(guest.name, cpuset.show(absent))
            return Obstacle("emulator_cpus", message, {"emulator": "same_node"})
        used = sorted(cpu for cpu in cpus if cpu in self.room.holder)
        if used:
            message = "{0} asks for its emulator on CPU {1}, which serves a vCPU of {2}.".format(guest.name, cpuset.show(used), self.room.holder[used[0]])
            return Obstacle("emulator_cpus", message, {"emulator": "same_node"})
        return None

    def _cpu_obstacle(self, guest: Guest, site: Site, pinning: str) -> Obstacle:
        room = self.room
        where = "node {0}".format(cpuset.show(site.nodes)) if len(site.nodes) < len(room.memory) else "this host"
        if pinning == "core" and not any(guest.vcpus % width == 0 for width in room.widths):
            width = room.widths[-1]
            low, high = guest.vcpus // width * width, -(-guest.vcpus // width) * width
            message = "{0} has {1} vCPUs, which do not fill cores of {2} threads. Give it {3}{4}, or pin it by thread.".format(
                guest.name, guest.vcpus, width, "{0} or ".format(low) if low else "", high
            )
            return Obstacle("core_threads", message, {"vcpus": high, "pinning": "thread"})
        if pinning == "core":
            most = max(width * sum(room.cores(node, width) for node in site.nodes) for width in room.widths)
            free = "{0} free cores ({1} threads)".format(sum(room.cores(node, width) for node in site.nodes for width in room.widths), most)
        elif pinning == "thread":
            most = sum(room.threads(node) for node in site.nodes)
            free = "{0} free threads".format(most)
        else:
            most = guest.vcpus if any(self.topology.cpus_of_node(node) for node in site.nodes) else 0
            free = "no CPU that is online"
        if most >= guest.vcpus:  # room in sum, but a node has none, or there are fewer cores asked for than nodes
            empty = [node for node in site.nodes if not room.threads(node)]
            message = "{0} cannot be spread over {1}: {2}.".format(
                guest.name, where, "node {0} has no free CPU".format(cpuset.show(empty)) if empty else "it has fewer cores than there are nodes"
            )
            return Obstacle("node_cpus", message, {"vcpus": most, "nodes": list(site.nodes)})
        near = "{0}, where its GPUs are,".format(where) if site.gpus else where
        message = "{0} asks for {1} vCPUs{2}, but {3} has {4}.{5}{6}".format(
            guest.name,
            guest.vcpus,
            "" if pinning == "none" else " pinned by " + pinning,
            near,
            free,
            " {0} vCPUs would fit.".format(most) if most else " Nothing fits there.",
            " With beyond_gpu_nodes: true it may use neighbouring nodes too." if site.gpus and not guest.beyond_gpu_nodes and len(room.memory) > 1 else "",
        )
        return Obstacle("node_cpus", message, {"vcpus": most, "nodes": list(site.nodes)})

    def _memory_obstacle(self, guest: Guest, site: Site) -> Obstacle:
        nodes = site.nodes if guest.numa == "auto" else tuple(sorted(self.room.memory))
        unit = guest.page_kib or 1
        most = sum(self.room.memory[node] // unit * unit for node in nodes)
        message = "{0} asks for {1} KiB of memory{2}, but node {3} has {4} KiB left.{5}".format(
            guest.name,
            guest.memory_kib,
            " in pages of {0} KiB".format(unit) if guest.page_kib else "",
            cpuset.show(nodes),
            most,
            " {0} KiB would fit.".format(most) if most else " Nothing fits there.",
        )
        return Obstacle("node_memory", message, {"memory_kib": most, "nodes": list(nodes)})

    def _nowhere(self, guest: Guest) -> Obstacle:
        """No site was worth trying: the host as a whole is too small, or the nodes allowed are too few."""
        most = guest.max_nodes or len(self.room.memory)
        by_room = sorted(self.room.memory, key=lambda node: (-self.room.threads(node), node))[:most]
        site = Site(guest.gpus or (), tuple(sorted(by_room)))
        for pinning in self._pinnings(guest):
            found = self._try(guest, site, pinning)
            if isinstance(found, Obstacle):
                return found
        named = _named_cpus(guest)
        if named:
            message = "{0} asks for its emulator on CPU {1}, which is not on the nodes that it can sit on.".format(guest.name, cpuset.show(named))
            return Obstacle("emulator_cpus", message, {"emulator": "same_node"})
        return self._memory_obstacle(guest, site)

    # -- the answer --------------------------------------------------------------------------------------------------------------------

    def _placement(self, guest: Guest) -> Placement:
        seat = self.seats[guest.name]
        nodes = seat.site.nodes
        order = [cpu for node in nodes for cpu in seat.cpus.get(node, ())]
        pins = self.pins.get(guest.name) or dict(enumerate(order))
        if seat.pinning == "none":
            pins = {}
        emulator, helpers = self._helpers(guest, seat, order)
        alone = len(helpers) >= guest.iothreads  # a CPU for each I/O thread, else they share what there is
        return Placement(
            guest=guest,
            gpus=seat.site.gpus,
            nodes=nodes,
            pinning=seat.pinning,
            pins=dict(sorted(pins.items())),
            topology=_guest_topology(seat),
            cells=self._cells(guest, seat, pins),
            emulator=emulator,
            iothreads={number + 1: helpers[number:number + 1] if alone else helpers for number in range(guest.iothreads)},
            pages={node: -(-kib // guest.page_kib) for node, kib in seat.memory.items()} if guest.page_kib else {},
            kept=guest.name in self.pins,
        )

    def _cells(self, guest: Guest, seat: Seat, pins: Mapping[int, int]) -> Tuple[Cell, ...]:
        if guest.numa == "none" or not guest.memory_kib:
            return ()
        cells, first = [], 0
        for number, node in enumerate(seat.site.nodes):
            if pins:
                vcpus = tuple(sorted(vcpu for vcpu, cpu in pins.items() if self.room.node_of[cpu] == node))
            else:
                vcpus = tuple(range(first, first + seat.vcpus[node]))
            first += seat.vcpus[node]
            cells.append(Cell(number, vcpus, seat.memory[node], node))
        return tuple(cells)

    def _helpers(self, guest: Guest, seat: Seat, own: Sequence[int]) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
        """The CPUs of the emulator and of the I/O threads: free ones of the guest's nodes, else the host's, else the guest's own.

        Never off its nodes: with memory bound strictly to a node, QEMU cannot set such an affinity and the guest does not start.
        """
        nearby = self.room.free_on(seat.site.nodes) or self.room.reserved_on(seat.site.nodes) or sorted(own)
        if not nearby:
            nearby = sorted(cpu for node in seat.site.nodes for cpu in self.topology.cpus_of_node(node))
        named = tuple(sorted(_named_cpus(guest)))
        emulator = named or (() if guest.emulator == "none" else tuple(nearby))
        return emulator, tuple(named or nearby)


def _guest_topology(seat: Seat) -> GuestTopology:
    """One socket per cell where cells are alike, else sockets small enough that none spans two cells.

    A socket across NUMA nodes is a machine that does not exist; Linux complains of it at boot (arch/x86/kernel/smpboot.c).
    """
    counts = list(seat.vcpus.values())
    per_socket = reduce(gcd, counts)
    return GuestTopology(sum(counts) // per_socket, per_socket // seat.width, seat.width)


def _named_cpus(guest: Guest) -> FrozenSet[int]:
    return frozenset() if guest.emulator in ("none", "same_node") else cpuset.parse(guest.emulator)


def _hardest_first(guest: Guest) -> Tuple[int, int, int, int, int, str]:
    """Guests that name their GPUs have least choice, then those that need some; whole cores before threads; large before small."""
    kind = 2 if not guest.gpu_count else 0 if guest.gpus is not None else 1
    return kind, 1 if guest.pinning == "thread" else 0, -guest.gpu_count, -guest.vcpus, -guest.memory_kib, guest.name
