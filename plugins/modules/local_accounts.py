#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many local users and groups in one call, and the accounts as they were before."""

DOCUMENTATION = r"""
module: local_accounts
short_description: Create and change many local users and groups in one call, and give the host back
version_added: 0.1.0
description:
  - Creates local users and groups, and brings those that exist to what is asked for. All in one call, so that a run over fifty users that changes
    nothing costs as much as one over a single user.
  - Before the first change all of them are compared with what is there. A uid, gid, name or home that belongs to somebody else is told, with all others, and
    nothing is changed.
  - Users and groups that are not named are not touched.
  - What the first change found is remembered below C(/var/backups/dgxops), readable by root only. O(state=absent) gives it back.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows the accounts before and after. Passwords are told as there or not, changed or not.
options:
  users:
    description: The users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      uid:
        description: The user's number. One that exists is never given another.
        type: int
      group:
        description: Name of the primary group. A new user without it gets a group of his own name.
        type: str
      groups:
        description: Supplementary groups, such as V(docker). They exist or are named in O(groups).
        type: list
        elements: str
        default: []
      only_these_groups:
        description: Whether the user is taken out of other supplementary groups.
        type: bool
        default: false
      comment:
        description: The user's full name or what else is to be told.
        type: str
      home:
        description: The home directory, made for new users. That of a user who exists is changed, but nothing is moved.
        type: str
      shell:
        description: The login shell.
        type: str
      password_hash:
        description: The password as crypt(5) has it; V(!) for none. Without this option a password is left alone, and a new user has none.
        type: str
      authorized_keys:
        description: Lines for C(~/.ssh/authorized_keys). Other lines that are there stay.
        type: list
        elements: str
        default: []
  groups:
    description: The groups. They are made before the users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      gid:
        description: The group's number. One that exists is never given another.
        type: int
      system:
        description: Whether a new group gets a number from the range for the system.
        type: bool
        default: false
  remove_homes:
    description: With O(state=absent), whether the homes of the users that go are removed too, with all that is in them.
    type: bool
    default: false
  state:
    description:
      - V(present) makes the users and groups what is asked for.
      - V(absent) removes the users and groups that this module made, and brings what it changed of others back. O(users) and O(groups) are not needed then.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: A user who may run containers
  dgxops.fleet.local_accounts:
    groups:
      - name: docker
        system: true
    users:
      - name: dgxuser
        shell: /bin/bash
        groups: [docker]

- name: Give the host back, and keep the homes
  dgxops.fleet.local_accounts:
    state: absent
"""

RETURN = r"""
new_users:
  description: Users that were made.
  returned: success
  type: list
  elements: str
  sample: [dgxuser]
new_groups:
  description: Groups that were made.
  returned: success
  type: list
  elements: str
  sample: [docker]
users:
  description: The named users as they are after the change (in check mode, those that exist, as found).
  returned: success
  type: dict
  sample: {dgxuser: {name: dgxuser, uid: 1001, gid: 1001, comment: "", home: /home/dgxuser, shell: /bin/bash, groups: [docker]}}
collisions:
  description: What stands in the way.
  returned: if the accounts collide with others
  type: list
  elements: str
  sample: ["The uid 1001 of user dgxuser belongs to user somebody."]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.accounts import wishes_from_params
from ..module_utils.host.accounts_host import carry_out, plan, plan_return, read, without_shell
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host

USER = {
    "name": {"type": "str", "required": True},
    "uid": {"type": "int"},
    "group": {"type": "str"},
    "groups": {"type": "list", "elements": "str", "default": []},
    "only_these_groups": {"type": "bool", "default": False},
    "comment": {"type": "str"},
    "home": {"type": "str"},
    "shell": {"type": "str"},
    "password_hash": {"type": "str", "no_log": True},
    "authorized_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
}
GROUP = {"name": {"type": "str", "required": True}, "gid": {"type": "int"}, "system": {"type": "bool", "default": False}}
ARGUMENTS = {
    "users": {"type": "list", "elements": "dict", "default": [], "options": USER},
    "groups": {"type": "list", "elements": "dict", "default": [], "options": GROUP},
    "remove_homes": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    names = [user["name"] for user in module.params["users"]]
    with errors_reported_by(module):
        host = Host(Commands())
        if module.params["state"] == "present":
            wishes = wishes_from_params(module.params)
            work = plan(wishes, {user["name"]: user["authorized_keys"] for user in module.params["users"]}, host)
            for warning in without_shell(wishes, host):
                module.warn(warning)
        else:
            work = plan_return(module.params["remove_homes"], host)
        if not module.check_mode:
            carry_out(work, host)
        now = read(host)
        module.exit_json(
            changed=bool(work),
            diff=[diff.to_dict() for diff in work.diffs],
            new_users=list(work.change.new_users),
            new_groups=list(work.change.new_groups),
            users={name: dict(now.users[name]._asdict(), groups=list(now.groups_of(name))) for name in names if name in now.users},
        )


if __name__ == "__main__":
    main()
