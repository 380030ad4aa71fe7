# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filters ssh_tunnels and ssh_addresses, with their errors for bad input."""
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter.ssh_addresses import ssh_addresses
from ansible_collections.dgxops.fleet.plugins.filter.ssh_tunnels import ssh_tunnels

HOSTVARS = {
    "dgx01": {"ansible_host": "10.0.0.1", "ansible_port": 2022}, "dgx02": {"ansible_host": "container", "ssh_tunnel_address": "dgx02.example.com"}, "dgx03": {},
}


def test_from_an_inventory_to_what_alice_gets():
    nodes = ssh_addresses(["dgx01", "dgx02", "dgx03", "login.example.com"], HOSTVARS)
    assert [node["address"] for node in nodes] == ["10.0.0.1", "dgx02.example.com", "dgx03", "login.example.com"]
    assert [node["port"] for node in nodes] == [2022, 22, 22, 22]
    planned = ssh_tunnels(["alice"], nodes, kept={"bob": 0})
    assert planned["ports"] == {"alice": {"notebook": 5001, "vnc": 5902, "vnc-web": 6902}}
    assert planned["slots"] == {"bob": 0, "alice": 1}
    assert "Port 2022" in planned["ssh_config"]["alice"] and "tunnel-dgx03" in planned["putty"]["alice"]


def test_slips_are_answered_in_words():
    with pytest.raises(AnsibleFilterError, match="ssh_tunnels: users is None, but a list"):
        ssh_tunnels(None, ["dgx01"])
    with pytest.raises(AnsibleFilterError, match="a list of names and hostvars are expected, but 'dgx01'"):
        ssh_addresses("dgx01", HOSTVARS)
