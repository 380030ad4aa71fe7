# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A wanted array, and the way there from what is found: the steps, or a refusal. No side effects.

An array is known by its UUID and its members, not by md127 or /dev/nvme3n1, which change from boot to boot. What holds data is only overwritten where its
owner names it: a drive by its id, an array by its UUID.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.drives import Drive
from ..host.errors import FleetError
from ..host.files import Diff
from . import md_conf
from .advice import size_bytes
from .contents import MD, Contents, Signature, Uses, refusal
from .md import BROKEN, FAILED, GONE, INACTIVE, SPARE, WITHOUT_REDUNDANCY, Array, can_lose, judge
from .md_members import Step, Work, steps_of, work
from .md_text import Superblock

STATES = ("present", "assembled", "stopped", "absent", "restored")
LEVELS = ("raid0", "raid1", "raid5", "raid6", "raid10")
_FEWEST = {"raid0": 1, "raid1": 2, "raid5": 3, "raid6": 4, "raid10": 2}
#: mdadm 4.3 and newer take only portable file names; a superblock has room for 32 characters.
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\Z", re.ASCII)


class Wish(NamedTuple):
    """What a play asks for; checked. Without ``drives`` the data drives of the host are meant, less the spares."""

    name: str
    state: str
    level: str
    drives: Tuple[str, ...]
    chunk_kib: int
    least_bytes: int
    wipe: Tuple[str, ...]
    spares: Tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return "/dev/md/" + self.name

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what mdadm would not take."""
        name, chunk = params["name"], params["chunk_kib"]
        if not _NAME.match(name):
            raise FleetError("name is {0!r}, but up to 31 letters, digits, dots, dashes and underscores are expected, as mdadm takes them.".format(name))
        if chunk < 4 or chunk & (chunk - 1):
            raise FleetError("chunk_kib is {0}, but a power of two of at least 4 is expected (mdadm(8), --chunk).".format(chunk))
        least = size_bytes(params["drive_size_min"], "drive_size_min") if params["drive_size_min"] is not None else 0
        drives = tuple(params["drives"] or ())
        if params["drives"] is not None and not drives:
            raise FleetError("drives is an empty list. Name the drives, or leave the option out to take the data drives of the host.")
        spares = tuple(params.get("spares") or ())
        if any(not word.strip() for word in drives + spares + tuple(params["wipe"])):
            raise FleetError("drives, spares or wipe has an empty entry. An id, a path or a serial number is expected in each.")
        if spares and params["level"] in WITHOUT_REDUNDANCY:
            raise FleetError("spares are given for a {0}, which has no copy of anything from which a drive could be rebuilt onto one. Leave spares out, or "
                             "choose a level with redundancy.".format(params["level"]))
        return cls(name, params["state"], params["level"], drives, chunk, least, tuple(params["wipe"]), spares)


class Record(NamedTuple):
    """What is remembered of an array between runs.

    ``origin`` is ``made`` or ``found``; ``making`` is the UUID of an array whose creation has not been seen to end; ``conf`` is mdadm.conf
    before the first change and after the last (None: no file), ``replaced`` what was in it for this array; ``initramfs`` is still to be made.
    """

    origin: str = ""
    uuid: str = ""
    making: str = ""
    conf_before: Optional[str] = None
    conf_after: Optional[str] = None
    replaced: Tuple[str, ...] = ()
    initramfs: bool = False


class Found(NamedTuple):
    """A host as it is. ``drives`` and ``spares`` are the wanted ones; ``contents`` of these and, where an array is to be removed, of all others, by device.

    ``link`` is the array that the wanted path leads to; ``uses`` and ``carried`` are those of the arrays, by device.
    """

    arrays: Tuple[Array, ...]
    drives: Tuple[Drive, ...]
    contents: Mapping[str, Contents]
    uses: Mapping[str, Uses]
    carried: Mapping[str, Tuple[Signature, ...]]
    conf: Optional[str]
    conf_path: str
    link: str
    record: Optional[Record]
    initramfs: bool
    mdadm: bool = True
    spares: Tuple[Drive, ...] = ()

    @property
    def wanted(self) -> Tuple[Drive, ...]:
        return self.drives + self.spares


class Change(NamedTuple):
    """The way from what is found to what is wanted. ``record`` is None where nothing is to be remembered afterwards."""

    wish: Wish
    steps: Tuple[Step, ...]
    conf_before: Optional[str]
    conf_after: Optional[str]
    conf_path: str
    record_before: Optional[Record]
    record: Optional[Record]
    uuid: str = ""
    warnings: Tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    install: bool = False

    def __bool__(self) -> bool:
        return bool(self.steps) or self.conf_before != self.conf_after or self.install or self.initramfs

    @property
    def initramfs(self) -> bool:
        return self.record is not None and self.record.initramfs or self.record is None and bool(self.record_before and self.record_before.initramfs)

    @property
    def diffs(self) -> List[Diff]:
        shown = [(self.before, self.after, "array " + self.wish.name), (self.conf_before or "", self.conf_after or "", "/" + self.conf_path)]
        return [Diff(*entry) for entry in shown if entry[0] != entry[1]]

    @property
    def told(self) -> List[str]:
        """What is or would be done, in order."""
        told = ["install mdadm"] if self.install else []
        told += [step.told for step in self.steps]
        if self.conf_before != self.conf_after:
            told.append("write /{0}".format(self.conf_path))
        return told + (["make the initramfs anew, so that the array has its name from the start"] if self.initramfs else [])


def decide(wish: Wish, found: Found, fresh: str) -> Change:
    """The way to what is wanted, or a refusal; ``fresh`` is the UUID for an array that has to be made."""
    if not found.mdadm:
        return _without_mdadm(wish, found)
    if wish.state in ("present", "assembled"):
        return _present(wish, found, fresh)
    return _removed(wish, found)


def _without_mdadm(wish: Wish, found: Found) -> Change:
    """Only in check mode: a run installs it first. Without it superblocks cannot be read, so what comes after is left open."""
    conf = (found.conf, found.conf, found.conf_path, found.record, found.record)
    if wish.state not in ("present", "assembled"):
        return Change(wish, (), *conf)
    return Change(wish, (), *conf, warnings=("mdadm is not installed. A run installs it, and then sees what the drives hold.",),
                  after="what is done to the drives shows when mdadm is installed\n", install=True)


# present -----------------------------------------------------------------------------------------------------------------------------------------


def _present(wish: Wish, found: Found, fresh: str) -> Change:
    if len(found.drives) < _FEWEST[wish.level]:
        raise FleetError("A {0} needs at least {1} drives, but there are {2}{3}.".format(
            wish.level, _FEWEST[wish.level], len(found.drives), " data drives on this host" if not wish.drives else " in drives"))
    concerned = [array for array in found.arrays if _concerned(array, wish, found)]
    if len({array.uuid or array.device for array in concerned}) > 1:
        raise FleetError("The drives and the name {0} belong to several arrays: {1}. They were not touched. Name the drives of one of them, choose another "
                         "name, or remove what is no longer wanted (md_array with state: absent).".format(wish.name, "; ".join(map(_told, concerned))))
    running = [array for array in concerned if array.state not in ("inactive", "clear")]
    if running:
        return _running(wish, found, running[0], fresh)
    return _from_drives(wish, found, concerned, fresh)


def _concerned(array: Array, wish: Wish, found: Found) -> bool:
    devices = {drive.device for drive in found.wanted}
    return bool(devices & {member.device for member in array.members}) or array.device == found.link or bool(
        found.record and array.uuid and array.uuid in (found.record.uuid, found.record.making)) or _bare(array.name) == wish.name


def _bare(name: str) -> str:
    """An array's name without the host that made it."""
    return name.rpartition(":")[2]


