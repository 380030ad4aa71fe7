# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPU diagnostics by the clock: what is wanted on a node, and the way there and back (section 5.1)."""
import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from ..host.services import differences, units_diff
from ..host.units import Unit

PROGRAM = "usr/local/sbin/dgxops-diag"
LIBRARY = "usr/local/lib/dgxops-diag/dgxops_diag"
SETTINGS = "etc/dgxops/diag.json"
SERVICE = "etc/systemd/system/dgxops-diag@.service"
#: DCGM's own unit: from version 2 on, and before.
ENGINES = ("nvidia-dcgm.service", "dcgm.service")
#: For a DCGM without a unit.
OWN_ENGINE = "dgxops-hostengine.service"

HEADER = "# Written by dgxops.fleet.dcgm_schedule, which owns this file.\n"
_PROGRAM_TEXT = """#!/usr/bin/python3
{0}import sys

sys.path.insert(0, "/usr/local/lib/dgxops-diag")
from dgxops_diag.cluster.dcgm_run import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
""".format(HEADER)
_SERVICE_TEXT = HEADER + """[Unit]
Description=GPU diagnostic of level %i
After=nvidia-dcgm.service dcgm.service dgxops-hostengine.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/dgxops-diag run %i
"""
_ENGINE_TEXT = HEADER + """[Unit]
Description=DCGM host engine

[Service]
ExecStart={0} -n
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


class Wish(NamedTuple):
    """What a play asks for; checked. ``calendar`` is OnCalendar of systemd.time(7) by level."""

    present: bool
    calendar: Mapping[int, str]
    delay_s: int
    package: str
    required: bool
    settings: Mapping[str, Any]
    remove_history: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cannot be meant."""
        calendar: Dict[int, str] = {}
        for entry in params["schedule"]:
            level, when = entry["level"], str(entry["calendar"]).strip()
            if level in calendar:
                raise FleetError("The schedule has level {0} twice. systemd.time(7) can say several times in one, such as 'Mon,Thu 03:00'.".format(level))
            if not when or "\n" in when:
                raise FleetError("The schedule has {0!r} for level {1}, but a time as in systemd.time(7) is expected.".format(entry["calendar"], level))
            calendar[level] = when
        if params["keep_days"] < 1:
            raise FleetError("keep_days is {0}, but at least 1 is expected.".format(params["keep_days"]))
        if params["alert_repeat_hours"] < 0 or params["delay_s"] < 0:
            raise FleetError("alert_repeat_hours and delay_s cannot be less than 0.")
        mail, program = params["alert_mail"], params["alert_program"]
        if mail and not re.match(r"^[^\s@,]+(@[^\s@,]+)?(, ?[^\s@,]+(@[^\s@,]+)?)*\Z", mail):
            raise FleetError("alert_mail is {0!r}, but mail addresses separated by commas are expected.".format(mail))
        if program and not program.startswith("/"):
            raise FleetError("alert_program is {0!r}, but an absolute path is expected.".format(program))
        settings = {
            "keep_days": params["keep_days"], "alert_mail": mail, "alert_program": program, "alert_repeat_hours": params["alert_repeat_hours"],
            "ignored": sorted(params["ignored_processes"]), "backend": params["backend"],
        }
        return cls(params["state"] == "present", calendar, params["delay_s"], params["package"], params["required"], settings, params["remove_history"])

    def files(self, found: "Found") -> Dict[str, str]:
        """All files, by path."""
        files = {"{0}/{1}".format(LIBRARY, name): text for name, text in found.library.items()}
        files.update({PROGRAM: _PROGRAM_TEXT, SERVICE: _SERVICE_TEXT, SETTINGS: json.dumps(self.settings, sort_keys=True, indent=2) + "\n"})
        files.update({timer_path(level): self._timer(level, when) for level, when in self.calendar.items()})
        if found.needs_engine_unit:
            files["etc/systemd/system/" + OWN_ENGINE] = _ENGINE_TEXT.format(found.engine_program)
        return files

    def _timer(self, level: int, when: str) -> str:
        return HEADER + "[Unit]\nDescription=GPU diagnostics of level {0}\n\n[Timer]\nOnCalendar={1}\nRandomizedDelaySec={2}\nPersistent=true\n" \
            "Unit=dgxops-diag@{0}.service\n\n[Install]\nWantedBy=timers.target\n".format(level, when, self.delay_s)


