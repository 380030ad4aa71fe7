# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what /proc/mdstat and mdadm print: --detail, --examine and --export. Text that is neither gives nothing, and never fails.

mdadm has no output for machines but ``--export``, which leaves most out; the forms are those of mdadm 3.4 to 4.4 (Detail.c, super0.c, super1.c).
"""
import calendar
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .md import ACTIVE, FAILED, GONE, JOURNAL, REBUILDING, SPARE, Array, Member, Sync

_ARRAY = re.compile(r"^(md\S+) : (active|inactive)((?: \([a-z-]+\))*)(.*)$", re.ASCII)
_MEMBER = re.compile(r"^(\S+?)\[(\d{1,9})\]((?:\([A-Z]\))*)$", re.ASCII)
_BLOCKS = re.compile(r"^\s+(\d{1,18}) blocks\b(?: super (\S+))?", re.ASCII)
_CHUNK = re.compile(r"\b(\d{1,12})([kKMG]) (?:chunk|rounding)", re.ASCII)
_SLOTS = re.compile(r"\[(\d{1,9})/(\d{1,9})\] \[([U_]+)\]", re.ASCII)
_SYNC = re.compile(r"\b(recovery|resync|reshape|check|repair)\s*=\s*(?:(\d{1,3}\.\d{1,3})%|(\w+))(?:.*speed=(\d{1,12})K)?", re.ASCII)
_LEVELS = ("raid0", "raid1", "raid4", "raid5", "raid6", "raid10", "linear", "multipath", "faulty")

_PAIR = re.compile(r"^[ \t]*([A-Za-z][A-Za-z0-9 ./-]*?)[ \t]+:[ \t]*(.*)$", re.ASCII)
_HEADING = re.compile(r"^(/dev/\S+?):$", re.ASCII)
_ROW = re.compile(r"^(?:this)?\s+(\d{1,9}|-)\s+(\d{1,9})\s+(\d{1,9})\s+(\d{1,9}|-)\s*(.*)$", re.ASCII)
_NUMBER = re.compile(r"^(\d{1,18})\s*(\S*)", re.ASCII)
_SCALE = {"K": 2 ** 10, "KiB": 2 ** 10, "k": 2 ** 10, "M": 2 ** 20, "MiB": 2 ** 20, "G": 2 ** 30, "GiB": 2 ** 30, "sectors": 512, "B": 1}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ACTIONS = {"recovery": "recover", "recovering": "recover", "resyncing": "resync", "reshaping": "reshape", "checking": "check"}


class Superblock(NamedTuple):
    """What a member carries about its array, by ``mdadm --examine``.

    ``role`` is active, spare or as mdadm says; ``members_then`` has an A for each active member when this was written, a dot for each missing one.
    """

    device: str
    metadata: str = ""
    uuid: str = ""
    name: str = ""
    level: str = ""
    raid_disks: int = 0
    role: str = ""
    slot: Optional[int] = None
    device_uuid: str = ""
    events: int = 0
    update_time: Optional[int] = None
    state: str = ""
    members_then: str = ""
    chunk_bytes: int = 0
    data_offset_bytes: int = 0
    checksum_correct: Optional[bool] = None


def parse_export(text: str) -> Dict[str, str]:
    """The values of ``--export``, and of udev's E: lines, by name."""
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"^[A-Z][A-Za-z0-9_]*=", line))


def parse_udev(text: str) -> Dict[str, str]:
    """The properties in a file of /run/udev/data."""
    return parse_export("\n".join(line[2:] for line in text.splitlines() if line.startswith("E:")))


def parse_mdstat(text: str) -> List[Array]:
    """The arrays in a /proc/mdstat (drivers/md/md.c, md_seq_show), in its order."""
    found: List[Array] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = _ARRAY.match(line)
        if match:
            rest = []
            for following in lines[number + 1:]:
                if not following[:1].isspace() or not following.strip():
                    break
                rest.append(following)
            found.append(_mdstat_array(match.group(1), match.group(2), match.group(3), match.group(4).split(), "\n".join(rest)))
    return found


