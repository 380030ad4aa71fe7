# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many files a guest may open: ``max_files`` in /etc/libvirt/qemu.conf, and the file as it was.

Each queue of a virtio network card takes six files of QEMU's (7.2): its tap device, vhost, and four notifications of its two rings. Without ``max_files``
guests have what libvirt's daemon has: 8192 by its unit in libvirt 4.7 and 7.0, 524288 in later ones (``LimitNOFILE`` in src/remote/libvirtd.service.in, which
the daemon makes use of by ``virProcessActivateMaxFiles``), and the kernel's 1024 where the unit says nothing. So the 2048 of section 11.8.2 is a rise on some
hosts and a cut on others; it is taken for the least that guests shall have.

The file has ``name = value``, and every setting as a comment where it is not set. libvirt reads it when the daemon starts; guests that run keep what they have.
"""
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.settings import Change, State, decide, restore

CONF = "etc/libvirt/qemu.conf"
NAME = "libvirt_qemu_conf"
#: The daemon of all drivers, and the one of QEMU's where each has its own.
DAEMONS = ("libvirtd.service", "virtqemud.service")
_READERS: Dict[str, Tuple[str, ...]] = dict.fromkeys(DAEMONS, (CONF,))

_SETTING = re.compile(r"^[ \t]*max_files[ \t]*=[ \t]*(.*)(?:\n|\Z)", re.MULTILINE)
_COMMENT = re.compile(r"^#[ \t]*max_files[ \t]*=.*(?:\n|\Z)", re.MULTILINE)


class Wish(NamedTuple):
    """How many files each guest shall be able to open at least; None to give the file back."""

    max_files: Optional[int]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for a number that is none."""
        if params["state"] == "absent":
            return cls(None)
        if params["max_files"] is None:
            raise FleetError("max_files is missing. Say how many files each guest shall be able to open, such as 2048.")
        if params["max_files"] < 1:
            raise FleetError("max_files is {0}, but a number of files from 1 is expected.".format(params["max_files"]))
        return cls(params["max_files"])


class Limits(NamedTuple):
    """What guests have without a setting (the daemon's own limit), and the most that the kernel gives a process (fs.nr_open)."""

    inherited: int
    most: int


def plan(wish: Wish, found: State, record: Mapping[str, Any], limits: Limits) -> Change:
    """The way to what is wanted, or back; raises :class:`FleetError` where the file or the kernel does not allow it."""
    if wish.max_files is None:
        return restore(found, record, _UNDO, _READERS)
    text = found.files.get(CONF)
    if text is None:
        raise FleetError("/{0} is not there. Install libvirt first (libvirt-daemon-system), or correct the inventory.".format(CONF))
    if wish.max_files >= limits.most:
        raise FleetError(
            "max_files is {0}, but this kernel gives a process at most {1} (fs.nr_open), and no guest would start. Give less than that, or raise fs.nr_open "
            "first.".format(wish.max_files, limits.most))
    if files_of_guests(_undo(text, record), limits) >= wish.max_files:
        return restore(found, record, _UNDO, _READERS)
    value = str(wish.max_files)
    kept = {"was": record["was"] if _is_ours(text, record) else _value(text), "ours": sorted(set(record.get("ours", [])) | {value})}
    return decide(found, State({CONF: _with(text, value)}, found.units), record, _READERS, _UNDO, kept)


def files_of_guests(text: str, limits: Limits) -> int:
    """How many files a guest that starts now may open, by the text of the file. Raises :class:`FleetError` for a value that is no number."""
    value = _value(text)
    if value is None:
        return limits.inherited
    match = re.match(r"^([0-9]+)\s*(#.*)?\Z", value)
    if not match:
        raise FleetError("/{0} has max_files = {1}, but a number is expected, with which libvirt starts. Correct it there.".format(CONF, value))
    return int(match.group(1)) or limits.inherited


def _value(text: str) -> Optional[str]:
    found = _SETTING.findall(text)
    if len(found) > 1:
        raise FleetError("/{0} sets max_files {1} times. Which one was meant cannot be told; leave one.".format(CONF, len(found)))
    return found[0].strip() if found else None


def _with(text: str, value: Optional[str]) -> str:
    """The text with that value, where it was set or else below the comment that tells of it; without the setting for None."""
    line = "" if value is None else "max_files = {0}\n".format(value)
    found = _SETTING.search(text)
    if found:
        return text[:found.start()] + line + text[found.end():]
    comments = list(_COMMENT.finditer(text)) if line else []
    end = comments[-1].end() if comments else len(text)
    start = text[:end]
    return start + ("\n" if line and start and not start.endswith("\n") else "") + line + text[end:]


def _is_ours(text: str, record: Mapping[str, Any]) -> bool:
    """Whether the value is one that we wrote: another is somebody's own by now."""
    return "was" in record and _value(text) in record["ours"]


def _undo(text: str, record: Mapping[str, Any]) -> str:
    """The text without our edit, whatever others have written since."""
    return _with(text, record["was"]) if _is_ours(text, record) else text


_UNDO = {CONF: _undo}
