# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading networks from libvirt, and what matters to them on the host: everything that a decision needs, once."""
import glob
import ipaddress
import os
import struct
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import read_text
from .client import Client, NetworkEntry
from .domain_xml import DomainDocument, pci_of
from .network_backups import NetworkBackups
from .network_change import FoundNetwork, Plug
from .network_parts import Forward, pool_of
from .network_rules import HostNetworks, Route
from .network_xml import NetworkDocument
from .xml_tree import attribute, child


def refuse_repeated(names: Sequence[str]) -> None:
    """Raise :class:`FleetError` for a name that is given twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FleetError("Network {0} is given more than once. Give each network once, with all that is wanted of it.".format(", ".join(twice)))


def read_networks(client: Client, backups: NetworkBackups, entries: Sequence[NetworkEntry], names: Sequence[str]) -> List[FoundNetwork]:
    """The networks of these names, in this order, with their configuration, what is in force, who is connected, and their backup."""
    refuse_repeated(names)
    by_name = {entry.name: entry for entry in entries}
    running: Optional[List[DomainDocument]] = None
    found = []
    for name in names:
        entry = by_name.get(name)
        if entry is None:
            found.append(FoundNetwork(name, backup=backups.read(name)))
            continue
        inactive = client.network_xml(name)
        active = client.network_xml(name, inactive=False) if entry.active else None
        # A guest may be connected to the bridge of a network that was stopped under it.
        if running is None:
            texts = [client.active_xml(domain.uuid) for domain in client.domains() if domain.running]
            running = [DomainDocument(text) for text in texts if text is not None]
        plugs = [plug for guest in running for plug in _plugs(guest, name, NetworkDocument(active or inactive))]
        forward = Forward.read(NetworkDocument(inactive))
        functions = functions_of(forward.pf) if forward.kind == "hostdev" and forward.pf else ()
        found.append(FoundNetwork(name, inactive, active, entry.autostart, entry.persistent, tuple(plugs), backups.read(name), functions))
    return found


def all_xml(client: Client, entries: Sequence[NetworkEntry]) -> Dict[str, str]:
    """The configurations of all networks, by name."""
    return {entry.name: client.network_xml(entry.name, inactive=entry.persistent) for entry in entries}


def _plugs(guest: DomainDocument, network: str, document: NetworkDocument) -> List[Plug]:
    found, bridge, pool = [], document.bridge, pool_of(document)
    for interface in guest.find_all("devices/interface"):
        source = child(interface, "source")
        on_bridge = attribute(interface, "type") in ("network", "bridge")
        function = child(source, "address")
        # That of a guest with a virtual function does not name the network that it is from; an active network names its functions.
        from_pool = function is not None and pci_of(function) in pool
        if attribute(source, "network") == network or (bridge and attribute(source, "bridge") == bridge) or from_pool:
            device = attribute(child(interface, "target"), "dev") or ""
            found.append(Plug(guest.name, device, on_bridge and bool(device)))
    return found


def functions_of(device: str, directory: str = "/sys/class/net") -> Tuple[str, ...]:
    """The PCI addresses of the virtual functions that a network device of the host has."""
    links = glob.glob(os.path.join(directory, glob.escape(device), "device", "virtfn*"))
    return tuple(sorted(os.path.basename(os.path.realpath(link)) for link in links))


def read_host(root: str = "/") -> HostNetworks:
    """The network devices and the routes of this host."""
    devices = host_devices(os.path.join(root, "sys/class/net"))
    bridges = [name for name, is_bridge in devices.items() if is_bridge]
    return HostNetworks(sorted(devices), sorted(bridges), host_routes(read_text(os.path.join(root, "proc/net/route")) or ""))


def host_devices(directory: str) -> Mapping[str, bool]:
    """The network devices, with whether each is a bridge."""
    try:
        return {name: os.path.isdir(os.path.join(directory, name, "bridge")) for name in os.listdir(directory)}
    except OSError:
        return {}


def host_routes(text: str) -> List[Route]:
    """The routes of /proc/net/route to subnets; it has addresses as hexadecimal numbers in network order. The default route says nothing here."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        address, mask = (ipaddress.IPv4Address(struct.pack("=L", int(fields[place], 16))) for place in (1, 7))
        if int(mask):
            found.append(Route(ipaddress.IPv4Network("{0}/{1}".format(address, mask), strict=False), fields[0]))
    return found
