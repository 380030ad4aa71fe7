# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ``dcgmi diag`` of DCGM 1.7 to 4.x says of the GPUs, as JSON or as the table for people, in one form.

JSON: ``{"DCGM GPU Diagnostic": {"test_categories": …}}``, from version 4 on ``"DCGM Diagnostic"``, with results by entity instead of ``gpu_ids``. Lines of
other programs may stand before it, and ``null`` may stand between its entries. An unknown status is never taken for a pass.
"""
import json
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError

#: From well to ill. ``skip`` tells nothing either way; ``unknown`` is for words that are not known.
STATUSES = ("skip", "pass", "unknown", "warn", "fail")

_WORDS = {
    "pass": "pass", "passed": "pass", "ok": "pass", "skip": "skip", "skipped": "skip", "not run": "skip", "notrun": "skip", "not supported": "skip",
    "warn": "warn", "warning": "warn", "fail": "fail", "failed": "fail", "error": "fail",
}
#: So many braces may stand in what other programs write before the diagnosis.
_BRACES = 100
_ROW = re.compile(r"^[|+]\s?(.*?)\s*[|+]\s?(.*?)\s*[|+]?$")
_SECTION = re.compile(r"^-{3,}\s+(.+?)\s+-*$")
_PART = re.compile(r"(Pass|Warn|Fail|Skip|Error|Not Run)\s*-\s*(All|GPUs?:?\s*[\d,\s]+)", re.IGNORECASE)
_ENTITY = re.compile(r"^(?:GPU|CPU)\s?(\d+):\s*(.+)$", re.IGNORECASE)
_MENTIONED = re.compile(r"\bGPU\s?(\d+)\b", re.IGNORECASE)


class Result(NamedTuple):
    """The outcome of a test, for one GPU or, if that is empty, for the whole node."""

    category: str
    test: str
    gpu: str
    status: str
    messages: Tuple[str, ...] = ()

    def to_dict(self) -> Dict[str, Any]:
        return dict(self._asdict(), messages=list(self.messages))


class Diagnosis(NamedTuple):
    """All that one run said; versions are empty if not told."""

    results: Tuple[Result, ...]
    version: str = ""
    driver: str = ""

    @property
    def status(self) -> str:
        """The worst of all; ``skip`` if nothing was tested."""
        return worst(result.status for result in self.results)

    @property
    def problems(self) -> List[Result]:
        return [result for result in self.results if result.status not in ("pass", "skip")]


def worst(statuses: Iterable[str]) -> str:
    """The illest of these."""
    return max(statuses, key=STATUSES.index, default="skip")


def status_of(word: Any) -> str:
    """One of :data:`STATUSES` for a word of DCGM's."""
    return _WORDS.get(" ".join(str(word).split()).lower(), "unknown")


def diagnosis_of(text: str) -> Diagnosis:
    """What dcgmi said; raises :class:`FleetError` if that is no diagnosis, with its words."""
    found = _by_json(text)
    if found is None:
        found = _by_table(text)
    if not found.results:
        said = [line.strip()[:200] for line in _clean(text).splitlines() if line.strip(" +-=|")]
        raise FleetError("dcgmi diag was expected to tell results of tests, but said: {0}".format("; ".join(said[:8]) or "nothing"))
    return Diagnosis(tuple(result._replace(
        category=_clean(result.category), test=_clean(result.test), gpu=_clean(result.gpu), messages=tuple(_clean(one) for one in result.messages),
    ) for result in found.results), _clean(found.version), _clean(found.driver))


