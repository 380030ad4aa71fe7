# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Dividing a drive among guests: a GPT whose partitions have UUIDs that follow from the drive, the guest and the number.

So a path such as /dev/disk/by-partuuid/… is known before the partition is made, and a table that is there can be told from another's.
"""
import json
import re
import uuid
from typing import NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError

MIB = 2 ** 20
#: UEFI specification, 5.3: at most 128 entries of 128 bytes as everybody makes the table, and one block for its header.
MOST_PARTITIONS, _TABLE_BYTES = 128, 128 * 128
#: What has less room is not worth a guest's while, and most likely a wrong unit.
LEAST_BYTES = 8 * MIB
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_SPACE = uuid.UUID("6f1d3c52-9d0b-5c55-8a5d-0d6778f7b0a1")
_ENDS_IN_DIGIT = re.compile(r"\d$")
_TRAILING_NUMBER = re.compile(r"^.*?(\d+)$")


class Share(NamedTuple):
    """A part of a drive that is wanted; without ``size_bytes`` it is an equal part of what is left."""

    guest: str
    number: int
    size_bytes: Optional[int] = None


class Partition(NamedTuple):
    """A partition, in sectors of the drive."""

    number: int
    start: int
    size: int
    uuid: str
    name: str = ""


class Table(NamedTuple):
    """A partition table: ``label`` is gpt or dos, ``uuid`` that of the disk."""

    label: str
    uuid: str
    partitions: Tuple[Partition, ...]

    def same(self, other: Optional["Table"]) -> bool:
        """Whether both are the same division of the drive; names are decoration."""
        return other is not None and (self.label, self.uuid) == (other.label, other.uuid) and (
            [part._replace(name="") for part in self.partitions] == [part._replace(name="") for part in other.partitions])

    def lines(self, sector: int) -> str:
        """The table as people read it, for a diff."""
        return "".join("partition {0}: {1:.2f} GiB, PARTUUID {2}{3}\n".format(
            part.number, part.size * sector / 2 ** 30, part.uuid, ", " + part.name if part.name else "") for part in self.partitions)


def disk_uuid(drive: str) -> str:
    """The UUID of the table on a drive; ``drive`` is its lasting id."""
    return str(uuid.uuid5(_SPACE, drive))


def partition_uuid(drive: str, guest: str, number: int) -> str:
    """The PARTUUID of a guest's n-th part of a drive."""
    return str(uuid.uuid5(_SPACE, "{0}/{1}/{2}".format(drive, guest, number)))


def plan(drive: str, drive_bytes: int, sector: int, shares: Sequence[Share]) -> Table:
    """Where each share lies, in their order, on boundaries of 1 MiB. Raises :class:`FleetError` if they do not fit."""
    if len(shares) > MOST_PARTITIONS:
        raise FleetError("{0} shall have {1} partitions, but a GPT has room for {2}.".format(drive, len(shares), MOST_PARTITIONS))
    unit = MIB // sector
    end = (drive_bytes // sector - _TABLE_BYTES // sector - 1) // unit
    room = end - 1
    sizes = [share.size_bytes // MIB if share.size_bytes is not None else None for share in shares]
    for share in shares:
        if share.size_bytes is not None and share.size_bytes < LEAST_BYTES:
            raise FleetError("The partition of {0} for guest {1} shall have {2} bytes, but at least {3} are expected. Write a unit, such as 500GiB or "
                             "1.9TB.".format(drive, share.guest, share.size_bytes, LEAST_BYTES))
    given, open_shares = sum(size for size in sizes if size is not None), sizes.count(None)
    equal = (room - given) // open_shares if open_shares else 0
    if given > room or (open_shares and equal * MIB < LEAST_BYTES):
        others = ", and {0} more share the rest".format(open_shares) if open_shares else ""
        raise FleetError("The partitions of {0} do not fit: {1} MiB are asked for{2}, and the drive has {3} MiB for partitions. Ask for less, or leave sizes "
                         "out to divide it equally.".format(drive, given, others, room))
    partitions, start = [], 1
    for position, (share, size) in enumerate(zip(shares, sizes)):
        size = equal if size is None else size
        name = "{0} {1}".format(share.guest, share.number)[:36]
        partitions.append(Partition(position + 1, start * unit, size * unit, partition_uuid(drive, share.guest, share.number), name))
        start += size
    return Table("gpt", disk_uuid(drive), tuple(partitions))


def to_sfdisk(table: Table) -> str:
    """The table as sfdisk(8) reads it."""
    lines = ["label: gpt", "label-id: {0}".format(table.uuid), "unit: sectors", ""]
    for part in table.partitions:
        name = re.sub(r'["\\]', "_", part.name)
        lines.append('start={0}, size={1}, type={2}, uuid={3}, name="{4}"'.format(part.start, part.size, LINUX_DATA, part.uuid, name))
    return "\n".join(lines) + "\n"


def from_sfdisk(text: str) -> Optional[Table]:
    """What ``sfdisk --json`` prints; None if that is no table."""
    try:
        given = json.loads(text)["partitiontable"]
        partitions = []
        for entry in given.get("partitions", []):
            number = int(_TRAILING_NUMBER.sub(r"\1", entry["node"]))
            partitions.append(Partition(number, int(entry["start"]), int(entry["size"]), str(entry.get("uuid", "")).lower(), str(entry.get("name", ""))))
        return Table(str(given["label"]), str(given.get("id", "")).lower(), tuple(partitions))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def partition_device(device: str, number: int) -> str:
    """The kernel's name of a partition: nvme0n1p1, sda1."""
    return "{0}{1}{2}".format(device, "p" if _ENDS_IN_DIGIT.search(device) else "", number)
