# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ad_client as a playbook meets it, on a node whose programs and domain are played."""
import json

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.state import RECORD
from ansible_collections.dgxops.fleet.plugins.modules import ad_client
from ansible_collections.dgxops.fleet.tests.unit.module_utils.identity.test_ad import DomainNode

from .run_module import run_module

WANTED = {"domain": "lab.example", "computer_name": "dgx01", "expected_users": ["alice"]}
JOINING = dict(WANTED, join_password="right")


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = DomainNode(tmp_path)
    monkeypatch.setattr(ad_client, "Commands", lambda: node)
    monkeypatch.setattr(ad_client, "Host", lambda programs: Host(programs, str(tmp_path)))
    return node


def test_check_mode_predicts_what_the_run_then_does_and_joins_nothing(node):
    before = node.everything()
    predicted = run_module(ad_client.main, JOINING, check=True)
    assert node.everything() == before and node.computers == set()
    done = run_module(ad_client.main, JOINING)
    assert predicted == done and done["changed"] and done["member_of"] == "LAB.EXAMPLE" and done["owner"] == "ad_client"
    assert not run_module(ad_client.main, WANTED)["changed"]


def test_leaving_without_the_password_is_done_and_warned_of(node):
    before = node.everything()
    run_module(ad_client.main, JOINING)
    predicted = run_module(ad_client.main, {"state": "absent"}, check=True)
    done = run_module(ad_client.main, {"state": "absent"})
    assert done["changed"] and "DGX01 in lab.example is still there" in str(done["warnings"])
    assert predicted["diff"] == done["diff"] and done["member_of"] == ""
    assert node.everything() == before


def test_a_wrong_password_is_an_answer_that_does_not_tell_it(node):
    before = node.everything()
    answer = run_module(ad_client.main, dict(JOINING, join_password="guessed wrongly"))
    assert answer["failed"] and "The node was given back as it was" in answer["msg"] and "guessed wrongly" not in json.dumps(answer)
    assert node.everything() == before


def test_the_node_of_another_role_is_refused(node):
    run_module(ad_client.main, JOINING)
    record = json.loads(node.read(RECORD))
    node.write(RECORD, json.dumps(dict(record, owner="nis")))
    answer = run_module(ad_client.main, dict(JOINING, conflicts="replace"))
    assert answer["failed"] and answer["conflicts"] == ["nis_client"]
