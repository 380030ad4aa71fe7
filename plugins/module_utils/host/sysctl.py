# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel settings by sysctl: in force now, kept over a reboot by a file of their own, and given back as they were.

``echo N | tee /etc/sysctl.conf``, as the Best Practices have it (sections 12.3.1 and 12.4.1), destroys that file and sets nothing; a file in
/etc/sysctl.d is what sysctl.d(5) provides for this.
"""
import errno
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import records
from .errors import FleetError
from .files import Diff, read_text, remove, write_atomic
from .kept import SYSCTL, SYSCTL_PREFIX
from .sysfs import Sysfs

HEADER = "# Written by dgxops.fleet.sysctl_dropin, which owns this file. See sysctl.d(5).\n"

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_KEY = re.compile(r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_.:@-]+)+\Z")


class Wish(NamedTuple):
    """The settings of one file; none at all takes the file away."""

    name: str
    values: Mapping[str, str]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for a name or value that sysctl.d(5) cannot carry."""
        if not _NAME.match(params["name"]):
            raise FleetError("name is {0!r}, but a plain file name of letters, digits, dots, dashes and underscores is expected.".format(params["name"]))
        given = params["values"] if params["state"] == "present" else {}
        return cls(params["name"], {str(key): _value(str(key), value) for key, value in (given or {}).items()})

    @property
    def path(self) -> str:
        """The file below the root. It is read last, so that no other file has the last word: systemd-sysctl sorts by file name alone."""
        return "{0}/{1}{2}.conf".format(SYSCTL, SYSCTL_PREFIX, self.name)

    @property
    def record(self) -> str:
        """Under which name the values from before the first change are remembered."""
        return "sysctl-{0}".format(self.name)


class Found(NamedTuple):
    """What is in force (None: the kernel has no such setting), the file, and the values from before the first change."""

    in_force: Mapping[str, Optional[str]]
    text: Optional[str]
    record: Mapping[str, str]


class Step(NamedTuple):
    """One setting from one value to another."""

    key: str
    before: str
    after: str


class Change(NamedTuple):
    """What is to be done: steps in the kernel, the file from one text to another (None: no file), and what is remembered."""

    wish: Wish
    steps: Sequence[Step]
    text_before: Optional[str]
    text_after: Optional[str]
    record: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.steps) or self.text_before != self.text_after

    @property
    def diffs(self) -> List[Diff]:
        """What ``--diff`` shows: the values in force, and the file."""
        before, after = ((step.key, step.before) for step in self.steps), ((step.key, step.after) for step in self.steps)
        shown = [Diff(_lines(before), _lines(after), "kernel settings in force")]
        text = [Diff(self.text_before or "", self.text_after or "", "/" + self.wish.path)]
        return (shown if self.steps else []) + (text if self.text_before != self.text_after else [])


def decide(wish: Wish, found: Found) -> Change:
    """The way to the wanted settings; raises :class:`FleetError` for one that this kernel does not have."""
    for key in sorted(wish.values):
        if found.in_force.get(key) is None:
            raise FleetError(
                "This kernel has no setting {0}: there is no /{1}. Check its spelling; some appear only once their module is loaded.".format(key, path_of(key))
            )
    goal = dict(found.record)
    goal.update(wish.values)
    steps = []
    for key, value in sorted(goal.items()):
        now = found.in_force.get(key)
        if now is not None and now != value:  # a setting that went away with its module needs no giving back
            steps.append(Step(key, now, value))
    record = {step.key: step.before for step in steps if step.key in wish.values}
    record.update(found.record)
    return Change(wish, tuple(steps), found.text, HEADER + _lines(sorted(wish.values.items())) if wish.values else None, record)


def path_of(key: str) -> str:
    """The kernel's file of a setting below the root; a dot in a name is written as a slash and the other way round (sysctl.d(5))."""
    if not _KEY.match(key) or ".." in key:
        raise FleetError("{0!r} is no kernel setting. Write it as sysctl does, such as kernel.numa_balancing.".format(key))
    separator = next(letter for letter in key if letter in "./")
    return "proc/sys/" + (key if separator == "/" else key.translate({ord("."): "/", ord("/"): "."}))


def read(wish: Wish, sysfs: Sysfs, also: Iterable[str] = ()) -> Found:
    """Read the settings that are wanted or remembered (and ``also`` these), and the file."""
    record = _read_record(wish, sysfs)
    keys = set(wish.values) | set(record) | set(also)
    in_force = {key: sysfs.read(path_of(key)) for key in keys}
    return Found({key: None if value is None else _plain(value) for key, value in in_force.items()}, read_text(sysfs.path(wish.path)), record)


def carry_out(change: Change, sysfs: Sysfs) -> None:
    """Do it, and verify it. The record comes first and is trimmed last, so that a run cut short anywhere is completed by the next."""
    _write_record(change.wish, sysfs, change.record)
    done: List[Step] = []
    for step in change.steps:
        try:
            done.append(step)
            _set(sysfs, step.key, step.after)
        except FleetError as error:
            for taken in done:
                _put_back(sysfs, taken)
            raise FleetError("{0} The settings are as they were.".format(error.message))
    if change.text_after is None:
        remove(sysfs.path(change.wish.path))
    elif change.text_after != change.text_before:
        write_atomic(sysfs.path(change.wish.path), change.text_after)
    _write_record(change.wish, sysfs, {key: value for key, value in change.record.items() if key in change.wish.values})


def _set(sysfs: Sysfs, key: str, value: str) -> None:
    place = sysfs.path(path_of(key))
    try:
        with open(place, "w") as handle:
            handle.write(value + "\n")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise FleetError(
                "/{0} cannot be written: {1}. Run the task with become: true, on the host and not in a container.".format(path_of(key), error.strerror)
            )
        raise FleetError("The kernel refused {0} = {1}: {2}. Look up what it takes in the kernel's documentation.".format(key, value, error.strerror))
    got = _plain(sysfs.read(path_of(key)) or "")
    if got != value:
        raise FleetError("The kernel made {0} of {1} = {2}. Ask for a value that it keeps.".format(got or "nothing", key, value))


def _put_back(sysfs: Sysfs, step: Step) -> None:
    try:
        _set(sysfs, step.key, step.before)
    except FleetError:
        pass  # the first failure is the one to tell


def _read_record(wish: Wish, sysfs: Sysfs) -> Dict[str, str]:
    found = records.read(wish.record, sysfs.root)
    try:
        return {str(key): str(value) for key, value in found["values"].items()} if found else {}
    except (KeyError, AttributeError):
        raise records.damaged(wish.record)


def _write_record(wish: Wish, sysfs: Sysfs, record: Mapping[str, str]) -> None:
    records.write(wish.record, {"values": dict(record)} if record else {}, sysfs.root)


def _value(key: str, value: Any) -> str:
    path_of(key)
    if isinstance(value, bool):
        return str(int(value))
    text = _plain(str(value)) if isinstance(value, (int, str)) else ""
    if not text or "\n" in str(value).strip():
        raise FleetError("{0} is {1!r}, but a number or one line of text is expected.".format(key, value))
    return text


def _plain(value: str) -> str:
    """A value with single blanks: the kernel shows ``4096 131072 6291456`` with tabs."""
    return " ".join(value.split())


def _lines(pairs: Iterable[Tuple[str, str]]) -> str:
    return "".join("{0} = {1}\n".format(key, value) for key, value in pairs)
