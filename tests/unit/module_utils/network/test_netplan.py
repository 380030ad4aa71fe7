# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""netplan's documents: several files as one, and what is written."""
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan import Document, in_force, merged, spoken_to_values, written
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import Text, checked
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import documents, parse_yaml
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_links import Link, as_named, meant, parse_links

from .lab_netplan import LINKS

# Taken on a Debian 12 machine (iproute2 6.1, QEMU virtio NIC in a bridge), 2026-11-23, and shortened.
IP_ANSWER = """[{"ifname":"lo","flags":["LOOPBACK","UP"],"mtu":65536,"max_mtu":0,"address":"00:00:00:00:00:00",
"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{},
{"ifname":"enp0s3","flags":["BROADCAST","UP"],"mtu":9000,"max_mtu":9000,"master":"br0","address":"52:54:00:d6:01:00","addr_info":[]},
{"ifname":"br0","flags":["UP"],"mtu":9000,"linkinfo":{"info_kind":"bridge","info_data":{}},"address":"f6:fa:0d:a6:2a:6d",
"addr_info":[{"family":"inet","local":"10.9.0.1","prefixlen":24}]}]"""


def test_a_later_file_adds_to_lists_and_replaces_single_values():
    first = Document("/etc/netplan/50-a.yaml", {"ethernets": {"enp1": {"dhcp4": "true", "addresses": ["10.0.0.1/24"], "nameservers": {"search": ["a"]}}}})
    second = Document("/etc/netplan/60-b.yaml", {"ethernets": {"enp1": {"dhcp4": "false", "addresses": ["10.1.0.1/24"], "nameservers": {"search": ["b"]}}}})
    one = merged([first, second])["enp1"]
    assert (one.dhcp, one.addresses, one.files) == (False, ("10.0.0.1/24", "10.1.0.1/24"), (first.path, second.path))
    assert one.settings["nameservers"]["search"] == ["a", "b"]


def test_a_file_in_run_hides_one_of_the_same_name_in_etc_and_that_one_in_lib():
    places = [("lib", "a.yaml"), ("etc", "a.yaml"), ("run", "b.yaml"), ("etc", "b.yaml")]
    documents = [Document("/{0}/netplan/{1}".format(place, name), {}) for place, name in places]
    assert [document.path for document in in_force(documents)] == ["/etc/netplan/a.yaml", "/run/netplan/b.yaml"]


def test_a_name_that_is_two_things_is_refused_with_both_places():
    documents = [Document("/etc/netplan/a.yaml", {"ethernets": {"br0": {}}}), Document("/etc/netplan/b.yaml", {"bridges": {"br0": {}}})]
    with pytest.raises(FleetError, match="br0 is one of the ethernets in /etc/netplan/a.yaml and one of the bridges in /etc/netplan/b.yaml"):
        merged(documents)


def test_what_is_written_is_the_same_whatever_the_order_it_was_said_in():
    left = {"bridges": {"br1": {}, "br0": {"mtu": 9000, "addresses": ["10.0.0.1/24"]}}, "bonds": {"bond0": {"interfaces": ["a", "b"]}}}
    right = {"bonds": {"bond0": {"interfaces": ["a", "b"]}}, "bridges": {"br0": {"addresses": ["10.0.0.1/24"], "mtu": 9000}, "br1": {}}}
    assert written(left) == written(right)


def test_templates_make_text_of_everything_and_the_file_is_the_same():
    assert spoken_to_values({"mtu": "9000", "dhcp4": "True", "id": "7"}) == {"mtu": 9000, "dhcp4": True, "id": 7}


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters=u"\ufeff\x85\ufffe\uffff"), max_size=12)
SCALARS = st.one_of(TEXTS, st.integers(0, 9999), st.booleans())
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(TEXTS.filter(bool), SCALARS, max_size=3))
SETTINGS = st.dictionaries(TEXTS.filter(bool), VALUES, max_size=4)


