# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a host's local accounts and changes them by the system's own programs; what is to be changed is decided in :mod:`accounts`.

What the first change found is remembered, so that the host can be given back: which users and groups are ours, and what others were like.
"""
import contextlib
import copy
import os
from typing import Any, ContextManager, Dict, List, Mapping, NamedTuple, Sequence

from . import records
from .accounts import Accounts, Change, Shadow, Step, User, UserWish, Wishes, decide, parse
from .as_user import as_user
from .errors import FleetError
from .files import Diff, read_text, write_atomic
from .host import Host

RECORD = "local_accounts"

#: groupdel(8), exit values.
_NO_SUCH_GROUP = 6

#: Users and groups that are ours, fields of others from before our change, and keys that we added.
_NOTHING: Mapping[str, Any] = {"users": [], "groups": [], "changed": {}, "keys": {}}


class KeyChange(NamedTuple):
    """The authorized keys of a user, from one text to another."""

    user: str
    before: str
    after: str

    @property
    def diff(self) -> Diff:
        return Diff(self.before, self.after, "authorized_keys of {0}".format(self.user))


class Work(NamedTuple):
    """All that is to be done on a host, and what is remembered while it is done (``record``) and afterwards (``kept``)."""

    change: Change
    keys: Sequence[KeyChange]
    record: Mapping[str, Any]
    kept: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.change) or bool(self.keys)

    @property
    def diffs(self) -> List[Diff]:
        return ([self.change.diff] if self.change else []) + [change.diff for change in self.keys]


def plan(wishes: Wishes, keys: Mapping[str, Sequence[str]], host: Host) -> Work:
    """The way to the wanted accounts and keys, or a refusal."""
    found, record = read(host), _read_record(host)
    change = decide(wishes, found, owners_of_homes(wishes, host))
    key_changes = decide_keys(keys, found, host)
    kept = remember(record, change, found)
    for entry in key_changes:
        ours = kept["keys"].setdefault(entry.user, [])
        ours += [key for key in keys[entry.user] if key not in entry.before.splitlines() and key not in ours]
    return Work(change, key_changes, kept, kept)


def plan_return(remove_homes: bool, host: Host) -> Work:
    """The way back to the accounts from before."""
    found, record = read(host), _read_record(host)
    return Work(decide_return(record, found, remove_homes), keys_returned(record, found, host), record, _NOTHING)


def carry_out(work: Work, host: Host) -> None:
    """Do it. The record is on the disk before the first step, so a run cut short is completed by the next, and given back like any other."""
    _write_record(work.record, host)
    _run(work.change.steps, host)
    _write_keys(work.keys, host)
    _write_record(work.kept, host)


def read(host: Host) -> Accounts:
    """The accounts of the host's files; not those of LDAP or NIS."""
    texts = [read_text(host.path("etc/" + name)) for name in ("passwd", "group", "shadow")]
    if texts[0] is None or texts[1] is None:
        raise FleetError("/etc/passwd or /etc/group is missing; without them this is no host whose accounts could be kept.")
    return parse(texts[0], texts[1], texts[2] or "")


def owners_of_homes(wishes: Wishes, host: Host) -> Dict[str, int]:
    """Who owns those of the wanted homes that exist already."""
    found = {}
    for user in wishes.users:
        home = user.home or "/home/" + user.name
        with contextlib.suppress(OSError):
            found[home] = os.stat(host.path(home)).st_uid
    return found


def without_shell(wishes: Wishes, host: Host) -> List[str]:
    """Who could not log in, as sentences: useradd(8) takes a shell that is not there, and sshd and login do not."""
    return ["The shell {0} of {1} is not on this host, so that there is no login until its package is installed.".format(user.shell, user.name)
            for user in wishes.users if user.shell and not os.path.exists(host.path(user.shell))]


def _read_record(host: Host) -> Dict[str, Any]:
    """What the first change found; nothing if there was none."""
    record: Dict[str, Any] = copy.deepcopy(dict(_NOTHING))
    record.update(records.read(RECORD, host.root))
    try:
        for user in record["changed"].values():
            _as_it_was("", user)
        return record
    except (ValueError, TypeError, KeyError, AttributeError):
        raise records.damaged(RECORD)


def remember(record: Mapping[str, Any], change: Change, found: Accounts) -> Dict[str, Any]:
    """The record with what this change is the first to touch."""
    kept = copy.deepcopy(dict(record))
    kept["users"] += [name for name in change.new_users if name not in kept["users"]]
    kept["groups"] += [name for name in change.new_groups if name not in kept["groups"]]
    for step in change.steps:
        name = step.text_in.split(":")[0] if step.text_in else step.argv[-1]
        if name in found.users and name not in kept["users"]:
            was = _fields(found.users[name], found)
            changed = kept["changed"].setdefault(name, {})
            for field in _touched(step):
                changed.setdefault(field, was[field])
    return kept


