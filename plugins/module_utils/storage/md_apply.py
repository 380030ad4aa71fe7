# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what there is of arrays and drives on this host, and carries out what :mod:`md_change` decided."""
import os
import uuid
from typing import Dict, List, Optional, Sequence, Tuple

from ..host import apt, records
from ..host.commands import Commands
from ..host.dgx import Platform, platform, platform_of, read_dmi
from ..host.drives import Drive
from ..host.errors import FleetError
from ..host.files import read_text, remove, write_atomic
from ..host.host import Host as AnyHost
from .blocks import read_places, swap_devices
from .contents import Busy, Contents, Drives, Uses, is_busy, read_uses, signatures
from .data_drives import data_drives
from .md import BROKEN, Array, judge
from .md_change import Change, Found, Record, Wish
from .md_conf import PATHS
from .md_members import work
from .md_query import asker
from .md_sysfs import read_arrays
from .packages import install

#: Debian's hook copies mdadm.conf into the initramfs, where arrays are assembled before the system on the drives is there to read its own.
_HOOK, _TOOL = "usr/share/initramfs-tools/hooks/mdadm", "usr/sbin/update-initramfs"


class Host(AnyHost):
    """One whose drives may be ``busy``."""

    def __init__(self, commands: Commands, root: str = "/", busy: Busy = is_busy) -> None:
        super().__init__(commands, root)
        self.busy = busy

    def lacking(self) -> Tuple[str, ...]:
        """Packages that must be installed first."""
        return apt.missing({"mdadm": "mdadm"})


def new_uuid() -> str:
    """A UUID in the form of mdadm."""
    digits = uuid.uuid4().hex
    return ":".join(digits[start:start + 8] for start in range(0, 32, 8))


def read(wish: Wish, host: Host, model: str = "") -> Found:
    """Read everything once; drives are only examined where their contents count. ``model`` is a platform's key, empty for the host's own."""
    known = not host.lacking()
    arrays = read_arrays(host.sysfs, asker(host.commands))
    drives = Drives(host.sysfs, host.busy)
    record = _read_record(wish, host)
    link = _link(wish, host)
    conf_path = next((path for path in PATHS if os.path.exists(host.path(path))), _usual_conf(host))
    wanted: List[Drive] = []
    spares: List[Drive] = []
    contents: Dict[str, Contents] = {}
    adding = wish.state in ("present", "assembled")
    if adding:
        wanted, spares = _wanted(wish, host, drives, arrays, link, model)
        if known and not _settled(wish, arrays, wanted, spares):
            contents = {drive.device: drives.contents(drive, host.commands) for drive in wanted + spares}
    elif known and not (wish.state == "restored" and record is None):
        contents = _members(drives, host)
    uses = _uses(arrays, host)
    carried = {array.device: tuple(signatures(host.commands, array.device)) for array in arrays if not adding and array.state not in ("inactive", "clear")}
    initramfs = os.path.exists(host.path(_HOOK)) and os.path.exists(host.path(_TOOL))
    return Found(tuple(arrays), tuple(wanted), contents, uses, carried, read_text(host.path(conf_path)), conf_path, link, record, initramfs, known,
                 tuple(spares))


def _wanted(wish: Wish, host: Host, drives: Drives, arrays: Sequence[Array], link: str, model: str) -> Tuple[List[Drive], List[Drive]]:
    """The drives and the spares that are meant."""
    words = wish.drives + wish.spares
    found = [drives.called(word) for word in words]
    for position, drive in enumerate(found):
        if drive in found[:position]:
            raise FleetError("{3} names the same drive twice: {0} and {1} are /dev/{2}.".format(
                words[found.index(drive)], words[position], drive.device, "drives" if position < len(wish.drives) else "spares"))
    spares = found[len(wish.drives):]
    if wish.drives:
        return found[:len(wish.drives)], spares
    kind: Platform = platform(model) if model else platform_of(read_dmi(host.sysfs).product)
    ours = [array for array in arrays if array.device == link or array.name.rpartition(":")[2] == wish.name]
    every = data_drives(drives, host.sysfs, kind, [member.device for array in ours for member in array.members])
    return [drive for drive in every if drive not in spares], spares


