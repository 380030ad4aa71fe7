# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What must hold in a network before it is given to libvirt, which accepts much that then does not work."""
import ipaddress
from typing import Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from ..host.errors import FleetError
from .network_parts import MANAGED, Forward, Lease, Range, ip_of, read_address, read_dns_enabled, read_dns_hosts, read_leases, read_mtu, read_ranges
from .network_xml import NetworkDocument
from .xml_tree import attribute, child

#: The settings on which it depends whether leases can be.
_LEASED = ("address", "ranges", "hosts")


class Route(NamedTuple):
    """A subnet that the host reaches through one of its devices."""

    subnet: ipaddress.IPv4Network
    device: str


class HostNetworks(NamedTuple):
    """What the rules need to know of the host. ``devices`` are all its network devices; empty: not known."""

    devices: Sequence[str] = ()
    bridges: Sequence[str] = ()
    routes: Sequence[Route] = ()


def check(document: NetworkDocument, changed: Sequence[str] = _LEASED) -> None:
    """Raise :class:`FleetError` if the network contradicts itself. Leases are judged if they, or what they depend on, are among the settings that change:
    libvirt takes some that would not be made here, and who asks for something else has not asked for others."""
    forward = Forward.read(document)
    _check_kind(document, forward)
    if not set(_LEASED).intersection(changed):
        return
    lan = read_address(document)
    ranges, leases = read_ranges(document), read_leases(document)
    if lan is None:
        if attribute(document.find("ip"), "address") is not None or (not ranges and not leases):
            return
        raise FleetError("It has ranges or hosts but no address. Give its address, such as 192.168.122.1/24.")
    if lan.network.prefixlen < 31 and lan.ip in (lan.network.network_address, lan.network.broadcast_address):
        raise FleetError("{0} is the {1} address of its subnet. Give the host one of those between, such as {2}/{3}.".format(
            lan, "network" if lan.ip == lan.network.network_address else "broadcast", lan.network.network_address + 1, lan.network.prefixlen))
    if lan.network.prefixlen > 30 and (ranges or leases):
        raise FleetError("{0} leaves no room for guests: a subnet with leases needs a prefix of 30 or less.".format(lan))
    spans = [_span(entry, lan) for entry in ranges]
    _check_spans(spans)
    _check_leases(leases, lan, spans)


def _check_kind(document: NetworkDocument, forward: Forward) -> None:
    kind = forward.kind
    if kind not in MANAGED:
        there = [name for name, found in (
            ("an address", document.find("ip") is not None), ("an mtu", bool(read_mtu(document))), ("a domain", document.find("domain") is not None),
            ("dns", not read_dns_enabled(document) or bool(read_dns_hosts(document)) or document.find("dns") is not None),
        ) if found]  # fmt: skip
        if there:
            raise FleetError(
                "A {0} network has {1}, but libvirt serves none of that there: addresses come from the network outside, and the MTU from the host's device. "
                "Leave it out.".format(kind, ", ".join(there)))
    if kind == "bridge" and not document.bridge:
        raise FleetError("A bridge network needs the name of the host's bridge. Give it as bridge.")
    if kind in ("macvtap", "hostdev") and document.bridge:
        raise FleetError("A {0} network has no bridge. Leave bridge out.".format(kind))
    if kind in ("nat", "route") and child(document.root, "ip") is None:
        raise FleetError("A {0} network needs an address. Give it, such as 192.168.122.1/24.".format(kind))


def check_forward(forward: Forward) -> None:
    """Raise :class:`FleetError` if a network cannot go where it is to go."""
    kind = forward.kind
    if kind == "macvtap" and not forward.devices and not forward.pf:
        raise FleetError("A macvtap network needs the network device of the host that it is on. Give it in devices.")
    if kind == "hostdev" and not forward.pf and not forward.pci:
        raise FleetError("A hostdev network needs the virtual functions that it gives to guests. Give their parent device as pf, or their addresses as pci.")
    if kind == "hostdev" and forward.pf and forward.pci:
        raise FleetError("pf and pci are both given. Give the parent device, or the addresses of the functions.")
    if forward.pci and kind != "hostdev":
        raise FleetError("pci is for hostdev networks; the mode is {0}.".format(kind))
    if forward.pf and kind not in ("hostdev", "macvtap"):
        raise FleetError("pf is for hostdev and macvtap networks; the mode is {0}. Give the NIC that it goes out by in devices.".format(kind))
    if kind in ("isolated", "open", "bridge", "hostdev") and forward.devices:
        raise FleetError("devices is for nat, route and macvtap networks; the mode is {0}.".format(kind))
    if kind in ("nat", "route") and len(forward.devices) > 1:
        raise FleetError("devices has {0}, but a {1} network goes out by one NIC, or by any of them if devices is empty.".format(
            ", ".join(forward.devices), kind))


