# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an NFS client is doing: its mounts with what is in force, what they cost, whether the cache serves them, and what could be better."""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..host.commands import Commands
from ..host.mountinfo import Mounted, parse_mountinfo
from ..host.sysfs import Sysfs
from .fscache import Cache, Reads, parse_caches, parse_statistics, reads
from .nfs import Calls, Statistics, Volume, parse_calls, parse_mountstats, parse_volumes
from .nfs_route import Route, find_route, server_of

#: Below this share of retransmitted requests nobody notices; above, something loses packets or is overloaded.
_RETRANSMITTED = 0.001
#: A read that asks for less than this at once cannot fill a fast network.
_SMALL_READ = 131072
#: Requests that wait for a slot, on average at every send, before the slot table is worth a word.
_BACKLOG = 1.0

_PARAMETERS = (
    "sunrpc/parameters/tcp_slot_table_entries", "sunrpc/parameters/tcp_max_slot_table_entries", "nfs/parameters/max_session_slots",
)


class Sources(NamedTuple):
    """What was read of a host, as the pure part takes it."""

    mounts: List[Mounted]
    statistics: List[Statistics]
    volumes: Dict[str, Volume]
    caches: Optional[List[Cache]]
    daemon: bool
    cache_statistics: Dict[str, Dict[str, int]]
    read_ahead_kib: Mapping[str, int]
    calls: Optional[Calls]
    parameters: Mapping[str, int]


class CacheUse(NamedTuple):
    """The cache of one mount: ``asked`` by its options, ``active`` if reads go through it, and why not."""

    asked: bool
    active: bool
    reads: Optional[Reads]
    reason: str


def read_sources(sysfs: Sysfs) -> Sources:
    """Read everything once. Nothing of it is asked of a server, so a server that does not answer holds nothing up."""
    mounts = [mount for mount in parse_mountinfo(sysfs.read("proc/self/mountinfo") or "") if mount.is_nfs]
    caches = parse_caches(sysfs.read("proc/fs/fscache/caches"))
    ahead = {mount.device: sysfs.number("sys/class/bdi/{0}/read_ahead_kb".format(mount.device), -1) for mount in mounts}
    found = {name.rpartition("/")[2]: sysfs.number("sys/module/" + name, -1) for name in _PARAMETERS}
    return Sources(
        mounts, parse_mountstats(sysfs.read("proc/self/mountstats") or ""), parse_volumes(sysfs.read("proc/fs/nfsfs/volumes") or ""),
        caches, caches is None and _daemon_runs(sysfs), parse_statistics(sysfs.read("proc/fs/fscache/stats") or ""),
        {device: size for device, size in ahead.items() if size >= 0}, parse_calls(sysfs.read("proc/net/rpc/nfs") or ""),
        {name: value for name, value in found.items() if value >= 0},
    )


def read_routes(sources: Sources, servers: Sequence[str], sysfs: Sysfs, commands: Commands, probe: bool, least: Optional[int]) -> Dict[str, Route]:
    """The way to each server, once for each address; by server as it is named in the mounts or in ``servers``."""
    wanted: Dict[str, str] = dict.fromkeys(servers, "")
    for mount in sources.mounts:
        server = server_of(mount.source)
        if server and not wanted.get(server):
            wanted[server] = option(mount.super_options, "addr")
    return {server: find_route(server, address, sysfs, commands, probe, least) for server, address in wanted.items()}


def describe(sources: Sources, routes: Mapping[str, Route]) -> List[Dict[str, Any]]:
    """Every NFS mount, as JSON types."""
    return [_describe(mount, sources, routes.get(server_of(mount.source))) for mount in sources.mounts]


def cache_use(mount: Mounted, sources: Sources) -> CacheUse:
    """Whether FS-Cache really serves a mount. That ``fsc`` is among its options only says that somebody asked for it."""
    asked = any(word == "fsc" or word.startswith("fsc=") for word in mount.super_options)
    if not asked:
        return CacheUse(False, False, None, "It is mounted without the option fsc.")
    volume = sources.volumes.get(mount.device)
    counted = _statistics_of(mount, sources)
    pages = counted.pages if counted else {}
    seen = Reads(pages["read_ok"], pages["read_fail"], "pages") if pages else None
    if volume is not None and not volume.fsc:
        return CacheUse(True, False, seen, "The kernel has not taken it into FS-Cache (/proc/fs/nfsfs/volumes): unmount it and mount it again.")
    if sources.caches is not None and not any(cache.active for cache in sources.caches):
        return CacheUse(True, False, seen, "The kernel has no cache in use (/proc/fs/fscache/caches): cachefilesd does not run, or refused its directory.")
    if sources.caches is None and not sources.daemon:
        return CacheUse(True, False, seen, "cachefilesd does not run.")
    return CacheUse(True, True, seen, "")


def option(options: Sequence[str], name: str) -> str:
    """The value of ``name=value`` among mount options; empty if it is not there."""
    return next((word[len(name) + 1:] for word in options if word.startswith(name + "=")), "")


