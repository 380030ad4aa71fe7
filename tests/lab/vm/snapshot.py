# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A booted and settled machine, saved: a test starts from it in seconds, and what a test does to it is gone with the next."""
import hashlib
import json
import os
import shlex
import shutil
import tempfile
import time
from pathlib import Path
from typing import List, NamedTuple

from . import places
from .image import DRIVE_BYTES, Image
from .machine import Machine, free_port, overlay, plug_in, plug_in_adapter, qemu, start, stopped_on_failure
from .machine_arguments import arguments
from .platforms import Platform
from .programs import LabError, run
from .raid1 import Mirror

#: The name of a snapshot that is being taken, as a pattern.
UNFINISHED = "taking-*"
_MIRROR = Mirror(uuid=bytes.fromhex("5afe1ab0000040008000000000000002"), name="dgx01:0", member_bytes=DRIVE_BYTES)


class Snapshot(NamedTuple):
    """The drives of a machine as they were at the moment its memory was saved."""

    directory: Path

    @property
    def memory(self) -> Path:
        return self.directory / "memory"


def snapshot_digest(image: Image, platform: Platform, qemu_version: str) -> str:
    """Changes when a machine saved before could not be brought back, or would be another one."""
    parts = [image.key, qemu_version, *arguments(platform, "", 0), str(platform.os_drives), (places.HERE / "settle.sh").read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def existing(image: Image, platform: Platform) -> Snapshot:
    """The snapshot for this platform, whether it was taken or not."""
    version = run([qemu(platform), "--version"], timeout=30)
    return Snapshot(places.snapshots() / f"{platform.name}-{snapshot_digest(image, platform, version)}")


def ensure(image: Image, platform: Platform) -> Snapshot:
    """The snapshot, taken now if something changed; those of other images are removed."""
    snapshot = existing(image, platform)
    if not snapshot.directory.exists():
        _take(snapshot, image, platform)
        for other in places.snapshots().iterdir():
            description = other / "snapshot.json"
            if not description.exists() or json.loads(description.read_text())["image"] != image.key:
                shutil.rmtree(other)
    return snapshot


def restore(snapshot: Snapshot, image: Image, platform: Platform, directory: Path, port: int) -> Machine:
    """A fresh machine in an empty directory: as it was saved, its data drives blank, its clock right."""
    for drive in _os_drives(platform):
        overlay(directory / drive, snapshot.directory / drive, "qcow2")
    machine = start(directory, platform, image, port, saved_state=snapshot.memory)
    with stopped_on_failure(machine):
        with machine.monitor() as monitor:
            monitor.wait_while("query-status", busy=("inmigrate",), timeout=60)
            monitor.execute("cont")
        plug_in(machine, list(range(platform.data.total)))
        if platform.adapter:
            plug_in_adapter(machine)
        machine.access.wait(60)
        machine.access.run(_WELCOME.format(now=f"{time.time():.0f}", drives=platform.data.total), timeout=120)
    return machine


#: The saved machine believes it is still the moment it was saved; its new drives take a moment to appear.
_WELCOME = """
date --set=@{now} >/dev/null
found=0
for _ in $(seq 300); do
  found=$(ls -d /sys/block/nvme* /sys/block/sd* 2>/dev/null | wc -l)
  [ "$found" -lt {drives} ] || break
  sleep 0.2
done
udevadm settle
if [ "$found" -lt {drives} ]; then
  dmesg | tail -n 30 >&2
  echo "Of {drives} data drives that were plugged in, $found appeared." >&2
  exit 1
fi
"""


def _take(snapshot: Snapshot, image: Image, platform: Platform) -> None:
    places.snapshots().mkdir(parents=True, exist_ok=True)
    # A snapshot appears under its name when it is whole.
    part = Path(tempfile.mkdtemp(prefix=UNFINISHED.rstrip("*"), dir=places.snapshots()))
    try:
        _make_os_drives(part, image, platform)
        machine = start(part, platform, image, free_port())
        with stopped_on_failure(machine):
            machine.access.wait(900)
            settle = f"OS_DRIVES={platform.os_drives} NESTED_KVM={'yes' if platform.nested_kvm else 'no'}\n" + (places.HERE / "settle.sh").read_text()
            (places.logs() / f"settle-{platform.name}.log").write_text(machine.access.run(settle, timeout=900))
            _save(machine, part / "memory")
        machine.process.stop()
        for drive in _os_drives(platform):
            (part / drive).chmod(0o444)
        (part / "snapshot.json").write_text(json.dumps({"image": image.key}) + "\n")
        os.replace(part, snapshot.directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _os_drives(platform: Platform) -> List[str]:
    return [f"os{number}.qcow2" for number in range(platform.os_drives)]


def _make_os_drives(directory: Path, image: Image, platform: Platform) -> None:
    """The drives the machine boots from: one that is the image, or two that are a RAID-1 of it."""
    for number, drive in enumerate(_os_drives(platform)):
        overlay(directory / drive, image.drive, "raw")
        if platform.os_drives == 2:
            content = _MIRROR.superblock(number)
            (directory / "superblock").write_bytes(content)
            run(["qemu-io", "-f", "qcow2", "-c", f"write -q -s superblock {_MIRROR.offset} {len(content)}", drive], timeout=30, cwd=directory)


def _save(machine: Machine, memory: Path) -> None:
    """Stop the machine and write its memory and devices to a file. NVMe drives cannot be saved, so none are plugged in yet."""
    with machine.monitor(120.0) as monitor:
        monitor.execute("stop")
        monitor.execute("migrate-set-parameters", {"max-bandwidth": 2**40})
        monitor.execute("migrate", {"uri": f"exec:cat >{shlex.quote(str(memory))}"})
        ended = monitor.wait_while("query-migrate", busy=("setup", "active", "device", "pre-switchover"), timeout=120)
    if ended["status"] != "completed":
        raise LabError(f"The machine could not be saved: {ended.get('error-desc', ended['status'])}")
