# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The devices of a domain: disks, network interfaces and passed-through PCI devices, tuned in place, added or removed."""
import abc
import hashlib
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar

from ..host.errors import FleetError
from .domain_parts import Part, count_of, whole
from .domain_xml import DomainDocument, device_key
from .xml_tree import Element, attribute, child, elements, is_bare, set_attribute, text_of


class Leaf(NamedTuple):
    """One value of a device: the setting's name, the child element and its attribute ("" is the device itself, its text), and what is wanted.

    A wanted value of None is not owned; an empty one is removed.
    """

    name: str
    tag: str
    attribute: str
    wanted: Optional[str]


Self = TypeVar("Self", bound="Device")


class Device(Part):
    """A device that is found by a key, and of which only the given values are owned."""

    #: The name of the module's option, and that of the element below ``<devices>``.
    option = ""
    tag = ""

    def __init__(self, present: bool) -> None:
        self.present = present

    @classmethod
    @abc.abstractmethod
    def from_option(cls: Type[Self], value: Mapping[str, Any]) -> Self:
        """From an entry of the module's option. Raises :class:`FleetError` that says what is wrong with it."""

    @abc.abstractmethod
    def key(self, document: DomainDocument) -> Optional[str]:
        """The key of the device that is meant; None if the document has no such device."""

    def leaves(self) -> List[Leaf]:
        """The values that are simple attributes or texts."""
        return []

    def tune(self, document: DomainDocument, element: Element) -> List[str]:
        """Make what is no simple value as wanted; returns the names of what was not."""
        return []

    def given(self) -> List[str]:
        """The names of what is no simple value and was asked for."""
        return []

    @abc.abstractmethod
    def create(self, document: DomainDocument) -> Element:
        """Add the device; its simple values are set afterwards. Raises :class:`FleetError` if too little is known to do so."""

    @abc.abstractmethod
    def title(self) -> str:
        """How the caller called the device."""

    def label(self, key: str) -> str:
        return "{0}[{1}]".format(self.option, key)

    def find(self, document: DomainDocument) -> Optional[Element]:
        key = self.key(document)
        return document.find("devices/{0}[{1}]".format(self.tag, key)) if key is not None else None

    def apply(self, document: DomainDocument) -> List[str]:
        element = self.find(document)
        if not self.present:
            if element is None:
                return []
            label = self.label(device_key(element) or "")
            document.remove(element)
            return [label]
        if element is None:
            element = self.create(document)
            self._tune(document, element)
            return [self.label(device_key(element) or "")]
        return ["{0}.{1}".format(self.label(device_key(element) or ""), name) for name in self._tune(document, element)]

    def _tune(self, document: DomainDocument, element: Element) -> List[str]:
        changed = self.tune(document, element)
        for leaf in self.leaves():
            if leaf.wanted is not None and read_leaf(element, leaf) != (leaf.wanted or None):
                write_leaf(document, element, leaf)
                changed.append(leaf.name)
        return changed

    def owned(self, documents: Sequence[DomainDocument]) -> List[str]:
        key = next((key for key in map(self.key, documents) if key), None)
        if key is None:
            return []
        names = [leaf.name for leaf in self.leaves() if leaf.wanted is not None] + self.given() if self.present else []
        return [self.label(key)] + ["{0}.{1}".format(self.label(key), name) for name in names]


def read_leaf(element: Element, leaf: Leaf) -> Optional[str]:
    """The value in a device; None if there is none."""
    holder = child(element, leaf.tag) if leaf.tag else element
    if leaf.attribute:
        return attribute(holder, leaf.attribute)
    return text_of(holder) or None


def write_leaf(document: DomainDocument, element: Element, leaf: Leaf) -> None:
    """Set or remove the value in a device, and its element if that says nothing any more."""
    holder = child(element, leaf.tag) if leaf.tag else element
    if holder is None:
        holder = document.add(element, leaf.tag)
    if leaf.attribute:
        set_attribute(holder, leaf.attribute, leaf.wanted or None)
    else:
        document.set_text(holder, leaf.wanted or "")
    if holder is not element and not leaf.wanted and (is_bare(holder) or not text_of(holder) and not leaf.attribute):
        document.remove(holder)


