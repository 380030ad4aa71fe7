# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Local users and groups: what the account files say, what is wanted, and the commands that lead there.

A backup is read as wishes too, so that to restore a node is to ask for the accounts that it had, numbers and shadow entries included (section 3.1 of
the Best Practices). Passwords are handed to programs by their input, never as an argument, which anybody on the host can read in the process list.
"""
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .errors import FleetError
from .files import Diff

#: As useradd(8) and groupadd(8) of Debian take them.
_NAME = re.compile(r"^[a-z_][a-z0-9_.-]{0,31}\Z")
#: crypt(5), or one of the words for "no login by password"; never nothing, with which anybody would get in.
_HASH = re.compile(r"^(?:[!*]{1,2}|!?\$[A-Za-z0-9-]+\$[^\s:]+)\Z")
_PLAIN = re.compile(r"^[^:\n]*\Z")


class User(NamedTuple):
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str


class Group(NamedTuple):
    """A line of group(5)."""

    name: str
    gid: int
    members: Tuple[str, ...]


class Shadow(NamedTuple):
    """A line of shadow(5) without the name: the password's hash, and how it ages (empty: not at all)."""

    password: str = "!"
    changed: str = ""
    least: str = ""
    most: str = ""
    warn: str = ""
    inactive: str = ""
    expires: str = ""


class Accounts(NamedTuple):
    """All accounts of a host."""

    users: Mapping[str, User]
    groups: Mapping[str, Group]
    shadow: Mapping[str, Shadow]

    def groups_of(self, user: str) -> Tuple[str, ...]:
        """The supplementary groups of a user."""
        return tuple(sorted(group.name for group in self.groups.values() if user in group.members))

    def group_name(self, gid: int) -> str:
        return next((group.name for group in self.groups.values() if group.gid == gid), str(gid))


class GroupWish(NamedTuple):
    """A group that is to exist."""

    name: str
    gid: Optional[int] = None
    system: bool = False


class UserWish(NamedTuple):
    """A user who is to exist. None: as it is, or as useradd(8) has it. ``homeless``: the home comes from elsewhere, so none is made."""

    name: str
    uid: Optional[int] = None
    group: Optional[str] = None
    groups: Tuple[str, ...] = ()
    only_these_groups: bool = False
    comment: Optional[str] = None
    home: Optional[str] = None
    shell: Optional[str] = None
    password: Optional[str] = None
    shadow: Optional[Shadow] = None
    homeless: bool = False


class Wishes(NamedTuple):
    groups: Tuple[GroupWish, ...]
    users: Tuple[UserWish, ...]


class Step(NamedTuple):
    """A command, and what it reads, which may be secret."""

    argv: Tuple[str, ...]
    text_in: Optional[str] = None


class Change(NamedTuple):
    """Steps in their order, and what each account looks like before and after, without secrets."""

    steps: Sequence[Step]
    before: Sequence[str]
    after: Sequence[str]
    new_users: Sequence[str]
    new_groups: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def diff(self) -> Diff:
        return Diff("".join(line + "\n" for line in self.before), "".join(line + "\n" for line in self.after), "local accounts")


def parse(passwd: str, group: str, shadow: str) -> Accounts:
    """The account files of a host; lines that are none (NIS's ``+``, comments, blanks) are passed over."""
    users, groups, shadows = {}, {}, {}
    for name, fields in _lines(passwd, 7):
        if fields[2].isdigit() and fields[3].isdigit():
            users[name] = User(name, int(fields[2]), int(fields[3]), *fields[4:7])
    for name, fields in _lines(group, 4):
        if fields[2].isdigit():
            groups[name] = Group(name, int(fields[2]), tuple(member for member in fields[3].split(",") if member))
    for name, fields in _lines(shadow, 8):
        shadows[name] = Shadow(*fields[1:8])
    return Accounts(users, groups, shadows)


def wishes_from_params(params: Mapping[str, Any]) -> Wishes:
    """Read the module's options; raises :class:`FleetError` for names and values that the account files cannot carry."""
    groups = tuple(GroupWish(_name("groups", entry["name"]), entry.get("gid"), bool(entry.get("system"))) for entry in params["groups"] or ())
    users = []
    for entry in params["users"] or ():
        name = _name("users", entry["name"])
        for field in ("comment", "home", "shell"):
            if not _PLAIN.match(entry.get(field) or ""):
                raise FleetError("{0} of user {1} has a colon or a line break, which the account files cannot carry.".format(field, name))
        for field in ("home", "shell"):
            if entry.get(field) and not entry[field].startswith("/"):
                raise FleetError("{0} of user {1} is {2!r}, but an absolute path is expected.".format(field, name, entry[field]))
        password = entry.get("password_hash")
        if password is not None and not _HASH.match(password):
            raise FleetError(
                "password_hash of user {0} is no hash as crypt(5) has them, such as $6$…. It is not shown here. The filter "
                "ansible.builtin.password_hash('sha512') makes one.".format(name)
            )
        users.append(UserWish(
            name, entry.get("uid"), entry.get("group"), tuple(_name("groups of " + name, group) for group in entry.get("groups") or ()),
            bool(entry.get("only_these_groups")), entry.get("comment"), entry.get("home"), entry.get("shell"), password,
        ))
    wishes = Wishes(groups, tuple(users))
    _once("group", [group.name for group in groups])
    _once("user", [user.name for user in users])
    return wishes


