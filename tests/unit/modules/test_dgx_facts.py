# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module dgx_facts as a playbook meets it."""
import json

import pytest
import yaml

from ansible_collections.dgxops.fleet.plugins.module_utils.host import dgx
from ansible_collections.dgxops.fleet.plugins.modules import dgx_facts
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module


@pytest.fixture(scope="module")
def dgx_2(tmp_path_factory):
    return sysfs_tree.write(sysfs_tree.dgx_2(), str(tmp_path_factory.mktemp("hosts") / "dgx-2"))


def test_a_playbook_gets_facts_and_a_topology_to_plan_with(dgx_2):
    answer = run_module(dgx_facts.main, {"root": dgx_2})
    facts = answer["ansible_facts"]["dgx"]
    assert answer["changed"] is False
    assert (facts["platform"], facts["product"], facts["model"]["gpus"]) == ("dgx-2", "NVIDIA DGX-2", 16)
    assert facts["topology"] == answer["topology"]
    assert [device["node"] for device in answer["topology"]["devices"] if device["kind"] == "gpu"] == [0] * 8 + [1] * 8
    assert {drive["id"] for drive in facts["drives"] if drive["size_bytes"] > 10**12 and drive["node"] == 1} == {
        "nvme-Micron_9200_MTFDHAL3T8TCT_18261D%06X" % number for number in (6, 7, 8, 9)
    }


def test_check_mode_answers_the_same(dgx_2):
    assert run_module(dgx_facts.main, {"root": dgx_2}, check=True) == run_module(dgx_facts.main, {"root": dgx_2})


def test_the_platform_can_be_named(dgx_2):
    assert run_module(dgx_facts.main, {"root": dgx_2, "platform": "dgx-2h"})["ansible_facts"]["dgx"]["platform"] == "dgx-2h"


def test_a_root_without_sysfs_fails_in_words(tmp_path):
    answer = run_module(dgx_facts.main, {"root": str(tmp_path)})
    assert answer["failed"] and "No CPU was found in {0}".format(tmp_path) in answer["msg"]


def test_this_very_machine_has_facts():
    answer = run_module(dgx_facts.main, {})
    assert answer["topology"]["cpus"]


def test_the_documentation_names_every_platform_and_every_fact(dgx_2):
    options = yaml.safe_load(dgx_facts.DOCUMENTATION)["options"]
    assert options["platform"]["choices"] == ["auto"] + dgx.keys()
    described = yaml.safe_load(dgx_facts.RETURN)
    facts = run_module(dgx_facts.main, {"root": dgx_2})["ansible_facts"]["dgx"]
    told = described["ansible_facts"]["contains"]["dgx"]["contains"]
    assert set(told) == set(facts)
    assert set(told["model"]["contains"]) == set(facts["model"])
    assert set(told["drives"]["contains"]) == set(facts["drives"][0])
    assert set(described["topology"]["contains"]) == set(facts["topology"])
    assert json.dumps(facts)
