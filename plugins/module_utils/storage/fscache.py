# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""FS-Cache: is there a cache that the kernel uses, and how much comes from it. From /proc/fs/fscache.

Its statistics were written anew for Linux 5.17 and moved into netfs for 6.8: ``Retrvls`` counts what was asked of the cache before, ``IO`` counts
operations on it since; ``RD`` and ``DL`` (under ``RdHelp``, then ``Netfs``, then ``CaRdOps`` and ``DownOps``) what file systems that read through netfs got
from it and from the server.
"""
import re
from typing import Dict, List, NamedTuple, Optional

_FIELD = re.compile(r"^\s*([A-Za-z-]+)\s*=\s*([0-9]+)\Z")
_CACHE = re.compile(r"^[0-9a-f]+\s")
#: The state of a cache that is in use (fscache_cache_states in fs/fscache/cache.c: "-PAEW").
_ACTIVE = "A"


class Cache(NamedTuple):
    """A cache: its tag (cachefilesd.conf) and whether it is in use."""

    name: str
    active: bool


class Reads(NamedTuple):
    """How often the cache was asked, and how often it had what was wanted. ``unit`` is what is counted."""

    hits: int
    misses: int
    unit: str

    @property
    def rate(self) -> Optional[float]:
        """The share that the cache served; None if it was never asked."""
        total = self.hits + self.misses
        return round(self.hits / float(total), 4) if total else None


def parse_caches(text: Optional[str]) -> Optional[List[Cache]]:
    """/proc/fs/fscache/caches, from Linux 5.17 on; None where there is no such file."""
    if text is None:
        return None
    found = []
    for line in text.splitlines():
        words = line.split()
        # CACHE REF VOLS OBJS ACCES S NAME; a mount with fsc and no daemon makes one with neither state nor name
        if _CACHE.match(line) and len(words) >= 7:
            found.append(Cache(" ".join(words[6:]), words[5] == _ACTIVE))
    return [cache for cache in found if cache.active or cache.name != "-"]


def parse_statistics(text: str) -> Dict[str, Dict[str, int]]:
    """/proc/fs/fscache/stats as fields by line. Fields of lines with the same title are one group."""
    found: Dict[str, Dict[str, int]] = {}
    for line in text.splitlines():
        title, colon, rest = line.partition(":")
        if not colon:
            continue
        group = found.setdefault(title.strip(), {})
        for word in rest.split():
            match = _FIELD.match(word)
            if match:
                group[match.group(1)] = int(match.group(2)[:20])
    return {title: group for title, group in found.items() if group}


def reads(statistics: Dict[str, Dict[str, int]]) -> Optional[Reads]:
    """What came from the cache and what had to be asked of a server; None where these statistics do not tell.

    NFS reads through netfs from Linux 6.4 on. Between 5.17 and then the kernel counts only per mount (:mod:`nfs`).
    """
    old = statistics.get("Retrvls", {})
    if "ok" in old and "n" in old:
        hits = old["ok"]
        return Reads(hits, max(old["n"] - hits, 0), "requests")
    flat: Dict[str, int] = {}
    for title in ("RdHelp", "Netfs", "CaRdOps", "DownOps"):
        flat.update(statistics.get(title, {}))
    read, download = flat.get("RD"), flat.get("DL")
    if read is not None and download is not None and read + download > 0:
        return Reads(read, download, "requests")
    return None
