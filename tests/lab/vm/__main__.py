# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""script/lab: the commands. One machine at a time for each checkout."""
import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Iterator, List, Optional

from . import image as images
from . import places, snapshot
from .machine import Machine, found_in, free_port, plug_in, plugged_in, process_in, pull_out
from .machine_arguments import node_of_slot
from .platforms import PLATFORMS, Platform, platform_named
from .programs import LabError

_DEFAULT_PLATFORM = "dgx2-small"


def up(wanted: argparse.Namespace) -> int:
    """Start a machine; the same one that is up already stays as it is."""
    platform = platform_named(wanted.platform).sized(wanted.cpus, wanted.memory, wanted.drives, wanted.drive_size)._replace(adapter=wanted.adapter)
    with _alone():
        machine = found_in(places.running())
        if machine and machine.platform != platform:
            raise LabError(f"Another machine is up: {_described(machine.platform)}. End it first: script/lab down")
        if machine:
            _say(f"{platform.name} is up already")
        else:
            with _timed("image"):
                image = images.ensure(images.this_distribution(Path(wanted.sources).read_text()))
            with _timed(f"{platform.name} booted and saved"):
                snapshot.ensure(image, platform)
            _start_fresh(image, platform, free_port())
    _say(f"log in: script/lab ssh    inventory: {_inventory()}")
    return 0


def reset(_wanted: argparse.Namespace) -> int:
    """Throw away what happened to the machine since it came up: fresh system, blank data drives, same address."""
    with _alone():
        machine = _running()
        machine.process.stop()
        _start_fresh(machine.image, machine.platform, machine.port)
    return 0


def down(_wanted: argparse.Namespace) -> int:
    """End the machine and remove its drives."""
    ended = 0
    with _alone():
        # A command that was killed while it took a snapshot has left its machine behind; nobody else takes one now.
        for directory in [places.running(), *places.snapshots().glob(snapshot.UNFINISHED)]:
            process = process_in(directory)
            if process:
                process.stop()
                ended += 1
            shutil.rmtree(directory, ignore_errors=True)
    _say("down" if ended else "nothing was up")
    return 0


def ssh(wanted: argparse.Namespace) -> int:
    """Log in, or run a command with the terminal attached."""
    argv = _running().access.command(*wanted.command)
    os.execvp(argv[0], argv)


def run_command(wanted: argparse.Namespace) -> int:
    """Run a shell command in the machine as root; the exit status is the command's."""
    machine, script = _running(), " ".join(wanted.command)
    if wanted.without_network:
        finished = machine.run_without_network(script, wanted.timeout)
        sys.stdout.write(finished.out)
        sys.stderr.write(finished.err)
        return finished.status
    argv = ["timeout", "--foreground", str(wanted.timeout), *machine.access.command(script)]
    os.execvp(argv[0], argv)


def pull_drive(wanted: argparse.Namespace) -> int:
    """Pull a data drive out of the running machine."""
    with _alone():
        machine = _running()
        if wanted.number not in plugged_in(machine):
            raise LabError(f"Data drive {wanted.number} is not in the machine. 'script/lab status' lists those that are.")
        pull_out(machine, wanted.number)
    _say(f"pulled drive {wanted.number}, serial {machine.platform.data.serial_of(wanted.number)}")
    return 0


def plug_drive(wanted: argparse.Namespace) -> int:
    """Plug a data drive in: the one that was pulled, or with --blank a new one in its place."""
    with _alone():
        machine = _running()
        count = machine.platform.data.total
        if not 0 <= wanted.number < count:
            raise LabError(f"{machine.platform.name} has {count} data drives, 0 to {count - 1}; there is no slot {wanted.number}.")
        if wanted.number in plugged_in(machine):
            raise LabError(f"Data drive {wanted.number} is in the machine already.")
        plug_in(machine, [wanted.number], blank=wanted.blank)
    _say(f"plugged in drive {wanted.number}, serial {machine.platform.data.serial_of(wanted.number)}")
    return 0


def inventory(_wanted: argparse.Namespace) -> int:
    """Show the inventory of the machine that is up."""
    _running()
    sys.stdout.write(_inventory().read_text())
    return 0


