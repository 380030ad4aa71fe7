# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host on its way into a Slurm cluster, from one configuration to another, and back out of it."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_drain, slurm_part
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_part import (
    CONTROLLER,
    CTLD,
    DATABASE,
    DBD,
    LOGIN,
    MARIADB,
    MUNGE,
    NODE,
    SLURMD,
    Found,
    Wish,
)
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.units import RUNNING, Unit

CONF = "SelectType=select/cons_tres\nMinJobAge=300\nNodeName=dgx[01-02] CPUs=96\nPartitionName=all Nodes=ALL\n"
GRES = "NodeName=dgx[01-02] Name=gpu File=/dev/nvidia[0-15]\n"
FILES = {
    "slurm.conf": CONF, "gres.conf": GRES, "cgroup.conf": "ConstrainCores=yes\n", "slurmdbd.conf": "DbdHost=slurm01\n", "munge.key": "a2V5", "job": "#!x\n",
}
UNITS = {MUNGE: RUNNING, MARIADB: RUNNING, DBD: RUNNING, CTLD: RUNNING, SLURMD: RUNNING}


def wish(parts=(NODE,), name="dgx01", present=True, **changed):
    return Wish(present, tuple(parts), dict(FILES, **{key.replace("_", "."): text for key, text in changed.items()}), name, True)


def settled(parts=(NODE,), **more):
    """A host that is what :func:`wish` asks for."""
    wanted = wish(parts)
    record = {"units": {}, "files": {}, "restart": []}
    found = Found(frozenset(wanted.wanted_packages), UNITS, wanted.wanted_files, True, record)
    return found._replace(**more)


FRESH = Found(frozenset(), {}, {}, False, {})


@pytest.mark.parametrize("parts", [(CONTROLLER, DATABASE), (CONTROLLER,), (DATABASE,), (NODE,), (LOGIN,), (CONTROLLER, NODE), slurm_part.PARTS])
def test_a_host_that_is_what_is_wanted_is_left_alone(parts):
    change = slurm_part.decide(wish(parts), settled(parts))
    assert not change and change.diffs == []


@pytest.mark.parametrize(("parts", "packages", "files", "units"), [
    ((NODE,), ["munge", "slurm-client", "slurmd"], ["cgroup.conf", "gres.conf", "job", "munge.key", "slurm.conf"], [MUNGE, SLURMD]),
    ((LOGIN,), ["munge", "slurm-client"], ["munge.key", "slurm.conf"], [MUNGE]),
    ((CONTROLLER, DATABASE), ["mariadb-server", "munge", "slurm-client", "slurmctld", "slurmdbd"], ["gres.conf", "munge.key", "slurm.conf", "slurmdbd.conf"],
     [MUNGE, MARIADB, DBD, CTLD]),
])
def test_a_fresh_host_gets_what_its_parts_need(parts, packages, files, units):
    change = slurm_part.decide(wish(parts), FRESH)
    assert (list(change.install), sorted(change.files), [name for name, _before, _after in change.units]) == (packages, files, units)
    assert change.database is (True if DATABASE in parts else None) and change.drain == () and change.record["fresh"]


def test_a_diff_shows_no_key():
    shown = "".join(diff.before + diff.after for diff in slurm_part.decide(wish(), settled(files=dict(FILES, **{"munge.key": "b2xk"}))).diffs)
    assert shown == "(a key)\n(another key)\n"


def test_a_setting_that_daemons_take_up_restarts_nothing_and_waits_for_no_job():
    change = slurm_part.decide(wish((CONTROLLER, NODE), slurm_conf=CONF.replace("300", "200")), settled((CONTROLLER, NODE)))
    assert (change.restart, change.reconfigure, change.drain) == ((), (CTLD, SLURMD), ())


