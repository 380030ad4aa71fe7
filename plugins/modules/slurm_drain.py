#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Slurm node without jobs for as long as something disturbs it."""

DOCUMENTATION = r"""
module: slurm_drain
short_description: Keep jobs off a Slurm node, wait for those that run, and let jobs begin again
version_added: 0.1.0
description:
  - Drains a node before something that would disturb its jobs, and brings it back afterwards. To be run where C(scontrol) is, by C(delegate_to) from the node.
  - A node that somebody else drained, or that is down, keeps its state and reason. Only what was drained for O(reason) is brought back, be it by a run
    that was cut short.
  - If the jobs do not end in time, the node takes jobs as before, and the task fails with their numbers.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Says whether the node would be drained or brought back, and waits for no job.
  diff_mode:
    support: full
    description: Shows the node's state and reason.
options:
  name:
    description: The node's name in Slurm.
    type: str
    required: true
  state:
    description:
      - With V(drained) no more jobs begin on the node, and those that run have ended.
      - With V(resumed) jobs may begin again.
    type: str
    choices: [drained, resumed]
    default: drained
  reason:
    description: What Slurm gives as the reason, and by which the node is known again.
    type: str
    default: "dgxops.fleet: maintenance"
  wait:
    description: For how many seconds to wait for the jobs that run. With V(0) jobs are a failure, and the node is not drained.
    type: float
    default: 3600
"""

EXAMPLES = r"""
- name: Let jobs end before the host restarts
  dgxops.fleet.slurm_drain:
    name: "{{ inventory_hostname_short }}"
    wait: 7200
  delegate_to: head01

- name: Let jobs begin again
  dgxops.fleet.slurm_drain:
    name: "{{ inventory_hostname_short }}"
    state: resumed
  delegate_to: head01
"""

RETURN = r"""
node:
  description: The node's state and reason as C(sinfo) tells of them, after the change (in check mode, as found).
  returned: success
  type: dict
  sample: {state: drained, reason: "dgxops.fleet: maintenance"}
jobs:
  description: The numbers of the jobs that are in the way.
  returned: when jobs did not end in time
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster.slurm_drain import PREFERENCES, drain, is_drained_for, known, resume
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["drained", "resumed"], "default": "drained"},
    "reason": {"type": "str", "default": "dgxops.fleet: maintenance"},
    "wait": {"type": "float", "default": 3600},
}
REMEDY = "Wait for them, or give this task more time by wait."


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    name, reason, wait = module.params["name"], module.params["reason"], module.params["wait"]
    with errors_reported_by(module):
        commands = Commands(unseen=PREFERENCES)
        before = after = known(commands, name)
        wanted = module.params["state"] == "drained"
        changed = before.in_service if wanted else is_drained_for(before, reason)
        if not module.check_mode:
            if wanted:
                drain(commands, [name], wait, reason=reason, remedy=REMEDY)
            else:
                resume(commands, name, reason)
            after = known(commands, name)
    shown = "drained, since: {0}".format(reason) if wanted else "in service"
    diff = {"before": before.to_text(), "after": shown + "\n" if changed else before.to_text(), "before_header": name, "after_header": name}
    module.exit_json(changed=changed, diff=diff, node=after._asdict())


if __name__ == "__main__":
    main()