def status(_wanted: argparse.Namespace) -> int:
    """Show which machine is up, and its drives."""
    machine = found_in(places.running())
    if machine is None:
        _say("nothing is up")
        return 1
    _say(f"{_described(machine.platform)}, process {machine.process.pid}, ssh at port {machine.port}")
    present = plugged_in(machine)
    for number in range(machine.platform.data.total):
        near = f"near node {node_of_slot(machine.platform, number)}" if machine.platform.data.bus == "nvme" else machine.platform.data.bus
        _say(f"  drive {number}  {machine.platform.data.serial_of(number)}  {near}  {'plugged in' if number in present else 'pulled'}")
    return 0


def show_platforms(_wanted: argparse.Namespace) -> int:
    """List the machines there are."""
    for platform in PLATFORMS.values():
        mark = " (default)" if platform.name == _DEFAULT_PLATFORM else ""
        _say(f"{platform.name + mark:22} {platform.purpose}: {_described(platform).partition(': ')[2]}")
    return 0


def _start_fresh(image: images.Image, platform: Platform, port: int) -> None:
    directory = places.running()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with _timed(f"{platform.name} up"):
        machine = snapshot.restore(snapshot.existing(image, platform), image, platform, directory, port)
    _inventory().write_text(machine.access.inventory())
    # For molecule/shared/vm, whose scenarios have inventories of their own.
    (directory / "connection.json").write_text(json.dumps(machine.access.variables()) + "\n")


def _running() -> Machine:
    machine = found_in(places.running())
    if machine is None:
        raise LabError("No machine is up. Start one: script/lab up")
    return machine


def _inventory() -> Path:
    return places.running() / "inventory.yml"


def _described(platform: Platform) -> str:
    processors = f"{platform.cpus} CPUs ({platform.sockets} x {platform.cores} cores x {platform.threads})"
    drives = f"{platform.os_drives} OS drives, {platform.data.total} {platform.data.bus} data drives of {platform.data.size_mib} MiB"
    return f"{platform.name}: {processors}, {platform.memory_mib} MiB, {drives}{', an adapter with SR-IOV' if platform.adapter else ''}"


def _say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    _say(f"{what}: {time.monotonic() - begin:.1f} s")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While no other command changes the machine."""
    places.lab_directory().mkdir(parents=True, exist_ok=True)
    with open(places.lab_directory() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/lab", description="A DGX-shaped virtual machine for tests: real kernel, drives, NUMA, networks.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, action: object) -> argparse.ArgumentParser:
        text = (action.__doc__ or "").strip()
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        return added

    start = command("up", up)
    start.add_argument("platform", nargs="?", default=_DEFAULT_PLATFORM, help="see 'script/lab platforms'")
    start.add_argument("--cpus", type=int, help="virtual CPUs in all")
    start.add_argument("--memory", help="such as 6G")
    start.add_argument("--drives", type=int, help="number of data drives")
    start.add_argument("--drive-size", help="of each data drive, such as 1G")
    start.add_argument("--adapter", action="store_true", help="with a network adapter that can have 7 virtual functions (SR-IOV)")
    start.add_argument("--sources", default=os.environ.get("DGXOPS_LAB_SOURCES", "/etc/apt/sources.list"), help=argparse.SUPPRESS)
    command("reset", reset)
    command("down", down)
    command("ssh", ssh).add_argument("command", nargs=argparse.REMAINDER)
    runner = command("run", run_command)
    runner.add_argument("--without-network", action="store_true", help="by the agent instead of ssh")
    runner.add_argument("--timeout", type=float, default=300.0, help="seconds, 300 if not given")
    runner.add_argument("command", nargs=argparse.REMAINDER)
    command("pull-drive", pull_drive).add_argument("number", type=int)
    plug = command("plug-drive", plug_drive)
    plug.add_argument("number", type=int)
    plug.add_argument("--blank", action="store_true", help="a new drive instead of the one that was pulled")
    command("inventory", inventory)
    command("status", status)
    command("platforms", show_platforms)
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    wanted = _parser().parse_args(argv)
    # A time limit that runs out is a Ctrl-C: what was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(wanted.action(wanted))
    except LabError as error:
        print(f"script/lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; nobody is told, Python's own last flush included.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