def decide_return(record: Mapping[str, Any], found: Accounts, remove_homes: bool) -> Change:
    """The way back: our users and groups go, others are as they were."""
    gone = [name for name in record["users"] if name in found.users]
    steps = [Step(("userdel",) + (("--remove",) if remove_homes else ()) + (name,)) for name in gone]
    changed = tuple(_as_it_was(name, user) for name, user in sorted(record["changed"].items()) if name in found.users)
    back = decide(Wishes((), changed), found, {})
    groups = [name for name in record["groups"] if name in found.groups]
    steps += list(back.steps) + [Step(("groupdel", name)) for name in groups if not _still_used(name, found, gone, record)]
    before = ["user {0}".format(name) for name in gone] + list(back.before) + ["group {0}".format(name) for name in groups]
    after = list(back.after) + ["group {0}: others use it".format(name) for name in groups if _still_used(name, found, gone, record)]
    return Change(tuple(steps), before, after, [], [])


def _run(steps: Sequence[Step], host: Host) -> None:
    """Run the steps in order. A failure names the program and what it said; what it read is not told."""
    for step in steps:
        result = host.commands.run(step.argv, text_in=step.text_in)
        if result.rc == _NO_SUCH_GROUP and step.argv[0] == "groupdel":
            continue  # userdel took it along: it does so with a group of the user's own name, where login.defs(5) has USERGROUPS_ENAB
        if result.rc != 0:
            said = (result.err.strip() or result.out.strip() or "nothing").replace("\n", "; ")
            raise FleetError("{0} failed with status {1} and said: {2}. The steps before it are done; the next run goes on from here.".format(
                " ".join(step.argv), result.rc, said))


def _write_record(record: Mapping[str, Any], host: Host) -> None:
    """Keep the record where only root reads it: it holds shadow entries. An empty one is removed."""
    records.write(RECORD, record if any(record.values()) else {}, host.root)


def decide_keys(keys: Mapping[str, Sequence[str]], found: Accounts, host: Host) -> List[KeyChange]:
    """Which users lack some of their keys. Keys that are there besides are the user's own and stay."""
    changes = []
    for name, wanted in sorted(keys.items()):
        user = found.users.get(name)
        text = ""
        if user is not None:
            with _as_user(user.uid, user.gid, host):
                text = read_text(_key_file(user.home, host)) or ""
        missing = [key for key in wanted if key not in text.splitlines()]
        if missing:
            start = text if not text or text.endswith("\n") else text + "\n"
            changes.append(KeyChange(name, text, start + "".join(key + "\n" for key in missing)))
    return changes


def _write_keys(changes: Sequence[KeyChange], host: Host) -> None:
    """Write key files with the rights of the users themselves, since what is below a home may be a link to anywhere."""
    found = read(host)
    for change in changes:
        user = found.users[change.user]
        with _as_user(user.uid, user.gid, host):
            place = _key_file(user.home, host)
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            write_atomic(place, change.after, 0o600)


def keys_returned(record: Mapping[str, Any], found: Accounts, host: Host) -> List[KeyChange]:
    """Our keys taken out of the files of users that stay."""
    changes = []
    for name, ours in sorted(record["keys"].items()):
        user = found.users.get(name)
        if user is None or name in record["users"]:
            continue
        with _as_user(user.uid, user.gid, host):
            text = read_text(_key_file(user.home, host)) or ""
        left = "".join(line for line in text.splitlines(True) if line.rstrip("\n") not in ours)
        if left != text:
            changes.append(KeyChange(name, text, left))
    return changes


def _fields(user: User, found: Accounts) -> Dict[str, Any]:
    return {
        "comment": user.comment, "home": user.home, "shell": user.shell, "group": found.group_name(user.gid), "groups": list(found.groups_of(user.name)),
        "shadow": list(found.shadow.get(user.name, Shadow())),
    }


def _touched(step: Step) -> List[str]:
    """What a step changes of a user. Only that is given back: what the user changed himself meanwhile, such as his password, stays."""
    options = {"--comment": "comment", "--home": "home", "--shell": "shell", "--gid": "group", "--groups": "groups"}
    return ["shadow"] if step.argv[0] in ("chpasswd", "chage") else [options[word] for word in step.argv if word in options]


def _as_it_was(name: str, was: Mapping[str, Any]) -> UserWish:
    return UserWish(
        name, None, was.get("group"), tuple(was.get("groups", ())), "groups" in was, was.get("comment"), was.get("home"), was.get("shell"), None,
        Shadow(*was["shadow"]) if "shadow" in was else None,
    )


def _still_used(name: str, found: Accounts, gone: Sequence[str], record: Mapping[str, Any]) -> bool:
    group = found.groups[name]
    ours = set(gone) | {user for user, was in record["changed"].items() if name not in was.get("groups", [name])}
    back = set(gone) | {user for user, was in record["changed"].items() if was.get("group", name) != name}
    return bool(set(group.members) - ours) or any(user.gid == group.gid for user in found.users.values() if user.name not in back)


def _key_file(home: str, host: Host) -> str:
    return host.path(os.path.join(home, ".ssh", "authorized_keys"))


def _as_user(uid: int, gid: int, host: Host) -> ContextManager[object]:
    """Below another root than the host's own, a test plays the users."""
    return as_user(uid, gid) if host.root == "/" else contextlib.ExitStack()
