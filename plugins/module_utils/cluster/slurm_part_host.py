# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a host that is a part of a Slurm cluster and changes it; what is to be changed is decided in :mod:`slurm_part`."""
import base64
import contextlib
import glob
import os
import shutil
import socket
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ..host import apt, records
from ..host.errors import FleetError
from ..host.files import BACKUPS, keep_once, read_text, remove, write_atomic
from ..host.host import Host
from ..host.units import RUNNING, Unit, bring, check_running, read_units
from . import slurm_database, slurm_drain, slurm_host
from .slurm_node import SlurmNode
from .slurm_part import CONTROLLER, CTLD, DATABASE, DBD, FILES, MARIADB, MUNGE, RECORD, SLURMD, Change, Found, Wish, check_record

_UNITS = (MUNGE, MARIADB, DBD, CTLD, SLURMD)
_CONFIGURATION = ("slurm.conf", "gres.conf", "cgroup.conf")
_DBD_PORT = 6819
#: What Slurm and MariaDB leave behind. It is removed with ``state: absent`` where Slurm came with the role.
_STATE = ("var/lib/slurm/slurmctld", "var/lib/slurm/slurmd", "var/log/slurm")


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    record = check_record(records.read(RECORD, host.root))
    files = {name: _read(name, host) for name in FILES}
    there = frozenset(apt.installed(host.commands)) if wish.packages or record.get("packages") else frozenset()
    units = read_units(host.commands, _UNITS)
    wants = DATABASE in wish.parts if wish.present else False
    database = wants and units.get(MARIADB, Unit("", False)).active and slurm_database.exists(host.commands)
    return Found(there, units, files, database, record)


def carry_out(wish: Wish, found: Found, change: Change, host: Host, node: Optional[SlurmNode], drain_wait: float) -> None:
    """Do it and verify it. What was found is on the disk before the first step, so that a run that is cut short is completed by the next."""
    if not change:
        if not change.keep:
            records.drop(RECORD, host.root)
        return
    if not wish.present:
        _give_back(change, host, drain_wait, wish.name)
        return
    # What is to start anew is written down only when nothing is left that could be refused.
    record = dict(change.record, restart=found.record.get("restart", []))
    if change.install:
        records.write(RECORD, record, host.root)
        apt.try_install(host.commands, change.install)
        with _not_started_without_configuration(host):
            apt.install(host.commands, change.install)
        new = set(apt.installed(host.commands)) - found.packages
        record["packages"] = sorted(set(record.get("packages", ())) | new)
    if CONTROLLER in wish.parts and "slurm.conf" in change.files:
        _check_configuration(wish, host)
    if node is not None and set(change.files) & set(_CONFIGURATION):
        _check_hardware(wish, node, host)
    # Whom this drains, the run on the node itself brings back (slurm_drain.settle), after its slurmd has taken up the same configuration.
    slurm_drain.drain(host.commands, change.drain, drain_wait)
    record["restart"] = change.record["restart"]
    records.write(RECORD, record, host.root)
    _write_files(change, host)
    _start(wish, change, host, record)
    records.write(RECORD, dict(record, restart=[]), host.root)


def _start(wish: Wish, change: Change, host: Host, record: Dict[str, Any]) -> None:
    units = read_units(host.commands, wish.wanted_units)
    started = {name for name, _before, _after in change.units} | set(change.restart)
    for name in wish.wanted_units:
        if name not in units:
            raise FleetError("This host has no {0}. Install Slurm's packages, or let the role do it (slurm_gpu_packages).".format(name))
        bring(host.commands, name, units[name], RUNNING, name in change.restart)
        if name == MARIADB and change.database and not slurm_database.exists(host.commands):
            record["database"] = True
            records.write(RECORD, record, host.root)
            slurm_database.create(host.commands)
        if name == DBD and name in started:
            _wait_for_port(_DBD_PORT)
        if name == CTLD and name in change.reconfigure:
            host.commands.output(["scontrol", "reconfigure"])
        elif name in change.reconfigure:
            host.commands.output(["systemctl", "reload", name])
    check_running(host.commands, wish.wanted_units)


