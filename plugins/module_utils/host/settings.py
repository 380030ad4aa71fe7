# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files and units of a host that belong together: from what is found to what is wanted, and back to what was there before the first change.

A file is given as the whole text it shall have; whoever edits one that is not its own computes that text from the one found, and says how to take
its edit out of a text that others have changed meanwhile.
"""
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from . import records
from .files import Diff
from .units import Unit

#: Takes one's own edit out of a text; given the text and what is remembered of the first change.
Undo = Callable[[str, Mapping[str, Any]], str]


class State(NamedTuple):
    """The files, by path below the root (None: there is none), and the units; a unit that does not exist is left out."""

    files: Mapping[str, Optional[str]]
    units: Mapping[str, Unit]


class Change(NamedTuple):
    """From one state to another. ``record`` is remembered while it is made, and afterwards if ``keep``; ``restart`` are units to start anew."""

    before: State
    after: State
    record: Mapping[str, Any]
    keep: bool
    restart: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.before != self.after or bool(self.restart) or self.reload

    @property
    def reload(self) -> bool:
        """Whether systemd has to read its files anew, be it for a run that was cut short before it did."""
        return bool(self.record.get("reload")) or any(path.startswith("etc/systemd/") or path == "etc/fstab" for path in self.changed_files)

    @property
    def changed_files(self) -> List[str]:
        return [path for path, text in self.after.files.items() if text != self.before.files.get(path)]

    @property
    def changed_units(self) -> List[str]:
        return [name for name, unit in self.after.units.items() if unit != self.before.units.get(name)]

    @property
    def diffs(self) -> List[Diff]:
        shown = [Diff(self.before.files.get(path) or "", self.after.files[path] or "", "/" + path) for path in self.changed_files]
        units = self.changed_units
        if units:
            shown.append(Diff(_units(self.before, units), _units(self.after, units), "services"))
        return shown


def decide(found: State, wanted: State, record: Mapping[str, Any], restarts: Mapping[str, Tuple[str, ...]], undo: Mapping[str, Undo],
           kept: Optional[Mapping[str, Any]] = None) -> Change:
    """The way to what is wanted. ``restarts`` says which units read which files when they start; ``kept`` is more to remember."""
    remembered = dict(record)
    remembered.update(kept or {})
    files, units = dict(remembered.get("files", {})), dict(remembered.get("units", {}))
    for path, text in wanted.files.items():
        now = found.files.get(path)
        if text != now:
            before = files[path]["before"] if path in files else now
            if path in files and path in undo and now is not None and now != files[path]["after"]:
                before = undo[path](now, record)  # what others wrote since the last change is theirs, and stays when this is given back
            files[path] = {"before": before, "after": text}
    for name, unit in wanted.units.items():
        if unit != found.units.get(name):
            units.setdefault(name, list(found.units[name]) if name in found.units else None)
    remembered.update(files=files, units=units)
    due = set(remembered.get("restart", []))
    for name, paths in restarts.items():
        if any(wanted.files.get(path) != found.files.get(path) for path in paths):
            due.add(name)
    remembered["restart"] = sorted(due)
    after = State(dict(found.files, **wanted.files), dict(found.units, **wanted.units))
    remembered["reload"] = Change(found, after, record, True).reload
    restart = tuple(name for name in sorted(due) if name in wanted.units and wanted.units[name].active and found.units.get(name, Unit("", False)).active)
    return Change(found, after, remembered, True, restart)


def restore(found: State, record: Mapping[str, Any], undo: Mapping[str, Undo], restarts: Mapping[str, Tuple[str, ...]]) -> Change:
    """The way back. A file that others changed since keeps their changes where ``undo`` knows how; one of our own goes back as a whole."""
    files = dict(found.files)
    for path, entry in record.get("files", {}).items():
        text = found.files.get(path)
        if path in undo and text is not None and text != entry["after"]:
            files[path] = undo[path](text, record)
        else:
            files[path] = entry["before"]
    units = dict(found.units)
    for name, unit in record.get("units", {}).items():
        if unit is None:
            units.pop(name, None)
        elif name in units:
            units[name] = Unit(*unit)
    changed = [path for path in files if files[path] != found.files.get(path)]
    due = set(record.get("restart", [])).union(name for name, paths in restarts.items() if any(path in changed for path in paths))
    restart = tuple(name for name in sorted(due) if name in units and units[name].active and found.units[name].active)
    remembered = dict(record, restart=sorted(due)) if due else dict(record)
    change = Change(found, State(files, units), remembered, False, restart)
    return change._replace(record=dict(remembered, reload=True)) if change.reload else change


def check_record(record: Mapping[str, Any], name: str) -> Dict[str, Any]:
    """A record as :func:`decide` made it; raises :class:`FleetError` if it is something else."""
    try:
        for entry in record.get("files", {}).values():
            entry["before"], entry["after"]
        for unit in record.get("units", {}).values():
            Unit(*(unit or ("", False)))
        return dict(record)
    except (TypeError, AttributeError, KeyError):
        raise records.damaged(name)


def _units(state: State, names: List[str]) -> str:
    return "".join("{0}: {1}\n".format(name, state.units[name]) for name in sorted(names) if name in state.units)
