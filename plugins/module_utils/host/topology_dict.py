# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as a dictionary of JSON types, and back: the shape that facts return and playbooks hand to the planner.

People write such dictionaries by hand to plan a machine they have yet to buy, so reading checks everything and says what is wrong where.
"""
import difflib
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from . import cpuset
from .errors import FleetError
from .model import DEVICE_KINDS, LOCAL_DISTANCE, REMOTE_DISTANCE, Cpu, Device, Node, Pages, pci_order

_PCI = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$", re.ASCII)


#: How like a known key an unknown one must be to be taken for a slip of the pen; others may come from a richer description, and are left alone.
_SLIP = 0.75


class Parts(NamedTuple):
    """What a topology is made of."""

    cpus: List[Cpu]
    nodes: List[Node]
    devices: List[Device]


def write(cpus: Iterable[Cpu], nodes: Iterable[Node], devices: Iterable[Device]) -> Dict[str, Any]:
    """The dictionary that :func:`read` reads back."""
    return {
        "cpus": [dict(cpu._asdict(), siblings=list(cpu.siblings)) for cpu in cpus],
        "nodes": [
            dict(
                node._asdict(),
                distances=list(node.distances),
                pages={str(size): dict(pool._asdict()) for size, pool in sorted(node.pages.items())},
            )
            for node in nodes
        ],
        "devices": [dict(device._asdict()) for device in devices],
    }


def read(described: Mapping[str, Any]) -> Parts:
    """The parts of the host that ``described`` describes; raises :class:`FleetError` naming the place that is wrong."""
    whole = _Entry("topology", described, ("cpus", "nodes", "devices"))
    nodes = _nodes(whole.entries("nodes", Node._fields))
    if not nodes:
        raise FleetError("topology.nodes is empty. Give at least one node, such as {id: 0, memory_kib: 65536000}.")
    numbers = {node.id for node in nodes}
    cpus = _cpus(whole.entries("cpus", Cpu._fields), numbers)
    if not any(cpu.online for cpu in cpus):
        raise FleetError("topology.cpus holds no CPU that is online. Give at least one, such as {id: 0, socket: 0, core: 0, node: 0}.")
    return Parts(cpus, nodes, _devices(whole.entries("devices", Device._fields, optional=True), numbers))


class _Entry:
    """A mapping at a place of the dictionary, read key by key."""

    def __init__(self, place: str, given: Any, known: Sequence[str]) -> None:
        if not isinstance(given, Mapping):
            raise FleetError("{0} is {1}, but a dictionary with the keys {2} is expected.".format(place, _shown(given), ", ".join(known)))
        for key in given:
            meant = [] if key in known else difflib.get_close_matches(str(key), known, 1, _SLIP)
            if meant:
                raise FleetError("{0} has the unknown key {1}. Is {2} meant? Known are {3}.".format(place, key, meant[0], ", ".join(known)))
        self.place = place
        #: What is null counts as left out: templates and JSON write it so.
        self.given = {key: value for key, value in given.items() if value is not None}

    def wrong(self, key: str, expected: str) -> FleetError:
        """The error for the value of ``key``."""
        if key not in self.given:
            return FleetError("{0}.{1} is missing; expected is {2}.".format(self.place, key, expected))
        return FleetError("{0}.{1} is {2}, but {3} is expected.".format(self.place, key, _shown(self.given[key]), expected))

    def number(self, key: str, default: Optional[int] = None, lowest: int = 0, highest: Optional[int] = None) -> int:
        """A whole number; a text of digits is taken too, since a template in a playbook may yield one."""
        value = self.given.get(key, default)
        found = _whole(value)
        if found is None or found < lowest or (highest is not None and found > highest):
            span = "a whole number of at least {0}".format(lowest) if highest is None else "a whole number from {0} to {1}".format(lowest, highest)
            raise self.wrong(key, span)
        return found

    def text(self, key: str, default: str = "") -> str:
        value = self.given.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.given.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def numbers(self, key: str, expected: str) -> Tuple[int, ...]:
        value = self.given.get(key)
        found = [_whole(item) for item in value] if isinstance(value, (list, tuple)) else [None]
        whole = tuple(number for number in found if number is not None and number >= 0)
        if len(whole) != len(found):
            raise self.wrong(key, expected)
        return whole

    def entries(self, key: str, known: Sequence[str], optional: bool = False) -> List["_Entry"]:
        """The entries of a list of mappings."""
        value = self.given.get(key, [] if optional else None)
        if not isinstance(value, (list, tuple)):
            raise self.wrong(key, "a list")
        return [_Entry("{0}.{1}[{2}]".format(self.place, key, at) if self.place != "topology" else "{0}[{1}]".format(key, at), item, known)
                for at, item in enumerate(value)]


def _whole(value: Any) -> Optional[int]:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and re.match(r"^-?[0-9]{1,18}$", value):
        return int(value)
    return None


def _shown(value: Any) -> str:
    shown = repr(str(value)) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _nodes(entries: List[_Entry]) -> List[Node]:
    numbers = [entry.number("id") for entry in entries]
    _once(entries, numbers, "id")
    rank = {number: position for position, number in enumerate(sorted(numbers))}
    nodes = []
    for entry, number in zip(entries, numbers):
        distances = tuple(LOCAL_DISTANCE if position == rank[number] else REMOTE_DISTANCE for position in range(len(entries)))
        if entry.given.get("distances") is not None:
            expected = "a list of {0} distances of at least {1}, one per node,".format(len(entries), LOCAL_DISTANCE)
            distances = entry.numbers("distances", expected)
            if len(distances) != len(entries) or min(distances) < LOCAL_DISTANCE:
                raise entry.wrong("distances", expected)
            distances = tuple(distance for _other, distance in sorted(zip(numbers, distances)))
        nodes.append(Node(number, entry.number("memory_kib"), distances, _pages(entry)))
    return nodes


def _pages(entry: _Entry) -> Dict[int, Pages]:
    given = entry.given.get("pages") or {}
    if not isinstance(given, Mapping):
        raise entry.wrong("pages", 'a dictionary such as {"2048": {total: 0, free: 0}}')
    pools: Dict[int, Pages] = {}
    for key, value in given.items():
        size = _whole(key)
        if size is None or size <= 0:
            raise FleetError("{0}.pages has the key {1}, but a page size in KiB such as 2048 or 1048576 is expected.".format(entry.place, _shown(key)))
        pool = _Entry("{0}.pages[{1}]".format(entry.place, size), value, Pages._fields)
        total = pool.number("total")
        pools[size] = Pages(total, pool.number("free", total, highest=total))
    return pools


class _Draft(NamedTuple):
    """A CPU whose siblings are not known yet."""

    entry: _Entry
    cpu: Cpu


def _cpus(entries: List[_Entry], nodes: Set[int]) -> List[Cpu]:
    drafts = [_draft(entry, nodes) for entry in entries]
    _once(entries, [draft.cpu.id for draft in drafts], "id")
    online = {draft.cpu.id: draft for draft in drafts if draft.cpu.online}
    cores: Dict[Tuple[int, int, int, int], List[int]] = {}
    for draft in online.values():
        cores.setdefault(_core(draft.cpu), []).append(draft.cpu.id)
    siblings = {number: _siblings(draft, online, cores) for number, draft in online.items()}
    for number, threads in siblings.items():
        for other in threads:
            if siblings[other] != threads:
                raise FleetError(
                    "{0}.siblings says that CPU {1} shares a core with {2}, but {3} says of CPU {4} that its core is {5}.".format(
                        online[number].entry.place, number, cpuset.show(threads), online[other].entry.place, other, cpuset.show(siblings[other])
                    )
                )
    return [draft.cpu._replace(siblings=siblings.get(draft.cpu.id, ())) for draft in drafts]


def _core(cpu: Cpu) -> Tuple[int, int, int, int]:
    """What tells one core from another; the node too, since old kernels repeat core numbers within a socket of several nodes."""
    return cpu.socket, cpu.die, cpu.core, cpu.node


def _draft(entry: _Entry, nodes: Set[int]) -> _Draft:
    online = entry.flag("online", True)
    unknown = None if online else -1
    lowest = 0 if online else -1
    cpu = Cpu(
        id=entry.number("id", highest=cpuset.HIGHEST_CPU),
        socket=entry.number("socket", unknown, lowest),
        die=entry.number("die", 0),
        core=entry.number("core", unknown, lowest),
        node=entry.number("node", unknown, lowest=-1),
        siblings=(),
        l3=None if entry.given.get("l3") is None else entry.number("l3"),
        online=online,
    )
    _on_node(entry, cpu.node, nodes)
    return _Draft(entry, cpu)


def _siblings(draft: _Draft, online: Mapping[int, _Draft], cores: Mapping[Tuple[int, int, int, int], List[int]]) -> Tuple[int, ...]:
    """The threads of a CPU's core as given, less those that are offline or not there; as the numbers of its core say, if not given."""
    entry, cpu = draft
    if entry.given.get("siblings") is None:
        return tuple(sorted(cores[_core(cpu)]))
    given = entry.numbers("siblings", "a list of CPU numbers")
    return tuple(sorted({number for number in given if number in online} | {cpu.id}))


