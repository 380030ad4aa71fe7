# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_picture
short_description: Draw a plan of P(dgxops.fleet.kvm_plan#filter) as text
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Draws the host with its nodes, cores and threads, GPUs and memory, and which guest has which, for a terminal, a log or a mail.
  - A column is a core. Its threads stand below each other, between the CPU numbers of the first and the last of them.
  - Every guest has a letter, so that the picture reads without colours too. A table below it says what each guest gets.
options:
  _input:
    description: The host's topology as M(dgxops.fleet.dgx_facts) returns it, with C(cpus), C(nodes) and C(devices).
    type: dict
    required: true
  plan:
    description: The plan for this host as P(dgxops.fleet.kvm_plan#filter) returns it.
    type: dict
    required: true
  width:
    description: How many characters a line may have, from 60 to 500. A socket of 24 cores takes 80.
    type: int
    default: 100
  colour:
    description: Whether to give each guest a colour by ANSI codes.
    type: bool
    default: false
  unicode:
    description: Whether signs beyond ASCII may be used.
    type: bool
    default: true
seealso:
  - plugin: dgxops.fleet.kvm_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Keep a picture of the plan beside the inventory
  ansible.builtin.copy:
    dest: "plans/{{ inventory_hostname }}.txt"
    content: "{{ topology | dgxops.fleet.kvm_picture(plan) }}\n"
    mode: "0644"
  delegate_to: localhost
  vars:
    topology: "{{ ansible_facts.dgx.topology }}"
    plan: "{{ topology | dgxops.fleet.kvm_plan([{'name': 'a', 'gpus': 8, 'vcpus': 46, 'memory': '360G'}]) }}"
"""

RETURN = r"""
_value:
  description: The picture, as lines of text.
  type: str
"""

from typing import Any, Callable, Dict, Mapping

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.host.topology import Topology
from ..module_utils.kvm import picture


def kvm_picture(topology: Mapping[str, Any], plan: Mapping[str, Any], width: int = 100, colour: bool = False, unicode: bool = True) -> str:
    """The picture as text; see :func:`picture.draw`."""
    try:
        return picture.draw(Topology.from_dict(topology), plan, width, colour, unicode)
    except FleetError as error:
        raise AnsibleFilterError("kvm_picture: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., str]]:
        return {"kvm_picture": kvm_picture}
