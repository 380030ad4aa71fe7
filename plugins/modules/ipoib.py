#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mode and MTU of IPoIB interfaces, at once and after a reboot, and given back."""

DOCUMENTATION = r"""
module: ipoib
short_description: Set mode and MTU of IPoIB interfaces, and give them back as they were
version_added: 0.1.0
description:
  - Sets the mode of IP over InfiniBand (connected or datagram) and the MTU of interfaces, at once, and at each boot by a udev rule.
  - The values from before the first change are remembered below C(/var/backups/dgxops). O(state=absent) brings them back, and so does no longer naming an
    interface.
  - All hosts of an IPoIB network need the same MTU. M(dgxops.fleet.nfs_client_info) tells whether frames of that size arrive.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether driver and fabric take an MTU only shows when it is run.
  diff_mode:
    support: full
    description: Shows the interfaces and the rule before and after.
options:
  interfaces:
    description:
      - The interfaces, such as V(ib0).
      - Required with O(state=present).
    type: list
    elements: str
  mode:
    description:
      - V(connected) allows frames of up to 65520 bytes. Newer Mellanox adapters have it only with the option C(ipoib_enhanced=0) of the module C(ib_ipoib).
      - V(datagram) is as large as the fabric's own frames, less 4 bytes.
    type: str
    choices: [connected, datagram]
    default: connected
  mtu:
    description: The MTU. If it is not given, 65520 in connected mode and 2044 in datagram mode.
    type: int
  state:
    description:
      - V(present) sets the interfaces.
      - V(absent) brings mode and MTU from before the first change back.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.module_options
  - name: IP over InfiniBand
    description: What the modes are.
    link: https://docs.kernel.org/infiniband/ipoib.html
"""

EXAMPLES = r"""
- name: Large frames for NFS over InfiniBand
  dgxops.fleet.ipoib:
    interfaces: [ib0, ib1]
    mode: connected
    mtu: 65520
"""

RETURN = r"""
interfaces:
  description: Mode and MTU of the interfaces after the change (in check mode, as found). The mode is null where the driver has none.
  returned: success
  type: dict
  sample: {ib0: {mode: connected, mtu: 65520}}
file:
  description: The udev rule; empty if there is none.
  returned: success
  type: str
  sample: /etc/udev/rules.d/99-zz-dgxops-ipoib.rules
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.network.ipoib import RULE, Wish, carry_out, decide, read

ARGUMENTS = {
    "interfaces": {"type": "list", "elements": "str"},
    "mode": {"type": "str", "choices": ["connected", "datagram"], "default": "connected"},
    "mtu": {"type": "int"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["interfaces"])])
    with errors_reported_by(module):
        sysfs = Sysfs(module.params["root"])
        wish = Wish.from_params(module.params)
        found = now = read(wish, sysfs)
        change = decide(wish, found)
        if not module.check_mode:
            carry_out(change, sysfs)
            now = read(wish, sysfs)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            interfaces={name: {"mode": state.mode, "mtu": state.mtu} for name, state in sorted(now.interfaces.items())},
            file="/" + RULE if change.rule_after is not None else "",
        )


if __name__ == "__main__":
    main()
