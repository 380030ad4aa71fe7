# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules opensm and ib_sm_info as a playbook meets them, on a host whose systemd and fabric are played."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.network import opensm_host
from ansible_collections.dgxops.fleet.plugins.modules import ib_sm_info, opensm
from ansible_collections.dgxops.fleet.tests.unit.module_utils.network.test_ib_text import IBSTAT, NR, SMIR
from ansible_collections.dgxops.fleet.tests.unit.module_utils.network.test_opensm import OWN, LabHost

from .run_module import run_module

WORDS = ("-C", "mlx5_0", "-P", "1")


@pytest.fixture
def host(tmp_path, monkeypatch):
    lab = LabHost(tmp_path, programs=False)
    monkeypatch.setattr(opensm, "Host", lambda programs: lab.host)
    monkeypatch.setattr(opensm_host, "watch", lambda *words: None)
    monkeypatch.setattr(opensm_host.apt, "missing", lambda programs: () if lab.programs else ("opensm",))
    return lab


def test_check_mode_predicts_what_the_run_then_does(host):
    predicted = run_module(opensm.main, {"priority": 14}, check=True)
    assert host.units == {}
    done = run_module(opensm.main, {"priority": 14})
    assert predicted == done and done["changed"]
    assert (done["ports"], done["units"], done["installed"]) == (["0x0000000000100003"], [OWN], ["opensm"])
    assert not run_module(opensm.main, {"priority": 14})["changed"]
    assert run_module(opensm.main, {"priority": 14, "polling_retries": 2})["reloaded"] == [OWN]
    assert run_module(opensm.main, {"priority": 2})["restarted"] == [OWN]
    assert run_module(opensm.main, {"state": "absent"})["changed"]
    assert host.units == {}


@pytest.mark.parametrize("options, words", [
    ({"priority": 99}, "a number from 0 to 15"),
    ({"partitions": [{"name": "a", "pkey": "0x1", "members": []}]}, "has no members"),
    ({"partitions": [{"name": "a", "pkey": "0x1", "members": [{"port": "ALL", "membership": "half"}]}]}, "value of membership must be one of"),
    ({"ports": ["ib0"]}, "no InfiniBand port"),
])
def test_bad_options_are_refused_in_words(host, options, words):
    answer = run_module(opensm.main, options)
    assert answer["failed"] and words in answer["msg"]


@pytest.fixture
def fabric(monkeypatch):
    answers = {
        ("ibstat",): Result(0, IBSTAT, ""), ("saquery",) + WORDS + ("SMIR",): Result(0, SMIR, ""), ("saquery",) + WORDS + ("NR", "1"): Result(0, NR, ""),
        ("saquery",) + WORDS + ("NR", "2"): Result(1, "", ""), ("saquery",) + WORDS + ("NR", "3"): Result(1, "", ""),
    }
    commands = Recorded(answers)
    monkeypatch.setattr(ib_sm_info, "Commands", lambda: commands)
    return commands


def test_who_is_master_and_what_hardware_stands_by(fabric):
    answer = run_module(ib_sm_info.main, {"managers": 3, "own": True})
    assert (answer["problem"], answer["changed"], answer["state"]) == ("", False, "standby")
    assert (answer["master"]["name"], answer["master"]["priority"]) == ("sm01 mlx5_0", 14)
    assert [one["kind"] for one in answer["managers"]] == ["software", "hardware", "unknown"]


def test_it_fails_only_if_that_is_wanted(fabric):
    assert "but 4 are wanted" in run_module(ib_sm_info.main, {"managers": 4})["problem"]
    answer = run_module(ib_sm_info.main, {"managers": 4, "required": True})
    assert answer["failed"] and answer["msg"] == answer["problem"] and answer["master"]["lid"] == 1


def test_a_host_without_the_programs_is_told_which(monkeypatch):
    monkeypatch.setattr(ib_sm_info, "Commands", lambda: Recorded({("ibstat",): Result(0, IBSTAT, "")}))
    assert "saquery is not installed" in run_module(ib_sm_info.main, {})["msg"]
