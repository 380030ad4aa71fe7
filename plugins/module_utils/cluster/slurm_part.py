# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as a part of a Slurm cluster: what it needs for that, what it has, and the way there and back.

Nothing here has side effects; :mod:`slurm_part_host` reads the host and carries out what is decided here.
"""
import hashlib
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host import records
from ..host.files import Diff
from ..host.units import RUNNING, Unit, changed
from . import slurm_conf

CONTROLLER, DATABASE, NODE, LOGIN = "controller", "database", "node", "login"
PARTS = (CONTROLLER, DATABASE, NODE, LOGIN)

RECORD = "slurm_gpu"
#: Nodes that are drained for this reason are drained by us, and we are the ones who bring them back.
MARK = "dgxops.fleet: new configuration"

MUNGE, CTLD, DBD, SLURMD, MARIADB = "munge.service", "slurmctld.service", "slurmdbd.service", "slurmd.service", "mariadb.service"

_PACKAGES = {CONTROLLER: ("slurmctld",), DATABASE: ("slurmdbd", "mariadb-server"), NODE: ("slurmd",), LOGIN: ()}
_UNITS = {CONTROLLER: (CTLD,), DATABASE: (MARIADB, DBD), NODE: (SLURMD,), LOGIN: ()}


#: A diff shows the text, that it becomes another, or by which digest.
TEXT, SECRET, PROGRAM = "text", "secret", "program"


class FileRule(NamedTuple):
    """Where a file goes, who may read it, on which parts it is, and which daemons start anew for it. ``shown`` is how a diff tells of it."""

    path: str
    mode: int
    owner: str
    parts: Tuple[str, ...]
    restarts: Tuple[str, ...]
    shown: str = TEXT

    @property
    def secret(self) -> bool:
        return self.shown == SECRET


FILES = {
    "munge.key": FileRule("etc/munge/munge.key", 0o400, "munge", PARTS, (MUNGE,), SECRET),
    "slurm.conf": FileRule("etc/slurm/slurm.conf", 0o644, "root", PARTS, (CTLD, SLURMD)),
    "gres.conf": FileRule("etc/slurm/gres.conf", 0o644, "root", (CONTROLLER, NODE), (CTLD, SLURMD)),
    "cgroup.conf": FileRule("etc/slurm/cgroup.conf", 0o644, "root", (NODE,), (SLURMD,)),
    "slurmdbd.conf": FileRule("etc/slurm/slurmdbd.conf", 0o600, "slurm", (DATABASE,), (DBD,)),
    "database.cnf": FileRule("etc/mysql/mariadb.conf.d/60-dgxops-slurm.cnf", 0o644, "root", (DATABASE,), (MARIADB, DBD)),
    # Not before the controller takes the configuration that was made from it.
    "slurm_nodes.json": FileRule("var/lib/dgxops/slurm_nodes.json", 0o644, "root", (CONTROLLER,), ()),
    "job": FileRule("etc/slurm/dgxops/job", 0o755, "root", (NODE,), (), PROGRAM),
    "job.json": FileRule("etc/slurm/dgxops/job.json", 0o644, "root", (NODE,), ()),
    "prolog": FileRule("etc/slurm/dgxops/prolog", 0o755, "root", (NODE,), ()),
    "epilog": FileRule("etc/slurm/dgxops/epilog", 0o755, "root", (NODE,), ()),
    "health": FileRule("etc/slurm/dgxops/health", 0o755, "root", (NODE,), ()),
}


class Wish(NamedTuple):
    """What a play asks for. ``files`` are the texts by name (None: none), ``name`` the host's name in Slurm."""

    present: bool
    parts: Tuple[str, ...]
    files: Mapping[str, Optional[str]]
    name: str
    packages: bool

    @property
    def wanted_packages(self) -> Tuple[str, ...]:
        found = {"munge", "slurm-client"}
        for part in self.parts:
            found.update(_PACKAGES[part])
        return tuple(sorted(found)) if self.packages else ()

    @property
    def wanted_units(self) -> Tuple[str, ...]:
        """In the order in which they are started."""
        units = {unit for part in self.parts for unit in _UNITS[part]}
        return (MUNGE,) + tuple(unit for unit in (MARIADB, DBD, CTLD, SLURMD) if unit in units)

    @property
    def wanted_files(self) -> Dict[str, Optional[str]]:
        return {name: text for name, text in self.files.items() if set(FILES[name].parts) & set(self.parts)}


class Found(NamedTuple):
    """A host as it is. ``files`` by name, None if not there; ``record`` is what the first change found."""

    packages: FrozenSet[str]
    units: Mapping[str, Unit]
    files: Mapping[str, Optional[str]]
    database: bool
    record: Mapping[str, Any]


