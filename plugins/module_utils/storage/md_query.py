# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one block device has to do with md, as ``mdadm --query`` and ``--examine`` tell it; and which of the arrays a user means."""
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.sysfs import Sysfs
from .md import Array, judge
from .md_sysfs import Ask
from .md_text import Superblock, parse_examine, parse_export, superblock_from_export

_LINKS = "/dev/md/"

ARRAY, MEMBER, FORMER, PLAIN = "array", "member", "former_member", "none"


class Device(NamedTuple):
    """A block device: ``kind`` is array, member (of an array that is there), former_member (carries a superblock, but belongs to none) or none."""

    path: str
    device: str
    kind: str
    array: str = ""
    superblock: Optional[Superblock] = None

    def to_dict(self) -> Dict[str, Any]:
        return dict(self._asdict(), superblock=dict(self.superblock._asdict()) if self.superblock else None)


def asker(commands: Commands) -> Ask:
    """Asks mdadm, and takes it as silence if it fails or is not installed: what it adds is good to have."""

    def ask(option: str, device: str) -> Mapping[str, str]:
        try:
            result = commands.run(("mdadm", option, "--export", "/dev/" + device))
        except FleetError:
            return {}
        return parse_export(result.out) if result.rc == 0 else {}

    return ask


def query(paths: Sequence[str], arrays: Sequence[Array], sysfs: Sysfs, commands: Commands) -> List[Device]:
    """Look at each of these devices; raises :class:`FleetError` for what is no block device."""
    return [_query(path, arrays, sysfs, commands) for path in paths]


def _query(path: str, arrays: Sequence[Array], sysfs: Sysfs, commands: Commands) -> Device:
    name = os.path.basename(os.path.realpath(sysfs.path(path.lstrip("/"))))
    if not path.startswith("/dev/") or not sysfs.exists("sys/class/block/" + name):
        raise FleetError("{0} is not a block device of this host. Give a path such as /dev/nvme3n1, or one in /dev/disk/by-id.".format(path))
    if any(array.device == name for array in arrays):
        return Device(path, name, ARRAY, name)
    holder = next((array.device for array in arrays if any(member.device == name for member in array.members)), "")
    superblock = examine(name, commands)
    return Device(path, name, MEMBER if holder else FORMER if superblock else PLAIN, holder, superblock)


def examine(name: str, commands: Commands) -> Optional[Superblock]:
    """The superblock that a device carries; None if there is none."""
    exported = commands.run(("mdadm", "--examine", "--export", "/dev/" + name))
    if exported.rc != 0 or "MD_UUID=" not in exported.out:
        if exported.rc not in (0, 1) or "cannot open" in exported.err:
            raise FleetError("mdadm could not examine /dev/{0} and said: {1}".format(name, exported.err.strip() or "nothing"))
        return None
    brief = superblock_from_export(name, parse_export(exported.out))
    full = next(iter(parse_examine(commands.run(("mdadm", "--examine", "/dev/" + name)).out)), None)
    # Where both tell, the export is exact: its time is in seconds since 1970.
    return brief if brief.metadata or not full else full._replace(update_time=brief.update_time)


def chosen(arrays: Sequence[Array], wanted: Sequence[str], sysfs: Sysfs) -> List[Array]:
    """The arrays that a user names: by kernel name, path, name with or without its host, or UUID. Raises :class:`FleetError` if there is no such array."""
    found: List[Array] = []
    for word in wanted:
        device = os.path.basename(os.path.realpath(sysfs.path(word.lstrip("/")))) if word.startswith("/") else word
        # udev removes /dev/md/NAME as soon as a member is lost, which is when the array is asked for most.
        name = word[len(_LINKS):] if word.startswith(_LINKS) else word
        fitting = [array for array in arrays if device == array.device or name and name in (array.uuid, array.name, array.name.partition(":")[2])]
        if not fitting:
            there = ", ".join(_known_as(array) for array in arrays) or "none"
            raise FleetError("There is no array {0} on this host. There are: {1}.".format(word, there))
        found += [array for array in fitting if array not in found]
    return found


def problems(arrays: Sequence[Array]) -> List[str]:
    """A sentence for each reason that an array is not healthy."""
    told = []
    for array in arrays:
        verdict = judge(array)
        told += ["{0} is {1}: {2}".format(_known_as(array), verdict.verdict, reason) for reason in verdict.reasons]
    return told


def _known_as(array: Array) -> str:
    return "{0} ({1})".format(array.device, array.name) if array.name else array.device
