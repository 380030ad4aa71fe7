# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The network of guests, chosen by one word: the host's side and libvirt's agree, and nonsense is refused."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network.guest_network import NETWORKS, plan
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import decide
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import read

from .lab_netplan import host_below, wish


def guest(**interface):
    return {"name": "1gpu-vm", "configured": {"interfaces": [dict({"mac": "52:54:00:01:02:03"}, **interface)]}}


def test_nat_needs_nothing_of_the_host():
    done = plan({"mode": "nat", "mtu": 9000, "nics": ["enp1"], "ranges": [{"start": "192.168.122.2", "end": "192.168.122.9"}]})
    assert not done.netplan and not done.functions
    assert done.libvirt == {"name": "default", "mode": "nat", "address": "192.168.122.1/24", "devices": ["enp1"], "mtu": 9000,
                            "ranges": [{"start": "192.168.122.2", "end": "192.168.122.9"}]}


def test_a_bridge_over_a_bond_with_a_vlan_between():
    done = plan({"mode": "bridge_bond", "nics": ["enp1", "enp2"], "vlan": 430, "mtu": 9000, "addresses": ["10.33.14.17/24"],
                 "gateways": ["10.33.14.1"], "nameservers": ["10.33.14.1"], "search": ["example.com"]})
    assert done.netplan["bonds"]["bond0"] == {"interfaces": ["enp1", "enp2"], "mtu": 9000, "parameters": {"mode": "802.3ad"}}
    assert done.netplan["vlans"] == {"bond0.430": {"id": 430, "link": "bond0", "mtu": 9000}}
    bridge = done.netplan["bridges"]["br0"]
    assert bridge["interfaces"] == ["bond0.430"] and not bridge["dhcp4"] and bridge["routes"] == [{"to": "default", "via": "10.33.14.1"}]
    assert done.libvirt == {"name": "bridged", "mode": "bridge", "bridge": "br0"}


def test_a_vlan_on_an_adapter_with_a_long_name_has_a_short_one():
    assert list(plan({"mode": "bridge", "nics": ["enp134s0f0np0"], "vlan": 4000}).netplan["vlans"]) == ["vlan4000"]


def test_a_bridge_without_addresses_asks_by_dhcp():
    assert plan({"mode": "bridge", "nics": ["enp1"]}).netplan["bridges"]["br0"]["dhcp4"] is True
    assert plan({"mode": "bridge", "nics": ["enp1"], "dhcp": False}).netplan["bridges"]["br0"]["dhcp4"] is False


@pytest.mark.parametrize("mode", ["bridge", "vepa", "private", "passthrough"])
def test_macvtap_in_its_four_modes(mode):
    done = plan({"mode": "macvtap", "nics": ["enp1"], "macvtap_mode": mode, "mtu": 9000})
    assert done.netplan == {"ethernets": {"enp1": {"mtu": 9000}}}
    assert done.libvirt == {"name": "macvtap-net", "mode": "macvtap", "devices": ["enp1"], "macvtap_mode": mode}


def test_virtual_functions_and_their_pool():
    done = plan({"mode": "sriov", "nics": ["enp1"], "vfs": "all", "network": "pool"})
    assert done.functions == [{"device": "enp1", "vfs": "all"}] and done.libvirt == {"name": "pool", "mode": "hostdev", "pf": "enp1"}


def test_a_private_network():
    assert plan({"mode": "private", "address": "192.168.10.1/24"}).libvirt == {"name": "private-net", "mode": "isolated", "address": "192.168.10.1/24"}


@pytest.mark.parametrize("given, said", [
    ({"mode": "bridged"}, "mode is 'bridged'. One of nat, bridge"),
    ({}, "mode is 'None'"),
    ({"mode": "bridge"}, "takes 1 of the host's adapters"),
    ({"mode": "bridge", "nics": ["a", "b"]}, r"are a bond \(mode bridge_bond\)"),
    ({"mode": "bridge_bond", "nics": ["a", "a"]}, "nics has a twice"),
    ({"mode": "private", "nics": ["a"]}, "takes none"),
    ({"mode": "macvtap"}, "takes 1 to 64"),
    ({"mode": "sriov", "nics": ["a"]}, "does not say how many"),
    ({"mode": "nat", "vlan": 5}, "vlan is given, which is for bridge and bridge_bond only; the mode is nat"),
    ({"mode": "bridge_bond", "nics": ["a"], "bond_mode": "802.3ad", "bond_parameters": {"mode": "balance-xor"}}, "Say it once"),
    ({"mode": "bridge", "nics": ["a"], "vlan": 0}, "vlan is 0. A number from 1 to 4094"),
    ({"mode": "bridge", "nics": ["a"], "vlan": "blue"}, "vlan is 'blue'"),
    ({"mode": "bridge", "nics": ["a"], "bond_mode": "802.3ad"}, "bond_mode is given"),
    ({"mode": "bridge", "nics": ["a"], "address": "10.0.0.1/24"}, "address is given, which is for nat and private only"),
    ({"mode": "nat", "mtu": "jumbo"}, "mtu is 'jumbo'"),
    ({"mode": "nat", "mtu": 9}, "from 68 to 65535"),
])
def test_nonsense_is_refused(given, said):
    with pytest.raises(FleetError, match=said):
        plan(given)


@pytest.mark.parametrize("mode, interface", [("nat", {"network": "default"}), ("bridge", {"bridge": "br0"}), ("bridge", {"network": "bridged"}),
                                             ("macvtap", {"dev": "enp1"})])
def test_a_guest_with_another_mtu_stops_the_run(mode, interface):
    given = {"mode": mode, "mtu": 9000, "nics": ["enp1"]}
    with pytest.raises(FleetError, match=r"is to be 9000, but 1gpu-vm \(52:54:00:01:02:03\) has 1500. All of them must agree"):
        plan(given, [guest(mtu=1500, **interface)])
    assert plan(given, [guest(mtu=9000, **interface), guest(mtu=None, **interface), guest(mtu=1500, network="another")])
    with pytest.raises(FleetError, match="1500, since none is given"):
        plan(dict(given, mtu=None), [guest(mtu=9000, **interface)])


@pytest.mark.parametrize("mode", sorted(NETWORKS))
def test_what_is_planned_for_the_host_is_what_netplan_config_takes(tmp_path, mode):
    nics = {"nat": [], "private": [], "bridge_bond": ["enp1", "enp2"]}.get(mode, ["enp1"])
    network = plan({"mode": mode, "nics": nics, "vfs": 2 if mode == "sriov" else None, "mtu": 9000}).netplan
    if network:
        asked = wish(network)
        assert decide(asked, read(asked, host_below(tmp_path)))
