# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From a host and its domains to everything the role kvm_tuning does: what each domain is to be like, and what the host needs for that.

Pure: it joins the host model, the planner and the domains, and changes nothing. What cannot be done comes back as sentences in ``refused``,
all of them at once, so that a playbook stops before its first change.
"""
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ..host import cpuset
from ..host.errors import FleetError
from ..host.topology import Topology
from . import placement, pools
from .guests import LEAVE, Domain, Guest, Switches, cannot_run_together, choose, read_guest
from .plan import Placement, Plan
from .pools import Host, Pages, Supply

BALANCING = "kernel.numa_balancing"
#: The name under which the role has sysctl_dropin keep it.
DROPIN = "kvm-tuning"
_BALANCING = ("enabled", "disabled", LEAVE)
_AT = ("runtime", "boot")

#: What the host keeps of each node's memory unless it is told otherwise: enough for the host itself and QEMU's own memory on a DGX-2, whose
#: 16-GPU guest leaves 32 GB per node; at most a twentieth, for small machines.
_RESERVED_KIB, _RESERVED_PART = 4 * 1024 * 1024, 20

#: Rules under which a guest that may be pinned by core or by thread found no whole cores.
_NO_CORES = frozenset(["node_cpus", "core_threads"])

#: What to do about a refusal of the planner, in the words of the role.
_REMEDIES = {
    "core_threads": "Set kvm_tuning_pinning (or the guest's own pinning) to auto or thread for it.",
    "pinned": "The variable is kvm_tuning_move.",
    "node_cpus": "Guests that do not run at the same time are left out of the plan by kvm_tuning_select.",
    "gpus": "Guests that do not run at the same time are left out of the plan by kvm_tuning_select.",
}


class Wish(NamedTuple):
    """What is wanted of the host as a whole, and of guests that do not say otherwise."""

    guests: Sequence[Mapping[str, Any]]
    select: Any
    switches: Switches
    policy: Mapping[str, Any]
    hugepages_at: str
    numa_balancing: str
    when_running: str
    reboot: bool

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], topology: Topology) -> "Wish":
        """The role's variables without their prefix; raises :class:`FleetError` for what is none of them."""
        known = Switches._fields + cls._fields[:2] + cls._fields[4:] + ("reserved_cores", "reserved_memory_kib", "move")
        unknown = sorted(str(name) for name in given if name not in known)
        if unknown:
            raise FleetError("There is no setting kvm_tuning_{0}. Known are {1}.".format(unknown[0], ", ".join(sorted(known))))
        guests = given.get("guests") or []
        if not isinstance(guests, (list, tuple)) or not all(isinstance(guest, Mapping) and _is_name(guest.get("name")) for guest in guests):
            raise FleetError("kvm_tuning_guests is {0!r}, but a list of guests, each with its name, is expected.".format(guests))
        names = [guest["name"] for guest in guests]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FleetError("kvm_tuning_guests names {0} more than once. Say all that is wanted of a guest in one place.".format(", ".join(twice)))
        reserved = given.get("reserved_memory_kib")
        return cls(
            guests=list(guests),
            select="auto" if given.get("select") is None else given["select"],
            switches=Switches().changed_by(given, "kvm_tuning_"),
            policy={
                "reserved_cores": given.get("reserved_cores") or 0,
                "reserved_memory_kib": _reserved(topology) if reserved is None else reserved,
                "move": given.get("move") or "if_needed",
            },
            hugepages_at=_one_of(given, "hugepages_at", _AT),
            numa_balancing=_one_of(given, "numa_balancing", _BALANCING),
            when_running=str(given.get("when_running") or "refuse"),
            reboot=bool(given.get("reboot", False)),
        )


def _one_of(given: Mapping[str, Any], name: str, choices: Tuple[str, ...]) -> str:
    value = given.get(name)
    if value is None:
        return choices[0]
    if value not in choices:
        raise FleetError("kvm_tuning_{0} is {1!r}, but one of {2} is expected.".format(name, value, ", ".join(choices)))
    return str(value)


