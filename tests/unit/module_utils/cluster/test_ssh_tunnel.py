# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who has which port, whatever happens to the list of users, and what ssh and PuTTY are told."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.ssh_include import add, line_in, take_away
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.ssh_tunnel import plan, putty_removal, putty_sessions, ssh_config
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

HEAD = {"name": "head01", "address": "head.example.com", "port": 2222}


def ports(tunnels):
    return {user.name: tunnels.ports(user) for user in tunnels.users}


def test_one_user_has_the_ports_of_the_document_and_the_next_those_beside_them():
    assert ports(plan(["alice", "bob"], ["dgx01"])) == {
        "alice": {"notebook": 5000, "vnc": 5901, "vnc-web": 6901}, "bob": {"notebook": 5001, "vnc": 5902, "vnc-web": 6902}}


def test_a_user_who_comes_first_in_the_list_moves_nobody():
    before = plan(["alice", "bob"], ["dgx01"])
    after = plan(["aaron", "alice", "bob"], ["dgx01"], kept=before.slots)
    assert after.slots == {"alice": 0, "bob": 1, "aaron": 2}


def test_who_follows_a_user_who_left_does_not_inherit_his_ports():
    after = plan(["carol"], ["dgx01"], kept={"alice": 0, "bob": 1})
    assert after.slots == {"alice": 0, "bob": 1, "carol": 2}
    back = plan(["alice", "carol"], ["dgx01"], kept=after.slots)
    assert ports(back)["alice"]["notebook"] == 5000


NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), unique=True, min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES, st.data())
def test_whatever_the_lists_nobody_moves_and_no_two_meet(first, second, data):
    services = [{"name": "a", "port": 5000}, {"name": "b", "port": data.draw(st.integers(5013, 5100)), "local_port": data.draw(st.integers(6000, 6100))},
                {"name": "all", "port": data.draw(st.integers(5001, 5010)), "per_user": False}]
    try:
        before = plan(first, ["dgx01"], services)
        after = plan(second, ["dgx01"], services, kept=before.slots)
    except FleetError as error:
        assert "no free slot" in error.message
        return
    assert all(after.slots[name] == slot for name, slot in before.slots.items())
    for tunnels in (before, after):
        for side in (0, 2):
            own = [forward[side] for user in tunnels.users for forward in tunnels.forwards(user)[:2]]
            assert len(set(own)) == len(own)
            assert not set(own) & {forward[side] for user in tunnels.users for forward in tunnels.forwards(user)[2:]}


def test_reserved_and_shared_ports_are_stepped_over():
    services = [{"name": "notebook", "port": 5000}, {"name": "board", "port": 5002, "per_user": False}]
    tunnels = plan(["alice", "bob", "carol"], ["dgx01"], services, reserved=[5001])
    assert {name: own["notebook"] for name, own in ports(tunnels).items()} == {"alice": 5000, "bob": 5003, "carol": 5004}
    assert {own["board"] for own in ports(tunnels).values()} == {5002}


@pytest.mark.parametrize(("users", "options", "said"), [
    ([{"name": "a", "slot": 3}, {"name": "b", "slot": 3}], {}, "User b cannot have slot 3: a has it. Slot 0 is free."),
    ([{"name": "a", "slot": 901}], {}, "there are 901 slots, 0 to 900"),
    ([{"name": "a", "slot": 1}], {"reserved": [5902]}, "the port 5902 of vnc is reserved"),
    (["b", {"name": "a", "slot": 0}], {"kept": {"b": 0}}, "User b has had slot 0 so far, but a has it. Say slot: 1 for b"),
    (["a"], {"kept": {"a": "x"}}, "the slot kept for a is 'x', but a number"),
    (["a", "a"], {}, "users names a twice"),
    (["a b"], {}, "users.name is 'a b'"),
    (["a\nHost *"], {}, "which ssh and PuTTY could not read back"),
    ([{"name": "a", "uid": 5}], {}, "'uid' in users[a] is not known. There are name, login, account, slot."),
    ([{"login": "a"}], {}, "An entry of users has no name"),
    ([7], {}, "An entry of users is 7, but a dictionary with name"),
    ("alice", {}, "users is 'alice', but a list"),
    ([{"name": "a", "login": "-oProxyCommand=x"}], {}, "users[a].login is '-oProxyCommand=x'"),
    (["a"], {"services": []}, "services is empty"),
    (["a"], {"services": [{"name": "x", "port": 5000}, {"name": "y", "port": 5000}]}, "The services x and y both have port 5000 on the users' machines"),
    (["a"], {"services": [{"name": "x", "port": 5000}, {"name": "y", "port": 5000, "local_port": 5100}]}, "both have port 5000 on the nodes"),
    (["a"], {"services": [{"name": "x", "port": 80}]}, "services[x].local_port is 80, but a number from 1024"),
    (["a"], {"services": [{"name": "x", "port": 65536}]}, "services[x].port is 65536"),
    (["a"], {"services": [{"name": "x", "port": True}]}, "services[x].port is True"),
    (["a"], {"services": [{"name": "x", "port": 5000, "per_user": "no"}]}, "services[x].per_user is 'no'"),
    (["a"], {"services": [{"name": "x", "port": 5000, "address": "a b"}]}, "services[x].address"),
    (["a"], {"services": [{"name": "x", "port": 5000}, {"name": "y", "port": 5001}], "kept": {"gone": 0}}, "There is no free slot for user a"),
    (["a"], {"jump": {"address": "x"}}, "An entry of jump has no name"),
    (["a"], {"jump": "head01", "nodes": ["jump"]}, "A node is called jump"),
    (["a"], {"nodes": [{"name": "dgx01", "address": "%h"}]}, "nodes[dgx01].address is '%h'"),
    (["a"], {"nodes": [{"name": "dgx01", "port": 0}, "dgx01"]}, "nodes names dgx01 twice"),
    (["a"], {"nodes": [{"name": "*"}]}, "nodes.name is '*'"),
    (["a"], {"prefix": "my tunnel"}, "prefix is 'my tunnel'"),
])
def test_what_cannot_be_is_refused_in_words(users, options, said):
    with pytest.raises(FleetError) as refused:
        plan(users, **dict({"nodes": ["dgx01"]}, **options))
    assert said in refused.value.message


