#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel settings by sysctl: in force now, kept over a reboot, and given back as they were."""

DOCUMENTATION = r"""
module: sysctl_dropin
short_description: Set kernel settings by sysctl, and give them back as they were
version_added: 0.1.0
description:
  - Sets any number of kernel settings in one call, verifies them, and keeps them over a reboot by a file of their own in C(/etc/sysctl.d).
    C(/etc/sysctl.conf) is not touched.
  - The values from before the first change are remembered below C(/var/backups/dgxops). O(state=absent) brings them back, and so does no longer naming a
    setting in O(values). Settings that were never changed by this module are left alone.
  - If the kernel refuses one of the values, all are put back.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the kernel takes a value only shows when it is run.
  diff_mode:
    support: full
    description: Shows the settings in force before and after, and the file.
options:
  name:
    description: The name of the file, C(/etc/sysctl.d/zz-dgxops-NAME.conf). Roles that set things independently of each other use a name each.
    type: str
    required: true
  values:
    description:
      - "The settings, as V({kernel.numa_balancing: 1})."
      - Required with O(state=present).
    type: dict
  state:
    description:
      - V(present) sets the settings in O(values), and no others in this file.
      - V(absent) removes the file and brings the values from before the first change back.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - name: sysctl.d(5)
    description: The format of the file, and in which order such files are read.
    link: https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html
"""

EXAMPLES = r"""
- name: Let the kernel move memory to the CPUs that use it
  dgxops.fleet.sysctl_dropin:
    name: kvm
    values:
      kernel.numa_balancing: 1

- name: Give back what was set before
  dgxops.fleet.sysctl_dropin:
    name: kvm
    state: absent
"""

RETURN = r"""
after:
  description: The settings that were asked for or given back, as they are in force after the change (in check mode, as found).
  returned: success
  type: dict
  sample: {kernel.numa_balancing: "1"}
before:
  description: The same settings as they were when the module began.
  returned: success
  type: dict
  sample: {kernel.numa_balancing: "0"}
file:
  description: The file that sets them at boot; empty if there is none.
  returned: success
  type: str
  sample: /etc/sysctl.d/zz-dgxops-kvm.conf
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysctl import Wish, carry_out, decide, read
from ..module_utils.host.sysfs import Sysfs

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "values": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["values"])])
    with errors_reported_by(module):
        sysfs = Sysfs(module.params["root"])
        wish = Wish.from_params(module.params)
        found = now = read(wish, sysfs)
        change = decide(wish, found)
        if not module.check_mode:
            carry_out(change, sysfs)
            now = read(wish, sysfs, found.in_force)
        shown = sorted(set(wish.values) | {step.key for step in change.steps})
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            after={key: now.in_force[key] for key in shown},
            before={key: found.in_force[key] for key in shown},
            file="/" + wish.path if change.text_after is not None else "",
        )


if __name__ == "__main__":
    main()
