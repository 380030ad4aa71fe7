# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host's clock is really kept in step: which server systemd-timesyncd is in contact with, and how far the clock is off right now.

``timedatectl`` says "synchronized" from the kernel's flag, which outlives the server, and timesyncd's own offset is that of its last packet, up to half an
hour old and from before the clock was set. So the server that timesyncd uses is asked once more, by SNTP (RFC 4330), and that answer counts.
"""
import math
import re
import shlex
import socket
import struct
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from .commands import Commands
from .errors import FleetError

SERVICE = "systemd-timesyncd.service"

#: org.freedesktop.timesync1(5); there since systemd 239. The signature of NTPMessage is (uuuuittayttttbtt).
_PROPERTIES = ("ServerName", "ServerAddress", "NTPMessage", "SystemNTPServers", "FallbackNTPServers", "LinkNTPServers")
_ASK = ("busctl", "get-property", "org.freedesktop.timesync1", "/org/freedesktop/timesync1", "org.freedesktop.timesync1.Manager") + _PROPERTIES

#: How systemd before 239 tells it: in the status text of the service.
_STATUS = re.compile(r"time server (?:for the first time )?\[?(?P<address>[0-9A-Fa-f:.]+?)\]?:123 \((?P<name>[^)]+)\)")

#: Seconds between 1900, where NTP begins to count, and 1970; after 2036 the count begins anew (RFC 4330, section 3).
_EPOCH = 2208988800
_ERA = 1 << 32
_PACKET = struct.Struct("!BBbb11I")


class Contact(NamedTuple):
    """The server that timesyncd talks to; ``packets`` is None where systemd is too old to count its answers."""

    server: str
    address: str
    stratum: Optional[int] = None
    packets: Optional[int] = None


class Answer(NamedTuple):
    """What a server's clock said: how far it is ahead of this host's, and how long the way there and back took, in seconds."""

    offset: float
    delay: float
    stratum: int


class Reading(NamedTuple):
    """One look at the clock. ``answer`` is what the server said just now, ``silence`` why it said nothing."""

    running: bool
    servers: Sequence[str] = ()
    fallback: Sequence[str] = ()
    contact: Optional[Contact] = None
    answer: Optional[Answer] = None
    silence: str = ""

    @property
    def offset_ms(self) -> Optional[float]:
        """How far this host's clock is ahead (positive) or behind."""
        return None if self.answer is None else round(-self.answer.offset * 1000, 3)

    def to_dict(self) -> Dict[str, Any]:
        contact = self.contact or Contact("", "")
        stratum = self.answer.stratum if self.answer else contact.stratum
        return {
            "running": self.running,
            "server": contact.server,
            "address": contact.address,
            "stratum": stratum,
            "packets": contact.packets,
            "offset_ms": self.offset_ms,
            "servers": list(self.servers),
            "fallback_servers": list(self.fallback),
        }


def problem_of(reading: Reading, max_offset_ms: Optional[float] = None) -> str:
    """What is wrong with a host's time, as a sentence; empty if nothing is."""
    if not reading.running:
        return "{0} is not running, so nothing keeps this host's clock. See systemctl status {0}.".format(SERVICE)
    asked = ", ".join(list(reading.servers) or list(reading.fallback)) or "no server at all: none is configured"
    if reading.contact is None or reading.contact.packets == 0:
        return (
            "No time server has answered {0}. It asks {1}. Check that these names resolve and answer on UDP port 123: journalctl -u {0} says what it tried."
        ).format(SERVICE, asked)
    if reading.answer is None:
        return "The time server {0} ({1}) does not answer any more: {2}. Check that it runs and that UDP port 123 is open.".format(
            reading.contact.server, reading.contact.address, reading.silence or "no answer"
        )
    offset = reading.offset_ms or 0.0
    if max_offset_ms is not None and abs(offset) > max_offset_ms:
        return (
            "This host's clock is {0:.1f} ms {1} {2} ({3}); at most {4:g} ms are allowed. timesyncd has not set it: see journalctl -u {5}. "
            "If it is the server that is wrong, name another."
        ).format(abs(offset), "ahead of" if offset > 0 else "behind", reading.contact.server, reading.contact.address, max_offset_ms, SERVICE)
    return ""


