# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: site_plan
short_description: Tell which role of the collection is for which host of an inventory
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - What the playbooks C(site), C(bootstrap) and C(revert) go by. A host has a role if it is in the group of the role's name, or in one of ours or of DeepOps
    that means the same (C(slurm-master), C(nfs-server), …), or if a variable without which the role has nothing to do is defined for it.
  - A host's list C(fleet_skip) names roles that it is not to have.
options:
  _input:
    description: The groups of the inventory, C(groups).
    type: dict
    required: true
  hostvars:
    description: What the inventory says of its hosts, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What is each host for?
  ansible.builtin.debug:
    msg: "{{ (groups | dgxops.fleet.site_plan(hostvars)).hosts }}"
"""

RETURN = r"""
_value:
  description:
    - C(hosts), the roles of each host, in their order; C(roles), the hosts of each role.
    - C(groups), the groups into which the playbooks put each host; C(help), what to do if no host has a role.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster import site
from ..module_utils.host.errors import FleetError


def site_plan(groups: Any, hostvars: Any) -> Dict[str, Any]:
    """The plan as a dictionary; see :func:`site.plan`."""
    try:
        return site.plan(groups, hostvars).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("site_plan: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"site_plan": site_plan}
