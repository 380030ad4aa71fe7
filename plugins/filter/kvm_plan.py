# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_plan
short_description: Plan vCPU pins, NUMA cells, emulator pins and huge pages for all guests of a host
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Places every guest on the NUMA nodes of its GPUs, gives each vCPU a CPU of its own, and says what is left, or refuses a guest with the
    rule that failed and what would fit.
  - Runs on the controller and needs no host, so a plan can be made on paper from a recorded topology.
  - The same input gives the same plan, whatever the order of the guests.
options:
  _input:
    description: The host's topology as M(dgxops.fleet.dgx_facts) returns it, with C(cpus), C(nodes) and C(devices).
    type: dict
    required: true
  guests:
    description:
      - The guests to place. Each has C(name), C(vcpus), C(memory_kib) (or C(memory), such as V(96G)) and C(gpus), which is a list of GPU
        indices or a number of GPUs.
      - Each may set C(pinning) (V(core), V(thread) or V(none)), C(emulator) (V(same_node), V(none) or a CPU list), C(iothreads),
        C(hugepages) (V(none), V(2M) or V(1G)), C(numa) (V(auto) or V(none)), C(max_nodes) and C(beyond_gpu_nodes).
      - A guest that is pinned already may bring its C(vcpupin) and C(cells); see C(pinned) and C(move) of O(policy).
      - Left out, C(pinning) is V(core) where the vCPUs fill whole cores and V(thread) elsewhere, C(emulator) V(same_node), C(numa) V(auto),
        C(iothreads) V(0) and C(hugepages) V(none).
    type: list
    elements: dict
    required: true
  policy:
    description:
      - Defaults for what guests leave out, under the same keys, and what holds for the host.
      - C(reserved_cores) keeps the lowest cores of each node for the host, as a number or as a number per node.
      - C(reserved_memory_kib) keeps memory of each node for the host.
      - C(pinned) lists guests that have pins already, with C(name), C(vcpupin), C(gpus) and C(cells) as this filter or
        M(dgxops.fleet.libvirt_domain_info) returns them. Guests that are not planned keep their CPUs.
      - C(move) says whether a planned guest's pins may change. V(never) refuses where they break a rule, V(if_needed) moves only those,
        V(always) plans anew.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show where two guests of a DGX-2 would go
  ansible.builtin.debug:
    msg: "{{ dgx.topology | dgxops.fleet.kvm_plan(guests) }}"
  vars:
    guests:
      - {name: a, gpus: 8, vcpus: 46, memory: 360G}
      - {name: b, gpus: [8, 9], vcpus: 10, memory: 96G}
"""

RETURN = r"""
_value:
  description:
    - C(guests) are the placements, by name, each with C(nodes), C(vcpupin), C(topology), C(cells), C(emulatorpin), C(iothreadpin), C(pages) and
      what was asked.
    - C(host) has C(free_cpus), C(reserved_cpus) and C(pages), the huge pages the host must have by size in KiB and node.
    - C(refused) has C(guest), C(rule), C(message), C(asked), C(free) and C(fits) for each guest that found no place.
    - C(warnings) are sentences.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.host.topology import Topology
from ..module_utils.kvm import placement


def kvm_plan(topology: Any, guests: Any, policy: Any = None) -> Dict[str, Any]:
    """A plan as a dictionary; see :func:`placement.plan`."""
    try:
        return placement.plan(Topology.from_dict(topology), guests, policy).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("kvm_plan: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"kvm_plan": kvm_plan}