def decide(wishes: Wishes, found: Accounts, owners: Mapping[str, int]) -> Change:
    """The way from the accounts found to those wanted. ``owners`` tells who owns homes that exist already.

    All collisions are told at once, before the first change: numbers and names that belong to somebody else, and homes of others.
    """
    trouble = _collisions(wishes, found, owners)
    if trouble:
        raise FleetError("No account was changed, since some of them collide with what is there: {0}".format(" ".join(trouble)), collisions=trouble)
    steps: List[Step] = []
    before: List[str] = []
    after: List[str] = []
    # Those with a number come first, or one that gets any free number might be given theirs.
    new_groups = [group.name for group in wishes.groups if group.name not in found.groups]
    for group in sorted(wishes.groups, key=lambda group: group.gid is None):
        if group.name in new_groups:
            number = ("--gid", str(group.gid)) if group.gid is not None else ()
            steps.append(Step(("groupadd",) + number + (("--system",) if group.system else ()) + (group.name,)))
            after.append("group {0}: gid {1}".format(group.name, "of the system's choice" if group.gid is None else group.gid))
    for wish in sorted(wishes.users, key=lambda wish: wish.uid is None):
        user = found.users.get(wish.name)
        made = _add(wish, found, new_groups) if user is None else _modify(wish, user, found)
        made += _password(wish, found)
        if made:
            steps += made
            before += [] if user is None else _shown(wish, user, found)
            after += _wanted(wish, user, found)
    new_users = [wish.name for wish in wishes.users if wish.name not in found.users]
    return Change(tuple(steps), before, after, new_users, new_groups)


def _add(wish: UserWish, found: Accounts, new_groups: Sequence[str]) -> List[Step]:
    words = ["useradd", "--no-create-home" if wish.homeless else "--create-home"]
    own = wish.group or (wish.name if wish.name in found.groups or wish.name in new_groups else None)
    words += ["--gid", own] if own else ["--user-group"]
    for option, value in (("--uid", wish.uid), ("--comment", wish.comment), ("--home-dir", wish.home), ("--shell", wish.shell)):
        words += [option, str(value)] if value is not None else []
    others = [name for name in wish.groups if name != (own or wish.name)]  # useradd does not know the one yet that it makes
    words += ["--groups", ",".join(others)] if others else []
    return [Step(tuple(words + [wish.name]))]


def _modify(wish: UserWish, user: User, found: Accounts) -> List[Step]:
    words: List[str] = []
    for option, value, now in (("--comment", wish.comment, user.comment), ("--home", wish.home, user.home), ("--shell", wish.shell, user.shell)):
        words += [option, value] if value is not None and value != now else []
    if wish.group is not None and wish.group != found.group_name(user.gid):
        words += ["--gid", wish.group]
    own = {wish.group or found.group_name(user.gid)}
    now_in, wanted = set(found.groups_of(wish.name)), set(wish.groups) - own
    if wish.only_these_groups and now_in - own != wanted:
        words += ["--groups", ",".join(sorted(wanted))]
    elif wanted - now_in:
        words += ["--append", "--groups", ",".join(sorted(wanted - now_in))]
    return [Step(("usermod",) + tuple(words) + (wish.name,))] if words else []


def _password(wish: UserWish, found: Accounts) -> List[Step]:
    now = found.shadow.get(wish.name, Shadow())
    wanted = wish.shadow or (now if wish.password is None else now._replace(password=wish.password))
    steps = []
    if wanted.password != now.password:
        steps.append(Step(("chpasswd", "--encrypted"), "{0}:{1}\n".format(wish.name, wanted.password)))
    if wish.shadow and (steps or wanted != now or wish.name not in found.users):
        words = ["chage"]
        for option, value in zip(("--lastday", "--mindays", "--maxdays", "--warndays", "--inactive", "--expiredate"), wanted[1:]):
            words += [option, value or "-1"]
        steps.append(Step(tuple(words + [wish.name])))
    return steps


