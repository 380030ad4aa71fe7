# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts with arrays, as they were recorded in the lab's machine: files and links below a root, and what mdadm said.

Each file in recorded/ says what was recorded, when and on what.
"""
import json
import os
from pathlib import Path
from typing import NamedTuple

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs

_HERE = Path(__file__).resolve().parent / "recorded"


class RecordedHost(NamedTuple):
    """One recording, unpacked."""

    sysfs: Sysfs
    commands: Recorded

    def write(self, path, text):
        """Change a file of the host."""
        Path(self.sysfs.path(path)).write_text(text)

    def said(self, *argv):
        """What a program printed."""
        return self.commands.answers[argv].out

    def text(self, path):
        return self.sysfs.read(path)


def host(stage, root):
    """The host in a stage: healthy, pulled, inactive, recovering, degraded or imsm."""
    recording = json.loads((_HERE / "md_{0}.json".format(stage)).read_text())
    for path, text in recording["files"].items():
        place = Path(str(root)) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for path, target in recording["links"].items():
        place = Path(str(root)) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, str(place))
    answers = {tuple(argv.split(" ")): Result(*answer) for argv, answer in recording["commands"].items()}
    return RecordedHost(Sysfs(str(root)), Recorded(answers))
