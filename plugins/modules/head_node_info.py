#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a machine survives the loss of a drive or of a power supply."""

DOCUMENTATION = r"""
module: head_node_info
short_description: Tell whether a machine survives the loss of its system drive or of a power supply
version_added: 0.1.0
description:
  - Finds what C(/) is on, through partitions, encryption and LVM, and tells whether a drive of it may fail (software RAID with redundancy, all members there).
  - Asks the management controller for the power supplies, where C(ipmitool) and C(/dev/ipmi0) are there.
  - What cannot be read is said to be unknown, and why. Nothing is changed.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  required:
    description: What must be known to survive; else the task fails.
    type: list
    elements: str
    choices: [mirror, power]
    default: []
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.md_array_info
"""

EXAMPLES = r"""
- name: Can this machine lose a drive?
  dgxops.fleet.head_node_info:
  register: head
"""

RETURN = r"""
mirror:
  description: The drive or array under C(/).
  returned: always
  type: dict
  contains:
    survives:
      description: Whether one of its drives may fail; null if Linux cannot tell.
      returned: always
      type: bool
    device:
      description: The kernel's name; empty if there is none.
      returned: always
      type: str
      sample: md0
    said:
      description: The same in words.
      returned: always
      type: str
      sample: / is on md0 (raid1, clean).
power:
  description: The power supplies.
  returned: always
  type: dict
  contains:
    survives:
      description: Whether one of them may fail; null if nobody tells.
      returned: always
      type: bool
    supplies:
      description: Each with C(name), whether it is C(present) and C(good), and what was C(said) of it.
      returned: always
      type: list
      elements: dict
    said:
      description: The same in words.
      returned: always
      type: str
      sample: "2 power supplies are good: PSU0 Status, PSU1 Status."
problems:
  description: What does not survive, in words.
  returned: always
  type: list
  elements: str
unknown:
  description: What could not be read, and why.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster.head_node_host import read_mirror, read_power, to_dict
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.sysfs import Sysfs

ARGUMENTS = {
    "required": {"type": "list", "elements": "str", "choices": ["mirror", "power"], "default": []},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        sysfs = Sysfs(module.params["root"])
        mirror, power = read_mirror(sysfs), read_power(sysfs, Commands())
        found = {"mirror": (mirror.survives, mirror.said), "power": (power.survives, power.said)}
        answer = dict(
            to_dict(mirror, power),
            problems=[said for survives, said in found.values() if survives is False],
            unknown=[said for survives, said in found.values() if survives is None],
        )
        lacking = [name for name in module.params["required"] if not found[name][0]]
        if lacking:
            parts = {"mirror": "drive", "power": "power supply"}
            raise FleetError("This machine is to survive the loss of a {0}, but: {1}".format(
                " and of a ".join(parts[name] for name in lacking), " ".join(found[name][1] for name in lacking)), **answer)
        module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
