#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file for ifupdown beside those of a host."""

DOCUMENTATION = r"""
module: ifupdown_config
short_description: Write bonds and VLANs for a host that ifupdown sets up
version_added: 0.1.0
description:
  - Writes bonds, VLANs and network adapters to a file of its own below C(/etc/network/interfaces.d), for systems of the time of Ubuntu 16.04, and for those
    that were upgraded since and still are set up by ifupdown. Nothing is applied; that does M(dgxops.fleet.netplan_apply), with a way back.
  - The network is said as for M(dgxops.fleet.netplan_config), judged by the same rules, together with the other files, and completed likewise.
  - Bonds and VLANs are made by the kernel's own C(ip), so neither C(ifenslave) nor C(vlan) has to be fetched before, nor a line added to C(/etc/modules).
  - A change that is not applied and confirmed by M(dgxops.fleet.netplan_apply) does not outlive a reboot. The files from before are then put back before the
    network starts.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Everything is checked, also by ifupdown.
  diff_mode:
    support: full
    description: Shows the files.
options:
  network:
    description:
      - What stands below C(network:) in a netplan file, of C(bonds), C(vlans) and C(ethernets). Addresses, C(dhcp4), C(mtu), default routes, C(nameservers)
        and the parameters of bonds are known; what else netplan has is refused.
      - Name servers are the business of C(resolvconf), as in any such file.
    type: dict
  file:
    description: Name of the file in C(/etc/network/interfaces.d), of letters, digits, hyphens and underscores. If nothing reads it, a line is added that does.
    type: str
    default: dgxops
  replaces:
    description:
      - Names of interfaces whose stanzas are taken out of the host's files, such as the adapters that become members of a bond.
      - They come back with O(state=absent), or when they are no longer named. How the files were is kept below C(/var/backups/dgxops/ifupdown).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) writes the file.
      - V(absent) removes it and gives the host's files back as they were. One that was edited since is refused.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.netplan_apply
  - module: dgxops.fleet.netplan_config
"""

EXAMPLES = r"""
- name: Two adapters as one, with a VLAN on top (section 8.1.3)
  dgxops.fleet.ifupdown_config:
    network:
      bonds:
        bond0: {interfaces: [em1, em2], parameters: {mode: 802.3ad}}
      vlans:
        bond0.430: {id: 430, link: bond0, addresses: [172.16.1.11/24], routes: [{to: default, via: 172.16.1.254}]}
    replaces: [em1]

- name: Apply it; the host takes it back if it cannot be reached any more
  dgxops.fleet.netplan_apply:
    address: 172.16.1.11
"""

RETURN = r"""
file:
  description: The file.
  returned: success
  type: str
  sample: /etc/network/interfaces.d/dgxops
pending:
  description: Whether there is something for M(dgxops.fleet.netplan_apply) to do, from this run or from an earlier one (in check mode, whether there would be).
  returned: success
  type: bool
set_aside:
  description: Interfaces whose stanzas are taken out of the host's files.
  returned: success
  type: list
  elements: str
  sample: [em1]
brought_back:
  description: Files that this run gave back as they were.
  returned: success
  type: list
  elements: str
  sample: [/etc/network/interfaces]
problems:
  description: Each reason for which the network was refused.
  returned: when it was refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.network.ifupdown_change import Wish, decide
from ..module_utils.network.ifupdown_host import carry_out, read, try_out
from ..module_utils.network.netplan_host import Host
from ..module_utils.network.netplan_pending import alone, waiting

ARGUMENTS = {
    "network": {"type": "dict"},
    "file": {"type": "str", "default": "dgxops"},
    "replaces": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["network"])])
    with errors_reported_by(module):
        host = Host(Commands())
        wish = Wish.from_params(module.params)
        record = waiting(host.place, host.commands)
        found = read(wish, host)
        change = decide(wish, found)
        if change:
            try_out(change, host)
        if not module.check_mode and (change or record is not None):
            with alone(host.place):
                record = carry_out(change, wish, found, host)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            file=wish.path,
            pending=record is not None or (module.check_mode and bool(change)),
            set_aside=list(change.taken),
            brought_back=change.given_back,
        )


if __name__ == "__main__":
    main()
