#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users of a node from Active Directory, and the node as it was before."""

DOCUMENTATION = r"""
module: ad_client
short_description: Make a node a member of an Active Directory domain, bring its users by sssd, and give the node back as it was
version_added: 0.1.0
description:
  - Joins the domain by adcli, configures sssd, and tells nsswitch.conf and PAM of it, all in one call. If the node cannot join, it is given back as it was.
  - The password for joining goes to adcli by a pipe. It is on no command line and in no file, and not needed any more once the node is a member.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back, takes the node out of the domain, and
    removes the added software with all that the directory told this node.
  - The node must find the domain by DNS, and its clock must be right.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.sssd
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the domain lets the node in only shows when it is run.
  diff_mode:
    support: full
    description: Shows packages, files, services, PAM and membership before and after, without secrets.
options:
  domain:
    description: The DNS name of the domain, such as V(ad.example.com). Needed with O(state=present).
    type: str
  servers:
    description: The domain controllers in the order in which they are asked. Without any, DNS tells them.
    type: list
    elements: str
    default: []
  join_user:
    description: Who lets the node into the domain, and out of it.
    type: str
    default: Administrator
  join_password:
    description:
      - The password of O(join_user). Needed for the run that joins the domain only.
      - With O(state=absent) it removes the node's account from the domain; without it, the account stays there, and the node only forgets it.
    type: str
  computer_name:
    description: The node's name in the domain, at most 15 letters. Without it, the node's own.
    type: str
  computer_ou:
    description: The organizational unit for the node's account, such as V(OU=DGX,DC=ad,DC=example,DC=com). Without it, where the domain puts computers.
    type: str
  id_mapping:
    description:
      - Whether numbers of users and groups are computed from their SIDs, the same on every node (V(true)), or taken from C(uidNumber) and C(gidNumber) in the
        domain (V(false)).
      - Set it once. Files keep the numbers they have.
    type: bool
    default: true
  qualified_names:
    description: Whether users are called V(alice@ad.example.com) (V(true)) or V(alice) (V(false)).
    type: bool
    default: false
  gpo:
    description: Whether the group policies of the domain decide who may log in (V(enforcing)), only in the logs (V(permissive)), or not at all (V(disabled)).
    type: str
    choices: [enforcing, permissive, disabled]
    default: enforcing
seealso:
  - name: sssd-ad(5)
    description: What the settings mean.
    link: https://linux.die.net/man/5/sssd-ad
  - module: dgxops.fleet.ldap_client
  - module: dgxops.fleet.nis_client
"""

EXAMPLES = r"""
- name: Be a member of the domain, for the members of one group
  dgxops.fleet.ad_client:
    domain: ad.example.com
    join_user: joiner
    join_password: "{{ vaulted_password }}"
    allowed_groups: [dgx-users]

- name: Leave the domain and give the node back as it was
  dgxops.fleet.ad_client:
    state: absent
    join_user: joiner
    join_password: "{{ vaulted_password }}"
"""

RETURN = r"""
member_of:
  description: The domain's realm after the call; empty if the node is in none.
  returned: success
  type: str
  sample: AD.EXAMPLE.COM
installed:
  description: Packages that were installed by this call, without what they depend on.
  returned: success
  type: list
  elements: str
  sample: [adcli, libnss-sss, libpam-sss, sssd-ad]
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
  sample: ad_client
conflicts:
  description: What brings users to this node already.
  returned: if it fails because of that
  type: list
  elements: str
"""

import socket
from typing import Union

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.identity import sssd
from ..module_utils.identity.ad import AdWish, Departure, Membership
from ..module_utils.identity.node import carry_out, read
from ..module_utils.identity.state import ROLES, decide, decide_return

ARGUMENTS = dict(
    sssd.ARGUMENTS,
    domain={"type": "str"},
    servers={"type": "list", "elements": "str", "default": []},
    join_user={"type": "str", "default": "Administrator"},
    join_password={"type": "str", "no_log": True},
    computer_name={"type": "str"},
    computer_ou={"type": "str"},
    id_mapping={"type": "bool", "default": True},
    qualified_names={"type": "bool", "default": False},
    gpo={"type": "str", "choices": ["enforcing", "permissive", "disabled"], "default": "enforcing"},
)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    login, password = module.params["join_user"], module.params["join_password"] or ""
    with errors_reported_by(module):
        host = Host(Commands())
        if module.params["state"] == "present":
            wanted = AdWish.from_params(module.params, socket.gethostname())
            membership: Union[Membership, Departure] = Membership(login, password, wanted)
            change, users = decide(wanted.wish, read(wanted.wish, host, membership)), wanted.wish.users
        else:
            membership = Departure(login, password)
            change, users = decide_return("ad", read(None, host, membership)), ()
        if not module.check_mode:
            carry_out(change, host, users, membership)
        if membership.left_behind:
            module.warn("The account {0} is still there. Remove it in the domain, or next time give join_password.".format(membership.left_behind))
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            member_of=change.after.enrolment,
            installed=change.install,
            removed=change.remove,
            owner=ROLES[change.record["owner"]] if change.keep else "",
        )


if __name__ == "__main__":
    main()