def _collisions(wishes: Wishes, found: Accounts, owners: Mapping[str, int]) -> List[str]:
    told = []
    known = set(found.groups) | {group.name for group in wishes.groups}
    gids = {group.gid: group.name for group in found.groups.values()}
    uids = {user.uid: user.name for user in found.users.values()}
    for group in wishes.groups:
        holder = gids.get(group.gid) if group.gid is not None else None
        there = found.groups.get(group.name)
        if there and group.gid not in (None, there.gid):
            told.append("Group {0} has the gid {1} here, and {2} is wanted.".format(group.name, there.gid, group.gid))
        elif holder not in (None, group.name):
            told.append("The gid {0} of group {1} belongs to group {2}.".format(group.gid, group.name, holder))
    for wish in wishes.users:
        user = found.users.get(wish.name)
        owner = uids.get(wish.uid) if wish.uid is not None else None
        if user and wish.uid not in (None, user.uid):
            told.append("User {0} has the uid {1} here, and {2} is wanted.".format(wish.name, user.uid, wish.uid))
        elif owner not in (None, wish.name):
            told.append("The uid {0} of user {1} belongs to user {2}.".format(wish.uid, wish.name, owner))
        made = {wish.name} if user is None and not wish.group else set()
        missing = sorted(({wish.group} if wish.group else set()) | set(wish.groups) - made)
        told += ["User {0} is to be in group {1}, which does not exist; name it in the list of groups.".format(wish.name, name)
                 for name in missing if name not in known]
        home = wish.home or "/home/" + wish.name
        if user is None and home in owners and owners[home] != wish.uid:
            told.append("The home {0} of user {1} is there already and belongs to uid {2}. Give the user that uid if it is his, or move it away.".format(
                home, wish.name, owners[home]))
    told += _twice("gid", [(group.gid, group.name) for group in wishes.groups]) + _twice("uid", [(user.uid, user.name) for user in wishes.users])
    return told


def _twice(kind: str, numbers: Iterable[Tuple[Optional[int], str]]) -> List[str]:
    holders: Dict[int, str] = {}
    told = []
    for number, name in numbers:
        if number is not None and holders.setdefault(number, name) != name:
            told.append("The {0} {1} is given to both {2} and {3}.".format(kind, number, holders[number], name))
    return told


def _shown(wish: UserWish, user: User, found: Accounts) -> List[str]:
    return [
        "user {0}: uid {1}, group {2}, groups {3}, comment {4!r}, home {5}, shell {6}, {7}".format(
            user.name, user.uid, found.group_name(user.gid), ",".join(found.groups_of(user.name)) or "none", user.comment, user.home, user.shell,
            _password_told(found.shadow.get(user.name, Shadow())))
    ]


def _wanted(wish: UserWish, user: Optional[User], found: Accounts) -> List[str]:
    base = user or User(wish.name, -1, -1, "", "/home/" + wish.name, "as useradd has it")
    shadow = found.shadow.get(wish.name, Shadow())
    wanted = wish.shadow or (shadow if wish.password is None else shadow._replace(password=wish.password))
    groups = set(wish.groups) | (set() if wish.only_these_groups else set(found.groups_of(wish.name)))
    group = wish.group or (found.group_name(user.gid) if user else wish.name)
    password = _password_told(wanted) + (" (changed)" if user and wanted != shadow else "")
    return [
        "user {0}: uid {1}, group {2}, groups {3}, comment {4!r}, home {5}, shell {6}, {7}".format(
            wish.name, _first(wish.uid, user.uid if user else "of the system's choice"), group, ",".join(sorted(groups)) or "none",
            _first(wish.comment, base.comment), _first(wish.home, base.home), _first(wish.shell, base.shell), password)
    ]


def _password_told(shadow: Shadow) -> str:
    return "no password" if shadow.password in ("!", "*", "!!", "!*") else "locked" if shadow.password.startswith("!") else "has a password"


def _first(value: Any, other: Any) -> Any:
    return other if value is None else value


def _lines(text: str, least: int) -> Iterable[Tuple[str, List[str]]]:
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= least and fields[0] and fields[0][0] not in "+-#":
            yield fields[0], fields


def _name(option: str, name: str) -> str:
    if not _NAME.match(name):
        raise FleetError("{0} has {1!r}, but names of small letters, digits, dots, dashes and underscores are expected, 32 at most.".format(option, name))
    return name


def _once(kind: str, names: Sequence[str]) -> None:
    seen: Set[str] = set()
    for name in names:
        if name in seen:
            raise FleetError("The {0} {1} is named twice.".format(kind, name))
        seen.add(name)