# (who, what becomes other) -> (restarted, without jobs)
@pytest.mark.parametrize(("parts", "changed", "restart", "drain"), [
    ((CONTROLLER,), {"slurm_conf": CONF.replace("cons_tres", "linear")}, [CTLD], ["dgx01", "dgx02"]),
    ((CONTROLLER,), {"slurm_conf": CONF.replace("dgx[01-02] CPUs=96", "dgx01 CPUs=96\nNodeName=dgx02 CPUs=48")}, [CTLD], ["dgx02"]),
    ((CONTROLLER,), {"slurm_conf": CONF.replace("dgx[01-02]", "dgx[01-03]")}, [CTLD], []),
    ((CONTROLLER,), {"slurm_conf": CONF.replace("dgx[01-02]", "dgx01")}, [CTLD], ["dgx02"]),
    ((CONTROLLER,), {"gres_conf": GRES + "NodeName=dgx02 Name=gpu File=/dev/nvidia16\n"}, [CTLD], ["dgx02"]),
    ((CONTROLLER,), {"cgroup_conf": "ConstrainCores=no\n"}, [], []),
    ((NODE,), {"cgroup_conf": "ConstrainCores=no\n"}, [SLURMD], ["dgx01"]),
    ((NODE,), {"slurm_conf": CONF.replace("dgx[01-02] CPUs=96", "dgx01 CPUs=96\nNodeName=dgx02 CPUs=48")}, [SLURMD], []),
    ((NODE,), {"slurm_conf": CONF + "TaskPlugin=task/cgroup\n"}, [SLURMD], ["dgx01"]),
    ((NODE,), {"job": "#!y\n"}, [], []),
    ((NODE,), {"munge_key": "bmV3"}, [MUNGE], []),
    ((LOGIN,), {"slurm_conf": CONF.replace("cons_tres", "linear")}, [], []),
    ((DATABASE,), {"slurmdbd_conf": "DbdHost=slurm02\n"}, [DBD], []),
])
def test_what_starts_anew_and_who_must_have_no_jobs(parts, changed, restart, drain):
    change = slurm_part.decide(wish(parts, **changed), settled(parts))
    assert (list(change.restart), list(change.drain)) == (restart, drain)


def test_a_daemon_that_a_run_could_no_longer_restart_is_restarted_by_the_next():
    change = slurm_part.decide(wish(), settled(record={"units": {}, "files": {}, "restart": [SLURMD]}))
    assert change and change.restart == (SLURMD,) and not change.files


def test_a_daemon_that_was_stopped_is_started():
    change = slurm_part.decide(wish(), settled(units=dict(UNITS, **{SLURMD: Unit("disabled", False)})))
    assert change.units == [(SLURMD, Unit("disabled", False), RUNNING)] and change.restart == ()


def test_a_host_is_given_back_as_it_was():
    before = FRESH._replace(packages=frozenset(["munge"]), units={MUNGE: Unit("disabled", False)}, files={"munge.key": "b2xk"})
    record = dict(slurm_part.decide(wish(), before).record, packages=["slurmd", "slurm-client"])
    assert record["files"] == {"slurm.conf": False, "gres.conf": False, "cgroup.conf": False, "job": False, "munge.key": True}
    change = slurm_part.decide(wish(present=False), settled(record=record))
    assert change.purge == ("slurmd", "slurm-client")
    assert change.units == [(MUNGE, RUNNING, Unit("disabled", False))]
    assert {name: after for name, (_before, after) in change.files.items()} == {
        "slurm.conf": None, "gres.conf": None, "cgroup.conf": None, "job": None, "munge.key": ""}


def test_a_host_that_was_never_a_part_has_nothing_to_give_back():
    assert not slurm_part.decide(wish((), present=False), FRESH._replace(files=FILES))


@pytest.mark.parametrize("record", [{"files": 1}, {"files": {"passwd": True}}, {"units": []}, {"units": {"munge.service": 5}}])
def test_a_record_of_something_else_is_told(record):
    with pytest.raises(FleetError, match="slurm_gpu.json is damaged"):
        slurm_part.check_record(record)


def test_a_service_that_came_with_its_package_is_in_the_record_as_none():
    record = slurm_part.decide(wish(), FRESH).record
    assert record["units"] == {MUNGE: None, SLURMD: None} and slurm_part.check_record(record) == record


# -- nodes without jobs ------------------------------------------------------------------------------------------------------------------

SINFO = ("sinfo", "--all", "--noheader", "--Node", "--format=%T|%E", "--nodes=dgx01")
SQUEUE = ("squeue", "--all", "--noheader", "--states=RUNNING,COMPLETING,SUSPENDED,CONFIGURING,STOPPED", "--format=%A", "--nodelist=dgx01")
DRAIN = ("scontrol", "update", "NodeName=dgx01", "State=DRAIN", "Reason=dgxops.fleet: new configuration")
RESUME = ("scontrol", "update", "NodeName=dgx01", "State=RESUME")


def said(state="idle|none", jobs=""):
    return Recorded({SINFO: Result(0, state + "\n" + state + "\n", ""), SQUEUE: Result(0, jobs, ""), DRAIN: Result(0, "", ""), RESUME: Result(0, "", "")})


def test_jobs_are_not_waited_for_unasked_and_nothing_is_drained():
    commands = said(jobs="12\n9\n")
    with pytest.raises(FleetError, match="there are jobs: 9, 12. Nothing was changed.*slurm_gpu_drain_wait") as caught:
        slurm_drain.drain(commands, ["dgx01"], 0)
    assert caught.value.details == {"jobs": ["9", "12"]} and DRAIN not in commands.asked


