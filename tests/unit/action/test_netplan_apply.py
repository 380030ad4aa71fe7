# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's side of netplan_apply, with a host and a connection that are played: what proves a change, and what is told when it fails."""
import types

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.dgxops.fleet.plugins.action import netplan_apply


class Connection:
    """Knows where it leads, and how often it was made anew."""

    def __init__(self):
        self.options = {"host": "old", "timeout": 120, "ssh_extra_args": ""}
        self.made = 0

    def get_option(self, name):
        return self.options[name]

    def set_option(self, name, value):
        self.options[name] = value

    def reset(self):
        self.made += 1


class Action(netplan_apply.ActionModule):
    """Answers by a script: a function of the address and the step."""

    def __init__(self, script, check=False, **arguments):
        self._task = types.SimpleNamespace(args=arguments, check_mode=check, async_val=0, action="netplan_apply", environment=None)
        self._connection = Connection()
        self._play_context = types.SimpleNamespace(remote_addr="old", check_mode=check)
        self._templar = self._loader = self._shared_loader_obj = None
        self.script, self.asked = script, []

    def validate_argument_spec(self, argument_spec):
        return None, {name: self._task.args.get(name, rule.get("default")) for name, rule in argument_spec.items()}

    def _execute_module(self, module_name, module_args, task_vars):
        place, step = self._connection.options["host"], module_args["step"]
        self.asked.append((place, step, self._connection.made))
        answer = self.script(place, step, self)
        if isinstance(answer, Exception):
            raise answer
        return dict({"changed": False}, **answer)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time passes only while somebody sleeps, or waits for a connection."""
    now = [1000.0]
    monkeypatch.setattr(netplan_apply, "time", types.SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds), strftime=lambda *words: "now-", gmtime=lambda: None))
    monkeypatch.setattr(netplan_apply.ActionBase, "run", lambda self, tmp, task_vars: {})
    return now


def lost(clock, seconds=10):
    clock[0] += seconds
    return AnsibleConnectionFailure("Connection timed out")


def test_nothing_waits_and_one_question_is_all():
    action = Action(lambda place, step, self: {"state": "nothing"})
    result = action.run(None, {})
    assert (result["state"], result["changed"], len(action.asked), action._connection.made) == ("nothing", False, 1, 0)


def test_check_mode_starts_nothing():
    action = Action(lambda place, step, self: {"state": "started", "changed": True, "created": ["br0"]}, check=True)
    assert action.run(None, {})["created"] == ["br0"] and [step for _place, step, _made in action.asked] == ["look"]


def test_only_a_connection_that_was_made_after_the_change_confirms_it():
    answers = {"look": {"state": "started"}, "start": {"state": "started", "created": ["br0"]}, "wait": {"state": "in_force"},
               "confirm": {"state": "confirmed", "changed": True}}
    action = Action(lambda place, step, self: answers[step])
    result = action.run(None, {})
    assert (result["state"], result["changed"], result["created"]) == ("confirmed", True, ["br0"])
    made = {step: made for _place, step, made in action.asked}
    assert made["confirm"] > made["wait"] > made["start"] > made["look"]
    assert action._connection.options["timeout"] == 15 and "ServerAliveInterval" in str(action._connection.options["ssh_extra_args"])


def test_a_connection_that_breaks_at_the_start_is_no_failure(clock):
    answers = {"look": {"state": "started"}, "start": AnsibleConnectionFailure("broken pipe"), "wait": {"state": "in_force"},
               "confirm": {"state": "confirmed", "changed": True}}
    assert Action(lambda place, step, self: answers[step]).run(None, {})["state"] == "confirmed"


def test_at_another_address_only_that_address_confirms(clock):
    def script(place, step, self):
        if step in ("look", "start"):
            return {"state": "started"}
        if place == "old":
            return lost(clock)
        return {"state": "in_force"} if step == "wait" else {"state": "confirmed", "changed": True}

    action = Action(script, address="new", timeout=90)
    assert action.run(None, {})["state"] == "confirmed" and action._connection.options["host"] == "new"
    assert {place for place, step, _made in action.asked if step == "confirm"} == {"new"}


def test_the_old_address_does_not_confirm_a_change_that_promised_another(clock):
    def script(place, step, self):
        if step in ("look", "start"):
            return {"state": "started"}
        if place == "new":
            return lost(clock)
        return {"state": "in_force"} if clock[0] < 1090 else {"state": "rolled_back", "reason": "the change was not confirmed within 90 s"}

    action = Action(script, address="new", timeout=90)
    result = action.run(None, {})
    assert result["failed"] and not result["changed"] and result["state"] == "rolled_back"
    assert "The host took the change back, since the change was not confirmed within 90 s. Files, links and addresses are as before." in result["msg"]
    assert "new: Connection timed out" in result["msg"] and action._connection.options["host"] == "old"
    assert "confirm" not in [step for _place, step, _made in action.asked]


def test_what_was_seen_at_the_new_address_is_told_however_much_goes_wrong_at_the_old_one(clock):
    def script(place, step, self):
        if step in ("look", "start"):
            return {"state": "started"}
        if step == "outcome":
            return {"state": "rolled_back", "reason": "the change was not confirmed within 45 s"} if clock[0] > 1080 else lost(clock)
        clock[0] += 5
        return AnsibleConnectionFailure("no way there" if place == "new" else "port {0} closed the connection".format(clock[0]))

    result = Action(script, address="new", timeout=45).run(None, {})
    assert result["state"] == "rolled_back" and "new: no way there" in result["msg"] and result["msg"].count("old: ") == 1


def test_the_reason_of_the_host_is_told_with_what_did_not_come_back(clock):
    def script(place, step, self):
        if step in ("look", "start"):
            return {"state": "started"}
        told = {"state": "rolled_back", "reason": "netplan apply failed with status 1: no", "failed_steps": ["netplan apply failed"]}
        return dict(told, missing=["10.0.0.1/24 on br0"])

    result = Action(script).run(None, {})
    assert "netplan apply failed with status 1" in result["msg"] and "did not come back: 10.0.0.1/24 on br0" in result["msg"]
    assert result["failed_steps"] == ["netplan apply failed"]


def test_a_host_that_stays_away_is_told_with_the_times(clock):
    def script(place, step, self):
        return {"state": "started"} if step in ("look", "start") else lost(clock)

    result = Action(script, timeout=60).run(None, {})
    assert result["failed"] and result["state"] == "unreachable"
    assert "cannot be reached at old, 120 s after it should have taken the change back" in result["msg"]
    assert clock[0] < 1000 + 60 + 120 + 30


@pytest.mark.parametrize("timeout", [0, 19, 3601])
def test_a_time_that_makes_no_sense_is_refused(timeout):
    result = Action(lambda place, step, self: {}, timeout=timeout).run(None, {})
    assert result["failed"] and "from 20 to 3600" in result["msg"]


def test_a_refusal_of_the_host_is_passed_on():
    answers = {"look": {"state": "started"}, "start": {"failed": True, "msg": "The roll-back could not be armed, so nothing was applied"}}
    result = Action(lambda place, step, self: answers[step]).run(None, {})
    assert result["failed"] and "could not be armed" in result["msg"]
