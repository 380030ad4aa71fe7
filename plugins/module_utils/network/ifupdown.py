# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""interfaces(5), the files of ifupdown: what they say, in netplan's terms; a text without some interfaces; and a text for what is wanted.

DGX OS of the time of Ubuntu 16.04 was set up by ifupdown (section 8.1.3 of the Best Practices for DGX), and a system that was upgraded since still is.
"""
import ipaddress
import json
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from .netplan import KINDS, Definition, Route, listed, texts, truth

MAIN = "/etc/network/interfaces"
DIRECTORY = "/etc/network/interfaces.d/"
HEADER = "# Written by dgxops.fleet.ifupdown_config, which owns this file. See interfaces(5).\n"
#: Before what the file was made from, so that a later run knows it exactly.
MADE_FROM = "# network: "

_STARTS = ("iface", "mapping", "source", "source-directory", "template", "rename", "no-auto-down", "no-scripts", "auto")
#: What interfaces(5) has no words for, but ip-link(8) has: netplan's names of a bond's parameters, and the kernel's.
PARAMETERS = {
    "mode": "mode", "mii-monitor-interval": "miimon", "lacp-rate": "lacp_rate", "transmit-hash-policy": "xmit_hash_policy", "primary": "primary",
    "min-links": "min_links", "ad-select": "ad_select", "up-delay": "updelay", "down-delay": "downdelay", "arp-interval": "arp_interval",
    "arp-ip-targets": "arp_ip_target", "arp-validate": "arp_validate", "arp-all-targets": "arp_all_targets", "all-slaves-active": "all_slaves_active",
    "fail-over-mac-policy": "fail_over_mac", "primary-reselect-policy": "primary_reselect", "gratuitous-arp": "num_grat_arp",
    "packets-per-slave": "packets_per_slave", "learn-packet-interval": "lp_interval", "resend-igmp": "resend_igmp",
}
#: Settings that are written here; what else netplan knows is refused rather than forgotten.
KNOWN = {"addresses", "dhcp4", "dhcp6", "mtu", "routes", "nameservers", "interfaces", "parameters", "id", "link"}


class Block(NamedTuple):
    """A stanza or a line of its own: its keyword, the names it is about, and its lines as they are."""

    keyword: str
    names: Tuple[str, ...]
    lines: Tuple[str, ...]


def blocks(text: str) -> List[Block]:
    """A file in pieces that together are the file."""
    found: List[Block] = [Block("", (), ())]
    continued = False
    for line in text.splitlines(True):
        words = line.split()
        starts = bool(words) and not continued and (words[0] in _STARTS or words[0].startswith("allow-"))
        continued = line.rstrip("\n").endswith("\\")
        if starts:
            found.append(Block(words[0], tuple(words[1:2] if words[0] == "iface" else words[1:]), (line,)))
        else:
            found[-1] = found[-1]._replace(lines=found[-1].lines + (line,))
    return found


def without(text: str, names: Sequence[str]) -> str:
    """The same text, without these interfaces. Comments that follow a stanza stay: they may belong to the next."""
    kept: List[str] = []
    for block in blocks(text):
        if block.keyword == "iface" and block.names and block.names[0] in names:
            end = len(block.lines)
            while end > 1 and (not block.lines[end - 1].strip() or block.lines[end - 1].lstrip().startswith("#")):
                end -= 1
            kept += block.lines[end:]
        elif (block.keyword == "auto" or block.keyword.startswith("allow-")) and set(block.names) & set(names):
            left = [name for name in block.names if name not in names]
            kept += ["{0} {1}\n".format(block.keyword, " ".join(left))] if left else []
            kept += block.lines[1:]
        else:
            kept += block.lines
    return "".join(kept)


def names_in(text: str) -> List[str]:
    """The interfaces that have a stanza, but for the loopback."""
    return list(dict.fromkeys(block.names[0] for block in blocks(text) if block.keyword == "iface" and block.names and block.names[0] != "lo"))


def sources(text: str) -> List[Tuple[str, str]]:
    """What is read as well: the keyword, and the pattern or directory."""
    return [(block.keyword, name) for block in blocks(text) if block.keyword in ("source", "source-directory") for name in block.names]


def network_of(text: str) -> Dict[str, Any]:
    """What a file says, as far as it matters to others, below netplan's ``network``."""
    for line in text.splitlines() if text.startswith(HEADER) else ():
        if line.startswith(MADE_FROM):
            try:
                return dict(json.loads(line[len(MADE_FROM):]))
            except ValueError:
                break
    answer: Dict[str, Dict[str, Dict[str, Any]]] = {}
    for block in blocks(text):
        if block.keyword == "iface" and block.names and block.names[0] != "lo":
            words = block.lines[0].split()
            options = [tuple(line.split(None, 1)) for line in block.lines[1:] if len(line.split(None, 1)) == 2 and not line.lstrip().startswith("#")]
            given = {key: value.strip() for key, value in options}
            kind = _kind(block.names[0], given)
            _say(answer.setdefault(kind, {}).setdefault(block.names[0], {}), words[3] if len(words) > 3 else "manual", given)
            if given.get("bond-master"):
                # The way of Ubuntu: "bond-slaves none" in the bond's own stanza.
                _add_members(answer.setdefault("bonds", {}).setdefault(given["bond-master"], {}), [block.names[0]])
    return answer


