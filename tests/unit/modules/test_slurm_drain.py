# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module slurm_drain as a playbook meets it, with a slurmctld that is played."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_drain as core
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.modules import slurm_drain

from .run_module import run_module

OURS = "dgxops.fleet: maintenance"


class Controller(Commands):
    """One node, dgx01, and for how many questions a job still runs there."""

    def __init__(self):
        super().__init__()
        self.node, self.left, self.updates = "idle|none", 0, []

    def run(self, argv, timeout=None, text_in=None):
        words = list(argv)
        if words[0] == "sinfo":
            return Result(0, self.node + "\n" if words[-1] == "--nodes=dgx01" else "", "")
        if words[0] == "squeue":
            self.left = max(0, self.left - 1)
            return Result(0, "17\n" if self.left else "", "")
        self.updates.append(words[3])
        self.node = "idle|none" if words[3] == "State=RESUME" else "drained|" + words[4][len("Reason="):]
        return Result(0, "", "")


@pytest.fixture
def controller(monkeypatch):
    played = Controller()
    monkeypatch.setattr(slurm_drain, "Commands", lambda **more: played)
    monkeypatch.setattr(core, "_PAUSE", 0.01)
    return played


def run(check=False, **options):
    return run_module(slurm_drain.main, dict({"name": "dgx01"}, **options), check)


def test_a_node_is_drained_until_its_jobs_have_ended_and_comes_back(controller):
    controller.left = 4
    done = run()
    assert (done["changed"], done["node"], controller.left) == (True, {"state": "drained", "reason": OURS}, 0)
    assert (done["diff"]["before"], done["diff"]["after"]) == ("idle\n", "drained, since: dgxops.fleet: maintenance\n")
    assert not run()["changed"]
    assert run(state="resumed")["node"] == {"state": "idle", "reason": ""}
    assert not run(state="resumed")["changed"]


def test_check_mode_foretells_it_and_waits_for_nobody(controller):
    controller.left = 1000
    assert run(check=True)["changed"] and controller.updates == []
    assert not run(check=True, state="resumed")["changed"]


def test_jobs_that_do_not_end_are_named_and_the_node_takes_jobs_as_before(controller):
    controller.left = 1000
    answer = run(wait=0.05)
    assert answer["failed"] and answer["jobs"] == ["17"] and "give this task more time by wait" in answer["msg"]
    assert controller.updates == ["State=DRAIN", "State=RESUME"] and controller.node == "idle|none"


def test_without_a_wait_a_node_with_jobs_is_not_touched(controller):
    controller.left = 1000
    assert run(wait=0)["failed"] and controller.updates == []


@pytest.mark.parametrize("node", ["drained|bad fan", "down*|Not responding", "drained|dgxops.fleet: new configuration"])
def test_what_others_said_of_a_node_stays(controller, node):
    controller.node = node
    assert not run()["changed"] and not run(state="resumed")["changed"]
    assert controller.updates == []


def test_a_node_that_slurm_does_not_know_is_named(controller):
    answer = run(name="dgx77")
    assert answer["failed"] and "does not know the node dgx77" in answer["msg"]
