# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: head_node_advice
short_description: Tell what a head node should do for a cluster of a given size
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - The advice of chapter 10 of the Best Practices for DGX, and of section 8.1.1 on subnet managers.
  - Up to 4 systems, which is what the document comes nearest to calling small, the head node is the login node and the NFS server too. From 10 systems or 21
    users on, machines for logins are advised.
options:
  _input:
    description:
      - The cluster. C(nodes) and C(users) are how many there are; C(login_nodes) is how many other machines people log in to; C(storage) tells whether there is
        a storage system, C(infiniband) whether there is InfiniBand, and C(hardware_manager) whether one of its switches can manage the subnet.
    type: dict
    required: true
  chosen:
    description: Services that were decided on otherwise, V(true) or V(false) by name.
    type: dict
"""

EXAMPLES = r"""
- name: What should the head node of four systems do?
  ansible.builtin.debug:
    msg: "{{ {'nodes': 4, 'users': 10, 'infiniband': true} | dgxops.fleet.head_node_advice }}"
"""

RETURN = r"""
_value:
  description:
    - C(roles) are the roles of the collection that do what belongs here, by service.
    - C(size) is V(small), V(medium) or V(large).
    - C(services) tells of C(scheduler), C(monitoring), C(login), C(nfs) and C(subnet_manager) whether they belong C(here), and C(why).
    - C(remarks) is what else the document says of such a cluster.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster import head_node, site
from ..module_utils.host.errors import FleetError


def head_node_advice(cluster: Any, chosen: Any = None) -> Dict[str, Any]:
    """The advice as a dictionary; see :func:`head_node.advise`."""
    try:
        advice = head_node.advise(cluster, chosen).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("head_node_advice: {0}".format(error.message)) from error
    there = {room.role for room in site.ROOMS}
    roles = {service: role for service, role in site.HEAD_NODE.items() if role in there and advice["services"][service]["here"]}
    return dict(advice, roles=roles)


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"head_node_advice": head_node_advice}