def _kind(name: str, given: Mapping[str, str]) -> str:
    if any(key.startswith(("bond-", "bond_")) and key not in ("bond-master", "bond-primary") for key in given) or "slaves" in given:
        return "bonds"
    if any(key.startswith(("bridge_", "bridge-")) for key in given):
        return "bridges"
    return "vlans" if "vlan-raw-device" in given or re.match(r"^(?:vlan[0-9]+|.+\.[0-9]+)\Z", name) else "ethernets"


def _say(settings: Dict[str, Any], method: str, given: Mapping[str, str]) -> None:
    if method == "dhcp":
        settings["dhcp4"] = True
    address = given.get("address", "")
    if address:
        try:
            whole = address if "/" in address else "{0}/{1}".format(address, given.get("netmask", "32"))
            settings.setdefault("addresses", []).append(str(ipaddress.ip_interface(whole)))
        except ValueError:
            pass  # a name, or a mistake that was there before; ifupdown itself is asked about the file
    if given.get("gateway"):
        settings.setdefault("routes", []).append({"to": "default", "via": given["gateway"]})
    if given.get("mtu", "").isdigit():
        settings["mtu"] = int(given["mtu"])
    members = given.get("bond-slaves", given.get("slaves", given.get("bridge_ports", given.get("bridge-ports", ""))))
    if members and members != "none":
        _add_members(settings, members.split())


def _add_members(settings: Dict[str, Any], names: Sequence[str]) -> None:
    there = settings.setdefault("interfaces", [])
    there += [name for name in names if name not in there]


def written(network: Mapping[str, Any]) -> str:
    """The file for what is wanted. Bonds and VLANs are made by ip(8), so that neither ifenslave nor vlan has to be fetched first.

    Raises :class:`FleetError` for what cannot be said.
    """
    lines = [HEADER.rstrip("\n"), MADE_FROM + json.dumps(network, sort_keys=True)]
    for kind in KINDS:
        for name, settings in sorted((network.get(kind) or {}).items()):
            one = Definition(name, kind, settings, ())
            _check(one)
            if kind == "ethernets" and not one.addresses and not one.dhcp:
                continue  # a member: its bond brings it up
            lines += [""] + list(_stanzas(one))
    return "\n".join(lines) + "\n"


