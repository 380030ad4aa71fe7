# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks an LDAP server, before a node is pointed at it, what sssd will ask: TLS with a certificate that is vouched for, the bind, and the search base.

A node has no LDAP client yet when this runs, so the few messages needed are spoken here (RFC 4511; BER with definite lengths).
"""
import socket
import ssl
from typing import List, NamedTuple, Optional, Sequence, Tuple

STARTTLS = "1.3.6.1.4.1.1466.20037"

#: RFC 4511, 4.1.9.
_SUCCESS, _NO_SUCH_OBJECT, _INVALID_CREDENTIALS = 0, 32, 49
_NAMES = {
    1: "operationsError", 2: "protocolError", 8: "strongerAuthRequired", 13: "confidentialityRequired", 34: "invalidDNSyntax",
    48: "inappropriateAuthentication", 50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform",
}
_MOST = 1 << 20


class Server(NamedTuple):
    """Where a server listens, and whether TLS begins at once (ldaps) or is asked for (StartTLS)."""

    host: str
    port: int
    ldaps: bool

    @property
    def uri(self) -> str:
        usual = 636 if self.ldaps else 389
        host = "[{0}]".format(self.host) if ":" in self.host else self.host
        return "{0}://{1}{2}".format("ldaps" if self.ldaps else "ldap", host, "" if self.port == usual else ":{0}".format(self.port))


class Question(NamedTuple):
    """What a server is asked: with which authorities (PEM text, or a file of the system), as whom, and whether it has this base."""

    authorities: str
    authority_file: str
    bind_dn: str
    password: str
    base: str
    timeout: float


class Answer(NamedTuple):
    """``reached``: somebody answered at all. ``problem`` is empty if all is well."""

    server: Server
    reached: bool
    problem: str


def ask(server: Server, question: Question) -> Answer:
    """All questions to one server; never raises for what the server does."""
    try:
        door = socket.create_connection((server.host, server.port), question.timeout)
    except OSError as error:
        return Answer(server, False, "{0} does not answer: {1}".format(server.uri, error.strerror or error))
    try:
        with door:
            return Answer(server, True, _converse(door, server, question))
    except ssl.SSLError as error:
        return Answer(server, True, "{0} is not to be trusted: {1}".format(server.uri, _reason(error)))
    except socket.timeout:
        return Answer(server, False, "{0} did not answer within {1:g} s".format(server.uri, question.timeout))
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.CertificateError):  # no SSLError before Python 3.7
            return Answer(server, True, "{0} is not to be trusted: {1}".format(server.uri, error))
        return Answer(server, False, "{0} broke off: {1}".format(server.uri, error))


def _converse(door: socket.socket, server: Server, question: Question) -> str:
    if not server.ldaps:
        code, said = _exchange(door, _message(1, _tlv(0x77, _tlv(0x80, STARTTLS.encode()))))
        if code != _SUCCESS:
            return "{0} offers no StartTLS: {1}".format(server.uri, _told(code, said))
    own = question.authorities or None
    context = ssl.create_default_context(cadata=own, cafile=None if own else question.authority_file)
    with context.wrap_socket(door, server_hostname=server.host) as safe:
        name, word = question.bind_dn.encode("utf-8"), question.password.encode("utf-8")
        code, said = _exchange(safe, _message(2, _tlv(0x60, _tlv(0x02, b"\x03") + _tlv(0x04, name) + _tlv(0x80, word))))
        who = question.bind_dn or "nobody (an anonymous bind)"
        if code == _INVALID_CREDENTIALS:
            return "{0} does not accept the password of {1}".format(server.uri, who)
        if code != _SUCCESS:
            return "{0} does not let {1} in: {2}".format(server.uri, who, _told(code, said))
        code, said = _exchange(safe, _message(3, _search(question.base)))
        if code == _NO_SUCH_OBJECT:
            return "{0} has no {1}, or hides it from {2}".format(server.uri, question.base, who)
        if code != _SUCCESS:
            return "{0} does not search {1}: {2}".format(server.uri, question.base, _told(code, said))
    return ""


def _search(base: str) -> bytes:
    """baseObject, never dereference, one entry, 10 s, no values, (objectClass=*), no attributes."""
    filter_present = _tlv(0x87, b"objectClass")
    attributes = _tlv(0x30, _tlv(0x04, b"1.1"))
    limits = _tlv(0x0A, b"\x00") + _tlv(0x0A, b"\x00") + _tlv(0x02, b"\x01") + _tlv(0x02, b"\x0a") + _tlv(0x01, b"\x00")
    return _tlv(0x63, _tlv(0x04, base.encode("utf-8")) + limits + filter_present + attributes)


def _exchange(door: socket.socket, message: bytes) -> Tuple[int, str]:
    """Send a message and read on to its result: the code and what the server says to it."""
    door.sendall(message)
    while True:
        tag, body = _receive(door)
        if tag != 0x30:
            raise ValueError("no LDAP message, but something else came back")
        parts = _parts(body)
        if len(parts) < 2:
            raise ValueError("a message without an answer came back")
        operation, content = parts[1]
        if operation in (0x64, 0x73):  # an entry, or a reference to another server; the result comes after them
            continue
        result = _parts(content)
        if len(result) < 3 or result[0][0] != 0x0A:
            raise ValueError("an answer without a result came back")
        return int.from_bytes(result[0][1], "big"), result[2][1].decode("utf-8", "replace").strip()


def _receive(door: socket.socket) -> Tuple[int, bytes]:
    head = _read(door, 2)
    length = head[1]
    if length & 0x80:
        length = int.from_bytes(_read(door, length & 0x7F), "big")
    if length > _MOST:
        raise ValueError("a message of {0} bytes was announced".format(length))
    return head[0], _read(door, length)


def _read(door: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = door.recv(count - len(found))
        if not piece:
            raise ValueError("the connection was closed")
        found += piece
    return found


def _parts(data: bytes) -> Sequence[Tuple[int, bytes]]:
    parts: List[Tuple[int, bytes]] = []
    while len(data) >= 2:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        parts.append((tag, data[start:start + length]))
        data = data[start + length:]
    return parts


def _message(number: int, operation: bytes) -> bytes:
    return _tlv(0x30, _tlv(0x02, bytes([number])) + operation)


def _tlv(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < 0x80:
        return bytes([tag, length]) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + value


def _told(code: int, said: str) -> str:
    name = _NAMES.get(code, "result {0}".format(code))
    return "{0} ({1})".format(name, said) if said else name


def _reason(error: ssl.SSLError) -> str:
    verify: Optional[str] = getattr(error, "verify_message", None)
    return verify or getattr(error, "reason", None) or str(error)