def _reserved(topology: Topology) -> int:
    smallest = min((node.memory_kib for node in topology.nodes if node.memory_kib), default=0)
    return min(_RESERVED_KIB, smallest // _RESERVED_PART)


class Decision(NamedTuple):
    """What is to be done. ``unsettled`` is whether libvirt_domain has anything to do; ``pending`` are the settings not in force, by guest."""

    refused: Sequence[str] = ()
    warnings: Sequence[str] = ()
    plan: Optional[Plan] = None
    domains: Sequence[Mapping[str, Any]] = ()
    unsettled: bool = False
    pending: Mapping[str, Sequence[str]] = {}
    supply: Supply = Supply()
    sysctl: Mapping[str, int] = {}
    sysctl_settled: bool = False

    def _say(self, more: Sequence[str]) -> "Decision":
        return self._replace(warnings=list(more) + list(self.warnings))

    def to_dict(self) -> Dict[str, Any]:
        """As playbooks take it."""
        plan = self.plan.to_dict() if self.plan else {"guests": [], "host": {"free_cpus": "", "reserved_cpus": "", "pages": {}}}
        supply = self.supply
        return {
            "refused": list(self.refused),
            "warnings": list(self.warnings),
            "guests": plan["guests"],
            "host": plan["host"],
            "domains": [dict(domain) for domain in self.domains],
            "work": bool(self.unsettled or self.warnings or supply.boot is not None),
            "unsettled": self.unsettled,
            "pending": {name: list(names) for name, names in self.pending.items()},
            "pages": {"before": pools.to_dict(supply.before), "after": None if supply.after is None else pools.to_dict(supply.after)},
            "boot_parameters": None if supply.boot is None else list(supply.boot),
            "held_back": supply.held_back,
            "host_first": bool(supply.held_back or supply.before or not all(mount.there for mount in supply.mounts)),
            "mounts": [dict(mount._asdict()) for mount in supply.mounts],
            "sysctl": dict(self.sysctl),
            "sysctl_settled": self.sysctl_settled,
        }


def decide(facts: Mapping[str, Any], found: Optional[Sequence[Mapping[str, Any]]], wanted: Mapping[str, Any]) -> Decision:
    """Everything to do on a host with these facts and domains (None: there is no libvirt to ask yet, so guests are planned as given).

    ``wanted`` are the role's variables without their prefix. User mistakes come back in ``refused``; nothing is raised for them.
    """
    try:
        host = Host.from_facts(facts)
        wish = Wish.from_dict(wanted, host.topology)
        domains = None if found is None else _domains(found)
        guests, problems = _guests(host.topology, domains, wish)
        if domains is None:
            return _decide(host, wish, [], guests)._say(problems)
        problems += cannot_run_together(guests, host.topology)
        return Decision(refused=problems) if problems else _decide(host, wish, domains, guests)
    except FleetError as error:
        return Decision(refused=[error.message])


def _domains(found: Any) -> List[Domain]:
    if not isinstance(found, (list, tuple)):
        raise FleetError("domains is {0!r}, but the list that libvirt_domain_info returns is expected.".format(found))
    return [Domain.from_info(info, "domains[{0}]".format(at)) for at, info in enumerate(found)]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _guests(topology: Topology, domains: Optional[Sequence[Domain]], wish: Wish) -> Tuple[List[Guest], List[str]]:
    """The guests to tune, and what keeps others from being read."""
    given = {str(guest["name"]): guest for guest in wish.guests}
    by_name = {domain.name: domain for domain in domains or ()}
    guests, problems = [], []
    for name in sorted(given) if domains is None else choose(domains, wish.guests, wish.select):
        try:
            guests.append(read_guest(name, by_name.get(name), given.get(name, {}), wish.switches, topology))
        except FleetError as error:
            problems.append(error.message)
    return guests, problems


def _decide(host: Host, wish: Wish, domains: Sequence[Domain], guests: Sequence[Guest]) -> Decision:
    planned = {guest.name for guest in guests}
    theirs = frozenset(pci for guest in guests if guest.domain for pci in guest.domain.pci)
    strangers = [domain for domain in domains if domain.name not in planned]
    others = [domain for domain in strangers if not domain.pci & theirs]
    rivals = [domain for domain in strangers if domain.pci & theirs]
    plan = _plan(host.topology, guests, others, wish.policy)
    if plan.refusals:
        return Decision(refused=[_sentence(refusal) for refusal in plan.refusals], warnings=plan.warnings)
    places = {place.guest.name: place for place in plan.placements}
    pages = _pages(host.topology, wish, guests, places, others, rivals)
    supply = pools.supply(pages, wish.hugepages_at == "boot", host)
    refused = [line for guest in guests for line in _misplaced(host.topology, guest, places[guest.name])]
    refused += _reboot_blocked(wish, domains) if supply.held_back else []
    if refused:
        return Decision(refused=refused, warnings=plan.warnings)
    # With consent the reboot comes before the guests, so what is shown of them is how they are after it.
    balancing = _sysctl(host, wish)
    wanted = [settings(guest, places[guest.name], supply.held_back and not wish.reboot) for guest in guests]
    return Decision(
        warnings=plan.warnings + _advice(guests),
        plan=plan,
        domains=wanted,
        unsettled=any(_unsettled(guest, each, wish.when_running) for guest, each in zip(guests, wanted)),
        pending={guest.name: guest.domain.pending for guest in guests if guest.domain and guest.domain.pending},
        supply=supply,
        sysctl=balancing,
        sysctl_settled=balancing == {BALANCING: host.numa_balancing} and host.sysctl.get(DROPIN) == {BALANCING: str(host.numa_balancing)},
    )


def _plan(topology: Topology, guests: Sequence[Guest], others: Sequence[Domain], policy: Mapping[str, Any]) -> Plan:
    """A plan that pins by core where the vCPUs fill whole cores; a guest for which there are no whole cores left is pinned by thread."""
    width = max((len(core) for core in topology.cores()), default=1)
    pinned = [domain.to_pinned(topology) for domain in others]
    for guest in guests:
        if guest.domain and (guest.domain.pins or guest.domain.cells):
            pinned += _pinned_now(guest, guest.domain, topology)
    free_choice: Dict[str, Optional[str]] = {
        guest.name: "core" if guest.vcpus % width == 0 else "thread" for guest in guests if guest.switches.pinning == "auto"
    }
    rules = dict(policy, pinned=pinned)
    plan = placement.plan(topology, [_asked(guest, free_choice) for guest in guests], rules)
    coreless = {refusal.guest: None for refusal in plan.refusals if refusal.rule in _NO_CORES and free_choice.get(refusal.guest) == "core"}
    if coreless:
        free_choice.update(coreless)
        plan = placement.plan(topology, [_asked(guest, free_choice) for guest in guests], rules)
    return plan


def _pinned_now(guest: Guest, domain: Domain, topology: Topology) -> List[Dict[str, Any]]:
    pinned = domain.to_pinned(topology)
    if guest.switches.pinning != LEAVE:
        return [pinned]
    # Not the planner's to move, so to it these are the pins of somebody else; the guest itself is planned for its memory only.
    return [{"name": "{0} (whose pins are left as they are)".format(guest.name), "vcpupin": pinned["vcpupin"]}, dict(pinned, vcpupin={})]


def _asked(guest: Guest, free_choice: Mapping[str, Optional[str]]) -> Dict[str, Any]:
    """A guest as the planner takes it. What is left alone is not planned."""
    switches = guest.switches
    pinning = free_choice[guest.name] if guest.name in free_choice else "none" if switches.pinning == LEAVE else switches.pinning
    return {
        "name": guest.name,
        "vcpus": guest.vcpus,
        "memory_kib": guest.memory_kib,
        "gpus": guest.gpus,
        "pinning": pinning,
        "emulator": "none" if switches.emulator == LEAVE else switches.emulator,
        "iothreads": guest.wanted_iothreads() or 0,
        "hugepages": _pages_asked(guest),
        "numa": "none" if switches.numa == LEAVE else switches.numa,
        "max_nodes": guest.max_nodes,
        "beyond_gpu_nodes": guest.beyond_gpu_nodes,
    }


def _pages_asked(guest: Guest) -> Union[str, int]:
    """The pages of the plan. What the guest has and keeps counts where its memory is divided, for each cell must be whole pages."""
    switches = guest.switches
    if switches.hugepages != LEAVE:
        return switches.hugepages
    return guest.domain.page_kib if guest.domain and guest.domain.page_kib and switches.numa == "auto" else "none"


def _sentence(refusal: placement.Refusal) -> str:
    return "{0} {1}".format(refusal.message, _REMEDIES[refusal.rule]) if refusal.rule in _REMEDIES else refusal.message


def _misplaced(topology: Topology, guest: Guest, place: Placement) -> List[str]:
    """Pins that are left alone must agree with the cells that are not: a cell's memory is to be where its vCPUs are."""
    if guest.switches.pinning != LEAVE or guest.domain is None:
        return []
    for cell in place.cells:
        here = topology.cpus_of_node(cell.node)
        away = [vcpu for vcpu in cell.vcpus if not guest.domain.pins.get(vcpu, here) & here]
        if away:
            return [
                "{0} has vCPU {1} pinned away from node {2}, where its memory would be. Set its numa to leave as well, or let its pins be planned.".format(
                    guest.name, cpuset.show(away), cell.node
                )
            ]
    return []


def _pages(
    topology: Topology, wish: Wish, guests: Sequence[Guest], places: Mapping[str, Placement], others: Sequence[Domain], rivals: Sequence[Domain]
) -> Optional[Pages]:
    """The pools that the host is to have; None if nobody wants anything of them."""
    deciding = [guest for guest in guests if guest.switches.hugepages != LEAVE]
    if not deciding and wish.switches.hugepages == LEAVE:
        return None
    planned = pools.add(*(_pages_of(guest, places[guest.name], topology) for guest in guests))
    wanted = pools.wanted_pools(planned, others, rivals, topology)
    return pools.emptied(wanted, topology) if wish.switches.hugepages == "none" else wanted


def _pages_of(guest: Guest, place: Placement, topology: Topology) -> Pages:
    """The pages of the plan; where pages or cells are left alone, those that the guest's own XML amounts to."""
    planned: Pages = {place.guest.page_kib: dict(place.pages)} if place.pages else {}
    if guest.domain is None or LEAVE not in (guest.switches.hugepages, guest.switches.numa):
        return planned
    if planned and guest.switches.numa != LEAVE:
        return planned
    size = guest.domain.page_kib if guest.switches.hugepages == LEAVE else place.guest.page_kib
    own = guest.domain._replace(page_kib=size, memory_kib=guest.memory_kib)
    return pools.pages_of(own, topology) if own.cells or not planned else planned


def _reboot_blocked(wish: Wish, domains: Sequence[Domain]) -> List[str]:
    running = sorted(domain.name for domain in domains if domain.running)
    if not wish.reboot or not running or wish.when_running == "restart":
        return []
    return [
        "The huge pages need a reboot of the host, which kvm_tuning_reboot allows, but these guests are running: {0}. Shut them down, or consent "
        "to their restart with kvm_tuning_when_running: restart.".format(", ".join(running))
    ]


def _sysctl(host: Host, wish: Wish) -> Dict[str, int]:
    """Automatic NUMA balancing (section 12.4.1); a kernel without it has nothing to set. Bit 1 is the balancing between nodes, bit 2 that
    between tiers of memory (admin-guide/sysctl/kernel.rst), which is not ours to switch."""
    if wish.numa_balancing == LEAVE or host.numa_balancing is None:
        return {}
    tiering = int(host.numa_balancing) & 2
    return {BALANCING: tiering | (1 if wish.numa_balancing == "enabled" else 0)}


def _advice(guests: Sequence[Guest]) -> List[str]:
    slow = [
        "{0} of {1} is {2}".format(disk.target, guest.name, disk.format)
        for guest in guests
        if guest.switches.disks not in (LEAVE, "none") and guest.switches.disk_format == LEAVE
        for disk in guest.tuned_disks()
        if disk.format != "raw"
    ]
    if not slow:
        return []
    return [
        "Data drives are fastest as raw images (section 12.6.1): {0}. Convert them with qemu-img convert while the guest is off, then set "
        "kvm_tuning_disk_format: raw.".format("; ".join(slow))
    ]


def settings(guest: Guest, place: Placement, held_back: bool = False) -> Dict[str, Any]:
    """What the module libvirt_domain is to make of a guest. Only features that are switched on or off are named; the others it leaves alone."""
    switches, plan = guest.switches, place.to_dict()
    found: Dict[str, Any] = dict({"name": guest.name}, **guest.resized)
    if switches.pinning == "none":
        found["vcpupin"] = {}
        if guest.domain and guest.domain.pins and guest.domain.threads_per_core > 1:
            found["topology"] = {}  # vCPUs that run anywhere are no siblings (section 12.2.2)
    elif switches.pinning != LEAVE:
        found["vcpupin"] = plan["vcpupin"]
        found["topology"] = plan["topology"]
    if switches.numa == "none":
        found["cells"] = []
    elif switches.numa != LEAVE and place.cells:
        found["cells"] = plan["cells"]
    if switches.emulator != LEAVE:
        found["emulatorpin"] = plan["emulatorpin"]
    threads = guest.wanted_iothreads()
    if threads is not None:
        found["iothreads"] = threads
        found["iothreadpin"] = plan["iothreadpin"]
    if switches.hugepages != LEAVE and not held_back:
        found["hugepages"] = switches.hugepages
    disks = _disk_settings(guest, threads)
    if disks:
        found["disks"] = disks
    return found


def _unsettled(guest: Guest, wanted: Mapping[str, Any], when_running: str) -> bool:
    """Whether libvirt_domain has to look at the guest: it is to be another, or may have to be set right while it runs.

    With restart it always has to, for a guest whose restart was cut short is only known to the backup that the host keeps.
    """
    if guest.domain is None or when_running == "restart" or (when_running == "live" and guest.running):
        return True
    return any(not _is_so(name, value, guest.domain.configured) for name, value in wanted.items() if name != "name")


def _is_so(name: str, value: Any, has: Mapping[str, Any]) -> bool:
    """Whether a setting is as wanted, by its meaning. A difference in doubt is none of ours to settle: libvirt_domain looks at the XML itself."""
    if has.get(name) is None:
        return False
    if name in ("vcpupin", "iothreadpin"):
        return _pins(value) == _pins(has[name])
    if name == "emulatorpin":
        return cpuset.parse(value) == cpuset.parse(has[name])
    if name == "cells":
        return [_cell(cell) for cell in value] == [_cell(cell) for cell in has[name]]
    if name == "disks":
        drivers = {disk["target"]: disk.get("driver") or {} for disk in has[name]}
        return all(
            (None if setting in (0, "default") else setting) == drivers.get(disk["target"], {}).get(key)
            for disk in value
            for key, setting in disk["driver"].items()
        )
    return bool(value == has[name])


def _pins(pins: Mapping[Any, Any]) -> Dict[int, FrozenSet[int]]:
    return {int(thread): cpuset.parse(cpus) for thread, cpus in pins.items()}


def _cell(cell: Mapping[str, Any]) -> Tuple[Any, ...]:
    return cell["id"], cpuset.parse(cell["vcpus"]), cell["memory_kib"], cell.get("node"), cell.get("mode", "strict")


def _disk_settings(guest: Guest, threads: Optional[int]) -> List[Dict[str, Any]]:
    if guest.switches.disks == "none":
        off: Mapping[str, Any] = {"cache": "default", "io": "default", "queues": 0, "iothread": 0}
        return [{"target": disk.target, "driver": dict(off)} for disk in guest.tuned_disks()]
    tuned = []
    for position, disk in enumerate(guest.tuned_disks()):
        driver: Dict[str, Any] = {"cache": "none", "io": "native", "queues": queues(guest.vcpus)}
        if threads is not None:
            driver["iothread"] = position % threads + 1 if threads else 0
        if guest.switches.disk_format != LEAVE:
            driver["type"] = guest.switches.disk_format
        tuned.append({"target": disk.target, "driver": driver})
    return tuned


def queues(vcpus: int) -> int:
    """The queues of a disk: the greatest power of two not above the vCPUs, 64 for 92 and 32 for 46 (section 12.6.1)."""
    return 1 << (vcpus.bit_length() - 1)