def _mdstat_array(device: str, state: str, mode: str, words: Sequence[str], rest: str) -> Array:
    level = words[0] if words and words[0] in _LEVELS else ""
    slots, blocks, chunk = _SLOTS.search(rest), _BLOCKS.search(rest), _CHUNK.search(rest)
    pattern = slots.group(3) if slots else ""
    sync = _mdstat_sync(rest)
    listed = [match for match in map(_MEMBER.match, words) if match]
    plain = [match for match in listed if not match.group(3)]
    if state == "inactive":
        members = [Member(match.group(1), FAILED if "(F)" in match.group(3) else SPARE) for match in listed]
    else:
        members = _mdstat_members(listed, pattern or "U" * len(plain), sync)
    metadata = (blocks.group(2) or "0.90") if blocks else ""
    return Array(
        device,
        "mdstat",
        level=level,
        state="readonly" if "(read-only)" in mode else state,
        metadata=metadata,
        chunk_bytes=int(chunk.group(1)) * _SCALE[chunk.group(2)] if chunk else 0,
        size_bytes=int(blocks.group(1)) * 1024 if blocks and state == "active" else 0,
        raid_disks=len(pattern) or (len(plain) if level else 0),
        members=tuple(members),
        sync=sync,
    )


def _mdstat_members(listed: Sequence["re.Match[str]"], pattern: str, sync: Sync) -> List[Member]:
    """The number in brackets is that of the descriptor, which is the slot only in an array whose members were never replaced: so as many
    as the pattern has good slots are active, lowest numbers first, and those left over are being rebuilt."""
    members = []
    good = [slot for slot, mark in enumerate(pattern) if mark == "U"]
    empty = [slot for slot, mark in enumerate(pattern) if mark != "U"]
    for match in sorted(listed, key=lambda found: int(found.group(2))):
        number, flags = int(match.group(2)), match.group(3)
        if "(F)" in flags:
            members.append(Member(match.group(1), FAILED))
        elif "(J)" in flags:
            members.append(Member(match.group(1), JOURNAL))
        elif "(S)" in flags:
            members.append(Member(match.group(1), SPARE))
        elif good:
            slot = good.pop(good.index(number) if number in good else 0)
            members.append(Member(match.group(1), ACTIVE, slot))
        else:
            members.append(Member(match.group(1), REBUILDING if sync.action == "recover" else SPARE, empty.pop(0) if empty else None))
    return members


def _mdstat_sync(rest: str) -> Sync:
    match = _SYNC.search(rest)
    if not match:
        return Sync()
    action = _ACTIONS.get(match.group(1), match.group(1))
    percent = float(match.group(2)) if match.group(2) else None
    return Sync(action, percent, int(match.group(4)) if match.group(4) else None)


def parse_detail(text: str) -> List[Array]:
    """The arrays in the output of ``mdadm --detail``."""
    return [_detail(device, lines) for device, lines in _sections(text) if _has(lines, "Raid Level", "Total Devices") and not _has(lines, "Magic")]


def _detail(device: str, lines: Sequence[str]) -> Array:
    pairs = _pairs(lines)
    words = [word.strip() for word in pairs.get("State", "").split(",")]
    action = next((_ACTIONS[word] for word in words if word in _ACTIONS), "idle")
    percent = next((float(match.group(1)) for match in (re.match(r"(\d{1,3})%", pairs.get(name + " Status", "")) for name in _STATUS) if match), None)
    if "broken" in words or "FAILED" in words:
        state = "broken"
    elif any(word in ("inactive", "Not Started") for word in words):
        state = "inactive"
    else:
        state = words[0]
    return Array(
        device.rpartition("/")[2],
        "detail",
        level=pairs.get("Raid Level", "").replace("-unknown-", ""),
        state=state,
        uuid=pairs.get("UUID", "").split(" ")[0],
        name=pairs.get("Name", "").split(" ")[0],
        metadata=pairs.get("Version", ""),
        chunk_bytes=_bytes(pairs.get("Chunk Size", "")),
        size_bytes=_bytes(pairs.get("Array Size", ""), 1024),
        raid_disks=_count(pairs.get("Raid Devices", "")),
        members=tuple(member for member in map(_detail_member, lines) if member),
        sync=Sync(action, percent),
    )


_STATUS = ("Rebuild", "Resync", "Reshape", "Check")


def _detail_member(line: str) -> Optional[Member]:
    match = _ROW.match(line)
    if not match:
        return None
    words = match.group(5).split()
    device = words.pop().rpartition("/")[2] if words and (words[-1].startswith("/") or words[-1] == "missing") else ""
    slot = int(match.group(4)) if match.group(4) != "-" else None
    if "removed" in words:
        return None
    if device == "missing":
        return Member("", GONE, slot)
    if "faulty" in words:
        return Member(device, FAILED)
    if "journal" in words:
        return Member(device, JOURNAL)
    if "rebuilding" in words:
        return Member(device, REBUILDING, slot)
    return Member(device, ACTIVE, slot) if "active" in words else Member(device, SPARE)


