# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The NFS mounts of a client: in /etc/fstab, and live with the options that are asked for; and the way back. Decides only, see :mod:`nfs_mounts_host`.

NFS changes few options by a remount; the others are refused or, by older programs, silently passed over. So what is in force is compared with what is asked
for, and where a remount does not do, the file system is unmounted and mounted again, unless somebody uses it.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from ..host.mountinfo import Mounted, seen_at
from . import fstab
from .nfs_mount_record import Kept, Live, Record
from .nfs_options import (
    Difference,
    check,
    differences,
    leave_out_new,
    merge,
    remount_words,
    restorable,
    same_words,
    says,
)
from .nfs_route import server_of

#: Read behind the distribution's 99-nfs.rules, which would set nfsrahead's value.
RULE = "etc/udev/rules.d/99-zz-dgxops-nfs.rules"
#: A new mount is in volumes before its bdi is announced (nfs_get_tree_common in fs/nfs/super.c), and with its device number between blanks.
_RULE = (
    "# Written by dgxops.fleet.nfs_mounts, which owns this file. Every new NFS mount reads this much ahead.\n"
    'SUBSYSTEM=="bdi", ACTION=="add", PROGRAM="/bin/grep -q \' $kernel \' /proc/fs/nfsfs/volumes", ATTR{{read_ahead_kb}}="{0}"\n'
)


class Wanted(NamedTuple):
    """A mount that is asked for; ``mounted`` is False for one that is only in fstab."""

    path: str
    source: str
    options: Tuple[str, ...]
    mounted: bool