def observe(
    commands: Commands, wait: float = 0, max_offset_ms: Optional[float] = None, clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep, port: int = 123
) -> Reading:
    """Look until nothing is wrong, or ``wait`` seconds are over; the last look is returned."""
    until = clock() + wait
    while True:
        reading = read(commands, port)
        if not problem_of(reading, max_offset_ms) or clock() >= until:
            return reading
        sleep(min(1.0, max(0.0, until - clock())))


def read(commands: Commands, port: int = 123) -> Reading:
    """Ask systemd about the service, the service about its server, and the server for the time."""
    shown = commands.run(("systemctl", "show", "--property=ActiveState,StatusText", SERVICE))
    values = dict(line.split("=", 1) for line in shown.out.splitlines() if "=" in line)
    if values.get("ActiveState") != "active":  # asking on the bus would start it
        return Reading(False)
    reading = parse_bus(commands.run(_ASK), values.get("StatusText", ""))
    if reading.contact is None or reading.contact.packets == 0:
        return reading
    try:
        return reading._replace(answer=measure(reading.contact.address, port))
    except FleetError as error:
        return reading._replace(silence=error.message)


def parse_bus(result: Any, status: str = "") -> Reading:
    """What ``busctl get-property`` printed, a line for each property; or else the status text, where systemd has no such properties yet."""
    lines = result.out.splitlines()
    if result.rc != 0 or len(lines) != len(_PROPERTIES):
        found = _STATUS.search(status)
        return Reading(True, contact=Contact(found.group("name"), found.group("address")) if found else None)
    values = dict(zip(_PROPERTIES, (shlex.split(line)[1:] for line in lines)))
    contact = None
    address = _address(values["ServerAddress"])
    if values["ServerName"][:1] and address:
        message = values["NTPMessage"]
        contact = Contact(values["ServerName"][0], address, int(message[3]), int(message[-2]))
    return Reading(True, values["LinkNTPServers"][1:] + values["SystemNTPServers"][1:], values["FallbackNTPServers"][1:], contact)


def measure(address: str, port: int = 123, timeout: float = 2.0) -> Answer:
    """Ask a server for the time; raises :class:`FleetError` if it does not answer, or with something that is no time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as door:
            door.settimeout(timeout)
            door.connect((address, port))  # so that only this server's answers, and its refusals, are heard
            sent = time.time()
            door.send(question(sent))
            reply = door.recv(1024)
            return parse_answer(reply, sent, time.time())
    except socket.timeout:
        raise FleetError("no answer within {0:g} s".format(timeout))
    except OSError as error:
        raise FleetError(error.strerror or str(error))


def question(sent: float) -> bytes:
    """A client's packet of version 4 that carries the time it is sent at, by which the answer is recognized."""
    return _PACKET.pack(0x23, 0, 0, 0, *([0] * 9 + _stamp(sent)))


def parse_answer(reply: bytes, sent: float, received: float) -> Answer:
    """Offset and delay from the four times of an exchange (RFC 4330, section 5)."""
    if len(reply) < _PACKET.size:
        raise FleetError("it answered with {0} bytes, which is no time".format(len(reply)))
    fields = _PACKET.unpack(reply[:_PACKET.size])
    first, stratum, words = fields[0], fields[1], fields[4:]
    if first & 7 != 4 or list(words[5:7]) != _stamp(sent):
        raise FleetError("it answered something else than it was asked")
    if first >> 6 == 3 or not 1 <= stratum <= 15:
        raise FleetError("it answers, but says that its own clock is not set")
    came, left = _time(words[7:9], sent), _time(words[9:11], sent)
    return Answer(((came - sent) + (left - received)) / 2, (received - sent) - (left - came), stratum)


def _stamp(moment: float) -> List[int]:
    whole = math.floor(moment)
    return [(whole + _EPOCH) % _ERA, int((moment - whole) * _ERA)]


def _time(words: Sequence[int], near: float) -> float:
    """The moment that a time stamp means: the one within 68 years of ours, since the count of seconds starts anew every 136 years."""
    moment = words[0] - _EPOCH + words[1] / _ERA
    return moment + _ERA * round((near - moment) / _ERA)


def _address(words: Sequence[str]) -> str:
    """An address as the bus has it: family, number of bytes, bytes."""
    data = bytes(int(word) for word in words[2:])
    if len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    return socket.inet_ntop(socket.AF_INET6, data) if len(data) == 16 else ""