def parse_examine(text: str) -> List[Superblock]:
    """The superblocks in the output of ``mdadm --examine``; a drive that has only a partition table has none."""
    return [_superblock(device, lines) for device, lines in _sections(text) if _has(lines, "Magic")]


def _superblock(device: str, lines: Sequence[str]) -> Superblock:
    pairs = _pairs(lines)
    role, slot = _role(pairs.get("Device Role", ""), lines)
    checksum = pairs.get("Checksum", "")
    return Superblock(
        device.rpartition("/")[2],
        metadata=pairs.get("Version", ""),
        uuid=(pairs.get("Array UUID") or pairs.get("UUID", "")).split(" ")[0],
        name=pairs.get("Name", "").split(" ")[0],
        level=pairs.get("Raid Level", "").replace("-unknown-", ""),
        raid_disks=_count(pairs.get("Raid Devices", "")),
        role=role,
        slot=slot,
        device_uuid=pairs.get("Device UUID", ""),
        events=_count(pairs.get("Events", "")),
        update_time=_moment(pairs.get("Update Time", "")),
        state=pairs.get("State", ""),
        members_then=pairs.get("Array State", "").split(" ")[0],
        chunk_bytes=_bytes(pairs.get("Chunk Size", "")),
        data_offset_bytes=_bytes(pairs.get("Data Offset", "")),
        checksum_correct=checksum.endswith("correct") if " - " in checksum else None,
    )


def _role(text: str, lines: Sequence[str]) -> Tuple[str, Optional[int]]:
    """The role by a superblock of version 1, or by the row ``this`` of version 0.90."""
    match = re.match(r"^Active device (\d{1,9})$", text, re.ASCII)
    if match:
        return ACTIVE, int(match.group(1))
    if text:
        return text.lower(), None
    member = next((_detail_member(line) for line in lines if line.lstrip().startswith("this ")), None)
    return (member.role, member.slot) if member else ("", None)


def superblock_from_export(device: str, values: Mapping[str, str]) -> Superblock:
    """What ``mdadm --examine --export`` tells, which is less, but the same for firmware RAID."""
    update = values.get("MD_UPDATE_TIME", "")
    return Superblock(
        device,
        metadata=values.get("MD_METADATA", ""),
        uuid=values.get("MD_UUID", ""),
        name=values.get("MD_NAME", ""),
        level=values.get("MD_LEVEL", ""),
        raid_disks=_count(values.get("MD_DEVICES", "")),
        device_uuid=values.get("MD_DEV_UUID", ""),
        events=_count(values.get("MD_EVENTS", "")),
        update_time=int(update) if re.match(r"^\d{1,18}$", update, re.ASCII) else None,
    )


def read_text(text: str) -> Tuple[List[Array], List[Superblock]]:
    """The arrays and superblocks in a text of any of these kinds, or of several after each other."""
    return parse_mdstat(text) + parse_detail(text), parse_examine(text)


def _sections(text: str) -> List[Tuple[str, List[str]]]:
    """The lines below each ``/dev/…:``."""
    found: List[Tuple[str, List[str]]] = []
    for line in text.splitlines():
        match = _HEADING.match(line)
        if match:
            found.append((match.group(1), []))
        elif found:
            found[-1][1].append(line)
    return found


def _has(lines: Sequence[str], *names: str) -> bool:
    """Whether one of these values is given."""
    return any(line.lstrip().startswith(tuple(name + " :" for name in names)) for line in lines)


def _pairs(lines: Sequence[str]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for line in lines:
        match = _PAIR.match(line)
        if match:
            found.setdefault(match.group(1).strip(), match.group(2).strip())
    return found


def _bytes(text: str, plain: int = 1) -> int:
    """``512K``, ``4096 sectors``, ``6292472 KiB (…)``; ``plain`` is the unit of a number without one."""
    match = _NUMBER.match(text)
    return int(match.group(1)) * _SCALE.get(match.group(2), plain) if match else 0


def _count(text: str) -> int:
    match = re.match(r"^(\d{1,18})(?:\s|$)", text, re.ASCII)
    return int(match.group(1)) if match else 0


def _moment(text: str) -> Optional[int]:
    """Seconds since 1970 of ``Mon Nov 23 04:05:28 2026``, taken for UTC: the text does not say its time zone. strptime would go by the locale."""
    match = re.match(r"^\w{3} (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})$", text, re.ASCII)
    if not match or match.group(1) not in _MONTHS:
        return None
    day, hour, minute, second, year = (int(number) for number in match.groups()[1:])
    return calendar.timegm((year, _MONTHS.index(match.group(1)) + 1, day, hour, minute, second)) if 1970 <= year and 1 <= day <= 31 else None
