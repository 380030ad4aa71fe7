"""Diagnostics by the clock on a node: what is put there, what is refused, and the way back."""
import json
import os
import subprocess
import sys

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import dcgm_schedule_host
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_history import PLACE
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_schedule import LIBRARY, SETTINGS, Wish, decide, timer_path
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

HOURLY = [{"level": 1, "calendar": "hourly"}]


def wish(**options):
    params = {
        "state": "present", "schedule": HOURLY, "delay_s": 600, "package": "datacenter-gpu-manager", "required": False, "backend": "", "keep_days": 365,
        "alert_mail": "", "alert_program": "", "alert_repeat_hours": 24.0, "ignored_processes": [], "remove_history": False,
    }
    return Wish.from_params(dict(params, **options))


class LabNode(Commands):
    """systemctl and apt of a node, as far as they matter, with files below a root."""

    def __init__(self, root, programs, units=None, in_archive=False):
        super().__init__()
        self.host = dcgm_schedule_host.services.Host(self, str(root))
        self.programs, self.units, self.in_archive = set(programs), dict(units or {}), in_archive
        self.log = []
        self.fails_at = None

    def run(self, argv, timeout=None, text_in=None):
        argv = list(argv)
        if argv[0] == "systemd-analyze":
            return Result(int("never" in argv), "", "Failed to parse calendar specification 'never': Invalid argument" if "never" in argv else "")
        if argv[0] == "apt-cache":
            return Result(0 if self.in_archive else 100, "", "")
        if argv[0] == "env":
            if "--simulate" in argv:
                return Result(0, "Inst datacenter-gpu-manager (1:3.3.9)\n", "")
            self.log.append("install" if "install" in argv else "purge")
            if "install" in argv:
                self.programs |= {"dcgmi", "nv-hostengine"}
                self.units["nvidia-dcgm.service"] = ("disabled", False)
            else:
                self.programs -= {"dcgmi", "nv-hostengine"}
                self.units.pop("nvidia-dcgm.service", None)
            return Result(0, "", "")
        verb, names = argv[1], [word for word in argv[2:] if not word.startswith("-")]
        if verb == "show":
            known = {name: unit for name, unit in self.units.items() if "dgxops" not in name}
            known.update({name: self.units.get(name, ("disabled", False)) for name in names if os.path.exists(self.host.path("etc/systemd/system/" + name))})
            return Result(0, "\n\n".join("Id={0}\nLoadState=loaded\nUnitFileState={1[0]}\nActiveState={2}".format(
                name, known[name], "active" if known[name][1] else "inactive") for name in names if name in known), "")
        self.log.append(" ".join([verb] + names))
        if self.log[-1] == self.fails_at:
            raise KeyboardInterrupt
        for name in names:
            enablement, active = self.units.get(name, ("disabled", False))
            enablement = {"enable": "enabled", "disable": "disabled"}.get(verb, enablement)
            self.units[name] = (enablement, {"start": True, "restart": True, "stop": False}.get(verb, active))
        return Result(0, "", "")

    def play(self, asked):
        change = decide(asked, dcgm_schedule_host.read(asked, self.host))
        self.log = []
        dcgm_schedule_host.carry_out(asked, change, self.host)
        return change


@pytest.fixture
def make(tmp_path, monkeypatch):
    def a_node(programs=("dcgmi", "nv-hostengine"), **how):
        lab = LabNode(tmp_path, programs, **how)
        monkeypatch.setattr(dcgm_schedule_host, "program_path", lambda name: "/usr/bin/" + name if name in lab.programs else "")
        return lab

    return a_node


def files(root):
    return sorted(os.path.relpath(os.path.join(place, name), str(root)) for place, _dirs, names in os.walk(str(root)) for name in names)


def test_timers_and_the_engine_run_and_a_second_time_nothing_changes(make, tmp_path):
    lab = make(units={"nvidia-dcgm.service": ("disabled", False)})
    assert lab.play(wish())
    assert lab.units == {"nvidia-dcgm.service": ("enabled", True), "dgxops-diag-1.timer": ("enabled", True)}
    timer = (tmp_path / timer_path(1)).read_text()
    assert "OnCalendar=hourly\nRandomizedDelaySec=600\nPersistent=true\nUnit=dgxops-diag@1.service\n" in timer
    assert not lab.play(wish())
    assert lab.log == []


def test_the_node_is_given_back(make, tmp_path):
    before = {"nvidia-dcgm.service": ("disabled", False)}
    lab = make(units=before)
    lab.play(wish())
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_text("history")
    lab.play(wish(state="absent"))
    assert lab.units["nvidia-dcgm.service"] == ("disabled", False)
    assert files(tmp_path) == [PLACE], "a history is data, and stays"
    assert not lab.play(wish(state="absent"))
    assert lab.play(wish(state="absent", remove_history=True))
    assert files(tmp_path) == []


