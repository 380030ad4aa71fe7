# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: slurm_gres
short_description: Make the lines of Slurm's configuration that share out nodes and GPUs
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Makes the node lines of C(slurm.conf), all of C(gres.conf), and the settings of C(slurm.conf) and C(cgroup.conf) that sections 6.1.1 and 6.1.2 of the
    Best Practices for DGX are about, for the version of Slurm that reads them.
  - Hosts that are the same share a line. C(Cores) in C(gres.conf) are logical core indexes, as Slurm wants them, and not the kernel's CPU numbers.
options:
  _input:
    description:
      - The hosts by name, each as RV(dgxops.fleet.slurm_node_info#module:node) was when it was last seen.
      - For a machine that is not there yet, a topology as M(dgxops.fleet.dgx_facts) returns it. Its GPUs are taken to be numbered in PCI order.
    type: dict
    required: true
  version:
    description: The version of Slurm, in quotes, such as V("22.05"). Known are 20.11 to 26.05.
    type: str
    required: true
  mode:
    description: V(per_gpu) lets users ask for GPUs. With V(exclusive) a job gets whole nodes, and Slurm is not told of GPUs.
    type: str
    default: per_gpu
    choices: [per_gpu, exclusive]
  cgroup:
    description: The version of control groups on the nodes.
    type: int
    default: 2
    choices: [1, 2]
  numa_node_as_socket:
    description: Count each NUMA node of a topology as a socket. Nodes of M(dgxops.fleet.slurm_node_info) have made this choice already.
    type: bool
    default: false
  gpu_type:
    description: The type of the GPUs of topologies. Without it, it is taken from their name.
    type: str
  reserved_memory_mib:
    description: The MiB of memory of topologies that Slurm is not told of.
    type: int
    default: 1024
  accounting:
    description: Whether there is accounting with a database (slurmdbd). Only then is C(slurm.conf) told to count GPUs in it.
    type: bool
    default: true
  slurm_conf:
    description: More settings of C(slurm.conf), which win over those that the filter makes. What the version does not know is refused.
    type: dict
  cgroup_conf:
    description: The same for C(cgroup.conf).
    type: dict
"""

EXAMPLES = r"""
- name: See what Slurm would be told of the nodes
  ansible.builtin.debug:
    msg: "{{ {'dgx01': slurm.node, 'dgx02': slurm.node} | dgxops.fleet.slurm_gres('22.05') }}"
"""

RETURN = r"""
_value:
  description:
    - Lists of lines, C(nodes) and C(slurm_conf) for C(slurm.conf), C(gres) for C(gres.conf), C(cgroup_conf) for C(cgroup.conf).
    - C(partition_options) is what each C(PartitionName) line needs for the mode, and C(warnings) what should be known.
  type: dict
"""

from typing import Any, Callable, Dict, Optional

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster import slurm, slurm_plan
from ..module_utils.cluster.slurm_node import RESERVED_MEMORY_MIB, Choices
from ..module_utils.host.errors import FleetError


def slurm_gres(
    hosts: Any, version: Any, mode: str = slurm.PER_GPU, cgroup: Any = 2, numa_node_as_socket: bool = False, gpu_type: Optional[str] = None,
    reserved_memory_mib: Any = RESERVED_MEMORY_MIB, slurm_conf: Any = None, cgroup_conf: Any = None, accounting: Any = True,
) -> Dict[str, Any]:
    """The configuration as a dictionary; see :func:`slurm_plan.plan`."""
    try:
        choices = Choices(bool(numa_node_as_socket), gpu_type, _mebibytes(reserved_memory_mib))
        return slurm_plan.plan(hosts, str(version), mode, cgroup, choices, slurm_conf, cgroup_conf, bool(accounting)).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("slurm_gres: {0}".format(error.message)) from error


def _mebibytes(given: Any) -> int:
    try:
        return int(given)
    except (TypeError, ValueError):
        raise FleetError("reserved_memory_mib is {0!r}, but a number of MiB is expected.".format(given)) from None


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"slurm_gres": slurm_gres}
