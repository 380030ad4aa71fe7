# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""mdadm.conf as a text with statements that are replaced, not appended. Everything else in it stays as it is, byte for byte.

A statement is a line that begins with its keyword; lines that begin with white space continue it (mdadm.conf(5)).
"""
import re
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..host.files import joined

#: Where it is on Debian and its kin, and where it is elsewhere; mdadm reads the first that is there.
PATHS = ("etc/mdadm/mdadm.conf", "etc/mdadm.conf")

#: The keywords that are of interest here; the first three letters of one are enough (conf_word and match_keyword in config.c of mdadm).
_KEYWORDS = ("array", "mailaddr", "mailfrom", "program")

_COMMENT = re.compile(r"(^|\s)#.*$")
_UUID = re.compile(r"\buuid=([0-9a-f:.-]+)", re.IGNORECASE)
_NAME = re.compile(r"\bname=(\S+)", re.IGNORECASE)


class Statement(NamedTuple):
    """Lines of the file that belong together, with their line ends; ``keyword`` is in lower case, empty for comments and blank lines."""

    keyword: str
    text: str

    @property
    def words(self) -> List[str]:
        return [word for line in self.text.splitlines() for word in _COMMENT.sub("", line).split()]


class Edit(NamedTuple):
    """The text after an edit, and what was replaced by it: the statements' texts."""

    text: str
    replaced: Tuple[str, ...]


def statements(text: str) -> List[Statement]:
    """The file in statements; joined, their texts are the file."""
    found: List[Statement] = []
    for line in text.splitlines(True):
        first = line.split(None, 1)[0] if line.strip() else ""
        if line[:1] in (" ", "\t") and line.strip() and found and found[-1].keyword:
            found[-1] = found[-1]._replace(text=found[-1].text + line)
        else:
            found.append(Statement("" if first.startswith("#") else _keyword(first.lower()), line))
    return found


def _keyword(word: str) -> str:
    return next((keyword for keyword in _KEYWORDS if len(word) >= 3 and keyword.startswith(word)), word)


def plain(uuid: str) -> str:
    """A UUID without what separates its parts; the file may have it in any form."""
    return re.sub(r"[^0-9a-f]", "", uuid.lower())


def array_uuid(statement: Statement) -> str:
    """The UUID that an ARRAY statement is about, in plain digits; empty if it names none."""
    match = _UUID.search(" ".join(statement.words))
    return plain(match.group(1)) if match and statement.keyword == "array" else ""


def uuids_of(text: str, path: str) -> List[str]:
    """The UUIDs, in plain digits, to which the file gives this path."""
    return [array_uuid(one) for one in statements(text) if one.keyword == "array" and _path(one) == path]


def _path(one: Statement) -> str:
    """The device an ARRAY statement gives; "/dev/md/" may be left out."""
    word = one.words[1] if len(one.words) > 1 else ""
    return word if word.startswith("/") or "=" in word or word.startswith("<") else "/dev/md/" + word if word else ""


def _is_about(one: Statement, path: str, uuid: str) -> bool:
    if one.keyword != "array":
        return False
    name = _NAME.search(" ".join(one.words))
    wanted = path.rpartition("/")[2]
    return array_uuid(one) == plain(uuid) or _path(one) == path or bool(
        name and not array_uuid(one) and name.group(1).rpartition(":")[2] == wanted)


def with_array(text: Optional[str], path: str, metadata: str, uuid: str) -> Edit:
    """The file with one ARRAY line for this array, in the place of whatever was there for its UUID or its path."""
    line = "ARRAY {0} metadata={1} UUID={2}\n".format(path, metadata, uuid)
    return _replace(text or "", [one for one in statements(text or "") if _is_about(one, path, uuid)], line)


def with_setting(text: Optional[str], keyword: str, value: str) -> Edit:
    """The file with one line ``KEYWORD value``, or none for an empty value."""
    line = "{0} {1}\n".format(keyword.upper(), value) if value else ""
    return _replace(text or "", [one for one in statements(text or "") if one.keyword == keyword.lower()], line)


def with_settings_of(text: str, keyword: str, before: str) -> str:
    """The file with the statements of a keyword as they were in another text, in the place of those that are there."""
    old = [one.text for one in statements(before) if one.keyword == keyword]
    rest, placed = [], False
    for one in statements(text):
        if one.keyword == keyword:
            rest += [] if placed else old
            placed = True
        else:
            rest.append(one.text)
    return joined(rest if placed else rest + old)


def _replace(text: str, old: Sequence[Statement], line: str) -> Edit:
    if len(old) == 1 and old[0].words == line.split():
        return Edit(text, ())
    rest, placed = [], not line
    for one in statements(text):
        if not any(one is other or one == other for other in old):
            rest.append(one.text)
        elif not placed:
            rest.append(line)
            placed = True
    return Edit(joined(rest if placed else rest + [line]), tuple(one.text for one in old))


def without_array(text: str, path: str, uuid: str, replaced: Sequence[str]) -> str:
    """The file without this array's line, and with what that had replaced in its place."""
    rest, placed = [], False
    for one in statements(text):
        if one.keyword == "array" and (array_uuid(one) == plain(uuid) or _path(one) == path):
            rest += [] if placed else list(replaced)
            placed = True
        else:
            rest.append(one.text)
    return joined(rest if placed else rest + list(replaced))
