# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file system for the cache: made once, by the array's stripes, mounted by its UUID, and never made over something that is there.

Section 2.1.4 of the Best Practices for DGX shows it mounted at /raid as ext4 with ``discard`` and ``stripe=``. ``nofail`` is ours: a host must
boot without its cache.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.files import joined
from ..host.mountinfo import unescape
from ..host.settings import Change, State, Unit, decide, restore
from .blocks import Place
from .contents import Signature
from .md import Mount

FSTAB, TRIM_TIMER = "etc/fstab", "fstrim.timer"
#: ext4 counts stripes in blocks of this size, which it has on anything that is larger than 512 MiB (mke2fs.conf(5)).
_BLOCK = 4096
_OPTION = re.compile(r"^[A-Za-z0-9_.:/=@%+-]+\Z", re.ASCII)
#: Options of fstab that the kernel shows in mountinfo as they are; of others it cannot be told whether they are in force.
_SHOWN = ("discard", "noatime", "nodiratime", "nosuid", "nodev", "noexec", "ro")


class Wish(NamedTuple):
    """What a play asks for; checked. ``wipe`` are UUIDs of what may be lost."""

    present: bool
    device: str
    path: str
    label: str
    options: Tuple[str, ...]
    trim: str
    wipe: Tuple[str, ...]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cannot be mounted."""
        path, device, label = params["path"], params["device"] or "", params["label"]
        if not path.startswith("/") or path.rstrip("/") == "" or "/../" in path + "/" or re.search(r"[\n\r]", path):
            raise FleetError("path is {0!r}, but an absolute path other than / is expected, such as /raid.".format(path))
        if params["state"] == "mounted" and not device.startswith("/dev/"):
            raise FleetError("device is {0!r}, but a path below /dev is expected, such as /dev/md/raid.".format(device))
        if len(label.encode("utf-8")) > 16 or re.search(r"[\s/]", label):
            raise FleetError("label is {0!r}, but at most 16 bytes without blanks are expected (mke2fs(8), -L).".format(label))
        for option in params["options"]:
            if not _OPTION.match(option):
                raise FleetError("options has {0!r}, but one mount option an entry is expected, without blanks and commas.".format(option))
            if option in ("discard", "nodiscard"):
                raise FleetError("options has {0}. Say it by trim: discard, timer or none.".format(option))
        return cls(params["state"] == "mounted", device, path.rstrip("/"), label, tuple(params["options"]), params["trim"], tuple(params["wipe"]))

    @property
    def mount_options(self) -> List[str]:
        return list(self.options) + (["discard"] if self.trim == "discard" else []) or ["defaults"]

    def line(self, uuid: str) -> str:
        """The line of fstab. The file system is checked at boot after the system's own."""
        return "UUID={0} {1} ext4 {2} 0 2\n".format(uuid, _escape(self.path), ",".join(self.mount_options))


class Found(NamedTuple):
    """A host as it is. ``exists`` is whether the device does; ``signatures`` are on it, ``mounts`` are its own, ``at`` is what is mounted at the path.

    ``stripe`` are its chunk in bytes and the number of chunks in a stripe, (0, 0) for what has none. ``below`` counts files in the directory where
    nothing is mounted, None if there is no directory. ``programs`` have the device open for writing.
    """

    exists: bool
    signatures: Tuple[Signature, ...]
    mounts: Tuple[Mount, ...]
    at: Optional[Place]
    own: bool
    stripe: Tuple[int, int]
    below: Optional[int]
    state: State
    record: Mapping[str, Any]
    programs: Tuple[str, ...] = ()


class Plan(NamedTuple):
    """What is to be done: ``commands`` before fstab and units change, ``mount`` after it; the change of those; and what it comes to."""

    commands: Tuple[Tuple[str, ...], ...]
    mount: Tuple[Tuple[str, ...], ...]
    change: Change
    uuid: str
    told: Tuple[str, ...]
    warnings: Tuple[str, ...] = ()
    make_directory: bool = False
    remove_directory: bool = False

    def __bool__(self) -> bool:
        return bool(self.commands or self.mount or self.change or self.remove_directory)


def plan(wish: Wish, found: Found, fresh: str) -> Plan:
    """The way to what is wanted, or a refusal; ``fresh`` is the UUID for a file system that has to be made."""
    return _mounted(wish, found, fresh) if wish.present else _back(wish, found)


def _mounted(wish: Wish, found: Found, fresh: str) -> Plan:
    _refuse_others(wish, found)
    cut_short = "" if found.own else found.record.get("making", "")
    there = next((one for one in found.signatures if one.type == "ext4" and (not cut_short or one.uuid != cut_short)), None)
    commands: List[Tuple[str, ...]] = []
    told: List[str] = []
    if there is None or len(found.signatures) > 1:
        commands, told = _make(wish, found, fresh)
        there = None
    uuid = there.uuid if there else fresh
    text = found.state.files.get(FSTAB) or ""
    wanted = State({FSTAB: with_entry(text, wish.path, wish.line(uuid))}, _timer(wish, found))
    kept: Dict[str, Any] = {"path": wish.path, "line": wish.line(uuid)}
    if "was" not in found.record:
        kept["was"] = {"mounted": found.own, "directory": found.below is not None or found.at is not None}
    if there is None:
        kept["making"] = fresh
    change = decide(found.state, wanted, found.record, {}, {FSTAB: _undo}, kept)
    mount: List[Tuple[str, ...]] = []
    if not found.own:
        mount.append(("mount", wish.path))
        told.append("mount it at {0}".format(wish.path))
    elif found.at is not None and not _in_force(wish, found.at.mount.options):
        options = ",".join(["remount"] + wish.mount_options + ([] if wish.trim == "discard" else ["nodiscard"]))
        mount.append(("mount", "-o", options, wish.path))
        told.append("mount it anew with {0}".format(",".join(wish.mount_options)))
    warnings = ("{0} held {1} files on the drives of the system; they are hidden now.".format(wish.path, found.below),) if found.below and not found.own else ()
    return Plan(tuple(commands), tuple(mount), change, uuid, tuple(told), warnings, found.below is None and found.at is None)


