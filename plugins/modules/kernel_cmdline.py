#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel parameters for the next boot, by a GRUB drop-in, and whether a reboot is needed for them."""

DOCUMENTATION = r"""
module: kernel_cmdline
short_description: Set kernel parameters for the next boot
version_added: 0.1.0
description:
  - Puts kernel parameters into a file of its own in C(/etc/default/grub.d) and runs C(update-grub), only when something changed or an earlier run was cut
    short (section 12.3.1.2 of the Best Practices). C(/etc/default/grub) is not touched.
  - Never reboots. Tells by RV(reboot_required) whether the running kernel was started otherwise, so that a role or playbook can, if it may.
  - Parameters that are set already, in C(/etc/default/grub) or another file, are not put on the line a second time.
  - Parameters that could not take effect, or would leave the host without memory, are refused with the file and line of what is in their way.
  - Works on Debian, Ubuntu and DGX OS, which boot by GRUB and read C(/etc/default/grub.d).
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
  state:
    description:
      - V(present) sets the parameters in O(parameters), and no others in this file.
      - V(absent) removes the file. O(parameters) is then not looked at.
    type: str
    choices: [present, absent]
    default: present
  parameters:
    description:
      - The parameters, one per entry, as V(key=value) or as a flag, in the order in which they are to stand. For huge pages the order matters.
      - "Letters, digits and C(_ . , : / @ % + = ! -) may be used. Everything else would be changed by the shell or by GRUB on its way."
      - Required with O(state=present).
    type: list
    elements: str
  name:
    description:
      - The name of the file, C(/etc/default/grub.d/zz-NAME.cfg). Roles that set parameters independently of each other use a name each.
      - The file is read late, since others, such as those of cloud images, set the whole line anew.
    type: str
    default: dgxops
  entries:
    description:
      - V(normal) sets the parameters for the normal entries of the boot menu. The recovery entry starts without them, so that a host that does not come up
        with them, for example because it has too little memory left beside its huge pages, can still be started.
      - V(all) sets them for the recovery entry too.
    type: str
    choices: [normal, all]
    default: normal
  update_grub:
    description: The command that writes the boot menu.
    type: list
    elements: str
    default: [update-grub]
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.hugepages
    description: Sets huge pages while the host runs, per NUMA node.
  - name: The kernel's command-line parameters
    description: The kernel's documentation of its parameters.
    link: https://docs.kernel.org/admin-guide/kernel-parameters.html
"""

EXAMPLES = r"""
- name: 96 huge pages of 1 GiB from the next boot on
  dgxops.fleet.kernel_cmdline:
    parameters: [default_hugepagesz=1G, hugepagesz=1G, hugepages=96]
  register: line

- name: Restart the host if that is needed and allowed
  ansible.builtin.reboot:
  when: line.reboot_required and reboot_allowed

- name: Memory limits for jobs on kernels with cgroup v1
  dgxops.fleet.kernel_cmdline:
    name: dgxops-slurm
    parameters: [cgroup_enable=memory, swapaccount=1]

- name: Take the parameters away again
  dgxops.fleet.kernel_cmdline:
    state: absent
"""

RETURN = r"""
path:
  description: The file the parameters are in.
  returned: success
  type: str
  sample: /etc/default/grub.d/zz-dgxops.cfg
grub_updated:
  description: Whether C(update-grub) was run, or would be without check mode.
  returned: success
  type: bool
configured:
  description: All parameters that GRUB's configuration gives the normal boot menu entries, in order.
  returned: success
  type: list
  elements: str
  sample: [quiet, default_hugepagesz=1G, hugepagesz=1G, hugepages=96]
in_force:
  description: Those of O(parameters) that the running kernel was started with.
  returned: success
  type: list
  elements: str
missing:
  description: Those of O(parameters) that the running kernel was not started with.
  returned: success
  type: list
  elements: str
reboot_required:
  description:
    - Whether the running kernel was started otherwise than the next one will be, as far as the parameters concerned go.
    - Stays true until the host was restarted, also after O(state=absent).
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.grub import Wish, decide
from ..module_utils.host.grub_host import Host, carry_out, read

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "parameters": {"type": "list", "elements": "str"},
    "name": {"type": "str", "default": "dgxops"},
    "entries": {"type": "str", "choices": ["normal", "all"], "default": "normal"},
    "update_grub": {"type": "list", "elements": "str", "default": ["update-grub"]},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["parameters"])])
    with errors_reported_by(module):
        wish = Wish.from_params(module.params)
        host = Host(module.params["root"])
        change = decide(wish, read(wish, host))
        if not module.check_mode:
            carry_out(change, host, Commands(), module.params["update_grub"])
        for warning in change.warnings:
            module.warn(warning)
        module.exit_json(
            changed=change.changed,
            diff=change.diff.to_dict(),
            path=wish.path,
            grub_updated=change.changed,
            configured=[item.text for item in change.configured],
            in_force=[item.text for item in wish.parameters if item not in change.missing],
            missing=[item.text for item in change.missing],
            reboot_required=change.reboot_required,
        )


if __name__ == "__main__":
    main()
