# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the members of a running array to those it shall have: free places filled, drives replaced, spares, and more places. No side effects.

Every step can be interrupted, by a power cut too, and leaves an array with all its data: an old member goes only when a new one holds what it held.
"""
from typing import List, NamedTuple, Sequence, Tuple

from ..host.drives import Drive
from .md import ACTIVE, FAILED, GONE, REBUILDING, SPARE, WITHOUT_REDUNDANCY, Array


class Step(NamedTuple):
    """A command, and what it is for."""

    told: str
    argv: Tuple[str, ...]


class Work(NamedTuple):
    """What there is to do. ``added`` are drives to take, ``removed`` and ``replaced`` members, ``places`` the number to grow to (0: as it is).

    ``wake`` if the array has not been written to since it was assembled: md then neither rebuilds nor grows it (md(4), auto-read).
    ``unwanted`` are members that were not asked for and that nothing replaces: so this is not what was meant. ``waits`` says what is left for a later run.
    """

    added: Tuple[Drive, ...] = ()
    removed: Tuple[str, ...] = ()
    replaced: Tuple[str, ...] = ()
    places: int = 0
    unwanted: Tuple[str, ...] = ()
    waits: str = ""
    wake: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.replaced or self.places or self.unwanted)


def work(array: Array, drives: Sequence[Drive], spares: Sequence[Drive], named: bool) -> Work:
    """What brings an array to these drives and spares; ``named`` if somebody named the drives, and they were not just found on the host.

    Which of them is a spare is not held against it: after a drive has failed, a former spare is in its place.
    """
    wanted = {drive.device for drive in list(drives) + list(spares)}
    members = [member for member in array.members if member.role != GONE]
    added = tuple(drive for drive in list(drives) + list(spares) if drive.device not in {member.device for member in members})
    leaving = [member for member in members if member.device not in wanted and member.role in (ACTIVE, REBUILDING, SPARE)]
    if array.level in WITHOUT_REDUNDANCY:
        return Work(added, unwanted=tuple(member.device for member in leaving))
    going = [member.device for member in leaving if member.role != SPARE and "want_replacement" not in member.flags]
    removed = [member.device for member in members if member.device not in wanted and member.role in (FAILED, SPARE)]
    lost = len(array.lost_slots)
    idle = sum(1 for member in members if member.device in wanted and member.role == SPARE)
    # Drives that were merely found do not turn spares into members: that would reshape an array unasked.
    more = max(len(drives) - array.raid_disks, 0) if named or added else 0
    more = min(more, max(idle + len(added) - lost, 0))
    if len(going) > idle + len(added) - lost - more:
        return Work(added, unwanted=tuple(going))
    # While members are written, mdadm does not change their number (Grow_reshape: "is performing resync/recovery and cannot be reshaped").
    waits = ""
    if more and (lost or array.sync.action != "idle"):
        waits = "It gets {0} places when what is lost has been rebuilt. Run this again then.".format(array.raid_disks + more)
    places = array.raid_disks + more if more and not waits else 0
    return Work(added, tuple(removed), tuple(going), places, waits=waits, wake=array.state == "read-auto" and bool(added or places or going))


def steps_of(todo: Work, path: str) -> List[Step]:
    """The commands, for the array at a path."""
    found = [Step("let md write to {0}".format(path), ("mdadm", "--readwrite", path))] if todo.wake else []
    found += [Step("remove {0} from {1}".format(name, path), ("mdadm", "--manage", path, "--remove", "/dev/" + name)) for name in todo.removed]
    if todo.added:
        devices = tuple("/dev/" + drive.device for drive in todo.added)
        found.append(Step("add {0} to {1}".format(", ".join(drive.device for drive in todo.added), path), ("mdadm", "--manage", path, "--add") + devices))
    if todo.places:
        found.append(Step("grow {0} to {1} drives".format(path, todo.places), ("mdadm", "--grow", path, "--raid-devices={0}".format(todo.places))))
    return found + [Step("rebuild {0} onto another drive and then let it go".format(name), ("mdadm", "--manage", path, "--replace", "/dev/" + name))
                    for name in todo.replaced]
