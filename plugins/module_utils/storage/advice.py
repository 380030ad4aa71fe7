# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The arithmetic of chapter 2 of the Best Practices for DGX: how large a read cache must be, and what storage and network feed it."""
import math
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

from ..host.errors import FleetError

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?)b?|b)?$", re.ASCII | re.IGNORECASE)

#: Section 2.1.1: a first epoch from shared storage is five times as slow as one from the cache, and a training runs over its data 100 times.
COLD_SLOWDOWN, EPOCHS = 5.0, 100
#: Section 2.1.2: sequential read of one SATA SSD in bytes/s, the document's example.
SSD_BYTES_PER_S = 550 * 10 ** 6
#: cachefilesd starts to throw away what is unused when less than this share of the file system is free (*bcull*; cachefilesd.conf(5), 7 %).
CULL_SHARE = 0.07
#: More is a mistake, and would only be told by an overflow.
_MOST, _MOST_BYTES, _DIGITS, _MOST_DRIVES = 1e9, 10 ** 30, 30, 10000


class CachePlan(NamedTuple):
    """Sizes in bytes, throughput in bytes/s, times as shares of a training that reads from the cache only."""

    dataset_bytes: int
    capacity_bytes: int
    usable_bytes: int
    adequate: bool
    cached_share: float
    throughput_bytes_per_s: int
    first_epoch_slowdown: float
    runtime_increase: float
    advice: str

    def to_dict(self) -> Dict[str, Any]:
        return dict(self._asdict())


def size_bytes(value: Any, place: str) -> int:
    """Bytes from a number, or a text with a unit; as on the label of a drive, T and TB are decimal, TiB is binary."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST_BYTES:
        return int(value)
    match = _SIZE.match(value.strip()) if isinstance(value, str) else None
    if not match or len(match.group(1)) > _DIGITS:
        raise FleetError("{0} is {1!r}, but a number of bytes, or a text such as 3.84TB or 500GiB, is expected.".format(place, value))
    power = "kmgtp".index(match.group(2).lower()) + 1 if match.group(2) else 0
    return int(float(match.group(1)) * (1024 if match.group(3) else 1000) ** power)


def number(value: Any, place: str, lowest: float) -> float:
    """A number of at least ``lowest``, and of a size that means something; a text of one is taken too."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not lowest <= found <= _MOST:
        raise FleetError("{0} is {1!r}, but a number from {2:g} to {3:g} is expected.".format(place, value, lowest, _MOST))
    return found


def whole(value: Any, place: str, lowest: int = 1) -> int:
    """A whole number of at least ``lowest``; a text of one is taken too."""
    found = number(value, place, lowest)
    if found != int(found):
        raise FleetError("{0} is {1!r}, but a whole number is expected.".format(place, value))
    return int(found)


def cache_plan(
    dataset: Any,
    drives: Union[int, Sequence[Any]],
    drive_size: Any = None,
    epochs: Any = EPOCHS,
    slowdown: Any = COLD_SLOWDOWN,
    drive_bytes_per_s: Any = SSD_BYTES_PER_S,
) -> CachePlan:
    """Whether a RAID-0 cache of these drives holds a data set, and what reading it cold costs a training.

    ``drives`` are their sizes, or a number of them with ``drive_size``. ``slowdown`` is how much slower shared storage is than the cache.
    A RAID-0 has the capacity and the throughput of all its drives together; one that is smaller than its largest is filled in zones.
    """
    sizes = _drive_sizes(drives, drive_size)
    wanted = size_bytes(dataset, "dataset")
    turns = whole(epochs, "epochs")
    slower = number(slowdown, "slowdown", 1)
    capacity = sum(sizes)
    usable = int(capacity * (1 - CULL_SHARE))
    share = 1.0 if wanted == 0 else min(1.0, usable / float(wanted))
    # Epoch 1 reads everything from shared storage. Later ones miss what did not fit: training reads in random order, so what is
    # thrown away for the newest is as likely to be wanted next as any other.
    extra = (slower - 1) * (1 + (turns - 1) * (1 - share)) / turns
    adequate = wanted <= usable
    if adequate:
        advice = "The cache holds the data set. The first of {0} epochs is {1:g} times as slow, which makes the training {2:.1%} longer.".format(
            turns, slower, extra
        )
    else:
        per_drive = max(sizes)
        missing = max(math.ceil((wanted / (1 - CULL_SHARE) - capacity) / per_drive), 1)
        advice = (
            "The cache holds {0:.0%} of the data set; every epoch reads the rest from shared storage, which makes the training {1:.1%} longer. "
            "{2} more drive{3} of {4:.2f} TB would hold it all.".format(share, extra, missing, "" if missing == 1 else "s", per_drive / 1e12)
        )
    throughput = len(sizes) * size_bytes(drive_bytes_per_s, "drive_bytes_per_s")
    return CachePlan(wanted, capacity, usable, adequate, share, throughput, slower, extra, advice)


def _drive_sizes(drives: Union[int, Sequence[Any]], drive_size: Any) -> List[int]:
    if isinstance(drives, (list, tuple)):
        sizes = [size_bytes(size, "drives[{0}]".format(at)) for at, size in enumerate(drives)]
    elif drive_size is None:
        raise FleetError("drives is {0!r}, a number, but drive_size is not given. Give the size of one drive, such as 3.84TB.".format(drives))
    else:
        count = whole(drives, "drives")
        if count > _MOST_DRIVES:
            raise FleetError("drives is {0}, but at most {1} are expected in one array.".format(count, _MOST_DRIVES))
        sizes = [size_bytes(drive_size, "drive_size")] * count
    if not sizes or not all(sizes):
        raise FleetError("drives is {0!r}, but at least one drive is needed, and none may be of size 0.".format(drives))
    return sizes


