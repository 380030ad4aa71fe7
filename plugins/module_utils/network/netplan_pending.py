# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A change of netplan's files that nobody has confirmed yet: its record, and the way back, on the disk before the first file is changed.

A unit of systemd puts the files back at the next boot, before the network starts, as long as the record is there. So a change that was written and not
applied, or applied and not confirmed, does not outlive a reboot.
"""
import contextlib
import inspect
import os
import shutil
import sys
import time
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from ..host.commands import Commands
from ..host.errors import FleetError
from . import netplan_rollback
from .netplan import Definition, Definitions
from .netplan_rollback import COPIES, PROGRAM, UNIT, Place, discard, forget, load, locked, save, sync

#: netplan itself runs by the system's Python, and this program has to run where nobody has set up another.
PYTHON = "/usr/bin/python3"
#: Seconds after its time at which a roll-back that did not begin is taken for dead.
OVERDUE = 60

#: Before udev names adapters as the files of the change say: the files from before know them by other names.
_UNIT = """# Written by dgxops.fleet.netplan_config and removed when the change is confirmed.
[Unit]
Description=Give back the network configuration from before a change that nobody confirmed
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target systemd-udev-trigger.service network-pre.target systemd-networkd.service NetworkManager.service networking.service
ConditionPathExists={record}

[Service]
Type=oneshot
ExecStart={python} -I -B {program} boot
"""

Record = Dict[str, Any]


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """Refuse to work beside another run."""
    with locked(place, 10) as held:
        if not held:
            raise FleetError("Another run is changing this host's network at this moment. Nothing was changed; run this again when it is done.")
        yield


def waiting(place: Place, commands: Commands) -> Optional[Record]:
    """The change that waits to be applied, if any; raises :class:`FleetError` while one is being applied."""
    record = load(place)
    if record is None or record.get("state") != "applying":
        return record
    left = float(record.get("deadline", 0)) - time.monotonic()
    if record.get("boot") == boot_id() and left > -OVERDUE:
        raise FleetError("Another change of this host's network is being applied. It has {0:.0f} more seconds to be confirmed, and is taken back otherwise. "
                         "Nothing was changed; run this again then.".format(max(left, 0)))
    # The roll-back was killed, or its timer is gone. It can be started at any time.
    roll_back_now(place, commands, record, "it was never confirmed, and its roll-back had not run")
    raise FleetError("An earlier change of this host's network was never confirmed, and its roll-back had not run. It was started now. Run this again "
                     "in a minute.")


def definitions_before(record: Record) -> Definitions:
    """What the files said before the change."""
    return {name: Definition(name, kind, settings, tuple(files)) for name, (kind, settings, files) in record["definitions"].items()}


def stage(place: Place, paths: Sequence[str], before: Definitions, obsolete: Sequence[str], kept: Sequence[str], system: str = "netplan") -> bool:
    """Lay out the way back for these files, all of it on the disk, beside what earlier calls laid out; True if this was the first.

    ``obsolete``: files to be removed when the change is confirmed; ``kept``: those to be removed when it is taken back. Raises
    :class:`FleetError`, and has changed nothing, if there is no room.
    """
    record, first = load(place), False
    if record is not None and record.get("system", system) != system:
        raise FleetError("A change of {0}'s files waits to be applied, and both at once cannot be. Nothing was changed. Apply it by netplan_apply "
                         "first.".format(record["system"]))
    if record is None:
        first = True
        record = {
            "state": "written", "system": system, "made": time.time(), "files": {}, "obsolete": [], "kept": [],
            "definitions": {one.name: [one.kind, one.settings, one.files] for one in before.values()},
        }
    try:
        if first:
            shutil.rmtree(place.directory, ignore_errors=True)
            os.makedirs(os.path.join(place.directory, COPIES), mode=0o700)
            os.chmod(place.directory, 0o700)
            _write(os.path.join(place.directory, PROGRAM), inspect.getsource(netplan_rollback))
            _install_unit(place)
        for path in paths:
            if path not in record["files"]:
                record["files"][path] = _copy(place, path, len(record["files"]))
        record["obsolete"] = sorted(set(record["obsolete"]) | set(obsolete))
        record["kept"] = sorted(set(record["kept"]) | {path for path in kept if not os.path.exists(path)})
        sync(os.path.join(place.directory, COPIES))
        save(place.record, record)
    except OSError as error:
        if first:
            forget(place)
        raise FleetError("The way back could not be written to {0}: {1}. Nothing was changed. Free some space, or check that the file system can be "
                         "written.".format(error.filename or place.directory, error.strerror))
    return first


def settle(place: Place) -> Optional[Record]:
    """The change that waits now; one that came to nothing, since the files are as before, is forgotten."""
    record = load(place)
    if record is None or record.get("state") != "written":
        return record
    if all(_same(path, copy and os.path.join(place.directory, COPIES, copy)) for path, copy in record["files"].items()):
        forget(place)
        discard(record["kept"])
        return None
    return record


def roll_back_now(place: Place, commands: Commands, record: Record, reason: str) -> None:
    """Start the roll-back beside us, since it may cut us off."""
    unit = "dgxops-netplan-back-{0}-{1:.0f}".format(record.get("id", "none"), time.time())
    commands.output(("systemd-run", "--no-block", "--collect", "--unit=" + unit) + program(place, "rollback", reason))


def program(place: Place, *words: str) -> Tuple[str, ...]:
    """The command line of the program that goes with the record."""
    return (python(), "-I", "-B", os.path.join(place.directory, PROGRAM)) + words


def python() -> str:
    return PYTHON if os.path.exists(PYTHON) else sys.executable


def boot_id() -> str:
    """Differs from boot to boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def _install_unit(place: Place) -> None:
    os.makedirs(os.path.dirname(place.wanted), exist_ok=True)
    _write(place.unit, _UNIT.format(record=place.record, python=python(), program=os.path.join(place.directory, PROGRAM)), 0o644)
    if not os.path.islink(place.wanted):
        os.symlink(os.path.join("..", UNIT), place.wanted)
    for directory in (place.units, os.path.dirname(place.wanted)):
        sync(directory)


def _write(path: str, text: str, mode: int = 0o600) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _copy(place: Place, path: str, index: int) -> Optional[str]:
    """A copy that can take the place of the file: with its mode, owner and times. None if there is no such file."""
    if not os.path.exists(path):
        return None
    name = "{0}-{1}".format(index, os.path.basename(path))
    copy = os.path.join(place.directory, COPIES, name)
    copy_exactly(path, copy)
    return name


def copy_exactly(path: str, copy: str) -> None:
    """Copy a file with its mode, owner and times, onto the disk. Raises OSError."""
    found = os.stat(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(copy)
    # Nobody else may read it before it has the mode of the original.
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shutil.copyfile(path, copy)
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(copy, found.st_uid, found.st_gid)
    shutil.copystat(path, copy)
    with open(copy, "rb") as handle:
        os.fsync(handle.fileno())


def _same(path: str, copy: Optional[str]) -> bool:
    if copy is None or not os.path.exists(path):
        return copy is None and not os.path.exists(path)
    with open(path, "rb") as left, open(copy, "rb") as right:
        return left.read() == right.read() and os.stat(path).st_mode == os.stat(copy).st_mode
