# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is asked of the planner: guests, the policy of the host, and guests that are pinned already.

All three come from people as dictionaries, so reading them checks everything and says what is wrong where.
"""
import re
from collections import Counter, abc
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ..host import cpuset
from ..host.errors import FleetError

KIB_PER_UNIT = {"": 1, "k": 1, "m": 1024, "g": 1024 ** 2, "t": 1024 ** 3}
_SIZE = re.compile(r"^(\d+)\s*([kmgt]?)(?:i?b)?$", re.ASCII | re.IGNORECASE)

#: Page sizes in KiB by the name that people and libvirt use; 0 is the ordinary page.
HUGE_PAGES = {"none": 0, "2M": 2048, "1G": 1048576}
PINNINGS = ("none", "thread", "core")
NUMA_MODES = ("auto", "none")
#: May a guest's pins move: not at all, where they break what is asked, or whenever the plan would put it elsewhere.
MOVES = ("never", "if_needed", "always")
#: Above QEMU's and KVM's own bounds (KVM_MAX_VCPUS is 4096 on x86); it stops a slip of the pen, not a guest.
MOST_VCPUS = 8192


class Guest(NamedTuple):
    """One guest to place. ``gpus`` are indices, or None where only ``gpu_count`` is given; ``memory_kib`` 0 is unknown."""

    name: str
    gpus: Optional[Tuple[int, ...]]
    gpu_count: int
    vcpus: int
    memory_kib: int
    pinning: Optional[str]
    emulator: str
    iothreads: int
    page_kib: int
    numa: str
    max_nodes: Optional[int]
    beyond_gpu_nodes: bool

    @property
    def emulator_cpus(self) -> FrozenSet[int]:
        """The CPUs named for its emulator; none where the planner is to find them."""
        return frozenset() if self.emulator in ("none", "same_node") else cpuset.parse(self.emulator)


class Pinned(NamedTuple):
    """A guest that has pins already: the CPUs of each vCPU, its GPUs, and its memory by node in KiB."""

    name: str
    pins: Mapping[int, FrozenSet[int]]
    gpus: FrozenSet[int]
    memory: Mapping[int, int]

    @property
    def cpus(self) -> FrozenSet[int]:
        """All CPUs its vCPUs may run on."""
        return frozenset(cpu for cpus in self.pins.values() for cpu in cpus)


class Policy(NamedTuple):
    """What holds for the host as a whole."""

    reserved_cores: Mapping[Optional[int], int]
    reserved_memory_kib: int
    move: str
    pinned: Tuple[Pinned, ...]

    def cores_kept(self, node: int) -> int:
        """How many cores of a node the host keeps to itself."""
        return self.reserved_cores.get(node, self.reserved_cores.get(None, 0))

    def with_pinned(self, brought: Iterable[Pinned]) -> "Policy":
        """The policy with the pins that guests brought themselves, which count before those listed here."""
        every = {guest.name: guest for guest in self.pinned}
        every.update({guest.name: guest for guest in brought})
        return self._replace(pinned=tuple(every[name] for name in sorted(every)))


#: What a guest gets unless it or the policy says otherwise. Pinning None is *core* where the vCPUs fill whole cores, *thread* elsewhere:
#: an odd vCPU would leave half a core to a stranger (section 12.2.3, *1-GPU VMs*).
GUEST_DEFAULTS: Dict[str, Any] = {
    "pinning": None,
    "emulator": "same_node",
    "iothreads": 0,
    "hugepages": "none",
    "numa": "auto",
    "max_nodes": None,
    "beyond_gpu_nodes": False,
}
_GUEST_KEYS = ("name", "gpus", "vcpus", "memory_kib", "memory", "vcpupin", "cells") + tuple(GUEST_DEFAULTS)
_POLICY_KEYS = tuple(GUEST_DEFAULTS) + ("reserved_cores", "reserved_memory_kib", "move", "pinned")


def kib(value: Any, place: str) -> int:
    """A size in KiB from a number of KiB or a text with a unit (``96G``, ``96 GiB``)."""
    match = _SIZE.match(value.strip()) if isinstance(value, str) else None
    if match:
        return int(match.group(1)) * KIB_PER_UNIT[match.group(2).lower()]
    return _whole(value, place, "a number of KiB, or a text such as 96G")


def read_policy(given: Optional[Mapping[str, Any]]) -> Policy:
    """The policy; raises :class:`FleetError` for what is unknown or not of its type."""
    found = _mapping({} if given is None else given, "policy", _POLICY_KEYS)
    _defaults(found)
    reserved = found.get("reserved_cores", 0) or 0
    if isinstance(reserved, abc.Mapping):
        per_node: Dict[Optional[int], int] = {
            _whole(node, "policy.reserved_cores", "a NUMA node as the key"): _whole(count, "policy.reserved_cores[{0}]".format(node), "a number of cores")
            for node, count in reserved.items()
        }
    else:
        per_node = {None: _whole(reserved, "policy.reserved_cores", "a number of cores, or one per node as {0: 1, 1: 2}")}
    return Policy(
        per_node,
        kib(found.get("reserved_memory_kib", 0) or 0, "policy.reserved_memory_kib"),
        _choice(found.get("move") or "never", "policy.move", MOVES),
        tuple(sorted(_read_pinned(found.get("pinned")), key=lambda guest: guest.name)),
    )


def read_guests(given: Any, policy: Optional[Mapping[str, Any]]) -> Tuple[List[Guest], List[Pinned]]:
    """The guests, by name, and the pins that some bring; what a guest leaves out is the policy's, then :data:`GUEST_DEFAULTS`."""
    if isinstance(given, (str, abc.Mapping)) or not isinstance(given, abc.Iterable):
        raise FleetError("guests is {0!r}, but a list of guests is expected, such as [{{name: a, gpus: 2, vcpus: 10, memory: 96G}}].".format(given))
    defaults, settings = _defaults({} if policy is None else policy)
    entries = list(given)
    guests = [_read_guest(entry, "guests[{0}]".format(at), defaults, settings) for at, entry in enumerate(entries)]
    names = Counter(guest.name for guest in guests)
    for name, count in names.items():
        if count > 1:
            raise FleetError("The guest {0} is listed {1} times. Give each guest one name of its own.".format(name, count))
    brought = [
        _read_pinned_guest(dict(entry, gpus=guest.gpus or ()), "guest {0}: ".format(guest.name))
        for guest, entry in zip(guests, entries)
        if entry.get("vcpupin")
    ]
    return sorted(guests, key=lambda guest: guest.name), brought


