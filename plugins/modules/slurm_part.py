#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a host a part of a Slurm cluster, or gives it back."""

DOCUMENTATION = r"""
module: slurm_part
short_description: Make a host a part of a Slurm cluster, or give it back
version_added: 0.1.0
description:
  - Brings packages, files and services of one or several parts of a Slurm cluster in one call, and takes them away again.
  - Before new files take the place of others on a node, slurmd itself is asked what it counts (C(slurmd -C)) and which GPUs it finds by them
    (C(slurmd -G)). If that is not what O(node) says, nothing is changed. On a controller Slurm is asked whether it can read them.
  - Daemons start anew only for what they do not take up while they run. A new daemon ends no job.
  - What jobs rely on is changed only on nodes without jobs. They are drained for that, see O(drain_wait), and come back by themselves.
  - O(state=absent) gives packages, files and services back as they were, after the database was saved.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Says what would be done, by the same decision.
  diff_mode:
    support: full
    description: Shows files, packages and services. Of a munge key only that it becomes another.
options:
  parts:
    description: What the host is.
    type: list
    elements: str
    choices: [controller, database, node, login]
    default: []
  name:
    description: The host's name in Slurm. slurmd finds itself by the name that the host has, so a node whose own name is another is refused.
    type: str
    required: true
  files:
    description:
      - The texts of files by name, as the filter P(dgxops.fleet.slurm_files#filter) returns them; none for one that is not to be there.
      - Those that none of the host's parts reads are left out.
    type: dict
    default: {}
  munge_key:
    description: The cluster's key, in Base64. Without it, the host keeps the one it has, or gets one.
    type: str
  node:
    description: What slurmd is to agree with, as RV(dgxops.fleet.slurm_node_info#module:node).
    type: dict
  packages:
    description: Whether packages are installed, by apt. Without it, Slurm is there already, and stays with O(state=absent).
    type: bool
    default: true
  drain_wait:
    description:
      - For how many seconds to keep new jobs off a node and wait for those that run, where a change would disturb them.
      - With V(0) such a change is refused while there are jobs.
    type: float
    default: 0
  wait:
    description: For how many seconds at most to wait until slurmctld uses the node.
    type: float
    default: 60
  state:
    description: Whether the host is a part of a cluster, or given back.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - plugin: dgxops.fleet.slurm_files
    plugin_type: filter
  - module: dgxops.fleet.slurm_nodes
"""

EXAMPLES = r"""
- name: Make the host a node
  dgxops.fleet.slurm_part:
    parts: [node]
    name: "{{ inventory_hostname_short }}"
    node: "{{ slurm.node }}"
    munge_key: "{{ cluster_munge_key }}"
    files: "{{ nodes | dgxops.fleet.slurm_files(wanted, groups) }}"

- name: Give it back
  dgxops.fleet.slurm_part:
    name: "{{ inventory_hostname_short }}"
    state: absent
"""

RETURN = r"""
installed:
  description: The packages that were asked for and not there.
  returned: success
  type: list
  elements: str
removed:
  description: The packages that were removed.
  returned: success
  type: list
  elements: str
files:
  description: The files that changed.
  returned: success
  type: list
  elements: str
  sample: [/etc/slurm/slurm.conf]
restarted:
  description: The services that started anew.
  returned: success
  type: list
  elements: str
reconfigured:
  description: The services that took new settings up while they ran on.
  returned: success
  type: list
  elements: str
drained:
  description: The nodes that had to be without jobs for the change.
  returned: success
  type: list
  elements: str
node_state:
  description: What slurmctld says of the node. Empty where the host is none, and in check mode.
  returned: success
  type: str
  sample: idle
node_reason:
  description: Why the node is drained or down.
  returned: success
  type: str
"""

import base64
import socket
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster import slurm_drain
from ..module_utils.cluster.slurm_node import SlurmNode
from ..module_utils.cluster.slurm_part import FILES, NODE, PARTS, Wish, decide
from ..module_utils.cluster.slurm_part_host import carry_out, read
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.host import Host

ARGUMENTS = {
    "parts": {"type": "list", "elements": "str", "choices": list(PARTS), "default": []},
    "name": {"type": "str", "required": True},
    "files": {"type": "dict", "default": {}},
    "munge_key": {"type": "str", "no_log": True},
    "node": {"type": "dict"},
    "packages": {"type": "bool", "default": True},
    "drain_wait": {"type": "float", "default": 0},
    "wait": {"type": "float", "default": 60},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def checked_key(text: str) -> str:
    """The key in the one spelling that Base64 has for it. What is wrong with it is told without it."""
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        key = b""
    if not 32 <= len(key) <= 1024:
        raise FleetError("munge_key is not the Base64 of 32 to 1024 bytes, as munge(7) wants a key. Make one: dd if=/dev/urandom bs=1 count=128 | base64 -w0")
    return base64.b64encode(key).decode("ascii")


def wish_of(given: Mapping[str, Any], hostname: str) -> Wish:
    """What the play asks for, checked."""
    files = {name: text for name, text in given["files"].items() if name in FILES}
    if given["munge_key"]:
        files["munge.key"] = checked_key(given["munge_key"])
    if NODE in given["parts"] and hostname != given["name"]:
        raise FleetError("slurmd finds itself by the name of its host, which is {0!r} here, but in the inventory {1!r}. Give the host that name "
                         "(hostnamectl set-hostname), or call it so in the inventory.".format(hostname, given["name"]))
    if given["state"] == "present" and not given["parts"]:
        raise FleetError("{0} is to be a part of a cluster, but parts does not say which. Give one of {1}.".format(given["name"], ", ".join(PARTS)))
    return Wish(given["state"] == "present", tuple(given["parts"]), files, given["name"], given["packages"])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    with errors_reported_by(module):
        wish = wish_of(given, socket.gethostname().partition(".")[0])
        node = SlurmNode.from_dict(given["node"]) if given["node"] and NODE in wish.parts else None
        commands = Commands(timeout=120, unseen=slurm_drain.PREFERENCES)  # a controller saves the state of its jobs when it is stopped
        host = Host(commands)
        found = read(wish, host)
        change = decide(wish, found)
        state = slurm_drain.State("", "")
        if not module.check_mode:
            carry_out(wish, found, change, host, node, given["drain_wait"])
            if wish.present and NODE in wish.parts:
                state = slurm_drain.settle(commands, wish.name, given["wait"])
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            installed=list(change.install),
            removed=list(change.purge),
            files=["/" + FILES[name].path for name in sorted(change.files)],
            restarted=list(change.restart),
            reconfigured=list(change.reconfigure),
            drained=list(change.drain),
            node_state=state.state,
            node_reason=state.reason,
        )


if __name__ == "__main__":
    main()
