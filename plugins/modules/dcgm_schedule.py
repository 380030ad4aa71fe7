#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPU diagnostics by the clock on a node, and the node as it was before."""

DOCUMENTATION = r"""
module: dcgm_schedule
short_description: Run GPU diagnostics by the clock, keep their history, and raise alerts
version_added: 0.1.0
description:
  - Installs DCGM where its package is to be had, sees to it that its host engine runs, and puts a program and a timer of systemd for each level on the node.
  - Level 1 runs at any time. Levels from 2 on load the GPUs, and run only while no process has a GPU's device file open and no job of Slurm's is on the node.
    They are stopped as soon as that changes.
  - Results are kept in C(/var/lib/dgxops/diag.sqlite). What is ill and was not so before is told by mail or to a program.
  - Without DCGM, what nvidia-smi or the kernel tell of the GPUs is looked at instead.
  - Nothing but the program that is put there is needed at run time, on the node or elsewhere.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows settings, timers and units before and after.
options:
  schedule:
    description: When to run which level. Levels that are not named are not run by the clock.
    type: list
    elements: dict
    default: []
    suboptions:
      level:
        description: The level.
        type: int
        choices: [1, 2, 3, 4]
        required: true
      calendar:
        description: When, as C(OnCalendar) in systemd.time(7).
        type: str
        required: true
  delay_s:
    description: By how many seconds at most a run is put off at random, so that not all nodes begin at the same time.
    type: int
    default: 600
  package:
    description: The package that brings DCGM. Only installed if dcgmi is missing and apt knows the package. Empty for none.
    type: str
    default: datacenter-gpu-manager
  required:
    description: Whether the task fails if the node has no DCGM afterwards.
    type: bool
    default: false
  backend:
    description: How to examine the GPUs. Empty for the best that the node has.
    type: str
    choices: ["", dcgm, nvidia_smi, kernel]
    default: ""
  keep_days:
    description: For how many days results are kept.
    type: int
    default: 365
  alert_mail:
    description: Where mail goes to, by the node's C(sendmail).
    type: str
    default: ""
  alert_program:
    description: A program on the node that gets the run as JSON on its standard input.
    type: str
    default: ""
  alert_repeat_hours:
    description: After how many hours an alert is raised again if nothing has changed.
    type: float
    default: 24
  ignored_processes:
    description: Names of further processes, as in C(/proc/PID/comm), that do not count as users of a GPU, such as monitors.
    type: list
    elements: str
    default: []
  remove_history:
    description: With O(state=absent), whether the history is removed too.
    type: bool
    default: false
  state:
    description: V(present) runs diagnostics by the clock, V(absent) gives the node back as it was.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.dcgm_diag
"""

EXAMPLES = r"""
- name: Look every hour, test the GPUs at night, and thoroughly once a week
  dgxops.fleet.dcgm_schedule:
    schedule:
      - {level: 1, calendar: hourly}
      - {level: 2, calendar: "03:00"}
      - {level: 3, calendar: "Sun 04:00"}
    alert_mail: gpu-admins@example.com
"""

RETURN = r"""
backend:
  description: How the GPUs will be examined.
  returned: success
  type: str
  sample: dcgm
engine:
  description: The unit of DCGM's host engine; V(by hand) if somebody else runs one, empty if there is none.
  returned: success
  type: str
  sample: nvidia-dcgm.service
timers:
  description: The timers.
  returned: success
  type: list
  elements: str
  sample: [dgxops-diag-1.timer, dgxops-diag-2.timer]
installed:
  description: Packages that were missing.
  returned: success
  type: list
  elements: str
  sample: [datacenter-gpu-manager]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster.dcgm_schedule import Wish, decide
from ..module_utils.cluster.dcgm_schedule_host import carry_out, read, told
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host

ARGUMENTS = {
    "schedule": {
        "type": "list", "elements": "dict", "default": [],
        "options": {"level": {"type": "int", "choices": [1, 2, 3, 4], "required": True}, "calendar": {"type": "str", "required": True}},
    },
    "delay_s": {"type": "int", "default": 600},
    "package": {"type": "str", "default": "datacenter-gpu-manager"},
    "required": {"type": "bool", "default": False},
    "backend": {"type": "str", "choices": ["", "dcgm", "nvidia_smi", "kernel"], "default": ""},
    "keep_days": {"type": "int", "default": 365},
    "alert_mail": {"type": "str", "default": ""},
    "alert_program": {"type": "str", "default": ""},
    "alert_repeat_hours": {"type": "float", "default": 24},
    "ignored_processes": {"type": "list", "elements": "str", "default": []},
    "remove_history": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        wish = Wish.from_params(module.params)
        change = decide(wish, read(wish, host))
        if not module.check_mode:
            carry_out(wish, change, host)
        module.exit_json(changed=bool(change), diff=[diff.to_dict() for diff in change.diffs], **told(change, wish))


if __name__ == "__main__":
    main()
