# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The history of a node's GPU diagnostics, a SQLite file on the node, and what it shows over time."""
import os
import sqlite3
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from .dcgm import STATUSES, Diagnosis

PLACE = "var/lib/dgxops/diag.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, seconds REAL NOT NULL, level INTEGER NOT NULL, backend TEXT NOT NULL, status TEXT NOT NULL,
    note TEXT NOT NULL, version TEXT NOT NULL, driver TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS runs_by_time ON runs (started);
CREATE TABLE IF NOT EXISTS results (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, category TEXT NOT NULL, test TEXT NOT NULL, gpu TEXT NOT NULL, status TEXT NOT NULL,
    message TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS results_by_run ON results (run);
"""
_RUN = "SELECT id, started, seconds, level, backend, status, note, version, driver FROM runs WHERE level = ? AND started = ?"
_RESULTS_SINCE = """
SELECT level, test, gpu, started, results.status, message FROM results JOIN runs ON runs.id = run WHERE started >= ? ORDER BY started
"""
_DAY = 86400.0


class Run(NamedTuple):
    """One run. Its status is one of a diagnosis, or ``busy`` (a job had the GPUs), ``stopped`` (one began meanwhile) or ``broken`` (there was no answer)."""

    started: float
    seconds: float
    level: int
    backend: str
    status: str
    note: str
    diagnosis: Diagnosis

    def to_dict(self) -> Dict[str, Any]:
        """JSON types."""
        return {
            "started": self.started, "seconds": round(self.seconds, 1), "level": self.level, "backend": self.backend, "status": self.status, "note": self.note,
            "version": self.diagnosis.version, "driver": self.diagnosis.driver, "results": [result.to_dict() for result in self.diagnosis.results],
        }


class Trend(NamedTuple):
    """A test that was not well lately: how often of how many runs, since when without a break (0: it is well by now), and what it last said."""

    level: int
    test: str
    gpu: str
    status: str
    ill: int
    runs: int
    since: float
    last: float
    message: str


class History:
    """The file; made when something is first added. Not for use by several threads; several processes may use it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def add(self, run: Run, keep_days: int) -> None:
        """Keep a run, and forget those that are older."""
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        with self._open() as base:
            base.executescript(_TABLES)
            cursor = base.execute(
                "INSERT INTO runs (started, seconds, level, backend, status, note, version, driver) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (run.started, run.seconds, run.level, run.backend, run.status, run.note, run.diagnosis.version, run.diagnosis.driver))
            base.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)", [
                (cursor.lastrowid, result.category, result.test, result.gpu, result.status, "\n".join(result.messages)) for result in run.diagnosis.results])
            base.execute("DELETE FROM runs WHERE started < ?", (run.started - keep_days * _DAY,))

    def latest(self) -> List[Dict[str, Any]]:
        """The last run of each level, with its problems, and when and how the last diagnosis ended, which may be an earlier one: a job comes in between."""
        if not os.path.exists(self.path):
            return []
        wanted = "SELECT level, MAX(started), status FROM runs {0} GROUP BY level ORDER BY level"
        with self._open() as base:
            last = base.execute(wanted.format("")).fetchall()
            told = {row[0]: row[1:] for row in base.execute(wanted.format("WHERE status NOT IN ('busy', 'stopped', 'broken')"))}
            runs = []
            for level, started, _status in last:
                diagnosed, verdict = told.get(level, (None, "none"))
                runs.append(dict(self._run(base, level, started), diagnosed=diagnosed, verdict=verdict))
            return runs

    def trends(self, since: float) -> List[Trend]:
        """The tests that were not well in a run since then, the illest first."""
        if not os.path.exists(self.path):
            return []
        rows: Dict[Tuple[int, str, str], List[Tuple[float, str, str]]] = {}
        with self._open() as base:
            for level, test, gpu, started, status, message in base.execute(_RESULTS_SINCE, (since,)):
                rows.setdefault((level, test, gpu), []).append((started, status, message))
        found = [_trend(key, entries) for key, entries in rows.items()]
        return sorted((one for one in found if one.ill), key=lambda one: (not one.since, -STATUSES.index(one.status), -one.ill, one.test, one.gpu, one.level))

    def last_problems(self, level: int) -> Optional[List[Tuple[str, str, str]]]:
        """Test, GPU and status of what was wrong in the last diagnosis of this level; None if there was none."""
        if not os.path.exists(self.path):
            return None
        with self._open() as base:
            row = base.execute("SELECT id FROM runs WHERE level = ? AND status NOT IN ('busy', 'stopped') ORDER BY started DESC LIMIT 1", (level,)).fetchone()
            if row is None:
                return None
            return sorted(base.execute("SELECT test, gpu, status FROM results WHERE run = ? AND status NOT IN ('pass', 'skip')", row).fetchall())

    def _run(self, base: sqlite3.Connection, level: int, started: float) -> Dict[str, Any]:
        cursor = base.execute(_RUN, (level, started))
        row = cursor.fetchone()
        found = dict(zip([column[0] for column in cursor.description][1:], row[1:]))
        results = base.execute("SELECT category, test, gpu, status, message FROM results WHERE run = ? AND status NOT IN ('pass', 'skip')", row[:1]).fetchall()
        found["problems"] = [dict(zip(("category", "test", "gpu", "status", "message"), result)) for result in results]
        return found

    def _open(self) -> "_Base":
        return _Base(self.path)


class _Base:
    """A connection that is closed at the end, with all of its changes or none."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            before = os.umask(0o027)
            try:
                self.connection = sqlite3.connect(self.path, timeout=30)
                self.connection.execute("PRAGMA foreign_keys = ON")
            finally:
                os.umask(before)
        except sqlite3.Error as error:
            raise self._error(error)
        return self.connection

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with_error = error is not None
        (self.connection.rollback if with_error else self.connection.commit)()
        self.connection.close()
        if isinstance(error, sqlite3.Error):
            raise self._error(error)

    def _error(self, error: sqlite3.Error) -> FleetError:
        return FleetError("The history {0} cannot be used: {1}. Move the file away to begin a new one.".format(self.path, error))


def _trend(key: Tuple[int, str, str], entries: Sequence[Tuple[float, str, str]]) -> Trend:
    told = [entry for entry in entries if entry[1] != "skip"]
    ill = [entry for entry in told if entry[1] != "pass"]
    since = 0.0
    for started, status, _message in reversed(told):
        if status == "pass":
            break
        since = started
    level, test, gpu = key
    last = ill[-1] if ill else (0.0, "pass", "")
    return Trend(level, test, gpu, last[1], len(ill), len(told), since, last[0], last[2])
