# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules dcgm_diag and dcgm_schedule and the filter health_text as a playbook meets them."""
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter.health_text import FilterModule
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import dcgm_schedule_host
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_history import History
from ansible_collections.dgxops.fleet.plugins.modules import dcgm_diag, dcgm_schedule
from ansible_collections.dgxops.fleet.tests.unit.module_utils.cluster.test_dcgm_run import SAYS_SICK
from ansible_collections.dgxops.fleet.tests.unit.module_utils.cluster.test_dcgm_schedule import LabNode

from .run_module import run_module


@pytest.fixture
def sick(tmp_path, monkeypatch):
    """A node whose dcgmi finds a sick GPU, and whose history is below a directory of the test."""
    program = tmp_path / "bin" / "dcgmi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + SAYS_SICK + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "{0}:/usr/bin:/bin".format(program.parent))
    monkeypatch.setattr(dcgm_diag, "History", lambda path: History(str(tmp_path / path.lstrip("/"))))
    return tmp_path


def test_a_result_is_kept_only_if_that_is_wanted_and_told_again(sick):
    assert run_module(dcgm_diag.main, {})["latest"] == []
    answer = run_module(dcgm_diag.main, {"keep": True})
    assert (answer["status"], answer["changed"], [problem["gpu"] for problem in answer["problems"]]) == ("fail", False, ["1"])
    later = run_module(dcgm_diag.main, {"level": 0})
    assert (later["status"], later["results"], later["latest"][0]["status"]) == ("none", [], "fail")
    assert [(trend["test"], trend["gpu"], trend["ill"]) for trend in later["trends"]] == [("memory", "1", 1)]
    text = FilterModule().filters()["health_text"]({"dgx01": later}, ["dgx01", "dgx02"])
    assert "0 of 2 nodes are well" in text and "| dgx02 | NO ANSWER |" in text and "| dgx01 | FAIL |" in text


def test_check_mode_examines_nothing(sick):
    assert run_module(dcgm_diag.main, {"level": 3, "keep": True}, check=True)["status"] == "none"


def test_it_fails_if_that_is_wanted(sick):
    answer = run_module(dcgm_diag.main, {"required": True})
    assert answer["failed"] and answer["msg"] == "The GPU diagnostic of level 1 says fail: memory on GPU 1 (fail)"
    assert "dcgmi is not installed" not in answer["msg"]


@pytest.mark.parametrize("nodes", [["a"], {"a": 1}, {"a": {"status": "pass", "latest": [{}]}}])
def test_what_is_no_return_is_refused_in_words(nodes):
    with pytest.raises(AnsibleFilterError, match="health_text: "):
        FilterModule().filters()["health_text"](nodes)


def test_check_mode_predicts_what_the_run_then_does(tmp_path, monkeypatch):
    lab = LabNode(tmp_path, ())
    monkeypatch.setattr(dcgm_schedule, "Host", lambda commands: lab.host)
    monkeypatch.setattr(dcgm_schedule_host, "program_path", lambda name: "")
    wanted = {"schedule": [{"level": 1, "calendar": "hourly"}]}
    predicted = run_module(dcgm_schedule.main, wanted, check=True)
    assert lab.units == {}
    done = run_module(dcgm_schedule.main, wanted)
    assert predicted == done
    assert (done["changed"], done["backend"], done["engine"], done["timers"]) == (True, "kernel", "", ["dgxops-diag-1.timer"])
    assert not run_module(dcgm_schedule.main, wanted)["changed"]
    assert "level 1 twice" in run_module(dcgm_schedule.main, {"schedule": wanted["schedule"] * 2})["msg"]
