# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs GPU diagnostics on a node without disturbing a job, keeps their history and raises alerts; module and timers both use it.

Level 1 looks at software and settings only and takes seconds; levels from 2 on load the GPUs (section 5.1). Those run only while no job has the GPUs, and are
stopped as soon as one begins.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..host.commands import SYSTEM_PATH, Commands
from ..host.errors import FleetError
from .dcgm import Diagnosis, diagnosis_of
from .dcgm_history import PLACE, History, Run
from .gpu_checks import by_kernel, by_nvidia_smi, first_busy

BACKENDS = ("dcgm", "nvidia_smi", "kernel")
#: Seconds. Level 3 takes 4 minutes on a DGX-1 and up to half an hour on others, level 4 hours.
TIME_LIMITS = {1: 300, 2: 1800, 3: 5400, 4: 21600}
#: A stopped dcgmi tells its engine to stop; if it does not, it is ended.
_GRACE = 20
#: A thousand times as much as dcgmi prints of 16 GPUs.
_MOST_BYTES = 64 << 20


class Order(NamedTuple):
    """What to run. ``backend`` is empty for the best that the node has."""

    level: int = 1
    backend: str = ""
    when_busy: str = "skip"
    ignored: Tuple[str, ...] = ()
    time_limit: float = 0


class Stopped(Exception):
    """A job began while a diagnostic ran."""


def choose_backend(wanted: str, path: str = "") -> str:
    """The best way that the node has to examine its GPUs; raises :class:`FleetError` if the wanted one is not there."""
    places = ":".join(part for part in (path or os.environ.get("PATH", ""), SYSTEM_PATH) if part)
    programs = {"dcgm": "dcgmi", "nvidia_smi": "nvidia-smi"}
    if wanted:
        if wanted in programs and shutil.which(programs[wanted], path=places) is None:
            raise FleetError("The program {0} is not installed on this host. Install it, or let the backend be chosen.".format(programs[wanted]))
        return wanted
    return next((backend for backend in ("dcgm", "nvidia_smi") if shutil.which(programs[backend], path=places)), "kernel")


def examine(order: Order, root: str = "/", poll: float = 1.0) -> Run:
    """Run one diagnostic. What keeps it from telling anything is told by the run's status and note, not raised."""
    started = time.time()
    backend = choose_backend(order.backend)
    loads = backend == "dcgm" and order.level > 1

    def busy() -> Optional[str]:
        return first_busy(root, order.ignored) if loads and order.when_busy == "skip" else None

    def ended(status: str, note: str, diagnosis: Optional[Diagnosis] = None) -> Run:
        return Run(started, time.time() - started, order.level, backend, status, note, diagnosis or Diagnosis(()))

    who = busy()
    if who:
        return ended("busy", "The GPUs are in use by {0}.".format(who))
    try:
        diagnosis = _diagnose(backend, order, root, busy, poll)
    except Stopped as stopped:
        return ended("stopped", "{0} began, so the diagnostic was stopped.".format(stopped))
    except FleetError as error:
        return ended("broken", error.message)
    return ended(diagnosis.status, "", diagnosis)


def _diagnose(backend: str, order: Order, root: str, busy: Callable[[], Optional[str]], poll: float) -> Diagnosis:
    limit = order.time_limit or TIME_LIMITS[order.level]
    if backend == "kernel":
        return by_kernel(root)
    if backend == "nvidia_smi":
        return by_nvidia_smi(Commands().output(["nvidia-smi", "-q", "-x"], limit))
    text = _run_watched(["dcgmi", "diag", "-r", str(order.level), "-j"], limit, busy, poll)
    if "{" not in text and ("unrecognized" in text.lower() or "parse error" in text.lower() or "argument" in text.lower()):
        text = _run_watched(["dcgmi", "diag", "-r", str(order.level)], limit, busy, poll)  # the first releases have no -j
    return diagnosis_of(text)


