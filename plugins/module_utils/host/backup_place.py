# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the copy of a host's users and homes is: a directory of this host, or of another one by rsync over ssh.

Both hold the same: ``accounts.json``, and ``homes`` with a mirror of each home. On another host the files belong to the user who takes them in, and rsync keeps
their owners, modes, access lists and device numbers in extended attributes (``--fake-super``, rsync(1)), so that nobody there has to be root.
"""
import contextlib
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .backup_ssh import DESK, Remote, clear, explain, parse, probe, reached
from .commands import Result
from .errors import FleetError
from .files import read_text, write_atomic
from .host import Host

FILE = "accounts.json"

_RSYNC = ("rsync", "--archive", "--hard-links", "--acls", "--xattrs", "--numeric-ids")
#: How a target is brought to its source: what the source has not is removed; what the target has already stays as it is; or only what is newer there
#: stays, since the rest is of a run that was cut short, whose files are to be linked with those that are missing.
MIRROR, KEEP, COMPLETE = "--delete", "--ignore-existing", "--update"

#: Some files vanished while they were read (rsync(1), exit values): people work in their homes.
_VANISHED = 24
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
#: What ``--out-format=%i %l %n`` prints: what is done, the size, the name.
_ITEM = re.compile(r"^(?P<done>\*deleting|[<>ch.*][fdLDS]\S+)\s+(?P<size>\d+) (?P<name>.*)$")


class Mirror(NamedTuple):
    """A user's home and its copy; how many entries rsync would move or has moved between them, how many bytes of files, and how many of the entries go."""

    user: str
    home: str
    moved: int = 0
    size: int = 0
    removed: int = 0


class Place:
    """A directory of this host."""

    def __init__(self, path: str, host: Host) -> None:
        self.path = os.path.normpath(path)
        self.host = host
        self.words: Tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return self.path

    @property
    def prefix(self) -> str:
        return self.host.path(self.path)

    def read(self) -> Optional[str]:
        """The accounts; None if there are none."""
        return read_text(self.host.path(os.path.join(self.path, FILE)))

    def names(self) -> List[str]:
        """Whose homes are there."""
        homes = self.host.path(os.path.join(self.path, "homes"))
        return sorted(os.listdir(homes)) if os.path.isdir(homes) else []

    def free(self) -> Optional[int]:
        """How many bytes are free; None if nobody tells."""
        return free_at(self.host.path(self.path))

    def refuse(self, homes: Sequence[str], copied: Sequence[str], same_disk: bool) -> None:
        """A copy inside a home would hold itself; one on the disk of the system, or of the homes that are copied, is lost with them."""
        refuse_inside(self.path, homes, self.host)
        if not same_disk:
            refuse_same_disk(self.path, copied, self.host)

    def write(self, text: str) -> None:
        """Write the accounts where only root reads them."""
        for place in (self.path, os.path.join(self.path, "homes")):
            os.makedirs(self.host.path(place), mode=0o700, exist_ok=True)
        os.chmod(self.host.path(self.path), 0o700)
        write_atomic(self.host.path(os.path.join(self.path, FILE)), text, 0o600)

    def run(self, words: Sequence[str], timeout: float) -> str:
        """Run rsync. Raises :class:`FleetError` with what its failure means."""
        result = self.host.commands.run(_RSYNC + self.words + tuple(words), timeout)
        if result.rc not in (0, _VANISHED):
            raise FleetError(self.meaning(result))
        return result.out

    def meaning(self, result: Result) -> str:
        said = (result.err.strip() or result.out.strip() or "nothing").replace("\n", "; ")
        if _NO_SPACE.search(said):
            return "There is no room left for the copy: {0}. What was there of each file is still there. Make room, and run it again.".format(said)
        return "rsync failed with status {0} and said: {1}".format(result.rc, said)