def _running(wish: Wish, found: Found, array: Array, fresh: str) -> Change:
    there = {member.device for member in array.members if member.role not in (GONE, FAILED)}
    wanted = {drive.device for drive in found.wanted}
    todo = work(array, found.drives, found.spares, bool(wish.drives))
    if array.is_container or "/" in array.metadata:
        raise FleetError("{0} is firmware RAID ({1}), which its own tools manage. It was not touched.".format(_told(array), array.metadata))
    if found.uses[array.device].system and (todo or found.uses[array.device].told):
        raise FleetError("{0} of {1} holds the operating system. It was not touched, and nothing consents to that. Name other drives, or another name.".format(
            _told(array), _list(there)))
    if todo.unwanted or not _named(array, wish, found) and (there != wanted or array.level != wish.level):
        raise FleetError(
            "{0} is a {1} of {2}, but a {3} of {4} was asked for. It was not touched. Name just its members, choose other drives and another name, or "
            "remove it first (md_array with state: absent).".format(_told(array), array.level, _list(there), wish.level, _list(wanted)))
    verdict = judge(array)
    if array.level != wish.level:
        return _anew(wish, found, [array], fresh, "{0} is a {1}, but {2} was asked for.".format(_told(array), array.level or "new kind", wish.level))
    if verdict.verdict == BROKEN:
        return _anew(wish, found, [array], fresh, "{0} is broken: {1}".format(_told(array), verdict.reasons[0]))
    if todo.added and array.level in WITHOUT_REDUNDANCY:
        return _anew(wish, found, [array], fresh, (
            "{0} is made of {1} drives, and {2} more were asked for: {3}. A raid0 is not grown here: mdadm would move every block of it, for hours or days "
            "in which any drive that fails and most interruptions cost all data, while a cache fills again by itself. To grow it all the same: "
            "mdadm --grow {4}.").format(_told(array), len(there), len(todo.added), _list(drive.device for drive in todo.added), wish.path))
    _may_take(wish, found, todo.added, [])
    steps = _clear(wish, found, todo.added) + steps_of(todo, "/dev/" + array.device) if todo else _naming(wish, found, array)
    return _kept(wish, found, steps, array.uuid, array.metadata, _origin(found, array), _warnings(wish, found, array, todo, bool(steps)),
                 *_before_and_after(wish, found, array, todo, bool(steps)))


