#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of kernel modules: kept over a reboot, in force at once where that is possible, and given back."""

DOCUMENTATION = r"""
module: module_options
short_description: Set options of kernel modules, and give them back as they were
version_added: 0.1.0
description:
  - Sets options of any number of kernel modules in one call, by a file of their own in C(/etc/modprobe.d), and at once for modules that are loaded, where the
    kernel allows that.
  - The values from before the first change are remembered below C(/var/backups/dgxops). O(state=absent) brings them back, and so does no longer naming an
    option in O(modules).
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the kernel takes a value only shows when it is run.
  diff_mode:
    support: full
    description: Shows the options in force before and after, and the file.
options:
  name:
    description: The name of the file, C(/etc/modprobe.d/zz-dgxops-NAME.conf). Roles that set things independently of each other use a name each.
    type: str
    required: true
  modules:
    description:
      - "The options by module, as V({sunrpc: {tcp_slot_table_entries: 128}})."
      - Required with O(state=present).
    type: dict
  state:
    description:
      - V(present) sets the options in O(modules), and no others in this file.
      - V(absent) removes the file and brings the values from before the first change back.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - name: modprobe.d(5)
    description: The format of the file.
    link: https://man7.org/linux/man-pages/man5/modprobe.d.5.html
"""

EXAMPLES = r"""
- name: Let more requests be under way to an NFS server
  dgxops.fleet.module_options:
    name: nfs
    modules:
      sunrpc: {tcp_slot_table_entries: 128}
      nfs: {max_session_slots: 180}

- name: Give back what was set before
  dgxops.fleet.module_options:
    name: nfs
    state: absent
"""

RETURN = r"""
in_force:
  description: By module, the options that were asked for, of modules that are loaded (in check mode, as found).
  returned: success
  type: dict
  sample: {sunrpc: {tcp_slot_table_entries: "128"}}
pending:
  description:
    - Options of loaded modules that only change when the module is loaded anew, at the latest with the next boot.
    - With O(state=absent), also options of modules that were not loaded before the first change, so that nobody knows what they would have been.
  returned: success
  type: list
  elements: str
  sample: [ib_ipoib.ipoib_enhanced]
file:
  description: The file; empty if there is none.
  returned: success
  type: str
  sample: /etc/modprobe.d/zz-dgxops-nfs.conf
"""

from typing import Dict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.module_options import Wish, carry_out, decide, read
from ..module_utils.host.sysfs import Sysfs

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "modules": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["modules"])])
    with errors_reported_by(module):
        sysfs, commands = Sysfs(module.params["root"]), Commands()
        wish = Wish.from_params(module.params)
        found = now = read(wish, sysfs, commands)
        change = decide(wish, found)
        if not module.check_mode:
            carry_out(change, sysfs)
            now = read(wish, sysfs, commands)
        loaded: Dict[str, Dict[str, str]] = {}
        for (name, option), parameter in sorted(now.parameters.items()):
            if parameter.value is not None:
                loaded.setdefault(name, {})[option] = parameter.value
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            in_force=loaded,
            pending=["{0}.{1}".format(*option) for option in change.pending],
            file="/" + wish.path if change.text_after is not None else "",
        )


if __name__ == "__main__":
    main()
