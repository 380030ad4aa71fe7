#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users of a node from NIS, and the node as it was before."""

DOCUMENTATION = r"""
module: nis_client
short_description: Bring the users of a NIS domain to a node by ypbind, and give the node back as it was
version_added: 0.1.0
description:
  - Installs and configures ypbind, sets the domain name, and tells nsswitch.conf of it, all in one call.
  - NIS sends names and the hashes of passwords in the clear, and believes whoever answers. The module warns of it each time.
    Prefer M(dgxops.fleet.ldap_client).
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back, and removes the added software.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether a server lets the node ask only shows when it is run.
  diff_mode:
    support: full
    description: Shows packages, files, services, PAM and domain name before and after.
options:
  domain:
    description: The name of the NIS domain. Needed with O(state=present).
    type: str
  servers:
    description: The NIS servers in the order in which they are asked. Without any, ypbind asks the local network, and believes whoever answers.
    type: list
    elements: str
    default: []
  create_home:
    description: Whether a home is made when somebody logs in who has none on this node.
    type: bool
    default: true
  home_umask:
    description: The octal mask for such a home. V(0077) lets nobody else in.
    type: str
    default: '0077'
  expected_users:
    description: Users who must be known on the node at the end, as a proof that it works. If one is not, the task fails.
    type: list
    elements: str
    default: []
  timeout_s:
    description: For how many seconds to wait for an answer of each server before the first change.
    type: float
    default: 5
  conflicts:
    description:
      - What happens on a node that gets users from elsewhere already, by sssd, nslcd, winbind or a NIS that was set up otherwise.
      - V(refuse) stops before the first change.
      - V(replace) puts that aside until O(state=absent) brings it back.
      - A node that another role of this collection has set up is refused either way.
    type: str
    choices: [refuse, replace]
    default: refuse
  state:
    description:
      - V(present) brings the users of the domain to the node.
      - V(absent) gives the node back as it was before. No other option is needed then.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - name: yp.conf(5)
    description: Where ypbind looks for servers.
    link: https://linux.die.net/man/5/yp.conf
  - module: dgxops.fleet.ldap_client
  - module: dgxops.fleet.ad_client
"""

EXAMPLES = r"""
- name: Users of our NIS domain
  dgxops.fleet.nis_client:
    domain: dgx
    servers: [nis1.example.com, nis2.example.com]

- name: Give the node back as it was
  dgxops.fleet.nis_client:
    state: absent
"""

RETURN = r"""
server:
  description: The server that answers; empty with O(state=absent) and in check mode.
  returned: success
  type: str
  sample: nis1.example.com
installed:
  description: Packages that were installed by this call, without what they depend on.
  returned: success
  type: list
  elements: str
  sample: [libnss-nis, nscd, yp-tools, ypbind-mt]
removed:
  description: Packages that were removed by this call.
  returned: success
  type: list
  elements: str
  sample: []
owner:
  description: The module that brings users to this node after the call; empty if none.
  returned: success
  type: str
  sample: nis_client
problems:
  description: What is wrong with the servers.
  returned: if it fails because of them
  type: list
  elements: str
conflicts:
  description: What brings users to this node already.
  returned: if it fails because of that
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.files import read_text
from ..module_utils.host.host import Host
from ..module_utils.identity.nis import WARNING, Domain, NisWish, ask_all, judge
from ..module_utils.identity.node import carry_out, read
from ..module_utils.identity.state import ROLES, decide, decide_return

ARGUMENTS = {
    "domain": {"type": "str"},
    "servers": {"type": "list", "elements": "str", "default": []},
    "create_home": {"type": "bool", "default": True},
    "home_umask": {"type": "str", "default": "0077"},
    "expected_users": {"type": "list", "elements": "str", "default": []},
    "timeout_s": {"type": "float", "default": 5.0},
    "conflicts": {"type": "str", "choices": ["refuse", "replace"], "default": "refuse"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host, domain = Host(Commands()), Domain()
        if module.params["state"] == "present":
            wanted = NisWish.from_params(module.params, read_text(host.path("etc/os-release")) or "")
            change, users = decide(wanted.wish, read(wanted.wish, host, domain)), wanted.wish.users
            for warning in [WARNING] + judge(ask_all(wanted), wanted.servers, bool(change)):
                module.warn(warning)
        else:
            change, users = decide_return("nis", read(None, host, domain)), ()
        if not module.check_mode:
            carry_out(change, host, users, domain)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            server=domain.server,
            installed=change.install,
            removed=change.remove,
            owner=ROLES[change.record["owner"]] if change.keep else "",
        )


if __name__ == "__main__":
    main()
