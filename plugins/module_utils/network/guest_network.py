# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The network of a host's guests, chosen by one word: what netplan, SR-IOV and libvirt each have to do for it, in agreement.

Chapter 11 of the Best Practices for DGX edits the host's file and libvirt's XML one after the other; here both come from the same settings.
"""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from .netplan import number, truth

#: Modes, the name of libvirt's network in each (those of the document where it has one), and libvirt's word for it.
NETWORKS = {
    "nat": ("default", "nat"),
    "bridge": ("bridged", "bridge"),
    "bridge_bond": ("bridged", "bridge"),
    "macvtap": ("macvtap-net", "macvtap"),
    "sriov": ("iovnet0", "hostdev"),
    "private": ("private-net", "isolated"),
}
BRIDGED = ("bridge", "bridge_bond")
#: Settings that are for some modes only; a value where it means nothing is a misunderstanding that is better told.
ONLY = {
    "bond_mode": ("bridge_bond",), "bond_parameters": ("bridge_bond",),
    "vlan": BRIDGED, "addresses": BRIDGED, "gateways": BRIDGED, "nameservers": BRIDGED, "search": BRIDGED,
    "macvtap_mode": ("macvtap",), "vfs": ("sriov",),
    "address": ("nat", "private"), "ranges": ("nat", "private"), "leases": ("nat", "private"),
}
#: The document's own address for the second network of a guest, and libvirt's for the first.
ADDRESSES = {"nat": "192.168.122.1/24", "private": "192.168.123.1/24"}


class Plan(NamedTuple):
    """``netplan``: for netplan_config, empty if the host needs nothing; ``functions``: for sriov_vfs; ``libvirt``: for libvirt_network."""

    netplan: Mapping[str, Any]
    functions: Sequence[Mapping[str, Any]]
    libvirt: Mapping[str, Any]

    def to_dict(self) -> Dict[str, Any]:
        return {"netplan": dict(self.netplan), "functions": [dict(entry) for entry in self.functions], "libvirt": dict(self.libvirt)}


class Settings(NamedTuple):
    """What the role was told; checked."""

    mode: str
    network: str
    nics: Tuple[str, ...]
    mtu: Optional[int]
    bridge: str
    bond: str
    given: Mapping[str, Any]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Settings":
        mode = str(given.get("mode"))
        if mode not in NETWORKS:
            raise FleetError("mode is {0!r}. One of {1} is expected.".format(mode, ", ".join(NETWORKS)))
        for key, modes in sorted(ONLY.items()):
            if given.get(key) not in (None, "", [], {}, 0) and mode not in modes:
                raise FleetError("{0} is given, which is for {1} only; the mode is {2}. Leave it out.".format(key, " and ".join(modes), mode))
        mtu = number(given.get("mtu"))
        if given.get("mtu") is not None and (mtu is None or not 68 <= mtu <= 65535):
            raise FleetError("mtu is {0!r}. A number from 68 to 65535 is expected.".format(given["mtu"]))
        vlan_id(given.get("vlan"))
        nics = tuple(str(nic) for nic in given.get("nics") or ())
        _check_nics(mode, nics)
        return cls(mode, str(given.get("network") or NETWORKS[mode][0]), nics, mtu, str(given.get("bridge") or "br0"), str(given.get("bond") or "bond0"), given)


def plan(given: Mapping[str, Any], guests: Sequence[Mapping[str, Any]] = ()) -> Plan:
    """What to do, or a refusal. ``guests``: as libvirt_domain_info returns them, whose MTU has to agree."""
    settings = Settings.read(given)
    _check_guests(settings, guests)
    functions: List[Mapping[str, Any]] = []
    if settings.mode == "sriov":
        wanted = given.get("vfs")
        if wanted in (None, "", 0):
            raise FleetError("The mode is sriov, but vfs does not say how many virtual functions {0} is to have; a number or all.".format(settings.nics[0]))
        functions = [{"device": settings.nics[0], "vfs": wanted}]
    return Plan(_netplan(settings), functions, _libvirt(settings))


def _check_nics(mode: str, nics: Sequence[str]) -> None:
    if len(set(nics)) != len(nics):
        raise FleetError("nics has {0} twice.".format(next(nic for nic in nics if nics.count(nic) > 1)))
    least, most = {"nat": (0, 1), "bridge": (1, 1), "bridge_bond": (1, 16), "macvtap": (1, 64), "sriov": (1, 1), "private": (0, 0)}[mode]
    if not least <= len(nics) <= most:
        expected = "none" if most == 0 else str(least) if least == most else "{0} to {1}".format(least, most)
        hint = " Several adapters below a bridge are a bond (mode bridge_bond)." if mode == "bridge" and nics else ""
        raise FleetError("nics is {0}, but the mode {1} takes {2} of the host's adapters.{3}".format(list(nics), mode, expected, hint))


def _check_guests(settings: Settings, guests: Sequence[Mapping[str, Any]]) -> None:
    """A guest that has an MTU of its own must have the same. One that says none takes that of the network when it starts."""
    wanted = settings.mtu or 1500
    wrong = []
    for guest in guests:
        configured = guest.get("configured") or {}
        for interface in configured.get("interfaces") or []:
            mtu = number(interface.get("mtu"))
            if mtu is not None and mtu != wanted and _connected(settings, interface):
                wrong.append("{0} ({1}) has {2}".format(guest.get("name") or configured.get("name"), interface.get("mac", "no MAC address"), mtu))
    if wrong:
        raise FleetError("The MTU of {0} is {1}, but {2}. All of them must agree: frames would be lost. Change these guests' interfaces, or the mtu.".format(
            settings.network, "to be {0}".format(wanted) if settings.mtu else "1500, since none is given", "; ".join(wrong)))


def _connected(settings: Settings, interface: Mapping[str, Any]) -> bool:
    if interface.get("network") == settings.network:
        return True
    return (settings.mode in BRIDGED and interface.get("bridge") == settings.bridge) or (settings.mode == "macvtap" and interface.get("dev") in settings.nics)


def _netplan(settings: Settings) -> Dict[str, Any]:
    if settings.mode in BRIDGED:
        return _bridged(settings)
    if settings.mode in ("macvtap", "sriov"):
        # Named without addresses, an adapter is brought up; whatever another file says of it stays.
        return {"ethernets": {nic: _with_mtu(settings, {}) for nic in settings.nics}}
    return {}


def _bridged(settings: Settings) -> Dict[str, Any]:
    """Bridge on VLAN on bond on adapters, as much of it as is wanted. Members' MTU and DHCP are filled in by netplan_config."""
    network: Dict[str, Any] = {}
    lower = list(settings.nics)
    if settings.mode == "bridge_bond":
        parameters = bond_parameters(settings.given.get("bond_parameters"), settings.given.get("bond_mode"))
        network["bonds"] = {settings.bond: _with_mtu(settings, {"interfaces": lower, "parameters": parameters})}
        lower = [settings.bond]
    vlan = vlan_id(settings.given.get("vlan"))
    if vlan is not None:
        name = vlan_name(lower[0], vlan)
        network["vlans"] = {name: _with_mtu(settings, {"id": vlan, "link": lower[0]})}
        lower = [name]
    bridge: Dict[str, Any] = dict(addressing(settings.given), interfaces=lower)
    # Guests come and go; without spanning tree a port of the bridge forwards at once instead of after 30 s.
    bridge["parameters"] = {"stp": False, "forward-delay": 0}
    network["bridges"] = {settings.bridge: _with_mtu(settings, bridge)}
    return network


