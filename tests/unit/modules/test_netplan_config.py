# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules netplan_config and netplan_apply as a playbook meets them, on a host whose ip, netplan and systemd are played."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import Host
from ansible_collections.dgxops.fleet.plugins.modules import netplan_apply, netplan_config
from ansible_collections.dgxops.fleet.tests.unit.module_utils.network.lab_netplan import BOND, BRIDGE, NetHost, host_below

from .run_module import run_module

NETWORK = {"bonds": {"bond0": BOND}, "bridges": {"br0": BRIDGE}}


@pytest.fixture
def host(tmp_path, monkeypatch):
    played = host_below(tmp_path, NetHost())
    for module in (netplan_config, netplan_apply):
        monkeypatch.setattr(module, "Commands", lambda: played.commands)
        monkeypatch.setattr(module, "Host", lambda commands: Host(commands, str(tmp_path)))
    return played


def test_check_mode_predicts_what_the_run_then_does_and_touches_nothing(host):
    there = sorted(os.listdir(host.path("/etc/netplan")))
    predicted = run_module(netplan_config.main, {"network": NETWORK}, check=True)
    assert sorted(os.listdir(host.path("/etc/netplan"))) == there and not os.path.exists(host.place.run)
    done = run_module(netplan_config.main, {"network": NETWORK})
    assert predicted == done and done["changed"] and done["pending"]
    assert done["file"] == "/etc/netplan/60-dgxops.yaml" and "mode: \"802.3ad\"" in done["diff"][0]["after"]
    again = run_module(netplan_config.main, {"network": NETWORK})
    assert not again["changed"] and again["pending"] and not again["diff"]


def test_a_whole_file_may_be_given_with_its_renderer(host):
    network = {"network": {"version": 2, "renderer": "networkd", "ethernets": {"enp1": {"dhcp4": "yes"}}}}
    text = run_module(netplan_config.main, {"network": network}, check=True)["diff"][0]["after"]
    assert "  ethernets:\n    enp1:\n      dhcp4: true\n      renderer: networkd\n" in text


def test_a_refusal_names_each_reason(host):
    answer = run_module(netplan_config.main, {"network": dict(NETWORK, vlans={"v": {"id": 0, "link": "enp1"}})})
    assert answer["failed"] and len(answer["problems"]) == 2


def test_a_network_is_needed_to_be_present(host):
    assert "network" in run_module(netplan_config.main, {})["msg"]


def test_nothing_waits_on_a_host_that_was_never_changed(host):
    answer = run_module(netplan_apply.main, {})
    assert (answer["changed"], answer["state"]) == (False, "nothing")


def test_what_waits_is_told_without_being_applied(host):
    run_module(netplan_config.main, {"network": NETWORK})
    answer = run_module(netplan_apply.main, {"step": "start"}, check=True)
    assert (answer["changed"], answer["state"], answer["created"]) == (True, "started", ["bond0", "br0"])
    assert not host.commands.timers
