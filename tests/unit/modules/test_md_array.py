# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules around an array as a playbook meets them: md_array, cache_volume, cachefilesd, md_monitor and storcli_info."""
import json
import os
from pathlib import Path

import pytest
import yaml

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.settings_host import write_record
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import md_apply
from ansible_collections.dgxops.fleet.plugins.modules import cache_volume, cachefilesd, md_array, md_monitor, storcli_info
from ansible_collections.dgxops.fleet.tests.unit.module_utils.storage.lab_md import host

from .run_module import run_module

RECORDED = Path(__file__).resolve().parents[1] / "module_utils" / "storage" / "recorded" / "storcli_dgx1.json"
MEMBERS = ["S3HCNX0K400001", "S3HCNX0K400002", "S3HCNX0K400003", "S3HCNX0K400004"]


class Repeats(Recorded):
    """Answers as recorded; what changes something is taken down and succeeds."""

    def run(self, argv, timeout=None, text_in=None):
        if tuple(argv) not in self.answers:
            self.answers[tuple(argv)] = Result(0, "", "")
        return super().run(argv, timeout, text_in)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A recorded host with an array, and what was run on it."""

    def take(stage):
        there = host(stage, tmp_path)
        (tmp_path / "dev" / "md").mkdir(parents=True, exist_ok=True)
        commands = Repeats(there.commands.answers)
        real = md_apply.Host(commands, str(tmp_path), lambda name: False)
        monkeypatch.setattr(real, "lacking", lambda: ())
        monkeypatch.setattr(md_array, "Host", lambda _commands: real)
        monkeypatch.setattr(md_array, "prepare", lambda _host: None)
        return there, commands

    return take


def test_an_array_that_runs_is_found_by_its_drives_and_a_second_run_changes_nothing(recorded):
    there, commands = recorded("healthy")
    options = {"name": "cache", "drives": MEMBERS}
    foretold = run_module(md_array.main, options, check=True)
    assert (foretold["changed"], foretold["verdict"], foretold["device"]) == (True, "healthy", "md127")
    answer = run_module(md_array.main, options)
    assert answer["changed"] and answer["diff"] == foretold["diff"] and answer["steps"] == foretold["steps"]
    assert "ARRAY /dev/md/cache metadata=1.2 UUID=" + answer["uuid"] in there.text("etc/mdadm/mdadm.conf")
    assert not [argv for argv in commands.asked if argv[:2] == ("mdadm", "--create") or argv[0] == "wipefs"]
    again = run_module(md_array.main, options)
    assert not again["changed"] and again["diff"] == []
    described = set(yaml.safe_load(md_array.RETURN))
    assert set(answer) - {"changed", "diff", "invocation", "warnings"} == described - {"refused"}


def test_virtual_media_without_a_medium_and_a_dead_drive_do_not_stop_a_removal(recorded):
    """A management controller shows drives of size 0; and one that has died is no reason to keep the others."""
    there, commands = recorded("healthy")
    for name, size in (("sdy", "0"), ("sdz", "1000")):
        os.makedirs(there.sysfs.path("sys/block/" + name))
        there.write("sys/block/{0}/size".format(name), size)
        os.symlink("../../block/" + name, there.sysfs.path("sys/class/block/" + name))
        commands.answers[("wipefs", "--no-act", "--parsable", "/dev/" + name)] = Result(1, "", "wipefs: error: /dev/{0}: No medium found".format(name))
    answer = run_module(md_array.main, {"name": "cache", "state": "absent"})
    assert "No medium found" not in answer.get("msg", ""), answer


def test_a_broken_array_is_refused_with_the_way_out(recorded):
    recorded("pulled")
    answer = run_module(md_array.main, {"name": "cache", "drives": MEMBERS[:1]})
    assert answer["failed"] and "Traceback" not in answer["msg"]


@pytest.mark.parametrize("options, why", [
    ({"name": "a b"}, "up to 31 letters"), ({"name": "x", "drives": ["nowhere"]}, "There is no drive nowhere"), ({"name": "x", "platform": "dgx-9"}, "dgx-9"),
    ({"name": "x", "drives": [MEMBERS[0], MEMBERS[0]]}, "names the same drive twice"),
])
def test_a_mistake_is_answered_in_words(recorded, options, why):
    recorded("healthy")
    answer = run_module(md_array.main, options)
    assert answer["failed"] and why in answer["msg"]


@pytest.mark.parametrize("main, options, why", [
    (cache_volume.main, {"path": "/raid", "device": "/dev/md/nowhere"}, "There is no device /dev/md/nowhere"),
    (cache_volume.main, {"path": "/raid", "device": "/dev/null"}, "is not a block device"),
    (cache_volume.main, {"path": "raid", "device": "/dev/x"}, "absolute path"),
    (cache_volume.main, {"path": "/raid"}, "device"),
    (cachefilesd.main, {"dir": "/raid", "bcull": 50}, "bstop < bcull < brun"),
    (md_monitor.main, {"mail": "not an address"}, "one mail address"),
    (md_monitor.main, {"program": "/nowhere/on-call"}, "no program there"),
    (storcli_info.main, {"program": "/nowhere/storcli64"}, "StorCLI was not found"),
])
def test_mistakes_with_the_other_modules_are_answered_in_words_too(main, options, why):
    answer = run_module(main, options)
    assert answer["failed"] and why in answer["msg"]


def test_a_look_that_is_under_way_is_ended_before_the_watch_is_given_back(tmp_path, monkeypatch):
    def shown(name, enablement, active):
        return "Id={0}\nLoadState=loaded\nUnitFileState={1}\nActiveState={2}\n".format(name, enablement, active)

    ask = ("systemctl", "show", "--property=Id,LoadState,UnitFileState,ActiveState,SubState")
    timer, monitor = shown("dgxops-md-health.timer", "enabled", "active"), shown("mdmonitor.service", "static", "active")
    commands = Repeats({ask + ("dgxops-md-health.timer", "mdmonitor.service"): Result(0, timer + "\n" + monitor, ""),
                        ask + ("mdmonitor.service",): Result(0, monitor, "")})
    real = Host(commands, str(tmp_path))
    monkeypatch.setattr(md_monitor, "Host", lambda _commands: real)
    for path, text in {md_monitor.TIMER_FILE: "[Timer]\n", md_monitor.SERVICE_FILE: "[Service]\n", md_monitor.CHECKER: "#!/bin/sh\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    files = {path: {"before": None, "after": (tmp_path / path).read_text()} for path in (md_monitor.TIMER_FILE, md_monitor.SERVICE_FILE, md_monitor.CHECKER)}
    write_record("md_monitor", real, {"files": files, "units": {"dgxops-md-health.timer": None}})
    answer = run_module(md_monitor.main, {"state": "absent"})
    assert answer.get("changed"), answer["msg"]
    assert not (tmp_path / md_monitor.TIMER_FILE).exists()
    told = [argv[1:] for argv in commands.asked if argv[0] == "systemctl" and argv[1] in ("disable", "stop", "reset-failed")]
    assert told == [("disable", "--now", "dgxops-md-health.timer"), ("stop", "dgxops-md-health.service"), ("reset-failed", "dgxops-md-health.service")]


def test_a_check_foretells_the_file_system_of_an_array_that_is_yet_to_be_made():
    answer = run_module(cache_volume.main, {"path": "/raid-of-a-test", "device": "/dev/md/nowhere"}, check=True)
    assert answer["changed"] and answer["steps"] == ["make an ext4 file system on /dev/md/nowhere", "mount it at /raid-of-a-test"]
    assert answer["uuid"] == "" and "/raid-of-a-test ext4 nofail,discard 0 2" in answer["diff"][0]["after"]


def test_the_volumes_of_a_dgx1_are_told_by_a_storcli_that_prints_what_was_recorded(tmp_path):
    program = tmp_path / "storcli64"
    program.write_text("#!/bin/sh\ncase $1 in /call) cat {0}/show ;; *) cat {0}/volumes ;; esac\n".format(tmp_path))
    program.chmod(0o755)
    for name, text in json.loads(RECORDED.read_text()).items():
        (tmp_path / name).write_text(json.dumps(text))
    answer = run_module(storcli_info.main, {"program": str(program), "device": "/dev/sdb", "required": True})
    assert answer["healthy"] and answer["cache"]["device"] == "/dev/sdb" and answer["cache"]["verdict"] == "healthy"
    described = yaml.safe_load(storcli_info.RETURN)
    assert set(described) == set(answer) - {"changed", "invocation", "warnings"}
    assert set(described["controllers"]["contains"]) == set(answer["controllers"][0])
    for name in ("volumes", "drives"):
        assert set(described["controllers"]["contains"][name]["sample"][0]) == set(answer["controllers"][0][name][0])