def _wait_for_port(port: int, patience: float = 90) -> None:
    """slurmctld ends at its first start if slurmdbd, which makes its tables then, does not answer yet."""
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(("localhost", port), 5).close()
            return
        except OSError:
            if time.monotonic() >= end:
                raise FleetError("slurmdbd does not answer at its port {0} after {1:g} s. /var/log/slurm/slurmdbd.log says why.".format(port, patience))
            time.sleep(0.5)


@contextlib.contextmanager
def _not_started_without_configuration(host: Host) -> Iterator[None]:
    """From 24.11 on, Debian's package starts a slurmd that has no configuration, and waits a minute and a half while it looks for one in the network."""
    place = host.path("run/systemd/system/{0}.d/60-dgxops.conf".format(SLURMD))
    write_atomic(place, "[Unit]\nConditionPathExists=/etc/slurm/slurm.conf\n")
    try:
        yield
    finally:
        remove(place)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(place))
        host.commands.run(["systemctl", "daemon-reload"])


@contextlib.contextmanager
def _files_aside(wish: Wish) -> Iterator[str]:
    """Slurm's new files in a directory of their own; yields the path of slurm.conf there."""
    directory = tempfile.mkdtemp(prefix="dgxops-slurm-")
    try:
        os.chmod(directory, 0o755)
        for name in _CONFIGURATION:
            write_atomic(os.path.join(directory, name), wish.files.get(name) or "")
        yield os.path.join(directory, "slurm.conf")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _check_configuration(wish: Wish, host: Host) -> None:
    """Every daemon ends at a line that it cannot read, a controller that runs as well, so the new file is read before it takes the place of the old one."""
    with _files_aside(wish) as path:
        said = host.commands.run(["env", "SLURM_CONF=" + path, "scontrol", "show", "hostnames", wish.name])
    if said.rc != 0:
        words = [line.partition("error: ")[2] or line for line in (said.err or said.out).replace(path, "slurm.conf").splitlines() if "fatal: " not in line]
        raise FleetError("Slurm cannot read the slurm.conf that this makes, and its daemons would end. Nothing was changed. It says: {0}. Mend it in "
                         "slurm_gpu_slurm_conf or slurm_gpu_partitions.".format("; ".join(words[:3]) or "nothing"))


def _check_hardware(wish: Wish, node: SlurmNode, host: Host) -> None:
    """slurmd's own count, and what it makes of the new files, before they take the place of the old ones."""
    problem = slurm_host.disagreement(node, slurm_host.hardware_of(host.commands.output(["slurmd", "-C"])))
    if problem:
        raise FleetError(problem, node=node.to_dict())
    if wish.files.get("gres.conf") is None:
        return
    munge = read_units(host.commands, [MUNGE])
    if MUNGE in munge and not munge[MUNGE].active:  # slurmd -G of 24.11 asks it for a credential
        with contextlib.suppress(FleetError):
            bring(host.commands, MUNGE, munge[MUNGE], RUNNING)
    with _files_aside(wish) as path:
        found = host.commands.run(["slurmd", "-G", "-f", path], 60)
    problem = slurm_host.gres_disagreement(node, found.out + found.err)
    if problem:
        raise FleetError(problem, node=node.to_dict())


def _write_files(change: Change, host: Host) -> None:
    for name, (before, after) in change.files.items():
        rule = FILES[name]
        path = host.path(rule.path)
        if before is not None and change.record["files"][name]:
            keep_once(path, "slurm_gpu/" + name, host.path(BACKUPS.lstrip("/")))
        if after is None:
            remove(path)
        elif rule.secret:
            _write_secret(path, base64.b64decode(after))
        else:
            write_atomic(path, after, rule.mode)
        if after is not None:
            os.chmod(path, rule.mode)
            if os.geteuid() == 0:
                _give_to(path, rule.owner)


