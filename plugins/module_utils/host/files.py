# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writing a file so that a reader sees the old or the new text, never half of one; keeping what was there before.

Backups live below one directory (:data:`BACKUPS`), so that a role can list them and give a node back as it was found.
"""
import contextlib
import errno
import os
import shutil
import stat
import tempfile
from typing import Dict, Iterable, NamedTuple, Optional

from .errors import FleetError

#: Where every module and role of the collection keeps what it found before its first change.
BACKUPS = "/var/backups/dgxops"


class Diff(NamedTuple):
    """One entry of Ansible's ``diff``: what ``--diff`` shows."""

    before: str
    after: str
    header: str

    def to_dict(self) -> Dict[str, str]:
        return {"before": self.before, "after": self.after, "before_header": self.header, "after_header": self.header}


def read_text(path: str) -> Optional[str]:
    """The text of a file, or None if there is none. Raises OSError if it is there but cannot be read."""
    try:
        with open(path, "rb") as handle:
            return handle.read().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def joined(lines: Iterable[str]) -> str:
    """Lines as one text. One that was the last of its file, and had no end of line, gets one if others follow."""
    text = ""
    for line in lines:
        text += line if text.endswith("\n") or not text else "\n" + line
    return text


def write_atomic(path: str, text: str, mode: int = 0o644) -> None:
    """Replace the file at ``path`` in one step; mode and owner of a file that exists are kept, a link is followed.

    Raises :class:`FleetError` if the disk is full or the directory cannot be written; the old text is then still there.
    """
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    temporary = None
    try:
        os.makedirs(directory, exist_ok=True)
        found = os.stat(path) if os.path.exists(path) else None
        descriptor, temporary = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", dir=directory)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(text.encode("utf-8", "surrogateescape"))
            handle.flush()
            os.fsync(handle.fileno())
        if found and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, found.st_uid, found.st_gid)
        os.chmod(temporary, stat.S_IMODE(found.st_mode) if found else mode)
        os.replace(temporary, path)
        _sync_directory(directory)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        remedy = "Free some space" if error.errno == errno.ENOSPC else "Check the path and run the task with become: true"
        raise FleetError("{0} could not be written: {1}. It was left as it was. {2}.".format(path, error.strerror, remedy))


def keep_once(path: str, name: str, directory: str = BACKUPS) -> str:
    """Copy the file at ``path``, with its mode, times and owner, to ``directory/name`` unless a copy is there already; returns the copy's path.

    The first copy is the one that counts: it shows the node as it was before the collection's first change.
    """
    kept = os.path.join(directory, name)
    if not os.path.exists(kept):
        found = os.stat(path)
        place = os.path.dirname(kept)
        os.makedirs(place, mode=0o700, exist_ok=True)
        temporary = kept + ".part"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        # Nobody else may read it before it has the mode of the original, which may hold secrets.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        shutil.copy2(path, temporary)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, found.st_uid, found.st_gid)
            os.chmod(temporary, stat.S_IMODE(found.st_mode))
        # The copy is on the disk before anybody changes the original, also if the power fails.
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, kept)
        _sync_directory(place)
    return kept


def remove(path: str) -> bool:
    """Remove a file; False if there was none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_if_empty(directory: str) -> None:
    """Remove a directory, unless others have files there or there is none."""
    with contextlib.suppress(OSError):
        os.rmdir(directory)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
