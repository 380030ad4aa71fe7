#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's side of the action of the same name."""

DOCUMENTATION = r"""
module: netplan_apply
short_description: Apply what netplan_config wrote, with a way back that the host goes by itself
version_added: 0.1.0
description:
  - Applies the files that M(dgxops.fleet.netplan_config) has changed, on a host that may be cut off by that. If nothing waits to be applied, it does nothing.
  - First a timer of systemd is started on the host, which gives the host back the files, links, addresses and routes from before. Only then the change
    is applied, by a program of the host's own. Then a new connection is made, to O(address) if there is one, and over it the host proves that the
    change is in force. Each interface that was changed has its members, MTU and addresses, and the addresses in O(reach) answer. Only then the timer
    is stopped.
  - If that does not come to pass within O(timeout) seconds, the host takes the change back, whether or not this controller still lives. It does so at
    once if netplan fails, and before its network starts if it is rebooted meanwhile. The task fails and says what was seen.
  - Links that only the old files have (or have made otherwise, as a bond with another mode) are removed, which netplan would not do.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Tells whether something waits to be applied. What a preceding task would have written in check mode is not there to be seen.
  diff_mode:
    support: none
    description: M(dgxops.fleet.netplan_config) has shown the files.
options:
  timeout:
    description:
      - Seconds from the start until the host takes the change back. Allow for the time that netplan needs, a switch that learns its ports anew
        (30 s with spanning tree), DHCP, and a new connection.
    type: int
    default: 90
  address:
    description:
      - Where the host will be reached after the change, name or address, if that changes. The following tasks need it as C(ansible_host).
      - For connections that know a host by an address, such as ssh.
    type: str
  reach:
    description: Addresses that the host must be able to ping after the change, such as the router, or the storage that lies behind a bond.
    type: list
    elements: str
    default: []
  step:
    description: Which part is done on the host. Set by the action itself.
    type: str
    choices: [look, start, wait, confirm, outcome]
    default: look
  change:
    description: The number of the change. Set by the action itself.
    type: str
    default: manual
seealso:
  - module: dgxops.fleet.netplan_config
notes:
  - A connection that does not use the network, such as P(ansible.builtin.local#connection), proves only that the change is in force. Name the
    router in O(reach).
"""

EXAMPLES = r"""
- name: Apply the change within two minutes, or have it taken back
  dgxops.fleet.netplan_apply:
    timeout: 120
    reach: [10.33.14.1]

- name: Move the host to another address
  dgxops.fleet.netplan_apply:
    address: 10.33.14.17

- name: Follow it
  ansible.builtin.set_fact:
    ansible_host: 10.33.14.17
"""

RETURN = r"""
state:
  description: V(confirmed), or V(nothing) if nothing waited to be applied; V(started) in check mode if something does; V(rolled_back) in a failure.
  returned: always
  type: str
  sample: confirmed
reason:
  description: Why the host took the change back.
  returned: always
  type: str
  sample: the change was not confirmed within 90 s
created:
  description: Links that were made, or made anew.
  returned: always
  type: list
  elements: str
  sample: [bond0, br0]
removed:
  description: Links that were removed, or made anew.
  returned: always
  type: list
  elements: str
missing:
  description: After a roll-back, addresses that did not come back.
  returned: always
  type: list
  elements: str
failed_steps:
  description: After a roll-back, steps of it that failed.
  returned: always
  type: list
  elements: str
seconds:
  description: How long it took until the change was confirmed.
  returned: when something was applied
  type: float
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.network.netplan_guard import confirm, look, outcome, start, wait
from ..module_utils.network.netplan_host import Host

ARGUMENTS = {
    "timeout": {"type": "int", "default": 90},
    "address": {"type": "str"},
    "reach": {"type": "list", "elements": "str", "default": []},
    "step": {"type": "str", "choices": ["look", "start", "wait", "confirm", "outcome"], "default": "look"},
    "change": {"type": "str", "default": "manual"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        step, change = module.params["step"], module.params["change"]
        if step == "confirm":
            answer = confirm(host, change, module.params["reach"])
        elif step == "wait":
            answer = wait(host, change, module.params["reach"])
        elif step == "outcome":
            answer = outcome(host, change)
        elif step == "start" and not module.check_mode:
            answer = start(host, change, module.params["timeout"])
        else:
            answer = look(host)
        module.exit_json(changed=answer.state in ("started", "confirmed"), **answer.to_dict())


if __name__ == "__main__":
    main()
