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
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ..host import cpuset
from ..host.topology import Topology
from .choices import Enough, Site, sites
from .obstacles import Obstacle, emulator_obstacle, gpus_obstacle, page_obstacle, why_nowhere
from .plan import Cell, GuestTopology, Placement, Plan, Refusal
from .remedies import Fit, fit, nothing
from .requests import Guest, Pinned, Policy, read_guests, read_policy
from .room import Room
from .seating import Seat, memory_shares, sit, threads_by_node

__all__ = ["Plan", "Placement", "Refusal", "plan"]


def plan(topology: Topology, guests: Iterable[Mapping[str, Any]], policy: Optional[Mapping[str, Any]] = None) -> Plan:
    """Place guests on a host.

    ``guests`` have ``name``, ``vcpus``, ``memory_kib`` (or ``memory: 96G``), ``gpus`` (indices, or a count), and optionally ``pinning``,
    ``emulator``, ``iothreads``, ``hugepages``, ``numa``, ``max_nodes`` and ``beyond_gpu_nodes``; ``policy`` gives their defaults, and
    ``reserved_cores`` (per node), ``reserved_memory_kib`` (per node), ``pinned`` (guests with their ``vcpupin``) and ``move``.
    A guest that is pinned already may bring its ``vcpupin`` and ``cells`` itself.
    Raises :class:`FleetError` for input that cannot be understood; what cannot be placed is a :class:`Refusal` in the plan.
    """
    rules = read_policy(policy)
    wanted, brought = read_guests(guests, policy)
    return _Planner(topology, wanted, rules.with_pinned(brought)).plan()


#: What makes a guest smaller, and leaves the others where they are.
_SMALLER = frozenset(["vcpus", "memory_kib", "nodes"])


class Refused(NamedTuple):
    """A guest that found no place, what was in its way, what was free and would have fitted then, and how many guests had a seat."""

    guest: Guest
    obstacle: Obstacle
    free: Mapping[str, Any]
    fit: Fit
    seated: int


