# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CPU lists and masks, and host lists: the two compact notations that the kernel, libvirt and Slurm print.

CPU list: ``0-3,48``, as in cpuset(7) *Formats*; libvirt adds exclusions (``0-7,^3``). CPU mask: ``0000ff00,00000001``, groups of
32 bits in hexadecimal, highest first. Host list: ``node[212-213,215]``, as Slurm's ``scontrol show hostnames`` takes it.
"""
import re
from typing import FrozenSet, Iterable, List, Set, Tuple, Union

from .errors import FleetError

#: No Linux of today numbers its CPUs higher (CONFIG_NR_CPUS is 8192 at most); it stops ``0-99999999999`` from filling the memory.
HIGHEST_CPU = 65535
#: A host list that names more hosts than this is a slip of the pen.
MOST_HOSTS = 65536

# Eighteen digits are more than enough; Python refuses to read numbers of thousands.
_RANGE = re.compile(r"^(\d{1,18})(?:-(\d{1,18})(?::(\d{1,18})/(\d{1,18}))?)?$", re.ASCII)


def parse(text: Union[str, int, Iterable[int]]) -> FrozenSet[int]:
    """The CPUs of a CPU list; ``""`` is none. An int or a collection of ints is taken as it is.

    Accepts ranges, strides (``0-31:1/2``, as the kernel does) and libvirt's exclusions. Raises :class:`FleetError` for anything else.
    """
    if isinstance(text, bool):
        raise FleetError("{0!r} is not a CPU list. Write CPUs as numbers and ranges, such as 0-3,48.".format(text))
    if isinstance(text, int):
        return _checked([text], text)
    if not isinstance(text, str):
        return _checked(text, text)
    taken: Set[int] = set()
    excluded: Set[int] = set()
    if not text.strip():
        return frozenset()
    for part in text.split(","):
        part = part.strip()
        target = excluded if part.startswith("^") else taken
        match = _RANGE.match(part[1:] if part.startswith("^") else part)
        if not match:
            raise FleetError("{0!r} in the CPU list {1!r} is neither a CPU nor a range. Write it as 0-3,48.".format(part, text))
        first = int(match.group(1))
        last = int(match.group(2)) if match.group(2) is not None else first
        if last < first:
            raise FleetError("The range {0!r} in the CPU list {1!r} runs backwards.".format(part, text))
        if last > HIGHEST_CPU:
            raise FleetError("CPU {0} in the CPU list {1!r} is above {2}, the highest supported.".format(last, text, HIGHEST_CPU))
        used, group = (int(match.group(3)), int(match.group(4))) if match.group(3) else (1, 1)
        if not 0 < used <= group:
            raise FleetError("The stride of {0!r} in the CPU list {1!r} must be used/group with 0 < used <= group.".format(part, text))
        target.update(cpu for cpu in range(first, last + 1) if (cpu - first) % group < used)
    return frozenset(taken - excluded)


def _checked(numbers: Iterable[int], given: object) -> FrozenSet[int]:
    cpus = []
    try:
        values = None if isinstance(numbers, (bytes, bytearray)) else list(numbers)
    except TypeError:
        values = None
    if values is None:
        raise FleetError("{0!r} is not a CPU list. Write CPUs as numbers and ranges, such as 0-3,48.".format(given))
    for number in values:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= HIGHEST_CPU:
            raise FleetError("{0!r} is not a CPU number from 0 to {1}.".format(number, HIGHEST_CPU))
        cpus.append(number)
    return frozenset(cpus)


def show(cpus: Iterable[int]) -> str:
    """The shortest CPU list, ascending: ``{0, 1, 2, 48}`` is ``0-2,48``."""
    return ",".join(str(first) if first == last else "{0}-{1}".format(first, last) for first, last in runs(cpus))


def runs(numbers: Iterable[int]) -> List[Tuple[int, int]]:
    """The unbroken runs of a set of numbers, ascending, as (first, last)."""
    found: List[Tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def parse_mask(text: str) -> FrozenSet[int]:
    """The CPUs of a kernel CPU mask (``00000003,00000001``); a leading 0x is accepted."""
    digits = text.strip().replace(",", "")
    if digits[:2] in ("0x", "0X"):
        digits = digits[2:]
    if not re.match(r"^[0-9a-fA-F]+$", digits):
        raise FleetError("{0!r} is not a CPU mask. Write it in hexadecimal, in groups of eight digits, such as ff,00000001.".format(text))
    bits = int(digits, 16)
    return frozenset(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


def show_mask(cpus: Iterable[int]) -> str:
    """The kernel's CPU mask, at least one group of eight digits."""
    bits = 0
    for cpu in cpus:
        bits |= 1 << cpu
    digits = "{0:x}".format(bits)
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    return ",".join(digits[at:at + 8] for at in range(0, len(digits), 8))


