# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""/etc/fstab as text of which single lines are replaced: whatever else is in it stays as it is, to the byte (fstab(5))."""
from typing import List, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.mountinfo import escape, unescape

FSTAB = "etc/fstab"


class Entry(NamedTuple):
    """A line that mounts something; ``line`` is its text without the end of line."""

    source: str
    path: str
    type: str
    options: Tuple[str, ...]
    line: str


def parse(text: str) -> List[Entry]:
    """The entries. Comments and what is none are passed over."""
    return [entry for entry in (_entry(line) for line in text.split("\n")) if entry is not None]


def at(text: str, path: str) -> Optional[Entry]:
    """The entry of a path; raises :class:`FleetError` if there are several, of which none could be told to be the right one."""
    found = [entry for entry in parse(text) if entry.path == path]
    if len(found) > 1:
        raise FleetError("/{0} has {1} entries for {2}. Which one is meant cannot be told; leave one and run this again.".format(FSTAB, len(found), path))
    return found[0] if found else None


def line_of(source: str, path: str, options: Tuple[str, ...]) -> str:
    """An entry for NFS. It is never checked at boot, nor dumped."""
    return "{0} {1} nfs {2} 0 0".format(escape(source), escape(path), escape(",".join(options)))


def replace(text: str, path: str, line: Optional[str]) -> str:
    """The text with this line for this path, in the place of the one that is there, or else at the end; None takes the entry away."""
    lines = text.split("\n")
    for number, found in enumerate(lines):
        entry = _entry(found)
        if entry is not None and entry.path == path:
            lines[number:number + 1] = [] if line is None else [line]
            return "\n".join(lines)
    if line is None:
        return text
    return (text if text.endswith("\n") or not text else text + "\n") + line + "\n"


def _entry(line: str) -> Optional[Entry]:
    words = line.split()
    if len(words) < 3 or words[0].startswith("#"):
        return None
    options = tuple(unescape(words[3]).split(",")) if len(words) > 3 else ("defaults",)
    path = unescape(words[1])
    return Entry(unescape(words[0]), path.rstrip("/") or "/" if path.startswith("/") else path, words[2], options, line)
