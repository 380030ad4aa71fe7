# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A libvirt network as a document: where the settings are that a caller can own, and when two documents mean the same.

The owned address is the first IPv4 one with DHCP, or else the first IPv4 one. Other ``<ip>`` elements, port groups, TXT and SRV records,
bandwidth and whatever else is there stay as they are.
"""
import hashlib
import json
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from .domain_xml import meaning
from .xml_tree import Element, XmlDocument, attribute, child, elements, is_bare, serialize, set_attribute, text_of

#: The order in which libvirt itself writes the children of an element (virNetworkDefFormatBuf in src/conf/network_conf.c).
ORDER = {
    "network": "name uuid title description metadata forward bridge mtu mac domain dns vlan bandwidth port ip route virtualport portgroup".split(),
    "dns": "forwarder txt srv host".split(),
    "forward": "driver nat pf interface address".split(),
    "ip": "tftp dhcp".split(),
    "dhcp": "range host bootp".split(),
}


class Place(NamedTuple):
    """Where a setting is: the elements called ``tag`` below ``parent``, or an attribute of ``parent``. A parent is a path of names."""

    parent: str
    tag: str = ""
    attribute: str = ""


#: What each setting stands for, in the order in which settings are written and listed.
PLACES: Dict[str, Tuple[Place, ...]] = {
    "mode": (Place("", "forward"),),
    "bridge": (Place("bridge", attribute="name"),),
    "mtu": (Place("", "mtu"),),
    "domain": (Place("", "domain"),),
    "address": (Place("ip", attribute="address"), Place("ip", attribute="netmask"), Place("ip", attribute="prefix"), Place("ip", attribute="family")),
    "ranges": (Place("ip/dhcp", "range"),),
    "hosts": (Place("ip/dhcp", "host"),),
    "dns.enable": (Place("dns", attribute="enable"),),
    "dns.forwarders": (Place("dns", "forwarder"),),
    "dns.hosts": (Place("dns", "host"),),
}

#: Elements that say nothing once they are empty.
CONTAINERS = frozenset(["bridge", "dns", "dhcp", "ip", "mtu", "domain"])


class NetworkDocument(XmlDocument):
    """The XML of one network."""

    order = ORDER

    def __init__(self, text: str, title: str = "The network XML") -> None:
        super().__init__(text, title)
        if self.root.nodeName != "network":
            raise FleetError("{0} is no network: its outermost element is <{1}>, not <network>.".format(title, self.root.nodeName))

    @classmethod
    def empty(cls, name: str) -> "NetworkDocument":
        """A network that has a name and nothing else."""
        document = cls("<network>\n</network>", "The XML of network {0}".format(name))
        document.add(document.root, "name", text=name)
        return document

    def copy(self) -> "NetworkDocument":
        """The document as it is now, to be edited on its own."""
        return NetworkDocument(self.text, self.title)

    @property
    def name(self) -> str:
        return text_of(child(self.root, "name"))

    @property
    def bridge(self) -> Optional[str]:
        """The name of the bridge."""
        return attribute(self.find("bridge"), "name")

    @property
    def ip_index(self) -> int:
        """The owned address among all ``<ip>`` elements; -1 if there is none."""
        found = elements(self.root, "ip")
        owned = [number for number, element in enumerate(found) if (attribute(element, "family") or "ipv4") == "ipv4"]
        return next((number for number in owned if child(found[number], "dhcp") is not None), owned[0] if owned else -1)

    def find(self, path: str) -> Optional[Element]:
        """The element at a path of names; ``ip`` is the owned address."""
        found: Optional[Element] = self.root
        for tag in path.split("/") if path else ():
            if found is None:
                return None
            if tag == "ip":
                found = elements(self.root, "ip")[self.ip_index] if self.ip_index >= 0 else None
            else:
                found = child(found, tag)
        return found

    def find_all(self, path: str, tag: str) -> List[Element]:
        """The children of one name of the element at a path."""
        parent = self.find(path)
        return elements(parent, tag) if parent is not None else []

    def make(self, path: str) -> Element:
        """The element at a path, added (with what it sits in) if there is none."""
        found = self.find(path)
        if found is not None:
            return found
        above, _slash, tag = path.rpartition("/")
        return self.add(self.make(above), tag)

    def tidy(self, path: str) -> None:
        """Remove the element at a path, and then what it sits in, if they say nothing any more."""
        while path:
            element = self.find(path)
            if element is not None and element.nodeName in CONTAINERS and is_bare(element):
                self.remove(element)
            path = path.rpartition("/")[0]

    def replace(self, path: str, tag: str, wanted: List[Element]) -> None:
        """Make copies of ``wanted`` the children called ``tag`` of the element at a path."""
        for element in self.find_all(path, tag):
            self.remove(element)
        if wanted:
            parent = self.make(path)
            for element in wanted:
                self.insert(parent, self.adopt(element))
        self.tidy(path)

    def bring_back(self, name: str, original: "NetworkDocument") -> None:
        """Make a setting what it is in another document, to the last attribute and child."""
        if not self.differs(name, original):
            return
        for place in PLACES[name]:
            if place.tag:
                self.replace(place.parent, place.tag, original.find_all(place.parent, place.tag))
            else:
                value = attribute(original.find(place.parent), place.attribute)
                if value is not None:
                    self.make(place.parent).setAttribute(place.attribute, value)
                elif self.find(place.parent) is not None:
                    set_attribute(self.make(place.parent), place.attribute, None)
                    self.tidy(place.parent)

    def differs(self, name: str, other: "NetworkDocument") -> bool:
        """Whether a setting means something else in another document."""
        return any(self._meaning_of(place) != other._meaning_of(place) for place in PLACES[name])

    def _meaning_of(self, place: Place) -> object:
        if place.attribute:
            return attribute(self.find(place.parent), place.attribute)
        return sorted(json.dumps(meaning(element)) for element in self.find_all(place.parent, place.tag))

    def digest(self) -> str:
        """A fingerprint of what the whole document means."""
        return hashlib.sha256(json.dumps(meaning(self.root)).encode("utf-8")).hexdigest()

    def shown(self) -> str:
        """The text for people."""
        return serialize(self.root) + "\n"


def changed_settings(before: NetworkDocument, after: NetworkDocument) -> List[str]:
    """The names of the settings that differ between two documents."""
    return [name for name in PLACES if before.differs(name, after)]
