# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A libvirt domain as a document: where things are in it, what they are called, and when two documents mean the same.

Places are written as short paths from the ``<domain>`` element: ``cputune/vcpupin`` is every vCPU pin, ``devices/disk[vdb]`` the disk with that
target, ``devices/disk[vdb]/driver@queues`` one attribute. The settings a caller can own have names (``vcpupin``, ``disks[vdb].driver.queues``);
:func:`paths_of` says which places a name stands for, so that a setting can be compared between documents and brought back from one.
"""
import hashlib
import json
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..host import cpuset
from ..host.errors import FleetError
from .xml_tree import Element, XmlDocument, attribute, attributes_of, child, elements, is_bare, serialize, set_attribute, text_of

MASK = "********"
AGENT_CHANNEL = "org.qemu.guest_agent.0"

#: The order in which libvirt itself writes the children of an element (virDomainDefFormatInternal in src/conf/domain_conf.c).
ORDER = {
    "domain": (
        "name uuid genid title description metadata maxMemory memory currentMemory blkiotune memtune memoryBacking vcpu vcpus iothreads iothreadids "
        "defaultiothread cputune numatune resource sysinfo bootloader bootloader_args os idmap features cpu clock on_poweroff on_reboot on_crash "
        "on_lockfailure pm perf devices seclabel keywrap launchSecurity"
    ).split(),
    "memoryBacking": "hugepages nosharepages locked source access allocation discard".split(),
    "cputune": (
        "shares period quota global_period global_quota emulator_period emulator_quota iothread_period iothread_quota vcpupin emulatorpin iothreadpin "
        "vcpusched emulatorsched iothreadsched cachetune memorytune"
    ).split(),
    "numatune": "memory memnode".split(),
    "cpu": "arch model vendor topology cache maxphysaddr feature numa".split(),
    "numa": "cell interconnects".split(),
    "devices": (
        "emulator disk controller lease filesystem interface smartcard serial parallel console channel input tpm graphics sound audio video hostdev "
        "redirdev redirfilter hub watchdog memballoon rng nvram panic shmem memory iommu vsock crypto"
    ).split(),
    "disk": (
        "driver auth source backingStore mirror target iotune readonly shareable transient serial wwn vendor product encryption boot alias address"
    ).split(),
    "interface": (
        "mac source vlan virtualport bandwidth ip route script backenddomain target guest model driver filterref boot tune link mtu coalesce rom alias "
        "address"
    ).split(),
    "bandwidth": "inbound outbound".split(),
    "hostdev": "driver teaming source boot rom alias address".split(),
}

#: Elements that say nothing once they are empty. They go when an edit empties them, and count as absent when documents are compared.
CONTAINERS = frozenset(["memoryBacking", "cputune", "numatune", "cpu", "iothreadids", "devices", "driver", "bandwidth"])

_PATHS: Dict[str, Tuple[str, ...]] = {
    "vcpus": ("vcpu", "vcpus"),
    "memory_kib": ("memory", "currentMemory"),
    "vcpupin": ("cputune/vcpupin",),
    "emulatorpin": ("cputune/emulatorpin",),
    "iothreads": ("iothreads", "iothreadids"),
    "iothreadpin": ("cputune/iothreadpin",),
    "topology": ("cpu/topology",),
    "cells": ("cpu/numa", "numatune/memnode"),
    "hugepages": ("memoryBacking/hugepages",),
    "agent_channel": ("devices/channel[{0}]".format(AGENT_CHANNEL),),
}
_DEVICE_PATHS: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "disks": {
        "": ("devices/disk[{0}]",),
        "source": ("devices/disk[{0}]@type", "devices/disk[{0}]/source", "devices/disk[{0}]/backingStore"),
        "bus": ("devices/disk[{0}]/target@bus", "devices/disk[{0}]/address"),
        "serial": ("devices/disk[{0}]/serial",),
    },
    "interfaces": {
        "": ("devices/interface[{0}]",),
        "source": ("devices/interface[{0}]@type", "devices/interface[{0}]/source"),
        "model": ("devices/interface[{0}]/model",),
        "queues": ("devices/interface[{0}]/driver@queues",),
        "mtu": ("devices/interface[{0}]/mtu",),
        "bandwidth.inbound": ("devices/interface[{0}]/bandwidth/inbound",),
        "bandwidth.outbound": ("devices/interface[{0}]/bandwidth/outbound",),
    },
    "hostdevs": {
        "": ("devices/hostdev[{0}]",),
        "managed": ("devices/hostdev[{0}]@managed",),
    },
}
_DEVICE_PATHS["disks"].update(
    ("driver." + name, ("devices/disk[{0}]/driver@" + name,)) for name in ("type", "cache", "io", "queues", "iothread", "discard")
)

_NAME = re.compile(r"^(disks|interfaces|hostdevs)\[([^\[\]/]+)\](?:\.(.+))?$")
_STEP = re.compile(r"^([\w:.-]+)(?:\[([^\]]+)\])?$")


def split_name(name: str) -> Tuple[str, Optional[str], str]:
    """The option, the device and the part of it that a name speaks of: ``disks[vdb].driver.queues`` is disks, vdb, driver.queues.

    Raises :class:`FleetError` for what is no name of a setting.
    """
    if name in _PATHS:
        return name, None, ""
    match = _NAME.match(name)
    if match is None or (match.group(3) or "") not in _DEVICE_PATHS[match.group(1)]:
        raise FleetError("{0!r} is not the name of a setting of a domain.".format(name))
    return match.group(1), match.group(2), match.group(3) or ""


def paths_of(name: str) -> Tuple[str, ...]:
    """The places that a setting stands for."""
    option, key, part = split_name(name)
    return _PATHS[name] if key is None else tuple(path.format(key) for path in _DEVICE_PATHS[option][part])


def device_names(option: str, key: str) -> List[str]:
    """The names of everything about a device, the device as a whole first."""
    return ["{0}[{1}]{2}".format(option, key, "." + part if part else "") for part in _DEVICE_PATHS[option]]


class Path(NamedTuple):
    """A path taken apart: the elements to walk, the name and key of the last one, and the attribute if the path ends in one."""

    above: str
    tag: str
    key: Optional[str]
    attribute: Optional[str]

    @classmethod
    def parse(cls, path: str) -> "Path":
        """``devices/disk[vdb]/driver@queues`` and the like."""
        place, _at, name = path.partition("@")
        above, _slash, last = place.rpartition("/")
        match = _STEP.match(last)
        if match is None:
            raise ValueError("not a path: " + path)
        return cls(above, match.group(1), match.group(2), name or None)


class DomainDocument(XmlDocument):
    """The XML of one domain."""

    order = ORDER

    def __init__(self, text: str, title: str = "The domain XML") -> None:
        super().__init__(text, title)
        if self.root.nodeName != "domain":
            raise FleetError("{0} is no domain: its outermost element is <{1}>, not <domain>.".format(title, self.root.nodeName))

    def copy(self) -> "DomainDocument":
        """The document as it is now, to be edited on its own."""
        return DomainDocument(self.text, self.title)

    @property
    def name(self) -> str:
        return text_of(child(self.root, "name"))

    @property
    def uuid(self) -> str:
        return text_of(child(self.root, "uuid"))

    def find_all(self, path: str) -> List[Element]:
        """The elements at a path."""
        if not path:
            return [self.root]
        step = Path.parse(path)
        above = self.find(step.above)
        found = elements(above, step.tag) if above is not None else []
        return [element for element in found if step.key is None or device_key(element) == step.key]

    def find(self, path: str) -> Optional[Element]:
        """The first element at a path; None if there is none."""
        found = self.find_all(path)
        return found[0] if found else None

    def make(self, path: str) -> Element:
        """The element at a path, added (with what it sits in) if there is none. Devices are not made."""
        found = self.find(path)
        if found is not None:
            return found
        step = Path.parse(path)
        if step.key is not None:
            raise FleetError("{0} has no {1} {2}.".format(self.title, step.tag, step.key))
        return self.add(self.make(step.above), step.tag)

    def drop(self, path: str) -> None:
        """Remove the elements at a path, and the container that is empty without them."""
        for element in self.find_all(path):
            parent = element.parentNode
            self.remove(element)
            self.tidy(parent)

    def tidy(self, element: Element) -> None:
        """Remove an element that says nothing any more."""
        if element.nodeName in CONTAINERS and is_bare(element) and element is not self.root:
            parent = element.parentNode
            self.remove(element)
            self.tidy(parent)

    def tidy_at(self, path: str) -> None:
        """The same for the element at a path, if there is one."""
        element = self.find(path)
        if element is not None:
            self.tidy(element)

    def bring_back(self, name: str, original: "DomainDocument") -> None:
        """Make a setting what it is in another document, to the last attribute and child."""
        for path in paths_of(name):
            step = Path.parse(path)
            if step.attribute:
                self._bring_back_attribute(path.partition("@")[0], step.attribute, original)
            else:
                self._bring_back_elements(path, step, original)

    def _bring_back_attribute(self, path: str, name: str, original: "DomainDocument") -> None:
        value = attribute(original.find(path), name)
        element = self.find(path)
        if element is None and value is not None and self.find(Path.parse(path).above) is not None:
            element = self.make(path)
        if element is not None:
            set_attribute(element, name, value)
            self.tidy(element)

    def _bring_back_elements(self, path: str, step: Path, original: "DomainDocument") -> None:
        if self.meaning_of(path) == original.meaning_of(path):
            return
        wanted = original.find_all(path)
        for element in self.find_all(path):
            self.remove(element)
        if wanted and (self.find(step.above) is not None or "[" not in step.above):
            parent = self.make(step.above)
            likes = elements(wanted[0].parentNode, step.tag)
            for element in wanted:
                self.insert(parent, self.adopt(element), index=likes.index(element))
        self.tidy_at(step.above)

    def meaning_of(self, path: str) -> object:
        """What is at a path, comparable between documents: two texts that mean the same have the same meaning."""
        step = Path.parse(path)
        if step.attribute:
            return attribute(self.find(path.partition("@")[0]), step.attribute)
        return sorted((meaning(element) for element in self.find_all(path)), key=_sort_key)

    def differs(self, name: str, other: "DomainDocument") -> bool:
        """Whether a setting means something else in another document."""
        return any(self.meaning_of(path) != other.meaning_of(path) for path in paths_of(name))

    def digest(self) -> str:
        """A fingerprint of what the whole document means."""
        return hashlib.sha256(_sort_key(meaning(self.root)).encode("utf-8")).hexdigest()

    def shown(self) -> str:
        """The text for people, without what libvirt itself shows to nobody unasked: passwords of displays, cookies of network disks."""
        copy = self.copy()
        for element in copy.find_all("devices/graphics"):
            if attribute(element, "passwd") is not None:
                element.setAttribute("passwd", MASK)
        for disk in copy.find_all("devices/disk"):
            cookies = child(child(disk, "source"), "cookies")
            for cookie in elements(cookies) if cookies is not None else []:
                copy.set_text(cookie, MASK)
        return serialize(copy.root) + "\n"


def device_key(element: Element) -> Optional[str]:
    """What tells a device from the others of its kind; None for kinds that the collection does not own."""
    if element.nodeName == "disk":
        return attribute(child(element, "target"), "dev")
    if element.nodeName == "interface":
        mac = attribute(child(element, "mac"), "address")
        return mac.lower() if mac else None
    if element.nodeName == "channel":
        return attribute(child(element, "target"), "name")
    if element.nodeName == "hostdev" and attribute(element, "type") == "pci":
        address = child(child(element, "source"), "address") if child(element, "source") is not None else None
        return pci_of(address) if address is not None else None
    return None


def pci_of(address: Element) -> Optional[str]:
    """``0000:2e:00.0`` from an ``<address>`` element; None if it names no device."""
    found = [number(attribute(address, name) or "0") for name in ("domain", "bus", "slot", "function")]
    numbers = [value for value in found if value is not None]
    return "{0:04x}:{1:02x}:{2:02x}.{3:x}".format(*numbers) if len(numbers) == len(found) else None


def number(text: str) -> Optional[int]:
    """A number as libvirt writes it, decimal or with 0x; None if it is none."""
    try:
        return int(text, 16) if text[:2].lower() == "0x" else int(text)
    except ValueError:
        return None


#: Units of libvirt's scaled integers (virScaleInteger in src/util/virutil.c): lower case, with what they stand for in bytes.
_UNITS = {"b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", 1):
    _UNITS.update({_letter: 1024 ** _power, _letter + "ib": 1024 ** _power, _letter + "b": 1000 ** _power})


def kib(amount: str, unit: Optional[str]) -> Optional[int]:
    """An amount of memory in KiB, rounded up as libvirt does; without a unit it is in KiB. None if it cannot be read."""
    scale = _UNITS.get((unit or "KiB").lower())
    if scale is None or not re.match(r"^\d+$", amount.strip(), re.ASCII):
        return None
    return -(-int(amount) * scale // 1024)


#: Attributes that hold a CPU or node list.
_LISTS = frozenset(["cpuset", "cpus", "nodeset"])
#: Elements whose text is an amount of memory, and those whose attribute is.
_AMOUNTS = frozenset(["memory", "currentMemory", "maxMemory"])
_AMOUNT_ATTRIBUTES = {"cell": "memory", "page": "size"}
#: Elements whose children are a set: order and repetition say nothing.
_SETS = frozenset(["cputune", "numatune", "iothreadids", "hugepages"])


def meaning(element: Element) -> List[object]:
    """An element without what makes no difference: white space, order of attributes and of unlike children, units, notation of lists and numbers.

    Below ``<metadata>`` and in foreign namespaces nothing is interpreted: order and text count as written.
    """
    if ":" in element.nodeName or element.nodeName == "metadata":
        return _verbatim(element)
    attributes = {name: _meaning_of_value(element, name, value) for name, value in attributes_of(element).items()}
    text = text_of(element)
    if element.nodeName in _AMOUNTS and kib(text, attributes.get("unit")) is not None:
        text = str(kib(text, attributes.pop("unit", None)))
    amount = _AMOUNT_ATTRIBUTES.get(element.nodeName, "")
    if amount in attributes and kib(attributes[amount], attributes.get("unit")) is not None:
        attributes[amount] = str(kib(attributes[amount], attributes.pop("unit", None)))
    content: List[List[object]] = []
    for node in element.childNodes:
        if node.nodeType == node.COMMENT_NODE:
            content.append(["#comment", node.data.strip()])
        elif node.nodeType == node.ELEMENT_NODE and not (node.nodeName in CONTAINERS and is_bare(node)):
            content.append(meaning(node))
    if element.nodeName in _SETS:
        content = [json.loads(entry) for entry in sorted({_sort_key(entry) for entry in content})]
    else:
        content.sort(key=lambda entry: str(entry[0]))
    return [element.nodeName, [list(pair) for pair in sorted(attributes.items())], text, content]


def _verbatim(element: Element) -> List[object]:
    inner: List[object] = []
    for node in element.childNodes:
        if node.nodeType == node.ELEMENT_NODE:
            inner.append(_verbatim(node))
        elif node.nodeType == node.COMMENT_NODE:
            inner.append(["#comment", node.data])
    return [element.nodeName, [list(pair) for pair in sorted(attributes_of(element).items())], text_of(element), inner]


def _meaning_of_value(element: Element, name: str, value: str) -> str:
    if name in _LISTS:
        try:
            return cpuset.show(cpuset.parse(value))
        except FleetError:
            return value
    if element.nodeName == "address":
        found = number(value)
        return value if found is None else str(found)
    return value.strip()


def _sort_key(entry: object) -> str:
    return json.dumps(entry, sort_keys=True)
