# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Handing drives of the host to guests: what is wanted, what is found, and what is remembered of how the host was.

A drive goes as a whole PCI device (``nvme``), as a disk (``drive``) or divided (``partition``); sections 12.6.2 to 12.6.4 of the Best Practices.
"""
import json
import re
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.drives import Drive
from ..host.errors import FleetError
from ..host.iommu import Function
from .advice import size_bytes
from .contents import Contents, Uses
from .md import FAILED, GONE, Array, Mount
from .partitioning import Table

NVME, DRIVE, PARTITION = "nvme", "drive", "partition"
#: In place of a list: every NVMe device of the host that holds no operating system and is not named elsewhere.
ALL = "all"
FILE_SYSTEMS = ("none", "ext4", "xfs")
PCI_ADDRESS = re.compile(r"^(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
_TARGET = re.compile(r"^(vd|sd)[a-z]{1,2}$")


class Wanted(NamedTuple):
    """One device for one guest; ``drive`` is a name of the drive as the user gave it, or :data:`ALL`."""

    guest: str
    kind: str
    drive: str
    target: str = ""
    filesystem: str = "none"
    size_bytes: Optional[int] = None


class Wish(NamedTuple):
    """What a play asks for; checked. ``arrays`` may be stopped, what the drives in ``wipe`` hold may be lost."""

    guests: Tuple[str, ...]
    wanted: Tuple[Wanted, ...]
    arrays: Tuple[str, ...]
    wipe: Tuple[str, ...]
    when_running: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cannot be meant."""
        names = [str(guest["name"]) for guest in params["guests"] or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FleetError("Guest {0} is in guests more than once. Give each guest once, with all that it gets.".format(", ".join(twice)))
        wanted: List[Wanted] = []
        for guest in params["guests"] or ():
            wanted += _of_guest(guest)
        takers = [one.guest for one in wanted if one.drive == ALL]
        if len(takers) > 1:
            raise FleetError("Only one guest can have nvme: all, but {0} have it. Name the drives of the others.".format(" and ".join(takers)))
        for name in ("arrays", "wipe"):
            if any(not str(word).strip() for word in params[name] or ()):
                raise FleetError("{0} has an empty entry. Give names in each, or leave it out.".format(name))
        wipe = tuple(str(word).rpartition("/")[2] for word in params["wipe"] or ())
        unstable = [word for word in wipe if re.match(r"^(nvme\d+n\d+|sd[a-z]+|vd[a-z]+)$", word)]
        if unstable:
            raise FleetError("wipe names {0}, which may be another drive after the next boot. Give the drive's id in /dev/disk/by-id, or its serial "
                             "number.".format(", ".join(unstable)))
        return cls(tuple(names), tuple(wanted), tuple(str(word) for word in params["arrays"] or ()), wipe, params["when_running"])


def _of_guest(guest: Mapping[str, Any]) -> List[Wanted]:
    name = str(guest["name"])
    words = [str(word).strip() for word in guest.get("nvme") or ()]
    if ALL in words and len(words) > 1:
        raise FleetError("Guest {0} has nvme: all beside names of drives. Give one or the other.".format(name))
    found = [Wanted(name, NVME, word) for word in words]
    for kind, option in ((DRIVE, "drives"), (PARTITION, "partitions")):
        for entry in guest.get(option) or ():
            size = entry.get("size")
            filesystem = entry.get("filesystem") or ("ext4" if kind == DRIVE else "none")  # as sections 12.6.3.1 and 12.6.4 have it
            if entry.get("target") and not _TARGET.match(str(entry["target"])):
                raise FleetError("Guest {0}: the target {1!r} is not the name of a disk such as vdb.".format(name, entry["target"]))
            found.append(Wanted(
                name, kind, str(entry.get("drive") or "").strip(), str(entry.get("target") or ""), filesystem,
                size_bytes(size, "The size of a partition for guest {0}".format(name)) if size is not None else None))
    if any(not one.drive for one in found):
        raise FleetError("Guest {0} has an entry without the name of a drive. Give its id in /dev/disk/by-id, serial number or PCI address.".format(name))
    targets = [one.target for one in found if one.target]
    if len(targets) != len(set(targets)):
        raise FleetError("Guest {0} has two disks with the same target. Give each another one, or leave the targets out.".format(name))
    return found


class Guest(NamedTuple):
    """A guest of libvirt with what it has of the host: PCI addresses and, by target, sources of disks; ``held`` is what it has while it runs."""

    name: str
    running: bool = False
    hostdevs: FrozenSet[str] = frozenset()
    disks: Mapping[str, str] = {}
    held: FrozenSet[str] = frozenset()
    persistent: bool = True

    def has(self, source: str) -> bool:
        """Whether its configuration has this PCI address or path."""
        return source in self.hostdevs or source in self.disks.values()


class Given(NamedTuple):
    """Something that a guest was given. ``names`` are the lasting names of its drive, ``source`` a PCI address or path; ``ready`` is whether the drive was
    prepared to the end: from then on it is the guest's, and is not written to any more."""

    guest: str
    kind: str
    drive: str
    names: Tuple[str, ...]
    pci: str
    source: str
    target: str
    filesystem: str
    number: int
    ready: bool


class Stopped(NamedTuple):
    """An array as it was before it was stopped; ``members`` are lasting ids by slot, ``parts`` the partition's number of each (0 is the whole drive)."""

    uuid: str
    device: str
    name: str
    level: str
    metadata: str
    chunk_bytes: int
    raid_disks: int
    members: Tuple[str, ...]
    parts: Tuple[int, ...]
    fs_type: str
    fs_uuid: str
    fs_label: str
    mounts: Tuple[Mount, ...]
    sources: Tuple[str, ...]
    conf: str

    @property
    def told(self) -> str:
        return "{0} ({1}UUID {2})".format(self.device, self.name + ", " if self.name else "", self.uuid)


class Record(NamedTuple):
    """All that has to be remembered to give the host back. ``conf`` and ``fstab`` are those files before the first change and after the last."""

    given: Tuple[Given, ...] = ()
    arrays: Tuple[Stopped, ...] = ()
    tables: Tuple[str, ...] = ()
    conf_before: Optional[str] = None
    conf_after: Optional[str] = None
    fstab_before: Optional[str] = None
    fstab_after: Optional[str] = None
    initramfs: bool = False

    def to_json(self) -> str:
        """For the file."""
        values = dict(self._asdict(), given=[dict(one._asdict()) for one in self.given])
        values["arrays"] = [dict(one._asdict(), mounts=[list(mount) for mount in one.mounts]) for one in self.arrays]
        return json.dumps(values, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str) -> "Record":
        """Raises :class:`FleetError` if the file is damaged."""
        try:
            values = json.loads(text)
            given = tuple(Given(**dict(one, names=tuple(one["names"]))) for one in values["given"])
            arrays = tuple(
                Stopped(**dict(one, members=tuple(one["members"]), parts=tuple(one["parts"]), sources=tuple(one["sources"]),
                               mounts=tuple(Mount(*mount) for mount in one["mounts"])))
                for one in values["arrays"]
            )
            return cls(**dict(values, given=given, arrays=arrays, tables=tuple(values["tables"])))
        except (ValueError, TypeError, KeyError):
            raise FleetError("{0} is damaged. It tells which drives guests were given, and how the host was before. Bring it back from a backup; or, "
                             "if no guest "
                             "has a drive of this host any more, remove it.".format(place))


class Found(NamedTuple):
    """A host as it is. ``contents`` are those of the drives that matter, by device, like ``tables`` and ``sectors`` (bytes per logical sector).

    ``array_uses`` is what is made of an array, ``users`` who has files open on it, ``links`` its paths; ``real`` is the device behind each
    path that a guest has as a disk.
    """

    functions: Mapping[str, Function]
    nvme: Tuple[str, ...]
    drives: Tuple[Drive, ...]
    names: Mapping[str, Tuple[str, ...]]
    uses: Mapping[str, Uses]
    contents: Mapping[str, Contents]
    tables: Mapping[str, Table]
    sectors: Mapping[str, int]
    arrays: Tuple[Array, ...]
    array_uses: Mapping[str, Uses]
    users: Mapping[str, Tuple[str, ...]]
    links: Mapping[str, Tuple[str, ...]]
    real: Mapping[str, str]
    guests: Mapping[str, Guest]
    conf: Optional[str]
    conf_path: str
    fstab: Optional[str]
    initramfs: bool
    root_is_on_one: bool
    record: Optional[Record]

    def drives_at(self, pci: str) -> List[Drive]:
        """The drives (name spaces) of a PCI device; none while it is not with the host's driver."""
        return [drive for drive in self.drives if drive.pci == pci]


class Slot(NamedTuple):
    """A drive that is meant: visible or, with ``drive`` None, away with a guest. ``id`` is its lasting name."""

    id: str
    names: Tuple[str, ...]
    pci: str
    drive: Optional[Drive]

    @property
    def label(self) -> str:
        if self.drive is None:
            return "The drive {0}".format(self.id)
        return "/dev/{0} (serial {1})".format(self.drive.device, self.drive.serial) if self.drive.serial else "/dev/" + self.drive.device

    @property
    def there(self) -> Drive:
        """The drive; raises :class:`FleetError` if it is away."""
        if self.drive is None:
            raise FleetError("The drive {0} is not there: it was pulled, or another guest has it as a PCI device.".format(self.id))
        return self.drive


class Step(NamedTuple):
    """Something to do: a program to run, or a text to write to a file of the kernel (``path``)."""

    told: str
    argv: Tuple[str, ...] = ()
    text_in: Optional[str] = None
    path: str = ""


def matches(array: Any, word: str) -> bool:
    """Whether a user's word means this array, :class:`Array` or :class:`Stopped`: a kernel name, a path, a name with or without its host, or a UUID."""
    word = word[len("/dev/"):] if word.startswith("/dev/") else word
    word = word[len("md/"):] if word.startswith("md/") else word
    return bool(word) and word in (array.device, array.uuid, array.name, array.name.rpartition(":")[2])


def full_pci(word: str) -> str:
    """A PCI address in full; empty if the word is none."""
    word = word.lower()
    return "" if not PCI_ADDRESS.match(word) else word if word.count(":") == 2 else "0000:" + word


def find_slot(word: str, found: Found) -> Slot:
    """The drive that a user names by lasting name, path or PCI address, visible or handed over. Raises :class:`FleetError` if there is none."""
    record = found.record or Record()
    pci = full_pci(word)
    if pci:
        visible = found.drives_at(pci)
        handed = [one for one in record.given if one.pci == pci]
        if visible:
            return slot_of(visible[0], found)
        if handed:
            return Slot(handed[0].drive, handed[0].names, pci, None)
        if pci in found.nvme:
            return Slot(pci, (pci,), pci, None)
        raise FleetError("There is no NVMe device at {0}. There are: {1}.".format(pci, ", ".join(found.nvme) or "none"))
    name = word[len("/dev/disk/by-id/"):] if word.startswith("/dev/disk/by-id/") else word
    today = [drive for drive in found.drives if word in (drive.device, "/dev/" + drive.device)]
    if today:
        raise FleetError("{0} may be another drive after the next boot, or as soon as guests have some. Name it by its id: {1}.".format(
            word, today[0].id or today[0].serial or "it has none in /dev/disk/by-id"))
    fitting = [drive for drive in found.drives if name in found.names[drive.device]]
    handed = [one for one in record.given if name in one.names]
    if len({drive.device for drive in fitting}) == 1:
        return slot_of(fitting[0], found)
    if not fitting and handed:
        return Slot(handed[0].drive, handed[0].names, handed[0].pci, None)
    if fitting:
        raise FleetError("{0} is the name of {1} drives: {2}. Name one by its id in /dev/disk/by-id.".format(
            word, len(fitting), ", ".join(drive.device for drive in fitting)))
    there = ", ".join("{0} ({1})".format(drive.device, drive.id or drive.serial or "no id") for drive in found.drives)
    raise FleetError("There is no drive {0} on this host. Its id in /dev/disk/by-id, its serial number, or the PCI address of an NVMe drive is expected. "
                     "There are: {1}.".format(word, there or "none"))


def slot_of(drive: Drive, found: Found) -> Slot:
    """A visible drive."""
    return Slot(drive.id or drive.serial or drive.pci or drive.device, found.names[drive.device], drive.pci, drive)


def stopped_of(array: Array, found: Found) -> Stopped:
    """What has to be remembered of an array that is about to be stopped."""
    ids: List[str] = []
    parts: List[int] = []
    here = [member for member in array.members if member.role not in (FAILED, GONE)]
    for member in sorted(here, key=lambda one: (one.slot is None, one.slot or 0)):
        match = re.match(r"^(?:nvme\d+n\d+p|[a-z]+)(\d+)$", member.device)
        ids.append(member.drive or member.serial or member.device)
        parts.append(int(match.group(1)) if match and member.device not in {drive.device for drive in found.drives} else 0)
    file_system = array.file_system
    return Stopped(
        array.uuid, array.device, array.name, array.level, array.metadata, array.chunk_bytes, array.raid_disks, tuple(ids), tuple(parts),
        file_system.type, file_system.uuid, file_system.label, array.mounts, found.links.get(array.device, ()), "")


def refused(reasons: Sequence[Dict[str, str]]) -> FleetError:
    """All refusals of drives as one."""
    told = " ".join(entry["reason"] for entry in reasons)
    consents = {name: [entry["id"] for entry in reasons if entry.get("consent") == name] for name in ("arrays", "wipe")}
    if sum(len(ids) for ids in consents.values()) > 1:
        told += " All together: {0}.".format("; ".join("{0}: [{1}]".format(name, ", ".join(ids)) for name, ids in consents.items() if ids))
    return FleetError(told + " No drive was written to.", refused=[{key: entry[key] for key in ("device", "id", "reason")} for entry in reasons])
