# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of kernel modules: for when they are loaded (modprobe.d(5)), in force at once where the kernel allows that (/sys/module), and given back."""
import errno
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import records
from .commands import Commands
from .errors import FleetError
from .files import Diff, read_text, remove, write_atomic
from .sysfs import Sysfs

HEADER = "# Written by dgxops.fleet.module_options, which owns this file. See modprobe.d(5).\n"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*\Z")
_VALUE = re.compile(r"^[^\s\"'#\\]+\Z")
_TRUE, _FALSE = ("Y", "y", "1"), ("N", "n", "0")

Option = Tuple[str, str]


class Wish(NamedTuple):
    """The options of one file, by module and option; none at all takes the file away."""

    name: str
    values: Mapping[Option, str]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what modprobe.d(5) could not carry."""
        if not _NAME.match(params["name"]):
            raise FleetError("name is {0!r}, but a plain file name of letters, digits, dashes and underscores is expected.".format(params["name"]))
        values: Dict[Option, str] = {}
        given = params["modules"] if params["state"] == "present" else {}
        for module, options in (given or {}).items():
            if not _NAME.match(str(module)) or not isinstance(options, dict):
                raise FleetError("modules has {0!r}: {1!r}, but a module with its options is expected, such as sunrpc: {{tcp_slot_table_entries: 128}}.".format(
                    module, options))
            for option, value in options.items():
                text = str(int(value)) if isinstance(value, bool) else str(value)
                if not _NAME.match(str(option)) or not isinstance(value, (bool, int, str)) or not _VALUE.match(text):
                    raise FleetError("The module {0} has {1!r}: {2!r}, but an option and a number or a word are expected.".format(module, option, value))
                values[(str(module).replace("-", "_"), str(option))] = text
        return cls(params["name"], values)

    @property
    def path(self) -> str:
        """The file below the root. It is read last, and of an option that is given twice the last counts."""
        return "etc/modprobe.d/zz-dgxops-{0}.conf".format(self.name)

    @property
    def record(self) -> str:
        """Under which name the values from before the first change are remembered."""
        return "module_options-{0}".format(self.name)


class Parameter(NamedTuple):
    """An option as it stands: ``value`` is None if the module is not loaded, ``known`` is False if the module has no such option."""

    value: Optional[str]
    writable: bool
    known: bool


class Found(NamedTuple):
    """A host as it is; ``record`` are the values from before the first change, empty where the module was not loaded then."""

    parameters: Mapping[Option, Parameter]
    text: Optional[str]
    record: Mapping[Option, str]


class Step(NamedTuple):
    """One option from one value to another in the running kernel."""

    option: Option
    before: str
    after: str


class Change(NamedTuple):
    """What is to be done. ``pending`` are those that come into force when the module is loaded anew."""

    wish: Wish
    steps: Sequence[Step]
    text_before: Optional[str]
    text_after: Optional[str]
    record: Mapping[Option, str]
    pending: Sequence[Option]

    def __bool__(self) -> bool:
        return bool(self.steps) or self.text_before != self.text_after

    @property
    def diffs(self) -> List[Diff]:
        shown = [
            Diff("".join(_line(step.option, step.before) for step in self.steps), "".join(_line(step.option, step.after) for step in self.steps),
                 "module options in force"),
            Diff(self.text_before or "", self.text_after or "", "/" + self.wish.path),
        ]
        return [diff for diff in shown if diff.before != diff.after]


def read(wish: Wish, sysfs: Sysfs, commands: Commands) -> Found:
    """Read what is wanted or remembered, and the file."""
    record = _read_record(wish, sysfs)
    known: Dict[str, Optional[List[str]]] = {}
    parameters = {}
    for module, option in sorted(set(wish.values) | set(record)):
        place = "sys/module/{0}/parameters/{1}".format(module, option)
        value = sysfs.read(place)
        if value is None and module not in known:
            known[module] = _options_of(module, sysfs, commands)
        exists = value is not None or known[module] is None or option in (known[module] or [])
        parameters[(module, option)] = Parameter(value, _writable(sysfs.path(place)), exists)
    return Found(parameters, read_text(sysfs.path(wish.path)), record)


def decide(wish: Wish, found: Found) -> Change:
    """The way to the wanted options; raises :class:`FleetError` for one that a module does not have."""
    for option in sorted(wish.values):
        if not found.parameters[option].known:
            raise FleetError("The kernel module {0} has no option {1}. modinfo -p {0} shows those that it has on this kernel.".format(*option))
    goals = dict(found.record)
    goals.update(wish.values)
    steps, pending = [], []
    for option, value in sorted(goals.items()):
        now = found.parameters[option]
        if now.value is None or same(now.value, value):
            continue
        if now.writable and value:
            steps.append(Step(option, now.value, value))
        else:
            pending.append(option)
    record = {step.option: step.before for step in steps if step.option in wish.values}
    record.update({option: "" for option in wish.values if found.parameters[option].value is None})
    record.update(found.record)
    lines = "".join("options {0} {1}={2}\n".format(module, option, value) for (module, option), value in sorted(wish.values.items()))
    return Change(wish, tuple(steps), found.text, HEADER + lines if wish.values else None, record, tuple(pending))


def carry_out(change: Change, sysfs: Sysfs) -> None:
    """Do it. The record comes first and is trimmed last, so that a run cut short anywhere is completed by the next."""
    _write_record(change.wish, sysfs, change.record)
    done: List[Step] = []
    for step in change.steps:
        try:
            _set(sysfs, step.option, step.after)
            done.append(step)
        except FleetError as error:
            for taken in done:
                _set(sysfs, taken.option, taken.before)
            raise FleetError("{0} The options are as they were.".format(error.message))
    if change.text_after is None:
        remove(sysfs.path(change.wish.path))
    elif change.text_after != change.text_before:
        write_atomic(sysfs.path(change.wish.path), change.text_after)
    _write_record(change.wish, sysfs, {option: value for option, value in change.record.items() if option in change.wish.values})


def same(one: str, other: str) -> bool:
    """The kernel writes Y and N where 1 and 0 were given."""
    return one == other or any(one in words and other in words for words in (_TRUE, _FALSE))


def _set(sysfs: Sysfs, option: Option, value: str) -> None:
    place = sysfs.path("sys/module/{0}/parameters/{1}".format(*option))
    try:
        with open(place, "w") as handle:
            handle.write(value + "\n")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise FleetError("{0} cannot be written: {1}. Run the task with become: true, on the host and not in a container.".format(place, error.strerror))
        raise FleetError("The kernel refused {0} = {1} for the module {2}: {3}. modinfo -p {2} tells what it takes.".format(
            option[1], value, option[0], error.strerror))


def _writable(place: str) -> bool:
    """By its mode, and not by what root may: the kernel makes files without it read-only for everybody."""
    try:
        return bool(os.stat(place).st_mode & 0o200)
    except OSError:
        return False


def _options_of(module: str, sysfs: Sysfs, commands: Commands) -> Optional[List[str]]:
    """The options that a module has which does not tell by itself; None if nobody can tell."""
    if sysfs.root != "/":
        return None
    try:
        result = commands.run(("modinfo", "-F", "parm", module))
    except FleetError:
        return None
    return [line.partition(":")[0] for line in result.out.splitlines()] if result.rc == 0 else None


def _read_record(wish: Wish, sysfs: Sysfs) -> Dict[Option, str]:
    found = records.read(wish.record, sysfs.root)
    try:
        values = found["values"].items() if found else ()
        return {(str(module), str(option)): str(value) for module, options in values for option, value in options.items()}
    except (KeyError, AttributeError):
        raise records.damaged(wish.record)


def _write_record(wish: Wish, sysfs: Sysfs, record: Mapping[Option, str]) -> None:
    values: Dict[str, Dict[str, str]] = {}
    for (module, option), value in record.items():
        values.setdefault(module, {})[option] = value
    records.write(wish.record, {"values": values} if values else {}, sysfs.root)


def _line(option: Option, value: str) -> str:
    return "{0} {1} = {2}\n".format(option[0], option[1], value)
