# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who hears of it when an array fails: mdadm's own monitor, and a timer for what that one does not watch.

``mdadm --monitor`` has nothing to say of a RAID-0 ("No array with redundancy detected"), so a check of our own, run by a timer, watches all arrays.
"""
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.settings import Change, State, Unit, decide, restore
from . import md_conf

MONITOR, TIMER = "mdmonitor.service", "dgxops-md-health.timer"
CHECKER = "usr/local/sbin/dgxops-md-health"
SERVICE_FILE, TIMER_FILE = "etc/systemd/system/dgxops-md-health.service", "etc/systemd/system/dgxops-md-health.timer"
HISTORY = "var/lib/dgxops/md-health"
MODES = {CHECKER: 0o755}

_HEADER = "# Written by dgxops.fleet.md_monitor, which owns this file.\n"
_ADDRESS = re.compile(r"^[A-Za-z0-9._%+-]+(@[A-Za-z0-9.-]+)?\Z", re.ASCII)
_PATH = re.compile(r"^/[A-Za-z0-9._/+-]+\Z", re.ASCII)
#: systemd.time(7): a number, or numbers with units.
_SPAN = re.compile(r"^(\d+\s*(s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|weeks?)?\s*)+\Z", re.ASCII)


class Wish(NamedTuple):
    """What a play asks for; checked."""

    present: bool
    mail: str
    mail_from: str
    program: str
    interval: str
    checker: str
    mounts: Tuple[str, ...]
    storcli: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what mdadm or systemd would not take."""
        for name in ("mail", "mail_from"):
            if params[name] and not _ADDRESS.match(params[name]):
                raise FleetError("{0} is {1!r}, but one mail address is expected, such as root or ops@example.com.".format(name, params[name]))
        for name, path in [("program", params["program"]), ("storcli", params["storcli"])] + [("mounts", path) for path in params["mounts"]]:
            if path and not _PATH.match(path):
                raise FleetError("{0} has {1!r}, but an absolute path of letters, digits, dots, dashes and underscores is expected.".format(name, path))
        if not _SPAN.match(params["interval"]):
            raise FleetError("interval is {0!r}, but a time span of systemd is expected, such as 5min (systemd.time(7)).".format(params["interval"]))
        mail, mail_from, program, interval, checker = (params[name] or "" for name in ("mail", "mail_from", "program", "interval", "checker"))
        return cls(params["state"] == "present", mail, mail_from, program, interval, checker, tuple(params["mounts"]), params["storcli"] or "")

    @property
    def service(self) -> str:
        words = ["/" + CHECKER, "--directory=/" + HISTORY]
        words += ["--mail=" + self.mail.replace("%", "%%")] if self.mail else []
        words += ["--mail-from=" + self.mail_from.replace("%", "%%")] if self.mail_from else []
        words += ["--program=" + self.program] if self.program else []
        words += ["--mount=" + path for path in self.mounts]
        words += ["--storcli=" + self.storcli] if self.storcli else []
        return _HEADER + (
            "[Unit]\nDescription=Health of the RAID arrays\nAfter=local-fs.target\n\n[Service]\nType=oneshot\nExecStart={0}\n".format(" ".join(words)))

    @property
    def timer(self) -> str:
        return _HEADER + (
            "[Unit]\nDescription=Look at the RAID arrays every {0}\n\n[Timer]\nOnActiveSec=10s\nOnUnitInactiveSec={0}\nAccuracySec=10s\n\n"
            "[Install]\nWantedBy=timers.target\n").format(self.interval)


def restarts(conf: str) -> Mapping[str, Tuple[str, ...]]:
    """Which unit reads what when it starts."""
    return {MONITOR: (conf,), TIMER: (TIMER_FILE,)}


def plan(wish: Wish, found: State, record: Mapping[str, Any], conf: str) -> Change:
    """The way there, or back. ``conf`` is the path of mdadm.conf; its lines for arrays are others' business and stay."""
    if not wish.present:
        return restore(found, record, {conf: _undo}, restarts(conf))
    text = found.files.get(conf)
    edited = text or ""
    for keyword, value in (("MAILADDR", wish.mail), ("MAILFROM", wish.mail_from), ("PROGRAM", wish.program)):
        if value:
            edited = md_conf.with_setting(edited, keyword, value).text
    files: Dict[str, Optional[str]] = {conf: edited if edited or text is not None else None}
    units = {}
    if wish.checker:
        files.update({CHECKER: wish.checker, SERVICE_FILE: wish.service, TIMER_FILE: wish.timer})
        units[TIMER] = Unit("enabled", True)
    if MONITOR in found.units:
        units[MONITOR] = found.units[MONITOR]  # udev starts it with the first array that has redundancy
    return decide(found, State(files, units), record, restarts(conf), {conf: _undo})


def _undo(text: str, record: Mapping[str, Any]) -> str:
    """mdadm.conf with its own MAILADDR, MAILFROM and PROGRAM lines again, and with what others changed in it since."""
    before = next((entry["before"] for path, entry in record["files"].items() if path in md_conf.PATHS), None) or ""
    for keyword in ("mailaddr", "mailfrom", "program"):
        text = md_conf.with_settings_of(text, keyword, before)
    return text