def test_ssh_is_told_the_way_through_the_head_node_and_not_for_the_head_node_itself():
    nodes = [{"name": "dgx01", "address": "10.0.0.1"}, {"name": "head01", "address": "head.example.com"}]
    tunnels = plan([{"name": "alice", "login": "al", "slot": 4}], nodes, jump=HEAD)
    blocks = {block.split("\n")[0]: block for block in ssh_config(tunnels, tunnels.users[0]).split("\nHost ")[1:]}
    assert blocks["tunnel-jump"].splitlines()[1:] == ["    HostName head.example.com", "    Port 2222", "    User al"]
    assert "    ProxyJump tunnel-jump\n    LocalForward 127.0.0.1:5004 localhost:5004\n" in blocks["tunnel-dgx01"]
    assert "ProxyJump" not in blocks["tunnel-head01"]
    assert "    ExitOnForwardFailure yes\n" in blocks["tunnel-head01"]


def test_an_ipv6_address_is_written_as_each_reads_it():
    tunnels = plan(["alice"], [{"name": "dgx01", "address": "2001:db8::1"}], [{"name": "web", "port": 8888, "local_port": 9999, "address": "::1"}])
    assert "    HostName 2001:db8::1\n" in ssh_config(tunnels, tunnels.users[0])
    assert "    LocalForward 127.0.0.1:9999 [::1]:8888\n" in ssh_config(tunnels, tunnels.users[0])
    assert '"PortForwardings"="L9999=[::1]:8888"\r\n' in putty_sessions(tunnels, tunnels.users[0])


def test_putty_has_a_session_for_each_node_and_a_file_that_removes_them():
    tunnels = plan([{"name": "alice", "login": "LAB\\alice"}], ["dgx01"], jump=HEAD)
    text = putty_sessions(tunnels, tunnels.users[0])
    assert text.startswith("Windows Registry Editor Version 5.00\r\n\r\n[HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\Sessions\\tunnel-dgx01]\r\n")
    assert '"UserName"="LAB\\\\alice"\r\n' in text
    assert '"ProxyMethod"=dword:00000006\r\n"ProxyHost"="head.example.com"\r\n"ProxyPort"=dword:000008ae\r\n' in text
    assert "\r\n[-HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\Sessions\\tunnel-dgx01]\r\n" in putty_removal(tunnels)
    assert "\n" not in text.replace("\r\n", "")


TEXTS = st.none() | st.text(st.sampled_from("Host *\n\r#Include ä"), max_size=40)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_the_users_configuration_comes_back_byte_by_byte(text, later, directory):
    ours = add(text, "/etc/x/alice/ssh_config", directory or text is not None)
    assert ours.split("\n")[1] == "Include /etc/x/alice/ssh_config"
    assert add(ours, "/etc/x/alice/ssh_config") == ours
    moved = add(ours, "/opt/x")
    assert line_in(moved) == "Include /opt/x"
    assert take_away(moved) == (text, text is None and not directory)
    if later:
        assert take_away(moved + later).text == (text or "") + later


def test_a_line_of_ours_is_found_wherever_the_user_moved_it():
    ours = add("Host a\n", "/x")
    assert take_away("User me\n" + ours) == ("User me\nHost a\n", False)
    assert take_away("Include /x\n") == ("Include /x\n", False)
    assert take_away(None) == (None, False)
