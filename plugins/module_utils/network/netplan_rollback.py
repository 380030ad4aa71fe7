# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program that applies a change of the network on the host, and gives the host back its network when nobody confirms the change.

A copy of this file lies beside the record of the change and is started by systemd, when the controller may be dead and the network cut. So it needs nothing
but Python: it imports nothing of the collection. It may be cut short at any point and started again.

``apply`` makes the change and takes it back if that fails; ``rollback`` takes it back; ``boot`` does so before the network starts, after a reboot.
"""
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

UNIT = "dgxops-netplan.service"
RECORD = "record.json"
COPIES = "copies"
#: How ifupdown's files were, all in one: what is to be taken down is taken down as it was brought up.
BEFORE = "before.interfaces"
PROGRAM = "rollback.py"
#: Seconds for one program; ``netplan apply`` waits for networkd and udev.
LIMIT = 120
#: Seconds for addresses to come back before what netplan did not bring back is set by hand.
SETTLE = 15
#: The number of an adapter's virtual functions.
FUNCTIONS = "/sys/class/net/{0}/device/sriov_numvfs"


class Place(NamedTuple):
    """Where things are. The copies lie on the same file system as the files, so that putting them back needs no room on a full disk."""

    directory: str = "/etc/netplan/.dgxops"
    units: str = "/etc/systemd/system"
    run: str = "/run/dgxops-netplan"

    @property
    def record(self) -> str:
        return os.path.join(self.directory, RECORD)

    @property
    def unit(self) -> str:
        return os.path.join(self.units, UNIT)

    @property
    def wanted(self) -> str:
        return os.path.join(self.units, "sysinit.target.wants", UNIT)

    def outcome(self, identity: str) -> str:
        return os.path.join(self.run, identity + ".json")


class Programs:
    """Runs programs with a time limit; answers with exit status and words, and never raises."""

    def run(self, *argv: str) -> Tuple[int, str]:
        environment = dict(os.environ, LC_ALL="C", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        try:
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        except OSError as error:
            return 127, "{0}: {1}".format(argv[0], error.strerror)
        try:
            out = process.communicate(timeout=LIMIT)[0]
            return process.returncode, out.decode("utf-8", "replace").strip()
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            return 124, "{0} did not end within {1} s".format(" ".join(argv), LIMIT)


def load(place: Place) -> Optional[Dict[str, Any]]:
    """The record of the change that nobody has confirmed yet."""
    try:
        with open(place.record) as handle:
            return dict(json.load(handle))
    except (OSError, ValueError):
        return None


def save(path: str, content: Dict[str, Any]) -> None:
    """Write a small file so that it is whole and on the disk, or not there. Raises OSError."""
    temporary = path + ".part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as handle:
            handle.write(json.dumps(content, sort_keys=True) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync(os.path.dirname(path))


def sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(place: Place, patience: float) -> Iterator[bool]:
    """Hold the lock, and tell whether it was to be had in time. The kernel lets go of it when its holder dies."""
    os.makedirs(place.run, mode=0o700, exist_ok=True)
    with open(os.path.join(place.run, "lock"), "w") as handle:
        until, held = time.monotonic() + patience, False
        while not held:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except OSError:
                if time.monotonic() >= until:
                    break
                time.sleep(0.1)
        yield held


def tell(place: Place, record: Dict[str, Any], state: str, **details: Any) -> None:
    """Leave what happened where a controller that comes back finds it. /run needs no room on the disk."""
    with contextlib.suppress(OSError):
        os.makedirs(place.run, mode=0o700, exist_ok=True)
        save(place.outcome(str(record.get("id", "none"))), dict(details, state=state, id=record.get("id"), at=time.time()))
    sys.stdout.write("{0}: {1}\n".format(state, details.get("reason", "")))
    sys.stdout.flush()


def put_back_files(place: Place, record: Dict[str, Any]) -> None:
    """The files of before, by their own inodes: no data is written."""
    for path, copy in sorted(record["files"].items()):
        if copy is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            continue
        kept = os.path.join(place.directory, COPIES, copy)
        if not os.path.exists(kept) or (os.path.exists(path) and os.path.samefile(kept, path)):
            continue  # put back by a run that was cut short
        temporary = path + ".dgxops"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.link(kept, temporary)
        os.replace(temporary, path)
    for directory in sorted({os.path.dirname(path) for path in record["files"]}):
        sync(directory)
    discard(record.get("kept", []))


def discard(paths: Sequence[str]) -> None:
    """Remove copies that nobody needs any more, and directories that are empty then."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
        for directory in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def forget(place: Place) -> None:
    """Remove the record first, since that is what everybody looks at; then all that belonged to it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place.record)
        sync(place.directory)
    for path in (place.wanted, place.unit):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(place.wanted))  # unless others have something there
    shutil.rmtree(place.directory, ignore_errors=True)


def move_links(programs: Programs, release: Sequence[str], remove: Sequence[str]) -> None:
    """What neither netplan nor networkd does: let members go, and remove links."""
    for name in release:
        programs.run("ip", "link", "set", "dev", name, "nomaster")
    for name in remove:
        programs.run("ip", "link", "delete", "dev", name)


def name_back(programs: Programs, links: Dict[str, Any]) -> None:
    """``netplan apply`` names adapters as ``set-name`` says, and not back: the files from before would speak of adapters that are not there."""
    now = {found["index"]: name for name, found in snapshot(programs)[0].items() if found["index"]}
    renamed = {now[before["index"]]: name for name, before in sorted(links.items()) if now.get(before["index"], name) != name}
    if renamed:
        programs.run("netplan", "generate")  # udev is not to name them by the files of the change again
    # By way of names that nobody has, since two may have changed places.
    spare = {name: "dgxops{0}".format(number) for number, name in enumerate(renamed)}
    for name in renamed:
        programs.run("ip", "link", "set", "dev", name, "down")
        programs.run("ip", "link", "set", "dev", name, "name", spare[name])
    for name, wanted in renamed.items():
        programs.run("ip", "link", "set", "dev", spare[name], "name", wanted)


def put_back_functions(programs: Programs, links: Dict[str, Any]) -> None:
    """netplan makes virtual functions, and leaves them when no file speaks of them. The kernel takes another number through 0 only."""
    now = snapshot(programs)[0]
    for name, before in sorted(links.items()):
        wanted, found = before.get("functions"), now.get(name, {}).get("functions")
        for number in ("0", str(wanted)) if None not in (wanted, found) and wanted != found else ():
            with contextlib.suppress(OSError):
                with open(FUNCTIONS.format(name), "w") as handle:
                    handle.write(number)


def functions(name: str) -> Optional[int]:
    """How many virtual functions an adapter has; None for one that can have none."""
    try:
        with open(FUNCTIONS.format(name)) as handle:
            return int(handle.read())
    except (OSError, ValueError):
        return None


def bring(programs: Programs, record: Dict[str, Any], names: str) -> List[str]:
    """Put the files in force that are there; answers with what failed. ``names``: what of the record ifupdown has to bring up."""
    ups = [("ifup", "--force", name) for name in record.get(names, [])]
    failed = []
    for argv in ups if record.get("system") == "ifupdown" else [("netplan", "apply")]:
        status, words = programs.run(*argv)
        if status:
            failed.append("{0} failed with status {1}: {2}".format(" ".join(argv).replace("--force ", ""), status, words[-600:]))
            if names == "up_first":
                break  # what lies on top would only fail as well, and all of it is taken back
    return failed


def apply(place: Place, programs: Programs) -> int:
    """Make the change. The timer that takes it back runs already."""
    record = load(place)
    if record is None or record.get("state") != "applying":
        return 0  # it could not be armed
    for name in record.get("down_first", []):
        programs.run("ifdown", "--force", "--interfaces=" + os.path.join(place.directory, BEFORE), name)
    move_links(programs, record["release_first"], record["remove_first"])
    failed = bring(programs, record, "up_first")
    if failed:
        return rollback(place, programs, "; ".join(failed), own_unit=True)
    now = snapshot(programs)[0] if record.get("abandon") else {}
    for name, wanted in sorted(record.get("abandon", {}).items()):
        if name in now:
            set_link(programs, name, wanted, now[name])
    tell(place, record, "applied")
    return 0


def rollback(place: Place, programs: Programs, reason: str, own_unit: bool = False) -> int:
    """Take the change back: files, links, addresses."""
    record = load(place)
    if record is None:
        return 0
    if not own_unit:  # an apply that hangs must not go on behind our back
        programs.run("systemctl", "stop", record.get("apply_unit", "none"))
    with locked(place, 20):
        record = load(place)
        if record is None or record.get("state") != "applying":
            return 0  # confirmed in the meantime
        tell(place, record, "rolling_back", reason=reason)
        for name in record.get("down_back", []):
            programs.run("ifdown", "--force", name)
        put_back_files(place, record)
        move_links(programs, record["release_back"], record["remove_back"])
        if record.get("system") != "ifupdown":
            name_back(programs, record.get("links", {}))
        put_back_functions(programs, record.get("links", {}))
        failed = bring(programs, record, "up_back")
        if failed and record.get("system") != "ifupdown":
            programs.run("netplan", "generate")
            programs.run("systemctl", "restart", "systemd-networkd.service")
        missing = put_back_links(programs, record.get("links", {}), record.get("routes", {}))
        tell(place, record, "rolled_back", reason=reason, failed=failed, missing=missing)
        forget(place)
    programs.run("systemctl", "stop", record.get("timer", "none"))
    return 0


def boot(place: Place, programs: Programs) -> int:
    """The network has not started yet, so the files are enough; what systemd's generator made of the others is made anew."""
    record = load(place)
    if record is None:
        return 0
    put_back_files(place, record)
    status, words = programs.run("netplan", "generate") if record.get("system") != "ifupdown" else (0, "")
    failed = ["netplan generate failed with status {0}: {1}".format(status, words[-600:])] if status else []
    tell(place, record, "rolled_back", reason="the host was rebooted before the change was confirmed", failed=failed, missing=[])
    forget(place)
    return 0