def _origin(found: Found, array: Array) -> str:
    if found.record and found.record.making == array.uuid:
        return "made"
    return found.record.origin if found.record else "found"


def _warnings(wish: Wish, found: Found, array: Array, todo: Work, acts: bool) -> List[str]:
    told = ["{0}: {1}".format(_told(array), todo.waits)] if todo.waits else []
    failed = [member.label for member in array.members if member.role == FAILED and member.device not in todo.removed]
    told += ["{0}: {1} has failed, and is still asked for. Put another drive in its place in drives.".format(_told(array), ", ".join(failed))] if failed else []
    if found.link != array.device and not acts:
        told.append("{0} is in use, so it goes on as /dev/{1}; it is {2} from the next boot on.".format(_told(array), array.device, wish.path))
    return told


def _before_and_after(wish: Wish, found: Found, array: Array, todo: Work, acts: bool) -> Tuple[str, str]:
    """The array with its members, for the diff. Which of them is a spare is told where that changes."""
    now = wish.path if found.link == array.device else "/dev/" + array.device
    after = _lines(wish, array.uuid, found.drives, found.spares)
    if not todo:
        before = _lines(wish, array.uuid, found.drives, found.spares, now)
        return before, after if acts else before
    ids = dict([(member.device, member.drive or member.device) for member in array.members] + [(drive.device, _shown(drive)) for drive in found.wanted])
    members = [("spare" if member.role == SPARE else "drive", ids[member.device]) for member in array.members if member.role not in (GONE, FAILED)]
    return _shape(now, wish.level, array.uuid, members), after


def _naming(wish: Wish, found: Found, array: Array) -> List[Step]:
    """An array that came up under another name gets the wanted one at once if nobody uses it."""
    if found.link == array.device or found.uses[array.device].told:
        return []
    return [_stop(array), _assemble(wish, array.uuid, [member.device for member in array.members if member.role not in (GONE, FAILED)], False)]


