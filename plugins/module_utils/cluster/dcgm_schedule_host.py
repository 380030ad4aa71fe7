# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads and changes how a node runs GPU diagnostics by the clock; what is to be changed is decided in :mod:`dcgm_schedule`."""
import inspect
import os
from types import ModuleType
from typing import Any, Dict, Tuple

from ..host import apt, records, services
from ..host import commands as commands_module
from ..host import errors as errors_module
from ..host.commands import program_path
from ..host.errors import FleetError
from ..host.files import read_text, remove, remove_if_empty
from ..host.host import Host
from ..host.units import read_units
from . import dcgm, dcgm_history, dcgm_run, gpu_checks
from .dcgm_history import PLACE
from .dcgm_schedule import ENGINES, LIBRARY, OWN_ENGINE, PROGRAM, SERVICE, SETTINGS, Change, Found, Wish, decide, timer_of, timer_path

RECORD = "dcgm"
#: What the timers run is what the modules run: these very files, put on the node.
_PARTS: Tuple[Tuple[str, ModuleType], ...] = (
    ("host/commands.py", commands_module), ("host/errors.py", errors_module), ("cluster/dcgm.py", dcgm), ("cluster/dcgm_history.py", dcgm_history),
    ("cluster/dcgm_run.py", dcgm_run), ("cluster/gpu_checks.py", gpu_checks),
)


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    record = records.read(RECORD, host.root)
    if wish.present:
        _check_calendar(wish, host)
    timers = {timer_of(level) for level in wish.calendar} | set(record.get("timers", []))
    units = read_units(host.commands, timers | set(ENGINES) | {OWN_ENGINE})
    library = {name: inspect.getsource(part) for name, part in _PARTS}
    library.update({"__init__.py": "", "host/__init__.py": "", "cluster/__init__.py": ""})
    paths = {"{0}/{1}".format(LIBRARY, name) for name in library} | {PROGRAM, SETTINGS, SERVICE, "etc/systemd/system/" + OWN_ENGINE}
    paths |= {timer_path(level) for level in wish.calendar} | set(record.get("files", []))
    has_dcgm = program_path("dcgmi") != ""
    installable = bool(wish.present and wish.package and not has_dcgm and apt.knows(host.commands, wish.package))
    by_hand = not any(unit.active for name, unit in units.items() if name in ENGINES + (OWN_ENGINE,)) and _engine_runs(host)
    return Found(
        units, {path: read_text(host.path(path)) for path in paths}, library, has_dcgm, installable, program_path("nv-hostengine"), by_hand,
        os.path.exists(host.path(PLACE)), record)


def carry_out(wish: Wish, change: Change, host: Host) -> None:
    """Do it. What was found is on the disk before the first step, so a run cut short is completed by the next."""
    if change.install:
        record = dict(change.record)
        record["packages"] = sorted(set(record["packages"]) | set(apt.try_install(host.commands, change.install).added))
        records.write(RECORD, record, host.root)
        apt.install(host.commands, change.install)
        change = decide(wish, read(wish, host))  # the package brought a unit, which is to run
    if change and wish.present:
        records.write(RECORD, change.record, host.root)
    if change:
        services.carry_out(host, change.units, change.files, _mode, dict.fromkeys(change.restart, "restart"))
    if change.purge:
        apt.purge(host.commands, change.purge)
    if not wish.present:
        _tidy(change, host)


def _mode(path: str) -> int:
    return {PROGRAM: 0o755, SETTINGS: 0o640}.get(path, 0o644)


def _tidy(change: Change, host: Host) -> None:
    """Directories that are empty now, and what Python and systemd left."""
    base = os.path.dirname(LIBRARY)
    if os.path.isdir(host.path(base)):
        for directory, _names, files in os.walk(host.path(base)):
            for name in files:
                if name.endswith(".pyc"):
                    remove(os.path.join(directory, name))
        for directory, _names, _files in os.walk(host.path(base), topdown=False):
            remove_if_empty(directory)
    place = os.path.dirname(host.path(PLACE))
    if change.drop_history:
        for ending in ("", "-journal", "-wal", "-shm"):
            remove(host.path(PLACE + ending))
    for name in os.listdir(place) if os.path.isdir(place) else []:
        if name.startswith("alerted-level-"):
            remove(os.path.join(place, name))
    remove_if_empty(place)
    for name in change.record.get("timers", []):
        remove(host.path("var/lib/systemd/timers/stamp-" + name))
    remove_if_empty(host.path(os.path.dirname(SETTINGS)))
    records.drop(RECORD, host.root)


def _check_calendar(wish: Wish, host: Host) -> None:
    if not wish.calendar:
        return
    result = host.commands.run(["systemd-analyze", "calendar"] + [wish.calendar[level] for level in sorted(wish.calendar)])
    if result.rc:
        raise FleetError(
            "The schedule has a time that systemd does not understand: {0}. systemd.time(7) tells the form, 'systemd-analyze calendar TEXT' tries it.".format(
                " ".join((result.err or result.out).split())))


def _engine_runs(host: Host) -> bool:
    for pid in os.listdir(host.path("proc")) if os.path.isdir(host.path("proc")) else []:
        if pid.isdigit() and (read_text_quietly(host.path("proc/{0}/comm".format(pid)))).strip() == "nv-hostengine":
            return True
    return False


def read_text_quietly(path: str) -> str:
    """The text of a file that may go away while it is read."""
    try:
        return read_text(path) or ""
    except OSError:
        return ""


def told(change: Change, wish: Wish) -> Dict[str, Any]:
    """What the module returns besides the change."""
    found = change.before
    engine = next((name for name in list(ENGINES) + [OWN_ENGINE] if name in change.units or name in found.units), "")
    has_dcgm = found.has_dcgm or bool(change.install)
    return {
        "backend": wish.settings["backend"] or ("dcgm" if has_dcgm else "nvidia_smi" if program_path("nvidia-smi") else "kernel"),
        "engine": "by hand" if found.engine_runs_by_hand else engine,
        "timers": sorted(timer_of(level) for level in wish.calendar),
        "installed": list(change.install),
    }
