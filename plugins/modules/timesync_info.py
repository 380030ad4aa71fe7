#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells whether systemd-timesyncd really keeps a host's clock."""

DOCUMENTATION = r"""
module: timesync_info
short_description: Tell whether systemd-timesyncd really keeps a host's clock
version_added: 0.1.0
description:
  - Tells which server systemd-timesyncd is in contact with, how many answers came, and how far the clock is off at this moment.
  - For the last, the module asks that same server once more by itself. What C(timedatectl) says is up to half an hour old, and its
    C(System clock synchronized) stays V(yes) when the server is long gone.
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
  wait:
    description: For how many seconds at most to wait until nothing is wrong, since a service that was just started needs some for the first answer.
    type: float
    default: 0
  max_offset_ms:
    description: How many milliseconds the clock may be off. Any offset will do without this option.
    type: float
  required:
    description: Whether the task fails if time is not kept. Otherwise RV(problem) tells.
    type: bool
    default: false
seealso:
  - module: dgxops.fleet.timesyncd
"""

EXAMPLES = r"""
- name: Fail unless the clock is right to 100 ms within a minute
  dgxops.fleet.timesync_info:
    wait: 60
    max_offset_ms: 100
    required: true
"""

RETURN = r"""
synchronized:
  description: Whether the service runs, a server answers, and the clock is no more than O(max_offset_ms) off.
  returned: always
  type: bool
problem:
  description: What is wrong otherwise, and what to do.
  returned: always
  type: str
running:
  description: Whether systemd-timesyncd runs.
  returned: always
  type: bool
server:
  description: The name of the server that it uses; empty if there is none.
  returned: always
  type: str
  sample: ntp1.example.com
address:
  description: Its address.
  returned: always
  type: str
  sample: 192.0.2.1
stratum:
  description: How far the server is from a reference clock.
  returned: always
  type: int
  sample: 2
packets:
  description: How many answers of this server timesyncd has taken; null where systemd is older than 239 and does not count them.
  returned: always
  type: int
  sample: 12
offset_ms:
  description: How many milliseconds this host's clock is ahead of the server's at this moment (negative if it is behind); null if the server is silent.
  returned: always
  type: float
  sample: -0.214
servers:
  description: The servers that timesyncd was told to ask, those from DHCP first.
  returned: always
  type: list
  elements: str
  sample: [ntp1.example.com, ntp2.example.com]
fallback_servers:
  description: Those that it asks if there are no others.
  returned: always
  type: list
  elements: str
  sample: [ntp.ubuntu.com]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.timesync import observe, problem_of

ARGUMENTS = {
    "wait": {"type": "float", "default": 0},
    "max_offset_ms": {"type": "float"},
    "required": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    limit = module.params["max_offset_ms"]
    with errors_reported_by(module):
        reading = observe(Commands(), module.params["wait"], limit)
        problem = problem_of(reading, limit)
        answer = dict(reading.to_dict(), synchronized=not problem, problem=problem)
        if problem and module.params["required"]:
            module.fail_json(msg=problem, **answer)
        module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
