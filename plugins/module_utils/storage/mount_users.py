# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who uses a mount, so that it cannot be unmounted: processes, by /proc (proc(5)), swap files and loop devices.

Links in /proc are only read, never followed: the server behind a mount may not answer. A process in a container is told if the mount is in its container.
"""
import re
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..host.mountinfo import Mounted, parse_mountinfo
from ..host.sysfs import Sysfs

_MOST = 5
_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)
#: The optional fields of a mount that is unmounted along with ours (Documentation/filesystems/sharedsubtree.rst).
_FOLLOWS = re.compile(r" (shared|master):\d+ ")


class _Space(NamedTuple):
    """The mounts of one file system that the processes of a mount namespace see. ``follows`` if they go away with ours."""

    paths: List[str]
    ids: List[str]
    follows: bool


def read_users(mounts: Sequence[Mounted], sysfs: Sysfs) -> Dict[str, List[str]]:
    """Those who use each of these mounts, by its path, as sentences; paths that nobody uses are left out."""
    if not mounts:
        return {}
    users: Dict[str, List[str]] = {}
    processes = [name for name in sysfs.entries("proc") if name.isdigit()]
    for mount in mounts:
        told = _processes(mount, processes, sysfs) + _others(mount, sysfs)
        if len(told) > _MOST:
            told = told[:_MOST] + ["and {0} more".format(len(told) - _MOST)]
        if told:
            users[mount.path] = told
    return users


def _processes(mount: Mounted, processes: Sequence[str], sysfs: Sysfs) -> List[str]:
    own = sysfs.link("proc/self/ns/mnt")
    spaces: Dict[str, _Space] = {}
    told = []
    for number in sorted(processes, key=int):
        name = sysfs.link("proc/{0}/ns/mnt".format(number)) or own
        if name not in spaces:
            spaces[name] = _space(sysfs.read("proc/{0}/mountinfo".format(number)) or "", mount) if name != own else _Space([mount.path], [str(mount.id)], True)
        space = spaces[name]
        if not space.paths:
            continue
        why = _use(number, space, sysfs)
        if why is None and not space.follows:
            why = "has it mounted on {0} in a mount namespace (container) of its own".format(space.paths[0])
        if why is not None:
            command = sysfs.read("proc/{0}/comm".format(number)) or "?"
            told.append("process {0} ({1}) {2}".format(number, command, why))
    return told


def _space(text: str, mount: Mounted) -> _Space:
    same = [other for other in parse_mountinfo(text) if other.device == mount.device and other.is_nfs]
    ids = {str(other.id) for other in same}
    lines = [line + " " for line in text.splitlines() if line.split(" ", 1)[0] in ids]
    return _Space([other.path for other in same], sorted(ids), all(_FOLLOWS.search(line) for line in lines))


def _use(number: str, space: _Space, sysfs: Sysfs) -> Optional[str]:
    place = "proc/{0}/".format(number)
    for name, why in (("cwd", "works in {0}"), ("root", "has its root in {0}"), ("exe", "runs the program {0}")):
        target = sysfs.link(place + name)
        if _below(target, space.paths):
            return why.format(target)
    for handle in sysfs.entries(place + "fd"):
        target = sysfs.link("{0}fd/{1}".format(place, handle))
        if _below(target, space.paths):
            match = _MOUNT_ID.search(sysfs.read("{0}fdinfo/{1}".format(place, handle)) or "")
            if match is None or match.group(1) in space.ids:
                return "has {0} open".format(target)
    for line in (sysfs.read(place + "maps") or "").splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and _below(words[5], space.paths):
            return "has {0} in its memory".format(words[5])
    return None


def _others(mount: Mounted, sysfs: Sysfs) -> List[str]:
    swaps = [line.split()[0] for line in (sysfs.read("proc/swaps") or "").splitlines()[1:] if line.split()]
    told = ["{0} is used as swap".format(name) for name in swaps if _below(name, [mount.path])]
    for name in sysfs.entries("sys/block"):
        target = sysfs.read("sys/block/{0}/loop/backing_file".format(name)) if name.startswith("loop") else None
        if target and _below(target, [mount.path]):
            told.append("{0} is the loop device of {1}".format(name, target))
    return told


def _below(target: str, paths: Sequence[str]) -> bool:
    return any(target == path or target.startswith(path + "/") for path in paths)
