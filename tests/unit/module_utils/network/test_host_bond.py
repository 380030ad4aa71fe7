# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's adapters as one, as the document has it and as netplan says it."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network.host_bond import bond_network
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import decide
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import read

from .lab_netplan import host_below, wish


def test_the_example_of_the_document(tmp_path):
    """Section 8.1.3: em1 and em2, mode 4, VLAN 430."""
    network = bond_network({"nics": ["enp1", "enp2"], "mode": 4, "vlan": 430, "addresses": ["172.16.1.11/24"], "nameservers": ["172.16.1.254"],
                            "search": ["company.net"], "gateways": ["172.16.1.254"], "mtu": 9000})
    assert network == {
        "bonds": {"bond0": {"interfaces": ["enp1", "enp2"], "parameters": {"mode": "802.3ad"}, "mtu": 9000}},
        "vlans": {"bond0.430": {
            "id": 430, "link": "bond0", "mtu": 9000, "dhcp4": False, "addresses": ["172.16.1.11/24"], "routes": [{"to": "default", "via": "172.16.1.254"}],
            "nameservers": {"addresses": ["172.16.1.254"], "search": ["company.net"]},
        }},
    }
    asked = wish(network, replaces=["50-installer.yaml"])
    text = decide(asked, read(asked, host_below(tmp_path))).files[asked.path].text
    assert "mii-monitor-interval: 100" in text  # the document's bond-miimon


def test_without_a_vlan_the_bond_itself_has_the_address():
    assert bond_network({"nics": ["a", "b"]})["bonds"]["bond0"] == {"interfaces": ["a", "b"], "parameters": {"mode": "802.3ad"}, "dhcp4": True}


@pytest.mark.parametrize("said, meant", [(0, "balance-rr"), ("1", "active-backup"), (6, "balance-alb"), ("balance-xor", "balance-xor")])
def test_modes_by_number_as_in_etc_network_interfaces(said, meant):
    assert bond_network({"nics": ["a"], "mode": said or "0"})["bonds"]["bond0"]["parameters"]["mode"] == meant


@pytest.mark.parametrize("given, said", [
    ({}, "nics is empty"),
    ({"nics": ["a"], "mode": 7}, "mode is '7'"),
    ({"nics": ["a"], "mode": "lacp"}, "or its number from 0 to 6"),
    ({"nics": ["a"], "parameters": {"mode": "active-backup"}}, "The mode of the bond is '802.3ad', but its parameters say 'active-backup'"),
    ({"nics": ["a"], "vlan": 4095}, "vlan is 4095. A number from 1 to 4094"),
    ({"nics": ["a"], "vlan": "blue"}, "vlan is 'blue'"),
])
def test_nonsense_is_refused(given, said):
    with pytest.raises(FleetError, match=said):
        bond_network(given)