def _devices(entries: List[_Entry], nodes: Set[int]) -> List[Device]:
    addresses = [_address(entry, "pci") for entry in entries]
    _once(entries, addresses, "pci")
    counts: Dict[str, int] = {}
    devices: List[Device] = []
    places: Dict[Tuple[str, int], str] = {}
    for address, entry in sorted(zip(addresses, entries), key=lambda pair: pci_order(pair[0])):
        kind = entry.text("kind")
        if kind not in DEVICE_KINDS:
            raise entry.wrong("kind", "one of " + ", ".join(DEVICE_KINDS))
        node = entry.number("node", -1, lowest=-1)
        _on_node(entry, node, nodes)
        index = entry.number("index", counts.get(kind, 0))
        if (kind, index) in places:
            raise FleetError("{0}.index is {1}, as is that of {2}. Number the devices of a kind without repeats.".format(
                entry.place, index, places[kind, index]))
        places[kind, index] = entry.place
        counts[kind] = counts.get(kind, 0) + 1
        switch = _address(entry, "switch") if entry.given.get("switch") not in (None, "") else None
        devices.append(Device(address, kind, index, node, switch, entry.text("name")))
    return devices


def _address(entry: _Entry, key: str) -> str:
    address = entry.text(key).lower()
    if not _PCI.match(address):
        raise entry.wrong(key, "a full PCI address such as 0000:34:00.0")
    return address


def _on_node(entry: _Entry, number: int, nodes: Set[int]) -> None:
    if number != -1 and number not in nodes:
        raise FleetError("{0}.node is {1}, but nodes holds {2}.".format(entry.place, number, _listed(nodes)))


def _listed(numbers: Iterable[int]) -> str:
    words: List[str] = []
    for first, last in cpuset.runs(numbers):
        words.extend(["{0} to {1}".format(first, last)] if last > first + 1 else [str(number) for number in range(first, last + 1)])
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _once(entries: List[_Entry], values: Sequence[Any], key: str) -> None:
    places: Dict[Any, str] = {}
    for entry, value in zip(entries, values):
        if value in places:
            raise FleetError("{0}.{1} is {2}, as is that of {3}. Each may be there once.".format(entry.place, key, value, places[value]))
        places[value] = entry.place