class _Planner:
    def __init__(self, topology: Topology, guests: List[Guest], policy: Policy) -> None:
        self.topology = topology
        self.policy = policy
        self.present = {guest.name: guest for guest in policy.pinned}
        self.guests = [self._with_present_gpus(guest) for guest in guests]
        self.warnings: List[str] = []
        self.refused: List[Refused] = []
        self.seats: Dict[str, Seat] = {}
        self.pins: Dict[str, Mapping[int, int]] = {}
        #: The CPUs beside the vCPUs, by the nodes of a guest; known when all guests are seated.
        self.nearby: Dict[Tuple[int, ...], Tuple[int, ...]] = {}
        #: How many I/O threads each set of CPUs has got so far.
        self.turns: Dict[Tuple[int, ...], int] = {}
        #: How many more plans may be made to see whether what is said to fit does. Where more guests are refused, what fits now must do.
        self.trials = 4
        kept = {node.id: policy.cores_kept(node.id) for node in topology.nodes}
        #: CPUs asked for by name for an emulator: no vCPU may go there (rule 5).
        self.named = frozenset(cpu for guest in self.guests for cpu in guest.emulator_cpus)
        self.room = Room(topology, kept, policy.reserved_memory_kib, self.named)

    def _with_present_gpus(self, guest: Guest) -> Guest:
        """A guest that asks for a number of GPUs and has that many keeps them, since they are in its XML."""
        present = self.present.get(guest.name)
        if present is None or guest.gpus is not None or len(present.gpus) != guest.gpu_count or self.policy.move == "always":
            return guest
        return guest._replace(gpus=tuple(sorted(present.gpus)))

    def plan(self) -> Plan:
        self._settle()
        return Plan(
            [self._placement(guest) for guest in self.guests if guest.name in self.seats],
            sorted((self._refusal(refused) for refused in self.refused), key=lambda refusal: refusal.guest),
            self.warnings,
            tuple(self.room.free_on(self.room.memory)),
            tuple(sorted(self.room.reserved)),
        )

    def _settle(self) -> None:
        """Give each guest a seat, or refuse it."""
        names = {guest.name for guest in self.guests}
        for stranger in self.policy.pinned:
            if stranger.name not in names:
                self._make_way(stranger)
        # Guests whose memory is bound to nodes come first: the others take what is left anywhere.
        rank = {guest.name: _hardest_first(guest) for guest in self.guests}
        by_need = sorted(self.guests, key=lambda guest: (guest.numa == "none", rank[guest.name]))
        waiting = [guest for guest in by_need if not self._fails(page_obstacle(guest), guest) and not self._stays(guest)]
        for guest in sorted(waiting, key=lambda guest: (self._lateness(guest), rank[guest.name])):
            self._seat(guest)

    def _lateness(self, guest: Guest) -> int:
        """Newcomers come after those that are there; last who is bound to nothing, for nothing tells the next plan where it is.

        Where all is planned anew, it must not matter who is there: else the next plan would move them again.
        """
        if guest.pinning == "none" and guest.numa == "none" and not guest.gpu_count:
            return 2
        return 1 if guest.name not in self.present and self.policy.move != "always" else 0

    # -- guests that are there already -------------------------------------------------------------------------------------------------

    def _make_way(self, stranger: Pinned) -> None:
        """Leave the CPUs of a guest that is not planned here alone; a pin as wide as a node reserves nothing, for it binds nothing."""
        cpus = stranger.cpus
        wide = sorted(node for node, local in self.room.cpus_of.items() if local and local <= cpus)
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
        present = self.present.get(guest.name)
        if present is None or self.policy.move == "always":
            return False
        if guest.pinning == "none":
            return self._keeps_memory(guest, present)
        if not present.pins:
            return False
        if self._fails(emulator_obstacle(self.room, guest), guest):
            return True
        reasons = []
        for pinning in self._pinnings(guest):
            seat, reason = self._present_seat(guest, present, pinning)
            if seat is not None:
                self._occupy(guest, seat, {vcpu: min(cpus) for vcpu, cpus in present.pins.items()})
                return True
            reasons.append(reason)
        if self.policy.move == "never":
            message = "{0} is pinned already, and its pins cannot stay: {1}".format(guest.name, reasons[-1])
            self._refuse(guest, Obstacle("pinned", message, {"move": "if_needed"}, "Set move to if_needed to let the plan move it."))
            return True
        return False

    def _keeps_memory(self, guest: Guest, present: Pinned) -> bool:
        """Keep the nodes that a guest without pins has its memory on, if that breaks no rule: a newcomer must not drive it away either."""
        nodes = tuple(sorted(present.memory))
        if not nodes or guest.gpus is None or not set(nodes) <= set(self.room.memory) or self._site_problem(guest, guest.gpus, nodes):
            return False
        memory = self._present_memory(guest, present, nodes)
        if not memory or emulator_obstacle(self.room, guest) or not {self.room.node_of[cpu] for cpu in guest.emulator_cpus} <= set(nodes):
            return False
        seat = sit(self.room, guest, Site(guest.gpus, nodes), "none")
        if not isinstance(seat, Seat):
            return False
        self._occupy(guest, seat._replace(memory=memory), None)
        return True

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
            if guest.vcpus % width or any(group != self.room.core_of.get(group[0]) for group in groups):
                return None, "they do not put pairs of vCPUs on the threads of one core."
        nodes = tuple(sorted({self.room.node_of[cpu] for cpu in pins}))
        away = {self.room.node_of[cpu] for cpu in guest.emulator_cpus} - set(nodes)
        if away:
            return None, "its emulator is to run on node {0}, and they are on node {1}.".format(cpuset.show(away), cpuset.show(nodes))
        gpus = guest.gpus
        if gpus is None:
            return None, "it has {0} GPUs, but {1} are asked for.".format(len(present.gpus), guest.gpu_count)
        problem = self._site_problem(guest, gpus, nodes)
        if problem:
            return None, problem
        cpus = {node: [cpu for cpu in pins if self.room.node_of[cpu] == node] for node in nodes}
        vcpus = {node: len(cpus[node]) for node in nodes}
        memory = self._present_memory(guest, present, nodes) or memory_shares(self.room, guest, vcpus)
        if guest.memory_kib and not memory:
            return None, "the memory of node {0} does not hold it.".format(cpuset.show(nodes))
        return Seat(Site(gpus, nodes), pinning, width, cpus, vcpus, memory), ""

    def _present_memory(self, guest: Guest, present: Pinned, nodes: Tuple[int, ...]) -> Mapping[int, int]:
        """The memory of its cells as it is, if it still suits; empty if not."""
        suits = (
            guest.numa == "auto"
            and tuple(sorted(present.memory)) == nodes
            and sum(present.memory.values()) == guest.memory_kib
            and all(0 < kib <= self.room.memory[node] and kib % (guest.page_kib or 1) == 0 for node, kib in present.memory.items())
        )
        return present.memory if suits else {}

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
        kept = self.room.reserved | self.named
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
        obstacle = gpus_obstacle(self.room, guest)
        if obstacle:
            return obstacle.reason
        near = set(self.room.nodes_of_gpus(gpus))
        if near and not set(nodes) <= near and not guest.beyond_gpu_nodes:
            return "they are on node {0}, but its GPUs are on node {1}.".format(cpuset.show(nodes), cpuset.show(near))
        if guest.max_nodes and len(nodes) > guest.max_nodes:
            return "they are on {0} nodes, but at most {1} may be used.".format(len(nodes), guest.max_nodes)
        return ""

    # -- guests that need a seat -------------------------------------------------------------------------------------------------------

    def _seat(self, guest: Guest) -> None:
        found = self._find(guest)
        if isinstance(found, Seat):
            self._occupy(guest, found, None)
        else:
            self._refuse(guest, found)

    def _find(self, guest: Guest) -> Union[Seat, Obstacle]:
        """A seat at the first site that holds the guest; what is in its way at the best site if none does."""
        obstacle = page_obstacle(guest) or gpus_obstacle(self.room, guest) or emulator_obstacle(self.room, guest)
        if obstacle:
            return obstacle
        required = {self.room.node_of[cpu] for cpu in guest.emulator_cpus}
        for pinning in self._pinnings(guest):
            threads = threads_by_node(self.room, guest, pinning)
            enough = Enough(threads, guest.vcpus, self.room.memory, guest.memory_kib if guest.numa == "auto" else 0)
            for site in sites(self.room, guest, required, enough):
                found = sit(self.room, guest, site, pinning)
                if isinstance(found, Seat):
                    return found
        return why_nowhere(self.room, guest, self._pinnings(guest)[-1])

    def _pinnings(self, guest: Guest) -> List[str]:
        if guest.pinning:
            return [guest.pinning]
        if self.room.widths and guest.vcpus % self.room.widths[0] == 0:
            return ["core", "thread"]
        return ["thread"]

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

    def _fails(self, obstacle: Optional[Obstacle], guest: Guest) -> bool:
        if obstacle:
            self._refuse(guest, obstacle)
        return obstacle is not None

    def _refuse(self, guest: Guest, obstacle: Obstacle) -> None:
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
        self.refused.append(Refused(guest, obstacle, free, fit(obstacle, guest, self._find), len(self.seats)))

    def _refusal(self, refused: Refused) -> Refusal:
        guest, obstacle = refused.guest, refused.obstacle
        asked: Dict[str, Any] = {
            "vcpus": guest.vcpus,
            "memory_kib": guest.memory_kib,
            "gpus": list(guest.gpus) if guest.gpus is not None else guest.gpu_count,
            "pinning": guest.pinning or "core or thread",
        }
        fitting = self._fit(refused)
        return Refusal(guest.name, obstacle.rule, " ".join([obstacle.reason, fitting.remedy]).strip(), asked, refused.free, fitting.fits)

    def _fit(self, refused: Refused) -> Fit:
        """What the guest gets if it asks for that in the next plan: what would have fitted at its turn, else what fits beside all the others now."""
        if refused.fit.guest is None or self._holds(refused, refused.fit):
            return refused.fit
        left = fit(refused.obstacle, refused.guest, self._find)
        return left if left.guest is None or self._holds(refused, left) else nothing(refused.obstacle)

    def _holds(self, refused: Refused, attempt: Fit) -> bool:
        """Whether the guest found a place if it asked for this. A smaller one that fits beside all the others does; else it takes a plan to know."""
        if attempt.guest is None:
            return False
        if set(attempt.fits) <= _SMALLER and (refused.seated == len(self.seats) or isinstance(self._find(attempt.guest), Seat)):
            return True
        if not self.trials:
            return attempt is not refused.fit
        self.trials -= 1
        changed = [attempt.guest if guest.name == refused.guest.name else guest for guest in self.guests]
        again = _Planner(self.topology, changed, self.policy._replace(move=attempt.fits.get("move", self.policy.move)))
        again._settle()
        return attempt.guest.name in again.seats

    # -- the answer --------------------------------------------------------------------------------------------------------------------

    def _placement(self, guest: Guest) -> Placement:
        seat = self.seats[guest.name]
        nodes = seat.site.nodes
        order = [cpu for node in nodes for cpu in seat.cpus.get(node, ())]
        pins = dict(sorted(self.pins[guest.name].items())) if guest.name in self.pins else dict(enumerate(order))
        if seat.pinning == "none":
            pins = {}
        emulator, helpers = self._helpers(guest, seat, order)
        return Placement(
            guest=guest,
            gpus=seat.site.gpus,
            nodes=nodes,
            pinning=seat.pinning,
            pins=pins,
            topology=_guest_topology(seat),
            cells=self._cells(guest, seat, pins),
            emulator=emulator,
            iothreads=self._iothreads(guest, helpers),
            pages={node: -(-kib // guest.page_kib) for node, kib in seat.memory.items()} if guest.page_kib else {},
            kept=guest.name in self.pins,
        )

    def _iothreads(self, guest: Guest, helpers: Tuple[int, ...]) -> Dict[int, Tuple[int, ...]]:
        """A CPU for each I/O thread, going round so that guests do not crowd on the first; all of them share what there is if that is too little."""
        if not guest.iothreads:
            return {}
        if guest.iothreads > len(helpers):
            return dict.fromkeys(range(1, guest.iothreads + 1), helpers)
        start = self.turns.get(helpers, 0)
        self.turns[helpers] = start + guest.iothreads
        return {number + 1: (helpers[(start + number) % len(helpers)],) for number in range(guest.iothreads)}

    def _cells(self, guest: Guest, seat: Seat, pins: Mapping[int, int]) -> Tuple[Cell, ...]:
        if guest.numa == "none" or not guest.memory_kib:
            return ()
        cells, first = [], 0
        for number, node in enumerate(seat.site.nodes):
            if pins and len(seat.site.nodes) == 1:
                vcpus = tuple(pins)
            elif pins:
                vcpus = tuple(vcpu for vcpu, cpu in pins.items() if self.room.node_of[cpu] == node)
            else:
                vcpus = tuple(range(first, first + seat.vcpus[node]))
            first += seat.vcpus[node]
            cells.append(Cell(number, vcpus, seat.memory[node], node))
        return tuple(cells)

    def _helpers(self, guest: Guest, seat: Seat, own: Sequence[int]) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
        """The CPUs of the emulator and of the I/O threads: idle ones of the guest's nodes, else the guest's own.

        Never off its nodes: with memory bound strictly to a node, QEMU cannot set such an affinity and the guest does not start.
        """
        nodes = seat.site.nodes
        if nodes not in self.nearby:
            self.nearby[nodes] = tuple(self.room.idle_on(nodes))
        nearby = self.nearby[nodes] or tuple(sorted(own)) or tuple(sorted(cpu for node in nodes for cpu in self.room.cpus_of[node]))
        named = tuple(sorted(guest.emulator_cpus))
        emulator = named or (() if guest.emulator == "none" else nearby)
        return emulator, named or nearby


def _guest_topology(seat: Seat) -> GuestTopology:
    """One socket per cell where cells are alike, else sockets small enough that none spans two cells.

    A socket across NUMA nodes is a machine that does not exist; Linux complains of it at boot (arch/x86/kernel/smpboot.c).
    """
    counts = list(seat.vcpus.values())
    per_socket = reduce(gcd, counts)
    return GuestTopology(sum(counts) // per_socket, per_socket // seat.width, seat.width)


def _hardest_first(guest: Guest) -> Tuple[int, int, int, int, int, str]:
    """Guests that name their GPUs have least choice, then those that need some; whole cores before threads; large before small."""
    kind = 2 if not guest.gpu_count else 0 if guest.gpus is not None else 1
    return kind, 1 if guest.pinning == "thread" else 0, -guest.gpu_count, -guest.vcpus, -guest.memory_kib, guest.name
