# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an NFS server is doing: threads and how busy they are, exports in force, clients, and what could be better.

The Best Practices (section 2.2.1) judge the number of threads by the histogram in the line ``th``. It is in /proc/net/rpc/nfsd, not …/nfs, and all zeros since
Linux 2.6.30; /proc/fs/nfsd/pool_stats came in its place. See the kernel's Documentation/filesystems/nfs/knfsd-stats.rst.
"""
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..host.mountinfo import unescape
from ..host.sysfs import Sysfs

_PLACE = "proc/fs/nfsd/"
LISTENERS = _PLACE + "portlist"
#: exportfs keeps what it told the kernel here (exportfs(8)).
ETAB = "var/lib/nfs/etab"
_ENTRY = re.compile(r"^(\S+)\s+(\S+?)\(([^()]*)\)\s*$")
#: The share that had to wait for a thread before more threads are worth a word.
_WAITED = 0.05
#: How often threads were needed since the start before shares mean anything.
_ENOUGH = 1000
_RELEASE = re.compile(r"^(\d+)\.")


class Pool(NamedTuple):
    """A line of pool_stats: the threads of one CPU or node, or all. A connection with ``packets`` was handed to an idle thread that was ``woken``, or had to
    wait for one (``waited``)."""

    number: int
    packets: int
    waited: int
    woken: int

    @property
    def waited_share(self) -> float:
        handed = self.waited + self.woken
        return round(self.waited / float(handed), 4) if handed else 0.0


class Counters(NamedTuple):
    """/proc/net/rpc/nfsd. ``histogram`` are the ten numbers that the document tells to look at."""

    threads: Optional[int]
    histogram: Tuple[float, ...]
    bytes_read: int
    bytes_written: int
    calls: int
    bad_calls: int
    cache_hits: int
    connections: int


class Export(NamedTuple):
    """What is exported to whom, with all options in force."""

    path: str
    client: str
    options: Tuple[str, ...]


class Client(NamedTuple):
    """A client with NFS 4 (the kernel does not list others), from 5.3 on."""

    name: str
    address: str
    version: str


class Listener(NamedTuple):
    """Where it takes requests: ``tcp``, ``udp`` or ``rdma`` on a port, for all addresses of both families."""

    protocol: str
    port: int


class Server(NamedTuple):
    """All of it. ``running`` if it has threads."""

    running: bool
    threads: int
    pool_threads: List[int]
    pools: List[Pool]
    counters: Optional[Counters]
    versions: List[str]
    listeners: List[Listener]
    largest_block: Optional[int]
    exports: List[Export]
    clients: List[Client]


def read_server(sysfs: Sysfs) -> Server:
    """Read everything once; a host without a server has none of these files."""
    threads = sysfs.number(_PLACE + "threads", 0)
    pool_threads = [int(word) for word in (sysfs.read(_PLACE + "pool_threads") or "").split() if word.isdigit()]
    exports = parse_etab(sysfs.read(ETAB) or "") if threads > 0 else []
    infos = [sysfs.read("{0}clients/{1}/info".format(_PLACE, name)) for name in sysfs.entries(_PLACE + "clients")]
    clients = [client for client in (parse_client(info) for info in infos if info) if client is not None]
    versions = [word[1:] for word in (sysfs.read(_PLACE + "versions") or "").split() if re.match(r"^\+\d", word)]
    release = _RELEASE.match(sysfs.read("proc/sys/kernel/osrelease") or "")
    queues_all = release is None or int(release.group(1)) >= 5
    return Server(
        threads > 0, threads, pool_threads, parse_pools(sysfs.read(_PLACE + "pool_stats") or "", queues_all),
        parse_counters(sysfs.read("proc/net/rpc/nfsd") or ""),
        versions, parse_listeners(sysfs.read(LISTENERS) or ""), sysfs.number(_PLACE + "max_block_size", 0) or None, exports, clients,
    )


def parse_pools(text: str, queues_all: bool = True) -> List[Pool]:
    """``# pool packets-arrived sockets-enqueued threads-woken threads-timedout``, and on some kernels more.

    From Linux 5 on every socket with work is put into the queue and then a thread is woken if one is idle, so those that waited are enqueued less woken.
    Before, only those that found no idle thread were (svc_xprt_do_enqueue in net/sunrpc/svc_xprt.c): ``queues_all`` is then False.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and all(re.match(r"^[0-9]{1,20}\Z", word) for word in words[:4]):
            number, packets, queued, woken = (int(word) for word in words[:4])
            found.append(Pool(number, packets, max(queued - woken, 0) if queues_all else queued, woken))
    return found


def parse_listeners(text: str) -> List[Listener]:
    """/proc/fs/nfsd/portlist (svc_xprt_names in net/sunrpc/svc_xprt.c), a line for each family of addresses."""
    found = (re.match(r"^([a-z][a-z0-9]*) ([0-9]{1,5})$", line.strip()) for line in text.splitlines())
    return sorted({Listener(match.group(1), int(match.group(2))) for match in found if match})


def parse_counters(text: str) -> Optional[Counters]:
    """/proc/net/rpc/nfsd (fs/nfsd/stats.c); None if it has no line that can be read."""
    lines: Dict[str, List[float]] = {}
    for line in text.splitlines():
        words = line.split()
        if words:
            lines.setdefault(words[0], _floats(words[1:]))
    if not any(lines.get(name) for name in ("th", "io", "rpc", "net", "rc")):
        return None
    threads, io, rpc, net, replies = (lines.get(name, []) for name in ("th", "io", "rpc", "net", "rc"))
    return Counters(
        int(threads[0]) if threads else None, tuple(threads[2:12]), _at(io, 0), _at(io, 1), _at(rpc, 0), _at(rpc, 1), _at(replies, 0), _at(net, 3),
    )