def _clean(text: str) -> str:
    """Without what no file and no database takes: halves of characters, which JSON can spell, and zero bytes."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _by_json(text: str) -> Optional[Diagnosis]:
    start = text.find("{")
    for _attempt in range(_BRACES):
        if start < 0:
            break
        try:
            data = json.JSONDecoder().raw_decode(text[start:])[0]
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        if isinstance(data, dict):
            return _of_document(data)
        return None
    return None


def _of_document(data: Mapping[str, Any]) -> Diagnosis:
    inside = next((data[key] for key in ("DCGM Diagnostic", "DCGM GPU Diagnostic") if isinstance(data.get(key), dict)), data)
    said = data.get("metadata")
    metadata: Mapping[str, Any] = said if isinstance(said, dict) else {}
    results: List[Result] = []
    for category in _dicts(inside.get("test_categories")):
        for test in _dicts(category.get("tests")):
            results += _of_test(str(category.get("category") or ""), test)
    trouble = inside.get("runtime_error") or data.get("runtime_error")
    if trouble:
        results.append(Result("Runtime", "DCGM", "", "fail", (str(trouble),)))
    version = _first(metadata, inside, keys=("DCGM Version", "version"))
    return Diagnosis(tuple(results), version, _first(metadata, inside, keys=("Driver Version Detected", "driver_version")))


def _of_test(category: str, test: Mapping[str, Any]) -> List[Result]:
    name = str(test.get("name") or "")
    found = []
    for result in _dicts(test.get("results")):
        messages = _messages(result)
        if "entity_id" in result:
            kind = str(result.get("entity_group") or "GPU")
            gpus = [str(result["entity_id"]) if kind.upper() == "GPU" else "{0} {1}".format(kind, result["entity_id"])]
        else:
            gpus = [gpu.strip() for gpu in str(result.get("gpu_ids", result.get("gpu_id", ""))).split(",")]
        # A test of the software lists all GPUs in one result: it is about the node.
        found += [Result(category, name, gpus[0] if len(gpus) == 1 else "", status_of(result.get("status")), messages)]
    summary = test.get("test_summary")
    if isinstance(summary, dict) and worst(result.status for result in found) != status_of(summary.get("status")):
        found.append(Result(category, name, "", status_of(summary.get("status")), _messages(summary)))
    if not found and "status" in test:
        found.append(Result(category, name, "", status_of(test["status"]), _messages(test)))
    return found


def _messages(result: Mapping[str, Any]) -> Tuple[str, ...]:
    """Warnings only: what else it has to say (rates, temperatures) would be other words each time."""
    given = result.get("warnings", result.get("warning", []))
    return tuple(str(one.get("warning", one)) if isinstance(one, dict) else str(one) for one in (given if isinstance(given, list) else [given]) if one)


def _by_table(text: str) -> Diagnosis:
    results: List[Result] = []
    category = version = driver = test = ""
    for line in text.splitlines():
        match = _ROW.match(line.strip())
        if not match:
            continue
        left, right = match.group(1).strip(), match.group(2).strip()
        section = _SECTION.match(left)
        if section:
            category, test = section.group(1), ""
        elif left == "DCGM Version":
            version = right
        elif left.startswith("Driver Version"):
            driver = right
        elif category.lower() == "metadata" or not right or (left, right) == ("Diagnostic", "Result") or not set(left + right) - set("-=+| "):
            continue
        elif left.split(":")[0] in ("Warning", "Info", "Error", "More Info", "Note"):
            if results and left.split(":")[0] in ("Warning", "Error"):
                _add_message(results, test, right, left)
        elif left:
            test = left
            results += _of_row(category, test, right)
        else:
            _of_continuation(results, category, test, right)
    return Diagnosis(tuple(results), version, driver)


def _of_row(category: str, test: str, text: str) -> List[Result]:
    parts = _PART.findall(text)
    if not parts:
        return [Result(category, test, "", status_of(text), () if status_of(text) != "unknown" else (text,))]
    found = []
    for word, who in parts:
        gpus = re.findall(r"\d+", who)
        found += [Result(category, test, gpu, status_of(word)) for gpu in gpus or [""]]
    return found


def _of_continuation(results: List[Result], category: str, test: str, text: str) -> None:
    """A line below a test: of a GPU of its own (``GPU0: Pass``), more GPUs, or the rest of a message that was too long for its line."""
    entity = _ENTITY.match(text)
    if entity and status_of(entity.group(2)) != "unknown":
        for at, result in enumerate(results):
            if (result.category, result.test, result.gpu) == (category, test, "") and not result.messages:
                del results[at]  # the line of the test itself said the worst of its GPUs
                break
        results.append(Result(category, test, entity.group(1), status_of(entity.group(2))))
    elif _PART.search(text):
        results += _of_row(category, test, text)
    elif re.match(r"^(Warning|Error):", text):
        _add_message(results, test, text.partition(":")[2].strip(), text)
    elif results and results[-1].messages and not re.match(r"^Info", text):
        last = results[-1]
        results[-1] = last._replace(messages=last.messages[:-1] + ("{0} {1}".format(last.messages[-1], text),))


def _add_message(results: List[Result], test: str, text: str, label: str) -> None:
    """Put a message to the result it is about, and that to the end, where its further lines are looked for."""
    match = _MENTIONED.search(label) or _MENTIONED.search(text)
    mine = [at for at, result in enumerate(results) if result.test == test]
    of_gpu = [at for at in mine if match and results[at].gpu == match.group(1)]
    ill = [at for at in mine if results[at].status not in ("pass", "skip")]
    for at in (of_gpu or ill or mine)[-1:]:
        result = results.pop(at)
        results.append(result._replace(messages=result.messages + (text,)))


def _dicts(entries: Any) -> List[Dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _first(*places: Mapping[str, Any], **how: Tuple[str, ...]) -> str:
    for place in places:
        for key in how["keys"]:
            if place.get(key):
                return str(place[key])
    return ""