def _from_drives(wish: Wish, found: Found, inactive: Sequence[Array], fresh: str) -> Change:
    """No array runs: what the drives' superblocks tell decides."""
    groups: Dict[str, List[str]] = {}
    blocks: Dict[str, Superblock] = {}
    for drive in found.wanted:
        block = found.contents[drive.device].superblock
        if block is not None:
            groups.setdefault(block.uuid, []).append(drive.device)
            blocks.setdefault(block.uuid, block)
    uuid = _meant(wish, found, groups)
    stops = [_stop(array) for array in inactive]
    if not uuid:
        if inactive:
            raise FleetError("{0} does not run, and has {1} as its members, which were not asked for. It was not touched. Choose another name or other "
                             "drives, or remove it first (md_array with state: absent).".format(
                                 _told(inactive[0]), _list(member.device for member in inactive[0].members)))
        return _create(wish, found, [], [], fresh, "")
    devices, block = groups[uuid], blocks[uuid]
    lacking = block.raid_disks - sum(1 for device in devices if _role(found, device) != SPARE)
    told = "The array {0} (UUID {1})".format(block.name or "without a name", uuid)
    if lacking > 0 and found.record and found.record.making == uuid:  # its creation was cut short, so it never held anything
        return _create(wish, found, stops, inactive, fresh, uuid)
    if block.level != wish.level:
        return _anew(wish, found, inactive, fresh, "{0} on these drives is a {1}, but {2} was asked for.".format(told, block.level, wish.level), uuid)
    if lacking > can_lose(block.level, block.raid_disks):
        return _anew(wish, found, inactive, fresh, "{0} is made of {1} drives, but only {2} of them are among those asked for: {3}. Find what is missing; "
                     "a {4} has no copy of it.".format(told, block.raid_disks, len(devices), _list(devices), block.level), uuid)
    others = [drive for drive in found.wanted if drive.device not in devices]
    if others and block.level in WITHOUT_REDUNDANCY:
        return _anew(wish, found, inactive, fresh, "{0} is made of {1} drives, and {2} was asked for beside them.".format(
            told, block.raid_disks, _list(drive.device for drive in others)), uuid)
    _not_used(found, devices, inactive)
    _not_written_over(wish, found, devices, block)
    steps = stops + [_assemble(wish, uuid, devices, lacking > 0)]
    if others:
        _may_take(wish, found, others, [])
        more = len(found.drives) - block.raid_disks if lacking <= 0 else 0
        steps += _clear(wish, found, others) + steps_of(Work(tuple(others), places=len(found.drives) if more > 0 else 0), wish.path)
    origin = found.record.origin if found.record and found.record.origin else "found"
    return _kept(wish, found, steps, uuid, block.metadata or "1.2", origin, (), "", _lines(wish, uuid, found.drives, found.spares))


def _role(found: Found, device: str) -> str:
    block = found.contents[device].superblock
    return block.role if block is not None else ""


def _meant(wish: Wish, found: Found, groups: Mapping[str, Sequence[str]]) -> str:
    """The UUID of the array that the wanted drives make up, or are what is left of; empty if their superblocks, if any, are of other arrays."""
    known = {found.record.uuid, found.record.making} if found.record else set()
    for uuid, devices in sorted(groups.items()):
        block = found.contents[devices[0]].superblock
        if len(devices) == len(found.wanted) or uuid in known or block is not None and _bare(block.name) == wish.name:
            return uuid
    return ""


def _anew(wish: Wish, found: Found, arrays: Sequence[Array], fresh: str, why: str, uuid: str = "") -> Change:
    """Make the array again if its UUID is in ``wipe``; otherwise say why it would have to be, and how to consent."""
    uuid = uuid or arrays[0].uuid
    if uuid not in wish.wipe:
        raise FleetError("{0} Nothing was touched. To give up what it holds and make it anew of {1}, add its UUID {2} to wipe (raid_cache_wipe in the "
                         "role).".format(why, _list(drive.device for drive in found.drives), uuid), uuid=uuid)
    for array in arrays:
        _free(found, array)
    return _create(wish, found, [_stop(array) for array in arrays], arrays, fresh, uuid)


