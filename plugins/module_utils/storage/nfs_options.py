# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mount options of NFS: what is asked for, what the kernel says is in force, and what stands between them.

The kernel names options otherwise than a user may (``nfsvers=4`` is ``vers=4.2``), leaves defaults out and adds what it found out, so both sides are brought
to the same words first: nfs(5), mount(8), nfs_show_mount_options in fs/nfs/super.c.
"""
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.mountinfo import Mounted

#: Words for the opposite of a flag, and the flag.
_OPPOSITE = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "async": "sync", "diratime": "nodiratime", "nofsc": "fsc", "ac": "noac", "cto": "nocto",
    "lock": "nolock", "acl": "noacl", "sharecache": "nosharecache", "resvport": "noresvport", "rdirplus": "nordirplus", "nouser": "user", "auto": "noauto",
}
_FLAGS = ("ro", "nosuid", "nodev", "noexec", "sync", "nodiratime", "fsc", "noac", "nocto", "nolock", "noacl", "nosharecache", "noresvport", "nordirplus")
#: Words that stand for ``key=value``.
_SHORT = {
    "tcp": ("proto", "tcp"), "tcp6": ("proto", "tcp6"), "udp": ("proto", "udp"), "rdma": ("proto", "rdma"), "hard": ("soft", "hard"), "soft": ("soft", "soft"),
    "softerr": ("soft", "softerr"), "softreval": ("soft", "softreval"), "noatime": ("atime", "noatime"), "relatime": ("atime", "relatime"),
    "strictatime": ("atime", "strictatime"), "atime": ("atime", "relatime"), "norelatime": ("atime", "strictatime"),
}
_RENAMED = {"nfsvers": "vers"}
#: What the kernel leaves out.
_DEFAULTS = {
    "soft": "hard", "atime": "relatime", "nconnect": "1", "lookupcache": "all", "local_lock": "none",
    "acregmin": "3", "acregmax": "60", "acdirmin": "30", "acdirmax": "60", "noac": "", "port": "2049",
}
#: Shown by the kernel in every case, or if not the default.
_SHOWN = ("vers", "rsize", "wsize", "nconnect", "proto", "timeo", "retrans", "sec", "soft", "atime", "lookupcache", "local_lock",
          "acregmin", "acregmax", "acdirmin", "acdirmax")
_NUMBERS = ("rsize", "wsize", "nconnect", "timeo", "retrans", "acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo", "port", "retry", "minorversion")
#: For mount(8), systemd and those who read fstab; the kernel never sees them.
_USERLAND = ("_netdev", "nofail", "noauto", "user", "users", "nouser", "owner", "group", "bg", "fg", "retry", "defaults", "comment", "uhelper", "helper")
#: The kernel changes these of a live mount; of others it says "an incorrect mount option was specified" (nfs_compare_remount_data in fs/nfs/super.c).
_BY_REMOUNT = ("ro", "nosuid", "nodev", "noexec", "sync", "atime", "nodiratime")
#: What the kernel tells and mount(8) need not be told.
_FOUND_OUT = ("addr", "clientaddr", "mountaddr", "mountvers", "mountport", "mountproto", "namlen")
#: The Linux that brought an option. An older one refuses the mount.
_SINCE = {"nconnect": (5, 3), "softreval": (5, 6), "max_connect": (5, 15), "trunkdiscovery": (5, 16), "notrunkdiscovery": (5, 16), "xprtsec": (6, 5)}
_ONLY_BEFORE_4 = ("nolock", "noacl")


class Difference(NamedTuple):
    """An option that is in force otherwise than asked for. ``live`` if a remount changes it."""

    key: str
    wanted: str
    in_force: str
    live: bool


def check(words: Sequence[str], where: str) -> Tuple[str, ...]:
    """One tuple of single options from a list whose entries may hold several; raises :class:`FleetError` for what mount(8) could not take."""
    found: List[str] = []
    for entry in words:
        found += [word.strip() for word in str(entry).split(",") if word.strip()]
    for word in found:
        name, _equals, value = word.partition("=")
        if re.search(r"\s", word):
            raise FleetError("{0} has the option {1!r}, but options have no blanks in them. Write one an entry.".format(where, word))
        if name in ("remount", "bind", "rbind", "move"):
            raise FleetError("{0} has the option {1}, which says how to mount and not what. Leave it out.".format(where, name))
        if name in _NUMBERS and not re.match(r"^[0-9]{1,9}\Z", value):
            raise FleetError("{0} has the option {1!r}, but a number is expected, such as {2}=8.".format(where, word, name))
        if name == "nconnect" and not 1 <= int(value) <= 16:
            raise FleetError("{0} has the option {1}, but a mount has 1 to 16 connections (nfs(5)).".format(where, word))
        if name in ("vers", "nfsvers") and not re.match(r"^(2|3|4|4\.[012])\Z", value):
            raise FleetError("{0} has the option {1!r}, but versions of NFS are 3, 4, 4.0, 4.1 and 4.2.".format(where, word))
    return tuple(found)


def merge(*several: Sequence[str]) -> Tuple[str, ...]:
    """Several lists as one, in which a later word replaces an earlier one that is about the same."""
    words: List[str] = [word for one in several for word in one]
    last = {_key(word): place for place, word in enumerate(words)}
    kept = [word for place, word in enumerate(words) if last[_key(word)] == place and word != "defaults"]
    return tuple(kept) or ("defaults",)


def leave_out_new(words: Sequence[str], release: Tuple[int, int]) -> Tuple[Tuple[str, ...], List[str]]:
    """The options that this kernel knows, and the others as warnings."""
    kept, warnings = [], []
    for word in words:
        since = _SINCE.get(word.partition("=")[0])
        if since is not None and release < since:
            warnings.append("{0} was left out: Linux knows it from {1}.{2} on, and this host has {3}.{4}.".format(word, since[0], since[1], *release))
        else:
            kept.append(word)
    return tuple(kept), warnings


def differences(wanted: Sequence[str], mount: Mounted, asked: Optional[Sequence[str]]) -> List[Difference]:
    """What is in force otherwise than wanted. ``asked`` is what this mount was made with, if that is known: an option that was asked for then and
    is not any more has to go too, and some options the kernel does not show."""
    want, have = _meaning(wanted), _meaning(mount.options + mount.super_options)
    before = _meaning(asked) if asked is not None else {}
    found = []
    for key in _FLAGS:
        if want.get(key, "") != have.get(key, "") and not _cannot_be_seen(key, want, have):
            found.append(Difference(key, want.get(key, "") or "off", have.get(key, "") or "off", key in _BY_REMOUNT))
    for key in _SHOWN:
        if key not in want and key not in before and key not in ("soft", "atime", "nconnect"):
            continue
        default = _DEFAULTS.get(key)
        goal = want.get(key, default)
        now = have.get(key, default)
        if goal is None:  # asked for before, and not any more; what the server and the kernel then choose is not known
            found.append(Difference(key, "what server and kernel choose", str(now), False))
        elif not _same(key, goal, now) and not (want.get("noac") and key.startswith("ac")):
            found.append(Difference(key, goal, str(now), key in _BY_REMOUNT))
    for key in sorted((set(want) | set(before)) - set(_FLAGS) - set(_SHOWN)):
        default = _DEFAULTS.get(key, "")
        if not _userland(key) and key not in _FOUND_OUT and want.get(key, default) != before.get(key, default):
            found.append(Difference(key, want.get(key) or "off", before.get(key) or "not known", False))
    return found


def restorable(mount: Mounted) -> Tuple[str, ...]:
    """The options with which a mount can be made again as it is."""
    words = [word for word in mount.options + mount.super_options if word.partition("=")[0] not in _FOUND_OUT]
    read_only = "ro" in words
    words = [word for word in words if word not in ("ro", "rw")]
    return ("ro" if read_only else "rw",) + tuple(dict.fromkeys(words))


def remount_words(wanted: Sequence[str]) -> Tuple[str, ...]:
    """What a remount is told: all that it can change, since what it is not told goes back to its default."""
    meaning = _meaning(wanted)
    words = ["ro" if meaning.get("ro") else "rw", "sync" if meaning.get("sync") else "async", meaning.get("atime", "relatime")]
    return tuple(words + [key for key in ("nosuid", "nodev", "noexec", "nodiratime") if meaning.get(key)])


def same_words(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists mean the same, for the kernel and for others."""
    return _meaning(one) == _meaning(other)


