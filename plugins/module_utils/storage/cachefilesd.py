# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The NFS read cache on a local file system: what cachefilesd is told, checked by the rules of cachefilesd.conf(5).

The daemon itself only says that it failed. And where the file system of the cache is not mounted, it would fill the system's drives; so it is
made to need that mount.
"""
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.settings import Change, State, Unit, decide, restore

SERVICE = "cachefilesd.service"
CONF = "etc/cachefilesd.conf"
DEFAULT = "etc/default/cachefilesd"
DROP_IN = "etc/systemd/system/cachefilesd.service.d/50-dgxops.conf"
RESTARTS = {SERVICE: (CONF, DEFAULT, DROP_IN)}

_HEADER = "# Written by dgxops.fleet.cachefilesd, which owns this file. See cachefilesd.conf(5).\n"
_RUN = re.compile(r"^[ \t]*RUN=.*$", re.MULTILINE)
_COMMENTED_RUN = re.compile(r"^[# \t]*RUN=.*$", re.MULTILINE)
_START_TIME = re.compile(r"^STARTTIME=", re.MULTILINE)
_START_LINE = "STARTTIME=5\n"
_TAG = re.compile(r"^[A-Za-z0-9_.-]{1,48}\Z", re.ASCII)


class Limits(NamedTuple):
    """Shares of the file system that are to be free, in percent.

    Below ``cull`` the oldest files are thrown away until ``run`` is free again; below ``stop`` nothing more is cached.
    """

    run: int
    cull: int
    stop: int


class Wish(NamedTuple):
    """What a play asks for; checked."""

    present: bool
    directory: str
    mount: str
    tag: str
    blocks: Limits
    files: Limits
    culltable: Optional[int]
    secctx: str
    restart: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cachefilesd would not take."""
        directory, mount = (_path(name, params[name]) for name in ("dir", "mount"))
        if params["state"] == "present":
            if not directory:
                raise FleetError("dir is not given. Give the directory of the cache, such as /raid.")
            if mount and directory != mount and not directory.startswith(mount.rstrip("/") + "/"):
                raise FleetError("dir is {0}, but a directory on the file system mounted at {1} is expected.".format(directory, mount))
        if not _TAG.match(params["tag"]):
            raise FleetError("tag is {0!r}, but up to 48 letters, digits, dots, dashes and underscores are expected.".format(params["tag"]))
        culltable = params["culltable"]
        if culltable is not None and not 12 <= culltable <= 20:
            raise FleetError("culltable is {0}, but a number from 12 to 20 is expected, the logarithm of how many files are looked at.".format(culltable))
        secctx = params["secctx"] or ""
        if re.search(r"\s", secctx):
            raise FleetError("secctx is {0!r}, but a security context without blanks is expected.".format(secctx))
        blocks, files = _limits("b", params), _limits("f", params)
        return cls(params["state"] == "present", directory, mount, params["tag"], blocks, files, culltable, secctx, params["restart"])

    @property
    def conf(self) -> str:
        """The file."""
        lines = [_HEADER + "dir {0}".format(self.directory), "tag {0}".format(self.tag)]
        for letter, limits in (("b", self.blocks), ("f", self.files)):
            lines += ["{0}{1} {2}%".format(letter, name, value) for name, value in zip(limits._fields, limits)]
        lines += ["culltable {0}".format(self.culltable)] if self.culltable is not None else []
        lines += ["secctx {0}".format(self.secctx)] if self.secctx else []
        return "\n".join(lines) + "\n"

    @property
    def drop_in(self) -> Optional[str]:
        """What makes the service need its mount; None where no mount is named."""
        if not self.mount:
            return None
        text = "# Written by dgxops.fleet.cachefilesd. Without its mount the cache would fill the drives of the system.\n[Unit]\n"
        return text + "RequiresMountsFor={0}\nConditionPathIsMountPoint={0}\n".format(self.mount)


def _path(name: str, path: Optional[str]) -> str:
    if path and (not path.startswith("/") or re.search(r"[\s%\"'\\]", path) or "/../" in path + "/"):
        raise FleetError("{0} is {1!r}, but an absolute path without blanks, quotes or percent signs is expected; cachefilesd takes no others.".format(
            name, path))
    return (path or "").rstrip("/") or ("/" if path else "")


def _limits(letter: str, params: Mapping[str, Any]) -> Limits:
    """cachefilesd.conf(5): 0 <= stop < cull < run < 100."""
    limits = Limits(*(params[letter + name] for name in Limits._fields))
    if not 0 <= limits.stop < limits.cull < limits.run < 100:
        raise FleetError("{0}run, {0}cull and {0}stop are {1}, {2} and {3}, but 0 <= {0}stop < {0}cull < {0}run < 100 is expected (cachefilesd.conf(5)): below "
                         "{0}cull per cent free, the cache throws away files until {0}run per cent are free.".format(letter, *limits))
    return limits


def enabled_default(text: str) -> str:
    """Debian's /etc/default/cachefilesd with RUN=yes, without which its script starts nothing and says that all is well, and with a time to start in.

    The script looks for the daemon as soon as it has detached itself, which may be before it has written its process id; then it is called failed, and runs.
    """
    line = _run_line(text)
    if line is None:
        text = _ended(text) + "RUN=yes\n"
    elif line.group(0).strip() != "RUN=yes":
        text = text[:line.start()] + "RUN=yes" + text[line.end():]
    return text if _START_TIME.search(text) else _ended(text) + _START_LINE


def _run_line(text: str) -> Optional["re.Match[str]"]:
    """The line that counts, which is the last one for a shell; or the first that is a comment."""
    given = list(_RUN.finditer(text))
    return given[-1] if given else _COMMENTED_RUN.search(text)


def _ended(text: str) -> str:
    return text + ("" if text.endswith("\n") or not text else "\n")


def _forbid(text: str, record: Mapping[str, Any]) -> str:
    """Debian's file with its old RUN line, or without one, and with what others have changed in it since."""
    before = record["files"][DEFAULT]["before"] or ""
    old, now = _run_line(before), _run_line(text)
    if not _START_TIME.search(before):
        text = text.replace(_START_LINE, "", 1)
        now = _run_line(text)
    if old is None or now is None:
        return text.replace("RUN=yes\n", "", 1)
    return text[:now.start()] + old.group(0) + text[now.end():]


_UNDO = {DEFAULT: _forbid}


def plan(wish: Wish, found: State, record: Mapping[str, Any], runs: bool) -> Change:
    """The way there, or back; ``runs`` is whether the daemon really is there: the service counts as active whatever became of it."""
    if not wish.present:
        return restore(found, record, _UNDO, RESTARTS)
    files: Dict[str, Optional[str]] = {CONF: wish.conf, DROP_IN: wish.drop_in}
    default = found.files.get(DEFAULT)
    if default is not None:
        files[DEFAULT] = enabled_default(default)
    change = decide(found, State(files, {SERVICE: Unit("enabled", True)}), record, RESTARTS, _UNDO)
    is_active = SERVICE in found.units and found.units[SERVICE].active
    again: Tuple[str, ...] = (SERVICE,) if is_active and (wish.restart or not runs) else ()
    return change._replace(restart=tuple(sorted(set(change.restart + again))))
