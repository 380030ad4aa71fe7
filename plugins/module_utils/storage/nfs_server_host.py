# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the kernel's NFS server, and changes it; what is to be changed is decided in :mod:`nfs_server`."""
import os
from typing import List, Tuple

from ..host import records
from ..host.errors import FleetError
from ..host.files import BACKUPS, keep_once, remove, remove_if_empty, write_atomic
from ..host.host import Host
from .nfs_server import CONF, DEFAULT, EXPORTS, RECORD, SERVICE, Change, Found, Record, State, Unit, Wish, not_in_force, parse_exports, parse_record
from .nfsd import ETAB, LISTENERS, Export, parse_etab, parse_listeners

_THREADS = "proc/fs/nfsd/threads"
_UNITS = ("lib/systemd/system/" + SERVICE, "usr/lib/systemd/system/" + SERVICE)
_START_TIMEOUT = 180


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    unit_text = next((text for text in (host.text(name) for name in _UNITS) if text is not None), None)
    threads = host.sysfs.number(_THREADS, 0)
    unit = _unit(host) if unit_text is not None else None
    state = State(host.text(EXPORTS), host.text(CONF), host.text(DEFAULT), threads, _rdma(host) if threads else (), unit)
    named = {(export.path, export.client) for export in wish.exports}
    elsewhere = [(path, client, name) for name in _other_files(host) for path, client in parse_exports(host.text(name) or "") if (path, client) in named]
    needed = ["etc/exports.d"] * bool(wish.exports) + ["etc/nfs.conf.d"] * (wish.threads is not None or wish.rdma is not None)
    old = "RPCNFSDARGS" in (unit_text or "")
    return Found(
        state, old, _in_force(host) if threads else [],
        sorted({export.path for export in wish.exports if not os.path.isdir(host.path(export.path))}),
        [(path, client, "/" + name) for path, client, name in elsewhere],
        [name for name in needed if not os.path.isdir(host.path(name)) and not (old and name == "etc/nfs.conf.d")],
        parse_record(records.read(RECORD, host.root)),
    )


def is_installed(found: Found) -> bool:
    return found.state.unit is not None


def remember_absence(change: Change, host: Host) -> None:
    """Before the server is installed, which may start it: that it was not there."""
    if change.record is not None:
        _write_record(change.record, host)


def carry_out(change: Change, wish: Wish, host: Host) -> None:
    """Do it and verify it. What was found is on the disk before the first step and removed after the last, so a run cut short is completed by the next."""
    if change.record is not None:
        _write_record(change.record, host)
    if change:
        _write_files(change.before, change.after, host)
        try:
            _bring(change, host)
            if change.export and host.sysfs.number(_THREADS, 0) > 0:
                _export(wish, host)
        except FleetError as error:
            _write_files(change.after, change.before, host)
            if change.export and host.sysfs.number(_THREADS, 0) > 0:
                host.commands.run(("exportfs", "-ra"))
            raise FleetError("{0}. The files are as they were.".format(error.message.rstrip(".")))
    if not change.keep:
        for name in change.remove:
            remove_if_empty(host.path(name))
        records.drop(RECORD, host.root)


def _write_files(before: State, after: State, host: Host) -> None:
    for name, old, new in ((EXPORTS, before.exports, after.exports), (CONF, before.conf, after.conf), (DEFAULT, before.default, after.default)):
        if old == new:
            continue
        place = host.path(name)
        if new is None:
            remove(place)
            continue
        if name == DEFAULT and os.path.exists(place):
            keep_once(place, "nfs-kernel-server", host.path(BACKUPS))
        write_atomic(place, new)


def _bring(change: Change, host: Host) -> None:
    """The service, its threads and listeners. One that runs is not restarted for what is asked of it, which would hold up all clients; but a listener that is
    given back goes only so."""
    before, after = change.before.unit, change.after.unit
    if before is None or after is None:
        return
    if before.enabled != after.enabled:
        host.commands.output(("systemctl", "enable" if after.enabled else "disable", SERVICE))
    if before.active and not after.active:
        host.commands.output(("systemctl", "stop", SERVICE), _START_TIMEOUT)
        return
    if after.active and (not before.active or change.before.threads == 0 or set(change.before.rdma) - set(change.after.rdma)):
        host.commands.output(("systemctl", "start" if not before.active else "restart", SERVICE), _START_TIMEOUT)
    threads = host.sysfs.number(_THREADS, 0)
    if after.active and threads == 0:
        raise FleetError("{0} was started, but runs no threads; journalctl -u {0} says why.".format(SERVICE))
    if after.active and change.after.threads not in (0, threads):
        _set_threads(change.after.threads, host)
    for port in change.after.rdma if after.active else ():
        if port not in _rdma(host):
            _listen(port, host)


def _set_threads(threads: int, host: Host) -> None:
    try:
        with open(host.path(_THREADS), "w") as handle:
            handle.write("{0}\n".format(threads))
    except OSError as error:
        raise FleetError("The kernel refused {0} threads in /{1}: {2}.".format(threads, _THREADS, error.strerror))
    found = host.sysfs.number(_THREADS, 0)
    if found != threads:
        raise FleetError("The kernel made {0} threads of {1}. Ask for a number that it keeps.".format(found, threads))


def _listen(port: int, host: Host) -> None:
    try:
        with open(host.path(LISTENERS), "w") as handle:
            handle.write("rdma {0}\n".format(port))
    except OSError as error:
        raise FleetError("The kernel does not take NFS over RDMA on port {0}: {1}. It needs the module svcrdma and a port that is free.".format(
            port, error.strerror))


def _rdma(host: Host) -> Tuple[int, ...]:
    return tuple(listener.port for listener in parse_listeners(host.text(LISTENERS) or "") if listener.protocol == "rdma")


def _export(wish: Wish, host: Host) -> None:
    result = host.commands.run(("exportfs", "-ra"))
    missing = not_in_force(wish, _in_force(host))
    said = (result.err.strip() or result.out.strip()).replace("\n", "; ")
    # It fails for the exports of other files too, and lists what the kernel then does not take.
    refused = [export for export in wish.exports if export in missing or (result.rc != 0 and export.path in said)]
    if refused:
        names = ", ".join("{0} for {1}".format(export.path, export.client) for export in refused)
        raise FleetError("exportfs -ra did not export {0}{1}. The file system may be none that NFS can export, or a name cannot be resolved.".format(
            names, ", and said: " + said if said else ""))


def _in_force(host: Host) -> List[Export]:
    return parse_etab(host.text(ETAB) or "")


def _other_files(host: Host) -> List[str]:
    directory = os.path.dirname(EXPORTS)
    others = ["{0}/{1}".format(directory, name) for name in host.sysfs.entries(directory) if name.endswith(".exports") and not name.startswith(".")]
    return ["etc/exports"] + [name for name in others if name != EXPORTS]


def _unit(host: Host) -> Unit:
    text = host.commands.output(("systemctl", "show", "--property=UnitFileState,ActiveState", SERVICE))
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Unit(values.get("UnitFileState") == "enabled", values.get("ActiveState") in ("active", "activating", "reloading"))


def _write_record(record: Record, host: Host) -> None:
    records.write(RECORD, record.to_dict(), host.root)