def _timer(wish: Wish, found: Found) -> Dict[str, Unit]:
    """The timer that trims once a week; where it was enabled for this and is no longer asked for, it stands as before."""
    if wish.trim == "timer":
        return {TRIM_TIMER: Unit("enabled", True)}
    before = found.record.get("units", {}).get(TRIM_TIMER)
    return {TRIM_TIMER: Unit(*before)} if before and TRIM_TIMER in found.state.units else {}


def _refuse_others(wish: Wish, found: Found) -> None:
    if found.at is not None and not found.own:
        raise FleetError("{0} is mounted at {1} already. It was left alone. Choose another path (raid_cache_path in the role), or unmount it.".format(
            found.at.source, wish.path))
    elsewhere = [mount.path for mount in found.mounts if mount.path != wish.path]
    if elsewhere and not found.own:
        raise FleetError("{0} is mounted at {1}. It was left alone. Unmount it there, or name that path.".format(wish.device, ", ".join(elsewhere)))


def _make(wish: Wish, found: Found, fresh: str) -> Tuple[List[Tuple[str, ...]], List[str]]:
    """The commands that make the file system; raises for what is there and was not given up."""
    kept = [one for one in found.signatures if one.uuid != found.record.get("making") or one.type != "ext4"]
    kept = [one for one in kept if not (one.uuid and one.uuid in wish.wipe)]
    if kept:
        uuids = [one.uuid for one in kept if one.uuid]
        raise FleetError("{0} holds {1}, where an ext4 file system is expected. It was not touched. {2}".format(
            wish.device, " and ".join(one.told for one in kept),
            "To make one and lose that data, add the UUID {0} to wipe (raid_cache_wipe in the role).".format(", ".join(uuids)) if uuids
            else "To make one and lose that data, erase it yourself: wipefs --all {0}".format(wish.device)))
    if found.programs:
        raise FleetError("{0} is open for writing by {1}, so no file system was made on it. End that use first.".format(wish.device, ", ".join(found.programs)))
    argv = ["mkfs.ext4", "-q", "-F", "-U", fresh, "-L", wish.label]
    chunk, disks = found.stripe
    if chunk >= _BLOCK and disks:
        argv += ["-b", str(_BLOCK), "-E", "stride={0},stripe_width={1}".format(chunk // _BLOCK, chunk // _BLOCK * disks)]
    erased = [("wipefs", "--all", wish.device)] if found.signatures else []
    return erased + [tuple(argv) + (wish.device,)], ["make an ext4 file system on {0}".format(wish.device)]


def _in_force(wish: Wish, options: str) -> bool:
    now = set(options.split(","))
    return all(option in now for option in wish.mount_options if option in _SHOWN) and ("discard" in now) == (wish.trim == "discard")


def _back(wish: Wish, found: Found) -> Plan:
    record = found.record
    change = restore(found.state, record, {FSTAB: _undo}, {})
    if not record:
        return Plan((), (), change, "", ())
    was = record.get("was", {})
    # What is mounted there is ours only if fstab still says so, or it is the file system that the line named.
    umount = [("umount", wish.path)] if found.own and not was.get("mounted") else []
    told = ["unmount {0}".format(wish.path)] if umount else []
    again: List[Tuple[str, ...]] = []
    if was.get("mounted") and found.own and change.changed_files:
        options = next((entry[3] for entry in entries(change.after.files.get(FSTAB) or "") if entry[1] == wish.path), "")
        discard = [] if "discard" in options.split(",") else ["nodiscard"]
        again = [("mount", "-o", ",".join(["remount"] + [option for option in options.split(",") if option] + discard), wish.path)]
    return Plan(tuple(umount), tuple(again), change, "", tuple(told), (), False, not was.get("directory", True) and (found.own or not found.below))


def _undo(text: str, record: Mapping[str, Any]) -> str:
    """fstab without our line, and with what that replaced, where others have changed it since."""
    before = record["files"][FSTAB]["before"] or ""
    old = [line for line in before.splitlines(True) if _is_at(line, record["path"])]
    rest: List[str] = []
    for line in text.splitlines(True):
        rest += old if line == record["line"] else [line]
    return joined(rest)


# fstab(5) -----------------------------------------------------------------------------------------------------------------------------------------


def entries(text: str) -> List[List[str]]:
    """The lines of fstab that say something, in fields."""
    return [fields for fields in map(_fields, text.splitlines()) if len(fields) >= 4]


def _fields(line: str) -> List[str]:
    return [] if line.lstrip().startswith("#") else [unescape(word) for word in line.split()]


def with_entry(text: str, path: str, line: str) -> str:
    """fstab with this line in the place of what was there for the path; all other lines stay as they are."""
    rest: List[str] = []
    placed = False
    for old in text.splitlines(True):
        if _is_at(old, path):
            rest += [] if placed else [line]
            placed = True
        else:
            rest.append(old)
    return joined(rest if placed else rest + [line])


def _is_at(line: str, path: str) -> bool:
    """Whether a line of fstab is about this path; systemd takes one with a slash at its end for the same."""
    return [word.rstrip("/") or "/" for word in _fields(line)[1:2]] == [path]


def _escape(path: str) -> str:
    return "".join("\\{0:03o}".format(ord(letter)) if letter in " \t\\" else letter for letter in path)
