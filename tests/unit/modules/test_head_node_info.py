# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module head_node_info and the filter head_node_advice as a playbook meets them."""
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter.head_node_advice import head_node_advice
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.head_node_host import Mirror, Power
from ansible_collections.dgxops.fleet.plugins.modules import head_node_info

from .run_module import run_module


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(head_node_info, "read_mirror", lambda sysfs: Mirror(False, "sda", "/ is on one drive, sda."))
    monkeypatch.setattr(head_node_info, "read_power", lambda sysfs, commands: Power(None, (), "There is nobody to ask."))


def test_problems_and_what_is_not_known_are_told_apart(machine):
    answer = run_module(head_node_info.main, {})
    assert (answer["changed"], answer["problems"], answer["unknown"]) == (False, ["/ is on one drive, sda."], ["There is nobody to ask."])
    assert answer["mirror"]["survives"] is False and answer["power"]["supplies"] == []


def test_what_is_required_must_be_known(machine):
    answer = run_module(head_node_info.main, {"required": ["mirror", "power"]})
    assert answer["failed"] and answer["msg"] == (
        "This machine is to survive the loss of a drive and of a power supply, but: / is on one drive, sda. There is nobody to ask.")
    assert answer["problems"]


def test_a_real_machine_can_be_asked():
    assert not run_module(head_node_info.main, {}).get("failed")


def test_the_advice_names_the_roles_that_there_are():
    advice = head_node_advice({"nodes": "4"}, {"subnet_manager": False})
    assert advice["roles"]["login"] == "ssh_tunnel" and "subnet_manager" not in advice["roles"]
    with pytest.raises(AnsibleFilterError, match="head_node_advice: nodes of the cluster is 'x'"):
        head_node_advice({"nodes": "x"})
