# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of a domain's threads: vCPUs, I/O threads, their pins, and the topology that the guest sees."""
import itertools
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Tuple

from ..host import cpuset
from ..host.errors import FleetError
from .domain_parts import Setting, count_of, cpus_of, whole
from .domain_xml import DomainDocument, number
from .xml_tree import Element, attribute, set_attribute, text_of

#: More than anybody has disks; it stops a slip of the pen from filling the memory.
MOST_IOTHREADS = 1024


class Pins(Setting):
    """The host CPUs of each of some threads of a guest."""

    tag = ""
    key = ""
    #: The lowest number that such a thread can have.
    first = 0

    def __init__(self, pins: Mapping[int, FrozenSet[int]]) -> None:
        self.pins: Dict[int, FrozenSet[int]] = dict(pins)

    @classmethod
    def from_option(cls, value: Any) -> "Pins":
        if not isinstance(value, Mapping):
            raise FleetError("It is {0!r}. Write it as {{{1}: CPU list}}, such as {{0: 12, 1: 60}}.".format(value, cls.key))
        pins = {}
        for key, cpus in value.items():
            thread = whole(key, "The {0} number".format(cls.key), least=cls.first)
            if thread in pins:
                raise FleetError("The {0} {1} is pinned twice.".format(cls.key, thread))
            pins[thread] = cpuset.parse(cpus)
            if not pins[thread]:
                raise FleetError("The {0} {1} is pinned to no CPU. Name a CPU, or leave the {0} out.".format(cls.key, thread))
        return cls(pins)

    @classmethod
    def read(cls, document: DomainDocument) -> "Pins":
        return cls({thread: cpus for thread, cpus, _element in cls._found(document)})

    @classmethod
    def _found(cls, document: DomainDocument) -> List[Tuple[int, FrozenSet[int], Element]]:
        found = []
        for element in document.find_all("cputune/" + cls.tag):
            thread = number(attribute(element, cls.key) or "")
            if thread is not None:
                found.append((thread, cpus_of(attribute(element, "cpuset")), element))
        return found

    def to_option(self) -> Dict[str, str]:
        return {str(thread): cpuset.show(cpus) for thread, cpus in sorted(self.pins.items())}

    def write(self, document: DomainDocument) -> None:
        there = set()
        for thread, cpus, element in self._found(document):
            if thread not in self.pins or thread in there:
                document.remove(element)
            elif cpus != self.pins[thread]:
                set_attribute(element, "cpuset", cpuset.show(self.pins[thread]))
            there.add(thread)
        for thread in sorted(set(self.pins) - there):
            place = sum(1 for other, _cpus, _element in self._found(document) if other < thread)
            document.add(document.make("cputune"), self.tag, {self.key: thread, "cpuset": cpuset.show(self.pins[thread])}, index=place)
        document.tidy_at("cputune")

    def value(self) -> object:
        return sorted((thread, sorted(cpus)) for thread, cpus in self.pins.items())

    def in_force(self, everywhere: FrozenSet[int]) -> "Pins":
        """A running thread cannot be unpinned, only be pinned to every CPU it may use."""
        return type(self)({thread: cpus for thread, cpus in self.pins.items() if not everywhere or not cpus >= everywhere})


class VcpuPins(Pins):
    """The host CPUs of each vCPU."""

    name, tag, key = "vcpupin", "vcpupin", "vcpu"


class IoThreadPins(Pins):
    """The host CPUs of each I/O thread."""

    name, tag, key, first = "iothreadpin", "iothreadpin", "iothread", 1


class EmulatorPin(Setting):
    """The host CPUs of the emulator's own threads; none is no pin."""

    name = "emulatorpin"

    def __init__(self, cpus: Iterable[int]) -> None:
        self.cpus = frozenset(cpus)

    @classmethod
    def from_option(cls, value: Any) -> "EmulatorPin":
        return cls(cpuset.parse(value))

    @classmethod
    def read(cls, document: DomainDocument) -> "EmulatorPin":
        return cls(cpus_of(attribute(document.find("cputune/emulatorpin"), "cpuset")))

    def to_option(self) -> str:
        return cpuset.show(self.cpus)

    def write(self, document: DomainDocument) -> None:
        if self.cpus:
            set_attribute(document.make("cputune/emulatorpin"), "cpuset", cpuset.show(self.cpus))
        else:
            document.drop("cputune/emulatorpin")

    def value(self) -> object:
        return sorted(self.cpus)

    def in_force(self, everywhere: FrozenSet[int]) -> "EmulatorPin":
        return EmulatorPin(()) if everywhere and self.cpus >= everywhere else self