_HOST = re.compile(r"^(.*?)(\d{1,18})$", re.ASCII | re.DOTALL)


def parse_hosts(text: str) -> List[str]:
    """The hosts of a host list, in the order written, each once: ``dgx[01-03],login`` is dgx01, dgx02, dgx03, login.

    Several brackets in one name multiply (``r[1-2]n[1-2]``). Raises :class:`FleetError` for unbalanced brackets or bad ranges.
    """
    hosts: List[str] = []
    for word in _split_outside_brackets(text):
        hosts.extend(_expand(word, text))
        if len(hosts) > MOST_HOSTS:
            raise FleetError("The host list {0!r} names more than {1} hosts.".format(text, MOST_HOSTS))
    return list(dict.fromkeys(hosts))


def _split_outside_brackets(text: str) -> List[str]:
    words, word, depth = [], "", 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if depth not in (0, 1):
            raise FleetError("The brackets of the host list {0!r} do not match.".format(text))
        if letter in ", \t\n" and depth == 0:
            words.append(word)
            word = ""
        else:
            word += letter
    if depth:
        raise FleetError("The brackets of the host list {0!r} do not match.".format(text))
    return [found for found in words + [word] if found]


def _expand(word: str, text: str) -> List[str]:
    if "[" not in word:
        return [word]
    head, rest = word.split("[", 1)
    inside, tail = rest.split("]", 1)
    names: List[str] = []
    tails = _expand(tail, text)
    for part in inside.split(","):
        match = re.match(r"^\s*(\d{1,18})(?:-(\d{1,18}))?\s*$", part, re.ASCII)
        if not match:
            raise FleetError("{0!r} in the host list {1!r} is neither a number nor a range.".format(part, text))
        first, last = match.group(1), match.group(2) or match.group(1)
        if int(last) < int(first):
            raise FleetError("The range {0!r} in the host list {1!r} runs backwards.".format(part, text))
        if (int(last) - int(first) + 1) * len(tails) > MOST_HOSTS:
            raise FleetError("The host list {0!r} names more than {1} hosts.".format(text, MOST_HOSTS))
        for number in range(int(first), int(last) + 1):
            names.extend(head + str(number).zfill(len(first)) + end for end in tails)
    return names


def show_hosts(hosts: Iterable[str]) -> str:
    """The shortest host list: names that differ in their last number share a bracket; the width of the number is kept."""
    groups: dict = {}
    for host in sorted(set(hosts)):
        match = _HOST.match(host)
        if match:
            # A single 0 is not padded: n0 and n10 are of one run.
            width = len(match.group(2)) if re.match("0.", match.group(2)) else 0
            groups.setdefault((match.group(1), width or None), set()).add(int(match.group(2)))
        else:
            groups[(host, 0)] = set()
    _join_widths(groups)
    words = []
    for (head, width), numbers in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        spans = ["-".join(str(end).zfill(width or 0) for end in ([first] if first == last else [first, last])) for first, last in runs(numbers)]
        if not spans:
            words.append(head)
        elif len(spans) == 1 and "-" not in spans[0]:
            words.append(head + spans[0])
        else:
            words.append("{0}[{1}]".format(head, ",".join(spans)))
    return ",".join(words)


def _join_widths(groups: dict) -> None:
    """``n09`` and ``n10`` are one run: numbers without a leading zero join the padded group whose width they have."""
    for head, width in [key for key in groups if key[1]]:
        plain = groups.get((head, None), set())
        fitting = {number for number in plain if len(str(number)) == width}
        groups[(head, width)] |= fitting
        plain -= fitting
        if (head, None) in groups and not plain:
            del groups[(head, None)]