class _Span(NamedTuple):
    first: ipaddress.IPv4Address
    last: ipaddress.IPv4Address

    def __str__(self) -> str:
        return "{0} - {1}".format(self.first, self.last)


def _span(entry: Range, lan: ipaddress.IPv4Interface) -> _Span:
    span = _Span(ip_of(entry.start, "The start of a range"), ip_of(entry.end, "The end of a range"))
    if span.first > span.last:
        raise FleetError("The range {0} ends before it starts.".format(span))
    for address in span:
        _check_in_subnet(address, lan, "The range {0}".format(span))
    if span.first <= lan.ip <= span.last:
        raise FleetError("The range {0} contains {1}, the address of the host itself. Start the range behind it.".format(span, lan.ip))
    return span


def _check_in_subnet(address: ipaddress.IPv4Address, lan: ipaddress.IPv4Interface, what: str) -> None:
    if address not in lan.network or address in (lan.network.network_address, lan.network.broadcast_address):
        raise FleetError("{0} is not among the addresses that guests can have in {1}, which are {2} to {3}.".format(
            what, lan.network, lan.network.network_address + 1, lan.network.broadcast_address - 1))


def _check_spans(spans: Iterable[_Span]) -> None:
    ordered = sorted(spans)
    for before, after in zip(ordered, ordered[1:]):
        if after.first <= before.last:
            raise FleetError("The ranges {0} and {1} overlap. Make one range of them.".format(before, after))


def _check_leases(leases: Sequence[Lease], lan: ipaddress.IPv4Interface, spans: Sequence[_Span]) -> None:
    seen: Dict[Tuple[str, str], Lease] = {}
    for lease in leases:
        for field in ("mac", "ip", "name"):
            value = getattr(lease, field)
            other = seen.setdefault((field, value.lower()), lease)
            if value and other is not lease:
                raise FleetError("Two hosts have the {0} {1}: {2} and {3}. Give each guest its own.".format(field, value, _words(other), _words(lease)))
        if not lease.ip:
            continue
        address = ip_of(lease.ip, "The ip of {0}".format(lease.mac or lease.name))
        _check_in_subnet(address, lan, "The address {0} of {1}".format(address, lease.mac or lease.name))
        if address == lan.ip:
            raise FleetError("{0} has the address {1}, which is the host's own on this network.".format(lease.mac or lease.name, address))
        for span in spans:
            if span.first <= address <= span.last:
                raise FleetError(
                    "The address {0} of {1} is in the range {2}, which is leased to whoever asks (section 11.2.2). Take an address outside, or make the range "
                    "smaller.".format(address, lease.mac or lease.name, span))


def _words(lease: Lease) -> str:
    return " ".join(part for part in lease if part)


def check_neighbours(document: NetworkDocument, before: NetworkDocument, others: Mapping[str, NetworkDocument], host: HostNetworks) -> None:
    """Raise :class:`FleetError` if a new subnet or bridge is another network's or the host's already; what was so before is left alone."""
    lan = read_address(document)
    mine = {document.bridge, before.bridge}
    kind = Forward.read(document).kind
    if kind in MANAGED and document.bridge and document.bridge != before.bridge:
        for name, other in others.items():
            if other.bridge == document.bridge:
                raise FleetError("The bridge {0} is that of network {1} already. Give another name.".format(document.bridge, name))
        if document.bridge in host.devices:
            raise FleetError(
                "The host has a device {0} already, and libvirt makes the bridge of a {1} network itself. Give another name, or for a bridge of the "
                "host set mode to bridge.".format(document.bridge, kind))
    if lan is None or lan == read_address(before):
        return
    for name, other in others.items():
        theirs = read_address(other)
        if theirs is not None and theirs.network.overlaps(lan.network):
            raise FleetError("Its subnet {0} overlaps {1} of network {2}. Take another one.".format(lan.network, theirs.network, name))
    bridges = {other.bridge for other in others.values()}
    for route in host.routes:
        if route.device not in mine | bridges and route.subnet.overlaps(lan.network):
            raise FleetError("Its subnet {0} overlaps {1}, which the host reaches through {2}: the host would lose that. Take another one.".format(
                lan.network, route.subnet, route.device))


def warnings(document: NetworkDocument, host: HostNetworks) -> List[str]:
    """What libvirt accepts but what will not work as things are on the host."""
    forward = Forward.read(document)
    if not host.devices:
        return []
    found = ["Network {0} is on {1}, which this host does not have. It will not work until it has.".format(document.name, device)
             for device in forward.devices + ((forward.pf,) if forward.pf else ()) if device not in host.devices]  # fmt: skip
    if forward.kind == "bridge" and document.bridge and document.bridge not in host.bridges:
        found.append("Network {0} is on {1}, which is no bridge of this host. Guests on it will not start until it is.".format(document.name, document.bridge))
    return found
