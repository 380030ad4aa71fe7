# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which drives of a host are for data: those that hold no part of the operating system, checked against what the model is sold with.

Section 2.1.3 of the Best Practices for DGX: a DGX-2 has 8 or 16 data drives, a DGX Station 3. The rest is told by the host itself. Where that
leaves a doubt, the answer is a refusal that asks for names, never a guess.
"""
import re
from typing import List, Sequence

from ..host.dgx import GENERIC, Platform
from ..host.drives import Drive
from ..host.errors import FleetError
from ..host.sysfs import Sysfs
from .contents import Drives

#: Drives that are sold as one size differ by some blocks.
_SAME_SIZE = 0.01
#: In the path of a device: USB, iSCSI, Fibre Channel (scsi_transport_*.c in drivers/scsi), NVMe over fabrics.
_OUTSIDE = re.compile(r"/(usb|session\d|rport-|nvme-fabrics)")


def data_drives(drives: Drives, sysfs: Sysfs, model: Platform, settled: Sequence[str] = ()) -> List[Drive]:
    """The data drives; ``settled`` are the devices of an array that is there: where none but its members are found, the number is not doubted.

    Raises :class:`FleetError` if it cannot be told which they are.
    """
    named = "Name the drives (raid_cache_drives in the role)."
    if model.raid == "storcli":
        raise FleetError("The data drives of a {0} are behind a hardware RAID controller, which shows them as one volume. Leave mdadm out of it "
                         "(raid_cache_backend: storcli in the role), or name the drives.".format(model.name))
    if not drives.root_is_on_one:
        raise FleetError("The running system is on none of this host's drives (it was booted over the network or from a medium), so they do not show which "
                         "hold an operating system. {0}".format(named))
    found = [drive for drive in drives.all if _for_data(drive, sysfs) and not drives.uses(drive).system]
    if {drive.device for drive in found} <= set(settled):
        return found
    sizes = sorted(drive.size_bytes for drive in found)
    told = ", ".join("{0} ({1}, {2:.2f} TB)".format(drive.device, drive.id or drive.serial, drive.size_bytes / 1e12) for drive in found)
    if sizes[0] < sizes[-1] * (1 - _SAME_SIZE):
        raise FleetError("The drives that hold no operating system differ in size, so some may be for something else: {0}. {1}".format(told, named))
    if model.key != GENERIC and model.data_drives and len(found) not in model.data_drives:
        raise FleetError("A {0} has {1} data drives, but {2} were found: {3}. If one is missing, look for it before the others are made an array without it. "
                         "If this is all there is: {4}".format(model.name, " or ".join(str(count) for count in model.data_drives), len(found), told, named))
    return found


def _for_data(drive: Drive, sysfs: Sysfs) -> bool:
    """Built in and solid state: no card readers, sticks, or virtual media of a management controller, and nothing that comes over a network."""
    links = [sysfs.link("sys/block/" + drive.device)]
    links += [sysfs.link("sys/class/nvme/" + name) for name in sysfs.entries("sys/class/nvme") if drive.device.startswith(name + "n")]
    outside = any(_OUTSIDE.search(link) for link in links)
    return drive.size_bytes > 0 and not drive.rotational and not outside and sysfs.read("sys/block/{0}/removable".format(drive.device)) != "1"