class Wish(NamedTuple):
    """What a play asks for; checked."""

    mounts: Tuple[Wanted, ...]
    read_ahead_kib: Optional[int]
    next_boot: bool
    warnings: Tuple[str, ...]

    @classmethod
    def from_params(cls, params: Mapping[str, Any], release: Tuple[int, int]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cannot be mounted, or must not be without consent."""
        if params["state"] == "absent":
            return cls((), None, params["when_busy"] == "next_boot", ())
        wanted, warnings = [], []
        for entry in params["mounts"] or []:
            mount, said = _wanted(entry, params["options"] or [], params["allow_async"], release)
            wanted.append(mount)
            warnings += [text for text in said if text not in warnings]
        paths = [mount.path for mount in wanted]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise FleetError("mounts has {0} more than once. One file system is seen at a path; name each path once.".format(", ".join(twice)))
        ahead = params["read_ahead_kib"]
        if ahead is not None and not 0 <= ahead <= 1048576:
            raise FleetError("read_ahead_kib is {0}, but a number of KiB from 0 to 1048576 is expected.".format(ahead))
        return cls(tuple(wanted), ahead, params["when_busy"] == "next_boot", tuple(warnings))


class Found(NamedTuple):
    """A host as it is. ``missing`` are the directories on the way to a path that are not there, ``links`` where a path really leads if elsewhere."""

    fstab: str
    mounts: List[Mounted]
    read_ahead: Mapping[str, int]
    rule: Optional[str]
    record: Record
    missing: Mapping[str, Tuple[str, ...]]
    links: Mapping[str, str]
    release: Tuple[int, int]
    systemd: bool


class Step(NamedTuple):
    """One thing to do: ``unmount``, ``mount``, ``remount``, or ``visit`` a path where systemd mounts on demand."""

    verb: str
    path: str
    source: str = ""
    words: Tuple[str, ...] = ()


class Change(NamedTuple):
    """The way from one state to the other. ``mounted`` are those that will be unmounted, as they are; ``record`` holds while it is under way."""

    steps: Tuple[Step, ...]
    mounted: Tuple[Mounted, ...]
    fstab_before: str
    fstab_after: str
    make: Tuple[str, ...]
    remove: Tuple[str, ...]
    rule_before: Optional[str]
    rule_after: Optional[str]
    ahead: Tuple[Tuple[str, int, int], ...]
    record_before: Record
    record: Record
    reasons: Mapping[str, Tuple[Difference, ...]]
    warnings: Tuple[str, ...]
    pending: Tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.steps or self.ahead or self.remove) or self.fstab_before != self.fstab_after or self.rule_before != self.rule_after

    @property
    def unmounts(self) -> List[str]:
        return [step.path for step in self.steps if step.verb == "unmount"]

    @property
    def diffs(self) -> List[Diff]:
        """What ``--diff`` shows: mounts, read-ahead, and the two files."""
        shown = [
            Diff(_shown_before(self), _shown_after(self), "NFS mounts in force"),
            Diff(self.fstab_before, self.fstab_after, "/" + fstab.FSTAB),
            Diff("".join("{0}: {1} KiB\n".format(path, old) for path, old, _new in self.ahead),
                 "".join("{0}: {1} KiB\n".format(path, new) for path, _old, new in self.ahead), "read-ahead in force"),
            Diff(self.rule_before or "", self.rule_after or "", "/" + RULE),
        ]
        return [diff for diff in shown if diff.before != diff.after]

    def without(self, path: str, pending: bool) -> "Change":
        """The same without the live steps for a path, but for what a remount can change; ``pending`` if the rest comes when it is mounted the next time."""
        steps = [step for step in self.steps if step.path != path]
        again = next((step for step in self.steps if step.path == path and step.verb in ("mount", "visit")), None)
        if again is not None and any(entry.live for entry in self.reasons.get(path, ())):
            steps.append(Step("remount", path, again.source, remount_words(again.words)))
        kept = tuple(mount for mount in self.mounted if mount.path != path)
        return self._replace(steps=tuple(steps), mounted=kept, pending=self.pending + ((path,) if pending else ()))


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects. Whether a mount is in use is told by :func:`refuse_if_busy`."""
    work = _Work(found)
    for mount in wish.mounts:
        work.bring(mount)
    named = {mount.path for mount in wish.mounts}
    for path in found.record.mounts:
        if path not in named:
            work.give_back(path)
    ahead = _read_ahead(wish, found, work)
    down = sorted(work.down, key=lambda mount: mount.path.count("/"), reverse=True)
    up = sorted(work.up, key=lambda step: step.path.count("/"))
    text = work.text
    open_end = found.record.open_end or (not found.fstab.endswith("\n") and bool(found.fstab) and len(text) > len(found.fstab))
    if found.record.open_end and not any(kept.fstab is None for path, kept in work.record.items() if path in named):
        text, open_end = text[:-1] if text.endswith("\n") and _ends_with_ours(found) else text, False
    record = Record(dict(work.record), _ahead_record(wish, found), open_end)
    change = Change(
        tuple([Step("unmount", mount.path) for mount in down] + up), tuple(down), found.fstab, text, tuple(work.make), tuple(work.remove),
        found.rule, _RULE.format(wish.read_ahead_kib) if wish.read_ahead_kib is not None else None, ahead, found.record, record,
        dict(work.reasons), wish.warnings, (),
    )
    return _without_shared(change, found, False)


def _ends_with_ours(found: Found) -> bool:
    """Whether the last line of fstab is one that was added: then the end of the line before it was added too, and nobody has written behind it."""
    last = fstab.parse(found.fstab.rstrip("\n").rpartition("\n")[2])
    return any(entry.path in found.record.mounts and found.record.mounts[entry.path].fstab is None for entry in last)


class _Work:
    """What is to be done, collected path by path."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.text = found.fstab
        self.record: Dict[str, Kept] = dict(found.record.mounts)
        self.down: List[Mounted] = []
        self.up: List[Step] = []
        self.make: List[str] = []
        self.remove: List[str] = []
        self.reasons: Dict[str, Tuple[Difference, ...]] = {}

    def bring(self, wanted: Wanted) -> None:
        """A mount to what is asked for."""
        found, path = self.found, wanted.path
        seen, entry, kept = seen_at(found.mounts, path), fstab.at(found.fstab, path), found.record.mounts.get(path)
        if path in found.links:
            raise FleetError("{0} is a link to {1}. Name that path instead, which is the one that is mounted.".format(path, found.links[path]))
        if seen is not None and not seen.is_nfs and seen.type != "autofs":
            raise FleetError("{0} is mounted already: {1} with {2}. It was not touched. Name another path, or unmount it.".format(path, seen.source, seen.type))
        if entry is not None and entry.type not in ("nfs", "nfs4"):
            raise FleetError("/{0} mounts {1} with {2} on {3}. It was not touched. Name another path, or take that entry out.".format(
                fstab.FSTAB, entry.source, entry.type, path))
        if kept is None:
            asked = entry.options if entry is not None and entry.source == wanted.source else None
            live = Live(seen.source, restorable(seen)) if seen is not None and seen.is_nfs else None
            kept = Kept(entry.line if entry is not None else None, live, (), asked, {})
        kept = kept._replace(directories=kept.directories + tuple(name for name in found.missing.get(path, ()) if name not in kept.directories))
        self.record[path] = kept
        self._write_entry(wanted, entry)
        if not wanted.mounted:
            return
        self.make += [name for name in found.missing.get(path, ()) if name not in self.make]
        up = Step("visit" if self._on_demand(path) else "mount", path, wanted.source, wanted.options)
        if seen is None or not seen.is_nfs:
            self.up.append(up)
            return
        if _plain(seen.source) != _plain(wanted.source):
            self.reasons[path] = (Difference("source", wanted.source, seen.source, False),)
            self._again(seen, up)
            return
        unlike = [entry for entry in differences(wanted.options, seen, kept.asked) if kept.limits.get(entry.key) != (entry.wanted, entry.in_force)]
        if unlike:
            self.reasons[path] = tuple(unlike)
        if any(not entry.live for entry in unlike):
            self._again(seen, up)
        elif unlike:
            self.up.append(Step("remount", path, wanted.source, remount_words(wanted.options)))

    def give_back(self, path: str) -> None:
        """A mount as it was before the first change."""
        found, kept = self.found, self.record.pop(path)
        entry = fstab.at(found.fstab, path)
        if entry is None or entry.line != kept.fstab:
            self.text = fstab.replace(self.text, path, kept.fstab)
        seen = seen_at(found.mounts, path)
        nfs = seen if seen is not None and seen.is_nfs else None
        if kept.live is None:
            if nfs is not None:
                self.down.append(nfs)
            if seen is None or nfs is not None:
                self.remove += list(reversed(kept.directories))
        elif nfs is None:
            self.up.append(Step("mount", path, kept.live.source, kept.live.options))
        elif _plain(nfs.source) != _plain(kept.live.source) or set(restorable(nfs)) != set(kept.live.options):
            self._again(nfs, Step("mount", path, kept.live.source, kept.live.options))

    def _write_entry(self, wanted: Wanted, entry: Optional[fstab.Entry]) -> None:
        """An entry that says the same already stays as it is written."""
        same = entry is not None and _plain(entry.source) == _plain(wanted.source) and entry.type in ("nfs", "nfs4")
        if entry is None or not same or not same_words(entry.options, wanted.options):
            self.text = fstab.replace(self.text, wanted.path, fstab.line_of(wanted.source, wanted.path, wanted.options))

    def _again(self, seen: Mounted, up: Step) -> None:
        self.down.append(seen)
        self.up.append(up)

    def _on_demand(self, path: str) -> bool:
        return any(mount.path == path and mount.type == "autofs" for mount in self.found.mounts)


def refuse_if_busy(change: Change, wish: Wish, found: Found, users: Mapping[str, Sequence[str]]) -> Change:
    """The change, less what has to wait for the next boot; raises :class:`FleetError` if that was not asked for. ``users`` are those of each path."""
    busy: Dict[str, List[str]] = {}
    for mount in change.mounted:
        told = list(users.get(mount.path, ())) + _nested(mount, change, found)
        if told:
            busy[mount.path] = told
    if not busy:
        return change
    if wish.next_boot:
        for path in sorted(busy):
            change = change.without(path, True)
        return _without_shared(change, found, True)
    raise FleetError(" ".join(_busy(path, told, change) for path, told in sorted(busy.items())) + (
        " Nothing was changed. End them and run this again, or set when_busy (nfs_client_tuning_when_busy in the role) to next_boot."), busy=busy)


def _without_shared(change: Change, found: Found, pending: bool) -> Change:
    """All mounts of a server share its connections, whose number the first one determines (nconnect in nfs(5)). As long as one of them stays mounted, it is in
    vain to unmount another to change that number."""
    for mount in change.mounted:
        down = [other.path for other in change.mounted]
        fixed = [entry for entry in change.reasons.get(mount.path, ()) if not entry.live]
        others = [other.path for other in found.mounts if other.is_nfs and other.path not in down and client_of(other) == client_of(mount)]
        if not others or len(fixed) != 1 or fixed[0].key != "nconnect":
            continue
        told = "{0} has {1} connections and not {2}: it shares them with {3}, which was mounted first and stays.".format(
            mount.path, fixed[0].in_force, fixed[0].wanted, ", ".join(others))
        less = change.without(mount.path, pending)
        return _without_shared(less._replace(warnings=less.warnings + (told,)), found, pending)
    return change


def _busy(path: str, told: Sequence[str], change: Change) -> str:
    why = ", ".join("{0} ({1} instead of {2})".format(entry.key, entry.wanted, entry.in_force) for entry in change.reasons.get(path, ()))
    return "{0} has to be unmounted{1}, but it is in use: {2}.".format(path, " to change " + why if why else "", "; ".join(told))


def _nested(mount: Mounted, change: Change, found: Found) -> List[str]:
    """Mounts below this one that stay. The kernel takes those away by itself that it made where an NFS 4 server has a file system within another."""
    below = [other for other in found.mounts if other.path.startswith(mount.path.rstrip("/") + "/") and other.path not in change.unmounts]
    return ["{0} is mounted on {1}".format(other.source, other.path) for other in below
            if not (other.is_nfs and other.source.startswith(mount.source.rstrip("/")) and fstab.at(found.fstab, other.path) is None)]


def _wanted(entry: Mapping[str, Any], common: Sequence[str], allow_async: bool, release: Tuple[int, int]) -> Tuple[Wanted, List[str]]:
    path, source = str(entry["path"]), str(entry["src"])
    where = "The mount {0}".format(path)
    if not path.startswith("/") or path == "/" or "//" in path or path.endswith("/") or any(part in (".", "..") for part in path.split("/")):
        raise FleetError("path is {0!r}, but an absolute path without a slash at its end is expected, such as /data.".format(path))
    if not server_of(source) or not re.match(r".*?:/", source) or re.search(r"[\x00-\x1f]", source):
        raise FleetError("{0} has the src {1!r}, but a server and a path on it are expected, such as nfs01:/export/data.".format(where, source))
    words = merge(check(common, "options"), check(entry.get("options") or [], where))
    if says(words, "async") and not allow_async:
        raise FleetError(
            "{0} has the option async. Writes are then not safe when a program was told that they are: they are lost if this host goes down, and if the "
            "server exports async too, when that goes down (section 2.2.1 of the Best Practices). Set allow_async (nfs_client_tuning_allow_async in the role) "
            "if the data can be lost, or leave the option out.".format(where))
    kept, warnings = leave_out_new(words, release)
    return Wanted(path, source, kept or ("defaults",), entry.get("mounted") is not False), warnings


def read_ahead_goal(wish: Wish, found: Found, path: str) -> Optional[int]:
    """How much a mount is to read ahead; None if that is nobody's business."""
    if wish.read_ahead_kib is not None:
        return wish.read_ahead_kib
    if found.record.read_ahead is None:
        return None
    return found.record.read_ahead.get(path, default_read_ahead(found, path))


def _read_ahead(wish: Wish, found: Found, work: _Work) -> Tuple[Tuple[str, int, int], ...]:
    """Those that are mounted and stay so; what is mounted anew is set afterwards."""
    anew = {mount.path for mount in work.down}
    goals = [(path, now, read_ahead_goal(wish, found, path)) for path, now in sorted(found.read_ahead.items()) if path not in anew]
    return tuple((path, now, goal) for path, now, goal in goals if goal is not None and goal != now)


def default_read_ahead(found: Found, path: str) -> int:
    """What the kernel gives a new mount: 128 KiB from Linux 5.4 on, 15 reads before (NFS_MAX_READAHEAD)."""
    if found.release >= (5, 4):
        return 128
    seen = seen_at(found.mounts, path)
    sizes = [int(word[6:]) for word in (seen.super_options if seen else ()) if re.match(r"^rsize=[0-9]{1,9}\Z", word)]
    return 15 * sizes[0] // 1024 if sizes else 128


def _ahead_record(wish: Wish, found: Found) -> Optional[Mapping[str, int]]:
    if wish.read_ahead_kib is None:
        return None
    return found.record.read_ahead if found.record.read_ahead is not None else dict(found.read_ahead)


def _shown_before(change: Change) -> str:
    lines = ["{0} at {1}: {2}\n".format(mount.source, mount.path, ",".join(restorable(mount))) for mount in change.mounted]
    return "".join(lines) + "".join(
        "{0}: {1}\n".format(step.path, _told(change, step.path, False)) for step in change.steps if step.verb == "remount")


def _shown_after(change: Change) -> str:
    lines = ["{0} at {1}: {2}\n".format(step.source, step.path, ",".join(step.words)) for step in change.steps if step.verb in ("mount", "visit")]
    return "".join(lines) + "".join(
        "{0}: {1}\n".format(step.path, _told(change, step.path, True)) for step in change.steps if step.verb == "remount")


def _told(change: Change, path: str, after: bool) -> str:
    return ", ".join("{0} {1}".format(entry.key, entry.wanted if after else entry.in_force) for entry in change.reasons.get(path, ()))


def _plain(source: str) -> str:
    return source.rstrip("/") if not source.endswith(":/") else source


def client_of(mount: Mounted) -> Tuple[str, str, str]:
    """What the kernel's client for a server is known by: address, version, protocol."""
    values = dict(word.split("=", 1) for word in mount.super_options if "=" in word)
    return values.get("addr", ""), values.get("vers", ""), values.get("proto", "")