def _describe(mount: Mounted, sources: Sources, route: Optional[Route]) -> Dict[str, Any]:
    counted = _statistics_of(mount, sources)
    cache = cache_use(mount, sources)
    options = mount.super_options
    numbers = {name: _number(option(options, name)) for name in ("rsize", "wsize", "nconnect", "timeo", "retrans")}
    found = {
        "path": mount.path, "source": mount.source, "server": server_of(mount.source), "type": mount.type,
        "version": option(options, "vers"), "protocol": option(options, "proto"), "read_only": "ro" in mount.options or "ro" in options,
        "hard": not any(word in ("soft", "softerr", "softreval") for word in options), "sync": "sync" in options,
        "rsize": numbers["rsize"], "wsize": numbers["wsize"], "nconnect": numbers["nconnect"] or 1, "timeo": numbers["timeo"], "retrans": numbers["retrans"],
        "options": list(mount.options) + [word for word in options if word not in mount.options],
        "read_ahead_kib": sources.read_ahead_kib.get(mount.device),
        "cache": {
            "asked": cache.asked, "active": cache.active, "reason": cache.reason,
            "hits": cache.reads.hits if cache.reads else None, "misses": cache.reads.misses if cache.reads else None,
            "hit_rate": cache.reads.rate if cache.reads else None,
        },
        "rpc": _rpc(counted),
        "route": route_dict(route),
    }
    found["advice"] = _advice(found, cache)
    return found


def route_dict(route: Optional[Route]) -> Optional[Dict[str, Any]]:
    """As JSON types; None stays None."""
    if route is None:
        return None
    return {
        "server": route.server, "address": route.address, "interface": route.interface, "mtu": route.mtu, "gateway": route.gateway,
        "carries": route.carries, "problem": route.problem,
    }


def _rpc(counted: Optional[Statistics]) -> Optional[Dict[str, Any]]:
    if counted is None:
        return None
    operations = counted.operations.values()
    sends = sum(transport.sends for transport in counted.transports)
    slots = [transport.max_slots for transport in counted.transports if transport.max_slots is not None]
    return {
        "age_s": counted.age_s, "connections": len(counted.transports), "requests": sum(entry.requests for entry in operations),
        "retransmitted": sum(entry.retransmitted for entry in operations), "timeouts": sum(entry.timeouts for entry in operations),
        "bad_replies": sum(transport.bad_replies for transport in counted.transports),
        "backlog": round(sum(transport.backlog for transport in counted.transports) / float(sends), 3) if sends else 0.0,
        "slots": max(slots) if slots else None,
        "bytes": dict(counted.bytes),
        "from_server": _share(counted),
        "operations": {
            name: {"requests": entry.requests, "average_ms": entry.average_ms, "retransmitted": entry.retransmitted}
            for name, entry in counted.operations.items() if entry.requests
        },
    }


def _share(counted: Statistics) -> Optional[float]:
    """The share of what programs read that had to be asked of the server; the rest was in memory or in the cache. Read-ahead can make it more than all."""
    asked = counted.bytes.get("normal_read", 0) + counted.bytes.get("direct_read", 0)
    return round(counted.bytes["server_read"] / float(asked), 4) if asked else None


def _advice(found: Mapping[str, Any], cache: CacheUse) -> List[str]:
    """What could be better about one mount, each with its reason."""
    advice = []
    if cache.asked and not cache.active:
        advice.append("The cache does not serve {0}. {1}".format(found["path"], cache.reason))
    if not found["hard"] and not found["read_only"]:
        advice.append("It is mounted soft and for writing: when the server is slow, writes fail and data is lost. Mount it hard (nfs(5)).")
    if found["rsize"] and found["rsize"] < _SMALL_READ:
        advice.append("It reads {0} bytes at most in one request. Larger reads, up to 1048576, need fewer (rsize; the server may allow less).".format(
            found["rsize"]))
    ahead = found["read_ahead_kib"]
    if ahead is not None and found["rsize"] and ahead * 1024 < found["rsize"]:
        advice.append("It reads {0} KiB ahead, less than one request of {1} KiB may bring, so requests stay small. Set read-ahead to several of them.".format(
            ahead, found["rsize"] // 1024))
    rpc = found["rpc"]
    if rpc is not None:
        if rpc["retransmitted"] > rpc["requests"] * _RETRANSMITTED:
            advice.append("{0} of {1} requests had to be sent again: packets are lost, or the server is overloaded.".format(
                rpc["retransmitted"], rpc["requests"]))
        if rpc["backlog"] > _BACKLOG:
            advice.append("At each send {0:g} requests waited for a slot. More slots (sunrpc tcp_max_slot_table_entries, nfs max_session_slots) or more "
                          "connections (nconnect) let more be on their way.".format(rpc["backlog"]))
    if found["route"] and found["route"]["problem"]:
        advice.append(found["route"]["problem"])
    return advice


def _statistics_of(mount: Mounted, sources: Sources) -> Optional[Statistics]:
    """Of several mounts on one path, the last is the one that is seen."""
    same: List[Statistics] = [entry for entry in sources.statistics if entry.path == mount.path and entry.source == mount.source]
    return same[-1] if same else None


def _daemon_runs(sysfs: Sysfs) -> bool:
    """Kernels before 5.17 do not list their caches; there the daemon that holds one tells."""
    return any(sysfs.read("proc/{0}/comm".format(name)) == "cachefilesd" for name in sysfs.entries("proc") if name.isdigit())


def _number(text: str) -> Optional[int]:
    return int(text) if re.match(r"^[0-9]{1,12}\Z", text) else None


def cache_reads(sources: Sources) -> Optional[Reads]:
    """Hits and misses of the whole host, and what is counted: by the statistics of FS-Cache, or else as the sum over the mounts."""
    whole = reads(sources.cache_statistics)
    if whole is not None:
        return whole
    pages = [entry.pages for entry in sources.statistics if entry.pages]
    return Reads(sum(entry["read_ok"] for entry in pages), sum(entry["read_fail"] for entry in pages), "pages") if pages else None