def _as_text(value):
    if isinstance(value, dict):
        return {str(key): _as_text(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_as_text(entry) for entry in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


@settings(deadline=None, max_examples=40)  # a Python without PyYAML starts another for each
@given(st.dictionaries(TEXTS.filter(bool), SETTINGS, min_size=1, max_size=3))
def test_what_is_written_is_read_back_as_it_was_meant(entries):
    found = parse_yaml({"a": written({"ethernets": entries})}, Commands())
    assert found["a"]["network"]["ethernets"] == _as_text(entries)


def test_routes_and_flow_lists_are_read_back_too():
    network = {"ethernets": {"enp1": {"routes": [{"to": "default", "via": "fe80::1"}, {"to": "10.0.0.0/8", "via": "10.0.0.1", "on-link": True}]}}}
    found = parse_yaml({"/etc/netplan/a.yaml": written(network)}, Commands())
    assert found["/etc/netplan/a.yaml"]["network"]["ethernets"] == json.loads(json.dumps(_as_text(network["ethernets"])))


def test_a_mac_address_in_a_file_is_no_number():
    assert parse_yaml({"a": "macaddress: 52:54:00:12:34:56"}, Commands()) == {"a": {"macaddress": "52:54:00:12:34:56"}}


def test_a_file_that_is_no_yaml_is_named():
    with pytest.raises(FleetError, match="/etc/netplan/a.yaml cannot be read as YAML"):
        parse_yaml({"/etc/netplan/a.yaml": "network: {"}, Commands())


@pytest.mark.parametrize("text", ["just words", "network: [1]", "- network"])
def test_a_file_without_settings_is_named(text):
    with pytest.raises(FleetError, match="/etc/netplan/a.yaml has no settings below"):
        documents({"/etc/netplan/a.yaml": Text(text)}, Commands())


def test_an_empty_file_says_nothing():
    assert documents({"/etc/netplan/a.yaml": Text("# nothing\n")}, Commands()) == [Document("/etc/netplan/a.yaml", {})]


def test_links_are_read_with_what_lies_on_them(tmp_path):
    (tmp_path / "class/net/enp0s3/device").mkdir(parents=True)
    (tmp_path / "class/net/enp0s3/device/sriov_totalvfs").write_text("7\n")
    links = parse_links(IP_ANSWER, str(tmp_path))
    assert (links["enp0s3"].master, links["enp0s3"].mtu, links["enp0s3"].max_vfs) == ("br0", 9000, 7)
    assert (links["br0"].kind, links["br0"].addresses) == ("bridge", ("10.9.0.1/24",))


def test_virtual_functions_that_guests_have_are_seen(tmp_path):
    for number, driver in enumerate(("igbvf", "vfio-pci")):
        function, place = tmp_path / "devices" / "0000:21:10.{0}".format(2 * number), tmp_path / "class/net/enp0s3/device"
        for directory in (function, tmp_path / "drivers" / driver, place):
            directory.mkdir(parents=True, exist_ok=True)
        (function / "driver").symlink_to(tmp_path / "drivers" / driver)
        (place / "virtfn{0}".format(number)).symlink_to(function)
    assert parse_links(IP_ANSWER, str(tmp_path))["enp0s3"].handed_out == ("0000:21:10.2",)


def test_an_iproute2_without_json_is_told():
    with pytest.raises(FleetError, match=r"iproute2 4\.15 or newer"):
        parse_links("1: lo: <LOOPBACK>")


@pytest.mark.parametrize("settings, names", [
    ({}, []),
    ({"match": {"name": "enp*"}}, ["enp1", "enp2"]),
    ({"match": {"macaddress": "52:54:00:D6:01:01"}}, ["enp2"]),
    ({"match": {"macaddress": "52:54:00:d6:01:01"}, "set-name": "lan0"}, ["lan0"]),
    ({"match": {"driver": "mlx*", "name": "enp1"}}, ["enp1"]),
    ({"match": {"driver": ["igb", "e1000"]}}, ["mgmt0"]),
    ({"match": {}}, ["enp1", "enp2", "mgmt0"]),
    ({"match": {"name": "eno*"}}, []),
])
def test_a_match_means_adapters_of_this_host(settings, names):
    one = merged([Document("/etc/netplan/a.yaml", {"ethernets": {"ports": settings}})])["ports"]
    assert meant(one, LINKS) == names


def test_links_are_known_by_the_names_that_they_get():
    def ethernets(**entries):
        return merged([Document("/etc/netplan/a.yaml", {"ethernets": {
            name: {"match": {"macaddress": LINKS[link].mac}, "set-name": wanted} for name, (link, wanted) in entries.items()}})])

    links = dict(LINKS, vlan7=Link("vlan7", kind="vlan", lower="mgmt0"))
    named = as_named(ethernets(a=("mgmt0", "lan0")), links)
    assert sorted(named) == ["enp1", "enp2", "lan0", "lo", "vlan7"]
    assert named["lan0"] == LINKS["mgmt0"]._replace(name="lan0") and named["vlan7"].lower == "lan0"
    swapped = as_named(ethernets(a=("mgmt0", "enp2"), b=("enp2", "mgmt0")), links)
    assert swapped["enp2"].mac == LINKS["mgmt0"].mac and swapped["mgmt0"].mac == LINKS["enp2"].mac
    assert as_named(ethernets(a=("mgmt0", "enp1"), b=("enp2", "mgmt0")), links) == links  # enp1 keeps its name, so nobody gets another


@pytest.mark.parametrize("told, mac", [
    ({"permaddr": "52:54:00:d6:01:01"}, "52:54:00:d6:01:01"),
    ({"linkinfo": {"info_slave_kind": "bond", "info_slave_data": {"perm_hwaddr": "52:54:00:d6:01:01"}}}, "52:54:00:d6:01:01"),
    ({}, "52:54:00:d6:01:00"),
])
def test_a_member_of_a_bond_is_known_by_the_mac_address_it_was_made_with(told, mac):
    entry = dict({"ifname": "enp2", "address": "52:54:00:d6:01:00", "master": "bond0"}, **told)
    link = parse_links(json.dumps([entry]))["enp2"]
    assert (link.mac, link.kind) == (mac, "")


def test_a_port_of_an_infiniband_adapter_is_hardware_and_a_partition_on_it_is_not():
    answer = [{"ifname": "ib0", "linkinfo": {"info_kind": "ipoib"}}, {"ifname": "ib0.8001", "link": "ib0", "linkinfo": {"info_kind": "ipoib"}}]
    links = parse_links(json.dumps(answer))
    assert (links["ib0"].kind, links["ib0.8001"].kind) == ("", "ipoib")


@pytest.mark.parametrize("settings", [{}, {"match": {"name": "enx*"}}])
def test_an_adapter_is_meant_by_its_other_names_too(settings):
    """As networkd takes them: the file of another name for an adapter speaks of the same adapter."""
    links = parse_links(json.dumps([{"ifname": "eno1", "altnames": ["enp1s0", "enx525400d60100"]}]))
    one = merged([Document("/etc/netplan/a.yaml", {"ethernets": {"enp1s0": settings}})])["enp1s0"]
    assert meant(one, links) == ["eno1"]


def test_a_key_that_is_there_twice_counts_both_times_as_it_does_for_netplan():
    text = ("network:\n  ethernets:\n    enp1: &one {addresses: [10.0.0.1/24], mtu: 1500}\n    enp3: *one\n"
            "  ethernets:\n    enp1: {addresses: [10.0.1.1/24], mtu: 9000}\n    enp2: {dhcp4: yes}\n")
    (document,) = documents({"/etc/netplan/a.yaml": Text(text)}, Commands())
    assert document.network["ethernets"] == {
        "enp1": {"addresses": ["10.0.0.1/24", "10.0.1.1/24"], "mtu": "9000"}, "enp2": {"dhcp4": "yes"},
        "enp3": {"addresses": ["10.0.0.1/24"], "mtu": "1500"},
    }


@pytest.mark.parametrize("text", [
    "network: &a\n  ethernets: *a\n", "network:\n  {[a]: b}\n", "network:\n\tethernets: {}\n", "network: \udcff\n", "a: 1\n---\nb: 2\n",
])
def test_yaml_that_netplan_could_not_read_is_told(text):
    with pytest.raises(FleetError, match="cannot be read as YAML"):
        documents({"/etc/netplan/a.yaml": Text(text)}, Commands())


def test_the_systems_python_reads_yaml_where_ours_cannot(monkeypatch):
    text = "network:\n  ethernets: {enp1: {dhcp4: yes}}\n  ethernets: {enp2: {macaddress: 11:22:33:44:55:66}}\n"
    here = documents({"/etc/netplan/a.yaml": Text(text)}, Commands())
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert documents({"/etc/netplan/a.yaml": Text(text)}, Commands()) == here


def test_null_is_not_said():
    network = {"bonds": {"bond0": {"interfaces": ["enp1"], "parameters": {"mode": "802.3ad", "lacp-rate": None}, "mtu": None}}}
    assert checked(network) == {"bonds": {"bond0": {"interfaces": ["enp1"], "parameters": {"mode": "802.3ad"}}}}
