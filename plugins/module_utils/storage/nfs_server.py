# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel's NFS server: threads, exports and its service; and the way back. Decides only, see :mod:`nfs_server_host`.

Exports are in a file of their own in /etc/exports.d (exports(5)). The number of threads is in /etc/nfs.conf.d from nfs-utils 2.5 on, and before, on Debian and
Ubuntu, in /etc/default/nfs-kernel-server, of which one line is replaced.
"""
import ipaddress
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host import records
from ..host.errors import FleetError
from ..host.files import Diff
from ..host.mountinfo import escape, unescape
from .nfsd import Export

SERVICE = "nfs-server.service"
EXPORTS = "etc/exports.d/dgxops.exports"
CONF = "etc/nfs.conf.d/dgxops.conf"
DEFAULT = "etc/default/nfs-kernel-server"
RECORD = "nfs_server"
HEADER = "# Written by dgxops.fleet.nfs_server, which owns this file. See {0}.\n"

_RDMA_PORT = re.compile(r"^rdma-port=([0-9]{1,5})$", re.MULTILINE)
_COUNT = re.compile(r"^RPCNFSDCOUNT=.*$", re.MULTILINE)
_HOST = re.compile(r"^[A-Za-z0-9*?@_.:/\[\]%-]+\Z")
_OPTION = re.compile(r"^[a-z][a-z0-9_]*(=[A-Za-z0-9_./:@%+-]+)?\Z")
#: Options that are one of two, as exportfs(8) writes them to its table. Others it writes in ways of its own.
_PAIRS = (
    ("ro", "rw"), ("sync", "async"), ("root_squash", "no_root_squash"), ("all_squash", "no_all_squash"), ("secure", "insecure"),
    ("subtree_check", "no_subtree_check"), ("wdelay", "no_wdelay"), ("hide", "nohide"), ("crossmnt", "nocrossmnt"),
)
_MOST_THREADS = 4096
_MOST_PORTS = 65535


class Unit(NamedTuple):
    """The service: ``enabled`` at boot, ``active`` now."""

    enabled: bool
    active: bool


class Wish(NamedTuple):
    """What a play asks for; checked. ``threads`` is None if their number is left alone, ``rdma`` if nothing is asked about RDMA, else its port."""

    present: bool
    exports: Tuple[Export, ...]
    threads: Optional[int]
    rdma: Optional[int]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what exports(5) cannot carry, or must not without consent."""
        if params["state"] == "absent":
            return cls(False, (), None, None)
        exports: List[Export] = []
        for entry in params["exports"] or []:
            exports += _exports(entry, params["options"] or [], params["allow_async"])
        names = [(export.path, export.client) for export in exports]
        twice = sorted({"{0} for {1}".format(*name) for name in names if names.count(name) > 1})
        if twice:
            raise FleetError("exports has {0} more than once. Which options count could not be told; name each once.".format(", ".join(twice)))
        threads = params["threads"]
        if threads is not None and not 1 <= threads <= _MOST_THREADS:
            raise FleetError("threads is {0}, but a number from 1 to {1} is expected.".format(threads, _MOST_THREADS))
        rdma = params["rdma_port"]
        if rdma is not None and not 1 <= rdma <= _MOST_PORTS:
            raise FleetError("rdma_port is {0}, but a port from 1 to {1} is expected; clients try 20049.".format(rdma, _MOST_PORTS))
        return cls(True, tuple(exports), threads, rdma)


class State(NamedTuple):
    """All that is managed. ``threads`` are those that run, 0 if none do; ``rdma`` are the ports on which requests are taken over RDMA; ``unit`` is None if the
    server is not installed."""

    exports: Optional[str]
    conf: Optional[str]
    default: Optional[str]
    threads: int
    rdma: Tuple[int, ...]
    unit: Optional[Unit]


class Record(NamedTuple):
    """What was there before the first change; ``count_line`` is that in /etc/default, empty if it had none. None: was not changed."""

    unit: Optional[Unit]
    installed: bool
    threads: Optional[int]
    count_line: Optional[str]
    rdma: Optional[Tuple[int, ...]]
    directories: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        values: Dict[str, Any] = dict(self._asdict())
        values["unit"] = None if self.unit is None else list(self.unit)
        values["rdma"] = None if self.rdma is None else list(self.rdma)
        values["directories"] = list(self.directories)
        return values


class Found(NamedTuple):
    """A host as it is. ``old`` if the number of threads belongs into /etc/default; ``missing`` are paths that are no directories; ``elsewhere`` are exports
    of other files; ``missing_directories`` those for drop-ins that are not there yet."""

    state: State
    old: bool
    in_force: Sequence[Export]
    missing: Sequence[str]
    elsewhere: Sequence[Tuple[str, str, str]]
    missing_directories: Sequence[str]
    record: Optional[Record]