class RemotePlace(Place):
    """A directory of another host, which is asked once, when the place is made."""

    def __init__(self, remote: Remote, host: Host, desk: str) -> None:
        super().__init__(remote.path, host)
        self.remote = remote
        self.desk = desk
        self.words = ("--remote-option=--fake-super", "--rsh=" + " ".join(remote.words))
        self.found = probe(remote, host.commands)

    @property
    def shown(self) -> str:
        return self.remote.prefix

    @property
    def prefix(self) -> str:
        return self.remote.prefix.rstrip("/")

    def read(self) -> Optional[str]:
        stage = self._stage("in")
        result = self._ask([self.prefix + "/" + FILE, stage + "/"])
        return None if result is None else read_text(os.path.join(stage, FILE))

    def names(self) -> List[str]:
        listed = self._ask(["--list-only", "--no-recursive", "--dirs", self.prefix + "/homes/"]) or ""
        entries = [line.split(None, 4) for line in listed.splitlines()]
        return sorted(entry[4] for entry in entries if len(entry) == 5 and entry[4] != ".")

    def free(self) -> Optional[int]:
        return self.found.free

    def refuse(self, homes: Sequence[str], copied: Sequence[str], same_disk: bool) -> None:
        ours = (read_text(self.host.path("etc/machine-id")) or "").strip()
        if self.found.machine and self.found.machine == ours:
            refuse_inside(self.path, homes, self.host)
            if not same_disk:
                raise FleetError("{0} is this very host, so that the copy would be lost with it. Name another host, or set same_disk: true.".format(
                    self.remote.where))

    def write(self, text: str) -> None:
        stage = self._stage("out")
        os.mkdir(os.path.join(stage, "homes"), 0o700)
        with os.fdopen(os.open(os.path.join(stage, FILE), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as handle:
            handle.write(text.encode("utf-8", "surrogateescape"))
        self.run(["--omit-dir-times", stage + "/", self.prefix + "/"], 600)
        clear(stage)

    def meaning(self, result: Result) -> str:
        return explain(self.remote, result)

    def _stage(self, name: str) -> str:
        stage = os.path.join(self.desk, name)
        os.makedirs(stage, mode=0o700, exist_ok=True)
        clear(stage)
        return stage

    def _ask(self, words: Sequence[str]) -> Optional[str]:
        """Run rsync; None if what is asked for does not exist there."""
        result = self.host.commands.run(_RSYNC + self.words + tuple(words), 600)
        if result.rc == 0:
            return result.out
        if re.search(r"(?:(?:link_stat|change_dir) .* failed:|rrsync error: .*) ?No such file", result.err):
            return None
        raise FleetError(self.meaning(result))


@contextlib.contextmanager
def place_of(path: str, ssh: Mapping[str, Any], host: Host, desk: str = DESK) -> Iterator[Place]:
    """The place that a user means, while the block lasts."""
    remote = parse(path)
    if remote is None:
        if any(ssh.values()):
            raise FleetError("{0} is a directory of this host, to which no ssh is needed. For another host say backup@store:{0}.".format(path))
        yield Place(path, host)
        return
    with reached(remote, ssh, desk) as there:
        yield RemotePlace(there, host, desk)


class Batch(NamedTuple):
    """What one call of rsync moves: several homes, each to a directory of its name, or one to a place of another name."""

    mirrors: Tuple[Mirror, ...]
    sources: Tuple[str, ...]
    target: str


def to_copy(place: Place, mirrors: Iterable[Mirror]) -> List[Batch]:
    """From the homes to the copy. Homes that are called after their users take one call together."""
    alike, others = _sorted(mirrors)
    path, homes = place.host.path, place.prefix + "/homes/"
    batches = [Batch(tuple(alike), tuple(path(mirror.home) for mirror in alike), homes)] if alike else []
    return batches + [Batch((mirror,), (path(mirror.home) + "/",), homes + mirror.user + "/") for mirror in others]


def from_copy(place: Place, mirrors: Iterable[Mirror]) -> List[Batch]:
    """From the copy to the homes. Those in one directory that are called after their users take one call together."""
    alike, others = _sorted(mirrors)
    homes = place.prefix + "/homes/"
    together: Dict[str, List[Mirror]] = {}
    for mirror in alike:
        together.setdefault(os.path.dirname(mirror.home), []).append(mirror)
    batches = [
        Batch(tuple(some), tuple(homes + mirror.user for mirror in some), place.host.path(above).rstrip("/") + "/") for above, some in sorted(together.items())
    ]
    return batches + [Batch((mirror,), (homes + mirror.user + "/",), place.host.path(mirror.home) + "/") for mirror in others]


def move(place: Place, batches: Sequence[Batch], how: str, dry: bool, timeout: float) -> List[Mirror]:
    """Bring the targets to what the sources are, in one of the ways above. ``dry``: only count."""
    words = ["--out-format=%i %l %n", how] + (["--dry-run"] if dry else [])
    moved: List[Mirror] = []
    for batch in batches:
        out = place.run(words + ["--"] + list(batch.sources) + [batch.target], timeout)
        moved += _counted(batch, out)
    return moved


def counted_without_rsync(place: Place, mirrors: Sequence[Mirror], back: bool) -> List[Mirror]:
    """A check on a fresh host has no rsync yet: what is not there at all will come whole."""
    counted = []
    for mirror in mirrors:
        copy, home = os.path.join(place.prefix, "homes", mirror.user), place.host.path(mirror.home)
        source, target = (copy, home) if back else (home, copy)
        counted.append(mirror if os.path.isdir(target) else mirror._replace(moved=_count(source)))
    return counted


def refuse_lack_of_room(moved: Sequence[Mirror], free: Optional[int], shown: str) -> None:
    """Before anything is copied: what rsync writes anew, it writes beside what is there, and then takes its place."""
    needed = sum(mirror.size for mirror in moved)
    if free is not None and needed > free:
        raise FleetError("There is not enough space in {0}: {1} are needed, and {2} are free. Nothing was copied. Make room, or take another disk.".format(
            shown, _size(needed), _size(free)))


def refuse_lack_of_room_here(moved: Sequence[Mirror], host: Host) -> None:
    """The same for homes that come back, disk by disk."""
    disks: Dict[int, List[Mirror]] = {}
    for mirror in moved:
        disks.setdefault(os.stat(_existing(host.path(mirror.home))).st_dev, []).append(mirror)
    for some in disks.values():
        refuse_lack_of_room(some, free_at(host.path(some[0].home)), os.path.dirname(some[0].home))


def free_at(path: str) -> int:
    """How many bytes are free where a path is, or will be."""
    found = os.statvfs(_existing(path))
    return found.f_bavail * found.f_frsize


def refuse_inside(path: str, homes: Sequence[str], host: Host) -> None:
    """A copy that lies in a home, or a home that lies in the copy."""
    place = os.path.realpath(host.path(path))
    for home in ["/home"] + list(homes):
        there = os.path.realpath(host.path(home))
        if _within(place, there) or (home != "/home" and _within(there, place)):
            raise FleetError("{0} and {1} lie in one another, so that the copy would hold itself. Take a directory outside of all homes, on another "
                             "disk.".format(path, home))


def refuse_same_disk(path: str, homes: Sequence[str], host: Host) -> None:
    """A copy on the disk of the system or of the homes is lost with the original."""
    device = os.stat(_existing(host.path(path))).st_dev
    for original in ["/"] + list(homes):
        if os.path.exists(host.path(original)) and os.stat(host.path(original)).st_dev == device:
            raise FleetError(
                "{0} is on the same file system as {1}, so that what takes the one takes the other. Mount another disk or an NFS share there, name another "
                "host, or set same_disk: true.".format(path, original)
            )


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _sorted(mirrors: Iterable[Mirror]) -> Tuple[List[Mirror], List[Mirror]]:
    every = list(mirrors)
    alike = [mirror for mirror in every if os.path.basename(mirror.home) == mirror.user]
    return alike, [mirror for mirror in every if mirror not in alike]


def _counted(batch: Batch, out: str) -> List[Mirror]:
    counts = {mirror.user: [0, 0, 0] for mirror in batch.mirrors}
    for line in out.splitlines():
        item = _ITEM.match(line)
        if not item:
            continue
        user = item.group("name").split("/")[0] if len(batch.mirrors) > 1 else batch.mirrors[0].user
        if user in counts:
            counts[user][0] += 1
            counts[user][1] += int(item.group("size")) if item.group("done")[:2] in (">f", "<f") else 0
            counts[user][2] += item.group("done") == "*deleting"
    return [mirror._replace(moved=counts[mirror.user][0], size=counts[mirror.user][1], removed=counts[mirror.user][2]) for mirror in batch.mirrors]


def _count(directory: str) -> int:
    return 1 + sum(len(files) + len(directories) for _above, directories, files in os.walk(directory))


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 10240:
            return "{0} {1}".format(count, unit)
        count //= 1024
    return "{0} TiB".format(count)
