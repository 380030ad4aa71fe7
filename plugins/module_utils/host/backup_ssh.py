# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way to another host that keeps a copy: how ssh(1) is told of it, and what its answers mean.

The host's key is always checked against one that is known beforehand; none is learnt on the way. A private key that is handed over lies in memory (tmpfs)
while it is needed, where only root can read it, and is in no list of processes.
"""
import contextlib
import fcntl
import os
import re
import shutil
import stat
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .commands import Commands, Result
from .errors import FleetError

#: What a run needs while it lasts. The next run removes what one left that was killed.
DESK = "/run/dgxops-accounts-backup"

_PLACE = re.compile(r"^(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]):(?P<path>.*)$")
#: The shell of the other host sees the path, so that it is held to what no shell makes anything of.
_PATH = re.compile(r"^/[A-Za-z0-9._/+@=,-]*$")
_HOST_KEY = re.compile(r"^(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/=]+(?: .*)?$")

#: What ssh, rsync and the other host's shell say, and what that means to the user. The first that fits counts.
_MEANINGS: Sequence[Tuple[str, str]] = (
    (r"host key verification failed|remote host identification has changed|no .* host key is known for",
     "{where} has another host key than the one that is known for it, or none is known. Nothing was sent. Compare it with what ssh-keyscan {host} tells, ask "
     "whoever runs that host, and give the right one in host_keys."),
    (r"permission denied \((?:publickey|password|keyboard|gssapi|hostbased)|too many authentication failures|error in libcrypto|invalid format|"
     r"incorrect passphrase|no supported authentication",
     "{where} does not let this host in. Put the public half of its key into ~/.ssh/authorized_keys of that user there; a key with a passphrase "
     "cannot be used."),
    (r"connection refused|timed out|no route to host|could not resolve|name or service not known|network is unreachable|host is down|"
     r"temporary failure in name resolution|connection (?:closed|reset) by .* port|kex_exchange_identification",
     "{where} cannot be reached: {said}. Check the name, the network, and that sshd runs there."),
    (r"rsync: (?:command )?not found|rsync: no such file|unknown command.*rsync|exec.*rsync.*not found",
     "There is no rsync on {where}. Install it there."),
    (r"no space left on device|disk quota exceeded",
     "The disk of the copy on {where} is full. What was there of each file is still there. Make room, and run it again."),
    (r"\.rsync\.%|user\.rsync|rsync_xal_set|lsetxattr.*operation not supported|set_xattr_acl.*operation not supported",
     "The disk of the copy on {where} keeps no extended attributes, in which owners, modes and access lists are to be kept there. Take a directory on "
     "ext4, XFS or Btrfs."),
    (r"mkdir .* failed: no such file",
     "The directory above {path} does not exist on {where}. Make it there."),
    (r"(?:mkdir|mkstemp|change_dir|opendir|open|link_stat) .* failed: permission denied",
     "The user there may not write to {path} on {where}. Give the directory to that user."),
)


class Remote(NamedTuple):
    """A directory of another host. ``words`` are those of the ssh command that reaches it."""

    user: str
    host: str
    path: str
    words: Tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return (self.user + "@" if self.user else "") + self.host

    @property
    def prefix(self) -> str:
        """What rsync takes for it."""
        return "{0}:{1}".format(self.where, self.path)


def parse(place: str) -> Optional[Remote]:
    """``user@host:/directory``; None for a directory of this host. Raises :class:`FleetError` for what is neither."""
    if place.startswith("/"):
        return None
    found = _PLACE.match(place)
    if not found:
        raise FleetError("{0!r} is no place for a copy. A directory such as /mnt/backup/dgx01 is expected, or one of another host, such as "
                         "backup@store:/srv/backup/dgx01.".format(place))
    if not _PATH.match(found.group("path")) or ".." in found.group("path").split("/"):
        raise FleetError("{0!r} is no directory for a copy on {1}. A path from / is expected, of letters, digits and ._/+@=,- alone.".format(
            found.group("path"), found.group("host")))
    return Remote(found.group("user") or "", found.group("host"), os.path.normpath(found.group("path")))


@contextlib.contextmanager
def reached(remote: Remote, ssh: Mapping[str, Any], desk: str = DESK) -> Iterator[Remote]:
    """The way there, while the block lasts: with the key and the host's keys on the desk if they were handed over."""
    with _desk(desk):
        yield remote._replace(words=tuple(_words(remote, ssh, desk)))


