# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: bond_network
short_description: A bond of a host's adapters, with a VLAN on top, as netplan says it
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Section 8.1.3 of the Best Practices for DGX describes it for C(/etc/network/interfaces). This makes the same for M(dgxops.fleet.netplan_config).
options:
  _input:
    description: The settings, those of the role P(dgxops.fleet.nic_bonding#role) without its name, such as C(nics), C(mode) and C(vlan).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The document's example
  ansible.builtin.debug:
    msg: "{{ {'nics': ['em1', 'em2'], 'mode': 4, 'vlan': 430, 'addresses': ['172.16.1.11/24']} | dgxops.fleet.bond_network }}"
"""

RETURN = r"""
_value:
  description: C(bonds), and C(vlans) if there is a VLAN, for O(dgxops.fleet.netplan_config#module:network).
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.network import host_bond


def bond_network(settings: Any) -> Dict[str, Any]:
    """A network as a dictionary; see :func:`host_bond.bond_network`."""
    try:
        if not isinstance(settings, dict):
            raise FleetError("The settings are {0!r}. Names with values are expected, such as {{'nics': ['em1', 'em2']}}.".format(settings))
        return host_bond.bond_network(settings)
    except FleetError as error:
        raise AnsibleFilterError("bond_network: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"bond_network": bond_network}
