# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a caller wants of one network, taken from the module's options, and put into a document."""
import ipaddress
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from . import network_parts as parts
from .domain_parts import whole
from .network_parts import KINDS, MACVTAP_MODES, MANAGED, DnsHost, Forward, Lease, Range
from .network_rules import check_forward
from .network_xml import NetworkDocument

_MAC = re.compile(r"^([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")
_PCI = re.compile(r"^(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
#: The kernel's limit is IFNAMSIZ, 15 characters. libvirt and the kernel make a number of %d, so that such a name would never be what was asked for.
_INTERFACE = re.compile(r"^[^\s/:%]{1,15}\Z")
_HOST_NAME = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\Z")


class NetworkSettings(NamedTuple):
    """The wanted settings of one network; None is a setting that is left alone."""

    name: str
    present: bool = True
    kind: Optional[str] = None
    macvtap_mode: Optional[str] = None
    devices: Optional[Tuple[str, ...]] = None
    pf: Optional[str] = None
    pci: Optional[Tuple[str, ...]] = None
    bridge: Optional[str] = None
    address: Optional[ipaddress.IPv4Interface] = None
    ranges: Optional[Tuple[Range, ...]] = None
    hosts: Optional[Tuple[Lease, ...]] = None
    mtu: Optional[int] = None
    domain: Optional[str] = None
    dns_enabled: Optional[bool] = None
    dns_forwarders: Optional[Tuple[str, ...]] = None
    dns_hosts: Optional[Tuple[DnsHost, ...]] = None
    autostart: Optional[bool] = None
    active: Optional[bool] = None

    @classmethod
    def from_option(cls, value: Mapping[str, Any]) -> "NetworkSettings":
        """From an entry of the option ``networks``. Errors name the network."""
        name = str(value.get("name") or "").strip()
        if not name or "/" in name or "\n" in name:
            raise FleetError("{0!r} is not the name of a network. Give a name without a slash.".format(value.get("name")))
        try:
            return cls._from_option(name, value)
        except FleetError as error:
            raise FleetError("Network {0}: {1}".format(name, error.message), network=name)

    @classmethod
    def _from_option(cls, name: str, value: Mapping[str, Any]) -> "NetworkSettings":
        dns = value.get("dns") or {}
        kind, mode = value.get("mode"), value.get("macvtap_mode")
        if mode is not None and kind is None:
            kind = "macvtap"
        if kind == "macvtap" and mode is None:
            mode = "bridge"
        if kind not in KINDS + (None,) or mode not in MACVTAP_MODES + (None,):
            raise FleetError("mode {0} with macvtap_mode {1} is not known.".format(kind, mode))
        if mode is not None and kind != "macvtap":
            raise FleetError("macvtap_mode is given, but the mode is {0}. Set mode to macvtap, or leave macvtap_mode out.".format(kind))
        return cls(
            name,
            value.get("state") != "absent",
            kind,
            mode,
            _each(value.get("devices"), lambda entry: _interface(entry, "devices")),
            None if value.get("pf") is None else _interface(value["pf"], "pf"),
            _each(value.get("pci"), _pci),
            None if value.get("bridge") is None else _interface(value["bridge"], "bridge"),
            None if value.get("address") is None else parts.network_of(value["address"], "address"),
            _each(value.get("ranges"), _range),
            _each(value.get("hosts"), _lease),
            None if value.get("mtu") is None else _mtu(value["mtu"]),
            None if value.get("domain") is None else _domain(value["domain"]),
            dns.get("enable"),
            _each(dns.get("forwarders"), lambda entry: str(parts.ip_of(entry, "A DNS forwarder"))),
            None if dns.get("hosts") is None else _dns_hosts(dns["hosts"]),
            value.get("autostart"),
            value.get("active"),
        )

    def apply(self, document: NetworkDocument) -> None:
        """Make the document as wanted. Raises :class:`FleetError` if the network is of a kind that cannot be made into the wanted one."""
        forward = self._forward(document)
        if forward != Forward.read(document):
            check_forward(forward)
            forward.write(document)
        if self.bridge is not None:
            parts.write_bridge(document, self.bridge)
        if self.mtu is not None:
            parts.write_mtu(document, self.mtu)
        if self.domain is not None:
            parts.write_domain(document, self.domain)
        if self.dns_enabled is not None:
            parts.write_dns_enabled(document, self.dns_enabled)
        if self.dns_forwarders is not None:
            parts.write_forwarders(document, self.dns_forwarders)
        if self.dns_hosts is not None:
            parts.write_dns_hosts(document, self.dns_hosts)
        if self.address is not None:
            parts.write_address(document, self.address)
        if self.ranges is not None:
            parts.write_ranges(document, self.ranges)
        if self.hosts is not None:
            parts.write_leases(document, self.hosts)

    def owned(self) -> List[str]:
        """The names of all settings that something is wanted of."""
        forward = (self.kind, self.macvtap_mode, self.devices, self.pf, self.pci)
        wanted = {
            "mode": next((value for value in forward if value is not None), None), "bridge": self.bridge, "mtu": self.mtu, "domain": self.domain,
            "address": self.address, "ranges": self.ranges, "hosts": self.hosts, "dns.enable": self.dns_enabled,
            "dns.forwarders": self.dns_forwarders, "dns.hosts": self.dns_hosts,
        }  # fmt: skip
        return [name for name, value in wanted.items() if value is not None]

    def _forward(self, document: NetworkDocument) -> Forward:
        found = Forward.read(document)
        wanted = found
        if self.kind is not None and self.kind != found.kind:
            new = document.bridge is None and document.find("ip") is None and document.find("forward") is None
            if not new and not (self.kind in MANAGED and found.kind in MANAGED):
                raise FleetError(
                    "Its mode is {0} and cannot become {1}, since nothing of the network would stay. Remove it first (state: absent) and make it anew, "
                    "or use another name.".format(found.kind, self.kind))
            wanted = Forward(self.kind, None, found.devices if self.kind in ("nat", "route") else ())
        if self.macvtap_mode is not None:
            wanted = wanted._replace(macvtap_mode=self.macvtap_mode)
        if self.devices and self.pf and wanted.kind == "macvtap":
            raise FleetError("devices and pf are both given. Give the devices that guests are on, or the parent device of the functions.")
        if self.devices is not None:
            wanted = wanted._replace(devices=self.devices, pf=None if wanted.kind == "macvtap" else wanted.pf)
        if self.pf is not None:
            wanted = wanted._replace(pf=self.pf or None, pci=(), devices=() if wanted.kind == "macvtap" else wanted.devices)
        if self.pci is not None:
            wanted = wanted._replace(pci=self.pci, pf=None if self.pf is None else wanted.pf)
        return wanted


def _each(value: Any, function: Any) -> Any:
    return None if value is None else tuple(function(entry) for entry in value)


def _interface(text: Any, what: str) -> str:
    if not _INTERFACE.match(str(text)):
        raise FleetError("{0} has {1!r}, which is not the name of a network device (at most 15 characters, no space, slash, colon or %).".format(what, text))
    return str(text)


def _pci(text: Any) -> str:
    found = str(text).strip().lower()
    if not _PCI.match(found):
        raise FleetError("pci has {0!r}, which is not a PCI address such as 0000:86:02.0.".format(text))
    return found if found.count(":") == 2 else "0000:" + found


def _mtu(value: Any) -> int:
    return 0 if str(value) == "0" else whole(value, "mtu", 68, 65535)


def _mac(text: Any) -> str:
    found = str(text or "").strip().lower().replace("-", ":")
    if not _MAC.match(found):
        raise FleetError("hosts: {0!r} is not a MAC address such as 52:54:00:12:34:56.".format(text))
    if int(found[:2], 16) & 1:
        raise FleetError("hosts: {0} is a multicast address, which no network card has. The first octet of a MAC address is even.".format(found))
    return found


def _name(text: Any, what: str) -> str:
    found = str(text or "").strip()
    if not _HOST_NAME.match(found):
        raise FleetError("{0}: {1!r} is not a host name.".format(what, text))
    return found


def _range(value: Mapping[str, Any]) -> Range:
    return Range(str(parts.ip_of(value.get("start"), "The start of a range")), str(parts.ip_of(value.get("end"), "The end of a range")))


def _lease(value: Mapping[str, Any]) -> Lease:
    mac = _mac(value.get("mac"))
    return Lease(mac, str(parts.ip_of(value.get("ip"), "hosts: the ip of {0}".format(mac))), _name(value["name"], "hosts") if value.get("name") else "")


def _domain(text: Any) -> str:
    return _name(text, "domain") if str(text).strip() else ""


def _dns_hosts(entries: Sequence[Mapping[str, Any]]) -> Tuple[DnsHost, ...]:
    """One for each address: of an address that an active network has already, libvirt takes no second one."""
    found: Dict[str, List[str]] = {}
    for value in entries:
        names = [_name(name, "dns.hosts") for name in value.get("names") or ()]
        if not names:
            raise FleetError("dns.hosts: {0} has no names.".format(value.get("ip")))
        there = found.setdefault(str(parts.ip_of(value.get("ip"), "dns.hosts: an ip")), [])
        there += [name for name in dict.fromkeys(names) if name not in there]
    return tuple(DnsHost(address, tuple(names)) for address, names in found.items())