def optional(value: Any, absent: str = "default") -> Optional[str]:
    """A value as :class:`Leaf` wants it: None stays, the word for absence is empty."""
    if value is None:
        return None
    return "" if str(value) in (absent, "") else str(value)


class Disk(Device):
    """A disk by its target."""

    option, tag = "disks", "disk"

    def __init__(self, target: str, present: bool = True, **given: Any) -> None:
        super().__init__(present)
        if not re.match(r"^[\w-]+$", target, re.ASCII):
            raise FleetError("The target {0!r} is not a device name such as vdb.".format(target))
        self.target = target
        self.type: Optional[str] = given.get("type")
        self.source: Optional[str] = given.get("source")
        self.bus: Optional[str] = given.get("bus")
        self.serial: Optional[str] = given.get("serial")
        driver = dict(given.get("driver") or {})
        for name in ("queues", "iothread"):
            if driver.get(name) is not None:
                driver[name] = whole(driver[name], "The disk {0}'s {1}".format(target, name))
        self.driver: Dict[str, Any] = {name: value for name, value in driver.items() if value is not None}

    @classmethod
    def from_option(cls, value: Mapping[str, Any]) -> "Disk":
        given = {name: value.get(name) for name in ("type", "source", "bus", "serial", "driver")}
        return cls(str(value.get("target") or ""), value.get("state") != "absent", **given)

    def key(self, document: DomainDocument) -> Optional[str]:
        return self.target

    def title(self) -> str:
        return self.label(self.target)

    def leaves(self) -> List[Leaf]:
        found = [Leaf("serial", "serial", "", self.serial)]
        for name, value in self.driver.items():
            found.append(Leaf("driver." + name, "driver", name, optional(value, "0" if isinstance(value, int) else "default")))
        return found

    def create(self, document: DomainDocument) -> Element:
        if not self.source:
            raise FleetError("It has no disk {0}. To add it, give its source; to tune another disk, give that one's target.".format(self.target))
        element = document.add(document.make("devices"), "disk", {"type": self.source_type(None), "device": "disk"})
        document.add(element, "driver", {"name": "qemu", "type": self.driver.get("type") or "raw"})
        document.add(element, "source", {_source_attribute(self.source_type(None)): self.source})
        document.add(element, "target", {"dev": self.target, "bus": self.bus or "virtio"})
        return element

    def tune(self, document: DomainDocument, element: Element) -> List[str]:
        changed = []
        kind, path = self.source_type(element), self.source or disk_source(element)[1]
        if (self.source or self.type) and disk_source(element) != (kind, path):
            if path is None:
                raise FleetError("The disk {0} has no file or block device yet. To make it a {1}, give its source too.".format(self.target, kind))
            self._write_source(document, element, kind, path)
            changed.append("source")
        target = child(element, "target")
        if self.bus and target is not None and attribute(target, "bus") != self.bus:
            set_attribute(target, "bus", self.bus)
            # The address is one on the old bus; libvirt chooses a new one.
            for address in elements(element, "address"):
                document.remove(address)
            changed.append("bus")
        return changed

    def given(self) -> List[str]:
        return ["source"] * bool(self.source or self.type) + ["bus"] * bool(self.bus)

    @staticmethod
    def _write_source(document: DomainDocument, element: Element, kind: str, path: str) -> None:
        for tag in ("source", "backingStore"):
            for old in elements(element, tag):
                document.remove(old)
        set_attribute(element, "type", kind)
        document.add(element, "source", {_source_attribute(kind): path})

    def source_type(self, element: Optional[Element]) -> str:
        """File or block device: as given, else as it is if the path stays, else by the path."""
        if self.type:
            return self.type
        found = disk_source(element) if element is not None else ("", None)
        if self.source is None or (found[0] in ("file", "block") and found[1] == self.source):
            return found[0]
        return "block" if self.source.startswith("/dev/") else "file"

    def image_to_check(self, document: DomainDocument) -> Optional["Image"]:
        """The image whose format the change relies on; None if the format is not at stake."""
        element = self.find(document) if self.present else None
        wanted = self.driver.get("type")
        path = self.source or (disk_source(element)[1] if element is not None else None)
        if not self.present or path is None:
            return None
        if element is None:
            return Image(path, wanted or "raw", known=False)
        found = attribute(child(element, "driver"), "type") or "raw"
        if self.source and self.source != disk_source(element)[1]:
            return Image(path, wanted or found, known=False)
        return Image(path, wanted, known=True) if wanted and wanted != found else None


