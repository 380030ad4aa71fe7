#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is and what is in it, as facts."""
DOCUMENTATION = r"""
module: dgx_facts
short_description: Tell what a DGX or any other Linux host is made of
version_added: 0.1.0
description:
  - Reads the model, the CPUs, the NUMA nodes with memory and huge pages, the level 3 caches, the drives, and the GPUs, NVMe drives, network
    cards and InfiniBand or RoCE adapters with their NUMA node and PCIe switch, and sets them as facts.
  - Reads only C(/sys), C(/proc) and C(/dev/disk/by-id) and starts no program, so it needs nothing but Python on the host, and takes well under a second
    on the largest hosts.
  - Works on any Linux host. What a host does not have is empty in the facts.
options:
  platform:
    description:
      - The model of the host. V(auto) tells it by the product name that the firmware gives, and takes a host that is no known DGX for V(generic).
      - Name it where the firmware says nothing or the wrong thing.
    type: str
    default: auto
    choices: [auto, dgx-1, dgx-2, dgx-2h, dgx-station, dgx-station-a100, dgx-a100, dgx-h100, dgx-h200, dgx-b200, dgx-b300, dgx-gb200, dgx-spark, generic]
  root:
    description:
      - The directory that C(sys), C(proc) and C(dev) are read below.
      - Another than V(/) is a recorded or simulated host, to plan and test for machines that are not there.
    type: path
    default: /
attributes:
  check_mode:
    description: Can run in check mode and return the same as without.
    support: full
  diff_mode:
    description: Shows what has changed or would change.
    support: none
    details: Changes nothing.
  facts:
    description: Sets facts of the host.
    support: full
author:
  - Contributors to dgxops.fleet (@dgxops)
"""

EXAMPLES = r"""
- name: Read what the host is made of
  dgxops.fleet.dgx_facts:

- name: Show the GPUs of each NUMA node
  ansible.builtin.debug:
    msg: "{{ dgx.topology.devices | selectattr('kind', 'eq', 'gpu') | groupby('node') | map('last') }}"

- name: Read a simulated DGX-2 on the controller
  dgxops.fleet.dgx_facts:
    root: /tmp/simulated-dgx-2
  delegate_to: localhost
  register: simulated
"""