def _words(remote: Remote, ssh: Mapping[str, Any], desk: str) -> List[str]:
    options = [
        "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=8",
        "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "ControlPath=none", "PermitLocalCommand=no",
    ]
    words = ["ssh"]
    if ssh.get("port"):
        options.append("Port={0}".format(ssh["port"]))
    key = _key_file(ssh, desk)
    if key:
        options.append("IdentitiesOnly=yes")
        words += ["-i", key]
    if ssh.get("host_keys"):
        known = os.path.join(desk, "known_hosts")
        _write(known, "".join("{0} {1}\n".format("backup", _host_key(line)) for line in ssh["host_keys"]))
        options += ["UserKnownHostsFile=" + known, "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=backup"]
    for option in options:
        words += ["-o", option]
    return words


def _host_key(line: str) -> str:
    """A line of ssh_host_*_key.pub, or of ssh-keyscan(1), which has the host's name before it."""
    text = line.strip()
    for candidate in (text, text.partition(" ")[2].strip()):
        if _HOST_KEY.match(candidate):
            return candidate
    raise FleetError("{0!r} in host_keys is no key of a host. Something like 'ssh-ed25519 AAAA…' is expected, as in /etc/ssh/ssh_host_ed25519_key.pub "
                     "there.".format(text[:40]))


def _key_file(ssh: Mapping[str, Any], desk: str) -> str:
    """Where the private key is; empty if ssh is to find one itself."""
    if ssh.get("key"):
        if "PRIVATE KEY-----" not in ssh["key"]:
            raise FleetError("key is no private key as ssh-keygen makes them. It is not shown here; check the variable that it comes from.")
        place = os.path.join(desk, "key")
        _write(place, ssh["key"].replace("\r\n", "\n").strip("\n") + "\n")
        return place
    place = ssh.get("key_file") or ""
    if place:
        if not os.path.isfile(place):
            raise FleetError("There is no key at {0}. Make one by ssh-keygen, or give the right path in key_file.".format(place))
        if stat.S_IMODE(os.stat(place).st_mode) & 0o077:
            raise FleetError("The key at {0} can be read by others than its owner, so that ssh does not take it. Give it the mode 0600.".format(place))
    return place


def _write(path: str, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as handle:
        handle.write(text)


@contextlib.contextmanager
def _desk(desk: str) -> Iterator[None]:
    """An empty directory in memory that is root's alone, and one run's at a time."""
    os.makedirs(desk, mode=0o700, exist_ok=True)
    if os.path.islink(desk) or os.stat(desk).st_uid != os.geteuid():
        raise FleetError("{0} belongs to somebody else. Remove it; nothing was sent.".format(desk))
    handle = os.open(desk, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FleetError("Another run is busy with a copy of this host's users right now. Run it again when that has ended.")
        os.chmod(desk, 0o700)
        clear(desk)
        try:
            yield
        finally:
            clear(desk)
    finally:
        os.close(handle)


def clear(directory: str) -> None:
    """Remove what is in a directory."""
    for name in os.listdir(directory):
        place = os.path.join(directory, name)
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        else:
            os.unlink(place)


def explain(remote: Remote, result: Result) -> str:
    """What the failure of ssh, or of rsync over it, means."""
    said = result.err.strip() or result.out.strip() or "nothing"
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            lines = [line for line in said.splitlines() if re.search(pattern, line, re.IGNORECASE)]
            return meaning.format(where=remote.where, host=remote.host, path=remote.path, said=lines[0].strip() if lines else said)
    return "{0} failed with status {1} and said: {2}".format(remote.where, result.rc, said.replace("\n", "; "))


class Probe(NamedTuple):
    """What the other host tells of itself: which installation it is, and how many bytes are free for the copy. None: it tells only rsync (rrsync(1))."""

    machine: Optional[str] = None
    free: Optional[int] = None


def probe(remote: Remote, commands: Commands) -> Probe:
    """Get in touch. Raises :class:`FleetError` if the host cannot be reached, is another one, or does not let us in."""
    path = remote.path
    asked = "cat /etc/machine-id; df -Pk {0} 2>/dev/null || df -Pk {1}".format(path, os.path.dirname(path))
    result = commands.run(remote.words + ("--", remote.where.replace("[", "").replace("]", ""), asked), 120)
    if result.rc == 255:
        raise FleetError(explain(remote, result))
    machine = re.search(r"^[0-9a-f]{32}$", result.out, re.MULTILINE)
    free = re.search(r"^\S.*\s\d+\s+\d+\s+(\d+)\s+\d+%\s", result.out, re.MULTILINE)
    return Probe(machine.group(0) if machine else None, int(free.group(1)) * 1024 if free else None)
