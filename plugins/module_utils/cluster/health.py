# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The GPU diagnostics of a whole fleet as one text: what is ill now, what was of late, and which nodes said nothing (section 5.1)."""
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..host.errors import FleetError

_ORDER = ("no answer", "fail", "broken", "warn", "unknown", "stale", "busy", "stopped", "skip", "none", "pass")
_DAY = 86400


def report(nodes: Mapping[str, Any], now: float, stale_days: float = 8, hosts: Sequence[str] = ()) -> str:
    """Markdown: a line per node, the illest first, then every test that is or was ill.

    ``nodes`` are returns of dcgm_diag by host; one of ``hosts`` that is not among them could not be asked. Raises :class:`FleetError` for other input.
    """
    for name, node in nodes.items():
        if not isinstance(node, Mapping):
            raise FleetError("The entry of {0} is {1!r}, but what dcgm_diag returned there is expected.".format(name, node))
    rows = [_row(name, nodes[name], now, stale_days) for name in nodes]
    rows += [(name, "no answer", "", "none") for name in hosts if name not in nodes]
    rows.sort(key=lambda row: (_ORDER.index(row[1]), row[0]))
    well = sum(1 for row in rows if row[1] == "pass")
    lines = ["# GPU health", "", "{0}: {1} of {2} nodes are well.".format(_when(now), well, len(rows)), ""]
    lines += ["| node | now | found by | last run of each level |", "|---|---|---|---|"]
    lines += ["| {0} | {1} | {2} | {3} |".format(_cell(name), word.upper() if _ORDER.index(word) < 5 else word, _cell(by), _cell(runs))
              for name, word, by, runs in rows]
    ill = _problems(nodes, now)
    if ill:
        lines += ["", "## What is ill, or was of late", ""]
        lines += ["| node | test | GPU | level | status | ill in | since | last said |", "|---|---|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(entry) + " |" for entry in ill]
    return "\n".join(lines) + "\n"


def _row(name: str, node: Mapping[str, Any], now: float, stale_days: float) -> Tuple[str, str, str, str]:
    """The illest of what was just found and of the last run of each level."""
    words = [str(node.get("status", "none"))]
    latest = [dict(run) for run in node.get("latest") or []]
    for run in latest:
        words += [str(run["status"]), str(run["verdict"])]
        if run["status"] in ("busy", "stopped") and run["diagnosed"] is None:
            words.append("stale")
    ages = [run["diagnosed"] for run in latest if run["diagnosed"] is not None]
    if words == ["none"] or (ages and words[0] == "none" and now - max(ages) > stale_days * _DAY):
        words.append("stale")
    told = [word if word in _ORDER else "unknown" for word in words]
    worst = min(told, key=_ORDER.index)
    if worst in ("busy", "stopped", "skip", "none") and "pass" in told:
        worst = "pass"
    by = " ".join(part for part in (str(node.get("backend") or (latest[-1]["backend"] if latest else "")), str(node.get("version") or "")) if part)
    runs = ", ".join("{0}: {1} {2}".format(run["level"], run["status"], _ago(run["started"], now)) for run in latest)
    return name, worst, by, runs or "none"


def _problems(nodes: Mapping[str, Any], now: float) -> List[List[str]]:
    found: List[Tuple[Tuple[Any, ...], List[str]]] = []
    for name, node in nodes.items():
        trends = [dict(trend) for trend in node.get("trends") or []]
        known = {(trend["level"], trend["test"], trend["gpu"]) for trend in trends}
        for problem in node.get("problems") or []:
            if (node.get("level"), problem["test"], problem["gpu"]) not in known:
                message = "; ".join(problem.get("messages") or [])
                trends.append(dict(problem, level=node.get("level"), ill=1, runs=1, since=now, message=message))
        for trend in trends:
            since = _ago(trend["since"], now) if trend["since"] else "well again"
            often = "{0} of {1} runs".format(trend["ill"], trend["runs"])
            cells = [name, trend["test"], trend["gpu"] or "all", trend["level"], trend["status"], often, since, trend["message"]]
            found.append(((not trend["since"], name, trend["test"], str(trend["gpu"])), [_cell(str(cell)) for cell in cells]))
    return [entry for _key, entry in sorted(found)]


def _cell(text: str) -> str:
    """One cell of a table, whatever programs on the nodes have said: no other cell, no line of its own, and nothing that a browser would act on."""
    text = " ".join(text.split())[:300]
    for letter, written in (("&", "&amp;"), ("<", "&lt;"), ("\\", "\\\\"), ("|", "\\|")):
        text = text.replace(letter, written)
    return text


def _ago(moment: float, now: float) -> str:
    seconds = max(0.0, now - moment)
    for size, unit in ((_DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return "{0:.0f} {1} ago".format(seconds // size, unit)
    return "now"


def _when(now: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))


def summary(nodes: Mapping[str, Any], hosts: Sequence[str], now: Optional[float] = None, stale_days: float = 8) -> Dict[str, List[str]]:
    """The nodes by how they are."""
    moment = time.time() if now is None else now
    found: Dict[str, List[str]] = {}
    for name in sorted(set(nodes) | set(hosts)):
        word = _row(name, nodes[name], moment, stale_days)[1] if name in nodes else "no answer"
        found.setdefault(word, []).append(name)
    return found
