# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Linux software RAID (md): an array, its members, and whether it is well.

The words are those of md(4) and of the kernel's Documentation/admin-guide/md.rst. An array may have been read from a running kernel or from recorded text.
"""
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

GIB, GB = 2 ** 30, 10 ** 9

#: Levels that hold no copy of anything: with one member everything is lost.
WITHOUT_REDUNDANCY = ("raid0", "linear")

#: What a member is to its array.
ACTIVE, REBUILDING, SPARE, FAILED, GONE, JOURNAL = "active", "rebuilding", "spare", "failed", "gone", "journal"

#: What can be said of an array, from good to bad; unknown is for texts that do not tell.
HEALTHY, WARNING, REBUILT, DEGRADED, INACTIVE, BROKEN, UNKNOWN = "healthy", "warning", "rebuilding", "degraded", "inactive", "broken", "unknown"

_ACTIVITIES = {"recover": "being rebuilt", "resync": "being brought in step", "reshape": "being reshaped"}


class Member(NamedTuple):
    """A drive or partition of an array; ``device`` is empty where only the place of one that is gone is known.

    ``slot`` is its place among the data, None for spares; ``drive`` is the lasting id of the whole drive.
    """

    device: str
    role: str
    slot: Optional[int] = None
    flags: Tuple[str, ...] = ()
    errors: int = 0
    bad_blocks: int = 0
    size_bytes: int = 0
    trim: Optional[bool] = None
    drive: str = ""
    serial: str = ""
    node: int = -1

    @property
    def label(self) -> str:
        return "{0} (serial {1})".format(self.device, self.serial) if self.serial else self.device


class Sync(NamedTuple):
    """What the array does with itself: ``idle``, ``resync``, ``recover``, ``check``, ``repair``, ``reshape`` or ``frozen``."""

    action: str = "idle"
    percent: Optional[float] = None
    speed_kib: Optional[int] = None


class FileSystem(NamedTuple):
    """What the array carries, by its signature."""

    type: str = ""
    uuid: str = ""
    label: str = ""


class Mount(NamedTuple):
    """Where the array, a partition of it, or a volume made of it is mounted."""

    path: str
    type: str
    options: str


class NfsCache(NamedTuple):
    """``directory`` is where cachefilesd keeps its files if that is on this array; ``active`` is None where the kernel does not tell."""

    directory: str = ""
    active: Optional[bool] = None


class Array(NamedTuple):
    """An array. ``source`` says what told it: ``sysfs``, ``mdstat`` or ``detail``."""

    device: str
    source: str
    level: str = ""
    state: str = ""
    uuid: str = ""
    name: str = ""
    metadata: str = ""
    chunk_bytes: int = 0
    size_bytes: int = 0
    raid_disks: int = 0
    members: Tuple[Member, ...] = ()
    sync: Sync = Sync()
    mismatches: int = 0
    trim: Optional[bool] = None
    file_system: FileSystem = FileSystem()
    mounts: Tuple[Mount, ...] = ()
    nfs_cache: NfsCache = NfsCache()

    def having(self, role: str) -> List[Member]:
        return [member for member in self.members if member.role == role]

    @property
    def lost_slots(self) -> List[int]:
        """The places that no member with good data fills."""
        return sorted(set(range(self.raid_disks)) - {member.slot for member in self.having(ACTIVE) if member.slot is not None})

    @property
    def is_container(self) -> bool:
        """Whether this only holds members and metadata for other arrays, as firmware RAID (IMSM, DDF) does; it has no data of its own."""
        return self.level == "container" or self.metadata.startswith("external:") and not self.metadata.startswith("external:/")


class Verdict(NamedTuple):
    """Whether an array is well, and sentences that say why not and what to do."""

    verdict: str
    reasons: Tuple[str, ...] = ()


def judge(array: Array) -> Verdict:
    """What is to be thought of an array."""
    warnings = _warnings(array)
    if array.is_container:
        return Verdict(WARNING if warnings else HEALTHY, warnings)
    lost = array.lost_slots
    if array.state in ("inactive", "clear"):
        return Verdict(INACTIVE, (_inactive(array),) + warnings)
    if array.state == "broken" or len(lost) > can_lose(array.level, array.raid_disks):
        return Verdict(BROKEN, (_broken(array, lost),) + warnings)
    if lost:
        what = "{0} of {1} members missing: slot {2}.".format(len(lost), array.raid_disks, ", ".join(str(slot) for slot in lost))
        if array.sync.action == "recover":
            onto = ", ".join(member.label for member in array.having(REBUILDING)) or "a spare"
            return Verdict(REBUILT, ("{0} It is being rebuilt onto {1}{2}.".format(what, onto, _progress(array.sync)),) + warnings)
        remedy = " It works, but has less redundancy or none. Add a drive: mdadm --manage /dev/{0} --add DRIVE".format(array.device)
        return Verdict(DEGRADED, (what + remedy,) + warnings)
    if array.sync.action in _ACTIVITIES:
        return Verdict(REBUILT, ("The array is {0}{1}.".format(_ACTIVITIES[array.sync.action], _progress(array.sync)),) + warnings)
    if array.source == "mdstat" and array.level in WITHOUT_REDUNDANCY:
        told = "/proc/mdstat goes on showing all members of a {0} when one is lost. /sys/block/{1}/md/array_state and mdadm --detail tell."
        return Verdict(UNKNOWN, (told.format(array.level, array.device),) + warnings)
    return Verdict(WARNING if warnings else HEALTHY, warnings)


def can_lose(level: str, raid_disks: int) -> int:
    """How many members may be missing before data is lost for sure; which ones counts too for raid10, whose copies follow each other (md(4))."""
    if level in WITHOUT_REDUNDANCY:
        return 0
    if level in ("raid4", "raid5"):
        return 1
    if level == "raid6":
        return 2
    return max(raid_disks - 1, 0)


def _broken(array: Array, lost: Sequence[int]) -> str:
    gone = [member.label for member in array.members if member.role in (GONE, FAILED) and member.device]
    return "It has lost {0}{1}, more than {2} survives: data is missing.{3} Unmount and stop it. {4}".format(
        "slot " + ", ".join(str(slot) for slot in lost) if lost else "a member",
        " ({0})".format(", ".join(gone)) if gone else "",
        array.level or "the array",
        " What is mounted at {0} only seems to work.".format(", ".join(mount.path for mount in array.mounts)) if array.mounts else "",
        "If the drive comes back unharmed, assemble the array again; otherwise replace the drive and create the array anew.",
    )


def _inactive(array: Array) -> str:
    here = [member for member in array.members if member.role != GONE]
    there = "{0} of {1}".format(len(here), array.raid_disks) if array.raid_disks else str(len(here))
    return "It does not run: {0} members are there ({1}). Find the others, or if none is missing: mdadm --run /dev/{2}".format(
        there, ", ".join(member.label for member in here) or "none", array.device
    )


def _progress(sync: Sync) -> str:
    return ", {0:.1f} % done".format(sync.percent) if sync.percent is not None else ""


def _warnings(array: Array) -> Tuple[str, ...]:
    found = []
    for member in array.members:
        if member.role == FAILED:
            remedy = "mdadm --manage /dev/{0} --remove /dev/{1}".format(array.device, member.device)
            found.append("{0} failed and is still attached. Remove it: {1}".format(member.label, remedy))
        if member.role == GONE and array.level not in WITHOUT_REDUNDANCY:
            found.append("{0} is gone from the machine.".format(member.label))
        if member.errors:
            found.append("{0} has had {1} read errors that were put right.".format(member.label, member.errors))
        if member.bad_blocks:
            found.append("{0} has {1} ranges of bad blocks.".format(member.label, member.bad_blocks))
        for flag in sorted({"want_replacement", "write_error", "blocked"} & set(member.flags)):
            found.append("{0} is marked {1}.".format(member.label, flag))
    if array.mismatches and array.level in ("raid4", "raid5", "raid6"):
        # On raid1 and raid10 a count may come from swap and mean nothing (md(4), SCRUBBING AND MISMATCHES).
        found.append("The last check counted {0} sectors that do not match their parity.".format(array.mismatches))
    if array.state in ("readonly", "suspended"):
        found.append("The array is {0}.".format(array.state))
    return tuple(found)


def array_to_dict(array: Array) -> Dict[str, Any]:
    """An array with its verdict, as users get it."""
    verdict = judge(array)
    roles = [member.role for member in array.members]
    given = {name: value for name, value in array._asdict().items() if name not in ("members", "sync", "file_system", "mounts", "nfs_cache")}
    return dict(
        given,
        size_gib=round(array.size_bytes / GIB, 2),
        size_gb=round(array.size_bytes / GB, 2),
        active=roles.count(ACTIVE),
        spares=roles.count(SPARE),
        failed=roles.count(FAILED) + roles.count(GONE),
        missing_slots=[] if array.is_container or array.state in ("inactive", "clear") else array.lost_slots,
        members=[dict(member._asdict(), flags=list(member.flags)) for member in array.members],
        sync=dict(array.sync._asdict()),
        file_system=dict(array.file_system._asdict()),
        mounts=[dict(mount._asdict()) for mount in array.mounts],
        nfs_cache=dict(array.nfs_cache._asdict()),
        verdict=verdict.verdict,
        reasons=list(verdict.reasons),
    )