class UseCase(NamedTuple):
    """A row of Table 1 (section 2.2.3). ``per_gpu`` is bandwidth in bytes/s, lowest and highest, or () where the document gives none."""

    title: str
    cache: str
    networks: Tuple[str, ...]
    file_system: str
    per_gpu: Tuple[int, ...]


_MB = 10 ** 6
#: Section 2.2: files at 1080p want 150-200 MB/s per GPU. Those of 256x256 are 30 times smaller, of 4K 4 times and uncompressed 5-10 times larger.
_HD = (150 * _MB, 200 * _MB)
_ANY_FAST = "HPC file system, high-end NFS, or storage with fast streaming capable of 3 GB/s and more per node"

USE_CASES: Mapping[str, UseCase] = {
    "analytics": UseCase(
        "Data analytics", "not needed", ("10 GbE",), "object storage, NFS, or another system good at multi-threaded reads and small files", ()
    ),
    "hpc": UseCase(
        "HPC",
        "not needed",
        ("10 GbE", "40 GbE", "100 GbE", "InfiniBand"),
        "NFS, or an HPC file system for large numbers of clients and fast single nodes",
        (),
    ),
    "dl_256": UseCase("DL, 256x256 images", "yes", ("10 GbE",), "NFS, or storage good at small files", (_HD[0] // 30, _HD[1] // 30)),
    "dl_1080p": UseCase(
        "DL, 1080p images", "yes", ("10 GbE", "40 GbE", "InfiniBand"), "high-end NFS, HPC file system, or storage with fast streaming", _HD
    ),
    "dl_4k": UseCase("DL, 4K images", "yes", ("40 GbE", "InfiniBand"), _ANY_FAST, (_HD[0] * 4, _HD[1] * 4)),
    "dl_uncompressed": UseCase(
        "DL, uncompressed images", "yes", ("InfiniBand", "40 GbE", "100 GbE"), _ANY_FAST, (_HD[0] * 5, _HD[1] * 10)
    ),
    "dl_uncached": UseCase(
        "DL, data sets that are not cached",
        "no",
        ("InfiniBand", "10 GbE", "40 GbE", "100 GbE"),
        _ANY_FAST + "; all applications together must find their bandwidth",
        _HD,
    ),
}

#: What a link carries at best, in bytes/s; 10 GbE is the document's figure (1.25 GB/s), the others by the same rule; InfiniBand is EDR.
LINKS: Mapping[str, int] = {"10 GbE": 1250 * _MB, "40 GbE": 5000 * _MB, "100 GbE": 12500 * _MB, "InfiniBand": 12500 * _MB}
#: Section 2.2.1: past this much in sum, other technologies than NFS are more efficient.
NFS_LIMIT = 10 * 10 ** 9


class StorageAdvice(NamedTuple):
    """Bandwidths are (lowest, highest) in bytes/s, empty where the document gives none."""

    use_case: str
    adequate_cache: str
    networks: Tuple[str, ...]
    file_system: str
    per_node: Tuple[int, ...]
    total: Tuple[int, ...]
    links_per_node: Mapping[str, int]
    advice: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in self._asdict().items()}
        found["links_per_node"] = dict(self.links_per_node)
        return found


def storage_advice(use_case: Any, gpus: Any, nodes: Any = 1) -> StorageAdvice:
    """Network, file system and bandwidth for a use case on ``nodes`` systems with ``gpus`` GPUs each (Table 1)."""
    if not isinstance(use_case, str) or use_case not in USE_CASES:
        raise FleetError("use_case is {0!r}, but one of {1} is expected.".format(use_case, ", ".join(USE_CASES)))
    row = USE_CASES[use_case]
    count, systems = whole(gpus, "gpus"), whole(nodes, "nodes")
    per_node = tuple(count * rate for rate in row.per_gpu)
    total = tuple(systems * rate for rate in per_node)
    links = {name: max(1, math.ceil(per_node[1] / LINKS[name])) for name in row.networks} if per_node else {}
    advice = []
    if per_node and per_node[1] > LINKS[row.networks[0]]:
        enough = [name for name in row.networks if links[name] == 1]
        advice.append(
            "A node needs up to {0:.2f} GB/s, more than one link of {1}{2}.".format(
                per_node[1] / 1e9, row.networks[0], "; one of {0} is enough".format(" or ".join(enough)) if enough else ""
            )
        )
    if total and total[1] > NFS_LIMIT:
        advice.append("All nodes need up to {0:.1f} GB/s together: above 10 GB/s a parallel file system scales better than NFS.".format(total[1] / 1e9))
    if row.cache == "yes":
        advice.append("These bandwidths hold for the first epoch if the read cache holds the data set (see cache_plan), for all epochs if not.")
    if use_case.startswith("dl_"):
        advice.append("Keep data in archives such as HDF5, LMDB or TFRecord: many small files slow the network and the file system.")
    return StorageAdvice(row.title, row.cache, row.networks, row.file_system, per_node, total, links, tuple(advice))
