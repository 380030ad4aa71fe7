# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: ssh_addresses
short_description: Where the ssh servers of an inventory's hosts are
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Turns names of an inventory's hosts into entries for the O(dgxops.fleet.ssh_tunnels#module:nodes) of M(dgxops.fleet.ssh_tunnels).
  - The address is the host's C(ssh_tunnel_address), or else C(ansible_host), or else its name; the port is its C(ssh_tunnel_port), or else C(ansible_port).
options:
  _input:
    description: Names of hosts. A name that the inventory does not know is its own address.
    type: list
    elements: str
    required: true
  hostvars:
    description: What the inventory says of its hosts, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The nodes of a group
  ansible.builtin.debug:
    msg: "{{ groups['dgx'] | dgxops.fleet.ssh_addresses(hostvars) }}"  # [{name: dgx01, address: 192.0.2.11, port: 22}]
"""

RETURN = r"""
_value:
  description: A dictionary with C(name), C(address) and C(port) for each.
  type: list
  elements: dict
"""

from typing import Any, Callable, Dict, List, Mapping

from ansible.errors import AnsibleFilterError


def ssh_addresses(names: Any, hostvars: Any) -> List[Dict[str, Any]]:
    """Names, addresses and ports."""
    if not isinstance(names, (list, tuple)) or not isinstance(hostvars, Mapping):
        raise AnsibleFilterError("ssh_addresses: a list of names and hostvars are expected, but {0!r} was found.".format(names))
    return [_entry(name, hostvars[name] if name in hostvars else {}) for name in names]


def _entry(name: Any, said: Mapping[str, Any]) -> Dict[str, Any]:
    address = said.get("ssh_tunnel_address") or said.get("ansible_host") or name
    return {"name": name, "address": address, "port": said.get("ssh_tunnel_port") or said.get("ansible_port") or 22}


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"ssh_addresses": ssh_addresses}
