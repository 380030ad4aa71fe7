# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a node gets its users from besides its own files: what is wanted, what is in the way, and the way there and back.

LDAP, Active Directory and NIS differ in packages and settings; that they change the same few things of a node (packages, files, nsswitch.conf, PAM, services)
is known here, once. One of them owns a node at a time. What was found before the first change is the record, and it is all that the way back needs.
"""
import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import BACKUPS, Diff
from ..host.units import Unit
from . import nsswitch

#: The one record of a node, and beside it the files as they were.
KEPT = BACKUPS.lstrip("/") + "/identity"
RECORD = KEPT + "/record.json"

#: The module, and so the role, that owns a node.
ROLES = {"ldap": "ldap_client", "ad": "ad_client", "nis": "nis_client"}

#: Other ways to users from elsewhere: the word in nsswitch.conf and the services behind it, of which a host has one.
OTHERS = {"ldap": ("nslcd.service",), "winbind": ("winbind.service",), "nis": ("ypbind.service", "nis.service"), "sss": ("sssd.service",)}

#: The databases that make somebody a user of this node. Debian's file has "netgroup: nis" on nodes that have never heard of NIS, so that one tells nothing.
_USERS = ("passwd", "group", "shadow", "initgroups")

#: Settings of sssd by which its cache holds what it holds; if one changes, the cache is stale beyond repair.
_DEFINING = ("ldap_schema", "_base", "ldap_id_mapping", "ldap_idmap", "id_provider", "ad_domain")

_SECRET = re.compile(r"^([ \t]*\S*(?:authtok|password|passphrase|secret)[ \t]*=[ \t]*)(\S.*)$", re.MULTILINE | re.IGNORECASE)


class File(NamedTuple):
    """A file that is ours while the node is: its path below the root, its text, and whether it holds secrets, so that nobody else may read it."""

    path: str
    text: str
    private: bool = False


class Content(NamedTuple):
    """A file as it is: its text (None: there is none), and whether only its owner reads it."""

    text: Optional[str]
    private: bool


class Profile(NamedTuple):
    """A profile of pam-auth-update(8): its name, and the file in /etc/pam.d and the words in it by which one sees that it is in force."""

    name: str
    service: str
    words: str


class Wish(NamedTuple):
    """What a play asks for; checked."""

    owner: str
    packages: Tuple[str, ...]
    files: Tuple[File, ...]
    word: str
    databases: Tuple[str, ...]
    profiles: Tuple[Profile, ...]
    services: Tuple[str, ...]
    enrolment: str = ""  # what the node is to be a member of
    replace: bool = False
    caches: Tuple[str, ...] = ()  # patterns of files that hold what a directory told, to be removed with the rest
    users: Tuple[str, ...] = ()  # who must be known at the end


class State(NamedTuple):
    """All that is managed. Packages are those installed of the wanted and the recorded; a unit that does not exist is left out."""

    packages: Tuple[str, ...]
    files: Mapping[str, Content]
    nsswitch: str
    pam: Mapping[str, bool]
    units: Mapping[str, Unit]
    enrolment: str = ""


class Found(NamedTuple):
    """A node as it is. ``kept`` are the files as they were before the first change, ``settings`` those of an sssd of others, and ``snippets`` what sssd adds
    to any settings."""

    state: State
    record: Mapping[str, Any]
    kept: Mapping[str, Content]
    settings: Tuple[str, ...] = ()
    snippets: Tuple[str, ...] = ()


class Change(NamedTuple):
    """From one state to another. ``record`` is remembered meanwhile, and afterwards too if ``keep``. ``busy``: an earlier run was cut short, or this is one
    that has to go through with it. ``services`` are to read their settings anew. ``first``: nothing of ours was on the node.
    """

    before: State
    after: State
    record: Mapping[str, Any]
    keep: bool
    busy: bool
    services: Tuple[str, ...] = ()
    first: bool = False
    profiles: Tuple[Profile, ...] = ()

    def __bool__(self) -> bool:
        return self.before != self.after or self.busy

    @property
    def install(self) -> List[str]:
        return sorted(set(self.after.packages) - set(self.before.packages))

    @property
    def remove(self) -> List[str]:
        return sorted(set(self.before.packages) - set(self.after.packages))

    @property
    def stale(self) -> bool:
        """Whether what sssd has in its cache means nothing under the new settings."""
        pairs = [(content.text or "", self.after.files[path].text or "") for path, content in self.before.files.items() if path.endswith("sssd.conf")]
        return any(old and _defining(old) != _defining(new) for old, new in pairs)

    @property
    def diffs(self) -> List[Diff]:
        shown = [Diff("".join(_package_lines(self.before)), "".join(_package_lines(self.after)), "packages")]
        for path in sorted(self.after.files):
            old, new = self.before.files[path], self.after.files[path]
            shown.append(Diff(*(_masked(old.text or "", new.text or "") + ("/" + path,))))
        shown.append(Diff(self.before.nsswitch, self.after.nsswitch, "/" + nsswitch.PATH))
        shown.append(Diff("".join(_other_lines(self.before)), "".join(_other_lines(self.after)), "services, PAM and membership"))
        return [diff for diff in shown if diff.before != diff.after]


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects."""
    state, record = found.state, found.record
    _refuse_other_owner(wish.owner, record)
    if found.snippets and wish.word == "sss":
        raise FleetError("sssd would add {0} to its settings, so nothing was changed. Move these files away, or put what they say into settings ({1}_settings "
                         "in the role).".format(", ".join("/" + name for name in found.snippets), ROLES[wish.owner]))
    rivals = () if record else _rivals(wish, found)
    base = _nsswitch_before(record, state.nsswitch)
    foreign = tuple(word for word in OTHERS if word != wish.word and (_is_named(word, base) or _is_by_compat(word, base)))
    # What was once put aside stays aside, also when the play does not say so any more.
    aside = tuple(record["replaced"]) if record else foreign if wish.replace else ()
    edits = nsswitch.edit(base, wish.word, wish.databases, aside)
    ours = {file.path for file in wish.files}
    files = {path: _returned(path, record, found) for path in state.files if path not in ours}  # what an earlier run wrote and nobody wants any more
    files.update({file.path: Content(file.text, file.private or state.files[file.path].private) for file in wish.files})
    units = dict(state.units)
    if rivals and wish.replace:
        units.update({service: Unit("disabled", False) for word in foreign for service in OTHERS[word] if service in units})
    units.update({name: Unit("enabled", True) for name in wish.services})
    pam = {name: bool(record.get("pam", {}).get(name, is_on)) for name, is_on in state.pam.items()}
    pam.update({profile.name: True for profile in wish.profiles})
    after = State(tuple(sorted(set(state.packages) | set(wish.packages))), files, edits.after, pam, units, wish.enrolment or state.enrolment)
    change = Change(state, after, {}, True, bool(record.get("busy")), wish.services, not record, wish.profiles)
    return change._replace(record=dict(_remember(wish, found, change, edits), replaced=list(aside)))


