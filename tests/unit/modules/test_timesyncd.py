# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules timesyncd and timesync_info as a playbook meets them, on a host whose systemd and package manager are played."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import timesync
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.timesyncd import SERVICE
from ansible_collections.dgxops.fleet.plugins.modules import timesync_info, timesyncd
from ansible_collections.dgxops.fleet.tests.unit.module_utils.host.lab_time import TimeHost, host_below

from .run_module import run_module


@pytest.fixture
def host(tmp_path, monkeypatch):
    commands = TimeHost(packages=["chrony"], units={"chrony.service": ["enabled", True], SERVICE: ["disabled", False]})
    host_below(tmp_path, commands)
    monkeypatch.setattr(timesyncd, "Commands", lambda: commands)
    monkeypatch.setattr(timesyncd, "Host", lambda programs: Host(programs, str(tmp_path)))
    return commands


WANTED = {"servers": ["ntp1.example.com"], "conflicts": "disable", "timezone": "Europe/Berlin", "save_interval_s": 120}


def test_check_mode_predicts_what_the_run_then_does(host):
    predicted = run_module(timesyncd.main, WANTED, check=True)
    assert host.units == {"chrony.service": ["enabled", True], SERVICE: ["disabled", False]}
    done = run_module(timesyncd.main, WANTED)
    assert predicted == done and done["changed"]
    assert done["services"][SERVICE] == {"enablement": "enabled", "active": True}
    assert (done["stopped"], done["timezone"], done["file"]) == (["chrony.service"], "Europe/Berlin", "/etc/systemd/timesyncd.conf.d/50-dgxops.conf")
    assert not run_module(timesyncd.main, WANTED)["changed"]


def test_what_an_older_systemd_does_not_know_is_a_warning(host):
    host.systemd = 237
    assert "save_interval_s was left out" in str(run_module(timesyncd.main, WANTED)["warnings"])


def test_a_refusal_is_an_answer_that_names_the_service_in_the_way(host):
    answer = run_module(timesyncd.main, {"servers": ["ntp1.example.com"]})
    assert answer["failed"] and answer["conflicts"] == ["chrony.service"]


@pytest.mark.parametrize("required", [True, False])
def test_a_clock_that_is_not_kept_fails_the_task_only_where_it_is_required(monkeypatch, required):
    monkeypatch.setattr(timesync_info, "observe", lambda commands, wait, limit: timesync.Reading(False))
    answer = run_module(timesync_info.main, {"required": required})
    assert bool(answer.get("failed")) == required
    assert (answer["synchronized"], answer["running"], answer["offset_ms"]) == (False, False, None)
    assert "is not running" in answer["problem"]
