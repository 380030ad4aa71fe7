# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machines the lab can pose as: small, but with the parts that matter in the places where a DGX has them."""
import re
from typing import Dict, NamedTuple, Optional, Tuple

from .programs import LabError


class DataDrives(NamedTuple):
    """The drives that hold no operating system. They are plugged in after the machine runs, blank, and can be pulled."""

    total: int
    bus: str  #: nvme, or scsi for what a SATA or RAID controller shows
    size_mib: int = 1024
    vendor: str = ""
    model: str = ""
    serial: str = "S3HCNX0K40{:04d}"

    def serial_of(self, number: int) -> str:
        return self.serial.format(number + 1)


class Platform(NamedTuple):
    """A machine. Two operating system drives mean RAID-1 as md0, one means a plain drive."""

    name: str
    product: str  #: as DMI tells it
    purpose: str
    sockets: int
    cores: int  #: per socket
    threads: int  #: per core
    memory_mib: int
    os_drives: int
    data: DataDrives
    vendor_id: str = ""  #: of the processor; empty is AMD's, with nested KVM
    adapter: bool = False  #: whether it has a network adapter with SR-IOV

    @property
    def cpus(self) -> int:
        return self.sockets * self.cores * self.threads

    @property
    def nested_kvm(self) -> bool:
        """QEMU emulates AMD's SVM, and thread siblings only for Intel's processors: never both."""
        return not self.vendor_id

    def sized(self, cpus: Optional[int] = None, memory: Optional[str] = None, drives: Optional[int] = None, drive_size: Optional[str] = None) -> "Platform":
        """The same machine with other sizes; :class:`LabError` names what does not fit."""
        changed = self
        if cpus is not None:
            unit = self.sockets * self.threads
            if cpus < unit or cpus % unit:
                raise LabError(f"{self.name} has {self.sockets} sockets and {self.threads} threads a core: {cpus} CPUs do not fit, a multiple of {unit} does.")
            changed = changed._replace(cores=cpus // unit)
        if memory is not None:
            changed = changed._replace(memory_mib=mebibytes(memory))
            if changed.memory_mib < 1024 * self.sockets:
                raise LabError(f"{memory} of memory is too little for {self.name}: it needs 1G a socket.")
        if drives is not None:
            if not 0 <= drives <= 16:
                raise LabError(f"A machine has 0 to 16 data drives, not {drives}.")
            changed = changed._replace(data=changed.data._replace(total=drives))
        if drive_size is not None:
            changed = changed._replace(data=changed.data._replace(size_mib=mebibytes(drive_size)))
        return changed


def mebibytes(text: str) -> int:
    """``6G`` or ``512M`` in MiB."""
    match = re.fullmatch(r"([1-9][0-9]*)([MG])", text)
    if not match:
        raise LabError(f"{text!r} is not a size. Write it like 512M or 6G.")
    return int(match.group(1)) * (1024 if match.group(2) == "G" else 1)


_NVME = DataDrives(total=8, bus="nvme")

_ALL: Tuple[Platform, ...] = (
    Platform(
        "dgx2-small", "DGX-2", "a DGX-2 that can start KVM guests (no thread siblings)", sockets=2, cores=4, threads=1, memory_mib=8192, os_drives=2, data=_NVME
    ),
    Platform(
        "dgx2-smt",
        "DGX-2",
        "a DGX-2 with thread siblings (no KVM guests)",
        sockets=2,
        cores=2,
        threads=2,
        memory_mib=8192,
        os_drives=2,
        data=_NVME,
        vendor_id="GenuineIntel",
    ),
    Platform(
        "dgx1",
        "DGX-1 with V100-32",
        "a DGX-1: the hardware RAID controller shows its cache volume as one drive",
        sockets=2,
        cores=2,
        threads=2,
        memory_mib=4096,
        os_drives=1,
        data=DataDrives(total=1, bus="scsi", size_mib=4096, vendor="AVAGO", model="MR9361-8i", serial="00b4a1c2d3e4f5a6{:02d}"),
        vendor_id="GenuineIntel",
    ),
    Platform(
        "station",
        "DGX Station",
        "a DGX Station: one socket, three SATA drives for data",
        sockets=1,
        cores=2,
        threads=2,
        memory_mib=4096,
        os_drives=1,
        data=DataDrives(total=3, bus="scsi", vendor="ATA", model="SAMSUNG MZ7LM1T9", serial="S2TWNX0J40{:04d}"),
        vendor_id="GenuineIntel",
    ),
)

PLATFORMS: Dict[str, Platform] = {platform.name: platform for platform in _ALL}


def platform_named(name: str) -> Platform:
    """The platform of that name; :class:`LabError` lists the names there are."""
    if name not in PLATFORMS:
        raise LabError(f"There is no platform {name!r}. There are: {', '.join(PLATFORMS)}.")
    return PLATFORMS[name]
