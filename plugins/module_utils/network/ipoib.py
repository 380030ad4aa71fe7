# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""IP over InfiniBand: mode and MTU of its interfaces, at once and after a reboot, and given back.

In connected mode a frame has up to 65520 bytes; in datagram mode as much as the fabric's MTU less 4, so 2044 or 4092
(Documentation/infiniband/ipoib.rst of the kernel).
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host import records
from ..host.errors import FleetError
from ..host.files import Diff, read_text, remove, write_atomic
from ..host.sysfs import Sysfs

RULE = "etc/udev/rules.d/99-zz-dgxops-ipoib.rules"
RECORD = "ipoib"
HEADER = "# Written by dgxops.fleet.ipoib, which owns this file. See udev(7).\n"
LARGEST = {"connected": 65520, "datagram": 4092}
#: ARPHRD_INFINIBAND (include/uapi/linux/if_arp.h).
_INFINIBAND = "32"
_INTERFACE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")


class State(NamedTuple):
    """An interface. ``mode`` is None where its driver has none, as that of newer Mellanox adapters with accelerated (enhanced) IPoIB."""

    mode: Optional[str]
    mtu: int


class Wish(NamedTuple):
    """What a play asks for; checked."""

    interfaces: Tuple[str, ...]
    mode: str
    mtu: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        if params["state"] == "absent":
            return cls((), "", 0)
        mode = params["mode"]
        mtu = LARGEST[mode] if params["mtu"] is None and mode == "connected" else params["mtu"] if params["mtu"] is not None else 2044
        if not 68 <= mtu <= LARGEST[mode]:
            raise FleetError("mtu is {0}, but in {1} mode a number from 68 to {2} is expected.".format(mtu, mode, LARGEST[mode]))
        for name in params["interfaces"]:
            if not _INTERFACE.match(name):
                raise FleetError("interfaces has {0!r}, but the name of an interface is expected, such as ib0.".format(name))
        return cls(tuple(dict.fromkeys(params["interfaces"])), mode, mtu)


class Found(NamedTuple):
    """A host as it is. An interface that is not there, or is none of InfiniBand, is left out of ``interfaces``; ``other`` are those that are there."""

    interfaces: Mapping[str, State]
    other: Sequence[str]
    rule: Optional[str]
    record: Mapping[str, State]


class Step(NamedTuple):
    """An interface from one state to another."""

    name: str
    before: State
    after: State


class Change(NamedTuple):
    """What is to be done, and what is remembered meanwhile."""

    steps: Tuple[Step, ...]
    rule_before: Optional[str]
    rule_after: Optional[str]
    record: Mapping[str, State]
    kept: Mapping[str, State]

    def __bool__(self) -> bool:
        return bool(self.steps) or self.rule_before != self.rule_after

    @property
    def diffs(self) -> List[Diff]:
        text = "{0}: {1}, MTU {2}\n"
        shown = [
            Diff("".join(text.format(step.name, *step.before) for step in self.steps), "".join(text.format(step.name, *step.after) for step in self.steps),
                 "IPoIB interfaces"),
            Diff(self.rule_before or "", self.rule_after or "", "/" + RULE),
        ]
        return [diff for diff in shown if diff.before != diff.after]


def read(wish: Wish, sysfs: Sysfs) -> Found:
    """Read the interfaces that are wanted or remembered."""
    record = _read_record(sysfs)
    present = [name for name in sysfs.entries("sys/class/net") if sysfs.read("sys/class/net/{0}/type".format(name)) == _INFINIBAND]
    found = {}
    for name in set(wish.interfaces) | set(record):
        if name in present:
            found[name] = State(sysfs.read("sys/class/net/{0}/mode".format(name)), sysfs.number("sys/class/net/{0}/mtu".format(name), 0))
    return Found(found, present, read_text(sysfs.path(RULE)), record)


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects."""
    goals: Dict[str, State] = {}
    for name in wish.interfaces:
        now = found.interfaces.get(name)
        if now is None:
            raise FleetError("{0} is no IPoIB interface of this host. It has {1}.".format(name, ", ".join(found.other) or "none"))
        if now.mode is None and wish.mode == "connected":
            raise FleetError(
                "{0} knows no connected mode: its driver runs with accelerated IPoIB. Set the option ipoib_enhanced of the module ib_ipoib to 0 "
                "(dgxops.fleet.module_options) and reboot, or ask for the mode datagram.".format(name))
        goals[name] = State(wish.mode if now.mode is not None else None, wish.mtu)
    lines = [
        '{0}=="{1}", ACTION=="add", SUBSYSTEM=="net", {2}ATTR{{mtu}}="{3}"\n'.format(
            key, name, 'ATTR{{mode}}="{0}", '.format(goal.mode) if goal.mode else "", goal.mtu)
        for name, goal in sorted(goals.items()) for key in ("KERNEL", "NAME")
    ]
    back = {name: before for name, before in found.record.items() if name not in goals and name in found.interfaces}
    steps = tuple(
        Step(name, found.interfaces[name], goal) for name, goal in sorted(list(goals.items()) + list(back.items())) if found.interfaces[name] != goal)
    record = {step.name: step.before for step in steps if step.name in goals}
    record.update(found.record)
    return Change(steps, found.rule, HEADER + "".join(lines) if lines else None, record, {name: state for name, state in record.items() if name in goals})


def carry_out(change: Change, sysfs: Sysfs) -> None:
    """Do it. What was found is on the disk before the first step; if the kernel refuses a step, all go back."""
    _write_record(change.record, sysfs)
    done: List[Step] = []
    for step in change.steps:
        try:
            done.append(step)
            _set(step.name, step.after, sysfs)
        except FleetError as error:
            for taken in reversed(done):
                _try(taken.name, taken.before, sysfs)
            raise FleetError("{0} The interfaces are as they were.".format(error.message))
    if change.rule_after is None:
        remove(sysfs.path(RULE))
    elif change.rule_after != change.rule_before:
        write_atomic(sysfs.path(RULE), change.rule_after)
    _write_record(change.kept, sysfs)


def _set(name: str, state: State, sysfs: Sysfs) -> None:
    """The mode first: it decides how large the MTU may be."""
    wanted = [("mode", state.mode), ("mtu", str(state.mtu))]
    for key, value in wanted:
        place = "sys/class/net/{0}/{1}".format(name, key)
        if value is None or sysfs.read(place) == value:
            continue
        try:
            with open(sysfs.path(place), "w") as handle:
                handle.write(value + "\n")
        except OSError as error:
            hint = "The fabric's own MTU (its partition, opensm) may be smaller." if key == "mtu" else "Its driver may run with accelerated IPoIB."
            raise FleetError("The kernel refused the {0} {1} for {2}: {3}. {4}".format(key, value, name, error.strerror, hint))


def _try(name: str, state: State, sysfs: Sysfs) -> None:
    try:
        _set(name, state, sysfs)
    except FleetError:
        pass  # the first failure is the one to tell


def _read_record(sysfs: Sysfs) -> Dict[str, State]:
    found = records.read(RECORD, sysfs.root)
    try:
        return {str(name): State(None if mode is None else str(mode), int(mtu)) for name, (mode, mtu) in found.items()}
    except (ValueError, TypeError):
        raise records.damaged(RECORD)


def _write_record(record: Mapping[str, State], sysfs: Sysfs) -> None:
    records.write(RECORD, {name: list(state) for name, state in record.items()}, sysfs.root)
