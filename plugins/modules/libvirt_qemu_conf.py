#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many files guests may open, and /etc/libvirt/qemu.conf as it was."""

DOCUMENTATION = r"""
module: libvirt_qemu_conf
short_description: Let guests open as many files as their network queues need
version_added: 0.1.0
description:
  - Sets C(max_files) in C(/etc/libvirt/qemu.conf) and restarts libvirt's daemon if it runs. Guests go on meanwhile, and keep what they were started with.
  - Section 11.8.2 of the Best Practices has C(max_files) at 2048, since guests with many network queues may not start otherwise. That is true where guests have
    the kernel's 1024. By the units of libvirt's daemon they have had 8192 or more for years, which 2048 would cut. So O(max_files) is the least that guests
    shall have, and where they have it, the file is left as it is.
  - A queue takes six files (measured with QEMU 7.2), so that 1024 are used up by some 160 queues of a guest.
  - If the daemon does not start with the new file, it gets the old one back, and the task fails.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) brings it back.
    What others have changed in the file since stays.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows the file before and after.
options:
  max_files:
    description:
      - How many files each guest shall be able to open at least, less than the kernel's C(fs.nr_open).
      - Required with O(state=present).
    type: int
  state:
    description:
      - V(present) sees to it that guests that start from now on may open O(max_files) files or more.
      - V(absent) gives back what was there before the first change.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.libvirt_domain
  - name: qemu.conf
    description: The setting, as libvirt's own file tells of it.
    link: https://gitlab.com/libvirt/libvirt/-/blob/master/src/qemu/qemu.conf.in
"""

EXAMPLES = r"""
- name: Let guests have many network queues (section 11.8.2)
  dgxops.fleet.libvirt_qemu_conf:
    max_files: 2048

- name: Give the file back
  dgxops.fleet.libvirt_qemu_conf:
    state: absent
"""

RETURN = r"""
restarted:
  description: The daemons that were started anew (in check mode, would be).
  returned: success
  type: list
  elements: str
  sample: [libvirtd.service]
max_files:
  description: How many files a guest that starts from now on may open.
  returned: with O(state=present)
  type: int
  sample: 8192
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.host.settings_host import finish, make_or_undo, read_record, read_state
from ..module_utils.kvm.qemu_conf import CONF, DAEMONS, NAME, Wish, files_of_guests, plan
from ..module_utils.kvm.qemu_conf_host import read_limits

ARGUMENTS = {
    "max_files": {"type": "int"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands(), module.params["root"])
        wish = Wish.from_params(module.params)
        found = read_state(host, [CONF], DAEMONS)
        limits = read_limits(host, found.units)
        record = read_record(NAME, host)
        change = plan(wish, found, record, limits)
        if not module.check_mode:
            if change:
                make_or_undo(NAME, change, record, host)
            finish(NAME, change, host)
        answer = {} if wish.max_files is None else {"max_files": files_of_guests(change.after.files[CONF] or "", limits)}
        module.exit_json(changed=bool(change), diff=[diff.to_dict() for diff in change.diffs], restarted=list(change.restart), **answer)


if __name__ == "__main__":
    main()