class Change(NamedTuple):
    """From one state to another. ``export`` if the kernel has to be told of the exports."""

    before: State
    after: State
    export: bool
    record: Optional[Record]
    keep: bool
    remove: Tuple[str, ...]

    def __bool__(self) -> bool:
        return self.before != self.after or self.export

    @property
    def left(self) -> Tuple[int, ...]:
        """Ports for RDMA that nothing asks for any more. The kernel can give up one only with all threads, so they stay until the server is started again."""
        named = {int(port) for port in _RDMA_PORT.findall(self.before.conf or "")} - {int(port) for port in _RDMA_PORT.findall(self.after.conf or "")}
        return tuple(sorted(named & set(self.after.rdma)))

    @property
    def diffs(self) -> List[Diff]:
        shown = [
            Diff(_shown(self.before), _shown(self.after), "NFS server"),
            Diff(self.before.exports or "", self.after.exports or "", "/" + EXPORTS),
            Diff(self.before.conf or "", self.after.conf or "", "/" + CONF),
            Diff(self.before.default or "", self.after.default or "", "/" + DEFAULT),
        ]
        return [diff for diff in shown if diff.before != diff.after]


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects."""
    return _present(wish, found) if wish.present else _absent(found)


def parse_exports(text: str) -> List[Tuple[str, str]]:
    """Path and client of each entry of an exports file; what cannot be read is passed over (exports(5))."""
    found = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        match = re.match(r'^\s*(?:"([^"]+)"|([^\s#"]+))\s+(.*)$', line)
        if match is None:
            continue
        path = unescape(match.group(1) or match.group(2))
        for word in match.group(3).partition("#")[0].split():
            client = word.partition("(")[0]
            if not client.startswith("-"):
                found.append((path.rstrip("/") or "/", client or "*"))
    return found


def parse_record(found: Mapping[str, Any]) -> Optional[Record]:
    """Read it back; raises :class:`FleetError` if it is something else."""
    if not found:
        return None
    try:
        unit, threads, count, rdma = found["unit"], found["threads"], found["count_line"], found.get("rdma")
        return Record(
            None if unit is None else Unit(bool(unit[0]), bool(unit[1])), bool(found["installed"]), None if threads is None else int(threads),
            None if count is None else str(count), None if rdma is None else tuple(int(port) for port in rdma),
            tuple(str(name) for name in found["directories"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise records.damaged(RECORD)


def not_in_force(wish: Wish, in_force: Sequence[Export]) -> List[Export]:
    """Exports that the kernel was not told of, or otherwise. exportfs writes host names as it resolves them, so those are only known by their paths."""
    found = []
    for export in wish.exports:
        same = [other for other in in_force if other.path == export.path and (other.client == export.client or not _is_literal(export.client))]
        if not any(_agrees(export.options, other.options) for other in same):
            found.append(export)
    return found


def _present(wish: Wish, found: Found) -> Change:
    for path in found.missing:
        raise FleetError("{0} is to be exported, but there is no such directory on this host. Make it, or mount what is to be there, first.".format(path))
    for path, client, name in found.elsewhere:
        raise FleetError("{0} is exported to {1} in {2} already. Which options count could not be told; take it out of there or of exports.".format(
            path, client, name))
    state = found.state
    if wish.rdma is not None and found.old:
        raise FleetError("rdma_port is {0}, but the NFS server of this release knows no setting for it (nfs-utils before 2.5). Leave it out, or take a newer "
                         "release.".format(wish.rdma))
    default = _back(state.default, found.record)
    if wish.threads is not None and found.old:
        default = _with_count(state.default, "RPCNFSDCOUNT={0}".format(wish.threads))
    conf = None if found.old else _conf(wish)
    lines = _lines(wish.exports)
    threads = wish.threads if wish.threads is not None else _threads_before(found)
    rdma = tuple(sorted(set(state.rdma) | ({wish.rdma} if wish.rdma is not None else set())))
    after = State(HEADER.format("exports(5)") + lines if lines else None, conf, default, threads, rdma, Unit(True, True))
    export = after.exports != state.exports or (state.threads > 0 and bool(not_in_force(wish, found.in_force)))
    return Change(state, after, export, _remember(found, after), True, ())


def _absent(found: Found) -> Change:
    state, record = found.state, found.record
    if record is None:
        return Change(state, state._replace(exports=None, conf=None), state.exports is not None, None, False, ())
    unit = record.unit if record.installed else Unit(False, False) if state.unit is not None else None
    running = unit is not None and unit.active
    threads = 0 if not running else record.threads if record.threads is not None else state.threads
    rdma = () if not running else record.rdma if record.rdma is not None else state.rdma
    after = State(None, None, _back(state.default, record), threads, rdma, unit)
    return Change(state, after, state.exports is not None and running, record, False, record.directories)


def _remember(found: Found, after: State) -> Record:
    """The record, with what this change is the first to touch, as it was before."""
    state, record = found.state, found.record
    if record is None:
        record = Record(state.unit, state.unit is not None, None, None, None, ())
    if record.threads is None and state.threads > 0 and after.threads != state.threads:
        record = record._replace(threads=state.threads)
    if record.rdma is None and state.threads > 0 and after.rdma != state.rdma:
        record = record._replace(rdma=state.rdma)
    if record.count_line is None and after.default != state.default:
        match = _last_count(state.default or "")
        record = record._replace(count_line=match.group(0) if match else "")
    new = tuple(name for name in found.missing_directories if name not in record.directories)
    return record._replace(directories=record.directories + new)


def _conf(wish: Wish) -> Optional[str]:
    """nfs.conf(5); None if there is nothing to say."""
    lines = ["threads={0}\n".format(wish.threads)] * (wish.threads is not None)
    lines += ["rdma=y\nrdma-port={0}\n".format(wish.rdma)] * (wish.rdma is not None)
    return HEADER.format("nfs.conf(5)") + "[nfsd]\n" + "".join(lines) if lines else None


def _threads_before(found: Found) -> int:
    return found.record.threads if found.record is not None and found.record.threads is not None else found.state.threads


def _back(text: Optional[str], record: Optional[Record]) -> Optional[str]:
    """/etc/default with the line that it had."""
    if text is None or record is None or record.count_line is None:
        return text
    if record.count_line:
        return _with_count(text, record.count_line)
    return re.sub(r"^RPCNFSDCOUNT=.*\n?", "", text, flags=re.MULTILINE)


def _last_count(text: str) -> Optional["re.Match[str]"]:
    """The line that counts for a shell."""
    found = list(_COUNT.finditer(text))
    return found[-1] if found else None


def _with_count(text: Optional[str], line: str) -> str:
    text = text or ""
    match = _last_count(text)
    if match:
        return text[:match.start()] + line + text[match.end():]
    return (text if text.endswith("\n") or not text else text + "\n") + line + "\n"


def _lines(exports: Sequence[Export]) -> str:
    by_path: Dict[str, List[str]] = {}
    for export in exports:
        by_path.setdefault(export.path, []).append("{0}({1})".format(export.client, ",".join(export.options)))
    return "".join("{0} {1}\n".format(escape(path), " ".join(clients)) for path, clients in by_path.items())


def _exports(entry: Mapping[str, Any], common: Sequence[str], allow_async: bool) -> List[Export]:
    path = str(entry["path"])
    if not path.startswith("/") or (path.endswith("/") and path != "/") or "//" in path or re.search(r'[\n"#]', path) or ".." in path.split("/"):
        raise FleetError("path is {0!r}, but an absolute path without a slash at its end is expected, such as /export/data.".format(path))
    if not entry["clients"]:
        raise FleetError("{0} has no clients. Name those that may mount it, such as 192.0.2.0/24.".format(path))
    found = []
    for client in entry["clients"]:
        host = str(client["host"])
        if not _HOST.match(host):
            raise FleetError("{0} has the client {1!r}, but a host, a network such as 192.0.2.0/24, a wildcard or @netgroup is expected.".format(path, host))
        options = _merged(common, client.get("options") or [], path)
        if "async" in options and not allow_async:
            raise FleetError(
                "{0} is to be exported async to {1}. The server then says that data is safe before it is, and what is in its memory is lost when it goes down "
                "(section 2.2.1 of the Best Practices). Set allow_async (nfs_server_allow_async in the role) if the data can be lost, or take the option out."
                .format(path, host))
        found.append(Export(path, host, options))
    return found


def _merged(common: Sequence[str], own: Sequence[str], path: str) -> Tuple[str, ...]:
    """A client's options replace those of all that are about the same."""
    words: List[str] = []
    for entry in list(common) + list(own):
        words += [word.strip() for word in str(entry).split(",") if word.strip()]
    for word in words:
        if not _OPTION.match(word):
            raise FleetError("{0} has the option {1!r}, but a word of exports(5) is expected, such as ro or anonuid=65534.".format(path, word))
    last = {_about(word): place for place, word in enumerate(words)}
    kept = [word for place, word in enumerate(words) if last[_about(word)] == place]
    if not any(_about(word) == "no_subtree_check" for word in kept):
        kept.append("no_subtree_check")  # exportfs warns if none of both is named
    return tuple(kept)


def _about(word: str) -> str:
    return next((pair[1] for pair in _PAIRS if word in pair), word.partition("=")[0])


def _agrees(wanted: Sequence[str], in_force: Sequence[str]) -> bool:
    return all(word in in_force for word in wanted if any(word in pair for pair in _PAIRS))


def _is_literal(client: str) -> bool:
    """Whether exportfs takes it as it is: addresses, networks, wildcards, netgroups."""
    if client.startswith("@") or "*" in client or "?" in client or "/" in client:
        return True
    try:
        ipaddress.ip_address(client)
    except ValueError:
        return False
    return True


def _shown(state: State) -> str:
    if state.unit is None:
        return "not installed\n"
    lines = ["{0}, {1}, {2} threads\n".format("enabled" if state.unit.enabled else "disabled", "running" if state.unit.active else "stopped", state.threads)]
    return "".join(lines + ["RDMA on port {0}\n".format(port) for port in state.rdma])
