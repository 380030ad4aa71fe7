# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads where a node gets its users from, and changes it; what is to be changed is decided in :mod:`state`.

/etc/pam.d is changed by pam-auth-update(8) alone, there and back: it keeps notes of its own in /var/lib/pam, and stops updating files that were put back
without its knowledge.
"""
import glob
import json
import os
import shutil
import stat
import time
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..host import apt
from ..host.errors import FleetError
from ..host.files import keep_once, read_text, remove, write_atomic
from ..host.host import Host
from ..host.units import Unit, bring, read_units, why_not, with_scripts
from . import nsswitch
from .state import KEPT, OTHERS, RECORD, Change, Content, File, Found, Profile, State, Wish, decide_return, parse_record

SSSD_CONF = "etc/sssd/sssd.conf"
PAM_PROFILES = "usr/share/pam-configs"
_PAM = ("env", "DEBIAN_FRONTEND=noninteractive", "pam-auth-update", "--package")

#: System accounts that packages add have numbers below this (adduser.conf(5), LAST_SYSTEM_UID).
_LAST_SYSTEM_ID = 999


class Enrolment:
    """Membership of a node in something: nothing here, more for a directory that wants nodes to join it."""

    def read(self, _host: "Host") -> str:
        """What the node is a member of now; empty if nothing."""
        return ""

    def change(self, _host: "Host", _wanted: str) -> None:
        """Make it a member of what is wanted, or of nothing."""

    def prove(self, _host: "Host", _wait: float) -> None:
        """See that the directory answers, for so many seconds at most; raises :class:`FleetError` if it does not."""


def read(wish: Optional[Wish], host: Host, enrolment: Optional[Enrolment] = None) -> Found:
    """Read everything once; without a wish, what is on record."""
    record = parse_record(read_text(host.path(RECORD)))
    return Found(
        _read_state(wish, record, host, enrolment or Enrolment()),
        record,
        {path: _content(host.path(os.path.join(KEPT, path))) for path, existed in record.get("files", {}).items()
         if existed and os.path.exists(host.path(os.path.join(KEPT, path)))},
        () if record or not os.path.exists(host.path(SSSD_CONF)) else (SSSD_CONF,),
        tuple(sorted(os.path.relpath(path, host.root) for path in glob.glob(host.path("etc/sssd/conf.d/*.conf")))),
    )


def _read_state(wish: Optional[Wish], record: Mapping[str, Any], host: Host, enrolment: Enrolment) -> State:
    packages = sorted(set(wish.packages if wish else ()) | set(record.get("added", ())))
    paths = {file.path for file in wish.files} if wish else set()
    profiles = {profile.name: profile for profile in wish.profiles} if wish else {}
    names = set(profiles) | set(record.get("pam", {}))
    own = set(wish.services if wish else ()) | set(record.get("services", ())) | set(record.get("units", {}))
    units = read_units(host.commands, sorted(own.union(*OTHERS.values())))
    # Not for all: the script of a package that is gone stays in /etc/init.d with its links, and must not be taken for a rival.
    units.update(with_scripts(host.commands, {name: unit for name, unit in units.items() if name in own or unit.active}))
    return State(
        apt.installed(host.commands, packages) if packages else (),
        {path: _content(host.path(path)) for path in paths | set(record.get("files", {}))},
        nsswitch.need_text(read_text(host.path(nsswitch.PATH))),
        {name: _is_in_force(profiles[name], host) if name in profiles else _is_noted(name, host) for name in names},
        units,
        enrolment.read(host),
    )


def carry_out(change: Change, host: Host, users: Sequence[str] = (), enrolment: Optional[Enrolment] = None, wait: float = 15.0) -> None:
    """Do it and prove it. What was found is on the disk before the first step and removed after the last, so a run cut short is completed by the next.

    If the very first change fails, the node is given back as it was, and the failure told.
    """
    membership = enrolment or Enrolment()
    try:
        if change:
            _make(change, host, membership)
        if change.keep:
            membership.prove(host, wait if change else 1.0)
            _need_users(users, host, wait if change else 1.0)
    except FleetError as error:
        if not (change and change.keep and change.first):
            raise
        owner = str(change.record["owner"])
        try:
            _make(decide_return(owner, read(None, host, membership)), host, membership)
        except FleetError as second:
            raise FleetError("{0} Nor could the node be given back at once: {1}".format(error.message, second.message))
        raise FleetError("{0} The node was given back as it was.".format(error.message), **error.details)


def _make(change: Change, host: Host, membership: Enrolment) -> None:
    record = dict(change.record)
    if change.keep:
        _keep_files(change, host)
    _write_record(host, record)
    if change.keep:
        _install(change, record, host)
        _enrol(change, host, membership)
        _turn_off(change, host)
        _write_files(change, host)
        _write_nsswitch(change, host)
        _turn_on(change, host)
        if change.stale:
            _stop(change.services, host)
            _remove_matches(host, [pattern for pattern in record["caches"] if pattern.startswith("var/lib")])
        _change_units(change, host)
        _write_record(host, dict(record, busy=False))
    else:
        _enrol(change, host, membership)  # what may fail comes first
        _write_nsswitch(change, host)
        _turn_off(change, host)
        _stop(record["services"], host)
        _write_files(change, host)
        all_gone = _purge(change, record, host)
        _write_nsswitch(change, host)  # packages edit it as they go
        _remove_matches(host, record["caches"])
        if all_gone:
            _remove_accounts(record, host)
        _change_units(change, host)
        shutil.rmtree(host.path(KEPT), ignore_errors=True)


def _keep_files(change: Change, host: Host) -> None:
    """Copies come before the record that tells of them. Without a record, copies are left over from a run that was cut short before it changed anything."""
    if change.first:
        shutil.rmtree(host.path(KEPT), ignore_errors=True)
    os.makedirs(host.path(KEPT), mode=0o700, exist_ok=True)
    for path, content in change.before.files.items():
        if content.text is not None and change.record["files"].get(path):
            keep_once(host.path(path), path, host.path(KEPT))


def _install(change: Change, record: Dict[str, Any], host: Host) -> None:
    """Install what is missing, and note all packages and accounts that come with it."""
    if change.busy:
        apt.complete(host.commands)
    if change.install:
        trial = apt.try_install(host.commands, change.install)
        found = apt.statuses(host.commands, trial.added)
        record["added"] = sorted(set(record["added"]) | {name for name in trial.added if found.get(name, "config-files") == "config-files"})
        record["had_settings"] = sorted(set(record["had_settings"]) | {name for name, status in found.items() if status == "config-files"})
        record["accounts"].setdefault("before", [_names(host, "passwd"), _names(host, "group")])
        _write_record(host, record)
        apt.install(host.commands, change.install)
    if "before" in record["accounts"]:
        before = record["accounts"].pop("before")
        for kind, names in zip(("users", "groups"), before):
            new = set(_names(host, "passwd" if kind == "users" else "group")) - set(names)
            record["accounts"][kind] = sorted(new.union(record["accounts"].get(kind, ())))
        _write_record(host, record)


def _purge(change: Change, record: Mapping[str, Any], host: Host) -> bool:
    """Remove what we have added, except what others have come to need; whether nothing had to stay."""
    apt.complete(host.commands)
    gone = [name for name in change.remove if name in apt.statuses(host.commands, change.remove)]
    needed = apt.needed_by_others(host.commands, gone) if gone else ()
    keeping_settings = [name for name in gone if name in record["had_settings"] and name not in needed]
    if keeping_settings:
        apt.remove(host.commands, keeping_settings)
    rest = [name for name in gone if name not in needed and name not in keeping_settings]
    if rest:
        apt.purge(host.commands, rest)
    return not needed


def _enrol(change: Change, host: Host, membership: Enrolment) -> None:
    if membership.read(host) != change.after.enrolment:
        membership.change(host, change.after.enrolment)


def _write_files(change: Change, host: Host) -> None:
    for path, content in sorted(change.after.files.items()):
        place = host.path(path)
        if content.text is None:
            remove(place)
        elif content != change.before.files[path] or not os.path.exists(place):
            if change.keep and content != _content(host.path(os.path.join(KEPT, path))):
                if content.private and os.path.exists(place):
                    os.chmod(place, 0o600)  # before the secret is in it
                write_atomic(place, content.text, 0o600 if content.private else 0o644)
            else:
                give_back(host, path)


def give_back(host: Host, path: str) -> None:
    """The copy, with its mode and owner, in one step."""
    kept, place = host.path(os.path.join(KEPT, path)), host.path(path)
    found = os.stat(kept)
    temporary = place + ".dgxops"
    os.makedirs(os.path.dirname(place), exist_ok=True)
    remove(temporary)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # nobody else may read it before it has its own mode
    shutil.copy2(kept, temporary)
    os.chown(temporary, found.st_uid, found.st_gid)
    os.chmod(temporary, stat.S_IMODE(found.st_mode))
    os.replace(temporary, place)


def _write_nsswitch(change: Change, host: Host) -> None:
    place = host.path(nsswitch.PATH)
    if read_text(place) != change.after.nsswitch:
        write_atomic(place, change.after.nsswitch)


def _turn_on(change: Change, host: Host) -> None:
    """A new profile is taken up by itself; one that somebody once turned off has to be named."""
    wanted = [name for name, is_on in sorted(change.after.pam.items()) if is_on]
    ours = any(path.startswith(PAM_PROFILES) and content != change.before.files[path] for path, content in change.after.files.items())
    if not change.busy and not ours and all(change.before.pam[name] for name in wanted):
        return
    host.commands.output(_PAM)
    missing = [name for name in wanted if not _is_noted(name, host)]
    if missing:
        host.commands.output(_PAM + ("--enable",) + tuple(missing))
    missing = [profile.name for profile in change.profiles if not _is_in_force(profile, host)]
    if missing:
        raise FleetError("pam-auth-update did not turn on {0}: somebody has edited /etc/pam.d/common-* by hand, and it leaves such files alone. Let it "
                         "write them anew (pam-auth-update --force, after a look at what would be lost), and run this again.".format(", ".join(missing)))


def _turn_off(change: Change, host: Host) -> None:
    """Profiles go before the files and packages that bring them, so that nobody is asked by a module that is not there any more.

    In one call: what was removed, and is not gone yet, would be turned on by the next call as something new. What stays has to be known as turned off.
    """
    words: List[str] = []
    for name, is_on in sorted(change.after.pam.items()):
        if not is_on and _is_noted(name, host):
            stays = "{0}/{1}".format(PAM_PROFILES, name) not in change.after.files and not change.remove
            words += ["--disable" if stays else "--remove", name]
    if words:
        host.commands.output(_PAM + tuple(words))


def _change_units(change: Change, host: Host) -> None:
    found = read_units(host.commands, sorted(change.after.units)) if change.after.units else {}
    touched = change.busy or change.before.files != change.after.files or bool(change.install)
    for name, unit in sorted(change.after.units.items(), key=lambda entry: entry[1].active):
        restart = touched and name in change.services
        if restart or found.get(name) != unit:
            bring(host.commands, name, found.get(name), unit, restart)
    now = read_units(host.commands, sorted(change.after.units)) if change.after.units else {}
    for name, unit in change.after.units.items():
        if unit.active and not now.get(name, Unit("", False)).active:
            raise FleetError(why_not(host.commands, name))


def _stop(names: Sequence[str], host: Host) -> None:
    for name, unit in sorted(read_units(host.commands, names).items()):
        if unit.active:
            host.commands.output(("systemctl", "stop", name))


def _remove_accounts(record: Mapping[str, Any], host: Host) -> None:
    """Accounts of the system that came with the packages, which Debian's packages leave behind."""
    users = _ids(host, "passwd")
    for name in record["accounts"].get("users", ()):
        if users.get(name, _LAST_SYSTEM_ID + 1) <= _LAST_SYSTEM_ID:
            host.commands.output(("userdel", name))
    groups = _ids(host, "group")
    for name in record["accounts"].get("groups", ()):
        if groups.get(name, _LAST_SYSTEM_ID + 1) <= _LAST_SYSTEM_ID:
            host.commands.output(("groupdel", name))


