# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the NFS mounts of a client, and changes them; what is to be changed is decided in :mod:`nfs_mounts`."""
import os
import re
from typing import Dict, List, Sequence, Tuple

from ..host import records
from ..host.errors import FleetError
from ..host.files import BACKUPS, keep_once, read_text, remove, write_atomic
from ..host.host import Host
from ..host.mountinfo import Mounted, parse_mountinfo, seen_at
from ..host.sysfs import Sysfs
from . import fstab
from .mount_users import read_users
from .nfs_mount_record import RECORD, Kept, Record, parse_record
from .nfs_mounts import RULE, Change, Found, Step, Wish, client_of, read_ahead_goal
from .nfs_options import differences, restorable

_RELEASE = re.compile(r"^(\d+)\.(\d+)")
#: mount.nfs tries for two minutes to reach a server (retry in nfs(5)).
_MOUNT_TIMEOUT = 180
#: Writes that are not on the server yet go there before it is unmounted.
_UNMOUNT_TIMEOUT = 600
_HELPERS = ("sbin/mount.nfs", "usr/sbin/mount.nfs")


def read_release(sysfs: Sysfs) -> Tuple[int, int]:
    """The Linux that runs; a very new one if it does not tell."""
    match = _RELEASE.match(sysfs.read("proc/sys/kernel/osrelease") or "")
    return (int(match.group(1)), int(match.group(2))) if match else (999, 0)


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    mounts = read_mounts(host)
    return Found(
        read_text(host.path(fstab.FSTAB)) or "", mounts, _read_ahead(mounts, host), read_text(host.path(RULE)), parse_record(records.read(RECORD, host.root)),
        {mount.path: _missing(mount.path, host) for mount in wish.mounts if seen_at(mounts, mount.path) is None}, _links(wish, mounts, host),
        read_release(host.sysfs),
        os.path.isdir(host.path("run/systemd/system")),
    )


def read_mounts(host: Host) -> List[Mounted]:
    return parse_mountinfo(host.sysfs.read("proc/self/mountinfo") or "")


def read_busy(change: Change, host: Host) -> Dict[str, List[str]]:
    """Who uses what is to be unmounted."""
    return read_users(change.mounted, host.sysfs)


def needs_helper(change: Change, host: Host) -> bool:
    """Whether NFS cannot be mounted for want of the program."""
    return any(step.verb in ("mount", "visit") for step in change.steps) and not any(os.path.exists(host.path(name)) for name in _HELPERS)


def carry_out(change: Change, wish: Wish, found: Found, host: Host) -> Tuple[Found, List[str]]:
    """Do it and verify it; returns what is there then, and what server and kernel made otherwise than asked for.

    What was found is on the disk before the first step, so a run cut short anywhere is completed by the next.
    """
    if change:
        _write_record(change.record_before, _together(change), host)
        _make(change, host)
        _write_fstab(change.fstab_before, change.fstab_after, host)
        _write_rule(change, host)
        _run_steps(change, host)
        _set_read_ahead(change, wish, found, host)
        _remove(change, host)
    now = read(wish, host)
    record, warnings = _verified(change, wish, now)
    _write_record(now.record, record, host)
    return now._replace(record=record), warnings


def _together(change: Change) -> Record:
    """What is remembered while the change is under way: what it is about to give back too."""
    mounts = dict(change.record_before.mounts)
    mounts.update(change.record.mounts)
    ahead = change.record_before.read_ahead
    return Record(mounts, change.record.read_ahead if ahead is None else ahead, change.record.open_end or change.record_before.open_end)


def _run_steps(change: Change, host: Host) -> None:
    """First all that must go, then all that is to be there. If one fails, the others go back."""
    gone: List[Mounted] = []
    made: List[str] = []
    try:
        for step in change.steps:
            _run(step, host)
            if step.verb == "unmount":
                gone += [mount for mount in change.mounted if mount.path == step.path]
            elif step.verb == "mount":
                made.append(step.path)
    except FleetError as error:
        lost = _put_back(change, gone, made, host)
        state = "All is mounted as before" if not lost else "Not mounted any more: " + ", ".join(lost)
        raise FleetError("{0}. {1}.".format(error.message.rstrip("."), state))


def _run(step: Step, host: Host) -> None:
    if step.verb == "unmount":
        host.commands.output(("umount", step.path), _UNMOUNT_TIMEOUT)
    elif step.verb == "visit":
        host.commands.output(("ls", "-d", step.path + "/."), _MOUNT_TIMEOUT)
    elif step.verb == "remount":
        # With both source and path named, mount(8) does not add what fstab says, which a remount may not be able to change.
        host.commands.output(("mount", "-o", ",".join(("remount",) + step.words), step.source, step.path), _MOUNT_TIMEOUT)
    else:
        host.commands.output(("mount", "-t", "nfs", "-o", ",".join(step.words), step.source, step.path), _MOUNT_TIMEOUT)