def test_jobs_that_do_not_end_in_time_leave_the_node_as_it_was(monkeypatch):
    monkeypatch.setattr(slurm_drain, "_PAUSE", 0.01)
    commands = said(jobs="9\n")
    with pytest.raises(FleetError, match="did not end in 0.05 s"):
        slurm_drain.drain(commands, ["dgx01"], 0.05)
    assert commands.asked[-1] == RESUME


def test_a_node_that_others_drained_stays_theirs(monkeypatch):
    monkeypatch.setattr(slurm_drain, "_PAUSE", 0.01)
    commands = said("drained|fan broken", jobs="9\n")
    with pytest.raises(FleetError):
        slurm_drain.drain(commands, ["dgx01"], 0.05)
    assert DRAIN not in commands.asked and RESUME not in commands.asked
    assert slurm_drain.settle(commands, "dgx01", 0) == slurm_drain.State("drained", "fan broken")


@pytest.mark.parametrize("state", ["down*|Not responding", "down|power supply"])
def test_a_node_that_is_down_keeps_its_reason(state):
    commands = said(state)
    slurm_drain.drain(commands, ["dgx01"], 5)
    slurm_drain.resume(commands, "dgx01", "power")
    assert DRAIN not in commands.asked and RESUME not in commands.asked


@pytest.mark.parametrize("refusals", [0, 1])
def test_a_node_that_we_drained_comes_back_also_after_a_run_that_was_cut_short(monkeypatch, refusals):
    """A slurmctld that has just started refuses to bring back a node that has not registered yet."""
    ours = "drained|dgxops.fleet: new configuration"
    states = iter([ours] * (refusals + 1) + ["idle*|none", "idle|none"])
    answers = iter([Result(1, "", "slurm_update error: Invalid node state specified")] * refusals + [Result(0, "", "")])
    commands = Recorded({})
    monkeypatch.setattr(slurm_drain, "_PAUSE", 0)
    monkeypatch.setattr(commands, "run", lambda argv, *more: Result(0, next(states), "") if tuple(argv) == SINFO else next(answers))
    assert slurm_drain.settle(commands, "dgx01", 5) == slurm_drain.State("idle", "")
    assert not list(states) and not list(answers)


@pytest.mark.parametrize(("state", "expected"), [
    ("drained|Low RealMemory (reported:100 < 100.00% of configured:200)", "It is drained, since: Low RealMemory"),
    ("inval|gres/gpu count reported lower than configured (0 < 16)", "It is inval, since: gres/gpu count"),
    ("down*|Not responding", "It is down"),
    ("idle*|none", "It is idle"),
])
def test_what_slurmctld_has_against_a_node_is_told(state, expected):
    with pytest.raises(FleetError, match=expected):
        slurm_drain.settle(said(state), "dgx01", 0)


@pytest.mark.parametrize(("said", "expected"), [
    ("State=IDLE ThreadsPerCore=2 BootTime=2026-11-23T02:04:51", ("idle", "")),
    ("State=IDLE+DRAIN ThreadsPerCore=2 Reason=a b=c d [root@2026-11-23T14:44:22]", ("drained", "a b=c d")),
    ("State=MIXED+DRAIN ThreadsPerCore=2 Reason=fan [root@2026-11-23T14:44:22] Comment=in hall 2", ("draining", "fan")),
    ("State=DOWN*+DRAIN ThreadsPerCore=2 Reason=fan", ("drained*", "fan")), ("State=IDLE+INVALID_REG X=1 Reason=gres/gpu count", ("inval", "gres/gpu count")),
])
def test_a_node_in_no_partition_is_known_too(said, expected):
    """sinfo tells of partitions only; the words are those of scontrol 24.11.5 of Debian on 2026-11-23."""
    ask = ("scontrol", "--oneliner", "show", "node", "dgx01")
    assert slurm_drain.state_of(Recorded({SINFO: Result(0, "", ""), ask: Result(0, "NodeName=dgx01 Boards=1 " + said + "\n", "")}), "dgx01") == expected


def test_a_node_that_the_controller_does_not_know_needs_the_controller():
    ask = ("scontrol", "--oneliner", "show", "node", "dgx01")
    commands = Recorded({SINFO: Result(0, "", ""), ask: Result(1, "Node dgx01 not found\n", "")})
    with pytest.raises(FleetError, match="does not know the node dgx01. Run the role on the controller too"):
        slurm_drain.settle(commands, "dgx01", 0)


def test_without_slurmctld_it_is_not_known_whether_there_are_jobs():
    with pytest.raises(FleetError, match="slurmctld does not say whether there are any"):
        slurm_drain.drain(Recorded({}), ["dgx01"], 60)
    slurm_drain.drain(Recorded({}), ["dgx01"], 60, unsure=False)
