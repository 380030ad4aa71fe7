# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts of a network: each reads itself from a document and writes itself, and touches nothing that is as wanted already."""
import ipaddress
from typing import Callable, Dict, Hashable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ..host.errors import FleetError
from .domain_xml import number, pci_of
from .network_xml import NetworkDocument
from .xml_tree import Element, attribute, child, elements, set_attribute, text_of

#: Kinds of networks whose bridge libvirt makes and serves; the others only point to something of the host.
MANAGED = ("nat", "route", "open", "isolated")
MACVTAP_MODES = ("bridge", "vepa", "private", "passthrough")
KINDS = MANAGED + ("bridge", "macvtap", "hostdev")


class Forward(NamedTuple):
    """Where the traffic of a network goes: ``devices`` are NICs of the host, ``pf`` the one whose virtual functions are given to guests."""

    kind: str
    macvtap_mode: Optional[str] = None
    devices: Tuple[str, ...] = ()
    pf: Optional[str] = None
    pci: Tuple[str, ...] = ()

    @classmethod
    def read(cls, document: NetworkDocument) -> "Forward":
        forward = document.find("forward")
        if forward is None:
            return cls("isolated")
        mode = attribute(forward, "mode") or "nat"
        listed = tuple(attribute(entry, "dev") or "" for entry in elements(forward, "interface"))
        first = attribute(forward, "dev")
        devices = listed or ((first,) if first else ())
        pf = attribute(child(forward, "pf"), "dev")
        if mode == "hostdev":
            # An active pool lists the functions that libvirt found behind its pf.
            found = () if pf else tuple(pci_of(address) or "" for address in elements(forward, "address"))
            return cls("hostdev", None, devices, pf, found)
        if mode not in MACVTAP_MODES:
            return cls(mode, None, devices, pf)
        if mode == "bridge" and not devices and pf is None:
            return cls("bridge")
        # An active pool of virtual functions lists them as interfaces.
        return cls("macvtap", mode, () if pf else devices, pf)

    def write(self, document: NetworkDocument) -> None:
        """Make the document say so."""
        before = Forward.read(document)
        if self == before:
            return
        if self.kind == "isolated":
            document.replace("", "forward", [])
            return
        forward = document.make("forward")
        set_attribute(forward, "mode", self.macvtap_mode or self.kind)
        if self.kind != "nat":
            document.replace("forward", "nat", [])
        set_attribute(forward, "dev", self.devices[0] if self.devices else None)
        if self.devices != before.devices:
            _renew(document, forward, "interface", [{"dev": device} for device in self.devices])
        if self.pf != before.pf:
            _renew(document, forward, "pf", [{"dev": self.pf}] if self.pf else [])
        if self.pci != before.pci:
            _renew(document, forward, "address", [_address(pci) for pci in self.pci])
        if self.kind == "hostdev" and before.kind != "hostdev":
            forward.setAttribute("managed", "yes")


def pool_of(document: NetworkDocument) -> Set[str]:
    """The PCI addresses of the virtual functions that a network lists as those it gives to guests."""
    return {pci for pci in map(pci_of, document.find_all("forward", "address")) if pci}


class Range(NamedTuple):
    """Addresses that are leased to whoever asks."""

    start: str
    end: str

    @classmethod
    def of(cls, element: Element) -> "Range":
        return cls(attribute(element, "start") or "", attribute(element, "end") or "")

    def attributes(self) -> Dict[str, str]:
        return {"start": self.start, "end": self.end}


class Lease(NamedTuple):
    """An address that is kept for one guest."""

    mac: str
    ip: str
    name: str = ""

    @classmethod
    def of(cls, element: Element) -> "Lease":
        return cls((attribute(element, "mac") or "").lower(), attribute(element, "ip") or "", attribute(element, "name") or "")

    def attributes(self) -> Dict[str, str]:
        return {key: value for key, value in (("mac", self.mac), ("name", self.name), ("ip", self.ip)) if value}


class DnsHost(NamedTuple):
    """Names that the network's DNS answers with an address."""

    ip: str
    names: Tuple[str, ...]

    @classmethod
    def of(cls, element: Element) -> "DnsHost":
        return cls(attribute(element, "ip") or "", tuple(text_of(name) for name in elements(element, "hostname")))

    def attributes(self) -> Dict[str, str]:
        return {"ip": self.ip}


def read_address(document: NetworkDocument) -> Optional[ipaddress.IPv4Interface]:
    """The owned address of the host on the network; None if there is none, or it cannot be read."""
    element = document.find("ip")
    address = attribute(element, "address")
    if element is None or address is None:
        return None
    mask = attribute(element, "prefix") or attribute(element, "netmask") or _classful(address)
    try:
        return ipaddress.IPv4Interface("{0}/{1}".format(address, mask))
    except ValueError:
        return None


def write_address(document: NetworkDocument, wanted: ipaddress.IPv4Interface) -> None:
    """Set the host's address on the network."""
    if wanted != read_address(document):
        element = document.make("ip")
        element.setAttribute("address", str(wanted.ip))
        set_attribute(element, "prefix", None)
        element.setAttribute("netmask", str(wanted.netmask))


def read_ranges(document: NetworkDocument) -> List[Range]:
    return [Range.of(element) for element in document.find_all("ip/dhcp", "range")]


