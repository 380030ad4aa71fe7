# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node joins a domain and leaves it, on a node whose adcli is played; and what a play may say about it."""
import os
import struct

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.identity import sssd
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.ad import KEYTAB, AdWish, Departure, Membership, accounts_in
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.node import carry_out, read
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.state import decide, decide_return

from .lab_identity import Node


def entry(*words):
    """A key in MIT's format: realm and components, a name type, a time, a version and a key of DES."""
    body = struct.pack(">H", len(words) - 1) + b"".join(struct.pack(">H", len(word)) + word.encode() for word in words)
    body += struct.pack(">IIBHH", 1, 0, 1, 1, 8) + b"12345678"
    return struct.pack(">i", len(body)) + body


HOLE = struct.pack(">i", -6) + b"\0" * 6
MEMBER = b"\x05\x02" + entry("LAB.EXAMPLE", "DGX01$") + HOLE + entry("LAB.EXAMPLE", "host", "dgx01.lab.example")
NFS = b"\x05\x02" + entry("OTHER.EXAMPLE", "nfs", "dgx01.other.example")


class DomainNode(Node):
    """Its domain lets in who says ``right``; its accounts are in ``computers``."""

    def __init__(self, root, **options):
        super().__init__(root, **options)
        self.computers = set()
        self.passwords = []

    def run(self, argv, timeout=None, text_in=None):
        if argv[0] != "adcli":
            return super().run(argv, timeout, text_in)
        self.asked.append(" ".join(argv))
        self.passwords.append(text_in)
        if text_in != "right":
            return Result(2, "", "! Couldn't authenticate as: Administrator@LAB.EXAMPLE: Preauthentication failed for {0}\n".format(text_in))
        if argv[1] == "join":
            self.computers.add("DGX01")
            with open(self.path(KEYTAB), "wb") as handle:
                handle.write(MEMBER)
        else:
            self.computers.discard(argv[-1])
        return Result(0, "", "")


def wish(**options):
    params = {name: option.get("default") for name, option in sssd.ARGUMENTS.items()}
    params.update(domain="Lab.Example", servers=[], computer_name=None, computer_ou=None, id_mapping=True, qualified_names=False, gpo="enforcing")
    params.update(options)
    return AdWish.from_params(params, "dgx01.lab.example")


def settings(**options):
    text = wish(**options).wish.files[0].text
    return dict(line.split(" = ", 1) for line in text[text.index("[domain/"):].splitlines() if " = " in line)


def join(node, password="right", **options):
    wanted = wish(**options)
    membership = Membership("Administrator", password, wanted)
    change = decide(wanted.wish, read(wanted.wish, node.host, membership))
    carry_out(change, node.host, ["alice"], membership, wait=0)
    return change


def leave(node, password="right"):
    departure = Departure("Administrator", password)
    change = decide_return("ad", read(None, node.host, departure))
    carry_out(change, node.host, (), departure)
    return change, departure.left_behind


@pytest.fixture
def node(tmp_path):
    return DomainNode(tmp_path)


def test_a_node_joins_once_and_leaves_as_it_was(node):
    before = node.everything()
    change = join(node)
    assert change.install == ["adcli", "libnss-sss", "libpam-sss", "sssd-ad"]
    assert "member of: LAB.EXAMPLE" in change.diffs[-1].after
    assert not join(node, password="")
    assert leave(node)[1] == "" and node.computers == set()
    assert node.everything() == before
    assert not leave(node)[0]


def test_the_password_goes_by_a_pipe_only(node):
    join(node)
    leave(node)
    assert node.passwords == ["right", "right"] and not any("right" in said for said in node.asked)


@pytest.mark.parametrize("password, said", [
    ("wrong word", "adcli could not join lab.example as Administrator.*given back as it was"),
    ("", "not a member of lab.example yet"),
])
def test_a_node_that_is_not_let_in_is_as_it_was(node, password, said):
    before = node.everything()
    with pytest.raises(FleetError, match=said) as refusal:
        join(node, password)
    assert "wrong word" not in refusal.value.message
    assert node.everything() == before


def test_a_node_that_joins_and_then_fails_is_no_member_either(node):
    node.users = set()
    before = node.everything()
    with pytest.raises(FleetError, match="alice is not known"):
        join(node)
    assert node.everything() == before and node.computers == set()


