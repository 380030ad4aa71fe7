#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A netplan file beside those of a host."""

DOCUMENTATION = r"""
module: netplan_config
short_description: Write a netplan file that fits a host and its other netplan files
version_added: 0.1.0
description:
  - Writes bridges, bonds, VLANs and network adapters to a file of its own below C(/etc/netplan), with mode 0600. Nothing is applied; that does
    M(dgxops.fleet.netplan_apply), with a way back.
  - Before the host is touched, the network is checked as a whole, together with the other files, which netplan merges, and with the adapters that the
    host has. A bond mode that cannot carry a bridge, an MTU on which the layers do not agree, an address on a member, a subnet on two interfaces, a second
    default route and many more are refused, all of them at once and each with its reason. Then netplan itself reads all files in a copy.
  - What follows from O(network) is filled in. Members that no file speaks of are defined, members ask for no address, and have the MTU of what lies on them
    unless they say another; a bond watches its links every 100 ms.
  - A change that is not applied and confirmed by M(dgxops.fleet.netplan_apply) does not outlive a reboot. The files from before are then put back before the
    network starts.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Everything is checked, also by netplan.
  diff_mode:
    support: full
    description: Shows the files. Passwords and keys in files that are set aside are hidden.
options:
  network:
    description:
      - What stands below C(network:) in a netplan file. C(ethernets), C(bonds), C(bridges) and C(vlans), each with names of interfaces and their settings as
        in netplan(5).
      - A C(renderer) for all is said of each interface, so that the interfaces of other files stay with theirs.
      - C(gateway4) is refused; write C(routes).
    type: dict
  file:
    description: Name of the file in C(/etc/netplan). Files count in the order of their names.
    type: str
    default: 60-dgxops.yaml
  replaces:
    description:
      - Names of files in C(/etc/netplan) that this one takes the place of, such as that of the installer. They are set aside, kept below
        C(/var/backups/dgxops/netplan), and come back with O(state=absent), or when they are no longer named.
    type: list
    elements: str
    default: []
  detach:
    description:
      - Consent to remove a bridge that running guests are attached to, or to make it anew. They lose their network until they are started again.
      - Consent as well to give it, or an adapter below macvtap, another MTU than they have. They keep theirs until they are started again.
    type: bool
    default: false
  state:
    description:
      - V(present) writes the file.
      - V(absent) removes it and brings the files back that it replaced, as they were.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.netplan_apply
  - name: netplan(5)
    description: All settings.
    link: https://netplan.readthedocs.io/en/stable/netplan-yaml/
"""

EXAMPLES = r"""
- name: Two adapters as one, under a bridge for guests
  dgxops.fleet.netplan_config:
    network:
      bonds:
        bond0:
          interfaces: [enp134s0f0, enp134s0f1]
          parameters: {mode: 802.3ad}
      bridges:
        br0:
          interfaces: [bond0]
          mtu: 9000
          addresses: [10.33.14.17/24]
          routes: [{to: default, via: 10.33.14.1}]
          nameservers: {addresses: [172.16.200.26], search: [example.com]}
    replaces: [50-cloud-init.yaml]

- name: Apply it; the host takes it back if it cannot be reached any more
  dgxops.fleet.netplan_apply:

- name: Give the host's own files back, then apply them
  dgxops.fleet.netplan_config:
    state: absent
"""

RETURN = r"""
file:
  description: The file.
  returned: success
  type: str
  sample: /etc/netplan/60-dgxops.yaml
pending:
  description: Whether there is something for M(dgxops.fleet.netplan_apply) to do, from this run or from an earlier one (in check mode, whether there would be).
  returned: success
  type: bool
set_aside:
  description: Files that were set aside by this run.
  returned: success
  type: list
  elements: str
  sample: [50-cloud-init.yaml]
brought_back:
  description: Files that were brought back by this run.
  returned: success
  type: list
  elements: str
problems:
  description: Each reason for which the network was refused.
  returned: when it was refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.network.netplan_change import Wish, decide
from ..module_utils.network.netplan_host import Host, carry_out, check_ports, read, try_out
from ..module_utils.network.netplan_pending import alone, waiting

ARGUMENTS = {
    "network": {"type": "dict"},
    "file": {"type": "str", "default": "60-dgxops.yaml"},
    "replaces": {"type": "list", "elements": "str", "default": []},
    "detach": {"type": "bool", "default": False},
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
            check_ports(change, wish, found, host.commands)
        if not module.check_mode and (change or record is not None):
            with alone(host.place):
                record = carry_out(change, wish, found, host)
        for warning in change.warnings:
            module.warn(warning)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            file=wish.path,
            pending=record is not None or (module.check_mode and bool(change)),
            set_aside=list(change.aside),
            brought_back=list(change.back),
        )


if __name__ == "__main__":
    main()