class Change(NamedTuple):
    """From what is to what is to be. ``files`` are only those that change, as (before, after)."""

    install: Tuple[str, ...]
    purge: Tuple[str, ...]
    files: Mapping[str, Tuple[Optional[str], Optional[str]]]
    units: Sequence[Tuple[str, Unit, Unit]]
    restart: Tuple[str, ...]
    reconfigure: Tuple[str, ...]
    drain: Tuple[str, ...]
    database: Optional[bool]
    record: Mapping[str, Any]
    keep: bool

    def __bool__(self) -> bool:
        return bool(self.install or self.purge or self.files or self.units or self.restart or self.reconfigure or self.database is not None)

    @property
    def diffs(self) -> List[Diff]:
        """What ``--diff`` shows; of a secret only that it becomes another."""
        shown = []
        for name, (before, after) in sorted(self.files.items()):
            if FILES[name].secret:
                before, after = before and "(a key)\n", after and ("(another key)\n" if before else "(a key)\n")
            elif FILES[name].shown == PROGRAM:
                before, after = _digest(before), _digest(after)
            shown.append(Diff(before or "", after or "", "/" + FILES[name].path))
        if self.install or self.purge:
            shown.append(Diff("".join(name + "\n" for name in self.purge), "".join(name + "\n" for name in self.install), "packages"))
        if self.units:
            shown.append(Diff("".join(_told(name, before) for name, before, _after in self.units),
                              "".join(_told(name, after) for name, _before, after in self.units), "services"))
        return shown


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted; no side effects."""
    return _present(wish, found) if wish.present else _absent(found)


def jobs_at_stake(name: str, parts: Sequence[str], before: Mapping[str, Optional[str]], after: Mapping[str, Optional[str]]) -> List[str]:
    """The nodes that must have no jobs while this host goes from one configuration to the other."""
    if before.get("slurm.conf") is None or after.get("slurm.conf") is None:
        return []
    old, new = slurm_conf.parse(before["slurm.conf"]), slurm_conf.parse(after["slurm.conf"])
    difference = slurm_conf.compare(old, new)
    lines = set(difference.nodes)
    # A switch of the mode takes gres.conf away, or brings it; the settings say so too.
    lines |= set(slurm_conf.other_gres(before.get("gres.conf"), after.get("gres.conf")))
    found = set()
    if CONTROLLER in parts:
        # With a node that it no longer knows, slurmctld gives up the node's jobs.
        found |= set(old.nodes) if difference.counted_by else lines | (set(old.nodes) - set(new.nodes))
    if NODE in parts and name in old.nodes:
        cgroup = before.get("cgroup.conf") is not None and before.get("cgroup.conf") != after.get("cgroup.conf")
        found |= {name} if difference.under_jobs or cgroup or name in lines else set()
    return sorted(found & set(old.nodes))


def _present(wish: Wish, found: Found) -> Change:
    files = {name: (found.files.get(name), text) for name, text in wish.wanted_files.items() if found.files.get(name) != text}
    install = tuple(name for name in wish.wanted_packages if name not in found.packages)
    before = {name: unit for name, unit in found.units.items() if name in wish.wanted_units}
    units = changed(before, dict.fromkeys(wish.wanted_units, RUNNING))
    restart = {unit for name in files for unit in FILES[name].restarts if unit in wish.wanted_units}
    reconfigure = set()
    text = files.get("slurm.conf")
    if text and text[0] is not None and not slurm_conf.compare(slurm_conf.parse(text[0]), slurm_conf.parse(text[1])).needs_restart:
        others = {unit for name in files if name != "slurm.conf" for unit in FILES[name].restarts}
        restart -= {CTLD, SLURMD} - others
        # One that does not run reads its files when it starts.
        reconfigure = {unit for unit in (CTLD, SLURMD) if unit in before and before[unit].active and unit not in others}
    unfinished = set(found.record.get("restart", ())) & set(wish.wanted_units)
    after = {name: wish.wanted_files.get(name, found.files.get(name)) for name in FILES}
    drain = jobs_at_stake(wish.name, wish.parts, found.files, after)
    database = True if DATABASE in wish.parts and not found.database else None
    record = _remember(found, wish, files)
    restart |= unfinished
    record["restart"] = sorted(restart)
    return Change(install, (), files, units, tuple(unit for unit in wish.wanted_units if unit in restart),
                  tuple(sorted(reconfigure - restart)), tuple(drain), database, record, True)


def _remember(found: Found, wish: Wish, files: Mapping[str, Any]) -> Dict[str, Any]:
    """The record, with what this change is the first to touch as it was before. Of files that were there, copies are kept beside it."""
    record = dict(found.record)
    if "units" not in record:
        record["fresh"] = found.files.get("slurm.conf") is None
    units = {name: list(found.units[name]) if name in found.units else None for name in wish.wanted_units}
    units.update(record.get("units", {}))
    were = {name: found.files.get(name) is not None for name in files}
    were.update(record.get("files", {}))
    return dict(record, units=units, files=were)


def _absent(found: Found) -> Change:
    record = found.record
    if not record:
        return Change((), (), {}, (), (), (), (), None, {}, False)
    files = {name: (found.files.get(name), "" if was else None) for name, was in record.get("files", {}).items()}
    purge = tuple(name for name in record.get("packages", ()) if name in found.packages)
    units = [(name, found.units[name], Unit(*unit)) for name, unit in record.get("units", {}).items()
             if unit is not None and name in found.units and Unit(*unit) != found.units[name]]
    return Change((), purge, files, units, (), (), (), False if record.get("database") else None, record, False)


def check_record(record: Mapping[str, Any]) -> Dict[str, Any]:
    """What an earlier run wrote down; raises :class:`FleetError` if it is something else."""
    try:
        for name in record.get("files", {}):
            FILES[name]  # pylint: disable=pointless-statement
        for unit in record.get("units", {}).values():
            if unit is not None:  # one that came with a package
                Unit(*unit)
        return dict(record)
    except (TypeError, AttributeError, KeyError):
        raise records.damaged(RECORD)


def _digest(text: Optional[str]) -> str:
    return "" if text is None else "(a program, SHA-256 {0})\n".format(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest())


def _told(name: str, unit: Unit) -> str:
    return "{0}: {1}, {2}\n".format(name, unit.enablement, "running" if unit.active else "stopped")