def _put_back(change: Change, gone: Sequence[Mounted], made: Sequence[str], host: Host) -> List[str]:
    """The mounts and the file as they were; returns what could not be mounted again."""
    _write_fstab(change.fstab_after, change.fstab_before, host)
    lost = []
    for path in reversed(made):
        host.commands.run(("umount", path), _UNMOUNT_TIMEOUT)
    for mount in reversed(gone):
        try:
            _run(Step("mount", mount.path, mount.source, restorable(mount)), host)
        except FleetError:
            lost.append("{0} on {1}".format(mount.source, mount.path))
    return lost


def _write_fstab(before: str, after: str, host: Host) -> None:
    if before == after:
        return
    place = host.path(fstab.FSTAB)
    if os.path.exists(place):
        keep_once(place, "fstab", host.path(BACKUPS))
    write_atomic(place, after)
    if os.path.isdir(host.path("run/systemd/system")):  # it makes units of the entries, and would go by the old ones
        host.commands.run(("systemctl", "daemon-reload"))


def _write_rule(change: Change, host: Host) -> None:
    """First of all, so that udev treats what is then mounted accordingly."""
    if change.rule_before == change.rule_after:
        return
    if change.rule_after is not None:
        write_atomic(host.path(RULE), change.rule_after)
    else:
        remove(host.path(RULE))
    if os.path.isdir(host.path("run/udev")):
        host.commands.run(("udevadm", "control", "--reload"))


def _make(change: Change, host: Host) -> None:
    for name in change.make:
        os.makedirs(host.path(name), mode=0o755, exist_ok=True)


def _remove(change: Change, host: Host) -> None:
    """Directories that were made for a mount, unless somebody put something into them."""
    for name in change.remove:
        try:
            os.rmdir(host.path(name))
        except OSError:
            pass


def _set_read_ahead(change: Change, wish: Wish, found: Found, host: Host) -> None:
    """Of mounts that stayed, and of new ones, where udev may not have come by yet."""
    goals = {path: goal for path, _before, goal in change.ahead}
    for step in change.steps:
        if step.verb in ("mount", "visit"):
            wanted = read_ahead_goal(wish, found, step.path)
            if wanted is not None:
                goals[step.path] = wanted
    mounts = read_mounts(host)
    for path, goal in sorted(goals.items()):
        seen = seen_at(mounts, path)
        if seen is None or not seen.is_nfs:
            continue
        place = host.path("sys/class/bdi/{0}/read_ahead_kb".format(seen.device))
        try:
            with open(place, "w") as handle:
                handle.write("{0}\n".format(goal))
        except OSError as error:
            raise FleetError("The read-ahead of {0} could not be set to {1} KiB in {2}: {3}.".format(path, goal, place, error.strerror))


def _verified(change: Change, wish: Wish, now: Found) -> Tuple[Record, List[str]]:
    """The record, with what was asked of each mount and what came of it."""
    if not change:
        return change.record, []
    mounts: Dict[str, Kept] = dict(change.record.mounts)
    warnings: List[str] = []
    remounted = {step.path for step in change.steps if step.verb != "unmount"}
    for wanted in wish.mounts:
        kept, seen = mounts.get(wanted.path), seen_at(now.mounts, wanted.path)
        if kept is None or seen is None or not seen.is_nfs:
            continue
        if wanted.path in remounted:
            unlike = differences(wanted.options, seen, wanted.options)
            limits = {entry.key: (entry.wanted, entry.in_force) for entry in unlike}
            shared = [other for other in now.mounts if other.is_nfs and other.path not in remounted and client_of(other) == client_of(seen)]
            mounts[wanted.path] = kept._replace(
                asked=wanted.options, limits={key: pair for key, pair in limits.items() if key != "nconnect" or not shared})
            warnings += ["{0}: {1} is {2} and not {3}, which server or kernel decided.".format(wanted.path, key, got, asked)
                         for key, (asked, got) in sorted(limits.items())]
        elif wanted.path not in change.pending and wanted.path not in change.reasons:
            mounts[wanted.path] = kept._replace(asked=wanted.options)
    return change.record._replace(mounts=mounts), warnings


def _write_record(before: Record, after: Record, host: Host) -> None:
    if before != after:
        records.write(RECORD, after.to_dict() if after else {}, host.root)


def _read_ahead(mounts: Sequence[Mounted], host: Host) -> Dict[str, int]:
    found: Dict[str, int] = {}
    for mount in mounts:
        if mount.is_nfs and seen_at(list(mounts), mount.path) == mount:
            size = host.sysfs.number("sys/class/bdi/{0}/read_ahead_kb".format(mount.device), -1)
            if size >= 0:
                found[mount.path] = size
    return found


def _missing(path: str, host: Host) -> Tuple[str, ...]:
    """The directories on the way that are not there, from the top down. Not for what is mounted: its server might not answer."""
    found: List[str] = []
    while path != "/" and not os.path.lexists(host.path(path)):
        found.insert(0, path)
        path = os.path.dirname(path)
    return tuple(found)


def _links(wish: Wish, mounts: List[Mounted], host: Host) -> Dict[str, str]:
    """Where a path really leads if that is elsewhere. What is mounted is no link."""
    found: Dict[str, str] = {}
    for path in (mount.path for mount in wish.mounts if host.sysfs.root == "/" and seen_at(mounts, mount.path) is None):
        real = os.path.realpath(path)
        if real != path:
            found[path] = real
    return found
