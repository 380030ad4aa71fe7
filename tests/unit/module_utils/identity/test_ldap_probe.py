# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A server is asked before a node is pointed at it. TLS itself is tried against slapd in the scenario ldap_client; here its sockets are plain."""
import socket
import ssl
import threading
from unittest import mock

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.identity import ldap_probe
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.ldap_probe import Question, Server, ask

QUESTION = Question("PEM", "", "cn=nodes", "hush", "dc=example", 2.0)


def result(tag, code, said=""):
    body = ldap_probe._tlv(0x0A, bytes([code])) + ldap_probe._tlv(0x04, b"") + ldap_probe._tlv(0x04, said.encode())
    return ldap_probe._message(1, ldap_probe._tlv(tag, body))


ENTRY = ldap_probe._message(3, ldap_probe._tlv(0x64, ldap_probe._tlv(0x04, b"dc=example" * 30) + ldap_probe._tlv(0x30, b"")))
TLS, BOUND, DONE = result(0x78, 0), result(0x61, 0), ENTRY + result(0x65, 0)


class Context:
    def __init__(self, error=None):
        self.error = error

    def wrap_socket(self, door, server_hostname):
        if self.error:
            raise self.error
        return door


def answer(replies, ldaps=False, error=None, question=QUESTION):
    """What is made of a server that sends these replies, one for each message."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(1)
    heard = []

    def serve():
        with door, door.accept()[0] as line:
            for reply in replies:
                heard.append(line.recv(4096))
                line.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    with mock.patch.object(ssl, "create_default_context", lambda **_authorities: Context(error)):
        found = ask(Server("127.0.0.1", door.getsockname()[1], ldaps), question)
    thread.join(5)
    return found, heard


def test_a_server_that_answers_everything_is_fine():
    found, heard = answer([TLS, BOUND, DONE])
    assert (found.reached, found.problem) == (True, "")
    assert ldap_probe.STARTTLS.encode() in heard[0] and b"hush" not in heard[0]
    assert b"cn=nodes" in heard[1] and b"hush" in heard[1] and b"dc=example" in heard[2]


def test_with_ldaps_nothing_is_said_before_tls():
    found, heard = answer([BOUND, DONE], ldaps=True)
    assert found.problem == "" and ldap_probe.STARTTLS.encode() not in b"".join(heard)


@pytest.mark.parametrize("replies, said", [
    ([result(0x78, 2, "unsupported extended operation")], "offers no StartTLS: protocolError (unsupported extended operation)"),
    ([TLS, result(0x61, 49)], "does not accept the password of cn=nodes"),
    ([TLS, result(0x61, 48, "anonymous bind disallowed")], "does not let cn=nodes in: inappropriateAuthentication (anonymous bind disallowed)"),
    ([TLS, BOUND, result(0x65, 32)], "has no dc=example, or hides it from cn=nodes"),
    ([TLS, BOUND, result(0x65, 99)], "does not search dc=example: result 99"),
])
def test_a_server_that_will_not_do_says_why(replies, said):
    found, _heard = answer(replies)
    assert found.reached and said in found.problem and "hush" not in found.problem


@pytest.mark.parametrize("error", [ssl.SSLError(1, "certificate verify failed"), ssl.CertificateError("hostname 'a' doesn't match 'b'")])
def test_a_certificate_that_nobody_vouches_for_ends_the_conversation_before_the_password(error):
    found, heard = answer([TLS], error=error)
    assert found.reached and "is not to be trusted" in found.problem
    assert b"hush" not in b"".join(heard)


@pytest.mark.parametrize("replies", [[b"HTTP/1.1 400 Bad Request\r\n\r\n"], [b"\x30\x84\xff\xff\xff\xff"], [b"\x30\x02\x02\x00"], [b""], []])
def test_what_is_no_ldap_server_is_told_and_never_a_traceback(replies):
    found, _heard = answer(replies)
    assert not found.reached and found.problem


def test_nobody_at_home():
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    port = door.getsockname()[1]
    door.close()
    assert "does not answer" in ask(Server("127.0.0.1", port, False), QUESTION).problem
    assert ask(Server("no-such-host.invalid", 389, False), QUESTION).problem.startswith("ldap://no-such-host.invalid does not answer")


def test_addresses_of_servers_are_written_as_sssd_reads_them():
    servers = (Server("a", 389, False), Server("a", 636, True), Server("::1", 1636, True))
    assert [server.uri for server in servers] == ["ldap://a", "ldaps://a", "ldaps://[::1]:1636"]