def _create(wish: Wish, found: Found, stops: Sequence[Step], stopped: Sequence[Array], fresh: str, own: str) -> Change:
    if wish.state == "assembled":
        raise FleetError("There is no array {0} to assemble on {1}. Ask for state: present to make one.".format(
            wish.name, _list(drive.device for drive in found.drives)))
    _may_take(wish, found, found.wanted, [own] if own else [], [array.device for array in stopped])
    devices = tuple("/dev/" + drive.device for drive in found.wanted)
    argv: Tuple[str, ...] = (
        "mdadm", "--create", wish.path, "--run", "--metadata=1.2", "--level=" + wish.level, "--raid-devices={0}".format(len(found.drives)),
        "--name=" + wish.name, "--uuid=" + fresh)
    argv += ("--spare-devices={0}".format(len(found.spares)),) if found.spares else ()
    argv += ("--chunk={0}".format(wish.chunk_kib),) if wish.level != "raid1" else ()
    argv += ("--bitmap=internal",) if wish.level not in WITHOUT_REDUNDANCY else ()
    told = "make {0} as {1} of {2}".format(wish.path, wish.level, _list(drive.device for drive in found.drives))
    told += " with the spare {0}".format(_list(drive.device for drive in found.spares)) if found.spares else ""
    steps = list(stops) + _clear(wish, found, found.wanted) + [Step(told, argv + devices)]
    before = "array with UUID {0}, whose data is given up\n".format(own) if own and own in wish.wipe else ""
    before += "".join("{0}: {1}\n".format(_shown(drive), _holds(found.contents[drive.device]) or "empty") for drive in found.wanted)
    return _kept(wish, found, steps, fresh, "1.2", "made", (), before, _lines(wish, "chosen when it is made", found.drives, found.spares), fresh, own)


def _may_take(wish: Wish, found: Found, drives: Sequence[Drive], own: Sequence[str], stopped: Sequence[str] = ()) -> None:
    """Raise for every drive that is in use, or holds something that was not consented to; all of them at once."""
    refused = []
    for drive in drives:
        contents = found.contents[drive.device]
        left = tuple(name for name in contents.uses.arrays if name not in stopped)
        why = refusal(contents._replace(uses=contents.uses._replace(arrays=left)), wish.wipe, own, wish.least_bytes)
        if why:
            refused.append({"device": drive.device, "id": contents.id, "reason": why})
    if refused:
        raise FleetError(" ".join(entry["reason"] for entry in refused), refused=refused)


def _not_used(found: Found, devices: Sequence[str], inactive: Sequence[Array]) -> None:
    """Members of an array that does not run are not to be in use by anything else."""
    for device in devices:
        uses = found.contents[device].uses
        others = set(uses.arrays) - {array.device for array in inactive}
        if uses.told or others:
            raise FleetError("{0} {1}, so the array on it was not assembled. End that use first.".format(
                found.contents[device].label, " and ".join(list(uses.told) + ["is part of the array " + name for name in sorted(others)])))


def _not_written_over(wish: Wish, found: Found, devices: Sequence[str], block: Superblock) -> None:
    """A superblock near the start of a drive outlives a file system or a partition table that is made over the array, and also the other way round.

    Which of them counts cannot be told. Where the superblock is at the end (versions 0.90 and 1.0), what is at the start is the array's own.
    """
    refused = []
    for device in devices if block.metadata in ("1.1", "1.2") else ():
        contents = found.contents[device]
        others = [one.told + (" on " + one.device if one.device != device else "") for one in contents.signatures if one.type != MD or one.device != device]
        others = others or ["the partitions {0}".format(", ".join(contents.partitions))] * bool(contents.partitions)
        if others and not set(wish.wipe) & set(contents.names):
            refused.append({"device": device, "id": contents.id, "reason": (
                "{0} holds the superblock of the array {1} (UUID {2}), and {3}. Only one of them is still used, so the array was not assembled. If it is the "
                "array, add the drive's id {4} to wipe (raid_cache_wipe in the role); if not, mdadm --zero-superblock {5}.".format(
                    contents.label, block.name or "without a name", block.uuid, " and ".join(others), contents.id, "/dev/" + device))})
    if refused:
        raise FleetError(" ".join(entry["reason"] for entry in refused), refused=refused)


def _clear(wish: Wish, found: Found, drives: Sequence[Drive]) -> List[Step]:
    """Erase the signatures of what was consented to, partitions first: their contents would show again if the same partitions were made again."""
    steps = []
    for drive in drives:
        contents = found.contents[drive.device]
        devices = sorted({one.device for one in contents.signatures if one.device != drive.device}) + [drive.device]
        if contents.signatures or contents.partitions:
            steps += [Step("erase the signatures on {0}".format(device), ("wipefs", "--all", "/dev/" + device)) for device in devices]
    return steps + ([Step("let udev see that", ("udevadm", "settle", "--timeout=60"))] if steps else [])


