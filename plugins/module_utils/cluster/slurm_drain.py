# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes without jobs for as long as something disturbs them, and what slurmctld thinks of a node."""
import contextlib
import re
import time
from typing import List, NamedTuple, Sequence

from ..host import cpuset
from ..host.commands import Commands
from ..host.errors import FleetError
from .slurm_part import MARK

#: Seconds between two questions whether jobs have ended; slurmctld is asked less and less often.
_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
#: What a user can do about jobs that are in the way of a new configuration.
_REMEDY = "Wait for them, or give slurm_gpu_drain_wait the seconds for which the role may keep new jobs off and wait for these."
_BEGUN = "RUNNING,COMPLETING,SUSPENDED,CONFIGURING,STOPPED"
#: Variables by which users have squeue and sinfo leave out what they do not care for, or ask another cluster.
PREFERENCES = ("SQUEUE_", "SINFO_", "SCONTROL_", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT")
_BY_SLURM = ("Low ", "gres/", "Node configuration differs")


class State(NamedTuple):
    """A node as ``sinfo`` tells of it: ``idle``, ``draining``, ``down*`` …, and why."""

    state: str
    reason: str

    def to_text(self) -> str:
        return "{0}{1}\n".format(self.state, ", since: " + self.reason if self.reason else "")

    @property
    def drained(self) -> bool:
        return self.state.startswith("drain")

    @property
    def in_service(self) -> bool:
        """Whether jobs may begin there, as far as anybody has said. One that is drained or down already is so for a reason that must not get lost."""
        return not self.drained and not self.state.startswith("down")

    @property
    def usable(self) -> bool:
        """Whether slurmctld has a slurmd there that is what its line says."""
        return not self.state.endswith("*") and not self.state.startswith(("down", "unknown", "inval", "error", "fail", "not there"))


def drain(commands: Commands, nodes: Sequence[str], wait: float, unsure: bool = True, reason: str = MARK, remedy: str = _REMEDY) -> None:
    """Let no more jobs begin on these nodes, for this reason, and wait until those that run have ended.

    If they do not end in ``wait`` seconds, the nodes are as they were before and :class:`FleetError` names the jobs and the remedy. ``unsure``: where
    slurmctld cannot be asked, that is a failure too, and not taken for no jobs.
    """
    if not nodes:
        return
    try:
        before = {name: state_of(commands, name) for name in nodes}
        running = jobs_on(commands, nodes)
    except FleetError as error:
        if not unsure:
            return
        raise FleetError("This changes what jobs on {0} rely on, and slurmctld does not say whether there are any: {1}".format(
            cpuset.show_hosts(nodes), error.message))
    ours = [name for name, state in before.items() if state.in_service]
    if running and wait <= 0:
        _refuse(nodes, running, wait, remedy)
    if ours:
        _update(commands, ours, ["State=DRAIN", "Reason=" + reason])
    end, pause = time.monotonic() + wait, _PAUSE
    running = jobs_on(commands, nodes)
    while running and time.monotonic() < end:
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(_LONGEST_PAUSE, pause * 1.5)
        running = jobs_on(commands, nodes)
    if running:
        if ours:
            _update(commands, ours, ["State=RESUME"])
        _refuse(nodes, running, wait, remedy)


def resume(commands: Commands, name: str, reason: str) -> None:
    """Let jobs begin again on a node that was drained for this reason; one that was drained for another stays so."""
    if is_drained_for(state_of(commands, name), reason):
        _update(commands, [name], ["State=RESUME"])


def is_drained_for(state: State, reason: str) -> bool:
    """Whether a node is drained for a reason that begins so."""
    return state.drained and state.reason.startswith(reason)


def check_no_jobs(commands: Commands) -> None:
    """Raise :class:`FleetError` if jobs run anywhere; a controller that does not answer has none to lose."""
    try:
        running = commands.output(["squeue", "--all", "--noheader", "--states=" + _BEGUN, "--format=%A"]).split()
    except FleetError:
        return
    if running:
        raise FleetError("The controller is to go, and there are jobs: {0}. Nothing was changed. Give the nodes back first, or wait for the jobs.".format(
            ", ".join(sorted(set(running), key=int))), jobs=running)


def jobs_on(commands: Commands, nodes: Sequence[str]) -> List[str]:
    """The numbers of the jobs that have begun on these nodes and not ended."""
    text = commands.output(["squeue", "--all", "--noheader", "--states=" + _BEGUN, "--format=%A",
                            "--nodelist=" + cpuset.show_hosts(nodes)])
    return sorted(set(text.split()), key=int)


def state_of(commands: Commands, name: str) -> State:
    """What slurmctld thinks of a node; ``not there`` if it knows none of that name."""
    text = commands.output(["sinfo", "--all", "--noheader", "--Node", "--format=%T|%E", "--nodes=" + name])
    if not text.strip():
        return _state_outside_partitions(commands, name)
    state, _bar, reason = text.strip().splitlines()[0].partition("|")
    return State(state.strip(), "" if reason.strip() == "none" else reason.strip())


def _state_outside_partitions(commands: Commands, name: str) -> State:
    """The state of a node in no partition, of which sinfo does not tell, in sinfo's words."""
    told = commands.run(["scontrol", "--oneliner", "show", "node", name])
    match = re.search(r" State=(\S+)", told.out)
    if told.rc != 0 or not match:
        return State("not there", "")
    base, *flags = match.group(1).lower().split("+")
    reason = re.search(r" Reason=(.*?)(?: \[[^\]]*\])?(?: [A-Z]\w+=.*)?\s*$", told.out)
    if "invalid_reg" in flags:
        base = "inval"
    elif "drain" in flags:
        base = ("drained" if base.startswith(("idle", "down")) else "draining") + ("*" if base.endswith("*") else "")
    return State(base, reason.group(1) if reason else "")


def known(commands: Commands, name: str) -> State:
    """What slurmctld thinks of a node; raises :class:`FleetError` if it does not know it."""
    state = state_of(commands, name)
    if state.state == "not there":
        raise FleetError("slurmctld does not know the node {0}. See sinfo --Node for the names that it knows.".format(name))
    return state


def settle(commands: Commands, name: str, wait: float) -> State:
    """The node's state once slurmctld can use it, and brought back if it was us who drained it, now or in a run that was cut short.

    Raises :class:`FleetError` with slurmctld's reason if it cannot use the node in time.
    """
    end = time.monotonic() + wait
    while True:
        try:
            state = state_of(commands, name)
        except FleetError as error:
            state = State("unknown", error.message)
        if state.usable and is_drained_for(state, MARK):
            # A slurmctld that has just started refuses this until the node's slurmd has registered. After it, and until the node is asked the next time,
            # slurmctld takes it for one that does not respond.
            with contextlib.suppress(FleetError):
                _update(commands, [name], ["State=RESUME"])
        elif state.usable and not (state.drained and state.reason.startswith(_BY_SLURM)):
            return state
        if time.monotonic() >= end:
            break
        time.sleep(_PAUSE)
    if state.state == "not there":
        raise FleetError("slurmctld does not know the node {0}. Run the role on the controller too: it is the one that takes new nodes up.".format(name))
    hint = "If that is repaired, bring it back: scontrol update NodeName={0} State=RESUME".format(name) if state.usable else \
        "The log of slurmd on the node and that of slurmctld say more."
    raise FleetError("slurmctld does not use the node {0}. It is {1}{2}. {3}".format(
        name, state.state, ", since: " + state.reason if state.reason else "", hint), state=state.state, reason=state.reason)


def _update(commands: Commands, nodes: Sequence[str], words: Sequence[str]) -> None:
    commands.output(["scontrol", "update", "NodeName=" + cpuset.show_hosts(nodes)] + list(words))


def _refuse(nodes: Sequence[str], running: Sequence[str], wait: float, remedy: str) -> None:
    waited = " They did not end in {0:g} s.".format(wait) if wait > 0 else ""
    raise FleetError(
        "This changes what jobs on {0} rely on, and there are jobs: {1}.{2} Nothing was changed. {3}".format(
            cpuset.show_hosts(nodes), ", ".join(running), waited, remedy), jobs=list(running))
