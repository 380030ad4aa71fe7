# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""nsswitch.conf(5) as a text with edits that can be taken back, also if somebody else has edited other lines meanwhile."""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError

PATH = "etc/nsswitch.conf"

_LINE = re.compile(r"^\s*([a-z_]+)\s*:([^#\n]*)(.*)$")

#: What glibc does for a database that the file does not name (nsswitch.conf(5), FILES and the compiled-in defaults).
_DEFAULT = "files"


class Edit(NamedTuple):
    """A database's line before (None: it had none) and after; without its line end."""

    before: Optional[str]
    after: str


class Edits(NamedTuple):
    """The whole file before and after, and line by line."""

    before: str
    after: str
    lines: Mapping[str, Edit]

    def to_dict(self) -> Dict[str, Any]:
        return {"before": self.before, "after": self.after, "lines": {name: list(edit) for name, edit in self.lines.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Edits":
        return cls(data["before"], data["after"], {name: Edit(*edit) for name, edit in data["lines"].items()})


def sources(text: str, database: str) -> List[str]:
    """Where a database is looked up, such as ``["files", "sss"]``; actions in brackets are left out."""
    for line in text.split("\n"):
        found = _LINE.match(line)
        if found and found.group(1) == database:
            return re.sub(r"\[[^\]]*\]", " ", found.group(2)).split()
    return []


def edit(text: str, word: str, databases: Sequence[str], without: Sequence[str] = ()) -> Edits:
    """Let the databases be looked up in ``word`` too, after all others, and not in those ``without``."""
    lines = text.split("\n")
    edits: Dict[str, Edit] = {}
    there = set()
    for index, line in enumerate(lines):
        found = _LINE.match(line)
        if found and found.group(1) in databases and found.group(1) not in there:
            there.add(found.group(1))
            after = _with(_without(line, without), word)
            if after != line:
                edits[found.group(1)] = Edit(line, after)
                lines[index] = after
    for name in databases:
        if name not in there:
            edits[name] = Edit(None, "{0:<15} {1} {2}".format(name + ":", _DEFAULT, word))
            if lines[-1]:
                lines.append("")
            lines.insert(-1, edits[name].after)
    return Edits(text, "\n".join(lines), edits)


def revert(text: str, edits: Edits, word: str) -> str:
    """Take the edits back. A line that somebody has changed since only loses the word; one that a package has given the word to loses it too."""
    if text == edits.after:
        return edits.before
    there_before = edits.before.split("\n")
    original = {found.group(1): found.group(0) for found in map(_LINE.match, reversed(there_before)) if found}
    lines = []
    for line in text.split("\n"):
        found = _LINE.match(line)
        name = found.group(1) if found else ""
        change = edits.lines.get(name)
        if change is not None and line == change.after:
            lines += [] if change.before is None else [change.before]
        elif not name or word not in sources(line, name) or word in sources(edits.before, name) or line in there_before:
            lines.append(line)
        elif name not in original and not set(sources(line, name)) - {word, _DEFAULT}:
            continue
        else:
            without = _without(line, [word])
            lines.append(original[name] if without.split() == original.get(name, "").split() else without)
    return "\n".join(lines)


def need_text(text: Optional[str]) -> str:
    if text is None:
        raise FleetError("/etc/nsswitch.conf is missing. Without it this host cannot be told where to look up users; the package libc-bin or base-files "
                         "brings it.")
    return text


def _with(line: str, word: str) -> str:
    database, values, comment = _split(line)
    if word in re.sub(r"\[[^\]]*\]", " ", values).split():
        return line
    space = " " if comment else ""
    return "{0}{1} {2}{3}{4}".format(database, values.rstrip(), word, space, comment)


def _without(line: str, words: Sequence[str]) -> str:
    """The actions that belong to a word, such as ``[NOTFOUND=return]``, go with it."""
    database, values, comment = _split(line)
    for word in words:
        values = re.sub(r"\s(?:{0})(?=\s|$)(?:\s*\[[^\]]*\])*".format(re.escape(word)), "", values)
    return database + values + comment


def _split(line: str) -> Tuple[str, str, str]:
    found = _LINE.match(line)
    start = line.index(":") + 1
    if found is None:  # only lines that have matched come here
        return line[:start], line[start:], ""
    return line[:start], line[start:start + len(found.group(2))], found.group(3)