def decide_return(owner: str, found: Found) -> Change:
    """The way back to the node as it was; nothing if it is not the owner's."""
    state, record = found.state, found.record
    if record.get("owner") != owner:
        return Change(state, state, record, bool(record), False)
    units = {name: unit for name, unit in state.units.items() if name not in record["new_units"]}
    units.update({name: Unit(*unit) for name, unit in record["units"].items()})
    pam = {name: bool(record["pam"].get(name, is_on)) for name, is_on in state.pam.items()}
    files = {path: _returned(path, record, found) for path in state.files}
    packages = tuple(name for name in state.packages if name not in record["added"])
    after = State(packages, files, _nsswitch_before(record, state.nsswitch), pam, units, str(record["enrolment"]))
    return Change(state, after, dict(record, busy=True), False, True, tuple(name for name in record["services"] if name in units))


def parse_record(text: Optional[str]) -> Dict[str, Any]:
    """What the first change found; raises :class:`FleetError` if the file is damaged."""
    if text is None:
        return {}
    try:
        record = json.loads(text)
        for key in ("added", "had_settings", "files", "units", "new_units", "services", "pam", "enrolment", "caches", "accounts", "replaced"):
            record[key]  # pylint: disable=pointless-statement
        if record["owner"] not in ROLES:
            raise ValueError
        nsswitch.Edits.from_dict(record["nsswitch"])
        for unit in record["units"].values():
            Unit(*unit)
        return dict(record)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise FleetError("/{0} is damaged; it holds how this node was before a directory was set up. Bring it back from a backup of the node, or, to take what "
                         "is now for that, remove it.".format(RECORD))


