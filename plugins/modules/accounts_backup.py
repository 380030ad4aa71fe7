#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of local users and their homes on another disk or host, and the users back from it."""

DOCUMENTATION = r"""
module: accounts_backup
short_description: Copy local users and their homes to another disk or host, and bring them back on a host that was set up anew
version_added: 0.1.0
description:
  - Keeps the accounts of local users, with numbers, groups and shadow entries, and a mirror of their homes. Only what changed since the last time is
    copied.
  - On a host that was set up anew, O(state=restored) brings the same users, uids, gids, passwords and files back. A uid, gid, name or home that somebody
    else has there is told, with all others, and nothing is changed. Files that are there already stay as they are.
  - Groups of the system, such as C(docker) and C(sudo), are found by name, since their numbers differ from host to host.
  - A copy on another host goes there by rsync over ssh, encrypted on the way. Nobody has to be root there, since rsync keeps owners, modes and access
    lists in extended attributes. Whoever is root there can read the copy.
  - The key of the other host is always checked, and must be known beforehand.
  - Users that are restored go again with O(dgxops.fleet.local_accounts#module:state=absent), like those that M(dgxops.fleet.local_accounts) made.
requirements:
  - rsync, for another host 3.1 or newer, there too
  - ssh, for another host
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
      - Or one of another host, such as V(backup@store:/srv/backup/dgx01), of which the directory above must exist.
      - Hosts that share a disk take a directory each.
    type: path
    required: true
  ssh:
    description: How another host is reached. What is not said here is as the host's own configuration of ssh has it.
    type: dict
    suboptions:
      host_keys:
        description:
          - The keys of the other host, one of which it must have, as in C(/etc/ssh/ssh_host_ed25519_key.pub) there. Without them, it must be in the known
            hosts of the user who runs the task or of the system.
        type: list
        elements: str
      key:
        description: The private key, without a passphrase; from a vault. It is in memory while the task runs, and nowhere on the host afterwards.
        type: str
      key_file:
        description: Or where it is on the host.
        type: path
      port:
        description: The port of sshd.
        type: int
  users:
    description: With O(state=restored), the users to bring back. Without this option all that the copy has. All with uids from 1000 to 59999 are saved.
    type: list
    elements: str
  homes:
    description: Whether the homes are copied too.
    type: bool
    default: true
  same_disk:
    description: Whether O(path) may be on the same file system as C(/) or a home, or on this very host by ssh. Such a copy is lost with the original.
    type: bool
    default: false
  timeout:
    description: For how many seconds at most the homes may take to be copied.
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

- name: Keep a copy on another host
  dgxops.fleet.accounts_backup:
    path: backup@store:/srv/backup/{{ inventory_hostname }}
    ssh:
      key: "{{ vault_backup_key }}"
      host_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…]

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

import shutil
from typing import Dict, List, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host import accounts_backup as backup
from ..module_utils.host import backup_place
from ..module_utils.host.accounts_host import carry_out, plan, read, without_shell
from ..module_utils.host.backup_place import Batch, Mirror, Place
from ..module_utils.host.backup_ssh import parse
from ..module_utils.host.commands import SYSTEM_PATH, Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.host import Host

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "ssh": {
        "type": "dict",
        "options": {
            "host_keys": {"type": "list", "elements": "str", "no_log": False},
            "key": {"type": "str", "no_log": True},
            "key_file": {"type": "path", "no_log": False},
            "port": {"type": "int"},
        },
        "mutually_exclusive": [("key", "key_file")],
    },
    "users": {"type": "list", "elements": "str"},
    "homes": {"type": "bool", "default": True},
    "same_disk": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 14400},
    "state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
}


def save(module: AnsibleModule, host: Host, place: Place) -> None:
    dry = module.check_mode
    machine = backup.machine_id(host)
    before, wanted = backup.read_saved(place), backup.select(read(host), machine)
    backup.refuse_other_machine(place.shown, before, machine)
    every = backup.mirrors_to(wanted, host)
    mirrors = every if module.params["homes"] else []
    place.refuse([mirror.home for mirror in every], [mirror.home for mirror in mirrors], module.params["same_disk"])
    ways = [(backup_place.to_copy(place, mirrors), backup_place.MIRROR)]
    moved = backup_place.counted_without_rsync(place, mirrors, False) if dry and not has_rsync() else move(module, place, ways, True)
    empty = backup.emptied(moved, host)
    if empty:
        module.warn("{0} empty, but the copy is not, so the copy of that stays as it is. Is a disk not mounted? If it is meant so, remove {1}.".format(
            " and ".join(mirror.home for mirror in empty) + (" is" if len(empty) == 1 else " are"),
            " and ".join("{0}/homes/{1}".format(place.shown, mirror.user) for mirror in empty)))
        moved = [mirror for mirror in moved if mirror not in empty]
        left = [mirror._replace(moved=0, size=0, removed=0) for mirror in moved]
        ways = [(backup_place.to_copy(place, left), backup_place.MIRROR)]
    backup_place.refuse_lack_of_room(moved, place.free(), place.shown)
    if not dry and before != wanted:
        place.write(wanted.to_text())
    if not dry and any(mirror.moved for mirror in moved):
        moved = move(module, place, ways, False)
    report(module, before != wanted, moved, [user.name for user in wanted.users], [], backup.diff_of(before, wanted, moved, place.shown))


def restore(module: AnsibleModule, host: Host, place: Place) -> None:
    dry = module.check_mode
    saved = backup.read_saved(place)
    if saved is None:
        raise FleetError("There is no copy in {0}: {1} is missing there. Check the path, and that its disk is mounted.".format(place.shown, backup.FILE))
    wishes = backup.wishes_of(saved, read(host), module.params["users"])
    work = plan(wishes, {}, host)
    for warning in without_shell(wishes, host):
        module.warn(warning)
    mirrors = backup.mirrors_from(place, wishes.users) if module.params["homes"] else []
    whole, others = backup.parted(mirrors, host)
    ways = [(backup_place.from_copy(place, whole), backup_place.COMPLETE), (backup_place.from_copy(place, others), backup_place.KEEP)]
    moved = backup_place.counted_without_rsync(place, mirrors, True) if dry and not has_rsync() else move(module, place, ways, True)
    backup_place.refuse_lack_of_room_here(moved, host)
    if not dry:
        begun = backup.begun(host)
        backup.begin(begun + [mirror.user for mirror in whole if mirror.user not in begun], host)
        carry_out(work, host)
        if any(mirror.moved for mirror in moved):
            moved = move(module, place, ways, False)
        backup.begin([name for name in begun if name not in [mirror.user for mirror in whole]], host)
    complete = module.params["homes"] and not module.params["users"]
    if complete and not dry and saved.machine != backup.machine_id(host):  # from now on the copy is this installation's, and may follow it
        place.write(saved._replace(machine=backup.machine_id(host)).to_text())
    shown = [diff.to_dict() for diff in work.diffs] + backup.diff_of(saved, saved, moved, place.shown)
    report(module, bool(work), moved, [user.name for user in wishes.users], list(work.change.new_users), shown)


def move(module: AnsibleModule, place: Place, ways: Sequence[Tuple[List[Batch], str]], dry: bool) -> List[Mirror]:
    """Copy homes, or count what there is to copy."""
    return [mirror for batches, how in ways for mirror in backup_place.move(place, batches, how, dry, module.params["timeout"])]


def has_rsync() -> bool:
    return shutil.which("rsync", path=SYSTEM_PATH) is not None


def report(
    module: AnsibleModule, accounts_changed: bool, moved: List[Mirror], users: List[str], new_users: List[str], diff: List[Dict[str, str]]
) -> None:
    homes = backup.summary(moved)
    module.exit_json(changed=accounts_changed or any(homes.values()), diff=diff, users=users, new_users=new_users, homes=homes)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host, ssh = Host(Commands()), module.params["ssh"] or {}
        if module.check_mode and not module.params["path"].startswith("/") and not has_rsync():
            parse(module.params["path"])
            module.warn("There is no rsync on this host yet, so that {0} was not asked.".format(module.params["path"]))
            module.exit_json(changed=True, users=[], new_users=[], homes={})
        with backup_place.place_of(module.params["path"], ssh, host) as place:
            (save if module.params["state"] == "saved" else restore)(module, host, place)


if __name__ == "__main__":
    main()
