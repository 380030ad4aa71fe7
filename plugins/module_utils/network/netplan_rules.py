# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What netplan would accept and a network could not bear. Each rule answers with sentences; nothing is applied while there are any.

The rules look at all files together, since netplan merges them, and speak up only where one of our own definitions is concerned.
"""
import ipaddress
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from .netplan import NAME, Definition, Definitions, Route, number, spelled_mac, truth
from .netplan_links import Links, matching, meant, owners

Interface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]

#: Linux bonding, all modes by the names netplan knows.
MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
#: Those under which guests on a bridge stay reachable. In the others the same address shows up on several ports of the switch (0, 3), or the bond answers
#: ARP with the addresses of its members, which are not the guests' (5, 6). Red Hat's virtualization guides allow 1, 2 and 4, with MII monitoring only.
BRIDGE_MODES = ("active-backup", "balance-xor", "802.3ad")
#: Parameters of a bond that are for some modes only (Documentation/networking/bonding.rst).
PARAMETER_MODES = {
    "lacp-rate": ("802.3ad",),
    "ad-select": ("802.3ad",),
    "min-links": ("802.3ad",),
    "primary": ("active-backup", "balance-tlb", "balance-alb"),
    "primary-reselect-policy": ("active-backup", "balance-tlb", "balance-alb"),
    "transmit-hash-policy": ("balance-xor", "802.3ad", "balance-tlb"),
    "fail-over-mac-policy": ("active-backup",),
    "arp-interval": ("balance-rr", "active-backup", "balance-xor", "broadcast"),
}
#: Smallest MTU that carries IPv4 (RFC 791) and the greatest of the kernel's virtual links.
LEAST_MTU, GREATEST_MTU = 68, 65535


class Network(NamedTuple):
    """Everything a rule may ask: all files together, the host, and which definitions are ours."""

    definitions: Definitions
    links: Links
    ours: Set[str]

    def own(self) -> List[Definition]:
        return [self.definitions[name] for name in sorted(self.ours) if name in self.definitions]

    def concern(self, *names: str) -> bool:
        return bool(self.ours.intersection(names))

    def masters(self) -> Dict[str, List[Definition]]:
        """Each member, and the bonds and bridges it is in."""
        answer: Dict[str, List[Definition]] = {}
        for definition in self.definitions.values():
            for member in definition.members:
                answer.setdefault(member, []).append(definition)
        return answer

    def upper(self, name: str) -> List[Definition]:
        """What lies directly on an interface: its bond or bridge, its VLANs."""
        return [other for other in self.definitions.values() if name in other.members or other.link == name]


def problems(network: Network) -> List[str]:
    """All that stands against it, each once."""
    found: List[str] = []
    for rule in RULES:
        found += [sentence for sentence in rule(network) if sentence not in found]
    return found


def _names(network: Network) -> Iterator[str]:
    for one in network.own():
        if one.match is None and not NAME.match(one.name):
            yield "{0!r} cannot be the name of an interface: 1 to 15 characters without spaces and slashes are expected.".format(one.name)
        mac = one.settings.get("macaddress")
        if mac is not None and not spelled_mac(str(mac)):
            yield "macaddress of {0} is {1!r}. Six pairs of hexadecimal digits are expected, in quotation marks: YAML takes some for a number.".format(
                one.name, mac)
        mac = one.match.get("macaddress") if one.match else None
        if mac is not None and not spelled_mac(str(mac)):
            yield "match.macaddress of {0} is {1!r}. Six pairs of hexadecimal digits are expected, in quotation marks.".format(one.name, mac)


def _hardware(network: Network) -> Iterator[str]:
    there = sorted(name for name, link in network.links.items() if not link.kind and name != "lo")
    for one in network.own():
        if one.kind == "ethernets" and not meant(one, network.links):
            sought = "matches {0}".format(dict(one.match)) if one.match is not None else "is called {0}".format(one.name)
            yield "No network adapter of this host {0}. It has {1}.".format(sought, ", ".join(there) or "none")
        wanted, found = one.settings.get("set-name"), matching(one, network.links)
        if wanted and len(found) > 1:
            yield "{0} is to be called {1}, but {2} match it. Only one can have that name; match by macaddress.".format(one.name, wanted, " and ".join(found))
        elif wanted and found and found != [wanted] and wanted in network.links:
            yield "{0} ({1}) is to be called {2}, but this host has another interface of that name.".format(one.name, found[0], wanted)
        link = network.links.get(one.name)
        if one.virtual and link is not None and not link.kind:
            yield "{0} is to be one of the {1}, but this host has a network adapter of that name.".format(one.name, one.kind)


def _references(network: Network) -> Iterator[str]:
    known = network.definitions
    vlans: Dict[Tuple[str, Optional[int]], List[str]] = {}
    for other in known.values():
        if other.kind == "vlans":
            vlans.setdefault((other.link, number(other.settings.get("id"))), []).append(other.name)
    for one in network.own():
        for member in one.members:
            if member not in known:
                yield "{0} has the member {1}, which is neither a network adapter of this host nor defined in any file.".format(one.name, member)
        if one.kind == "vlans":
            identity = number(one.settings.get("id"))
            if identity is None or not 1 <= identity <= 4094:
                yield "VLAN {0} has the id {1!r}. A number from 1 to 4094 is expected.".format(one.name, one.settings.get("id"))
            if not one.link:
                yield "VLAN {0} does not say on which interface it lies (link).".format(one.name)
            elif one.link not in known:
                yield "VLAN {0} lies on {1}, which is neither a network adapter of this host nor defined in any file.".format(one.name, one.link)
            for name in vlans[one.link, identity]:
                if name != one.name:
                    yield "{0} and {1} are the same VLAN, {2} on {3}.".format(*sorted([one.name, name]) + [identity, one.link])
        if one.kind == "bonds" and not one.members:
            yield "{0} has no interfaces. A bond needs at least one.".format(one.name)
        cycle = _cycle(network, one.name)
        if cycle:
            yield "{0} lies on itself: {1}.".format(one.name, " on ".join(cycle))


def _cycle(network: Network, start: str) -> Optional[List[str]]:
    stack = [(start, [start])]
    while stack:
        name, path = stack.pop()
        one = network.definitions.get(name)
        for lower in (one.members + ((one.link,) if one.link else ())) if one else ():
            if lower == start:
                return path + [lower]
            if lower not in path:
                stack.append((lower, path + [lower]))
    return None


def _membership(network: Network) -> Iterator[str]:
    for member, masters in sorted(network.masters().items()):
        if not network.concern(member, *[master.name for master in masters]):
            continue
        if len(masters) > 1:
            yield "{0} is a member of {1}. An interface can be in one bond or bridge only.".format(
                member, " and of ".join("{0} ({1})".format(master.name, ", ".join(master.files)) for master in masters))
        one = network.definitions.get(member)
        if one is None:
            continue
        master = masters[0]
        if one.kind == "bridges" and master.kind == "bridges":
            yield "{0} is a bridge and cannot be a member of the bridge {1}.".format(member, master.name)
        if master.kind == "bonds" and one.kind != "ethernets":
            yield "{0} is one of the {1} and cannot be a member of the bond {2}; network adapters can.".format(member, one.kind, master.name)
        for key, what in (("addresses", "has the addresses {0}"), ("routes", "has routes")):
            if one.settings.get(key):
                yield "{0} is a member of {1} and {2} ({3}). They belong on {1}: a member does not speak for itself. {4}".format(
                    member, master.name, what.format(", ".join(one.addresses)), ", ".join(one.files), _aside(one, network))
        if one.dhcp:
            yield "{0} is a member of {1} and asks for an address by DHCP ({2}). That belongs on {1}. {3}".format(
                member, master.name, ", ".join(one.files), _aside(one, network))
        for vlan in network.definitions.values():
            if vlan.link == member and master.kind == "bonds":
                yield "VLAN {0} lies on {1}, a member of {2}, which takes all of its frames. Let it lie on {2}.".format(vlan.name, member, master.name)


def _aside(one: Definition, network: Network) -> str:
    shared = len(one.files) > 1 or one.name not in network.ours
    return "netplan adds up the lists of all files; set the other file aside by replaces, or edit it." if shared else "Take it away there."


def _ambiguous(network: Network) -> Iterator[str]:
    """networkd takes the first of several files that match a link, in the order of their names."""
    for name, claims in sorted(owners(network.definitions, network.links).items()):
        if len(claims) > 1 and network.concern(*[one.name for one in claims]):
            yield "The adapter {0} is meant by several definitions: {1}. Only one of them counts. Set the other file aside by replaces, or edit it.".format(
                name, " and ".join("{0} ({1})".format(one.name, ", ".join(one.files)) for one in claims))


def _bonds(network: Network) -> Iterator[str]:
    for one in network.definitions.values():
        if one.kind != "bonds":
            continue
        above = [name for name in _all_upper(network, one.name) if network.definitions[name].kind == "bridges"]
        if not network.concern(one.name, *above):
            continue
        if one.mode not in MODES:
            yield "{0} has the mode {1!r}. One of {2} is expected.".format(one.name, one.mode, ", ".join(MODES))
            continue
        if above and one.mode not in BRIDGE_MODES:
            yield ("{0} has the mode {1} and is to carry the bridge {2}. That mode cannot: frames of the guests would reach a wrong port or arrive twice. "
                   "{3} can.").format(one.name, one.mode, above[0], ", ".join(BRIDGE_MODES))
        if above and number(one.parameters.get("arp-interval")):
            yield "{0} carries the bridge {1}, so its members cannot be watched by ARP (arp-interval). Use mii-monitor-interval.".format(one.name, above[0])
        for key, modes in sorted(PARAMETER_MODES.items()):
            if key in one.parameters and one.mode not in modes:
                yield "{0} has the parameter {1}, which is for {2} only; its mode is {3}.".format(one.name, key, ", ".join(modes), one.mode)
        if "primary" in one.parameters and str(one.parameters["primary"]) not in one.members:
            yield "{0} has the primary {1}, which is not one of its members ({2}).".format(one.name, one.parameters["primary"], ", ".join(one.members))


def _all_upper(network: Network, name: str) -> List[str]:
    found: List[str] = []
    waiting = [name]
    while waiting:
        for other in network.upper(waiting.pop()):
            if other.name not in found:
                found.append(other.name)
                waiting.append(other.name)
    return found


def _mtu(network: Network) -> Iterator[str]:
    for one in network.own():
        said = one.settings.get("mtu")
        if said is None:
            continue
        mtu = one.mtu
        if mtu is None or not LEAST_MTU <= mtu <= GREATEST_MTU:
            yield "{0} has the MTU {1!r}. A number from {2} to {3} is expected.".format(one.name, said, LEAST_MTU, GREATEST_MTU)
            continue
        for name in meant(one, network.links) if not one.virtual else ():
            link = network.links.get(name)
            if link and 0 < link.max_mtu < mtu:
                yield "{0} is to have the MTU {1}, but the adapter {2} takes {3} at most.".format(one.name, mtu, name, link.max_mtu)
    for upper in network.definitions.values():
        for lower_name in upper.members + ((upper.link,) if upper.link else ()):
            lower = network.definitions.get(lower_name)
            if lower is None or not network.concern(upper.name, lower_name):
                continue
            yield from _mtu_pair(upper, lower)


def _mtu_pair(upper: Definition, lower: Definition) -> Iterator[str]:
    high, low = upper.mtu, lower.mtu
    if upper.mtu is None and upper.kind == "vlans":
        return  # takes that of the interface below it
    high, low = high or 1500, low or 1500
    if high > low:
        yield "{0} has the MTU {1}, but {2} below it {3}{4}. Frames would be lost; give {2} the MTU {1}.".format(
            upper.name, high, lower.name, low, "" if lower.mtu else " (it says none)")
    elif high < low and upper.kind != "vlans":
        yield "{0} has the MTU {1}, but its member {2} {3}. All of them must agree; give {0} the MTU {3}, or {2} that of {0}.".format(
            upper.name, "{0}{1}".format(high, "" if upper.mtu else " (it says none)"), lower.name, low)


def _functions(network: Network) -> Iterator[str]:
    for one in network.own():
        said = one.settings.get("virtual-function-count")
        if said is None:
            continue
        count = number(said)
        if one.kind != "ethernets" or count is None or count < 0:
            yield "virtual-function-count of {0} is {1!r}. A number is expected, and only network adapters have virtual functions.".format(one.name, said)
            continue
        for name in meant(one, network.links):
            link = network.links.get(name)
            if link is not None and count > link.max_vfs:
                yield "{0} is to have {1} virtual functions, but the adapter {2} {3}.".format(
                    one.name, count, name, "has {0} at most".format(link.max_vfs) if link.max_vfs else "has none (no sriov_totalvfs)")


def _addresses(network: Network) -> Iterator[str]:
    held: List[Tuple[str, Interface]] = []
    for one in network.definitions.values():
        for text in one.addresses:
            parsed = _interface(text)
            if isinstance(parsed, str):
                if network.concern(one.name):
                    yield "{0} has the address {1!r}. {2}".format(one.name, text, parsed)
            else:
                held.append((one.name, parsed))
    defined = {name for one in network.definitions.values() for name in meant(one, network.links)}
    for link in network.links.values():
        if link.name not in defined and link.name != "lo" and not link.name.startswith("vnet"):
            held += [(link.name, ipaddress.ip_interface(text)) for text in link.addresses]
    for position, (name, address) in enumerate(held):
        for other, second in held[:position]:
            if not network.concern(name, other) or address.version != second.version or address.ip.is_link_local:
                continue
            if address.ip == second.ip:
                form = "{0} and {1} both have the address {2}." if name != other else "{0} has the address {2} twice."
                yield form.format(other, name, address.ip)
            elif name != other and address.network.overlaps(second.network) and min(address.network.prefixlen, second.network.prefixlen) > 0:
                if address.network.num_addresses > 1 and second.network.num_addresses > 1:
                    yield "{0} ({1}) and {2} ({3}) are in the same subnet. Answers would leave by either of them.".format(other, second, name, address)


def _interface(text: str) -> Union[Interface, str]:
    try:
        if "/" not in text:
            raise ValueError
        parsed = ipaddress.ip_interface(text)
    except ValueError:
        return "An address with its prefix length is expected, such as 10.33.14.17/24."
    if parsed.version == 4 and parsed.network.prefixlen < 31 and parsed.ip in (parsed.network.network_address, parsed.network.broadcast_address):
        return "That is the {0} address of the subnet {1}.".format("network" if parsed.ip == parsed.network.network_address else "broadcast", parsed.network)
    return parsed


def _routes(network: Network) -> Iterator[str]:
    defaults: Dict[Tuple[int, Optional[int], int], List[str]] = {}
    for one in network.definitions.values():
        subnets = [parsed.network for parsed in map(_interface, one.addresses) if not isinstance(parsed, str)]
        mine = network.concern(one.name)
        for key in ("gateway4", "gateway6"):
            if key in one.settings and mine:
                yield "{0} has {1}, which netplan has given up. Write routes: [{{to: default, via: {2}}}].".format(one.name, key, one.settings[key])
        for route in one.routes:
            version, sentence = _route(one, route, subnets)
            if sentence and mine:
                yield sentence
            if route.default and version:
                place = defaults.setdefault((version, route.metric, route.table or 254), [])
                if one.name not in place:
                    place.append(one.name)
        for key, version in (("gateway4", 4), ("gateway6", 6)):
            if key in one.settings:
                defaults.setdefault((version, None, 254), []).append(one.name)
    for (version, metric, _table), names in sorted(defaults.items(), key=str):
        if len(names) > 1 and network.concern(*names):
            yield "There are several default routes for IPv{0} with {1}: on {2}. Which one counts is left to chance; keep one, or give them metrics.".format(
                version, "the metric {0}".format(metric) if metric is not None else "no metric", " and ".join(names))


def _route(one: Definition, route: Route, subnets: Sequence[Union[ipaddress.IPv4Network, ipaddress.IPv6Network]]) -> Tuple[int, str]:
    """The version of IP of a route (0: unknown), and what is wrong with it."""
    if not route.to:
        return 0, "A route of {0} does not say where to (to: default, or a subnet).".format(one.name)
    version = 0
    if route.to != "default":
        try:
            version = ipaddress.ip_network(route.to).version
        except ValueError:
            return 0, "A route of {0} leads to {1!r}. \"default\" or a subnet is expected, such as 10.0.0.0/8.".format(one.name, route.to)
    if route.via is None:
        return version or 4, ""
    try:
        gateway = ipaddress.ip_address(route.via)
    except ValueError:
        return version, "A route of {0} goes by {1!r}. The address of a router is expected.".format(one.name, route.via)
    if version and version != gateway.version:
        return version, "A route of {0} leads to {1}, by way of {2}: not the same kind of IP.".format(one.name, route.to, route.via)
    same = [subnet for subnet in subnets if subnet.version == gateway.version]
    reached = any(gateway in subnet for subnet in same)
    dynamic = truth(one.settings.get("dhcp{0}".format(gateway.version)))
    if not (reached or dynamic or route.on_link or gateway.is_link_local or (gateway.version == 6 and not same)):
        return gateway.version, "{0} has a route by {1}, which is in none of its subnets ({2}). It could not be reached.".format(
            one.name, route.via, ", ".join(str(subnet) for subnet in same) or "it has no address")
    if route.via in [text.split("/")[0] for text in one.addresses]:
        return gateway.version, "{0} has a route by {1}, which is its own address.".format(one.name, route.via)
    return gateway.version, ""


def _servers(network: Network) -> Iterator[str]:
    for one in network.own():
        servers = one.settings.get("nameservers")
        for text in (servers.get("addresses") or []) if isinstance(servers, dict) else []:
            try:
                ipaddress.ip_address(str(text))
            except ValueError:
                yield "{0} has the name server {1!r}. An address is expected.".format(one.name, text)


Rule = Callable[[Network], Iterator[str]]
RULES: Tuple[Rule, ...] = (
    _names, _hardware, _references, _membership, _ambiguous, _bonds, _mtu, _functions, _addresses, _routes, _servers,
)
