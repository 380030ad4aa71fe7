# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module nis_client as a playbook meets it, on a node whose programs are played."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.modules import nis_client
from ansible_collections.dgxops.fleet.tests.unit.module_utils.identity.test_nis import NisNode

from .run_module import run_module

WANTED = {"domain": "dgx", "servers": ["nis1"], "expected_users": ["alice"]}


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = NisNode(tmp_path)
    monkeypatch.setattr(nis_client, "Commands", lambda: node)
    monkeypatch.setattr(nis_client, "Host", lambda programs: Host(programs, str(tmp_path)))
    monkeypatch.setattr(nis_client, "ask_all", lambda _wanted: node.problems)
    return node


def test_check_mode_predicts_what_the_run_then_does(node):
    before = node.everything()
    predicted = run_module(nis_client.main, WANTED, check=True)
    assert node.everything() == before
    done = run_module(nis_client.main, WANTED)
    assert dict(predicted, server="nis1") == done and done["changed"] and done["owner"] == "nis_client"
    assert not run_module(nis_client.main, WANTED)["changed"]
    assert run_module(nis_client.main, {"state": "absent"})["changed"]
    assert node.everything() == before


def test_each_run_warns_of_what_nis_is(node):
    for _attempt in range(2):
        assert "in the clear" in str(run_module(nis_client.main, WANTED)["warnings"])


def test_servers_that_are_down_stop_a_change(node):
    node.problems = ["nis1 does not answer on port 111 (rpcbind): timed out"]
    answer = run_module(nis_client.main, WANTED)
    assert answer["failed"] and answer["problems"] == node.problems
