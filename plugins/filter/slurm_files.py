# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: slurm_files
short_description: Make the configuration files of a Slurm cluster
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Makes C(slurm.conf), C(gres.conf), C(cgroup.conf) and C(slurmdbd.conf) of a whole cluster from descriptions of its nodes, for the version of Slurm that
    reads them. The lines are those of P(dgxops.fleet.slurm_gres#filter), with partitions, accounting, prolog and epilog around them.
options:
  _input:
    description: The nodes by name in Slurm, each as RV(dgxops.fleet.slurm_node_info#module:node).
    type: dict
    required: true
  wanted:
    description:
      - C(version) of Slurm, C(cluster) (its name), C(controller) and C(database) (their hosts; no database means no accounting).
      - The variables of the role P(dgxops.fleet.slurm_gpu#role) without their prefix, C(mode), C(cgroup), C(partitions), C(hooks), C(health_interval),
        C(slurm_conf) and C(cgroup_conf). What is left out has the role's default, but for C(partitions), of which there are then none.
    type: dict
    required: true
  groups:
    description: The inventory's groups, from which partitions take their nodes.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: See what the files of a cluster would say
  ansible.builtin.debug:
    msg: "{{ {'dgx01': slurm.node} | dgxops.fleet.slurm_files({'version': '22.05', 'cluster': 'dgx', 'controller': 'slurm01'}) }}"
"""

RETURN = r"""
_value:
  description: The texts by name of the file, none for a file that is not to be there, and C(warnings), a list of what should be known.
  type: dict
"""

from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster import slurm_files as texts
from ..module_utils.host.errors import FleetError


def slurm_files(hosts: Any, wanted: Mapping[str, Any], groups: Optional[Mapping[str, Sequence[str]]] = None) -> Dict[str, Any]:
    """The files as a dictionary; see :func:`texts.files`."""
    try:
        return texts.files(hosts, wanted, groups or {})
    except FleetError as error:
        raise AnsibleFilterError("slurm_files: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"slurm_files": slurm_files}