def _kept(wish: Wish, found: Found, steps: Sequence[Step], uuid: str, metadata: str, origin: str, warnings: Sequence[str], before: str, after: str,
          making: str = "", given_up: str = "") -> Change:
    """The change with mdadm.conf and the record as they belong to an array that stays."""
    taken = md_conf.uuids_of(found.conf or "", wish.path)
    rivals = [array for array in found.arrays if array.uuid not in ("", uuid, given_up) and md_conf.plain(array.uuid) in taken]
    if rivals:
        raise FleetError("/{0} gives the path {1} to {2}. Choose another name for this array.".format(found.conf_path, wish.path, _told(rivals[0])))
    edit = md_conf.with_array(found.conf, wish.path, metadata, uuid)
    old = found.record or Record()
    differs = edit.text != found.conf
    if old.conf_before == old.conf_after:  # nothing of ours is in the file, so it may have become another one
        old = old._replace(conf_before=found.conf, conf_after=edit.text, replaced=edit.replaced)
    elif differs:
        if found.conf is not None and found.conf != old.conf_after:  # what others wrote since is theirs, and stays when this is given back
            old = old._replace(conf_before=md_conf.without_array(found.conf, wish.path, old.uuid, old.replaced))
        old = old._replace(conf_after=edit.text)
    due = old.initramfs or differs and found.initramfs
    record = old._replace(origin=origin, uuid=uuid, making=making, initramfs=due)
    return Change(wish, tuple(steps), found.conf, edit.text, found.conf_path, found.record, record, uuid, tuple(warnings), before, after)


# stopped, absent, restored ------------------------------------------------------------------------------------------------------------------------


def _removed(wish: Wish, found: Found) -> Change:
    record = found.record
    if wish.state == "restored" and (record is None or record.origin == "found"):
        return _left(wish, found, [], "", conf_back=record is not None)
    arrays = [array for array in found.arrays if _named(array, wish, found)]
    groups: Dict[str, List[str]] = {}
    for device, contents in sorted(found.contents.items()):
        block = contents.superblock
        if block is not None and (record and block.uuid in (record.uuid, record.making) or _bare(block.name) == wish.name):
            groups.setdefault(block.uuid, []).append(device)
    uuids = {array.uuid for array in arrays} | set(groups)
    if record and record.uuid in uuids:  # ours, whatever else has the name
        arrays, groups, uuids = [one for one in arrays if one.uuid == record.uuid], {record.uuid: groups.get(record.uuid, [])}, {record.uuid}
    if len(uuids) > 1:
        raise FleetError("{0} is the name of several arrays: UUID {1}. Nothing was touched. Remove the wrong one by hand: mdadm --stop, then "
                         "mdadm --zero-superblock on its members.".format(wish.name, ", ".join(sorted(uuids))))
    if not uuids:
        return _left(wish, found, [], "", conf_back=wish.state != "stopped")
    uuid = uuids.pop()
    for array in arrays:
        _free(found, array)
    stops = [_stop(array) for array in arrays]
    shown = "array with UUID {0}\n".format(uuid)
    if wish.state == "stopped":
        return _left(wish, found, stops, uuid, conf_back=False, before=shown + "running\n" if stops else shown, after=shown)
    members = sorted({member.device for array in arrays for member in array.members if member.role != GONE} | set(groups.get(uuid, [])))
    blank = bool(arrays) and all(_is_blank(array, found) for array in arrays)
    blank = blank or bool(record and record.making == uuid and not any(found.carried.values()))
    if not blank and uuid not in wish.wipe:
        why = "The array {0} holds {1}.".format(wish.name, _carries(found, arrays))
        how = "To free its drives and lose that data, add its UUID {0} to wipe (raid_cache_wipe in the role).".format(uuid)
        if wish.state == "absent":
            raise FleetError("{0} It was not touched. {1}".format(why, how), uuid=uuid)
        warnings = ("{0} It was stopped, and its drives keep it. {1}".format(why, how),)
        left = _left(wish, found, stops, uuid, True, warnings, shown + "running\n" if stops else shown, shown)
        # Still remembered as one that was made here, for the run that has the consent.
        return left._replace(record=Record("made", uuid, conf_before=left.conf_after, conf_after=left.conf_after, initramfs=left.initramfs))
    zero = [Step("free {0}".format(_list(members)), ("mdadm", "--zero-superblock") + tuple("/dev/" + device for device in members))] if members else []
    return _left(wish, found, stops + zero, uuid, True, (), shown)