def put_back_links(programs: Programs, links: Dict[str, Any], routes: Dict[str, List[str]]) -> List[str]:
    """What no file describes: links that were set up by hand, or not at all. Answers with what could not be had back."""
    until = time.monotonic() + SETTLE
    now = snapshot(programs)[0]
    while _lacking(links, now) and time.monotonic() < until:
        time.sleep(0.5)
        now = snapshot(programs)[0]
    for name, before in sorted(links.items()):
        found = now.get(name)
        if found is None:
            continue
        if before["managed"] is False:
            set_link(programs, name, before, found)
        for address in sorted(set(before["addresses"]) - set(found["addresses"])):
            programs.run("ip", "address", "add", address, "dev", name)
    for family, wanted in sorted(routes.items()):
        there = _routes(programs, family)
        for line in wanted:
            if line not in there:
                programs.run("ip", family, "route", "replace", *line.split())
    return _lacking(links, snapshot(programs)[0])


def set_link(programs: Programs, name: str, wanted: Dict[str, Any], found: Dict[str, Any]) -> None:
    """Bring a link that no file speaks of into a state that it had before: networkd leaves such a link as it happens to be."""
    if found["master"] and not wanted.get("master"):
        programs.run("ip", "link", "set", "dev", name, "nomaster")
    for address in sorted(set(found["addresses"]) - set(wanted["addresses"])):
        programs.run("ip", "address", "delete", address, "dev", name)
    if found["mtu"] != wanted["mtu"]:
        programs.run("ip", "link", "set", "dev", name, "mtu", str(wanted["mtu"]))
    if found["up"] != wanted["up"]:
        programs.run("ip", "link", "set", "dev", name, "up" if wanted["up"] else "down")


