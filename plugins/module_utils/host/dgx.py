# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The DGX models: how a host says which one it is, and what NVIDIA puts in.

The numbers serve as defaults and to notice that something is missing; where things are is always discovered. Sources: *Best Practices for
DGX* (2.1.2, 2.1.3, 3, 12.2) for DGX-1, DGX-2 and DGX Station; the tables "Component Descriptions" in the introduction of each model's user
guide at https://docs.nvidia.com/dgx/ for the others.
"""
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from .errors import FleetError
from .sysfs import Sysfs

#: The host is whatever its topology says; for hosts that are no DGX.
GENERIC = "generic"

#: What firmware writes where nobody filled in a field.
_FILLERS = ("", "default string", "not specified", "to be filled by o.e.m.", "system serial number", "none", "0")


class Dmi(NamedTuple):
    """What the firmware says of the machine; empty where it says nothing. The serial number is for root only."""

    vendor: str
    product: str
    serial: str


class GuestSize(NamedTuple):
    """A guest as ``nvidia-vm`` makes it by default for a number of GPUs."""

    gpus: int
    vcpus: int
    memory_kib: int


class Platform(NamedTuple):
    """A model: ``compute_hcas`` are the InfiniBand ports for the fabric between nodes, ``data_drives`` the numbers of data drives it is sold
    with, ``raid`` what makes an array of them (``mdadm``, ``storcli``, or empty)."""

    key: str
    name: str
    gpus: int
    compute_hcas: int
    os_drives: int
    data_drives: Tuple[int, ...]
    raid: str
    guest_sizes: Tuple[GuestSize, ...]

    def guest_size(self, gpus: int) -> Optional[GuestSize]:
        """The default guest for a number of GPUs; None if the model has none."""
        return next((size for size in self.guest_sizes if size.gpus == gpus), None)


#: *Best Practices*, chapter 12: 5 vCPUs for 1 GPU, 10 for 2, 46 for 8 and 92 for 16, and 1516912640 KiB for 16 GPUs. Memory is in proportion
#: to the GPUs; the 22 vCPUs for 4 GPUs, of which the document says nothing, are the even number nearest below a quarter of 92.
_DGX2_GUESTS = tuple(GuestSize(gpus, vcpus, 1516912640 // 16 * gpus) for gpus, vcpus in ((1, 5), (2, 10), (4, 22), (8, 46), (16, 92)))

_PLATFORMS = {
    platform.key: platform
    for platform in (
        Platform("dgx-1", "DGX-1", 8, 4, 1, (4,), "storcli", ()),
        Platform("dgx-2", "DGX-2", 16, 8, 2, (8, 16), "mdadm", _DGX2_GUESTS),
        Platform("dgx-2h", "DGX-2H", 16, 8, 2, (8, 16), "mdadm", _DGX2_GUESTS),
        Platform("dgx-station", "DGX Station", 4, 0, 1, (3,), "mdadm", ()),
        Platform("dgx-station-a100", "DGX Station A100", 4, 0, 1, (1,), "mdadm", ()),
        Platform("dgx-a100", "DGX A100", 8, 8, 2, (4, 8), "mdadm", ()),
        Platform("dgx-h100", "DGX H100", 8, 8, 2, (8,), "mdadm", ()),
        Platform("dgx-h200", "DGX H200", 8, 8, 2, (8,), "mdadm", ()),
        Platform("dgx-b200", "DGX B200", 8, 8, 2, (8,), "mdadm", ()),
        Platform("dgx-b300", "DGX B300", 8, 8, 2, (8,), "mdadm", ()),
        Platform("dgx-gb200", "DGX GB200", 4, 4, 1, (4,), "mdadm", ()),
        Platform("dgx-spark", "DGX Spark", 1, 0, 1, (), "", ()),
        Platform(GENERIC, "", 0, 0, 0, (), "mdadm", ()),
    )
}

#: The product names of DMI, as words. Seen on machines: "DGX-1 with V100", "NVIDIA DGX-2" (lablup/backend.ai issue 113), "NVIDIA DGX-2H" (hwloc,
#: tests/hwloc/xml/nvidiaDGX2.xml), "DGXA100 920-23687-2530-000" (FlagPerf pull request 203), "DGXH100" (NVIDIA/mlperf-common pull request 7),
#: "NVIDIA_DGX_Spark". A800 and H800 are the A100 and H100 under other names.
_PRODUCTS = (
    ("dgx-1", "1"),
    ("dgx-2", "2"),
    ("dgx-2h", "2 H"),
    ("dgx-station", "STATION"),
    ("dgx-station-a100", "STATION A100"),
    ("dgx-a100", "A100"),
    ("dgx-a100", "A800"),
    ("dgx-h100", "H100"),
    ("dgx-h100", "H800"),
    ("dgx-h200", "H200"),
    ("dgx-b200", "B200"),
    ("dgx-b300", "B300"),
    ("dgx-gb200", "GB200"),
    ("dgx-spark", "SPARK"),
)
#: Words are joined or apart; after them come nothing, a part number, or what is said to be inside. Anything else is another model.
_PATTERNS = tuple(
    (key, re.compile(r"^(?:NVIDIA[\s_-]+)?DGX[\s_-]?{0}(?:[\s_-]+(?:\d|WITH\b|SYSTEM\b).*)?$".format(words.replace(" ", r"[\s_-]?")), re.IGNORECASE))
    for key, words in _PRODUCTS
)


def read_dmi(sysfs: Sysfs) -> Dmi:
    """The firmware's words, without fillers such as "Default string"; from the device tree's model where there is no DMI."""
    vendor, product, serial = (_said(sysfs, "sys/class/dmi/id/" + name) for name in ("sys_vendor", "product_name", "product_serial"))
    return Dmi(vendor, product or _said(sysfs, "proc/device-tree/model"), serial)


def _said(sysfs: Sysfs, path: str) -> str:
    text = (sysfs.read(path) or "").strip("\0 \n")
    return "" if text.lower() in _FILLERS else text


def keys() -> List[str]:
    """The keys of all platforms, the generic one last."""
    return list(_PLATFORMS)


def platform_of(product: str) -> Platform:
    """The model that a product name stands for; the generic platform if it is no DGX that is known."""
    key = next((key for key, pattern in _PATTERNS if pattern.match(product.strip())), GENERIC)
    return _PLATFORMS[key]


def platform(key: str) -> Platform:
    """The platform of a key."""
    if key not in _PLATFORMS:
        raise FleetError("The platform {0!r} is not known. Known are {1}.".format(key, ", ".join(keys())))
    return _PLATFORMS[key]


def to_dict(model: Platform) -> Dict[str, object]:
    """A platform as JSON types."""
    return dict(model._asdict(), data_drives=list(model.data_drives), guest_sizes=[dict(size._asdict()) for size in model.guest_sizes])
