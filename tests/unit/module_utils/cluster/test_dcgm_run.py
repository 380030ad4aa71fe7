"""Diagnostics by the clock: history, trends and alerts, with a dcgmi that says what it is told."""
import json
import os
import stat
import sys

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import dcgm_run
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm import Diagnosis, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_history import PLACE, History, Run
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_run import Order, Settings, examine, main, needs_alert, run_and_keep
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

DAY = 86400
SICK = Diagnosis((Result("Hardware", "memory", "1", "fail", ("lost",)), Result("Hardware", "memory", "0", "pass")), "4.0", "550")
WELL = Diagnosis((Result("Hardware", "memory", "1", "pass"), Result("Hardware", "memory", "0", "pass")), "4.0", "550")
DCGMI = """#!/bin/sh
echo "$@" >>{0}/asked
{1}
"""
SAYS_SICK = """cat <<END
{"DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": [{"name": "memory", "results": [{"entity_id": 1, "status": "Fail"}]}]}]}}
END
exit 1"""
OLD = """case "$*" in *-j*) echo "PARSE ERROR: Argument: -j. Couldn't find match for argument"; exit 255 ;; esac
echo "|-----  Hardware  ----------+------|
| GPU Memory                | Pass - All |" """


def run(diagnosis, started, level=2, status=None):
    return Run(started, 5.0, level, "dcgm", status or diagnosis.status, "", diagnosis)


class Node:
    """A node with programs that do what they are told, and a note of what they were asked."""

    def __init__(self, path):
        self.path = path
        self.root = str(path)
        (path / "bin").mkdir()

    def __call__(self, name, text):
        place = self.path / "bin" / name
        place.write_text(DCGMI.format(self.root, text))
        place.chmod(0o755)
        return str(place)

    def asked(self):
        return (self.path / "asked").read_text().splitlines()


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "{0}:{1}".format(tmp_path / "bin", os.environ["PATH"]))
    return Node(tmp_path)


def test_a_sick_gpu_by_dcgm_whose_exit_status_is_not_0_then(node):
    node("dcgmi", SAYS_SICK)
    found = examine(Order(2), node.root)
    assert (found.status, found.backend, found.level) == ("fail", "dcgm", 2)
    assert node.asked() == ["diag -r 2 -j"]


def test_a_dcgm_that_has_no_json_yet(node):
    node("dcgmi", OLD)
    assert examine(Order(1), node.root).status == "pass"
    assert node.asked() == ["diag -r 1 -j", "diag -r 1"]


@pytest.mark.parametrize("script, limit, words", [
    ("echo 'Error: unable to establish a connection to the specified host: localhost'; exit 1", 60, "unable to establish a connection"),
    ("sleep 60", 0.2, "did not end within 0.2 s and was stopped"),
])
def test_no_answer_is_told_and_kept(node, script, limit, words):
    node("dcgmi", script)
    found = examine(Order(1, time_limit=limit), node.root, poll=0.05)
    assert found.status == "broken"
    assert words in found.note


def test_a_dcgm_that_does_not_stop_printing_fills_no_disk(node, monkeypatch):
    monkeypatch.setattr(dcgm_run, "_MOST_BYTES", 1 << 20)
    node("dcgmi", "exec yes")
    found = examine(Order(1), node.root, poll=0.05)
    assert found.status == "broken" and "printed more than 1 MiB and was stopped" in found.note


@pytest.mark.parametrize("script, words", [("exit 0", "said: nothing"), ("kill -SEGV $$", "said: nothing")])
def test_a_dcgm_that_says_nothing_is_not_taken_for_well(node, script, words):
    node("dcgmi", script)
    found = examine(Order(1), node.root, poll=0.05)
    assert found.status == "broken"
    assert words in found.note


def job(root):
    os.makedirs(os.path.join(root, "sys/fs/cgroup/system.slice/slurmstepd.scope/job_9"))


def test_a_level_that_loads_the_gpus_does_not_run_beside_a_job(node):
    node("dcgmi", SAYS_SICK)
    job(node.root)
    found = examine(Order(2), node.root)
    assert (found.status, found.note) == ("busy", "The GPUs are in use by Slurm job 9.")
    assert not os.path.exists(node.root + "/asked")
    assert examine(Order(1), node.root).status == "fail", "the first level loads nothing"
    assert examine(Order(2, when_busy="run"), node.root).status == "fail"


def test_it_ends_as_soon_as_a_job_begins(node):
    node("dcgmi", "mkdir -p {0}/sys/fs/cgroup/system.slice/slurmstepd.scope/job_9; exec sleep 60".format(node.root))
    found = examine(Order(3), node.root, poll=0.05)
    assert (found.status, found.note) == ("stopped", "Slurm job 9 began, so the diagnostic was stopped.")
    assert found.seconds < 30