def says(words: Sequence[str], name: str) -> bool:
    """Whether an option is named, with or without a value."""
    return any(word.partition("=")[0] == name for word in words)


def _meaning(words: Sequence[str]) -> Dict[str, str]:
    """Words by what they are about. A flag that is off is left out, so that it equals one that is not named."""
    found: Dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name == "defaults":
            continue
        if name == "actimeo":
            found.update(dict.fromkeys(("acregmin", "acregmax", "acdirmin", "acdirmax"), value))
        elif not equals and re.match(r"^v[234](\.[0-9])?\Z", name):
            found["vers"] = name[1:]
        elif not equals and name in _SHORT:
            found[_SHORT[name][0]] = _SHORT[name][1]
        elif not equals and name in _OPPOSITE:
            found.pop(_OPPOSITE[name], None)
        elif name == "lookupcache":
            found[name] = "pos" if value == "positive" else value
        else:
            found[_RENAMED.get(name, name)] = value if equals else "on"
    if "minorversion" in found:
        minor = found.pop("minorversion")
        found["vers"] = "4." + minor
    return found


def _key(word: str) -> str:
    """What a word is about."""
    name, equals, _value = word.partition("=")
    if not equals and re.match(r"^v[234](\.[0-9])?\Z", name):
        return "vers"
    if not equals and name in _SHORT:
        return _SHORT[name][0]
    return _RENAMED.get(name, _OPPOSITE.get(name, name))


def _same(key: str, wanted: str, now: Optional[str]) -> bool:
    if now is None:
        return False
    if key == "vers":
        return now == wanted or (wanted == "4" and now.startswith("4")) or (wanted == "4.0" and now == "4")
    if key == "proto":
        return now.rstrip("6") == wanted.rstrip("6")
    if key == "sec":
        return now in wanted.split(":")
    return now == wanted


def _cannot_be_seen(key: str, want: Mapping[str, str], have: Mapping[str, str]) -> bool:
    """``noac`` puts ``sync`` beside it; some flags are for NFS 3 only."""
    if key == "sync" and (want.get("noac") or have.get("noac")):
        return True
    return key in _ONLY_BEFORE_4 and have.get("vers", "").startswith("4")


def _userland(key: str) -> bool:
    return key in _USERLAND or key.startswith(("x-", "X-"))