def _check(one: Definition) -> None:
    odd = sorted(set(one.settings) - KNOWN)
    if one.kind == "bridges" or odd or truth(one.settings.get("dhcp6")):
        raise FleetError("{0} has {1}, which is not written to /etc/network/interfaces here. Bonds, VLANs and adapters with addresses, DHCP for IPv4, MTU, "
                         "default routes and name servers are.".format(one.name, "a bridge" if one.kind == "bridges" else ", ".join(odd) or "dhcp6"))
    unknown = sorted(set(one.parameters) - set(PARAMETERS))
    if unknown:
        raise FleetError("{0} has the parameter {1}. {2} are expected.".format(one.name, unknown[0], ", ".join(sorted(PARAMETERS))))
    for route in one.routes:
        if not route.default or route.via is None or route.table is not None:
            raise FleetError("{0} has a route to {1}. Only default routes by a router are written to /etc/network/interfaces here.".format(one.name, route.to))


def _stanzas(one: Definition) -> Iterator[str]:
    """The first stanza makes the link; each further address has one of its own."""
    yield "auto {0}".format(one.name)
    methods = [("inet6" if ":" in address else "inet", address) for address in one.addresses]
    if one.dhcp or not methods:
        methods.insert(0, ("inet", "dhcp" if one.dhcp else "manual"))
    served: List[str] = []
    for position, (family, what) in enumerate(methods):
        static = what not in ("dhcp", "manual")
        yield "iface {0} {1} {2}".format(one.name, family, "static" if static else what)
        if static:
            yield "    address {0}".format(what)
        router = _router(one.routes, family)
        if router is not None and family not in served and what != "manual":
            served.append(family)
            yield "    gateway {0}".format(router.via)
            if router.metric is not None:
                yield "    metric {0}".format(router.metric)
        if position == 0:
            yield from _made(one)


def _router(routes: Sequence[Route], family: str) -> Optional[Route]:
    return next((route for route in routes if (":" in str(route.via)) == (family == "inet6")), None)


def _made(one: Definition) -> Iterator[str]:
    servers = one.settings.get("nameservers") or {}
    if servers.get("addresses"):
        yield "    dns-nameservers {0}".format(" ".join(texts(servers["addresses"])))
    if servers.get("search"):
        yield "    dns-search {0}".format(" ".join(texts(servers["search"])))
    name, there = one.name, "test -e /sys/class/net/{0} ||".format(one.name)
    if one.kind == "bonds":
        # The module would make a bond0 of its own as soon as it is loaded.
        yield "    pre-up modprobe -q bonding max_bonds=0 || true"
        yield "    pre-up {0} ip link add dev {1} type bond".format(there, name)
        # ifup does all of this once more when it is told to bring up a VLAN on it by force. A bond with members takes no other mode.
        yield "    pre-up ls -d /sys/class/net/{0}/lower_* >/dev/null 2>&1 || ip link set dev {0} type bond {1}".format(name, " ".join(_parameters(one)))
        for member in one.members:  # which have the bond's MTU as long as they are members, and then their own again
            yield "    pre-up test -e /sys/class/net/{0}/lower_{1} || {{ ip link set dev {1} down && ip link set dev {1} master {0}; }}".format(name, member)
    if one.kind == "vlans":
        yield "    pre-up {0} ip link add link {1} name {2} type vlan id {3}".format(there, one.link, name, one.settings.get("id"))
    if one.mtu is not None:
        yield "    pre-up ip link set dev {0} mtu {1}".format(name, one.mtu)
    if one.virtual:
        yield "    up ip link set dev {0} up".format(name)
        yield "    post-down ip link delete dev {0} || true".format(name)


def _parameters(one: Definition) -> Iterator[str]:
    # The mode first: the kernel takes others only in the modes that they are for.
    for key in sorted(one.parameters, key=lambda name: (name != "mode", name)):
        value = one.parameters[key]
        yield "{0} {1}".format(PARAMETERS[key], ",".join(texts(value)) if listed(value) else value)