def _remember(wish: Wish, found: Found, change: Change, edits: nsswitch.Edits) -> Dict[str, Any]:
    """The record, with what this change is the first to touch, as it was before."""
    state = found.state
    record: Dict[str, Any] = {
        "owner": wish.owner, "added": [], "had_settings": [], "files": {}, "units": {}, "new_units": [], "pam": {}, "accounts": {},
        "enrolment": state.enrolment,
    }
    record.update(found.record)
    record["files"] = dict({file.path: state.files[file.path].text is not None for file in wish.files}, **record["files"])
    record["pam"] = dict(state.pam, **record["pam"])
    new = {name for name in wish.services if name not in state.units and name not in record["units"]}
    record["new_units"] = sorted(new.union(record["new_units"]))
    touched = {name: list(unit) for name, unit in state.units.items() if change.after.units[name] != unit and name not in record["new_units"]}
    record["units"] = dict(touched, **record["units"])
    record["services"] = list(wish.services)
    record["nsswitch"] = edits.to_dict()
    record["caches"] = list(wish.caches)
    record["busy"] = bool(change)
    return record


def _rivals(wish: Wish, found: Found) -> Tuple[str, ...]:
    """What already brings users to the node; refused unless it may be replaced."""
    state = found.state
    rivals = []
    for word, services in OTHERS.items():
        in_charge = any(state.units[service].in_charge for service in services if service in state.units)
        # Ubuntu's server has sss in its nsswitch.conf, and an sssd without settings, which does nothing.
        alive = word != "sss" and (word != "nis" or in_charge or wish.word != "nis")
        if _is_named(word, state.nsswitch) and alive:
            rivals.append("{0} in /etc/nsswitch.conf".format(word))
        elif _is_by_compat(word, state.nsswitch) and in_charge:
            rivals.append("{0} by compat in /etc/nsswitch.conf".format(word))
    rivals += ["/" + path for path in found.settings]
    if state.enrolment:
        rivals.append("membership in {0}".format(state.enrolment))
    if rivals and not wish.replace:
        raise FleetError(
            "This node gets users from elsewhere already: {0}. Two directories work against each other, so nothing was changed. Set conflicts ({1}_conflicts "
            "in the role) to replace to put what is there aside until state: absent brings it back, or leave this node out.".format(
                "; ".join(rivals), ROLES[wish.owner]),
            conflicts=rivals,
        )
    return tuple(rivals)


def _is_named(word: str, text: str) -> bool:
    return any(word in nsswitch.sources(text, name) for name in _USERS)


def _is_by_compat(word: str, text: str) -> bool:
    """Whether lines that begin with + or - in /etc/passwd and the like are looked up in it: in NIS, if nothing else is said (nsswitch.conf(5), *compat*)."""
    return any("compat" in nsswitch.sources(text, name) and word in (nsswitch.sources(text, name + "_compat") or ["nis"]) for name in _USERS)


def _refuse_other_owner(owner: str, record: Mapping[str, Any]) -> None:
    if record and record["owner"] != owner:
        other = ROLES[record["owner"]]
        raise FleetError("This node gets its users by {0}, and one directory at a time is all it can have. Nothing was changed. Give the node back first, with "
                         "{0}_state: absent.".format(other), conflicts=[other])


def _nsswitch_before(record: Mapping[str, Any], text: str) -> str:
    """The file without what an earlier run of ours did to it."""
    if not record:
        return text
    return nsswitch.revert(text, nsswitch.Edits.from_dict(record["nsswitch"]), "nis" if record["owner"] == "nis" else "sss")


def _returned(path: str, record: Mapping[str, Any], found: Found) -> Content:
    if path not in record.get("files", {}):
        return found.state.files[path]
    if not record["files"][path]:
        return Content(None, found.state.files[path].private)
    if path not in found.kept:
        raise FleetError("/{0}/{1} is missing: the copy of /{1} as it was before the first change. Bring it back from a backup of the node.".format(KEPT, path))
    return found.kept[path]


def _defining(text: str) -> List[str]:
    return [line for line in text.splitlines() if any(word in line.split("=")[0] for word in _DEFINING)]


def _masked(before: str, after: str) -> Tuple[str, str]:
    """Texts without their secrets; that a secret is another one may be seen."""
    old = _SECRET.findall(before)
    named = "(another secret)" if old and {value for _key, value in old} != {value for _key, value in _SECRET.findall(after)} else "(secret)"
    return _SECRET.sub(r"\1(secret)", before), _SECRET.sub(r"\1" + named, after)


def _package_lines(state: State) -> Sequence[str]:
    return ["{0}\n".format(name) for name in state.packages]


def _other_lines(state: State) -> Sequence[str]:
    lines = ["{0}: {1}, {2}\n".format(name, unit.enablement, "running" if unit.active else "stopped") for name, unit in sorted(state.units.items())]
    lines += ["PAM profile {0}: {1}\n".format(name, "on" if is_on else "off") for name, is_on in sorted(state.pam.items())]
    return lines + (["member of: {0}\n".format(state.enrolment)] if state.enrolment else [])
