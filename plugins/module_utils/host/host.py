# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host as those see it who read and change one: its files, below a root that tests choose, and its programs."""
import os
from typing import Optional

from .commands import Commands
from .files import read_text
from .sysfs import Sysfs


class Host:
    """A host's files below a root (other than ``/`` for tests) and its programs. Names of files are relative to the root, with or without a slash."""

    def __init__(self, commands: Commands, root: str = "/") -> None:
        self.commands = commands
        self.root = root
        self.sysfs = Sysfs(root)

    def path(self, name: str) -> str:
        """Where a file of the host is on this machine."""
        return os.path.join(self.root, name.lstrip("/"))

    def text(self, name: str) -> Optional[str]:
        """The text of a file; None if there is none."""
        return read_text(self.path(name))
