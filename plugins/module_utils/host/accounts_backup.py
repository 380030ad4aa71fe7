# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of a host's users and their homes on another disk, and the users back from it on a host that was set up anew.

"If the OS drive fails on the DGX-1 or the DGX Station, you will lose all the users and everything in the /home directories" (section 3.1 of the Best
Practices). The accounts are kept as one JSON file, the homes as a mirror by rsync with numbers instead of names, so that owners, modes, links, access lists
and extended attributes come back as they were.
"""
import json
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .accounts import Accounts, Group, GroupWish, Shadow, User, UserWish, Wishes
from .backup_place import FILE, Mirror, Place
from .errors import FleetError
from .files import BACKUPS, Diff, read_text, remove, write_atomic
from .host import Host

#: Users and groups of the system have lower numbers, and "nobody" and dynamic users higher ones (Debian Policy 9.2.2).
FIRST, LAST = 1000, 59999

#: Whose homes are on their way back.
BEGUN = BACKUPS.lstrip("/") + "/local_accounts_homes.json"


class Saved(NamedTuple):
    """What a copy holds of the accounts, and of which installation (machine-id(5)) it is."""

    users: Tuple[User, ...]
    groups: Tuple[Group, ...]
    shadow: Mapping[str, Shadow]
    machine: str = ""

    def to_text(self) -> str:
        told = {
            "machine": self.machine,
            "users": [list(user) for user in self.users],
            "groups": [[group.name, group.gid, list(group.members)] for group in self.groups],
            "shadow": {name: list(shadow) for name, shadow in self.shadow.items()},
        }
        return json.dumps(told, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_text(cls, text: str, place: str) -> "Saved":
        try:
            told = json.loads(text)
            users = tuple(User(*user) for user in told["users"])
            groups = tuple(Group(name, int(gid), tuple(members)) for name, gid, members in told["groups"])
            shadow = {str(name): Shadow(*entry) for name, entry in told["shadow"].items()}
            if not all(isinstance(user.uid, int) and user.home.startswith("/") for user in users):
                raise ValueError("users")
            return cls(users, groups, shadow, str(told["machine"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise FleetError("{0} is damaged or no copy of accounts. Take another copy.".format(place))

    @property
    def shown(self) -> str:
        lines = ["user {0}: uid {1}, gid {2}, home {3}, shell {4}\n".format(user.name, user.uid, user.gid, user.home, user.shell) for user in self.users]
        return "".join(lines + ["group {0}: gid {1}, members {2}\n".format(group.name, group.gid, ",".join(group.members)) for group in self.groups])


def select(found: Accounts, machine: str) -> Saved:
    """The people among the accounts, and all groups that they are in."""
    people = [user for user in found.users.values() if FIRST <= user.uid <= LAST]
    chosen = {user.name for user in people}
    primary = {user.gid for user in people}
    groups = [
        Group(group.name, group.gid, tuple(sorted(set(group.members) & chosen)))
        for group in found.groups.values() if group.gid in primary or chosen & set(group.members)
    ]
    return Saved(
        tuple(sorted(people, key=lambda user: user.uid)), tuple(sorted(groups, key=lambda group: group.gid)),
        {name: found.shadow[name] for name in sorted(chosen & set(found.shadow))}, machine,
    )


def machine_id(host: Host) -> str:
    """What tells one installation of a host from the next."""
    return (read_text(host.path("etc/machine-id")) or "").strip()


def refuse_other_machine(path: str, before: Optional[Saved], machine: str) -> None:
    """A host that was set up anew has empty homes, if any; to mirror them would take the only copy of what was there."""
    if before is not None and before.machine != machine:
        raise FleetError(
            "The copy in {0} is of another installation: of this host before it was set up anew, or of another host. It was left as it is. Restore it first "
            "(state: restored), or take another path.".format(path)
        )


def wishes_of(saved: Saved, found: Accounts, names: Optional[Sequence[str]] = None) -> Wishes:
    """What a copy asks for. Groups of the system keep the number that this host has for their name: its own files depend on that."""
    names_of = {group.gid: group.name for group in saved.groups}
    taken = {group.gid for group in found.groups.values()}
    people = [user for user in saved.users if not names or user.name in names]
    chosen = {user.name for user in people}
    unknown = sorted(set(names or ()) - chosen)
    if unknown:
        raise FleetError("The copy has no user {0}.".format(", ".join(unknown)))
    groups = []
    for group in saved.groups:
        if not (chosen & set(group.members) or any(user.gid == group.gid for user in people)):
            continue
        system = group.gid < FIRST
        by_name = system and (group.name in found.groups or group.gid in taken)
        groups.append(GroupWish(group.name, None if by_name else group.gid, system))
    users = []
    for user in people:
        member_of = tuple(group.name for group in saved.groups if user.name in group.members)
        users.append(UserWish(
            user.name, user.uid, names_of.get(user.gid), member_of, False, user.comment, user.home, user.shell, None,
            saved.shadow.get(user.name, Shadow()), True,
        ))
    return Wishes(tuple(groups), tuple(users))


def read_saved(place: Place) -> Optional[Saved]:
    """The accounts of a copy; None if there is none."""
    text = place.read()
    return None if text is None else Saved.from_text(text, "{0}/{1}".format(place.shown, FILE))


def mirrors_to(saved: Saved, host: Host) -> List[Mirror]:
    """The homes to copy: those that exist and are directories of their own."""
    return [Mirror(user.name, os.path.normpath(user.home)) for user in saved.users
            if user.home != "/" and os.path.isdir(host.path(user.home)) and not os.path.islink(host.path(user.home))]


def emptied(moved: Sequence[Mirror], host: Host) -> List[Mirror]:
    """Homes without a single entry, of which the copy has some: what is on a disk that is not mounted looks so, and its copy is all there is."""
    return [mirror for mirror in moved if mirror.removed and not os.listdir(host.path(mirror.home))]


def mirrors_from(place: Place, users: Sequence[UserWish]) -> List[Mirror]:
    """The homes to bring back: those of the copy whose users come back."""
    there = set(place.names())
    return [Mirror(user.name, os.path.normpath(str(user.home))) for user in users if user.name in there]


def begun(host: Host) -> List[str]:
    """The users whose homes a run that was cut short began to bring back."""
    try:
        told = json.loads(read_text(host.path(BEGUN)) or "[]")
    except ValueError:
        told = []
    return [str(name) for name in told] if isinstance(told, list) else []


def begin(users: Sequence[str], host: Host) -> None:
    """Remember whose homes come back whole, before the first of them does."""
    place = host.path(BEGUN)
    if not users:
        remove(place)
    elif list(users) != begun(host):
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        write_atomic(place, json.dumps(list(users)) + "\n", 0o600)


def parted(mirrors: Sequence[Mirror], host: Host) -> Tuple[List[Mirror], List[Mirror]]:
    """Homes that come back whole, since nothing is there but what a run that was cut short brought; and those that were there before."""
    ours = begun(host)
    whole = [mirror for mirror in mirrors if mirror.user in ours or not os.path.exists(host.path(mirror.home))]
    return whole, [mirror for mirror in mirrors if mirror not in whole]


def diff_of(before: Optional[Saved], after: Saved, mirrors: Sequence[Mirror], path: str) -> List[Dict[str, str]]:
    """What ``--diff`` shows: accounts without their secrets, and how many files of each home."""
    shown = [Diff(before.shown if before else "", after.shown, "accounts in " + path)]
    moved = "".join("{0}: {1} entries\n".format(mirror.home, mirror.moved) for mirror in mirrors if mirror.moved)
    shown.append(Diff("", moved, "homes"))
    return [diff.to_dict() for diff in shown if diff.before != diff.after]


def summary(mirrors: Sequence[Mirror]) -> Dict[str, Any]:
    """How many entries of each home were moved."""
    return {mirror.user: mirror.moved for mirror in mirrors}
