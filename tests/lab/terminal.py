# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a program of the lab speaks: headings, commands, results, differences; in colours if the terminal has them, within its width."""
import difflib
import shutil
import sys
import textwrap
from typing import List, NamedTuple, Sequence


class Terminal(NamedTuple):
    """Where it speaks. Texts are printed at once, so that they stand in order with what other programs print."""

    width: int
    colour: bool
    unicode: bool

    @classmethod
    def found(cls, colour: bool) -> "Terminal":
        """Standard output: between 80 and 110 columns, 100 where it is no terminal."""
        columns = shutil.get_terminal_size((100, 24)).columns
        return cls(max(80, min(110, columns)), colour, (sys.stdout.encoding or "").lower().replace("-", "") == "utf8")

    def style(self, text: str, codes: str) -> str:
        return "\033[{0}m{1}\033[0m".format(codes, text) if self.colour and text else text

    def line(self, text: str = "") -> None:
        if not self.unicode:
            text = text.replace("…", "...").encode("ascii", "replace").decode("ascii")
        print(text, flush=True)

    @property
    def margin(self) -> int:
        """How far pictures are moved to the right; where room is short, not at all."""
        return 3 if self.width >= 83 else 0

    def progress(self, text: str) -> None:
        """What is going on, on a line that the next one replaces; only where somebody looks. An empty text takes it away."""
        if self.colour:
            print("\r\033[K" + (self.style("   " + text[:self.width - 4], "2") if text else ""), end="", flush=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(self.style(text, "1;36"))

    def text(self, text: str) -> None:
        """A paragraph."""
        for line in textwrap.wrap(text, self.width - 4, break_on_hyphens=False):
            self.line("   " + line)

    def command(self, text: str) -> None:
        self.line("   " + self.style("$ " + text, "2"))

    def good(self, text: str) -> None:
        """Something that was proved."""
        self._marked("ok", "1;32", text)

    def bad(self, text: str) -> None:
        self._marked("NOT SO", "1;31", text)

    def _marked(self, mark: str, codes: str, text: str) -> None:
        lines = textwrap.wrap(text, self.width - 5 - len(mark), break_on_hyphens=False) or [""]
        self.line("   {0}  {1}".format(self.style(mark, codes), lines[0]))
        for line in lines[1:]:
            self.line("   {0}  {1}".format(" " * len(mark), line))

    def block(self, lines: Sequence[str], indent: int = 3) -> None:
        """Lines as they are."""
        for line in lines:
            self.line((" " * indent + line).rstrip())

    def difference(self, before: str, after: str, most: int) -> None:
        """What was taken out and put in, with a line around it to tell where, and no more than ``most`` lines."""
        lines = difference(before, after)
        for line in lines[:most]:
            codes = {"+": "32", "-": "31", ".": "2"}.get(line[:1], "")
            self.line("   " + (self.style(line, codes) if codes else line))
        if len(lines) > most:
            self.line("   " + self.style("… and {0} lines more".format(len(lines) - most), "2"))


def difference(before: str, after: str) -> List[str]:
    """A unified difference of one line of context; where a part begins is told by a line of dots."""
    found = []
    for line in list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[2:]:
        found.append("..." if line.startswith("@@") else line)
    return found[1:]
