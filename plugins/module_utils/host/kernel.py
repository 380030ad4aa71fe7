# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel command line, read as the kernel reads it.

Sources: Documentation/admin-guide/kernel-parameters.rst (quotes, dashes and underscores, what follows ``--``) and
Documentation/admin-guide/mm/hugetlbpage.rst (the huge page parameters, where order and repetition matter).
"""
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from .errors import FleetError

#: The three parameters that are read together, in order; for them the kernel keeps the first value and not, as for others, the last.
HUGE_PAGE_KEYS = ("default_hugepagesz", "hugepagesz", "hugepages")

#: Parameters that add up when they are repeated, so that two values are no contradiction
#: (kernel-parameters.txt; systemd.mask and systemd.wants: systemd-debug-generator(8); modprobe.blacklist: modprobe(8)).
REPEATABLE_KEYS = frozenset(
    ["console", "earlycon", "cgroup_disable", "cgroup_enable", "memmap", "modprobe.blacklist", "systemd.mask", "systemd.wants", "systemd.setenv"]
)

#: What may be in a parameter. Left out is what the shell, GRUB's own script language or the kernel's parser would change on the way.
_PLAIN = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(=[A-Za-z0-9_.,:/@%+=!\-]*)?\Z")

_SIZE = re.compile(r"^(\d+)([KMGkmg]?)\Z", re.ASCII)
_COUNT = re.compile(r"^(\d+|\d+:\d+(,\d+:\d+)*)\Z", re.ASCII)
_KIB = {"K": 1, "M": 1024, "G": 1024 * 1024}


class Parameter(NamedTuple):
    """One word of the command line; ``key`` has underscores for dashes, ``value`` is None for a flag."""

    text: str
    key: str
    value: Optional[str]


class HugePages(NamedTuple):
    """The huge pages a command line asks for: the default size, and per size the count as written (``96`` or ``0:48,1:48``), sizes in KiB."""

    default_kib: Optional[int]
    pools: Tuple[Tuple[int, str], ...]

    def covers(self, other: "HugePages") -> bool:
        """Whether everything that ``other`` asks for is asked for here."""
        return set(other.pools) <= set(self.pools) and other.default_kib in (None, self.default_kib)

    @property
    def total_kib(self) -> int:
        return sum(size * pages_in(count) for size, count in self.pools)


#: What one parameter amounts to on a line; two lines treat a parameter alike if this is equal.
Effect = Union[None, bool, str, HugePages]


def parse_line(text: str) -> Tuple[Parameter, ...]:
    """The parameters of a command line, such as /proc/cmdline. What follows ``--`` is for init and left out."""
    words: List[str] = []
    word, quoted = "", False
    for letter in text.strip() + " ":
        if letter == '"':
            quoted = not quoted
        if letter.isspace() and not quoted:
            if word:
                words.append(word)
            word = ""
        else:
            word += letter
    if word.strip():
        words.append(word.strip())
    return tuple(parameter(word) for word in (words[: words.index("--")] if "--" in words else words))


def parameter(text: str) -> Parameter:
    """The parameter that a word of the command line is."""
    key, equals, value = text.replace('"', "").partition("=")
    return Parameter(text, key.replace("-", "_"), value if equals else None)


def wanted_parameters(texts: Sequence[str]) -> Tuple[Parameter, ...]:
    """The parameters a user asked for; raises :class:`FleetError` for what cannot be carried to the kernel unharmed or contradicts itself."""
    parameters: List[Parameter] = []
    values: Dict[str, str] = {}
    for text in texts:
        if not _PLAIN.match(text):
            raise FleetError(
                "{0!r} is not a kernel parameter that can be set. Write one parameter per list entry, as key=value or as a flag, from letters, "
                "digits and _ . , : / @ % + = ! -. Spaces, quotes, $, backslashes and the like would be changed by the shell or by GRUB "
                "on their way to the kernel.".format(text)
            )
        found = parameter(text)
        if found.key not in HUGE_PAGE_KEYS:
            if found.key in REPEATABLE_KEYS and text in [known.text for known in parameters]:
                raise FleetError("The kernel parameter {0} is given twice. Once is enough.".format(text))
            if found.key not in REPEATABLE_KEYS and found.key in values:
                raise FleetError(
                    "The kernel parameter {0} is given twice, as {1} and as {2}. Only one can be in force: remove the other.".format(
                        found.key, values[found.key], text
                    )
                )
        values[found.key] = text
        parameters.append(found)
    _check_huge_pages(parameters)
    return tuple(parameters)


def _check_huge_pages(parameters: Sequence[Parameter]) -> None:
    """The kernel drops a huge page parameter that it cannot place, with a line in its log that nobody reads; so it is refused here."""
    asked = [found for found in parameters if found.key in HUGE_PAGE_KEYS]
    for found in asked:
        if found.key == "hugepages":
            if not _COUNT.match(found.value or ""):
                raise FleetError(
                    "{0} has no number of pages. Write hugepages=96, or hugepages=0:48,1:48 for 48 on node 0 and on node 1.".format(found.text)
                )
        else:
            size_kib(found.value or "", found.text)
    counts = [found for found in asked if found.key == "hugepages" and pages_in(found.value or "")]
    if len(counts) != len(huge_pages(asked).pools) or [found.key for found in asked].count("default_hugepagesz") > 1:
        raise FleetError(
            "Of {0!r} the kernel would use the first count and the first default size and ignore the rest. Name default_hugepagesz at most once, "
            "and each page size once: hugepagesz=SIZE followed by its own hugepages=COUNT.".format(" ".join(found.text for found in asked))
        )


def size_kib(size: str, where: str) -> int:
    """A page size such as ``2M`` or ``1G`` in KiB; a number without a letter is in bytes, as for the kernel."""
    match = _SIZE.match(size)
    number = 0 if match is None else int(match.group(1)) * (_KIB[match.group(2).upper()] * 1024 if match.group(2) else 1)
    if number == 0 or number % 1024:
        raise FleetError("{0} has no page size. Write it as 2M or 1G.".format(where))
    return number // 1024


def pages_in(count: str) -> int:
    """The pages of a count, ``96`` or by node ``0:48,1:48``."""
    return sum(int(part.rpartition(":")[2]) for part in count.split(",")) if _COUNT.match(count) else 0


def huge_pages(line: Sequence[Parameter], usual_kib: int = 2048) -> HugePages:
    """The huge pages that the kernel makes of a command line; ``usual_kib`` is the default size of the architecture.

    The first default size and the first count of a size stand; a size that is named again, or is none, takes its count along.
    """
    default: Optional[int] = None
    size: Optional[int] = None
    implicit: Optional[str] = None
    counts: Dict[int, Optional[str]] = {}
    valid = True
    for found in line:
        if found.key in ("default_hugepagesz", "hugepagesz"):
            try:
                named = size_kib(found.value or "", found.text)
            except FleetError:
                valid = False
                continue
            again = default is not None if found.key == "default_hugepagesz" else named in counts and (named != default or counts[named] is not None)
            valid = not again
            if valid:
                size = named
                counts.setdefault(named, None)
                if found.key == "default_hugepagesz":
                    default = named
        elif found.key == "hugepages" and valid:
            count = str(found.value or "0")
            if size is None:
                implicit = implicit or count
            elif counts[size] is None:
                counts[size] = count
    if implicit is not None:
        counts[default or usual_kib] = implicit
    return HugePages(default, tuple(sorted((kib, count) for kib, count in counts.items() if count is not None and pages_in(count))))


def effect(of: Parameter, line: Sequence[Parameter]) -> Effect:
    """What the kernel makes of one parameter on a line: huge pages together, repeatable ones by presence, the others by the last value."""
    if of.key in HUGE_PAGE_KEYS:
        return huge_pages(line)
    if of.key in REPEATABLE_KEYS:
        return any((found.key, found.value) == (of.key, of.value) for found in line)
    values = [found for found in line if found.key == of.key]
    if not values:
        return None
    return True if values[-1].value is None else values[-1].value


def in_force(wanted: Parameter, together: Sequence[Parameter], line: Sequence[Parameter]) -> bool:
    """Whether a line does what ``wanted``, one of the parameters wanted ``together``, asks for."""
    if wanted.key in HUGE_PAGE_KEYS:
        return huge_pages(line).covers(huge_pages(together))
    return effect(wanted, line) == effect(wanted, [wanted])