def _need_users(users: Iterable[str], host: Host, wait: float) -> None:
    """A service that has just started may take a moment to reach its server."""
    until = time.monotonic() + wait
    for name in users:
        while host.commands.run(("getent", "passwd", name)).rc != 0:
            if time.monotonic() >= until:
                raise FleetError("The user {0} is not known on this node, but should be. Check the search bases and filters, and whether the directory has "
                                 "this user.".format(name), unknown_user=name)
            time.sleep(1)


def _remove_matches(host: Host, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in glob.glob(host.path(pattern)):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                remove(path)


def _content(path: str) -> Content:
    text = read_text(path)
    if text is None:
        return Content(None, False)
    found = os.stat(path)
    # sssd from 2.10 on lets a group of its own read its settings.
    return Content(text, not found.st_mode & 0o007 and (found.st_gid != 0 or not found.st_mode & 0o070))


def _is_in_force(profile: Profile, host: Host) -> bool:
    return profile.words in (read_text(host.path("etc/pam.d/" + profile.service)) or "") and _is_noted(profile.name, host)


def _is_noted(name: str, host: Host) -> bool:
    """Whether pam-auth-update has a profile in what it wrote last."""
    notes = (read_text(host.path("var/lib/pam/" + part)) or "" for part in ("auth", "account", "password", "session", "session-noninteractive"))
    return any("Module: {0}\n".format(name) in text for text in notes)


def _names(host: Host, database: str) -> List[str]:
    return sorted(_ids(host, database))


def _ids(host: Host, database: str) -> Dict[str, int]:
    entries = (line.split(":") for line in (read_text(host.path("etc/" + database)) or "").splitlines())
    return {entry[0]: int(entry[2]) for entry in entries if len(entry) > 2 and entry[2].isdigit()}


def _write_record(host: Host, record: Mapping[str, Any]) -> None:
    place = host.path(RECORD)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    write_atomic(place, json.dumps(record, sort_keys=True) + "\n", 0o600)


def own_profile(name: str, title: str, lines: Sequence[str], priority: int = 0) -> Tuple[File, Profile]:
    """A PAM profile of our own for sessions, which works with every pam-auth-update: taken up since it is new, and on by default."""
    text = "Name: {0}\nDefault: yes\nPriority: {1}\nSession-Type: Additional\nSession-Interactive-Only: yes\nSession:\n".format(title, priority)
    text += "".join("\t{0}\n".format(line) for line in lines)
    return File("{0}/{1}".format(PAM_PROFILES, name), text), Profile(name, "common-session", lines[-1].split(None, 1)[-1])
