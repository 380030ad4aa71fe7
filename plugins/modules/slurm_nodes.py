#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps the descriptions of a cluster's nodes on Slurm's controller."""

DOCUMENTATION = r"""
module: slurm_nodes
short_description: Keep the descriptions of a cluster's nodes on Slurm's controller
version_added: 0.1.0
description:
  - Keeps what M(dgxops.fleet.slurm_node_info) found of each node in a file on the controller, so that a node that is down, or left out by C(--limit),
    keeps its lines in Slurm's configuration.
  - A description goes when its node is no longer one of O(members). One that is needed and nowhere to be had is refused, since the node would lose its lines.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Says what would be kept.
  diff_mode:
    support: full
    description: Shows the file's difference.
options:
  described:
    description: The nodes that were looked at in this run, by name in Slurm, each as RV(dgxops.fleet.slurm_node_info#module:node).
    type: dict
    default: {}
  members:
    description: The names of all nodes of the cluster.
    type: list
    elements: str
    default: []
  keep:
    description:
      - Whether O(described) may change what is kept. Without it, a node that is other than what is kept is refused.
      - Off where the controller is not a part of the run, and so keeps its configuration.
    type: bool
    default: true
  write:
    description: Whether the file is written. Without it, whoever gives Slurm its new configuration writes RV(text) too, so that both always fit.
    type: bool
    default: true
  key:
    description: Whether a key for munge is made where the controller has none.
    type: bool
    default: false
  state:
    description: V(absent) removes the file, and the key if it was made here.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.slurm_node_info
  - module: dgxops.fleet.slurm_part
"""

EXAMPLES = r"""
- name: Keep the description of a node
  dgxops.fleet.slurm_nodes:
    described:
      dgx01: "{{ hostvars.dgx01.slurm.node }}"
    members: [dgx01, dgx02]
"""

RETURN = r"""
nodes:
  description: The descriptions of all nodes of which there is one, by name.
  returned: success
  type: dict
  sample: {dgx01: {cpus: 96, sockets: 2, cores_per_socket: 24, threads_per_core: 2, real_memory_mib: 1545216, gpus: [], numa_node_as_socket: false}}
text:
  description: What the file says with these descriptions.
  returned: success
  type: str
unknown:
  description: The members that were never described. They have no place in Slurm's configuration yet.
  returned: success
  type: list
  elements: str
version:
  description: The version of Slurm that the controller has, or would get from its package archives. Empty if there is none.
  returned: success
  type: str
  sample: 22.05.8
key_file:
  description: Where the cluster's key for munge is on the controller. Empty if there is none.
  returned: success
  type: str
  sample: /etc/munge/munge.key
slurm_conf:
  description: The text of C(slurm.conf) on the controller. Empty if there is none.
  returned: success
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster import slurm_conf, slurm_nodes
from ..module_utils.cluster.slurm_host import slurm_version
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.files import read_text, remove, write_atomic

#: Another one for tests.
ROOT = "/"

ARGUMENTS = {
    "described": {"type": "dict", "default": {}},
    "members": {"type": "list", "elements": "str", "default": []},
    "keep": {"type": "bool", "default": True},
    "write": {"type": "bool", "default": True},
    "key": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    path = os.path.join(ROOT, slurm_nodes.KEPT)
    with errors_reported_by(module):
        if given["state"] == "absent":
            there = [name for name in (slurm_nodes.KEPT, slurm_nodes.OWN_KEY) if os.path.exists(os.path.join(ROOT, name))]
            for name in there if not module.check_mode else ():
                remove(os.path.join(ROOT, name))
            module.exit_json(changed=bool(there), nodes={}, text="", unknown=[], version="", key_file="", slurm_conf="")
        kept = slurm_nodes.parse(read_text(path))
        conf = read_text(os.path.join(ROOT, "etc/slurm/slurm.conf"))
        nodes = slurm_nodes.decide(kept, slurm_nodes.from_dicts(given["described"]), given["members"], given["keep"],
                                   slurm_conf.parse(conf).nodes)
        key = slurm_nodes.key_file(ROOT)
        make = given["key"] and not key
        if not module.check_mode:
            if nodes and given["write"]:
                write_atomic(path, slurm_nodes.show(nodes.after))
            key = slurm_nodes.make_key(ROOT) if make else key
        module.exit_json(
            changed=make or given["write"] and bool(nodes),
            diff=[nodes.diff.to_dict()] if nodes and given["write"] else [],
            nodes={name: node.to_dict() for name, node in nodes.after.items()},
            text=slurm_nodes.show(nodes.after),
            unknown=nodes.unknown,
            version=slurm_version(Commands()),
            key_file="/" + key if key else "",
            slurm_conf=conf or "",
        )


if __name__ == "__main__":
    main()
