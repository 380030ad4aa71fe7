# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: ssh_tunnels
short_description: Plan SSH tunnels on paper
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Tells which ports each user has for his services on the nodes, and what the configurations of OpenSSH and PuTTY say.
  - M(dgxops.fleet.ssh_tunnels) writes the same to files, and remembers who has which port.
options:
  _input:
    description: The users, as in M(dgxops.fleet.ssh_tunnels).
    type: list
    elements: raw
    required: true
  nodes:
    description: Where the tunnels lead, as in M(dgxops.fleet.ssh_tunnels).
    type: list
    elements: raw
    required: true
  services:
    description: What is to be reached on the nodes, as in M(dgxops.fleet.ssh_tunnels). Without it, the ports 5000, 5901 and 6901.
    type: list
    elements: dict
  jump:
    description: The head node through which the nodes are reached, as in M(dgxops.fleet.ssh_tunnels).
    type: dict
  kept:
    description: The slots that were given before, by user, as RV(_value) returns them. These do not move.
    type: dict
  prefix:
    description: What the name of a tunnel begins with.
    type: str
    default: tunnel-
  reserved_ports:
    description: Ports on the nodes that no user gets.
    type: list
    elements: int
seealso:
  - module: dgxops.fleet.ssh_tunnels
"""

EXAMPLES = r"""
- name: Who has which port
  ansible.builtin.debug:
    msg: "{{ (['alice', 'bob'] | dgxops.fleet.ssh_tunnels(['dgx01', 'dgx02'])).ports }}"
"""

RETURN = r"""
_value:
  description:
    - C(ports), the ports of each user on the nodes by service; C(slots), the number of each user, for O(kept).
    - C(ssh_config) and C(putty), the text for each user.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster import ssh_tunnel
from ..module_utils.host.errors import FleetError


def ssh_tunnels(
    users: Any, nodes: Any, services: Any = None, jump: Any = None, kept: Any = None, prefix: str = "tunnel-", reserved_ports: Any = None,
) -> Dict[str, Any]:
    """Ports, slots and texts; see :func:`ssh_tunnel.plan`."""
    try:
        tunnels = ssh_tunnel.plan(users, nodes, ssh_tunnel.SERVICES if services is None else services, jump, kept, prefix, reserved_ports or ())
    except FleetError as error:
        raise AnsibleFilterError("ssh_tunnels: {0}".format(error.message)) from error
    return {
        "slots": dict(tunnels.slots),
        "ports": {user.name: tunnels.ports(user) for user in tunnels.users},
        "ssh_config": {user.name: ssh_tunnel.ssh_config(tunnels, user) for user in tunnels.users},
        "putty": {user.name: ssh_tunnel.putty_sessions(tunnels, user) for user in tunnels.users},
    }


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"ssh_tunnels": ssh_tunnels}
