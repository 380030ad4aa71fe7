# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeping a host from taking an array back when it boots: its line in mdadm.conf says ``<ignore>``, its line in fstab is a comment.

Without that udev assembles the array as soon as its drives show up, systemd mounts it, and libvirt then takes the drives from under a mounted file system.
"""
import re
from typing import List, Optional, Sequence

from ..host.files import joined
from ..host.mountinfo import unescape
from .md import Mount
from .md_conf import array_uuid, plain, statements

#: Begins the lines of fstab that are set aside; what follows is the line as it was.
MARK = "# set aside by dgxops.fleet.kvm_passthrough: "


def ignoring(text: Optional[str], uuid: str) -> str:
    """mdadm.conf with one ``ARRAY <ignore>`` line for an array, in the place of what was there for it (mdadm.conf(5))."""
    line = "ARRAY <ignore> UUID={0}\n".format(uuid)
    parts: List[str] = []
    placed = False
    for one in statements(text or ""):
        if array_uuid(one) == plain(uuid):
            parts += [] if placed else [line]
            placed = True
        else:
            parts.append(one.text)
    return joined(parts if placed else parts + [line])


def statements_of(text: Optional[str], uuid: str) -> str:
    """What mdadm.conf says of an array, verbatim."""
    return "".join(one.text for one in statements(text or "") if array_uuid(one) == plain(uuid))


def no_longer_ignoring(text: str, uuid: str, was: str) -> str:
    """mdadm.conf with ``was`` in the place of the line of :func:`ignoring`."""
    parts, placed = [], False
    for one in statements(text):
        if array_uuid(one) == plain(uuid) and "<ignore>" in one.words:
            parts += [] if placed else [was]
            placed = True
        else:
            parts.append(one.text)
    return joined(parts)


def set_aside(fstab: str, sources: Sequence[str], mounts: Sequence[Mount]) -> str:
    """fstab with the lines of these devices, or with these mount points, as comments."""
    paths = {mount.path for mount in mounts}
    parts = []
    for line in fstab.splitlines(True):
        words = line.split()
        mine = len(words) >= 2 and not line.lstrip().startswith("#") and (
            unescape(words[0]).replace('"', "") in sources or unescape(words[1]) in paths)
        parts.append(MARK + line if mine else line)
    return "".join(parts)


def put_back(fstab: str, sources: Sequence[str], mounts: Sequence[Mount]) -> str:
    """fstab with the lines of :func:`set_aside` as they were."""
    kept = []
    for line in fstab.splitlines(True):
        given = line[len(MARK):] if line.startswith(MARK) else ""
        kept.append(given if given and set_aside(given, sources, mounts) != given else line)
    return "".join(kept)


def sources_of(device: str, links: Sequence[str], fs_uuid: str, label: str) -> List[str]:
    """The ways in which fstab(5) may name a device."""
    found = ["/dev/" + device] + list(links)
    if fs_uuid:
        found += ["UUID=" + fs_uuid, "/dev/disk/by-uuid/" + fs_uuid]
    if label:
        found += ["LABEL=" + label, "/dev/disk/by-label/" + re.sub(r"[ /]", lambda match: "\\x{0:02x}".format(ord(match.group())), label)]
    return found
