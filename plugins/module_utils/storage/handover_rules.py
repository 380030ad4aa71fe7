# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands in the way of handing a drive to a guest, each in a sentence with its remedy."""
from typing import Any, Dict, Optional, Sequence

from ..host.drives import Drive
from ..host.errors import FleetError
from .contents import MD, Contents, Signature
from .handover import DRIVE, NVME, PARTITION, Found, Given, Slot, Wish, matches
from .md import Array


def check_guests(wish: Wish, found: Found, given: Sequence[Given], leaving: Sequence[Given]) -> None:
    """Raise for guests that are not there, that run and may not be changed, and for devices that another guest has."""
    unknown = [name for name in wish.guests if name not in found.guests]
    if unknown:
        raise FleetError("There is no guest {0}. libvirt has: {1}. Nothing was changed. Correct the name, or define the guest first.".format(
            ", ".join(unknown), ", ".join(sorted(found.guests)) or "none at all"))
    transient = [name for name in wish.guests if not found.guests[name].persistent]
    if transient:
        raise FleetError("Guest {0} is transient: libvirt keeps no configuration of it that could be changed. Nothing was changed. Make it persistent first "
                         "(virsh define).".format(", ".join(transient)))
    for one in given:
        for other in found.guests.values():
            held = _held_by(one, other, given, leaving, found)
            if held:
                raise FleetError("The drive {0} shall go to guest {1}, but guest {2} has it ({3}). Nothing was changed. Take it away there first{4}.".format(
                    one.drive, one.guest, other.name, held, "; it is let go when that guest is shut down" if held in other.held else ""))
    if wish.when_running != "refuse":
        return
    running = {name for name in wish.guests if found.guests[name].running}
    due = {one.guest for one in given if one.guest in running and not found.guests[one.guest].has(one.source)}
    due |= {one.guest for one in leaving if one.guest in found.guests and found.guests[one.guest].running and found.guests[one.guest].has(one.source)}
    if due:
        raise FleetError("Guest {0} is running, and its drives have to change. Nothing was changed. Shut it down, or set when_running to live (at once) or "
                         "next_boot (when it is next started).".format(", ".join(sorted(due))), running=sorted(due))


def _held_by(one: Given, other: Any, given: Sequence[Given], leaving: Sequence[Given], found: Found) -> str:
    """What of a drive another guest has, or the same guest in another way; empty if nothing."""
    going = {gone.source for gone in leaving if gone.guest == other.name}
    mine = {entry.source for entry in given if entry.guest == other.name}
    if one.pci and one.pci in (other.hostdevs | other.held) and one.pci not in mine and (one.pci not in going or one.pci in other.held):
        return one.pci
    devices = {drive.device for drive in found.drives if (one.kind == NVME and drive.pci == one.pci) or one.drive in found.names[drive.device]}
    for target, source in other.disks.items():
        if source in mine or (source in going and source not in other.held):
            continue
        real = found.real.get(source, "")
        # Partitions of one drive go to several guests; that the same one does not, its PARTUUID sees to.
        if real in devices or (one.kind != PARTITION and any(_is_part(real, device) for device in devices)):
            return "{0} as {1}".format(source, target)
    return ""


def _is_part(name: str, device: str) -> bool:
    rest = name[len(device):] if name.startswith(device) else ""
    return rest.lstrip("p").isdigit()