def parse_etab(text: str) -> List[Export]:
    """The exports in /var/lib/nfs/etab, with what each option was expanded to."""
    found = []
    for line in text.splitlines():
        match = _ENTRY.match(line)
        if match:
            found.append(Export(unescape(match.group(1)), match.group(2), tuple(option for option in match.group(3).split(",") if option)))
    return found


def parse_client(text: str) -> Optional[Client]:
    """/proc/fs/nfsd/clients/*/info."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "address" not in fields:
        return None
    minor = fields.get("minor version", "").strip()
    return Client(fields.get("name", "").strip().strip('"'), fields["address"].strip().strip('"'), "4." + minor if minor else "4")


def advice(server: Server) -> List[str]:
    """What could be better, each with its reason."""
    if not server.running:
        return []
    found = []
    woken, waited = sum(pool.woken for pool in server.pools), sum(pool.waited for pool in server.pools)
    handed = woken + waited
    if handed >= _ENOUGH and waited > handed * _WAITED:
        found.append(
            "{0} of {1} times ({2:.0%}) a request found no idle thread and had to wait (pool_stats). Raise the threads from {3} to {4}, and look again."
            .format(waited, handed, waited / float(handed), server.threads, server.threads * 2))
    idle = [pool.number for pool, threads in zip(server.pools, server.pool_threads) if threads == 0 and pool.packets]
    if idle:
        found.append("The pools {0} get packets and have no threads; others must serve them.".format(", ".join(str(number) for number in idle)))
    counters = server.counters
    found += _histogram_advice(counters.histogram if counters else (), server.threads)
    if counters and counters.bad_calls > counters.calls * 0.001 and counters.calls >= _ENOUGH:
        found.append("{0} of {1} calls were bad: something speaks to this server that is no NFS client, or packets are damaged.".format(
            counters.bad_calls, counters.calls))
    found += _export_advice(server.exports)
    if server.largest_block is not None and server.largest_block < 1048576:
        found.append("One read or write has {0} bytes at most, since the server chooses that by its memory. Up to 1048576 can be set in "
                     "/proc/fs/nfsd/max_block_size before the first thread starts.".format(server.largest_block))
    return found


def _histogram_advice(seconds: Sequence[float], threads: int) -> List[str]:
    """The document's rule, for kernels before 2.6.30: how long the first tenth of the threads was busy, the second, and so on. "If the last two numbers are
    fairly high, you should add NFS daemons … If the last two, three, or four numbers are zero, then some threads are probably not being used."
    """
    if not any(seconds):
        return []
    busy = sum(seconds[-2:])
    if busy > sum(seconds) * _WAITED:
        return ["For {0:g} of {1:g} busy seconds nearly all threads were needed (the last two numbers of the line th). Raise the threads from {2} to {3}, and "
                "look again.".format(busy, sum(seconds), threads, threads * 2)]
    idle = next(count for count, number in enumerate(reversed(seconds)) if number)
    if idle >= 2:
        return ["The last {0} of {1} numbers of the line th are 0: that part of the {2} threads was never needed, and does no harm.".format(
            idle, len(seconds), threads)]
    return []


def _export_advice(exports: Sequence[Export]) -> List[str]:
    found = []
    for export in exports:
        name = "{0} for {1}".format(export.path, export.client)
        if "async" in export.options and "rw" in export.options:
            found.append("{0} is exported async: the server says that data is safe before it is. What is in its memory is lost when it goes down.".format(name))
        if export.client == "*" and "rw" in export.options:
            found.append("{0}: any host that reaches this server can write. Name the network instead.".format(name))
        if "no_root_squash" in export.options and export.client == "*":
            found.append("{0}: root of any host is root here.".format(name))
    return found


def describe(server: Server) -> Dict[str, Any]:
    """As JSON types."""
    counters = server.counters
    return {
        "running": server.running, "threads": server.threads, "pool_threads": server.pool_threads,
        "pools": [
            {"pool": pool.number, "packets": pool.packets, "waited": pool.waited, "woken": pool.woken, "waited_share": pool.waited_share}
            for pool in server.pools
        ],
        "counters": None if counters is None else {
            "bytes_read": counters.bytes_read, "bytes_written": counters.bytes_written, "calls": counters.calls, "bad_calls": counters.bad_calls,
            "reply_cache_hits": counters.cache_hits, "connections": counters.connections,
            "histogram": list(counters.histogram), "histogram_is_kept": any(counters.histogram),
        },
        "versions": server.versions, "listeners": [listener._asdict() for listener in server.listeners], "max_block_size": server.largest_block,
        "exports": [{"path": export.path, "client": export.client, "options": list(export.options)} for export in server.exports],
        "clients": [client._asdict() for client in server.clients],
        "advice": advice(server),
    }


def _floats(words: Sequence[str]) -> List[float]:
    found = []
    for word in words:
        if not re.match(r"^[0-9]{1,20}(\.[0-9]{1,10})?\Z", word):
            break
        found.append(float(word))
    return found


def _at(numbers: Sequence[float], place: int) -> int:
    return int(numbers[place]) if len(numbers) > place else 0