def _give_to(path: str, owner: str) -> None:
    try:
        shutil.chown(path, owner, owner)
    except LookupError:
        raise FleetError("{0} is to belong to the user {1}, but this host has none of that name. Slurm's and munge's packages make it.".format(path, owner))


def _write_secret(path: str, content: bytes) -> None:
    """Nobody else may read it at any time, so it is never there with another mode."""
    descriptor, temporary = tempfile.mkstemp(prefix=".munge.", dir=os.path.dirname(path))
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    if os.path.exists(path):
        found = os.stat(path)
        os.chown(temporary, found.st_uid, found.st_gid)
    os.replace(temporary, path)


def _give_back(change: Change, host: Host, drain_wait: float, name: str) -> None:
    record = change.record
    if not os.path.exists(_going(host)):
        nodes = [name] if SLURMD in record.get("units", {}) else []
        if CTLD in record.get("units", {}):
            slurm_drain.check_no_jobs(host.commands)
        slurm_drain.drain(host.commands, nodes, drain_wait, unsure=False)
    write_atomic(_going(host), "")  # from here on the daemons may be gone, and cannot be asked about jobs
    units = read_units(host.commands, _UNITS)
    for unit in (SLURMD, CTLD, DBD):
        if unit in record.get("units", {}) and unit in units and units[unit].active:
            host.commands.output(["systemctl", "stop", unit], 120)
    if change.database is False and units.get(MARIADB, Unit("", False)).active:
        slurm_database.save_and_drop(host.commands, host.path(BACKUPS.lstrip("/") + "/slurm_gpu"))
    _restore_files(record, host)
    for unit, _before, wanted in change.units:
        bring(host.commands, unit, read_units(host.commands, [unit])[unit], wanted, unit in (MUNGE, MARIADB))
    if change.purge:
        needed = apt.needed_by_others(host.commands, change.purge)
        if needed:
            raise FleetError("{0} cannot be removed, since packages that came later need it. Remove those first (apt-get --simulate purge shows them), "
                             "and run this again.".format(", ".join(needed)))
        apt.purge(host.commands, change.purge)
        if "mariadb-server" in change.purge:
            shutil.rmtree(host.path("var/lib/mysql"), ignore_errors=True)
    if record.get("fresh"):
        _remove_state(host)
        _remove_control_groups(host, name)
    records.drop(RECORD, host.root)
    remove(_going(host))


def _restore_files(record: Mapping[str, Any], host: Host) -> None:
    for name, was in record.get("files", {}).items():
        path, kept = host.path(FILES[name].path), host.path("{0}/slurm_gpu/{1}".format(BACKUPS.lstrip("/"), name))
        if not was:
            remove(path)
        elif os.path.exists(kept):
            found = os.stat(kept)
            shutil.copy2(kept, path + ".dgxops")
            os.chown(path + ".dgxops", found.st_uid, found.st_gid)
            os.replace(path + ".dgxops", path)
            remove(kept)
    with contextlib.suppress(OSError):  # somebody else's files are in it, or it is not there
        os.rmdir(host.path("etc/slurm/dgxops"))


def _remove_state(host: Host) -> None:
    for directory in _STATE:
        for entry in _entries(host.path(directory)):
            path = os.path.join(host.path(directory), entry)
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) and not os.path.islink(path) else remove(path)


def _remove_control_groups(host: Host, name: str) -> None:
    """The groups of version 1 that slurmd left empty; the kernel keeps one that has processes."""
    for group in ("slurm", "slurm_" + name):
        for top in glob.glob(host.path("sys/fs/cgroup/*/" + group)):
            for directory, _below, _files in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def _entries(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _read(name: str, host: Host) -> Optional[str]:
    path = host.path(FILES[name].path)
    if not FILES[name].secret:
        return read_text(path)
    try:
        with open(path, "rb") as handle:
            return base64.b64encode(handle.read()).decode("ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _going(host: Host) -> str:
    """Is there while a host is given back."""
    return records.place(RECORD, host.root) + ".going"