def may_stop(array: Array, wish: Wish, found: Found, slot: Slot, guest: str) -> Optional[Dict[str, str]]:
    """Raise if this array, which a drive for a guest is part of, is in use. Returns a refusal if it was not named as one that may be stopped."""
    uses = found.array_uses[array.device]
    told = "The array {0} ({1}UUID {2})".format(array.device, array.name + ", " if array.name else "", array.uuid or "unknown")
    part = "{0}, which guest {1} shall have, is part of it".format(slot.label, guest)
    if uses.system:
        raise FleetError("{0} holds the operating system, and {1}. It was not touched, and nothing consents to that. Name other drives.".format(told, part))
    if array.is_container or "/" in array.metadata:
        raise FleetError("{0} is firmware RAID ({1}), which its own tools manage, and {2}. It was not touched.".format(told, array.metadata, part))
    mounted = {mount.path for mount in array.mounts}
    others = [use for use in uses.told if use not in ["is mounted at {0}".format(path) for path in mounted] and use != "can only be read"]
    others += ["is part of the array {0}".format(name) for name in uses.arrays if name != array.device]
    users = list(found.users.get(array.device, ()))
    if others or users:
        raise FleetError("{0} {1}, and {2}. It was not touched. End that use first; nothing consents to stopping an array that is in use.".format(
            told, " and ".join(others + (["is used by " + ", ".join(users)] if users else [])), part))
    if any(matches(array, word) for word in wish.arrays):
        return None
    where = " It is mounted at {0}, and nobody uses it.".format(", ".join(sorted(mounted))) if mounted else ""
    return {"device": array.device, "id": _called(array), "consent": "arrays", "reason": "{0} is running, and {1}.{2} To unmount and stop it, add {3} to "
            "arrays (kvm_passthrough_arrays in the role).".format(told, part, where, _called(array))}


def refusal(item: Any, found: Found, drive: Drive, wipe: Sequence[str], stopped: Sequence[str], ours: bool) -> Optional[Dict[str, str]]:
    """Why a drive may not be taken, with the remedy; None if it may. ``stopped`` are arrays that will not run any more, ``ours`` is a table made before."""
    uses, slot = found.uses[drive.device], item.slot
    told = [use for use in uses.told if use != "can only be read" or item.fresh]
    told += ["is part of the array " + name for name in uses.arrays if name not in stopped]
    contents = found.contents.get(drive.device)
    if item.fresh and contents is not None and not told and not ours and not _has_it_already(item, found):
        told = [use for use in contents.uses.told if use not in uses.told]
    # What hangs on an array that is going to be stopped has been looked at with the array. Another partition of the drive may be used by somebody else.
    excused = {use for name in uses.arrays if name in stopped for use in found.array_uses[name].told}
    told = [use for use in told if use not in excused]
    label = "/dev/{0}{1}".format(drive.device, " (serial {0})".format(drive.serial) if drive.serial else "")
    if told:
        remedy = "Nothing consents to that. Name other drives." if uses.system else "End that use first; nothing consents to taking a drive that is in use."
        return {"device": drive.device, "id": slot.id, "reason": "{0} {1}. {2}".format(label, " and ".join(told), remedy)}
    if item.fresh and contents is None:
        return {"device": drive.device, "id": slot.id, "reason": "{0} was not looked at, since its serial number is another drive's too. Name it by its id in "
                "/dev/disk/by-id.".format(label)}
    if not item.fresh or contents is None or ours or set(wipe) & set(contents.names):
        return None
    held = [_with_place(one, contents) for one in contents.signatures] or (
        ["the partitions {0}".format(", ".join(contents.partitions))] if contents.partitions else [])
    if not held:
        return None
    as_it_is = item.given.kind == NVME or (item.given.kind == DRIVE and item.given.filesystem == "none")
    does = "Guest {0} could overwrite that".format(item.given.guest) if as_it_is else "That would be lost"
    return {"device": drive.device, "id": contents.id, "consent": "wipe", "reason": "{0} holds {1}. {2}. To hand it over anyway, add its id {3} to wipe "
            "(kvm_passthrough_wipe in the role).".format(label, " and ".join(held), does, contents.id or "(it has none of its own: clear it by hand)")}


def _has_it_already(item: Any, found: Found) -> bool:
    """Whether this guest has the drive as a disk, from before, and nothing is written to it: then it is the guest itself that has it open."""
    guest = found.guests.get(item.given.guest)
    return item.given.kind == DRIVE and item.given.filesystem == "none" and guest is not None and guest.has(item.given.source)


def _with_place(one: Signature, found: Contents) -> str:
    if one.type == MD and found.superblock is not None and one.device == found.drive.device:
        return "the superblock of the md array {0} (UUID {1})".format(found.superblock.name or "without a name", found.superblock.uuid)
    return one.told + (" on {0}".format(one.device) if one.device not in ("", found.drive.device) else "")


def _called(array: Array) -> str:
    """The name to give an array by: its own, unless that is a mere number."""
    name = array.name.rpartition(":")[2]
    return array.device if not name or name.isdigit() else name