def test_a_backend_that_is_not_there():
    with pytest.raises(FleetError, match="dcgmi is not installed"):
        dcgm_run.choose_backend("dcgm", "/nowhere")


def test_the_history_tells_how_often_and_since_when(tmp_path):
    history = History(str(tmp_path / PLACE))
    for day, diagnosis in enumerate((SICK, WELL, SICK, SICK)):
        history.add(run(diagnosis, day * DAY), 365)
    history.add(Run(4 * DAY, 0, 2, "dcgm", "busy", "a job", Diagnosis(())), 365)
    trend, = history.trends(0)
    assert (trend.test, trend.gpu, trend.ill, trend.runs, trend.since, trend.message) == ("memory", "1", 3, 4, 2 * DAY, "lost")
    latest, = history.latest()
    assert (latest["status"], latest["diagnosed"], latest["verdict"], latest["problems"]) == ("busy", 3 * DAY, "fail", [])
    history.add(run(WELL, 5 * DAY), 365)
    assert history.trends(0)[0].since == 0, "well by now"
    assert history.trends(5 * DAY) == []
    assert stat.S_IMODE(os.stat(history.path).st_mode) & 0o007 == 0


def test_what_is_too_old_is_forgotten(tmp_path):
    history = History(str(tmp_path / PLACE))
    history.add(run(SICK, 0), 30)
    history.add(run(WELL, 31 * DAY), 30)
    assert history.trends(0) == []


def test_a_damaged_history_is_a_sentence(tmp_path):
    place = tmp_path / PLACE
    place.parent.mkdir(parents=True)
    place.write_text("this is no database, and long enough to be seen as none" * 40)
    for use in (lambda history: history.latest(), lambda history: history.trends(0), lambda history: history.add(run(WELL, 0), 1)):
        with pytest.raises(FleetError, match="Move the file away"):
            use(History(str(place)))


@pytest.mark.parametrize("found, before, last_alert, expected", [
    (run(SICK, 0), None, 0, True),
    (run(SICK, 0), [], 0, True),
    (run(SICK, 0), [("memory", "1", "fail")], 10 * DAY - 3600, False),
    (run(SICK, 0), [("memory", "1", "fail")], 9 * DAY - 60, True),
    (run(SICK, 0), [("memory", "0", "fail")], 10 * DAY, True),
    (run(WELL, 0), [("memory", "1", "fail")], 0, False),
    (run(Diagnosis(()), 0, status="busy"), None, 0, False),
    (run(Diagnosis(()), 0, status="broken"), None, 0, True),
])
def test_an_alert_at_what_is_new_and_again_if_it_stays(found, before, last_alert, expected):
    settings = Settings(alert_mail="a@example.com")
    assert needs_alert(found, before, last_alert, settings, 10 * DAY) is expected
    assert not needs_alert(found, before, last_alert, Settings(), 10 * DAY), "nobody is to be told"


def test_mail_and_program_get_the_alert_once(node):
    node("dcgmi", SAYS_SICK)
    node("sendmail", "cat >>{0}/mail".format(node.root))
    hook = node("hook", "cat >>{0}/hooked".format(node.root))
    settings = Settings(alert_mail="a@example.com", alert_program=hook)
    first, told = run_and_keep(Order(2), settings, node.root)
    assert told.startswith("GPU diagnostic level 2 on ")
    assert run_and_keep(Order(2), settings, node.root)[1] == ""
    mail = open(node.root + "/mail").read()
    assert mail.startswith("To: a@example.com\nSubject: GPU diagnostic level 2 on ")
    assert mail.count("Subject") == 1
    assert "FAIL  memory on GPU 1\n" in mail
    assert json.loads(open(node.root + "/hooked").read())["results"] == [dict(first.diagnosis.results[0].to_dict())]


def test_an_alert_that_fails_is_noted_and_tried_again(node):
    node("dcgmi", SAYS_SICK)
    settings = Settings(alert_program="/nowhere/hook", alert_repeat_hours=0)
    for _time in range(2):
        found, _told = run_and_keep(Order(2), settings, node.root)
        assert "The alert failed: The program /nowhere/hook is not installed" in found.note
    assert History(os.path.join(node.root, PLACE)).latest()[0]["status"] == "fail"


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "9"], ["run", "1", "2"], ["help"]])
def test_the_program_says_how_it_is_used(arguments, capsys):
    assert main(arguments) == 2
    assert "Usage: dgxops-diag run LEVEL" in capsys.readouterr().out


def test_settings_that_are_damaged_are_a_sentence(tmp_path, capsys):
    for text in ("{", "[]", '{"surprise": 1}'):
        (tmp_path / "diag.json").write_text(text)
        assert main(["run", "1"], str(tmp_path / "diag.json")) == 1
        assert "Run the role dcgm again" in capsys.readouterr().out
    assert sys.exc_info() == (None, None, None)
