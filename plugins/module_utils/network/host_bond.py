# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's own adapters as one, with a VLAN on top if there is one: section 8.1.3 of the Best Practices for DGX, as netplan says it."""
from typing import Any, Dict, List, Mapping

from ..host.errors import FleetError
from .guest_network import addressing, vlan_name
from .netplan import number
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
    bond: Dict[str, Any] = {"interfaces": nics, "parameters": dict(given.get("parameters") or {}, mode=mode)}
    mtu, vlan = given.get("mtu"), given.get("vlan")
    if mtu is not None:
        bond["mtu"] = mtu
    if vlan is None:
        return {"bonds": {name: dict(bond, **addressing(given))}}
    identity = number(vlan)
    if identity is None or not 1 <= identity <= 4094:
        raise FleetError("vlan is {0!r}. A number from 1 to 4094 is expected.".format(vlan))
    tagged = dict(addressing(given), id=identity, link=name)
    if mtu is not None:
        tagged["mtu"] = mtu
    return {"bonds": {name: bond}, "vlans": {vlan_name(name, identity): tagged}}
