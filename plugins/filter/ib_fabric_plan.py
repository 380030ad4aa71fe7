# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: ib_fabric_plan
short_description: Size an InfiniBand fabric, choose the HCAs to cable, and list the cables
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - One switch where it holds all nodes, else leaf switches below core switches, with the number of each and every cable (section 8.1.1 of the
    Best Practices for DGX).
  - A fabric that would need a third tier is refused with the largest that two tiers of full leaves hold.
options:
  _input:
    description: The nodes, as a list of names, or as their number.
    type: raw
    required: true
  links:
    description: Cables per node.
    type: int
    default: 4
  leaf_ports:
    description: Ports of a switch, or of a leaf switch.
    type: int
    default: 36
  core_ports:
    description: Ports of a core switch.
    type: int
    default: 648
  cores:
    description: Number of core switches, over which every leaf spreads its uplinks.
    type: int
    default: 1
  oversubscription:
    description: Bandwidth into a leaf over bandwidth out of it towards the core. V(1) is full bisection bandwidth, V(2) is 2:1.
    type: float
    default: 1
  hcas:
    description: The HCAs of a node by name, or their number. With fewer O(links) than HCAs the node itself is over-subscribed.
    type: raw
  topology:
    description:
      - The topology of a node as M(dgxops.fleet.dgx_facts) returns it. The HCAs to cable are then chosen so that GPU traffic stays off the link
        between the CPUs, and O(hcas) is not needed.
    type: dict
"""

EXAMPLES = r"""
- name: How many DGX-1 does a fabric of 36-port leaves and one 648-port core hold
  ansible.builtin.debug:
    msg: "{{ (40 | dgxops.fleet.ib_fabric_plan(links=4)).most_nodes }}"  # 160

- name: Which HCAs to cable with two links, and what a GPU then uses
  ansible.builtin.debug:
    var: plan.hcas
  vars:
    plan: "{{ groups['dgx'] | dgxops.fleet.ib_fabric_plan(links=2, topology=dgx.topology) }}"
"""

RETURN = r"""
_value:
  description:
    - C(tiers), C(leaves), C(cores), C(nodes_per_leaf), C(uplinks_per_leaf), C(most_nodes) that such a fabric holds, C(node_oversubscription),
      C(leaf_oversubscription), and C(cables) with C(source), C(source_port), C(target) and C(target_port).
    - C(hcas) if O(topology) is given, with C(hcas) to cable, C(equivalent) choices, and C(affinity) from each GPU to its HCA, C(across) the PCIe
      V(switch), the V(node) or the link between the CPUs (V(cpu)), with the C(node) and C(cpus) next to the GPU, which are those that Slurm gets.
    - C(warnings) are sentences.
  type: dict
"""

from typing import Any, Callable, Dict, List, Optional

from ansible.errors import AnsibleFilterError

from ..module_utils.host.cpuset import MOST_HOSTS
from ..module_utils.host.errors import FleetError
from ..module_utils.host.topology import Topology
from ..module_utils.network import fabric


def ib_fabric_plan(
    nodes: Any,
    links: Any = 4,
    leaf_ports: Any = 36,
    core_ports: Any = 648,
    cores: Any = 1,
    oversubscription: Any = 1,
    hcas: Any = None,
    topology: Any = None,
) -> Dict[str, Any]:
    """A fabric as a dictionary; see :func:`fabric.plan`."""
    try:
        links, leaf_ports, core_ports, cores = (_number(given, int) for given in (links, leaf_ports, core_ports, cores))
        choice = fabric.choose_hcas(Topology.from_dict(topology), links) if topology is not None else None
        if choice is not None:
            names: Optional[List[str]] = _chosen_first(topology, choice)
        else:
            names = None if hcas is None else _names(hcas, "hcas", "ib{0}", 0)
        found = fabric.plan(_names(nodes, "nodes", "node{0}", 1), links, leaf_ports, core_ports,
                            _number(oversubscription, float), cores, names).to_dict()
        if choice is not None:
            found["hcas"] = choice.to_dict()
            found["warnings"] += choice.warnings
        return found
    except FleetError as error:
        raise AnsibleFilterError("ib_fabric_plan: {0}".format(error.message)) from error


def _number(given: Any, kind: Callable[[str], Any]) -> Any:
    """A number that a template made a text of, as ansible-core before 2.19 does; anything else is left for the plan to judge."""
    try:
        return kind(given) if isinstance(given, str) else given
    except ValueError:
        return given


def _names(given: Any, place: str, pattern: str, first: int) -> List[str]:
    given = _number(given, int)
    if isinstance(given, int) and given > MOST_HOSTS:
        raise FleetError("{0} is {1}, but at most {2} can be planned.".format(place, given, MOST_HOSTS))
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return [pattern.format(at + first) for at in range(given)]
    if isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given):
        return list(given)
    raise FleetError("{0} is {1!r}, but a number or a list of names is expected.".format(place, given))


def _chosen_first(topology: Any, choice: fabric.HcaChoice) -> List[str]:
    """All HCAs of the node, those to cable first, so that the over-subscription of the node is known."""
    every = [device.name or device.pci for device in Topology.from_dict(topology).of_kind("hca")]
    return list(choice.names) + [name for name in every if name not in choice.names]


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"ib_fabric_plan": ib_fabric_plan}