def _named(array: Array, wish: Wish, found: Found) -> bool:
    known = (found.record.uuid, found.record.making) if found.record else ()
    return array.device == found.link or bool(array.uuid) and array.uuid in known or _bare(array.name) == wish.name


def _is_blank(array: Array, found: Found) -> bool:
    """Whether all of an array could be looked at, and nothing was there: one that does not run, or lacks members, shows nothing of what it holds."""
    return judge(array).verdict not in (BROKEN, INACTIVE) and not found.carried.get(array.device)


def _carries(found: Found, arrays: Sequence[Array]) -> str:
    told = [one.told for array in arrays for one in found.carried.get(array.device, ())]
    return " and ".join(told) or "what it held when it last ran"


def _left(wish: Wish, found: Found, steps: Sequence[Step], uuid: str, conf_back: bool, warnings: Sequence[str] = (), before: str = "",
          after: str = "") -> Change:
    record, conf = found.record, found.conf
    if not conf_back:
        return Change(wish, tuple(steps), conf, conf, found.conf_path, record, record, uuid, tuple(warnings), before, after)
    if record is not None and conf == record.conf_after:
        conf = record.conf_before
    elif conf is not None and (uuid or record):
        conf = md_conf.without_array(conf, wish.path, uuid or (record.uuid if record else ""), record.replaced if record else ())
        conf = None if record is not None and record.conf_before is None and not conf.strip() else conf
    # An initramfs with a line for an array that is gone does no harm; one that gives an array its old name back does what is wanted.
    due = bool(record and record.replaced and found.initramfs and conf != found.conf)
    leaving = record._replace(initramfs=due) if record else None
    return Change(wish, tuple(steps), found.conf, conf, found.conf_path, leaving, None, uuid, tuple(warnings), before, after)


def _free(found: Found, array: Array) -> None:
    told = found.uses[array.device].told if array.device in found.uses else ()
    if told:
        mounts = [mount.path for mount in array.mounts]
        raise FleetError("{0} {1}, so it was not stopped. {2}".format(
            _told(array), " and ".join(told),
            "Stop what uses it (systemctl stop cachefilesd), then unmount it: umount {0}.".format(" ".join(mounts)) if mounts else "End that use first."))


# words and commands -------------------------------------------------------------------------------------------------------------------------------


def _stop(array: Array) -> Step:
    return Step("stop {0}".format(array.device), ("mdadm", "--stop", "/dev/" + array.device))


def _assemble(wish: Wish, uuid: str, devices: Sequence[str], run: bool) -> Step:
    argv = ("mdadm", "--assemble", wish.path, "--uuid=" + uuid) + (("--run",) if run else ())
    return Step("assemble {0} of {1}".format(wish.path, _list(devices)), argv + tuple("/dev/" + device for device in devices))


def _told(array: Array) -> str:
    return "The array {0} ({1}UUID {2})".format(array.device, array.name + ", " if array.name else "", array.uuid or "unknown")


def _list(names: Any) -> str:
    return ", ".join(sorted(names, key=lambda name: (len(name), name)))


def _shown(drive: Drive) -> str:
    return drive.id or drive.serial or drive.device


def _holds(contents: Contents) -> str:
    return " and ".join([one.told for one in contents.signatures] or list(contents.partitions))


def _lines(wish: Wish, uuid: str, drives: Sequence[Drive], spares: Sequence[Drive] = (), at: str = "") -> str:
    """An array as it shall be."""
    return _shape(at or wish.path, wish.level, uuid, [("drive", _shown(drive)) for drive in drives] + [("spare", _shown(drive)) for drive in spares])


def _shape(path: str, level: str, uuid: str, members: Sequence[Tuple[str, str]]) -> str:
    """An array in words, for the diff: with the ids of its drives, which last."""
    lines = ["path: " + path, "level: " + level, "UUID: " + uuid] + sorted("{0}: {1}".format(*one) for one in members)
    return "".join(line + "\n" for line in lines)