def bond_parameters(said: Optional[Mapping[str, Any]], mode: Optional[str]) -> Dict[str, Any]:
    """The parameters of a bond with its mode among them; a second word on the mode must be the same."""
    parameters = dict(said or {})
    found = parameters.setdefault("mode", mode or "802.3ad")
    if mode and found != mode:
        raise FleetError("The mode of the bond is {0!r}, but its parameters say {1!r}. Say it once.".format(mode, found))
    return parameters


def vlan_id(said: Any) -> Optional[int]:
    """The number of a VLAN, if there is to be one; 0 and 4095 are reserved (IEEE 802.1Q)."""
    identity = number(said)
    if said is not None and (identity is None or not 1 <= identity <= 4094):
        raise FleetError("vlan is {0!r}. A number from 1 to 4094 is expected.".format(said))
    return identity


def vlan_name(link: str, identity: Any) -> str:
    """The usual name of a VLAN, or a shorter one where the kernel's 15 characters do not hold it."""
    name = "{0}.{1}".format(link, identity)
    return name if len(name) <= 15 else "vlan{0}".format(identity)


def addressing(given: Mapping[str, Any]) -> Dict[str, Any]:
    """How the host itself is reached on an interface: by DHCP unless addresses are given."""
    entry: Dict[str, Any] = {"dhcp4": truth(given.get("dhcp", not given.get("addresses")))}
    if given.get("addresses"):
        entry["addresses"] = list(given["addresses"])
    if given.get("gateways"):
        entry["routes"] = [{"to": "default", "via": str(gateway)} for gateway in given["gateways"]]
    servers = {key: list(given[name]) for key, name in (("addresses", "nameservers"), ("search", "search")) if given.get(name)}
    if servers:
        entry["nameservers"] = servers
    return entry


def _with_mtu(settings: Settings, entry: Dict[str, Any]) -> Dict[str, Any]:
    return dict(entry, mtu=settings.mtu) if settings.mtu is not None else entry


def _libvirt(settings: Settings) -> Dict[str, Any]:
    network: Dict[str, Any] = {"name": settings.network, "mode": NETWORKS[settings.mode][1]}
    given = settings.given
    if settings.mode in BRIDGED:
        network["bridge"] = settings.bridge
    elif settings.mode == "macvtap":
        network.update(devices=list(settings.nics), macvtap_mode=given.get("macvtap_mode") or "bridge")
    elif settings.mode == "sriov":
        network["pf"] = settings.nics[0]
    else:
        network["address"] = given.get("address") or ADDRESSES[settings.mode]
        network.update({key: list(given[key]) for key in ("ranges",) if given.get(key)})
        if given.get("leases"):
            network["hosts"] = list(given["leases"])
        if settings.mode == "nat":
            network["devices"] = list(settings.nics)
        if settings.mtu is not None:
            network["mtu"] = settings.mtu
    return network