def _settled(wish: Wish, arrays: Sequence[Array], wanted: Sequence[Drive], spares: Sequence[Drive]) -> bool:
    """Whether an array of just these drives runs: then it does not matter what each of them carries."""
    devices = {drive.device for drive in list(wanted) + list(spares)}
    return any(
        {member.device for member in array.members} == devices and array.level == wish.level
        and array.state not in ("inactive", "clear") and judge(array).verdict != BROKEN and not work(array, wanted, spares, bool(wish.drives)).added
        for array in arrays
    )


def _members(drives: Drives, host: Host) -> Dict[str, Contents]:
    """The drives that carry a superblock of md and are not used by anything but arrays."""
    free = [drive for drive in drives.all if drive.size_bytes and not drives.uses(drive).told]
    found: Dict[str, Contents] = {}
    failures: List[FleetError] = []
    for drive in free:
        try:
            found[drive.device] = drives.contents(drive, host.commands)
        except FleetError as error:  # a drive that has died is no reason to keep the others
            failures.append(error)
    if failures and not found:
        raise failures[0]
    return {device: contents for device, contents in found.items() if contents.superblock is not None}


def _uses(arrays: Sequence[Array], host: Host) -> Dict[str, Uses]:
    places, swaps = read_places(host.sysfs), swap_devices(host.sysfs)
    found = {array.device: read_uses(host.sysfs, array.device, places, swaps) for array in arrays}
    # What is made of an array counts; the array itself is not one of its own users.
    return {device: uses._replace(told=tuple(told for told in uses.told if told != "can only be read")) for device, uses in found.items()}


def _link(wish: Wish, host: Host) -> str:
    place = host.path(wish.path.lstrip("/"))
    return os.path.basename(os.path.realpath(place)) if os.path.exists(place) else ""


def _usual_conf(host: Host) -> str:
    return PATHS[1] if os.path.exists(host.path("etc/redhat-release")) else PATHS[0]


def _record_of(wish: Wish) -> str:
    return "md_array/{0}".format(wish.name)


def _read_record(wish: Wish, host: Host) -> Optional[Record]:
    values = records.read(_record_of(wish), host.root)
    try:
        return Record(**dict(values, replaced=tuple(values["replaced"]))) if values else None
    except (TypeError, KeyError):
        raise records.damaged(_record_of(wish))


def _write_record(wish: Wish, host: Host, record: Optional[Record]) -> None:
    records.write(_record_of(wish), record._asdict() if record is not None else {}, host.root)


def carry_out(change: Change, host: Host) -> None:
    """Do it. What is about to be done is on the disk before the first step, so that a run cut short anywhere is completed by the next."""
    wish, record = change.wish, change.record
    if change and record is not None and record != change.record_before:
        _write_record(wish, host, record)
    for step in change.steps:
        host.commands.output(step.argv, timeout=300)
    if change.steps and record is not None and record.making:  # it is whole now, and from here on it may hold data
        _write_record(wish, host, record._replace(making=""))
    if change.steps:
        host.commands.run(("udevadm", "settle", "--timeout=60"), timeout=300)
    if change.conf_after != change.conf_before:
        place = host.path(change.conf_path)
        if change.conf_after is None:
            remove(place)
        else:
            write_atomic(place, change.conf_after)
    if change.initramfs:
        host.commands.output(("update-initramfs", "-u", "-k", "all"), timeout=1800)
    done = record._replace(making="", initramfs=False) if record is not None else None
    if done != change.record_before:
        _write_record(wish, host, done)


def verify(change: Change, host: Host) -> Array:
    """The array as it is after a change; raises :class:`FleetError` if it does not run with all its members."""
    arrays = read_arrays(host.sysfs, asker(host.commands))
    array = next((array for array in arrays if array.uuid == change.uuid), None)
    if array is None or array.state in ("inactive", "clear"):
        raise FleetError("mdadm ended well, but the array with UUID {0} does not run. journalctl -k -g md and mdadm --examine of its members tell more.".format(
            change.uuid))
    return array


def prepare(host: Host) -> None:
    """Install what is missing."""
    missing = host.lacking()
    if missing:
        install(missing, host.commands)