def test_keys_of_other_services_come_back_with_their_mode(node):
    with open(node.path(KEYTAB), "wb") as handle:
        handle.write(NFS)
    os.chmod(node.path(KEYTAB), 0o640)
    join(node)
    leave(node)
    with open(node.path(KEYTAB), "rb") as handle:
        assert handle.read() == NFS
    assert os.stat(node.path(KEYTAB)).st_mode & 0o777 == 0o640


def test_without_a_password_the_node_forgets_the_domain_and_tells_what_is_left_there(node):
    before = node.everything()
    join(node)
    assert leave(node, "")[1] == "DGX01 in lab.example"
    assert node.computers == {"DGX01"} and node.everything() == before


def test_a_wrong_password_for_leaving_changes_nothing(node):
    join(node)
    state = node.everything()
    with pytest.raises(FleetError, match="could not delete its account in lab.example"):
        leave(node, "wrong")
    assert node.everything()[1:] == state[1:] and node.read("etc/nsswitch.conf") == state[0]["etc/nsswitch.conf"][0]
    leave(node)


def test_a_member_of_another_domain_is_refused_unless_it_may_be_put_aside(node):
    with open(node.path(KEYTAB), "wb") as handle:
        handle.write(b"\x05\x02" + entry("OLD.EXAMPLE", "DGX01$"))
    with pytest.raises(FleetError, match="membership in OLD.EXAMPLE"):
        join(node)
    join(node, conflicts="replace")
    leave(node)
    assert accounts_in(node.path(KEYTAB)) == [("DGX01$", "OLD.EXAMPLE")]


@pytest.mark.parametrize("options, key, value", [
    ({}, "ad_domain", "lab.example"),
    ({}, "krb5_realm", "LAB.EXAMPLE"),
    ({}, "ldap_sasl_authid", "DGX01$"),
    ({"computer_name": "gpu-7"}, "ldap_sasl_authid", "GPU-7$"),
    ({}, "access_provider", "ad"),
    ({"allowed_groups": ["dgx-users"]}, "access_provider", "simple"),
    ({"access_filter": "(memberOf=CN=dgx)"}, "ad_access_filter", "(memberOf=CN=dgx)"),
    ({"id_mapping": False}, "ldap_id_mapping", "false"),
    ({"servers": ["dc1.lab.example", "dc2.lab.example"]}, "ad_server", "dc1.lab.example, dc2.lab.example"),
    ({}, "fallback_homedir", "/home/%u"),
])
def test_an_option_becomes_the_setting_it_means(options, key, value):
    assert settings(**options)[key] == value


@pytest.mark.parametrize("options, said", [
    ({"domain": None}, "domain is None"),
    ({"domain": "LAB"}, "DNS name of a domain"),
    ({"domain": "lab.example --help"}, "DNS name of a domain"),
    ({"computer_name": "a-name-that-is-too-long"}, "at most 15 letters"),
    ({"computer_ou": "DGX"}, "organizational unit"),
    ({"servers": ["ldap://dc1"]}, "servers has"),
    ({"access_filter": "(a=b)", "allowed_users": ["alice"]}, "sssd goes by one of them"),
    ({"settings": {"ad_domain": "other"}}, "decides already"),
])
def test_what_could_not_work_is_refused(options, said):
    with pytest.raises(FleetError) as refusal:
        wish(**options)
    assert said in refusal.value.message


@pytest.mark.parametrize("login", ["-x", "", "LAB\\joiner", "a b"])
def test_a_login_that_adcli_would_take_for_something_else_is_refused(node, login):
    wanted = wish()
    with pytest.raises(FleetError, match="join_user"):
        Membership(login, "right", wanted).change(node.host, "LAB.EXAMPLE")


@pytest.mark.parametrize("data", [b"", b"\x05", b"\x05\x02\x00\x00\x00\xff\x00", b"\x05\x01" + MEMBER[2:], b"garbage" * 9])
def test_keys_that_cannot_be_read_are_of_nobody(tmp_path, data):
    (tmp_path / "keytab").write_bytes(data)
    assert accounts_in(str(tmp_path / "keytab")) == []
