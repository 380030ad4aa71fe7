#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tools to look at nodes as they are now, and the host as it was before."""

DOCUMENTATION = r"""
module: monitoring_tools
short_description: Put tools on a host that show nodes as they are now
version_added: 0.1.0
description:
  - Brings C(dgx-watch), which shows the GPUs or containers of many hosts in panes of tmux, and what it needs.
  - Brings ctop where the distribution has a package of it.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows files and packages.
options:
  hosts:
    description: The hosts that C(dgx-watch) shows if it is not told others.
    type: list
    elements: str
    default: []
  ctop:
    description: Whether to install ctop, where there is a package of it.
    type: bool
    default: true
  state:
    description: V(present) brings the tools, V(absent) takes away what was brought.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Watch all DGX from here
  dgxops.fleet.monitoring_tools:
    hosts: "{{ groups['dgx'] }}"
"""

RETURN = r"""
installed:
  description: Packages that were missing.
  returned: success
  type: list
  elements: str
  sample: [tmux]
ctop:
  description: Whether the host has ctop afterwards.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster.monitoring_tools import Wish, carry_out, decide, read
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by

ARGUMENTS = {
    "hosts": {"type": "list", "elements": "str", "default": []},
    "ctop": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        commands = Commands()
        wish = Wish.from_params(module.params)
        change = decide(wish, read(wish, commands))
        if not module.check_mode:
            carry_out(wish, change, commands)
        has_ctop = (change.before.ctop == "there" and "ctop" not in change.purge) or "ctop" in change.install
        module.exit_json(changed=bool(change), diff=[diff.to_dict() for diff in change.diffs], installed=list(change.install), ctop=has_ctop)


if __name__ == "__main__":
    main()
