# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The NFS client's own figures: /proc/self/mountstats, /proc/fs/nfsfs, /proc/net/rpc/nfs.

The formats are those that the kernel writes (fs/nfs/super.c, fs/nfs/client.c, net/sunrpc/stats.c). Text that is not of that form is passed over,
never an error: kernels add fields, and what one does not tell is None.
"""
import re
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..host.mountinfo import unescape

_DEVICE = re.compile(r"^device (.*) mounted on (.*) with fstype (nfs4?)(?: statvers=(\S+))?$")
_OPERATION = re.compile(r"^\s*([A-Z][A-Z0-9_]*): ([0-9 ]+)$")
#: Fields of the line "bytes:" (include/linux/nfs_iostat.h).
_BYTES = ("normal_read", "normal_written", "direct_read", "direct_written", "server_read", "server_written", "pages_read", "pages_written")
#: Fields of the line "fsc:", which kernels before 6.4 write for mounts with the option.
_FSCACHE = ("read_ok", "read_fail", "written_ok", "written_fail", "uncached")


class Operation(NamedTuple):
    """One kind of request. Times are sums in ms: waiting to be sent, on the way, and all in all."""

    name: str
    requests: int
    transmissions: int
    timeouts: int
    bytes_sent: int
    bytes_received: int
    queue_ms: int
    round_trip_ms: int
    execute_ms: int
    errors: Optional[int]

    @property
    def average_ms(self) -> float:
        """The average time of a request from begin to end."""
        return round(self.execute_ms / float(self.requests), 3) if self.requests else 0.0

    @property
    def retransmitted(self) -> int:
        return max(self.transmissions - self.requests, 0)


class Transport(NamedTuple):
    """A connection. ``bad_replies`` are those that nobody waited for any more; ``backlog`` is the sum, over all sends, of the requests that then waited for
    a slot; ``max_slots`` is the most that were in use at once (None for UDP on old kernels)."""

    protocol: str
    sends: int
    receives: int
    bad_replies: int
    backlog: int
    max_slots: Optional[int]


class Statistics(NamedTuple):
    """What a mount has done since it was made. ``bytes`` and ``pages`` are by field name; ``pages`` is empty where the kernel does not tell."""

    source: str
    path: str
    type: str
    options: Sequence[str]
    age_s: Optional[int]
    bytes: Dict[str, int]
    pages: Dict[str, int]
    transports: List[Transport]
    operations: Dict[str, Operation]


class Volume(NamedTuple):
    """A line of /proc/fs/nfsfs/volumes: ``fsc`` tells whether the file system has a cookie with FS-Cache."""

    version: str
    device: str
    fsc: bool


class Calls(NamedTuple):
    """The client as a whole, from /proc/net/rpc/nfs."""

    calls: int
    retransmissions: int
    auth_refreshes: int


def parse_mountstats(text: str) -> List[Statistics]:
    """The NFS mounts in /proc/self/mountstats, in its order."""
    blocks: List[List[str]] = []
    for line in text.splitlines():
        if line.startswith("device "):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line)
    return [found for found in (_statistics(block) for block in blocks) if found is not None]


def parse_volumes(text: str) -> Dict[str, Volume]:
    """/proc/fs/nfsfs/volumes by device number."""
    found = {}
    for words in (line.split() for line in text.splitlines()):
        if len(words) >= 5 and re.match(r"^v\d", words[0]) and re.match(r"^\d+:\d+\Z", words[3]):
            found[words[3]] = Volume(words[0], words[3], words[-1] == "yes")
    return found


def parse_calls(text: str) -> Optional[Calls]:
    """The line ``rpc`` of /proc/net/rpc/nfs; None if there is none, as before the first mount."""
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["rpc"] and len(words) >= 4:
            numbers = _numbers(words[1:4])
            if len(numbers) == 3:
                return Calls(*numbers)
    return None


def _statistics(lines: Sequence[str]) -> Optional[Statistics]:
    head = _DEVICE.match(lines[0])
    if head is None:
        return None
    fields: Dict[str, str] = {}
    transports: List[Transport] = []
    operations: Dict[str, Operation] = {}
    for line in lines[1:]:
        operation = _operation(line)
        if operation is not None:
            operations[operation.name] = operation
            continue
        key, colon, value = line.strip().partition(":")
        if colon and key == "xprt":
            transports += _transport(value.split())
        elif colon:
            fields.setdefault(key, value.strip())
    age = fields.get("age", "")
    options = fields.get("opts", "")
    return Statistics(
        unescape(head.group(1)), unescape(head.group(2)), head.group(3), options.split(",") if options else [], _number(age),
        _named(_BYTES, fields.get("bytes", "")), _named(_FSCACHE, fields.get("fsc", "")), transports, operations,
    )


def _operation(line: str) -> Optional[Operation]:
    match = _OPERATION.match(line)
    numbers = _numbers(match.group(2).split()) if match else []
    if match is None or len(numbers) < 8:
        return None
    requests, transmissions, timeouts, sent, received, queue, trip, execute = numbers[:8]
    errors = numbers[8] if len(numbers) > 8 else None
    return Operation(match.group(1), requests, transmissions, timeouts, sent, received, queue, trip, execute, errors)


def _transport(words: Sequence[str]) -> List[Transport]:
    """``tcp port binds connects connect-time idle sends receives bad-xids requests backlog max-slots …``; UDP knows no connects (net/sunrpc/xprtsock.c)."""
    numbers = _numbers(words[1:])
    counts = numbers[2 if words[:1] == ["udp"] else 5:]
    return [Transport(words[0], counts[0], counts[1], counts[2], counts[4], counts[5] if len(counts) > 5 else None)] if len(counts) > 4 else []


def _named(names: Sequence[str], text: str) -> Dict[str, int]:
    numbers = _numbers(text.split())
    return dict(zip(names, numbers)) if len(numbers) >= len(names) else {}


def _numbers(words: Sequence[str]) -> List[int]:
    """The numbers up to the first word that is none."""
    found = []
    for word in words:
        number = _number(word)
        if number is None:
            break
        found.append(number)
    return found


def _number(word: str) -> Optional[int]:
    return int(word) if re.match(r"^[0-9]{1,20}\Z", word) else None
