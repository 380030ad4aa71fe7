#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users of a node from LDAP, and the node as it was before."""

DOCUMENTATION = r"""
module: ldap_client
short_description: Bring the users of an LDAP directory to a node by sssd, and give the node back as it was
version_added: 0.1.0
description:
  - Before anything is changed, the servers are asked whether they can be trusted, let the node in, and have the search base. A certificate that nobody vouches
    for stops the task. Then sssd is installed and configured, and nsswitch.conf and PAM are told of it, all in one call.
  - The connection is always encrypted, and the server's certificate always checked; there is no option against that.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back, and removes the added software with all
    that the directory told this node, the cached passwords too.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.sssd
attributes:
  check_mode:
    support: full
    description: Asks the servers, and predicts what the run then does. Whether O(expected_users) are known only shows when it is run.
  diff_mode:
    support: full
    description: Shows packages, files, services and PAM before and after, without secrets.
options:
  servers:
    description:
      - The LDAP servers in the order in which they are asked, such as V(ldap1.example.com) or V(ldap1.example.com:1389).
      - Needed with O(state=present).
    type: list
    elements: str
    default: []
  backup_servers:
    description: Servers that are only asked while none of O(servers) answers.
    type: list
    elements: str
    default: []
  tls:
    description: Whether TLS is asked for on the usual port (V(starttls)), or begins at once on another (V(ldaps)).
    type: str
    choices: [starttls, ldaps]
    default: starttls
  ca_certificates:
    description:
      - The certificates of the authorities that may vouch for the servers, in PEM form.
      - Without it, the authorities that the node trusts anyway (C(/etc/ssl/certs)).
    type: str
  base:
    description: The distinguished name below which users and groups are, such as V(dc=example,dc=com). Needed with O(state=present).
    type: str
  domain:
    description: What sssd calls the directory. It shows in logs and the names of cache files.
    type: str
    default: ldap
  bind_dn:
    description: The distinguished name of the account that the node asks with. Without it, the node asks anonymously.
    type: str
  bind_password:
    description: Its password. It is kept in C(/etc/sssd/sssd.conf), which root alone can read, until O(state=absent).
    type: str
  schema:
    description: How groups name their members. By name (V(rfc2307)) or by distinguished name (V(rfc2307bis), V(ipa), V(ad)).
    type: str
    choices: [rfc2307, rfc2307bis, ipa, ad]
    default: rfc2307
  user_base:
    description: Where users are, if not all below O(base).
    type: str
  user_filter:
    description: An LDAP filter that users must fit, such as V((departmentNumber=42)).
    type: str
  group_base:
    description: Where groups are, if not all below O(base).
    type: str
  group_filter:
    description: An LDAP filter that groups must fit.
    type: str
  sudo_base:
    description: Where rules for sudo are, if not below O(base).
    type: str
  timeout_s:
    description: For how many seconds to wait for an answer of each server before the first change.
    type: float
    default: 5
seealso:
  - name: sssd-ldap(5)
    description: What the settings mean.
    link: https://linux.die.net/man/5/sssd-ldap
  - module: dgxops.fleet.ad_client
  - module: dgxops.fleet.nis_client
"""

EXAMPLES = r"""
- name: Users from two servers with an authority of our own
  dgxops.fleet.ldap_client:
    servers: [ldap1.example.com, ldap2.example.com]
    base: dc=example,dc=com
    ca_certificates: "{{ lookup('ansible.builtin.file', 'ca.pem') }}"

- name: Only for the members of one group, and by ldaps
  dgxops.fleet.ldap_client:
    servers: [ldap1.example.com]
    tls: ldaps
    base: dc=example,dc=com
    bind_dn: cn=nodes,dc=example,dc=com
    bind_password: "{{ vaulted_password }}"
    allowed_groups: [dgx]

- name: Give the node back as it was
  dgxops.fleet.ldap_client:
    state: absent
"""

RETURN = r"""
servers:
  description: What each server answered; empty with O(state=absent).
  returned: success
  type: list
  elements: dict
  contains:
    uri:
      description: The server.
      type: str
    reached:
      description: Whether it answered.
      type: bool
    problem:
      description: What is wrong with it; empty if nothing.
      type: str
  sample: [{uri: "ldap://ldap1.example.com", reached: true, problem: ""}]
installed:
  description: Packages that were installed by this call, without what they depend on.
  returned: success
  type: list
  elements: str
  sample: [libnss-sss, libpam-sss, sssd-ldap]
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
  sample: ldap_client
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
from ..module_utils.host.host import Host
from ..module_utils.identity import sssd
from ..module_utils.identity.ldap import LdapWish, ask_all, judge
from ..module_utils.identity.node import carry_out, read
from ..module_utils.identity.state import ROLES, decide, decide_return

ARGUMENTS = dict(
    sssd.ARGUMENTS,
    servers={"type": "list", "elements": "str", "default": []},
    backup_servers={"type": "list", "elements": "str", "default": []},
    tls={"type": "str", "choices": ["starttls", "ldaps"], "default": "starttls"},
    ca_certificates={"type": "str"},
    base={"type": "str"},
    domain={"type": "str", "default": "ldap"},
    bind_dn={"type": "str"},
    bind_password={"type": "str", "no_log": True},
    schema={"type": "str", "choices": ["rfc2307", "rfc2307bis", "ipa", "ad"], "default": "rfc2307"},
    user_base={"type": "str"},
    user_filter={"type": "str"},
    group_base={"type": "str"},
    group_filter={"type": "str"},
    sudo_base={"type": "str"},
    timeout_s={"type": "float", "default": 5.0},
)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host, answers = Host(Commands()), []
        if module.params["state"] == "present":
            wanted = LdapWish.from_params(module.params)
            change = decide(wanted.wish, read(wanted.wish, host))
            answers = ask_all(wanted)
            for warning in judge(answers, bool(change)):
                module.warn(warning)
            users = wanted.wish.users
        else:
            change, users = decide_return("ldap", read(None, host)), ()
        if not module.check_mode:
            carry_out(change, host, users)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            servers=[{"uri": answer.server.uri, "reached": answer.reached, "problem": answer.problem} for answer in answers],
            installed=change.install,
            removed=change.remove,
            owner=ROLES[change.record["owner"]] if change.keep else "",
        )


if __name__ == "__main__":
    main()