class IoThreads(Setting):
    """The I/O threads of a guest by their numbers. The option owns threads 1 to N, the numbers that libvirt gives by itself."""

    name = "iothreads"

    def __init__(self, ids: Iterable[int]) -> None:
        self.ids = frozenset(ids)

    @classmethod
    def from_option(cls, value: Any) -> "IoThreads":
        return cls(range(1, whole(value, "The number of I/O threads", most=MOST_IOTHREADS) + 1))

    @classmethod
    def read(cls, document: DomainDocument) -> "IoThreads":
        count = count_of(text_of(document.find("iothreads")))
        ids = {count_of(attribute(element, "id")) for element in document.find_all("iothreadids/iothread")} - {0}
        # libvirt gives the threads without a number the lowest numbers that are free (virDomainIOThreadIDDefArrayInit).
        free = (thread for thread in itertools.count(1) if thread not in ids)
        return cls(ids | set(itertools.islice(free, max(min(count, MOST_IOTHREADS) - len(ids), 0))))

    def to_option(self) -> Optional[int]:
        return len(self.ids) if self.ids == frozenset(range(1, len(self.ids) + 1)) else None

    def write(self, document: DomainDocument) -> None:
        for element in document.find_all("iothreadids/iothread"):
            if count_of(attribute(element, "id")) not in self.ids:
                document.remove(element)
        document.tidy_at("iothreadids")
        if self.ids:
            document.set_text(document.make("iothreads"), str(len(self.ids)))
        else:
            document.drop("iothreads")

    def value(self) -> object:
        return sorted(self.ids)


class Vcpus(Setting):
    """The number of vCPUs, and how many of them are online when the guest starts."""

    name = "vcpus"

    def __init__(self, count: int, online: Optional[int] = None) -> None:
        self.count = count
        self.online = count if online is None else online

    @classmethod
    def from_option(cls, value: Any) -> "Vcpus":
        return cls(whole(value, "The number of vCPUs", least=1, most=cpuset.HIGHEST_CPU))

    @classmethod
    def read(cls, document: DomainDocument) -> "Vcpus":
        element = document.find("vcpu")
        count = count_of(text_of(element)) or 1
        return cls(count, count_of(attribute(element, "current")) or count)

    def to_option(self) -> Optional[int]:
        return self.count if self.online == self.count else None

    def write(self, document: DomainDocument) -> None:
        if document.find("vcpu") is None:
            document.add(document.root, "vcpu", {"placement": "static"})
        element = document.make("vcpu")
        document.set_text(element, str(self.count))
        set_attribute(element, "current", None)
        document.drop("vcpus")

    def value(self) -> object:
        return (self.count, self.online)


class GuestTopology(Setting):
    """Sockets, dies, clusters, cores and threads as the guest sees them; empty is libvirt's default of one socket per vCPU."""

    name = "topology"
    LEVELS = ("sockets", "dies", "clusters", "cores", "threads")
    #: Levels that older libvirt does not know, and whose absence means 1.
    OPTIONAL = ("dies", "clusters")

    def __init__(self, levels: Optional[Mapping[str, int]] = None) -> None:
        self.levels: Optional[Dict[str, int]] = None if levels is None else {level: levels.get(level, 1) for level in self.LEVELS}

    @classmethod
    def from_option(cls, value: Any) -> "GuestTopology":
        given = {level: count for level, count in (value or {}).items() if count is not None}
        if not given:
            return cls()
        unknown = sorted(set(given) - set(cls.LEVELS))
        missing = [level for level in cls.LEVELS if level not in given and level not in cls.OPTIONAL]
        if unknown or missing:
            raise FleetError("It has {0}. Give sockets, cores and threads, and dies if there are any; or {{}} to remove it.".format(
                "no " + " and no ".join(missing) if missing else "the unknown " + ", ".join(unknown)))
        return cls({level: whole(count, "The number of " + level, least=1) for level, count in given.items()})

    @classmethod
    def read(cls, document: DomainDocument) -> "GuestTopology":
        element = document.find("cpu/topology")
        if element is None:
            return cls()
        return cls({level: count_of(attribute(element, level)) or 1 for level in cls.LEVELS})

    def to_option(self) -> Dict[str, int]:
        return {level: count for level, count in (self.levels or {}).items() if count != 1 or level not in self.OPTIONAL}

    def write(self, document: DomainDocument) -> None:
        if self.levels is None:
            document.drop("cpu/topology")
            return
        element = document.make("cpu/topology")
        for level, count in self.levels.items():
            if count != 1 or level not in self.OPTIONAL or attribute(element, level) is not None:
                set_attribute(element, level, count)

    def value(self) -> object:
        return sorted((self.levels or {}).items())

    def product(self) -> Optional[int]:
        """How many vCPUs the topology holds; None if there is no topology."""
        if self.levels is None:
            return None
        total = 1
        for count in self.levels.values():
            total *= count
        return total