class Image(NamedTuple):
    """A disk image and the format it is about to be read as; ``known`` if guests have been reading it as another format."""

    path: str
    format: str
    known: bool


def disk_source(element: Element) -> Tuple[str, Optional[str]]:
    """Type and path of a disk's source; the path is None for networks, volumes and empty drives."""
    kind = attribute(element, "type") or "file"
    return kind, attribute(child(element, "source"), _source_attribute(kind)) if kind in ("file", "block") else None


def _source_attribute(kind: str) -> str:
    return "dev" if kind == "block" else "file"


#: The interface's type and the attribute of its source, by the module's option.
CONNECTIONS = {"network": ("network", "network"), "bridge": ("bridge", "bridge"), "dev": ("direct", "dev")}


class Limit(NamedTuple):
    """A bandwidth limit in KiB/s (average, peak) and KiB (burst); None is not limited."""

    average: Optional[int] = None
    peak: Optional[int] = None
    burst: Optional[int] = None

    @classmethod
    def from_option(cls, value: Mapping[str, Any], direction: str) -> "Limit":
        """Raises :class:`FleetError` for a peak or burst without an average."""
        limits = {name: whole(value[name], "The {0} {1}".format(direction, name), least=1) for name in cls._fields if value.get(name) is not None}
        limit = cls(**limits)
        if limit.average is None and (limit.peak is not None or limit.burst is not None):
            raise FleetError("The {0} bandwidth has a peak or burst but no average. Give the average too.".format(direction))
        return limit

    @classmethod
    def read(cls, element: Optional[Element]) -> "Limit":
        """From ``<inbound>`` or ``<outbound>``."""
        return cls(*(count_of(attribute(element, name)) or None for name in cls._fields))

    def to_option(self) -> Dict[str, int]:
        return {name: value for name, value in zip(self._fields, self) if value is not None}

    def __str__(self) -> str:
        return ", ".join("{0} {1}".format(name, value) for name, value in self.to_option().items()) or "no limit"