def test_dcgm_is_installed_where_it_is_to_be_had_and_taken_away_again(make, tmp_path):
    lab = make(programs=(), in_archive=True)
    assert lab.play(wish()).install == ("datacenter-gpu-manager",)
    assert lab.units["nvidia-dcgm.service"] == ("enabled", True)
    assert not lab.play(wish())
    lab.play(wish(state="absent"))
    assert "purge" in lab.log
    assert (lab.programs, files(tmp_path)) == (set(), [])


def test_without_dcgm_the_timers_run_nevertheless_unless_it_is_required(make):
    lab = make(programs=())
    assert lab.play(wish()).install == ()
    assert list(lab.units) == ["dgxops-diag-1.timer"]
    with pytest.raises(FleetError, match="has no dcgmi, and its package lists have no datacenter-gpu-manager"):
        lab.play(wish(required=True))


def test_a_host_engine_without_a_unit_gets_one_unless_somebody_runs_it(make, tmp_path):
    lab = make()
    lab.play(wish())
    assert lab.units["dgxops-hostengine.service"] == ("enabled", True)
    lab.play(wish(state="absent"))
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/77/comm").write_text("nv-hostengine\n")
    lab.units.clear()
    lab.play(wish())
    assert list(lab.units) == ["dgxops-diag-1.timer"]


def test_another_time_another_level_and_other_settings(make, tmp_path):
    lab = make(programs=())
    lab.play(wish())
    assert lab.play(wish(schedule=[{"level": 1, "calendar": "daily"}])).restart == ("dgxops-diag-1.timer",)
    lab.play(wish(schedule=[{"level": 2, "calendar": "weekly"}], alert_mail="a@example.com, b@example.com"))
    assert lab.units == {"dgxops-diag-1.timer": ("disabled", False), "dgxops-diag-2.timer": ("enabled", True)}
    assert not (tmp_path / timer_path(1)).exists()
    assert json.loads((tmp_path / SETTINGS).read_text())["alert_mail"] == "a@example.com, b@example.com"
    assert not lab.play(wish(schedule=[{"level": 2, "calendar": "weekly"}], alert_mail="a@example.com, b@example.com"))


def test_a_run_cut_short_is_completed_by_the_next_and_can_be_undone(make, tmp_path):
    lab = make(programs=())
    lab.fails_at = "restart dgxops-diag-1.timer"
    with pytest.raises(KeyboardInterrupt):
        lab.play(wish())
    lab.fails_at = None
    assert lab.play(wish())
    assert lab.units["dgxops-diag-1.timer"] == ("enabled", True)
    lab.play(wish(state="absent"))
    assert files(tmp_path) == []


def test_what_is_put_on_the_node_runs_there_alone(make, tmp_path):
    """As the node's own Python runs it: without Ansible and without the collection."""
    make(programs=()).play(wish())
    program = "import sys; sys.path.insert(0, {0!r}); from dgxops_diag.cluster.dcgm_run import main; sys.exit(main(['help']))".format(
        os.path.dirname(str(tmp_path / LIBRARY)))
    done = subprocess.run([sys.executable, "-I", "-B", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    assert (done.returncode, done.stdout) == (2, "Usage: dgxops-diag run LEVEL (1 to 4), or dgxops-diag history\n")


@pytest.mark.parametrize("options, words", [
    ({"schedule": [{"level": 1, "calendar": ""}]}, "has '' for level 1"),
    ({"schedule": [{"level": 1, "calendar": "daily\nExecStart=x"}]}, "systemd.time"),
    ({"schedule": HOURLY + HOURLY}, "has level 1 twice"),
    ({"keep_days": 0}, "keep_days is 0"),
    ({"delay_s": -1}, "cannot be less than 0"),
    ({"alert_repeat_hours": -1}, "cannot be less than 0"),
    ({"alert_mail": "you and me"}, "mail addresses"),
    ({"alert_mail": "a@b\nBcc: c@d"}, "mail addresses"),
    ({"alert_program": "hook"}, "an absolute path"),
])
def test_what_cannot_be_meant(options, words):
    with pytest.raises(FleetError) as caught:
        wish(**options)
    assert words in caught.value.message


def test_a_time_that_systemd_does_not_understand(make):
    with pytest.raises(FleetError, match="does not understand: Failed to parse calendar"):
        make().play(wish(schedule=[{"level": 1, "calendar": "never"}]))


def test_a_damaged_record_is_a_sentence(make, tmp_path):
    place = tmp_path / "var/backups/dgxops/dcgm.json"
    place.parent.mkdir(parents=True)
    place.write_text("{")
    with pytest.raises(FleetError, match="dcgm.json is damaged"):
        make().play(wish())