def _read_guest(given: Any, place: str, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> Guest:
    """``settings`` are what ``defaults`` come to; most guests have none of their own."""
    found = _mapping(given, place, _GUEST_KEYS)
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise FleetError("{0}.name is {1!r}, but the name of a guest is expected.".format(place, name))
    place = "guest {0}: ".format(name)
    own = {key: value for key, value in found.items() if key in GUEST_DEFAULTS and value is not None}
    vcpus = _whole(found.get("vcpus"), place + "vcpus", "a number of vCPUs", lowest=1, highest=MOST_VCPUS)
    if found.get("memory_kib") is not None and found.get("memory") is not None:
        raise FleetError("{0}memory and memory_kib are both given. Give one of them.".format(place))
    memory = found.get("memory_kib") if found.get("memory_kib") is not None else found.get("memory")
    gpus, count = _gpus(found.get("gpus"), place + "gpus")
    if own:
        settings = _settings(dict(defaults, **own), place)
    return Guest(
        name=name, gpus=gpus, gpu_count=count, vcpus=vcpus, memory_kib=0 if memory is None else kib(memory, place + "memory_kib"), **settings
    )


def _defaults(policy: Mapping[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What guests inherit, as it is written and as settings; checked even if no guest does."""
    wanted = dict(GUEST_DEFAULTS, **{key: policy[key] for key in GUEST_DEFAULTS if policy.get(key) is not None})
    return wanted, _settings(wanted, "policy.")


def _settings(wanted: Mapping[str, Any], place: str) -> Dict[str, Any]:
    emulator = wanted["emulator"]
    if emulator not in ("none", "same_node"):
        try:
            emulator = cpuset.show(cpuset.parse(emulator)) or "none"
        except FleetError as error:
            raise FleetError("{0}emulator is neither none, same_node nor a CPU list: {1}".format(place, error.message))
    pages = wanted["hugepages"]
    if pages is False:
        pages = "none"  # what YAML 1.1 makes of a bare no
    pages = {str(size): name for name, size in HUGE_PAGES.items()}.get(str(pages), pages)
    if not isinstance(wanted["beyond_gpu_nodes"], bool):
        raise FleetError("{0}beyond_gpu_nodes is {1!r}, but true or false is expected.".format(place, wanted["beyond_gpu_nodes"]))
    most = wanted["max_nodes"]
    return {
        "pinning": None if wanted["pinning"] is None else _choice(wanted["pinning"], place + "pinning", PINNINGS),
        "emulator": emulator,
        "iothreads": _whole(wanted["iothreads"], place + "iothreads", "a number of I/O threads", highest=MOST_VCPUS),
        "page_kib": HUGE_PAGES[_choice(pages, place + "hugepages", tuple(HUGE_PAGES))],
        "numa": _choice(wanted["numa"], place + "numa", NUMA_MODES),
        "max_nodes": None if most is None else _whole(most, place + "max_nodes", "a number of NUMA nodes", lowest=1),
        "beyond_gpu_nodes": wanted["beyond_gpu_nodes"],
    }


def _gpus(given: Any, place: str) -> Tuple[Optional[Tuple[int, ...]], int]:
    expected = "a number of GPUs, or a list of GPU indices"
    if given is None:
        return (), 0
    if isinstance(given, (list, tuple, set, frozenset)):
        indices = tuple(sorted({_whole(index, place, expected) for index in given}))
        return indices, len(indices)
    count = _whole(given, place, expected)
    return (None, count) if count else ((), 0)


def _read_pinned(given: Any) -> List[Pinned]:
    if given is None:
        return []
    if isinstance(given, abc.Mapping):
        given = [dict(entry, name=name) if isinstance(entry, abc.Mapping) else entry for name, entry in given.items()]
    if isinstance(given, str) or not isinstance(given, abc.Iterable):
        raise FleetError("policy.pinned is {0!r}, but a list of guests with their vcpupin is expected.".format(given))
    pinned = []
    for at, entry in enumerate(given):
        place = "policy.pinned[{0}]".format(at)
        if not isinstance(entry, abc.Mapping) or not isinstance(entry.get("name"), str):
            raise FleetError("{0} is {1!r}, but a guest with name and vcpupin is expected.".format(place, entry))
        pinned.append(_read_pinned_guest(entry, "policy.pinned {0}: ".format(entry["name"])))
    return pinned


def _read_pinned_guest(entry: Mapping[str, Any], place: str) -> Pinned:
    """Takes a guest of a plan, or of libvirt_domain_info: other keys than those of a pin are of no concern here."""
    pins = entry.get("vcpupin") or {}
    if not isinstance(pins, abc.Mapping):
        raise FleetError("{0}vcpupin is {1!r}, but a dictionary of vCPU to CPU list is expected.".format(place, pins))
    gpus = entry.get("gpus") or []
    if not isinstance(gpus, (list, tuple, set, frozenset)):
        raise FleetError("{0}gpus is {1!r}, but a list of GPU indices is expected.".format(place, gpus))
    memory: Dict[int, int] = {}
    cells = entry.get("cells") or []
    if not isinstance(cells, (list, tuple)):
        raise FleetError("{0}cells is {1!r}, but a list of cells with node and memory_kib is expected.".format(place, cells))
    for cell in cells:
        if not isinstance(cell, abc.Mapping):
            raise FleetError("{0}cells holds {1!r}, but a cell with node and memory_kib is expected.".format(place, cell))
        if cell.get("node") is not None:
            node = _whole(cell["node"], place + "cells.node", "a NUMA node")
            memory[node] = memory.get(node, 0) + kib(cell.get("memory_kib", 0), place + "cells.memory_kib")
    return Pinned(
        entry["name"],
        {_whole(vcpu, place + "vcpupin", "a vCPU number as the key"): _pin(cpus, place) for vcpu, cpus in pins.items()},
        frozenset(_whole(index, place + "gpus", "a list of GPU indices") for index in gpus),
        memory,
    )


def _pin(given: Any, place: str) -> FrozenSet[int]:
    try:
        return cpuset.parse(given)
    except FleetError as error:
        raise FleetError("{0}vcpupin: {1}".format(place, error.message))


def _mapping(given: Any, place: str, known: Tuple[str, ...]) -> Dict[str, Any]:
    if not isinstance(given, abc.Mapping):
        raise FleetError("{0} is {1!r}, but a dictionary with the keys {2} is expected.".format(place, given, ", ".join(known)))
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise FleetError("{0} has the unknown key {1}. Known are {2}.".format(place, min(unknown), ", ".join(known)))
    return dict(given)


def _choice(value: Any, place: str, choices: Tuple[str, ...]) -> str:
    if value not in choices:
        raise FleetError("{0} is {1!r}, but one of {2} is expected.".format(place, value, ", ".join(choices)))
    return str(value)


def _whole(value: Any, place: str, expected: str, lowest: int = 0, highest: Optional[int] = None) -> int:
    """A whole number; a text of digits is taken too, since a template in a playbook may yield one."""
    number = int(value) if isinstance(value, str) and re.match(r"^[0-9]{1,18}$", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or number < lowest or (highest is not None and number > highest):
        bound = " of at least {0}".format(lowest) if lowest else ""
        bound += " and at most {0}".format(highest) if highest is not None else ""
        raise FleetError("{0} is {1!r}, but {2}{3} is expected.".format(place, value, expected, bound))
    return number