class Found(NamedTuple):
    """A node as it is. ``library`` is the program that is to be there; ``engine_runs_by_hand``: a host engine that no unit started."""

    units: Mapping[str, Unit]
    files: Mapping[str, Optional[str]]
    library: Mapping[str, str]
    has_dcgm: bool
    installable: bool
    engine_program: str
    engine_runs_by_hand: bool
    history: bool
    record: Mapping[str, Any]

    @property
    def needs_engine_unit(self) -> bool:
        return bool(self.engine_program) and not self.engine_runs_by_hand and not any(name in self.units for name in ENGINES)


class Change(NamedTuple):
    """From how a node is to how it is to be. A file that is None is removed."""

    before: Found
    units: Mapping[str, Unit]
    files: Mapping[str, Optional[str]]
    install: Tuple[str, ...]
    purge: Tuple[str, ...]
    restart: Tuple[str, ...]
    drop_history: bool
    record: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.install or self.purge or self.restart or self.drop_history or self.changed_files or self.changed_units)

    @property
    def changed_files(self) -> List[str]:
        return differences(self.before.files, self.files)

    @property
    def changed_units(self) -> List[str]:
        return differences(self.before.units, self.units)

    @property
    def diffs(self) -> List[Diff]:
        library = [path for path in self.changed_files if path.startswith(LIBRARY)]
        shown = [Diff(self.before.files.get(path) or "", self.files[path] or "", "/" + path) for path in self.changed_files if path not in library]
        if library:
            old = any(self.before.files.get(path) is not None for path in library)
            new = any(self.files[path] is not None for path in library)
            shown.append(Diff("a program\n" if old else "", "the program of this release\n" if new else "", "/" + LIBRARY))
        shown += units_diff(self.before.units, self.units)
        if self.install:
            shown.append(Diff("", "".join(name + "\n" for name in self.install), "packages"))
        return shown


def timer_of(level: int) -> str:
    """The timer of a level."""
    return "dgxops-diag-{0}.timer".format(level)


def timer_path(level: int) -> str:
    """Its file."""
    return "etc/systemd/system/" + timer_of(level)


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects."""
    return _present(wish, found) if wish.present else _absent(wish, found)


def _present(wish: Wish, found: Found) -> Change:
    install = (wish.package,) if wish.package and not found.has_dcgm and found.installable else ()
    if wish.required and not found.has_dcgm and not install:
        raise FleetError("This host has no dcgmi, and its package lists have no {0}. Add NVIDIA's package archive, name the package in package (dcgm_package "
                         "in the role), or do without DCGM (required: false).".format(wish.package or "package for it"))
    files: Dict[str, Optional[str]] = dict.fromkeys(found.record.get("files", []), None)
    files.update(wish.files(found))
    units = {timer_of(level): Unit("enabled", True) for level in wish.calendar}
    units.update({name: Unit("disabled", False) for name in found.record.get("timers", []) if name not in units and name in found.units})
    engines = [name for name in ENGINES if name in found.units][:1] or ([OWN_ENGINE] if found.needs_engine_unit else [])
    if engines and not found.engine_runs_by_hand:
        units[engines[0]] = Unit("enabled", True)
    restart = tuple(sorted(
        timer_of(level) for level in wish.calendar
        if found.units.get(timer_of(level), Unit("", False)).active and found.files.get(timer_path(level)) != files[timer_path(level)]))
    record = dict(found.record)
    kept = {name: list(found.units[name]) for name in engines if name in found.units and name != OWN_ENGINE and found.units[name] != units.get(name)}
    record.update(
        files=sorted(set(record.get("files", [])) | set(files)), timers=sorted(set(record.get("timers", [])) | {timer_of(level) for level in wish.calendar}),
        units=dict(kept, **record.get("units", {})), packages=record.get("packages", []))
    return Change(found, units, files, install, (), restart, False, record)


def _absent(wish: Wish, found: Found) -> Change:
    record = found.record
    files: Dict[str, Optional[str]] = dict.fromkeys(record.get("files", []), None)
    ours = [name for name in list(record.get("timers", [])) + [OWN_ENGINE] if name in found.units]
    units = {name: Unit("disabled", False) for name in ours}
    units.update({name: Unit(*unit) for name, unit in record.get("units", {}).items()})
    # A unit whose file goes is gone, which differs from disabled only until then.
    return Change(found, units, files, (), tuple(record.get("packages", [])), (), wish.remove_history and found.history, dict(record))
