# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A QEMU process: started in a directory of its own, known by process id and birth, ended without touching any other."""
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from .access import Access
from .image import Image
from .machine_arguments import ADAPTER, ADAPTER_MAC, AGENT, MONITOR, arguments, hub_of, slot_of
from .monitor import Agent, Finished, Monitor
from .platforms import DataDrives, Platform
from .programs import LabError, run

_STATE = "machine.json"


def qemu(platform: Platform) -> str:
    """The emulator. DGXOPS_LAB_QEMU names another build of it, DGXOPS_LAB_QEMU_SRIOV the one for machines with the network adapter."""
    named = os.environ.get("DGXOPS_LAB_QEMU") or (os.environ.get("DGXOPS_LAB_QEMU_SRIOV") if platform.adapter else None)
    return named or "qemu-system-x86_64"


class Process(NamedTuple):
    """A QEMU process. A process that gets its number later is another one, and is left alone."""

    directory: Path
    pid: int
    born: int

    def alive(self) -> bool:
        return _birth_of(self.pid) == self.born

    def stop(self) -> None:
        """End it at once: the drives of a test are thrown away anyhow."""
        if self.alive() and not (self._asked_to_quit() and self._gone_within(10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            if not self._gone_within(10.0):
                raise LabError(f"QEMU (process {self.pid}) does not end.")
        (self.directory / _STATE).unlink(missing_ok=True)

    def _asked_to_quit(self) -> bool:
        try:
            with Monitor(self.directory / MONITOR, timeout=10) as monitor:
                monitor.execute("quit")
        except LabError:
            return False
        return True

    def _gone_within(self, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


class Machine(NamedTuple):
    """A machine that runs."""

    process: Process
    platform: Platform
    image: Image
    port: int

    @property
    def directory(self) -> Path:
        return self.process.directory

    @property
    def access(self) -> Access:
        return Access(self.port, self.image.login_key, self.image.known_hosts)

    def monitor(self, timeout: float = 30.0) -> Monitor:
        return Monitor(self.directory / MONITOR, timeout)

    def run_without_network(self, script: str, timeout: float) -> Finished:
        """Run a shell script by the agent, which needs no network."""
        with Agent(self.directory / AGENT) as agent:
            return agent.run(script, timeout)

    def remember(self) -> None:
        """Write down what ``found_in`` reads."""
        platform = {**self.platform._asdict(), "data": self.platform.data._asdict()}
        state = {"pid": self.process.pid, "born": self.process.born, "platform": platform, "image": str(self.image.directory), "port": self.port}
        (self.directory / _STATE).write_text(json.dumps(state, indent=1) + "\n")


def process_in(directory: Path) -> Optional[Process]:
    """The process that runs in a directory, if one does."""
    state = _state_in(directory)
    process = Process(directory, state["pid"], state["born"]) if state else None
    return process if process and process.alive() else None


def found_in(directory: Path) -> Optional[Machine]:
    """The machine that runs in a directory, if one does."""
    state, process = _state_in(directory), process_in(directory)
    if not state or not process:
        return None
    try:
        data = DataDrives(**state["platform"].pop("data"))
        platform = Platform(data=data, **state["platform"])
    except TypeError:
        raise LabError("The machine that is up was started by another version of this checkout. End it: script/lab down") from None
    return Machine(process, platform, Image(Path(state["image"])), state["port"])


def _state_in(directory: Path) -> Optional[Dict[str, Any]]:
    try:
        state: Dict[str, Any] = json.loads((directory / _STATE).read_text())
    except FileNotFoundError:
        return None
    return state


def start(directory: Path, platform: Platform, image: Image, port: int, saved_state: Optional[Path] = None) -> Machine:
    """Start QEMU in a directory that holds the operating system drives: from GRUB, or where a saved machine left off."""
    argv = [qemu(platform), *arguments(platform, str(image.boot), port), *(["-incoming", f"exec:cat {shlex.quote(str(saved_state))}"] if saved_state else [])]
    log = directory / "qemu.log"
    with open(log, "wb") as sink:
        try:
            process = subprocess.Popen(argv, cwd=directory, start_new_session=True, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
        except FileNotFoundError:
            raise LabError(f"{argv[0]} is not installed.") from None
    end = time.monotonic() + 30
    while not _answers(directory / MONITOR):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            raise LabError(f"QEMU did not start. It said:\n{log.read_text(errors='replace').strip()}")
        time.sleep(0.05)
    born = _birth_of(process.pid)
    assert born is not None
    machine = Machine(Process(directory, process.pid, born), platform, image, port)
    machine.remember()
    return machine


@contextlib.contextmanager
def stopped_on_failure(machine: Machine) -> Iterator[Machine]:
    """A machine that could not be brought to where it was wanted does not stay behind, Ctrl-C included."""
    try:
        yield machine
    except BaseException:
        machine.process.stop()
        raise


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def overlay(target: Path, base: Path, base_format: str) -> None:
    """A drive that starts as a copy of another and stores only what differs; the other is named relative, so that a cache can be moved."""
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base_format, "-b", os.path.relpath(base, target.parent), str(target)]
    run(argv, timeout=30)


def plug_in(machine: Machine, numbers: List[int], blank: bool = False) -> None:
    """Hot-plug data drives; a drive that was there before comes back with its content, unless a blank one shall take its place."""
    with machine.monitor() as monitor:
        nodes = {node["node-name"] for node in monitor.execute("query-named-block-nodes")}
        for number in numbers:
            name = f"data{number}"
            path = machine.directory / f"{name}.raw"
            if blank or not path.exists():
                path.write_bytes(b"")
                os.truncate(path, machine.platform.data.size_mib * 2**20)
            if name not in nodes:
                file = {"driver": "file", "filename": str(path), "discard": "unmap", "cache": {"no-flush": True}}
                monitor.execute("blockdev-add", {"node-name": name, "driver": "raw", "discard": "unmap", "detect-zeroes": "unmap", "file": file})
            monitor.execute("device_add", _drive_device(machine.platform, number))


def pull_out(machine: Machine, number: int) -> None:
    """Hot-unplug a data drive and wait until it is gone; its content stays for the day it is plugged in again."""
    with machine.monitor(60.0) as monitor:
        monitor.execute("device_del", {"id": f"data{number}"})
        monitor.wait_for("DEVICE_DELETED", lambda data: data.get("device") == f"data{number}")


def plug_in_adapter(machine: Machine) -> None:
    """Hot-plug Intel's 82576, a network adapter that can have seven virtual functions, into a spare slot; it is on the first cable."""
    device = {"driver": "igb", "id": ADAPTER, "netdev": ADAPTER, "mac": ADAPTER_MAC, "romfile": "", "bus": slot_of(machine.platform.data.total)}
    with machine.monitor() as monitor:
        try:
            monitor.execute("device-list-properties", {"typename": device["driver"]})
        except LabError:
            raise LabError(f"{qemu(machine.platform)} has no network adapter with SR-IOV (igb); 8.0 brought it. Name a newer one in DGXOPS_LAB_QEMU.") from None
        monitor.execute("netdev_add", {"type": "hubport", "id": ADAPTER, "hubid": hub_of(0)})
        monitor.execute("device_add", device)


def plugged_in(machine: Machine) -> List[int]:
    """The numbers of the data drives that are in the machine now."""
    with machine.monitor() as monitor:
        names = [entry["name"] for entry in monitor.execute("qom-list", {"path": "/machine/peripheral"})]
    return sorted(int(name[4:]) for name in names if name.startswith("data"))


def _drive_device(platform: Platform, number: int) -> Dict[str, Any]:
    data = platform.data
    device = {"id": f"data{number}", "drive": f"data{number}", "serial": data.serial_of(number)}
    if data.bus == "nvme":
        return {"driver": "nvme", "max_ioqpairs": 2, "bus": slot_of(number), **device}
    names = {"vendor": data.vendor, "product": data.model, "device_id": data.serial_of(number), "rotation_rate": 1}
    return {"driver": "scsi-hd", "bus": "scsi.0", "scsi-id": number, **names, **device}


def _answers(path: Path) -> bool:
    try:
        with Monitor(path, timeout=20):
            return True
    except LabError:
        return False


def _birth_of(pid: int) -> Optional[int]:
    """When a process was started, in ticks since the boot of this host; None if there is none, or only its exit status is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