def _run_watched(argv: Sequence[str], limit: float, busy: Callable[[], Optional[str]], poll: float) -> str:
    """Run dcgmi, whose exit status only says that something is ill; end it when a job begins or its time is over."""
    path = ":".join(part for part in (os.environ.get("PATH", ""), SYSTEM_PATH) if part)
    end = time.monotonic() + limit
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env=dict(os.environ, LC_ALL="C", PATH=path))
        except OSError as error:
            raise FleetError("{0} cannot be run: {1}.".format(argv[0], error.strerror))
        try:
            while process.poll() is None:
                if time.monotonic() > end:
                    raise FleetError("{0} did not end within {1:g} s and was stopped.".format(" ".join(argv), limit))
                if os.fstat(output.fileno()).st_size > _MOST_BYTES:
                    raise FleetError("{0} printed more than {1} MiB and was stopped.".format(" ".join(argv), _MOST_BYTES >> 20))
                who = busy()
                if who:
                    raise Stopped(who[0].upper() + who[1:])
                try:
                    process.wait(poll)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            _end(process)
        output.seek(0)
        return output.read(_MOST_BYTES).decode("utf-8", "replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


class Settings(NamedTuple):
    """What the timers run by: ``/etc/dgxops/diag.json``."""

    keep_days: int = 365
    alert_mail: str = ""
    alert_program: str = ""
    alert_repeat_hours: float = 24.0
    ignored: Tuple[str, ...] = ()
    backend: str = ""

    @classmethod
    def from_file(cls, path: str) -> "Settings":
        """Read the file; raises :class:`FleetError` if it is damaged."""
        try:
            with open(path, encoding="utf-8") as handle:
                given = json.load(handle)
            if not isinstance(given, dict):
                raise ValueError("it holds no settings")
            return cls(**dict(given, ignored=tuple(given.get("ignored", ()))))
        except (OSError, ValueError, TypeError) as error:
            raise FleetError("{0} cannot be used: {1}. Run the role dcgm again.".format(path, error))


def run_and_keep(order: Order, settings: Settings, root: str = "/", now: Callable[[], float] = time.time) -> Tuple[Run, str]:
    """Run, keep the result, and raise an alert if something is ill that was not so before; the second is what became of the alert."""
    history = History(os.path.join(root, PLACE))
    before = history.last_problems(order.level)
    run = examine(order, root)
    told = ""
    try:
        if needs_alert(run, before, _last_alert(root, order.level), settings, now()):
            told = alert(run, settings)
            _remember_alert(root, order.level, now())
    except FleetError as error:
        told = error.message
        run = run._replace(note=" ".join(part for part in (run.note, "The alert failed: " + error.message) if part))
    history.add(run, settings.keep_days)
    return run, told


def needs_alert(run: Run, before: Optional[Sequence[Tuple[str, str, str]]], last_alert: float, settings: Settings, now: float) -> bool:
    """Whether somebody is to be told: at what is ill now and was not before, and again if it stays so."""
    if not (settings.alert_mail or settings.alert_program):
        return False
    if run.status not in ("warn", "fail", "unknown", "broken"):
        return False
    problems = sorted((result.test, result.gpu, result.status) for result in run.diagnosis.problems)
    return problems != (before or []) or now - last_alert >= settings.alert_repeat_hours * 3600


def alert(run: Run, settings: Settings) -> str:
    """Send mail, and run the program with the run as JSON on its standard input; raises :class:`FleetError` if one of them fails."""
    subject = "GPU diagnostic level {0} on {1}: {2}".format(run.level, socket.gethostname(), run.status.upper())
    lines = [subject, ""] + ([run.note] if run.note else [])
    for result in run.diagnosis.problems:
        lines.append("{0:5} {1}{2}".format(result.status.upper(), result.test, " on GPU " + result.gpu if result.gpu else ""))
        lines += ["      " + message for message in result.messages]
    failures: List[str] = []
    if settings.alert_mail:
        head = "To: {0}\nSubject: {1}\nAuto-Submitted: auto-generated\nContent-Type: text/plain; charset=utf-8\n\n".format(settings.alert_mail, subject)
        _tell(["sendmail", "-t", "-i"], head + "\n".join(lines) + "\n", failures)
    if settings.alert_program:
        _tell([settings.alert_program], json.dumps(dict(run.to_dict(), host=socket.gethostname()), sort_keys=True) + "\n", failures)
    if failures:
        raise FleetError(" ".join(failures))
    return subject


def _tell(argv: Sequence[str], text: str, failures: List[str]) -> None:
    try:
        Commands().output(argv, 60, text)
    except (FleetError, OSError) as error:
        failures.append(getattr(error, "message", str(error)))


def _alert_file(root: str, level: int) -> str:
    return os.path.join(root, os.path.dirname(PLACE), "alerted-level-{0}".format(level))


def _last_alert(root: str, level: int) -> float:
    try:
        return os.stat(_alert_file(root, level)).st_mtime
    except OSError:
        return 0.0


def _remember_alert(root: str, level: int, now: float) -> None:
    place = _alert_file(root, level)
    os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
    with open(place, "w", encoding="utf-8"):
        pass
    os.utime(place, (now, now))


def main(arguments: Sequence[str], settings_file: str = "/etc/dgxops/diag.json") -> int:
    """The program ``dgxops-diag``: ``run LEVEL`` for the timers, ``history`` for people. Ends with 1 if something is ill."""
    try:
        if list(arguments) == ["history"]:
            _say(json.dumps(History("/" + PLACE).latest(), indent=2))
            return 0
        if len(arguments) != 2 or arguments[0] != "run" or arguments[1] not in ("1", "2", "3", "4"):
            _say("Usage: dgxops-diag run LEVEL (1 to 4), or dgxops-diag history")
            return 2
        settings = Settings.from_file(settings_file)
        run, told = run_and_keep(Order(int(arguments[1]), settings.backend, "skip", settings.ignored), settings)
    except FleetError as error:
        _say(error.message)
        return 1
    _say(_line(run, told))
    return 1 if run.status in ("warn", "fail", "unknown", "broken") else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _line(run: Run, told: str) -> str:
    ill = ["{0}{1}: {2}".format(result.test, " on GPU " + result.gpu if result.gpu else "", result.status) for result in run.diagnosis.problems]
    words = ["Level {0} by {1}: {2}, after {3:.0f} s.".format(run.level, run.backend, run.status, run.seconds), run.note, "; ".join(ill), told]
    return " ".join(word for word in words if word)


def facts_of(history: History, days: float, now: float) -> Dict[str, Any]:
    """What a report needs of a node: the last runs, and what was ill of late."""
    return {"latest": history.latest(), "trends": [dict(trend._asdict()) for trend in history.trends(now - days * 86400)]}
