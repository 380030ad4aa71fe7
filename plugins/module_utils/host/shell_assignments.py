# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What variables hold after a shell has read files of assignments, such as /etc/default/grub, found out without running anything.

Understood: ``NAME=value`` and ``export NAME=value`` with every kind of quoting, ``$NAME`` and ``${NAME}``, comments and continued lines
(XCU 2.2, 2.6.2 and 2.9.1 of POSIX). Anything else a shell can do is noted as unclear, never guessed.
"""
import re
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Set, Tuple

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ASSIGNMENT = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=")

#: Between these a statement may run or not, or several times.
_OPENING = ("if", "for", "while", "until", "case", "{")
_CLOSING = ("fi", "done", "esac", "}")

#: The kinds of a :class:`Piece`.
LITERAL, VARIABLE, UNCLEAR = "literal", "variable", "unclear"


class Piece(NamedTuple):
    """A part of a word: text as it is, the name of a variable, or something that only a shell could work out."""

    kind: str
    text: str


Word = Tuple[Piece, ...]

#: What a function's body begins with, at the end of the line that names it.
_BODY: Word = (Piece(LITERAL, "{"),)


class Source(NamedTuple):
    """A file that the shell reads."""

    path: str
    text: str


class Setting(NamedTuple):
    """One assignment as it was met: the whole value that the variable had from then on."""

    name: str
    value: str
    path: str
    line: int


class Settings(NamedTuple):
    """All assignments in the order in which they were made, and the places ``path:line`` that were not understood, by variable."""

    made: Tuple[Setting, ...]
    unclear: Tuple[Tuple[str, str], ...]

    def value(self, name: str) -> str:
        """What the variable holds in the end; nothing if it was never set."""
        values = [setting.value for setting in self.made if setting.name == name]
        return values[-1] if values else ""

    def unclear_places(self, names: Iterable[str]) -> List[str]:
        """Where one of the variables may have been changed in a way that was not understood."""
        return sorted({place for name, place in self.unclear if name in set(names)})


def evaluate(sources: Iterable[Source], names: FrozenSet[str]) -> Settings:
    """Read the files one after the other, as ``.`` does; ``names`` are the variables of which unclear places are noted."""
    values: Dict[str, str] = {}
    doubtful: Set[str] = set()
    made: List[Setting] = []
    unclear: List[Tuple[str, str]] = []
    for source in sources:
        depth = 0
        for line, words in _Reader(source.text).statements():
            place = "{0}:{1}".format(source.path, line)
            first = words[0][0].text if words[0] else ""
            depth += (first in _OPENING or words[-1] == _BODY) - (first in _CLOSING)
            assignments = _assignments(words)
            if assignments is None:
                text = " ".join(piece.text for word in words for piece in word)
                unclear.extend((name, place) for name in names if name in text or first in (".", "source"))
                continue
            if depth:
                unclear.extend((name, place) for name, _value in assignments if name in names)
                continue
            for name, value in assignments:
                values[name] = "".join(values.get(piece.text, "") if piece.kind == VARIABLE else piece.text for piece in value if piece.kind != UNCLEAR)
                doubtful.discard(name)
                if any(piece.kind == UNCLEAR or (piece.kind == VARIABLE and piece.text in doubtful) for piece in value):
                    doubtful.add(name)
                    unclear.extend((known, place) for known in names if known == name)
                made.append(Setting(name, values[name], source.path, line))
    return Settings(tuple(made), tuple(unclear))


def _assignments(words: List[Word]) -> Optional[List[Tuple[str, Word]]]:
    """The assignments of a statement; None if it is something else, such as a command or a condition."""
    if words and words[0] == (Piece(LITERAL, "export"),):
        words = words[1:]
    found = []
    for word in words:
        match = _ASSIGNMENT.match(word[0].text) if word and word[0].kind == LITERAL else None
        if match is None:
            return None
        found.append((match.group(1), (Piece(LITERAL, word[0].text[match.end():]),) + word[1:]))
    return found


class _Reader:
    """Splits shell text into statements of words, minding quotes; goes through the text once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.word: List[Piece] = []
        self.words: List[Word] = []
        self.begun = False

    def statements(self) -> List[Tuple[int, List[Word]]]:
        """Every statement with the number of the line it begins on."""
        found: List[Tuple[int, List[Word]]] = []
        start = 1
        while self.at <= len(self.text):
            letter = self.text[self.at:self.at + 1]
            if letter in ("", "\n", ";"):
                self._end_word()
                if self.words:
                    found.append((start, self.words))
                self.words = []
            elif letter in " \t":
                self._end_word()
            elif letter == "#" and not self.begun:
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
                continue
            else:
                if not self.words and not self.begun:
                    start = self.line
                self._take(letter)
                continue
            self._step()
        return found

    def _step(self, count: int = 1) -> str:
        passed = self.text[self.at:self.at + count]
        self.line += passed.count("\n")
        self.at += count
        return passed

    def _add(self, kind: str, text: str) -> None:
        self.begun = True
        if kind == LITERAL and self.word and self.word[-1].kind == LITERAL:
            self.word[-1] = Piece(LITERAL, self.word[-1].text + text)
        else:
            self.word.append(Piece(kind, text))

    def _end_word(self) -> None:
        if self.begun:
            self.words.append(tuple(self.word))
        self.word, self.begun = [], False

    def _take(self, letter: str) -> None:
        """One letter outside quotes, with all that belongs to it."""
        if letter == "'":
            end = self.text.find("'", self.at + 1)
            self._add(LITERAL, self._step((len(self.text) if end < 0 else end + 1) - self.at).strip("'"))
        elif letter == '"':
            self._double_quoted()
        elif letter == "\\":
            self._step()
            following = self._step()
            if following != "\n":
                self._add(LITERAL, following)
        elif letter in "$`":
            self._expansion()
        elif letter in "|&<>()":
            self._add(UNCLEAR, self._step())
        else:
            self._add(LITERAL, self._step())

    def _double_quoted(self) -> None:
        self._step()
        self._add(LITERAL, "")
        while self.at < len(self.text) and self.text[self.at] != '"':
            letter = self.text[self.at]
            if letter == "\\":
                self._step()
                following = self._step()
                # XCU 2.2.3: within double quotes a backslash is special only before these.
                if following != "\n":
                    self._add(LITERAL, following if following in '$`"\\' else "\\" + following)
            elif letter in "$`":
                self._expansion()
            else:
                self._add(LITERAL, self._step())
        self._step()

    def _expansion(self) -> None:
        """``$NAME``, ``${NAME}``, or a substitution, which is unclear."""
        if self.text[self.at] == "`":
            end = self.text.find("`", self.at + 1)
            self._add(UNCLEAR, self._step((len(self.text) if end < 0 else end + 1) - self.at))
            return
        match = _NAME.match(self.text, self.at + 1)
        if match:
            self._add(VARIABLE, match.group())
            self._step(match.end() - self.at)
            return
        match = _BRACED_NAME.match(self.text, self.at)
        if match:
            self._add(VARIABLE, match.group(1))
            self._step(match.end() - self.at)
            return
        opening = self.text[self.at + 1:self.at + 2]
        if opening in ("(", "{"):
            self._add(UNCLEAR, self._step(self._end_of_group(opening) - self.at))
        elif opening and opening in "0123456789@*#?-$!":
            self._add(UNCLEAR, self._step(2))
        else:
            self._add(LITERAL, self._step())

    def _end_of_group(self, opening: str) -> int:
        """Just behind the bracket that closes the one after ``$``."""
        closing = {"(": ")", "{": "}"}[opening]
        depth = 0
        for at in range(self.at + 1, len(self.text)):
            depth += (self.text[at] == opening) - (self.text[at] == closing)
            if depth == 0:
                return at + 1
        return len(self.text)
