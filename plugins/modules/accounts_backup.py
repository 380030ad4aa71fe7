#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of local users and their homes on another disk, and the users back from it."""

DOCUMENTATION = r"""
module: accounts_backup
short_description: Copy local users and their homes to another disk, and bring them back on a host that was set up anew
version_added: 0.1.0
description:
  - Keeps the accounts of local users, with numbers, groups and shadow entries, and a mirror of their homes. Only what changed since the last time is
    copied.
  - On a host that was set up anew, O(state=restored) brings the same users, uids, gids, passwords and files back. A uid, gid, name or home that somebody
    else has there is told, with all others, and nothing is changed. Files that are there already stay as they are.
  - Groups of the system, such as C(docker) and C(sudo), are found by name, since their numbers differ from host to host.
  - Users that are restored go again with O(dgxops.fleet.local_accounts#module:state=absent), like those that M(dgxops.fleet.local_accounts) made.
requirements:
  - rsync
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does, with the number of files.
  diff_mode:
    support: full
    description: Shows accounts without their secrets, and the number of files of each home.
options:
  path:
    description:
      - The directory of the copy, on a disk other than those of the system and the homes; for example an NFS share. It is closed to all but root.
      - Hosts that share a disk take a directory each.
    type: path
    required: true
  users:
    description: With O(state=restored), the users to bring back. Without this option all that the copy has. All with uids from 1000 to 59999 are saved.
    type: list
    elements: str
  homes:
    description: Whether the homes are copied too.
    type: bool
    default: true
  same_disk:
    description: Whether O(path) may be on the same file system as C(/) or a home. Such a copy is lost with the original.
    type: bool
    default: false
  timeout:
    description: For how many seconds at most the copy of one home may take.
    type: int
    default: 14400
  state:
    description:
      - V(saved) brings the copy to what the host has. What was removed from a home is removed from the copy; the homes of users who are gone stay there.
        A copy of another installation is never overwritten, so that a host that was set up anew cannot take its own copy.
      - V(restored) brings the users of the copy to the host.
    type: str
    choices: [saved, restored]
    default: saved
seealso:
  - module: dgxops.fleet.local_accounts
"""

EXAMPLES = r"""
- name: Keep a copy on the file server
  dgxops.fleet.accounts_backup:
    path: /mnt/backup/{{ inventory_hostname }}

- name: Bring the users back after the host was set up anew
  dgxops.fleet.accounts_backup:
    path: /mnt/backup/{{ inventory_hostname }}
    state: restored
"""

RETURN = r"""
users:
  description: The users that were saved or restored.
  returned: success
  type: list
  elements: str
  sample: [alice, bob]
new_users:
  description: Those of them that the host did not have; always empty with O(state=saved).
  returned: success
  type: list
  elements: str
  sample: [alice]
homes:
  description: How many files and directories of each home were copied, changed or removed.
  returned: success
  type: dict
  sample: {alice: 12, bob: 0}
collisions:
  description: What stands in the way.
  returned: if the accounts collide with others
  type: list
  elements: str
  sample: ["The uid 1001 of user alice belongs to user somebody."]
"""

from typing import Dict, List

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host import accounts_backup as backup
from ..module_utils.host.accounts_host import Host, carry_out, plan, read
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "users": {"type": "list", "elements": "str"},
    "homes": {"type": "bool", "default": True},
    "same_disk": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 14400},
    "state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
}


def save(module: AnsibleModule, host: Host) -> None:
    path, dry = module.params["path"], module.check_mode
    machine = backup.machine_id(host)
    before, wanted = backup.read_saved(path, host), backup.select(read(host), machine)
    backup.refuse_other_machine(path, before, machine)
    mirrors = backup.mirrors_to(path, wanted, host) if module.params["homes"] else []
    if not module.params["same_disk"]:
        backup.refuse_same_disk(path, [mirror.source for mirror in mirrors], host)
    if not dry and before != wanted:
        backup.save(path, wanted, host)
    moved = [backup.move(mirror, host, False, dry, module.params["timeout"]) for mirror in mirrors]
    report(module, before != wanted, moved, [user.name for user in wanted.users], [], backup.diff_of(before, wanted, moved, path))


def restore(module: AnsibleModule, host: Host) -> None:
    path, dry = module.params["path"], module.check_mode
    saved = backup.read_saved(path, host)
    if saved is None:
        raise FleetError("There is no copy in {0}: {1} is missing there. Check the path, and that its disk is mounted.".format(path, backup.FILE))
    wishes = backup.wishes_of(saved, read(host), module.params["users"])
    work = plan(wishes, {}, host)
    if not dry:
        carry_out(work, host)
    mirrors = backup.mirrors_from(path, wishes.users, host) if module.params["homes"] else []
    moved = [backup.move(mirror, host, True, dry, module.params["timeout"]) for mirror in mirrors]
    complete = module.params["homes"] and not module.params["users"]
    if complete and not dry:  # from now on the copy is this installation's, and may follow it
        backup.save(path, saved._replace(machine=backup.machine_id(host)), host)
    shown = [diff.to_dict() for diff in work.diffs] + backup.diff_of(saved, saved, moved, path)
    report(module, bool(work), moved, [user.name for user in wishes.users], list(work.change.new_users), shown)


def report(
    module: AnsibleModule, accounts_changed: bool, moved: List[backup.Mirror], users: List[str], new_users: List[str], diff: List[Dict[str, str]]
) -> None:
    homes = backup.summary(moved)
    module.exit_json(changed=accounts_changed or any(homes.values()), diff=diff, users=users, new_users=new_users, homes=homes)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        if module.params["state"] == "saved":
            save(module, host)
        else:
            restore(module, host)


if __name__ == "__main__":
    main()