def read_leases(document: NetworkDocument) -> List[Lease]:
    return [Lease.of(element) for element in document.find_all("ip/dhcp", "host")]


def read_dns_hosts(document: NetworkDocument) -> List[DnsHost]:
    return [DnsHost.of(element) for element in document.find_all("dns", "host")]


def write_ranges(document: NetworkDocument, wanted: Sequence[Range]) -> None:
    _sync(document, "ip/dhcp", "range", Range.of, {entry: entry.attributes() for entry in wanted})


def write_leases(document: NetworkDocument, wanted: Sequence[Lease]) -> None:
    _sync(document, "ip/dhcp", "host", Lease.of, {entry: entry.attributes() for entry in wanted})


def write_dns_hosts(document: NetworkDocument, wanted: Sequence[DnsHost]) -> None:
    new = _sync(document, "dns", "host", DnsHost.of, {entry: entry.attributes() for entry in wanted})
    for entry in wanted:
        for name in entry.names if entry in new else ():
            document.add(new[entry], "hostname", text=name)


def read_forwarders(document: NetworkDocument) -> List[str]:
    """The servers that every question is passed on to; those for one domain are not ours."""
    return [attribute(element, "addr") or "" for element in document.find_all("dns", "forwarder") if not element.hasAttribute("domain")]


def write_forwarders(document: NetworkDocument, wanted: Sequence[str]) -> None:
    def key(element: Element) -> Optional[str]:
        return None if element.hasAttribute("domain") else attribute(element, "addr") or ""

    _sync(document, "dns", "forwarder", key, {address: {"addr": address} for address in wanted})


def read_dns_enabled(document: NetworkDocument) -> bool:
    return (attribute(document.find("dns"), "enable") or "yes") != "no"


def write_dns_enabled(document: NetworkDocument, wanted: bool) -> None:
    if wanted != read_dns_enabled(document):
        set_attribute(document.make("dns"), "enable", None if wanted else "no")
        document.tidy("dns")


def read_mtu(document: NetworkDocument) -> int:
    return number(attribute(document.find("mtu"), "size") or "") or 0


def write_mtu(document: NetworkDocument, wanted: int) -> None:
    if wanted != read_mtu(document):
        _set(document, "mtu", "size", str(wanted) if wanted else None)


def read_domain(document: NetworkDocument) -> str:
    return attribute(document.find("domain"), "name") or ""


def write_domain(document: NetworkDocument, wanted: str) -> None:
    if wanted != read_domain(document):
        if not wanted:
            document.replace("", "domain", [])
        else:
            _set(document, "domain", "name", wanted)


def write_bridge(document: NetworkDocument, wanted: str) -> None:
    if wanted != document.bridge:
        _set(document, "bridge", "name", wanted)


def _set(document: NetworkDocument, path: str, name: str, value: Optional[str]) -> None:
    set_attribute(document.make(path), name, value)
    document.tidy(path)


def _renew(document: NetworkDocument, parent: Element, tag: str, wanted: Sequence[Mapping[str, str]]) -> None:
    for element in elements(parent, tag):
        document.remove(element)
    for attributes in wanted:
        document.add(parent, tag, attributes)


def _sync(
    document: NetworkDocument, path: str, tag: str, key: Callable[[Element], Optional[Hashable]], wanted: Mapping[Hashable, Mapping[str, str]]
) -> Dict[Hashable, Element]:
    """Let the elements be those wanted; one that is there already keeps what else it says. Returns the new ones. A key of None is not ours."""
    there = set()
    for element in document.find_all(path, tag):
        mine = key(element)
        if mine is None:
            continue
        if mine in wanted and mine not in there:
            there.add(mine)
        else:
            document.remove(element)
    missing = [entry for entry in wanted if entry not in there]
    if not missing:
        document.tidy(path)
        return {}
    parent = document.make(path)
    return {entry: document.add(parent, tag, wanted[entry]) for entry in missing}


def _address(pci: str) -> Dict[str, str]:
    domain, bus, rest = pci.split(":")
    slot, function = rest.split(".")
    return {"type": "pci", "domain": "0x" + domain, "bus": "0x" + bus, "slot": "0x" + slot, "function": "0x" + function}


def _classful(address: str) -> str:
    """The mask of an address without one, as libvirt takes it (virSocketAddrGetIPPrefix)."""
    try:
        first = ipaddress.IPv4Address(address).packed[0]
    except ValueError:
        return ""
    return "8" if first < 128 else "16" if first < 192 else "24"


def network_of(text: object, what: str) -> ipaddress.IPv4Interface:
    """An address with its subnet, such as 192.168.122.1/24. Raises :class:`FleetError` that says what it should be."""
    try:
        if "/" not in str(text):
            raise ValueError
        found = ipaddress.IPv4Interface(str(text).strip())
    except ValueError:
        raise FleetError("{0} is {1!r}. It must be an IPv4 address with the length of its prefix, such as 192.168.122.1/24.".format(what, text))
    return found


def ip_of(text: object, what: str) -> ipaddress.IPv4Address:
    """An IPv4 address."""
    try:
        return ipaddress.IPv4Address(str(text).strip())
    except ValueError:
        raise FleetError("{0} is {1!r}, which is not an IPv4 address.".format(what, text))
