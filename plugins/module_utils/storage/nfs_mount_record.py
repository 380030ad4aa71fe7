# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was there before the first change of the NFS mounts, and what came of what was asked for."""
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ..host import records

RECORD = "nfs_mounts"


class Live(NamedTuple):
    """A mount as it was: its source, and the options with which it can be made again."""

    source: str
    options: Tuple[str, ...]


class Kept(NamedTuple):
    """One path. ``fstab`` is its line and ``live`` its mount before the first change, None if there was none; ``directories`` were made for it.

    ``asked`` are the options with which the mount was made that is there now (None: not known). ``limits`` are, by option, what was asked for and what
    server and kernel made of it: to ask again would not change it.
    """

    fstab: Optional[str]
    live: Optional[Live]
    directories: Tuple[str, ...]
    asked: Optional[Tuple[str, ...]]
    limits: Mapping[str, Tuple[str, str]]


class Record(NamedTuple):
    """All paths, the read-ahead of the mounts that were there when it was changed first (None: it was not), and whether /etc/fstab ended without an end of
    line."""

    mounts: Mapping[str, Kept]
    read_ahead: Optional[Mapping[str, int]]
    open_end: bool

    def __bool__(self) -> bool:
        return bool(self.mounts or self.open_end) or self.read_ahead is not None

    def to_dict(self) -> Dict[str, Any]:
        mounts = {
            path: {
                "fstab": kept.fstab, "live": [kept.live.source, list(kept.live.options)] if kept.live else None, "directories": list(kept.directories),
                "asked": None if kept.asked is None else list(kept.asked), "limits": {key: list(pair) for key, pair in kept.limits.items()},
            }
            for path, kept in self.mounts.items()
        }
        ahead = None if self.read_ahead is None else dict(self.read_ahead)
        return {"mounts": mounts, "read_ahead": ahead, "open_end": self.open_end}


EMPTY = Record({}, None, False)


def parse_record(found: Mapping[str, Any]) -> Record:
    """Read it back; raises :class:`FleetError` if it is something else."""
    if not found:
        return EMPTY
    try:
        mounts: Dict[str, Kept] = {str(path): _kept(entry) for path, entry in found["mounts"].items()}
        ahead = found["read_ahead"]
        sizes = None if ahead is None else {str(path): int(size) for path, size in ahead.items()}
        return Record(mounts, sizes, bool(found["open_end"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise records.damaged(RECORD)


def _kept(entry: Mapping[str, Any]) -> Kept:
    live, asked, line = entry["live"], entry["asked"], entry["fstab"]
    if not (line is None or isinstance(line, str)):
        raise TypeError("a line is expected")
    limits = {str(key): (str(wanted), str(got)) for key, (wanted, got) in entry["limits"].items()}
    return Kept(
        line, None if live is None else Live(str(live[0]), tuple(str(word) for word in live[1])), tuple(str(name) for name in entry["directories"]),
        None if asked is None else tuple(str(word) for word in asked), limits,
    )
