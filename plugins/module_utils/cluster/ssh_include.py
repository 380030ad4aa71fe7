# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one line that a user's ``~/.ssh/config`` gets, and the file as it was without it.

It is the first line: after a ``Host`` or ``Match`` it would hold for those hosts only (ssh_config(5), *Include*). What else was made for it is told beside it,
so that nothing has to be remembered elsewhere.
"""
import re
from typing import NamedTuple, Optional

_MARK = "# Added by dgxops.fleet.ssh_tunnel, which takes it away again"
_WITH_FILE = " with this file"
_WITH_DIRECTORY = " and its directory"
_BLOCK = re.compile(
    r"^{0}(?P<file>{1}(?P<directory>{2})?)?\.\n(?P<line>Include [^\n]*)\n?".format(re.escape(_MARK), _WITH_FILE, _WITH_DIRECTORY), re.MULTILINE)


class Without(NamedTuple):
    """A configuration without our line: its text, None if there was no file, and whether the directory was made for it."""

    text: Optional[str]
    made_directory: bool


def line_in(text: Optional[str]) -> str:
    """Our line, if it is there."""
    found = _BLOCK.search(text or "")
    return found.group("line") if found else ""


def add(text: Optional[str], path: str, directory_exists: bool = True) -> str:
    """The configuration that reads ``path`` too. ``text`` is None if there is no file yet."""
    line = "Include " + path + "\n"
    found = _BLOCK.search(text or "")
    if text is not None and found:
        return text[:found.start("line")] + line + text[found.end():] if found.group("line") + "\n" != line else text
    made = "" if text is not None else _WITH_FILE + ("" if directory_exists else _WITH_DIRECTORY)
    return "{0}{1}.\n{2}{3}".format(_MARK, made, line, text or "")


def take_away(text: Optional[str]) -> Without:
    """The configuration as it was before :func:`add`; what the user wrote since stays."""
    found = _BLOCK.search(text or "")
    if text is None or not found:
        return Without(text, False)
    rest = text[:found.start()] + text[found.end():]
    return Without(None if found.group("file") and not rest else rest, bool(found.group("directory")))