class Interface(Device):
    """A network interface by its MAC address, or by what it is connected to if only one is."""

    option, tag = "interfaces", "interface"

    def __init__(self, mac: Optional[str] = None, present: bool = True, **given: Any) -> None:
        super().__init__(present)
        self.mac = mac.lower() if mac else None
        if self.mac and not re.match(r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$", self.mac):
            raise FleetError("{0!r} is not a MAC address such as 52:54:00:12:34:56.".format(mac))
        connections = [(kind, given[kind]) for kind in CONNECTIONS if given.get(kind)]
        if len(connections) > 1:
            raise FleetError("An interface has both {0} and {1}. Give the one that it shall be connected to.".format(connections[0][0], connections[1][0]))
        if not self.mac and not connections:
            raise FleetError("An interface has neither mac nor network, bridge or dev. Give one of them, so that it can be found.")
        self.connection: Optional[Tuple[str, str]] = connections[0] if connections else None
        self.mode: Optional[str] = given.get("mode")
        if self.mode and (self.connection is None or self.connection[0] != "dev"):
            raise FleetError("An interface has the macvtap mode {0} but no dev. Give the host's network device as dev.".format(self.mode))
        self.model: Optional[str] = given.get("model")
        self.queues = None if given.get("queues") is None else whole(given["queues"], "The number of queues", most=256)
        self.mtu = None if given.get("mtu") is None else whole(given["mtu"], "The MTU", most=65535)
        self.limits: Dict[str, Limit] = {
            direction: Limit.from_option(limit, direction) for direction, limit in (given.get("bandwidth") or {}).items() if limit is not None
        }

    @classmethod
    def from_option(cls, value: Mapping[str, Any]) -> "Interface":
        given = {name: value.get(name) for name in ("network", "bridge", "dev", "mode", "model", "queues", "mtu", "bandwidth")}
        return cls(value.get("mac"), value.get("state") != "absent", **given)

    def title(self) -> str:
        return self.label(self.mac or "{0}={1}".format(*(self.connection or ("mac", ""))))

    def key(self, document: DomainDocument) -> Optional[str]:
        if self.mac:
            return self.mac
        found = [element for element in document.find_all("devices/interface") if connection_of(element) == self.connection]
        if len(found) > 1:
            raise FleetError("It has {0} interfaces on the {1} {2}: {3}. Name the one that is meant by its mac.".format(
                len(found), *(self.connection or ()), ", ".join(str(device_key(element)) for element in found)))
        return device_key(found[0]) if found else None

    def leaves(self) -> List[Leaf]:
        return [
            Leaf("model", "model", "type", self.model),
            Leaf("queues", "driver", "queues", optional(self.queues, "0")),
            Leaf("mtu", "mtu", "size", optional(self.mtu, "0")),
        ]

    def create(self, document: DomainDocument) -> Element:
        if self.connection is None:
            raise FleetError("It has no interface {0}. To add it, give its network, bridge or dev; to tune another one, give that one's mac.".format(self.mac))
        element = document.add(document.make("devices"), "interface", {"type": CONNECTIONS[self.connection[0]][0]})
        document.add(element, "mac", {"address": self.mac or self._made_mac(document)})
        self._write_connection(document, element)
        document.add(element, "model", {"type": self.model or "virtio"})
        return element

    def _made_mac(self, document: DomainDocument) -> str:
        """The same address each time, so that a guest that loses and regains the interface keeps its lease; 52:54:00 is QEMU's."""
        seed = "/".join([document.uuid or document.name] + list(self.connection or ()))
        return ":".join(["52", "54", "00"] + re.findall("..", hashlib.sha256(seed.encode("utf-8")).hexdigest()[:6]))

    def tune(self, document: DomainDocument, element: Element) -> List[str]:
        changed = []
        mode = attribute(child(element, "source"), "mode")
        if self.connection is not None and (connection_of(element) != self.connection or self.mode not in (None, mode)):
            self._write_connection(document, element)
            changed.append("source")
        for direction, limit in self.limits.items():
            if Limit.read(child(child(element, "bandwidth"), direction)) != limit:
                self._write_limit(document, element, direction, limit)
                changed.append("bandwidth." + direction)
        return changed

    def given(self) -> List[str]:
        return ["source"] * bool(self.connection) + ["bandwidth." + direction for direction in self.limits]

    def _write_connection(self, document: DomainDocument, element: Element) -> None:
        kind, name = self.connection or ("", "")
        source = child(element, "source")
        if source is None or connection_of(element) != self.connection:
            for old in elements(element, "source"):
                document.remove(old)
            set_attribute(element, "type", CONNECTIONS[kind][0])
            source = document.add(element, "source", {CONNECTIONS[kind][1]: name})
        if self.mode:
            set_attribute(source, "mode", self.mode)

    @staticmethod
    def _write_limit(document: DomainDocument, element: Element, direction: str, limit: Limit) -> None:
        bandwidth = child(element, "bandwidth") or document.add(element, "bandwidth")
        holder = child(bandwidth, direction) or document.add(bandwidth, direction)
        for name, value in zip(limit._fields, limit):
            set_attribute(holder, name, value)
        if is_bare(holder):
            document.remove(holder)
        document.tidy(bandwidth)

    def warnings(self, vcpus: int) -> Iterator[str]:
        """What libvirt or a guest with so many vCPUs will not do."""
        if self.limits.get("outbound", Limit()).peak is not None:
            yield "The outbound peak of {0} has no effect: libvirt ignores it, since Linux cannot shape incoming traffic of a tap device.".format(self.title())
        if self.queues and self.queues > vcpus:
            yield "{0} has {1} queues, but the domain has {2} vCPUs. A guest uses one queue for each vCPU; {2} are enough (section 11.8.2).".format(
                self.title(), self.queues, vcpus)


def connection_of(element: Element) -> Optional[Tuple[str, str]]:
    """What an interface is connected to, as ("network", its name); None for kinds that the module has no option for.

    In a running guest the type is that of the network's device, but the network is still named.
    """
    network = attribute(child(element, "source"), "network")
    if network:
        return ("network", network)
    for option, (kind, name) in CONNECTIONS.items():
        if attribute(element, "type") == kind:
            value = attribute(child(element, "source"), name)
            return (option, value) if value else None
    return None


class HostDev(Device):
    """A PCI device of the host that is passed through to the guest."""

    option, tag = "hostdevs", "hostdev"

    def __init__(self, pci: str, present: bool = True, managed: Optional[bool] = None) -> None:
        super().__init__(present)
        match = re.match(r"^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$", pci.strip().lower())
        if not match:
            raise FleetError("{0!r} is not a PCI address such as 0000:2e:00.0.".format(pci))
        self.numbers = (match.group(1) or "0000",) + match.groups()[1:]
        self.pci = "{0}:{1}:{2}.{3}".format(*self.numbers)
        self.managed = managed

    @classmethod
    def from_option(cls, value: Mapping[str, Any]) -> "HostDev":
        return cls(str(value.get("pci") or ""), value.get("state") != "absent", value.get("managed"))

    def key(self, document: DomainDocument) -> Optional[str]:
        return self.pci

    def title(self) -> str:
        return self.label(self.pci)

    def leaves(self) -> List[Leaf]:
        return [Leaf("managed", "", "managed", None if self.managed is None else "yes" if self.managed else "no")]

    def create(self, document: DomainDocument) -> Element:
        managed = "no" if self.managed is False else "yes"
        element = document.add(document.make("devices"), "hostdev", {"mode": "subsystem", "type": "pci", "managed": managed})
        source = document.add(element, "source")
        names = ("domain", "bus", "slot", "function")
        document.add(source, "address", {name: "0x" + value for name, value in zip(names, self.numbers)})
        return element


#: The kinds of devices, by the name of the module's option.
DEVICES: Dict[str, Type[Device]] = {"disks": Disk, "interfaces": Interface, "hostdevs": HostDev}


def read_disks(document: DomainDocument) -> List[Dict[str, Any]]:
    """The disks of a domain as the module's option takes them."""
    found = []
    for element in document.find_all("devices/disk"):
        kind, path = disk_source(element)
        driver = child(element, "driver")
        tuning: Dict[str, Any] = {name: attribute(driver, name) for name in ("type", "cache", "io", "discard")}
        tuning.update((name, count_of(attribute(driver, name)) or None) for name in ("queues", "iothread"))
        entry: Dict[str, Any] = {
            "target": device_key(element), "type": kind if path else None, "source": path, "bus": attribute(child(element, "target"), "bus"),
            "serial": text_of(child(element, "serial")) or None, "driver": {name: value for name, value in tuning.items() if value is not None},
        }  # fmt: skip
        found.append({name: value for name, value in entry.items() if value is not None})
    return [entry for entry in found if "target" in entry]


def read_interfaces(document: DomainDocument) -> List[Dict[str, Any]]:
    """The network interfaces of a domain as the module's option takes them."""
    found = []
    for element in document.find_all("devices/interface"):
        entry: Dict[str, Any] = {"mac": device_key(element), "model": attribute(child(element, "model"), "type")}
        connection = connection_of(element)
        if connection is not None:
            entry[connection[0]] = connection[1]
            entry["mode"] = attribute(child(element, "source"), "mode") if connection[0] == "dev" else None
        entry["queues"] = count_of(attribute(child(element, "driver"), "queues")) or None
        entry["mtu"] = count_of(attribute(child(element, "mtu"), "size")) or None
        limits = {direction: Limit.read(child(child(element, "bandwidth"), direction)).to_option() for direction in ("inbound", "outbound")}
        entry["bandwidth"] = {direction: limit for direction, limit in limits.items() if limit} or None
        found.append({name: value for name, value in entry.items() if value is not None})
    return [entry for entry in found if "mac" in entry]


def read_hostdevs(document: DomainDocument) -> List[Dict[str, Any]]:
    """The passed-through PCI devices of a domain as the module's option takes them."""
    found: List[Dict[str, Any]] = []
    for element in document.find_all("devices/hostdev"):
        pci, managed = device_key(element), attribute(element, "managed")
        if pci is not None:
            found.append({"pci": pci} if managed is None else {"pci": pci, "managed": managed == "yes"})
    return found