def _lacking(links: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    return ["{0} on {1}".format(address, name) for name, before in sorted(links.items()) for address in sorted(before["addresses"])
            if address not in now.get(name, {"addresses": []})["addresses"]]


def snapshot(programs: Programs) -> Tuple[Dict[str, Any], Dict[str, List[str]]]:
    """Links with the addresses that were set (not those that came by DHCP or from a router), and the routes that were."""
    status, words = programs.run("ip", "-details", "-json", "address", "show")
    links: Dict[str, Any] = {}
    with contextlib.suppress(ValueError, AttributeError, TypeError, KeyError):
        for entry in json.loads(words) if status == 0 else []:
            if not entry.get("ifname"):
                continue
            addresses = ["{0}/{1}".format(part["local"], part["prefixlen"]) for part in entry.get("addr_info", [])
                         if part.get("local") and not part.get("dynamic") and part.get("scope") != "link" and entry["ifname"] != "lo"]
            links[entry["ifname"]] = {
                "addresses": addresses, "mtu": entry.get("mtu"), "up": "UP" in entry.get("flags", []), "master": entry.get("master", ""),
                "index": entry.get("ifindex"), "functions": functions(entry["ifname"]),
            }
    return links, {family: _routes(programs, family) for family in ("-4", "-6")}


def _routes(programs: Programs, family: str) -> List[str]:
    status, words = programs.run("ip", family, "route", "show")
    kept = []
    for line in words.splitlines() if status == 0 else []:
        parts = [part for part in line.split() if part not in ("linkdown", "dead")]
        protocol = parts[parts.index("proto") + 1] if "proto" in parts[:-1] else ""
        if protocol not in ("kernel", "dhcp", "ra", "redirect"):
            kept.append(" ".join(parts))
    return kept


def main(argv: Sequence[str]) -> int:
    """``apply``, ``rollback REASON`` or ``boot``, for the record in the directory of this file."""
    place = Place(directory=os.path.dirname(os.path.abspath(argv[0])))
    verb = argv[1] if len(argv) > 1 else ""
    if verb == "apply":
        return apply(place, Programs())
    if verb == "rollback":
        return rollback(place, Programs(), " ".join(argv[2:]) or "it was asked for")
    if verb == "boot":
        return boot(place, Programs())
    sys.stderr.write("usage: {0} apply | rollback REASON | boot\n".format(argv[0]))
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
