# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is mounted, with the options in force, from /proc/self/mountinfo (proc(5)).

Lines that are not of its form are passed over: a mount that cannot be read is no reason to say nothing about the others.
"""
import re
from typing import List, NamedTuple, Optional, Tuple

_OCTAL = re.compile(r"\\([0-7]{3})")
_ESCAPED = {ord(letter): "\\{0:03o}".format(ord(letter)) for letter in " \t\n\\"}


class Mounted(NamedTuple):
    """A mount: ``options`` are those of the mount point, ``super_options`` those of the file system below it."""

    id: int
    parent: int
    device: str
    path: str
    options: Tuple[str, ...]
    type: str
    source: str
    super_options: Tuple[str, ...]

    @property
    def is_nfs(self) -> bool:
        return self.type in ("nfs", "nfs4")


def parse_mountinfo(text: str) -> List[Mounted]:
    """All mounts in the order in which they were made: of those on one path, the last is the one that is seen."""
    found = []
    for line in text.split("\n"):  # a path may have other ends of lines in it, which are not escaped
        words = line.split(" ")
        if len(words) < 9 or "-" not in words[6:] or not (words[0].isdigit() and words[1].isdigit()):
            continue
        rest = words[words.index("-", 6) + 1:]
        if len(rest) < 3:
            continue
        found.append(Mounted(
            int(words[0]), int(words[1]), words[2], unescape(words[4]), tuple(words[5].split(",")), rest[0], unescape(rest[1]),
            tuple(unescape(option) for option in rest[2].split(",")),
        ))
    return found


def seen_at(mounts: List[Mounted], path: str) -> Optional[Mounted]:
    """What a program finds at this path: the mount made last there."""
    return next((mount for mount in reversed(mounts) if mount.path == path), None)


def unescape(text: str) -> str:
    r"""Blanks, tabs, line ends and backslashes are written as octal numbers, ``\040``, in mountinfo and in fstab(5)."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8) & 0xFF), text)


def escape(text: str) -> str:
    """The other way round."""
    return text.translate(_ESCAPED)