RETURN = r"""
ansible_facts:
  description: The facts, below the key C(dgx).
  returned: success
  type: dict
  contains:
    dgx:
      description: The host.
      returned: success
      type: dict
      contains:
        platform:
          description: The model, one of the choices of O(platform) except V(auto).
          returned: success
          type: str
          sample: dgx-2
        model:
          description: What NVIDIA puts into this model and gives to its guests by default, to compare with what is there.
          returned: success
          type: dict
          contains:
            key:
              description: The same as C(platform).
              returned: success
              type: str
            name:
              description: The name of the model, empty for a host that is no known DGX.
              returned: success
              type: str
              sample: DGX-2
            gpus:
              description: The number of GPUs.
              returned: success
              type: int
              sample: 16
            compute_hcas:
              description: The number of InfiniBand ports for the fabric between nodes.
              returned: success
              type: int
              sample: 8
            os_drives:
              description: The number of drives for the operating system.
              returned: success
              type: int
              sample: 2
            data_drives:
              description: The numbers of data drives the model is sold with.
              returned: success
              type: list
              elements: int
              sample: [8, 16]
            raid:
              description: What makes an array of the data drives, C(mdadm) or C(storcli); empty if nothing does.
              returned: success
              type: str
              sample: mdadm
            guest_sizes:
              description: The default guests by number of GPUs.
              returned: success
              type: list
              elements: dict
              sample: [{gpus: 2, vcpus: 10, memory_kib: 189614080}]
        vendor:
          description: The vendor by the firmware's word.
          returned: success
          type: str
          sample: NVIDIA
        product:
          description: The product name by the firmware's word.
          returned: success
          type: str
          sample: NVIDIA DGX-2
        serial:
          description: The serial number of the machine; empty without root's rights.
          returned: success
          type: str
        topology:
          description: The same as RV(topology).
          returned: success
          type: dict
        affinity:
          description: >-
            Of each GPU, by index, its NUMA C(node), the C(cpus) there, the C(hca) by index that its traffic should take (none if the host has none), and what
            lies between, C(across) the PCIe V(switch), the V(node), the link between the CPUs (V(cpu)), or V(unknown) where the firmware names no node.
          returned: success
          type: list
          elements: dict
          sample: [{gpu: 0, node: 0, cpus: "0-19,40-59", hca: 0, across: switch}]
        drives:
          description: The drives by kernel name. What they carry is not told.
          returned: success
          type: list
          elements: dict
          contains:
            device:
              description: The kernel's name, which may be another after a reboot.
              returned: success
              type: str
              sample: nvme3n1
            id:
              description: The lasting name in C(/dev/disk/by-id), made of model and serial number. Empty if there is none.
              returned: success
              type: str
              sample: nvme-SAMSUNG_MZQLB3T8HALS-000AZ_S3HCNX0K401234
            model:
              description: The model.
              returned: success
              type: str
            serial:
              description: The serial number of the drive.
              returned: success
              type: str
            size_bytes:
              description: The size in bytes.
              returned: success
              type: int
              sample: 3840755982336
            rotational:
              description: Whether it has platters that turn.
              returned: success
              type: bool
            pci:
              description: The PCI address of its controller, empty if that is not on PCI.
              returned: success
              type: str
              sample: "0000:2e:00.0"
            node:
              description: The NUMA node of its controller, -1 if not known.
              returned: success
              type: int
        kernel_release:
          description: The release of the running kernel.
          returned: success
          type: str
          sample: 5.15.0-1042-nvidia
        kernel_cmdline:
          description: The command line of the running kernel.
          returned: success
          type: str
        numa_balancing:
          description: The setting of automatic NUMA balancing, none if the kernel has no such thing.
          returned: success
          type: int
          sample: 1
        transparent_hugepages:
          description: The setting of transparent huge pages, empty if the kernel has none.
          returned: success
          type: str
          sample: madvise
        hugepage_sizes_kib:
          description: The sizes of huge pages that the host can have, in KiB.
          returned: success
          type: list
          elements: int
          sample: [2048, 1048576]
        hugetlbfs:
          description: Where huge pages are mounted, by page size in KiB; none if the host does not tell. libvirt can only use sizes that are.
          returned: success
          type: dict
          sample: {"2048": "/dev/hugepages"}
        kept:
          description: What the collection keeps over a reboot of this host.
          returned: success
          type: dict
          contains:
            sysctl:
              description: The kernel settings of M(dgxops.fleet.sysctl_dropin), by its O(dgxops.fleet.sysctl_dropin#module:name).
              returned: success
              type: dict
              sample: {kvm-tuning: {kernel.numa_balancing: "1"}}
            hugepages:
              description: The huge pages of M(dgxops.fleet.hugepages), by size in KiB and node.
              returned: success
              type: dict
              sample: {"2048": {"0": 370340}}
            kernel_cmdline:
              description: The names under which M(dgxops.fleet.kernel_cmdline) has set parameters, or has removed some that are still in force.
              returned: success
              type: list
              elements: str
              sample: [dgxops-hugepages]
        iommu:
          description: Whether an IOMMU is in use, which handing devices to guests needs.
          returned: success
          type: bool
topology:
  description: The host as the filter P(dgxops.fleet.kvm_plan#filter) takes it.
  returned: success
  type: dict
  contains:
    cpus:
      description: >-
        The hardware threads. C(siblings) are the online threads of the same core; C(l3) numbers the level 3 cache. Of an offline CPU
        the kernel tells nothing, so its C(socket) and C(core) are -1.
      returned: success
      type: list
      elements: dict
      sample: [{id: 0, socket: 0, die: 0, core: 0, node: 0, siblings: [0, 48], l3: 0, online: true}]
    nodes:
      description: The NUMA nodes, with memory and huge pages by page size in KiB. C(distances) are in the order of this list.
      returned: success
      type: list
      elements: dict
      sample: [{id: 0, memory_kib: 791000000, distances: [10, 21], pages: {"2048": {total: 0, free: 0}}}]
    devices:
      description: >-
        The devices, each of C(kind) C(gpu), C(nvme), C(nic) or C(hca), numbered within their kind in PCI order. C(switch) is the nearest PCIe bridge
        that has another of them below it. Virtual functions are left out.
      returned: success
      type: list
      elements: dict
      sample: [{pci: "0000:34:00.0", kind: gpu, index: 0, node: 0, switch: "0000:32:00.0", name: Tesla V100-SXM3-32GB}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host import dgx
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.facts import AUTO, gather

ARGUMENTS = {
    "platform": {"type": "str", "default": AUTO, "choices": [AUTO] + dgx.keys()},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        found = gather(module.params["root"], module.params["platform"]).to_dict()
        module.exit_json(changed=False, ansible_facts={"dgx": found}, topology=found["topology"])


if __name__ == "__main__":
    main()
