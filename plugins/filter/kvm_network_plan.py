# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_network_plan
short_description: Plan the network of guests, on the host's side and on libvirt's
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - From one mode and its settings it makes what M(dgxops.fleet.netplan_config), M(dgxops.fleet.sriov_vfs) and M(dgxops.fleet.libvirt_network) each have to do,
    in agreement. Chapter 11 of the Best Practices for DGX.
  - Settings that mean nothing in a mode are refused, and guests whose MTU differs.
options:
  _input:
    description:
      - The settings. C(mode) is one of V(nat), V(bridge), V(bridge_bond), V(macvtap), V(sriov) and V(private); the others are those of the role
        P(dgxops.fleet.kvm_netplan#role), without its name.
    type: dict
    required: true
  guests:
    description: The guests, as M(dgxops.fleet.libvirt_domain_info) returns them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: What a bridge over two adapters needs
  ansible.builtin.debug:
    msg: "{{ {'mode': 'bridge_bond', 'nics': ['enp1s0', 'enp2s0'], 'mtu': 9000} | dgxops.fleet.kvm_network_plan }}"
"""

RETURN = r"""
_value:
  description: C(netplan) (empty if the host needs nothing), C(functions) for SR-IOV, and C(libvirt), a network.
  type: dict
"""

from typing import Any, Callable, Dict, Sequence

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.network.guest_network import plan


def kvm_network_plan(settings: Any, guests: Sequence[Any] = ()) -> Dict[str, Any]:
    """A plan as a dictionary; see :func:`guest_network.plan`."""
    try:
        if not isinstance(settings, dict):
            raise FleetError("The settings are {0!r}. Names with values are expected, such as {{'mode': 'nat'}}.".format(settings))
        return plan(settings, guests or ()).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("kvm_network_plan: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"kvm_network_plan": kvm_network_plan}
