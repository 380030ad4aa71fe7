# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ifupdown_config as a playbook meets it, on a host whose programs are played."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import Host
from ansible_collections.dgxops.fleet.plugins.modules import ifupdown_config, netplan_config
from ansible_collections.dgxops.fleet.tests.unit.module_utils.network.lab_netplan import BOND, NetHost

from .run_module import run_module

NETWORK = {"bonds": {"bond0": dict(BOND, addresses=["10.9.0.1/24"])}}
INTERFACES = "auto lo\niface lo inet loopback\n\nauto enp1\niface enp1 inet dhcp\n"


class OldHost(NetHost):
    """ifupdown takes what it is given."""

    def run(self, argv, timeout=None, text_in=None):
        return super().run(["netplan"] if argv[0] == "ifquery" else argv, timeout, text_in)


@pytest.fixture
def host(tmp_path, monkeypatch):
    for directory in ("etc/network", "etc/systemd/system", "run", "var/backups"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "etc/network/interfaces").write_text(INTERFACES)
    played = Host(OldHost(), str(tmp_path))
    for module in (ifupdown_config, netplan_config):
        monkeypatch.setattr(module, "Commands", lambda: played.commands)
        monkeypatch.setattr(module, "Host", lambda commands: Host(commands, str(tmp_path)))
    return played


def test_check_mode_predicts_what_the_run_then_does_and_touches_nothing(host):
    options = {"network": NETWORK, "replaces": ["enp1"]}
    predicted = run_module(ifupdown_config.main, options, check=True)
    assert os.listdir(host.path("/etc/network")) == ["interfaces"] and not os.path.exists(host.place.run)
    done = run_module(ifupdown_config.main, options)
    assert predicted == done and done["changed"] and done["pending"]
    assert done["file"] == "/etc/network/interfaces.d/dgxops" and done["set_aside"] == ["enp1"]
    assert [entry["after_header"] for entry in done["diff"]] == ["/etc/network/interfaces", "/etc/network/interfaces.d/dgxops"]
    again = run_module(ifupdown_config.main, options)
    assert not again["changed"] and again["pending"] and not again["diff"]


def test_what_was_never_applied_is_taken_back_by_absent(host):
    run_module(ifupdown_config.main, {"network": NETWORK, "replaces": ["enp1"]})
    answer = run_module(ifupdown_config.main, {"state": "absent"})
    assert answer["brought_back"] == ["/etc/network/interfaces"] and answer["changed"] and not answer["pending"]
    with open(host.path("/etc/network/interfaces")) as handle:
        assert handle.read() == INTERFACES
    assert not os.path.exists(host.place.record)
    assert not run_module(ifupdown_config.main, {"state": "absent"})["changed"]


def test_a_refusal_names_each_reason(host):
    answer = run_module(ifupdown_config.main, {"network": NETWORK, "replaces": ["enp7"]})
    assert answer["failed"] and len(answer["problems"]) == 2


def test_changes_of_both_systems_do_not_wait_at_once(host):
    run_module(ifupdown_config.main, {"network": NETWORK, "replaces": ["enp1"]})
    answer = run_module(netplan_config.main, {"network": {"ethernets": {"mgmt0": {"mtu": 1400}}}})
    assert answer["failed"] and "A change of ifupdown's files waits to be applied" in answer["msg"]


def test_a_host_without_interfaces_is_told_so(host):
    os.unlink(host.path("/etc/network/interfaces"))
    os.rmdir(host.path("/etc/network"))
    answer = run_module(ifupdown_config.main, {"network": NETWORK})
    assert answer["failed"] and "/etc/network is missing" in answer["msg"]
