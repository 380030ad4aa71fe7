# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tools to look at nodes as they are now, put on a host and taken away again (sections 5.2 and 5.3)."""
import inspect
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host import apt, records
from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import Diff, read_text, remove, remove_if_empty, write_atomic
from ..host.services import differences
from . import dgx_watch

RECORD = "monitoring_tools"
LAUNCHER = "usr/local/bin/dgx-watch"
HOSTS = dgx_watch.HOSTS_FILE.lstrip("/")
#: What brings the programs that dgx-watch needs.
PROGRAMS = {"tmux": "tmux", "watch": "procps", "ssh": "openssh-client"}

_HOST = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@:-]*\Z")


class Wish(NamedTuple):
    """What a play asks for; checked."""

    present: bool
    hosts: Tuple[str, ...]
    ctop: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what ssh would not take as a host."""
        for host in params["hosts"]:
            if not _HOST.match(host):
                raise FleetError("hosts has {0!r}, but names or addresses are expected, one an entry.".format(host))
        return cls(params["state"] == "present", tuple(dict.fromkeys(params["hosts"])), params["ctop"])


class Found(NamedTuple):
    """A host as it is: files, packages that are missing, whether ctop is there or to be had, and what the first change found."""

    files: Mapping[str, Optional[str]]
    missing: Tuple[str, ...]
    ctop: str
    record: Mapping[str, Any]


class Change(NamedTuple):
    """From how a host is to how it is to be. A file that is None is removed."""

    before: Found
    files: Mapping[str, Optional[str]]
    install: Tuple[str, ...]
    purge: Tuple[str, ...]
    record: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.install or self.purge or self.changed_files)

    @property
    def changed_files(self) -> List[str]:
        return differences(self.before.files, self.files)

    @property
    def diffs(self) -> List[Diff]:
        shown = [Diff(self.before.files.get(path) or "", self.files[path] or "", "/" + path) for path in self.changed_files]
        packages = [Diff("".join(name + "\n" for name in self.purge), "".join(name + "\n" for name in self.install), "packages")]
        return shown + (packages if self.install or self.purge else [])


def read(wish: Wish, commands: Commands, root: str = "/") -> Found:
    """Read everything once. ``ctop`` is ``there``, ``to be had`` or ``unknown`` to the package lists."""
    record = records.read(RECORD, root)
    missing = apt.missing(PROGRAMS) if wish.present else []
    ctop = "there" if not apt.missing({"ctop": "ctop"}) else "unknown"
    if wish.present and wish.ctop and ctop == "unknown" and apt.knows(commands, "ctop"):
        ctop = "to be had"
    return Found({path: read_text(os.path.join(root, path)) for path in (LAUNCHER, HOSTS)}, tuple(missing), ctop, record)


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted; no side effects."""
    record = dict(found.record)
    if not wish.present:
        return Change(found, dict(record.get("files", {})), (), tuple(record.get("packages", [])), record)
    install = found.missing + (("ctop",) if wish.ctop and found.ctop == "to be had" else ())
    hosts = "# Written by dgxops.fleet.monitoring_tools, which owns this file: the hosts that dgx-watch shows.\n" + "".join(host + "\n" for host in wish.hosts)
    files: Dict[str, Optional[str]] = {LAUNCHER: "#!/usr/bin/python3\n" + inspect.getsource(dgx_watch), HOSTS: hosts}
    record.update(files=dict({path: found.files.get(path) for path in files}, **record.get("files", {})), packages=record.get("packages", []))
    return Change(found, files, install, (), record)


def carry_out(wish: Wish, change: Change, commands: Commands, root: str = "/") -> None:
    """Do it. What was found is on the disk before the first step, so a run cut short is completed by the next."""
    if change and wish.present:
        record = dict(change.record)
        if change.install:
            record["packages"] = sorted(set(record["packages"]) | set(apt.try_install(commands, change.install).added))
        records.write(RECORD, record, root)
        if change.install:
            apt.install(commands, change.install)
    for path in change.changed_files:
        text = change.files[path]
        if text is None:
            remove(os.path.join(root, path))
        else:
            write_atomic(os.path.join(root, path), text, 0o755 if path == LAUNCHER else 0o644)
    if change.purge:
        apt.purge(commands, change.purge)
    if not wish.present:
        remove_if_empty(os.path.join(root, os.path.dirname(HOSTS)))
        records.drop(RECORD, root)
