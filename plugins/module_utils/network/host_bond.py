# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's own adapters as one, with a VLAN on top if there is one: section 8.1.3 of the Best Practices for DGX, as netplan says it."""
from typing import Any, Dict, List, Mapping

from ..host.errors import FleetError
from .guest_network import addressing, bond_parameters, vlan_id, vlan_name
from .netplan_rules import MODES

#: What the document and /etc/network/interfaces call the modes (Documentation/networking/bonding.rst).
NUMBERS = {str(position): mode for position, mode in enumerate(MODES)}


def bond_network(given: Mapping[str, Any]) -> Dict[str, Any]:
    """What netplan_config takes. Members' MTU, DHCP and the watching of links are filled in there."""
    nics: List[str] = [str(nic) for nic in given.get("nics") or ()]
    if not nics:
        raise FleetError("nics is empty. Name the adapters that are to be one; on a DGX-1 em1 and em2, or enp1s0f0 and enp1s0f1.")
    said = str(given.get("mode") or "802.3ad")
    mode = NUMBERS.get(said, said)
    if mode not in MODES:
        raise FleetError("mode is {0!r}. One of {1} is expected, or its number from 0 to {2}.".format(said, ", ".join(MODES), len(MODES) - 1))
    name = str(given.get("bond") or "bond0")
    bond: Dict[str, Any] = {"interfaces": nics, "parameters": bond_parameters(given.get("parameters"), mode)}
    mtu, identity = given.get("mtu"), vlan_id(given.get("vlan"))
    if mtu is not None:
        bond["mtu"] = mtu
    if identity is None:
        return {"bonds": {name: dict(bond, **addressing(given))}}
    tagged = dict(addressing(given), id=identity, link=name)
    if mtu is not None:
        tagged["mtu"] = mtu
    return {"bonds": {name: bond}, "vlans": {vlan_name(name, identity): tagged}}
