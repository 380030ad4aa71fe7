#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Examines a node's GPUs, and tells what earlier examinations found."""

DOCUMENTATION = r"""
module: dcgm_diag
short_description: Examine a node's GPUs, and tell what was found before
version_added: 0.1.0
description:
  - Runs C(dcgmi diag) and returns its results in one form, whichever version of DCGM (1.7 to 4.x) the node has.
  - Without DCGM, what C(nvidia-smi -q -x) tells of the GPUs is looked at, or else what the kernel does.
  - A level from 2 on loads the GPUs. It is not run while a job has them, and stopped if one begins.
  - Returns the node's history too, which M(dgxops.fleet.dcgm_schedule) and O(keep) add to.
  - Changes nothing on the node but that history.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Examines nothing, and only returns the history.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  level:
    description: How thoroughly (section 5.1). 1 takes seconds, 3 some minutes, 4 hours. 0 only returns the history.
    type: int
    choices: [0, 1, 2, 3, 4]
    default: 1
  backend:
    description: How to examine the GPUs. Empty for the best that the node has.
    type: str
    choices: ["", dcgm, nvidia_smi, kernel]
    default: ""
  when_busy:
    description:
      - What happens while a job has the GPUs, with a level from 2 on.
      - V(skip) runs nothing, RV(status=busy).
      - V(run) runs it nevertheless, which disturbs the job.
    type: str
    choices: [skip, run]
    default: skip
  ignored_processes:
    description: Names of further processes, as in C(/proc/PID/comm), that do not count as users of a GPU, such as monitors.
    type: list
    elements: str
    default: []
  time_limit_s:
    description: After how many seconds it is given up. 0 for the usual 300, 1800, 5400 and 21600 of the levels 1 to 4.
    type: float
    default: 0
  keep:
    description: Whether to add the result to the node's history.
    type: bool
    default: false
  keep_days:
    description: For how many days results are kept.
    type: int
    default: 365
  days:
    description: How far back RV(trends) look.
    type: float
    default: 30
  required:
    description: Whether the task fails if something is ill, or if nothing could be told. Otherwise RV(status) tells.
    type: bool
    default: false
seealso:
  - module: dgxops.fleet.dcgm_schedule
"""

EXAMPLES = r"""
- name: Fail if a GPU is ill
  dgxops.fleet.dcgm_diag:
    required: true

- name: What did the timers find in the last week
  dgxops.fleet.dcgm_diag:
    level: 0
    days: 7
  register: history
"""

RETURN = r"""
status:
  description:
    - The illest of all results, V(skip), V(pass), V(warn) or V(fail); V(unknown) if DCGM used a word that is not known.
    - V(busy) and V(stopped) if a job had the GPUs or began to, V(broken) if there was no answer, V(none) if nothing was to be run.
  returned: success
  type: str
  sample: pass
note:
  description: Why, where it is not a result.
  returned: success
  type: str
backend:
  description: How the GPUs were examined.
  returned: success
  type: str
  sample: dcgm
version:
  description: Version of DCGM.
  returned: success
  type: str
  sample: 3.3.9
driver:
  description: Version of the driver.
  returned: success
  type: str
  sample: 535.183.01
seconds:
  description: How long it took.
  returned: success
  type: float
results:
  description: All results.
  returned: success
  type: list
  elements: dict
  contains:
    category:
      description: Such as Deployment, Hardware, Integration, Stress.
      type: str
    test:
      description: Name of the test, as this version of DCGM calls it.
      type: str
    gpu:
      description: The GPU; empty for a test of the whole node.
      type: str
    status:
      description: V(pass), V(skip), V(warn), V(fail) or V(unknown).
      type: str
    messages:
      description: What DCGM says about it.
      type: list
      elements: str
problems:
  description: Those that are neither passed nor skipped.
  returned: success
  type: list
  elements: dict
latest:
  description: The last run of each level in the history, its C(problems), when it C(started) (seconds since 1970), and when and with what C(verdict) one
    last C(diagnosed) anything, since a job may have come in between.
  returned: success
  type: list
  elements: dict
trends:
  description: Tests that were ill in the last O(days), how often (C(ill) of C(runs)), C(since) when without a break (0 if well by now), the last message.
  returned: success
  type: list
  elements: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster.dcgm import Diagnosis
from ..module_utils.cluster.dcgm_history import PLACE, History, Run
from ..module_utils.cluster.dcgm_run import Order, examine, facts_of
from ..module_utils.host.errors import errors_reported_by

ARGUMENTS = {
    "level": {"type": "int", "choices": [0, 1, 2, 3, 4], "default": 1},
    "backend": {"type": "str", "choices": ["", "dcgm", "nvidia_smi", "kernel"], "default": ""},
    "when_busy": {"type": "str", "choices": ["skip", "run"], "default": "skip"},
    "ignored_processes": {"type": "list", "elements": "str", "default": []},
    "time_limit_s": {"type": "float", "default": 0},
    "keep": {"type": "bool", "default": False},
    "keep_days": {"type": "int", "default": 365},
    "days": {"type": "float", "default": 30},
    "required": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    with errors_reported_by(module):
        history = History("/" + PLACE)
        run = Run(time.time(), 0, given["level"], "", "none", "", Diagnosis(()))
        if given["level"] and not module.check_mode:
            run = examine(Order(given["level"], given["backend"], given["when_busy"], tuple(given["ignored_processes"]), given["time_limit_s"]))
            if given["keep"]:
                history.add(run, given["keep_days"])
        answer = dict(run.to_dict(), problems=[result.to_dict() for result in run.diagnosis.problems], **facts_of(history, given["days"], time.time()))
        if given["required"] and run.status not in ("pass", "skip", "busy", "stopped", "none"):
            ill = ["{0}{1} ({2})".format(result.test, " on GPU " + result.gpu if result.gpu else "", result.status) for result in run.diagnosis.problems]
            module.fail_json(msg="The GPU diagnostic of level {0} says {1}: {2}".format(run.level, run.status, run.note or ", ".join(ill)), **answer)
        module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
