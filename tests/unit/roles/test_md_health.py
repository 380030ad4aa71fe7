# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program that the timer of the role raid_cache runs: it says what md_array_info says, and calls whom it should, once."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import judge
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_sysfs import read_arrays
from ansible_collections.dgxops.fleet.tests.unit.module_utils.storage.lab_md import host

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "raid_cache" / "files" / "md_health.py"


class Look:
    """Runs the program on a host below a directory; returns its exit status, what it recorded, what it said, and whom it called."""

    def __init__(self, place):
        self.root, self.directory, self.calls, self.on_call = place / "root", place / "told", place / "calls", place / "on-call"
        self.root.mkdir()
        self.on_call.write_text('#!/bin/sh\necho "$@" >>{0}\n'.format(self.calls))
        self.on_call.chmod(0o755)
        self.sendmail = place / "sendmail"

    def mail_server(self, script):
        self.sendmail.write_text("#!/bin/sh\n" + script)
        self.sendmail.chmod(0o755)

    def __call__(self, *options):
        argv = [sys.executable, str(PROGRAM), "--root", str(self.root), "--directory", str(self.directory), "--program", str(self.on_call)]
        argv += ["--sendmail", str(self.sendmail)]
        done = subprocess.run(argv + list(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
        told = self.calls.read_text().splitlines() if self.calls.exists() else []
        return done.returncode, json.loads((self.directory / "status.json").read_text()), done.stderr.decode(), told


@pytest.fixture
def look(tmp_path):
    return Look(tmp_path)


@pytest.mark.parametrize("stage", ["healthy", "pulled", "inactive", "recovering", "degraded", "imsm"])
def test_it_says_what_md_array_info_says(look, stage):
    there = host(stage, look.root)
    _rc, status, _said, _calls = look()
    words = {"warning": "healthy", "rebuilding": "degraded"}  # who rebuilds has lost something; warnings wake nobody
    expected = {}
    for array in read_arrays(there.sysfs):
        verdict = judge(array).verdict
        if not array.is_container:
            lost = bool(array.lost_slots)
            expected["/dev/" + array.device] = "healthy" if verdict == "rebuilding" and not lost else words.get(verdict, verdict)
    found = {what: entry["verdict"] for what, entry in status["watched"].items() if what in expected}
    assert found == expected and status["healthy"] == all(entry["verdict"] == "healthy" for entry in status["watched"].values())


def test_a_pulled_drive_is_told_once_and_so_is_a_mount_that_is_gone(look):
    host("pulled", look.root)
    rc, _status, said, calls = look()
    assert rc == 1 and "<3>/dev/md127 is broken. Data is missing" in said
    assert len(calls) == 1 and calls[0].startswith("Broken /dev/md127 Data is missing: slot 1")
    assert len(look()[3]) == 1
    (look.root / "proc" / "self" / "mountinfo").write_text("")
    rc, status, said, calls = look("--mount", "/raid")
    assert rc == 1 and status["watched"]["/raid"]["verdict"] == "unmounted" and calls[-1].startswith("Unmounted /raid")
    assert len((look.directory / "history.jsonl").read_text().splitlines()) == 2


def test_an_array_that_mdadm_conf_names_and_nobody_assembled_is_told(look):
    (look.root / "etc" / "mdadm").mkdir(parents=True)
    (look.root / "etc" / "mdadm" / "mdadm.conf").write_text("ARRAY /dev/md/raid metadata=1.2\n  UUID=1:2:3:4\nARRAY <ignore> UUID=5\n")
    _rc, status, _said, calls = look()
    assert status["watched"] == {"/dev/md/raid": {"verdict": "missing", "reason": "mdadm.conf names it, but it was not assembled."}}
    assert calls == ["DeviceDisappeared /dev/md/raid mdadm.conf names it, but it was not assembled."]


def test_a_program_that_fails_keeps_nobody_from_recording(look):
    host("pulled", look.root)
    look.on_call.write_text("#!/bin/sh\nexit 3\n")
    rc, status, said, _calls = look()
    assert rc == 1 and not status["healthy"] and "could not be sent" in said


def test_mail_is_handed_to_sendmail_and_tried_again_until_it_is_taken(look, tmp_path):
    host("pulled", look.root)
    box = tmp_path / "box"
    options = ("--mail", "ops@example.com", "--mail-from", "dgx01@example.com")
    rc, status, said, calls = look(*options)  # there is no sendmail yet
    assert rc == 1 and "will be tried again" in said and status["untold"] == {"/dev/md127": ["mail"]} and len(calls) == 1
    look.mail_server("exit 75\n")
    assert look(*options)[1]["untold"] == {"/dev/md127": ["mail"]}
    look.mail_server('test "$1" = -t && cat >>{0}\n'.format(box))
    for _time in range(2):
        _rc, status, _said, calls = look(*options)
        assert status["untold"] == {} and len(calls) == 1  # who was reached is not called again
    head, _blank, body = box.read_text().partition("\n\n")
    assert head.splitlines()[:2] == ["From: dgx01@example.com", "To: ops@example.com"] and "Subject: Broken event on /dev/md127:" in head
    assert body.startswith("/dev/md127 is broken. Data is missing") and box.read_text().count("Subject:") == 1
    assert len((look.directory / "history.jsonl").read_text().splitlines()) == 1


def test_a_host_without_arrays_is_healthy_and_a_damaged_status_is_written_anew(look):
    look.directory.mkdir()
    (look.directory / "status.json").write_text("{broken")
    rc, status, _said, calls = look()
    assert (rc, status["healthy"], calls) == (0, True, [])


STORCLI = {"Controllers": [{"Command Status": {"Controller": 0}, "Response Data": {"VD LIST": [
    {"DG/VD": "0/0", "State": "Optl"}, {"DG/VD": "1/1", "TYPE": "RAID0", "State": "OfLn"}, {"DG/VD": "2/2", "State": "Dgrd"}]}}]}


@pytest.mark.parametrize("printed, verdicts", [
    (json.dumps(STORCLI), {"/c0/v0": "healthy", "/c0/v1": "broken", "/c0/v2": "degraded"}),
    ("storcli64: no such thing", {"STORCLI": "missing"}),
    ('{"Controllers": [{}]}', {"STORCLI": "missing"}),
])
def test_the_volumes_of_hardware_raid_are_watched_too(look, tmp_path, printed, verdicts):
    program = tmp_path / "storcli64"
    program.write_text("#!/bin/sh\ncat {0}/printed\n".format(tmp_path))
    program.chmod(0o755)
    (tmp_path / "printed").write_text(printed)
    _rc, status, _said, _calls = look("--storcli", str(program))
    assert {what.replace(str(program), "STORCLI"): entry["verdict"] for what, entry in status["watched"].items()} == verdicts
