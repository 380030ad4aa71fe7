#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Describes a host as Slurm's configuration needs it."""

DOCUMENTATION = r"""
module: slurm_node_info
short_description: Describe a host and its GPUs as Slurm's configuration needs it
version_added: 0.1.0
description:
  - Reads CPUs, memory and GPUs of a host and makes of them the node's line in C(slurm.conf) and its lines in C(gres.conf), in which each GPU has the
    number of its device file and the logical cores of the sockets next to it (section 6.1.2 of the Best Practices for DGX).
  - Where slurmd is installed, the module compares with what C(slurmd -C) counts, and fails if Slurm would drain the node for the difference.
  - RV(node) is small and depends on nothing but the hardware. Keep it, and the filter P(dgxops.fleet.slurm_gres#filter) makes the same configuration from it
    while the node is down.
  - Changes nothing.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Does the same as without.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  name:
    description: The name of the node in Slurm. Without it, the host's own short name is used, as slurmd does.
    type: str
  numa_node_as_socket:
    description:
      - Count each NUMA node as a socket, so that GPUs belong to the cores of their NUMA node, as on a DGX A100 with four nodes per socket.
      - Needs Slurm 22.05 or newer, and the same choice for all nodes of the cluster.
    type: bool
    default: false
  gpu_type:
    description: The type of the GPUs. Without it, it is taken from their name, such as V(v100) for C(Tesla V100-SXM3-32GB). V("") means no type.
    type: str
  reserved_memory_mib:
    description:
      - The MiB of memory that Slurm is not told of. What is left is rounded down to whole GiB.
      - Slurm drains a node that has less memory than configured, and a new kernel may keep a little more for itself.
    type: int
    default: 1024
  root:
    description:
      - The directory that C(sys), C(proc) and C(dev) are read below.
      - Another than V(/) is a recorded or simulated host, whose slurmd is not asked.
    type: path
    default: /
seealso:
  - plugin: dgxops.fleet.slurm_gres
    plugin_type: filter
  - module: dgxops.fleet.dgx_facts
"""

EXAMPLES = r"""
- name: Describe the node
  dgxops.fleet.slurm_node_info:
    name: "{{ inventory_hostname_short }}"
  register: slurm

- name: Show its lines
  ansible.builtin.debug:
    msg: "{{ [slurm.node_line] + slurm.gres_lines }}"
"""

RETURN = r"""
node:
  description: The node, as the filter P(dgxops.fleet.slurm_gres#filter) takes it.
  returned: success
  type: dict
  contains:
    cpus:
      description: The number of hardware threads that are online.
      returned: success
      type: int
      sample: 96
    sockets:
      description: The number of sockets, or of NUMA nodes that count as such.
      returned: success
      type: int
      sample: 2
    cores_per_socket:
      description: The number of cores of each.
      returned: success
      type: int
      sample: 24
    threads_per_core:
      description: The number of threads of each core.
      returned: success
      type: int
      sample: 2
    real_memory_mib:
      description: The memory that Slurm may share out, in MiB.
      returned: success
      type: int
      sample: 1545216
    gpus:
      description: The GPUs by device file. C(cores) are logical indexes, as in C(gres.conf).
      returned: success
      type: list
      elements: dict
      sample: [{minor: 0, type: v100, cores: 0-23}]
    numa_node_as_socket:
      description: The same as O(numa_node_as_socket).
      returned: success
      type: bool
node_line:
  description: The node's line in C(slurm.conf).
  returned: success
  type: str
  sample: >-
    NodeName=dgx01 CPUs=96 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=2 RealMemory=1545216 Gres=gpu:v100:16 State=UNKNOWN
gres_lines:
  description: The node's lines in C(gres.conf).
  returned: success
  type: list
  elements: str
  sample:
    - NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[0-7] Cores=0-23
    - NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[8-15] Cores=24-47
gpu_minors:
  description: The number of the device file of each GPU that NVIDIA's driver has, by PCI address.
  returned: success
  type: dict
  sample: {"0000:34:00.0": 0}
cgroup:
  description: The version of control groups on the host, 1 or 2.
  returned: success
  type: int
  sample: 2
memory_cgroup:
  description: Whether the kernel can limit memory by control group.
  returned: success
  type: bool
slurmd:
  description: What the host's slurmd says of its C(version) and of the hardware, with the keys of RV(node). None if there is no slurmd.
  returned: success
  type: dict
  sample: {version: 22.05.8, cpus: 96, sockets: 2, cores_per_socket: 24, threads_per_core: 2, real_memory_mib: 1546569}
"""

import socket

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster import slurm_host
from ..module_utils.cluster.slurm_lines import gres_lines, node_lines
from ..module_utils.cluster.slurm_node import RESERVED_MEMORY_MIB, Choices, doubts, node_of
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.host.topology import Topology

ARGUMENTS = {
    "name": {"type": "str"},
    "numa_node_as_socket": {"type": "bool", "default": False},
    "gpu_type": {"type": "str"},
    "reserved_memory_mib": {"type": "int", "default": RESERVED_MEMORY_MIB},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    name = given["name"] or socket.gethostname().partition(".")[0]
    with errors_reported_by(module):
        sysfs = Sysfs(given["root"])
        topology, minors = Topology.from_sysfs(given["root"]), slurm_host.read_minors(sysfs)
        choices = Choices(given["numa_node_as_socket"], given["gpu_type"], given["reserved_memory_mib"])
        node = node_of(topology, minors, choices, slurm_host.read_memory(sysfs))
        slurmd = slurm_host.ask_slurmd(Commands()) if given["root"] == "/" else None
        problem = slurm_host.disagreement(node, slurmd.hardware) if slurmd else ""
        if slurmd and problem:
            raise FleetError(problem, node=node.to_dict(), slurmd=slurmd.to_dict())
        for doubt in doubts(topology, minors):
            module.warn(doubt)
        missing = slurm_host.missing_files(sysfs, list(node.gpus))
        if missing:
            module.warn("slurmd does not start without the device files {0}. Start nvidia-persistenced, or run nvidia-smi once.".format(", ".join(missing)))
        parts = slurm_host.divided(sysfs, list(node.gpus))
        if parts:
            module.warn("Slurm gives out GPUs as a whole, but these are divided (MIG), and a program uses one of the parts: {0}. End that with "
                        "nvidia-smi -mig 0.".format(", ".join(parts)))
        module.exit_json(
            changed=False,
            node=node.to_dict(),
            node_line=node_lines({name: node})[0],
            gres_lines=gres_lines({name: node}),
            gpu_minors=minors,
            cgroup=slurm_host.cgroup_version(sysfs),
            memory_cgroup=slurm_host.memory_cgroup(sysfs),
            slurmd=slurmd.to_dict() if slurmd else None,
        )


if __name__ == "__main__":
    main()
