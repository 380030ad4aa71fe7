# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Programs answer, fail, hang or are missing; in each case the caller knows which."""
import os
import sys
import time

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError


def script(tmp_path, text, mode=0o755):
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(mode)
    return str(path)


def test_a_program_gives_its_status_and_both_outputs(tmp_path):
    assert Commands().run([script(tmp_path, "echo out; echo err >&2; exit 3")]) == Result(3, "out\n", "err\n")


def test_a_program_gets_its_input_and_speaks_plain_english(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    assert Commands().run([script(tmp_path, 'cat; echo "$LC_ALL $LANGUAGE"')], text_in="gr\u00fc\u00df\n").out == "gr\u00fc\u00df\nC C\n"


def test_a_program_without_input_does_not_wait_for_the_terminal(tmp_path):
    assert Commands(timeout=20).run([script(tmp_path, "cat; echo done")]).out == "done\n"


def test_output_that_is_no_text_does_not_stop_the_module(tmp_path):
    assert Commands().run([script(tmp_path, "printf '\\377ok'")]).out == "\ufffdok"


@pytest.mark.parametrize("path", ["", "/usr/bin"])
def test_programs_of_the_system_are_found_whatever_the_users_path(monkeypatch, path):
    monkeypatch.setenv("PATH", path)
    said = Commands().run(["sh", "-c", "echo $PATH"]).out.strip().split(":")
    assert "/usr/sbin" in said and "" not in said, "an empty part would mean the current directory"


def test_a_missing_program_is_named():
    with pytest.raises(FleetError, match="The program mdadm-of-mars is not installed on this host"):
        Commands().run(["mdadm-of-mars", "--detail"])


def test_a_program_that_may_not_be_run_says_how_to(tmp_path):
    with pytest.raises(FleetError, match="Run the task with become"):
        Commands().run([script(tmp_path, "", mode=0o644)])


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path):
    note = tmp_path / "child"
    started = time.monotonic()
    with pytest.raises(FleetError, match="did not end within 0.5 s and was stopped"):
        Commands(timeout=0.5).run([script(tmp_path, "sleep 60 & echo $! >{0}; wait".format(note))])
    assert time.monotonic() - started < 20, "the child held the pipe and the module waited for it"
    assert not _alive(int(note.read_text()))


def _alive(number):
    for _attempt in range(50):
        try:
            with open("/proc/{0}/stat".format(number)) as handle:
                if handle.read().rpartition(")")[2].split()[0] == "Z":
                    return False
        except FileNotFoundError:
            return False
        time.sleep(0.1)
    return True


def test_output_is_for_programs_that_must_succeed(tmp_path):
    assert Commands().output([sys.executable, "-c", "print(5)"]) == "5\n"
    program = script(tmp_path, "echo no such array >&2; echo really >&2; exit 4")
    with pytest.raises(FleetError, match="program --detail failed with status 4 and said: no such array; really"):
        Commands().output([program, "--detail"])


def test_a_program_that_fails_silently_is_reported_as_such(tmp_path):
    with pytest.raises(FleetError, match="failed with status 1 and said: nothing"):
        Commands().output([script(tmp_path, "exit 1")])


def test_a_program_that_crashed_is_told_by_its_signal(tmp_path):
    with pytest.raises(FleetError, match="was ended by signal 11 and said: nothing"):
        Commands().output([script(tmp_path, "kill -SEGV $$")])


def test_a_users_preferences_are_not_for_programs_whose_answers_are_relied_on(tmp_path, monkeypatch):
    """/etc/environment may say SQUEUE_PARTITION=debug, and jobs elsewhere would not be seen."""
    monkeypatch.setenv("SQUEUE_PARTITION", "debug")
    program = script(tmp_path, "echo ${SQUEUE_PARTITION-all}")
    assert (Commands().output([program]), Commands(unseen=("SQUEUE_",)).output([program])) == ("debug\n", "all\n")


def test_a_recording_answers_for_the_programs_and_keeps_the_order_of_questions():
    recorded = Recorded({("mdadm", "--version"): Result(0, "mdadm - v4.2\n", "")})
    assert recorded.output(["mdadm", "--version"]) == "mdadm - v4.2\n"
    with pytest.raises(FleetError, match="The program storcli64 is not installed"):
        recorded.run(["storcli64", "show"])
    assert recorded.asked == [("mdadm", "--version"), ("storcli64", "show")]


def test_the_environment_of_the_module_is_left_alone():
    before = dict(os.environ)
    Commands().run(["true"])
    assert dict(os.environ) == before
