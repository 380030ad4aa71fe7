# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machine from which people tunnel: a directory with everybody's configurations, and a line in the ``~/.ssh/config`` of those who have an account there."""
import contextlib
import json
import os
import pwd
import re
import shutil
import tempfile
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.as_user import as_user
from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import Diff, read_text, remove, write_atomic
from .ssh_include import add, line_in, take_away
from .ssh_tunnel import Plan, putty_removal, putty_sessions, ssh_config

LEDGER = "ports.json"

# Include reads ~, ${} and % tokens, and wildcards (ssh_config(5)).
_DIRECTORY = re.compile(r"^(?:/[A-Za-z0-9_.@+,:-]+)+\Z")


class Account(NamedTuple):
    """A user of this machine, as far as his ``~/.ssh/config`` is concerned."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def config(self) -> str:
        return os.path.join(self.home, ".ssh", "config")


class Ledger(NamedTuple):
    """What the directory holds: the slots that were given, our files in it, who has the line, and the directories that were made."""

    slots: Mapping[str, int]
    files: Tuple[str, ...]
    installed: Tuple[str, ...]
    made: Tuple[str, ...]

    def to_text(self) -> str:
        return json.dumps(self._asdict(), indent=2, sort_keys=True) + "\n"


class State(NamedTuple):
    """Files by their names below the directory (None: there is none), and the line of each account (``""``: there is none)."""

    files: Mapping[str, Optional[str]]
    lines: Mapping[str, str]


class Change(NamedTuple):
    """From what is there to what is wanted."""

    directory: str
    before: State
    after: State
    old: Ledger
    new: Optional[Ledger]

    def __bool__(self) -> bool:
        return self.before != self.after or (self.new or Ledger({}, (), (), ())) != self.old

    @property
    def diffs(self) -> List[Diff]:
        files = [(os.path.join(self.directory, name), self.before.files[name] or "", text or "") for name, text in sorted(self.after.files.items())]
        lines = [("~{0}/.ssh/config".format(name), _line(self.before.lines[name]), _line(line)) for name, line in sorted(self.after.lines.items())]
        return [Diff(before, after, place) for place, before, after in files + lines if before != after]

    @property
    def new_texts(self) -> Dict[str, str]:
        """Files that are written."""
        return {name: text for name, text in self.after.files.items() if text is not None and text != self.before.files[name]}


Accounts = Callable[[str], Optional[Account]]


def account(name: str) -> Optional[Account]:
    """As the system's directory services know him; None without a home, which some get at their first login only."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return None if not os.path.isdir(found.pw_dir) else Account(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def check_directory(path: str) -> str:
    """The path without a slash at its end; raises :class:`FleetError` where ``Include`` would not read it as it stands."""
    path = path.rstrip("/")
    if _DIRECTORY.match(path) and not {"..", "."} & set(path.split("/")):
        return path
    raise FleetError("directory is {0!r}, but an absolute path of letters, digits, dots, dashes and underscores is expected, "
                     "since it is written into ssh configurations.".format(path))


def read_ledger(directory: str) -> Ledger:
    """What an earlier run left; raises :class:`FleetError` if it is not readable, since ports would move."""
    place = os.path.join(directory, LEDGER)
    text = read_text(place)
    if text is None:
        return Ledger({}, (), (), ())
    try:
        data = json.loads(text)
        lists = [tuple(str(entry) for entry in data.get(key, [])) for key in ("files", "installed", "made")]
        return Ledger({str(name): int(slot) for name, slot in data["slots"].items()}, *lists)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FleetError("{0} keeps who has which port, but it cannot be read. Bring it back from a backup, or remove it; then ports are given anew.".format(
            place))


def decide(directory: str, old: Ledger, tunnels: Optional[Plan], install: bool, read: Callable[[str], Optional[str]], line: Callable[[str], str]) -> Change:
    """What is to be done for these tunnels, or with None to take everything away; ``read`` and ``line`` tell what is there."""
    files: Dict[str, Optional[str]] = dict.fromkeys(old.files)
    lines = dict.fromkeys(old.installed, "")
    new = None
    if tunnels is not None:
        for user in tunnels.users:
            files.update({
                user.name + "/ssh_config": ssh_config(tunnels, user), user.name + "/putty.reg": putty_sessions(tunnels, user),
                user.name + "/putty-remove.reg": putty_removal(tunnels),
            })
            if install:
                if lines.get(user.account):
                    raise FleetError("Two of the users have the account {0} on this host, which can read one configuration. Give one of them "
                                     "another account, or install none.".format(user.account))
                lines[user.account] = "Include {0}/{1}/ssh_config".format(directory, user.name)
        here = tuple(sorted(name for name, text in files.items() if text is not None))
        new = Ledger(tunnels.slots, here, tuple(sorted(name for name, wanted in lines.items() if wanted)), old.made)
    before = State({name: read(os.path.join(directory, name)) for name in files}, {name: line(name) for name in lines})
    return Change(directory, before, State(files, lines), old, new)


def line_of(name: str, accounts: Accounts) -> str:
    """Our line in the configuration of an account."""
    user = accounts(name)
    if user is None:
        return ""
    with as_user(user.uid, user.gid):
        return line_in(read_text(user.config))


def missing(change: Change, accounts: Accounts) -> List[str]:
    """Accounts that are to get the line, but are not there, or have no home."""
    return sorted(name for name, line in change.after.lines.items() if line and accounts(name) is None)


def validate(change: Change, tunnels: Plan, commands: Commands) -> bool:
    """Let ssh read what would be written; False if there is no ssh. Raises :class:`FleetError` if it reads something else than what is meant."""
    if shutil.which("ssh") is None or not tunnels.nodes:
        return False
    scratch = tempfile.mkdtemp(prefix="dgxops-ssh-")
    try:
        for user in tunnels.users:
            text = change.new_texts.get(user.name + "/ssh_config")
            if text is None:
                continue
            place = os.path.join(scratch, user.name)
            write_atomic(place, text, 0o600)
            # One of the nodes will do: a word that ssh does not know is an error wherever it stands.
            node = tunnels.nodes[-1]
            said = commands.output(("ssh", "-G", "-F", place, tunnels.alias(node))).lower().splitlines()
            expected = ["hostname " + node.address.lower(), "port {0}".format(node.port), "user " + user.login.lower(), "exitonforwardfailure yes"]
            if tunnels.jump and node.address != tunnels.jump.address:
                expected.append("proxyjump {0}jump".format(tunnels.prefix).lower())
            lost = [entry for entry in expected if entry not in said]
            forwards = [entry for entry in said if entry.startswith("localforward ")]
            if lost or len(forwards) != len(tunnels.services):
                raise FleetError("This host's ssh does not read the tunnels of {0} as they are meant: {1}. Nothing was changed.".format(
                    user.name, ", ".join(lost) or "{0} of {1} ports".format(len(forwards), len(tunnels.services))))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def carry_out(change: Change, accounts: Accounts) -> None:
    """Do it. What is in the ledger at any moment covers what is there, so that a run cut short is completed, or taken back, by the next."""
    directory, old, new = change.directory, change.old, change.new
    made = tuple(sorted(set(old.made) | set(_directories_to_make(directory))))
    if new is not None:
        _make_directories(made)
        both = Ledger(new.slots, tuple(sorted(set(old.files) | set(new.files))), tuple(sorted(set(old.installed) | set(new.installed))), made)
        _write_ledger(directory, both)
        for name in sorted({os.path.dirname(name) for name in new.files}):
            _make_directories((os.path.join(directory, name),))
        for name, text in sorted(change.new_texts.items()):
            write_atomic(os.path.join(directory, name), text)
    for name, line in sorted(change.after.lines.items()):
        if not line or line != change.before.lines[name]:
            _set_line(accounts(name), line)
    for name in sorted(name for name, text in change.after.files.items() if text is None):
        remove(os.path.join(directory, name))
        _remove_if_empty(os.path.join(directory, os.path.dirname(name)))
    if new is not None:
        _write_ledger(directory, new._replace(made=made))
        return
    remove(os.path.join(directory, LEDGER))
    for place in sorted(made, key=len, reverse=True):
        _remove_if_empty(place)


def _set_line(user: Optional[Account], line: str) -> None:
    if user is None:
        return  # gone, and his home with him; whoever is to get the line was looked for before
    folder = os.path.dirname(user.config)
    with as_user(user.uid, user.gid):
        text = read_text(user.config)
        path = line.partition(" ")[2]
        # A directory that is made comes with the file that says so: never one without the other.
        new_folder = folder + ".dgxops"
        shutil.rmtree(new_folder, ignore_errors=True)
        if line and not os.path.isdir(folder):
            os.mkdir(new_folder, 0o700)
            write_atomic(os.path.join(new_folder, "config"), add(None, path, directory_exists=False), 0o600)
            os.rename(new_folder, folder)
            return
        if line:
            write_atomic(user.config, add(text, path), 0o600)
            return
        rest = take_away(text)
        if rest.text is None:
            remove(user.config)
        elif rest.text != text:
            write_atomic(user.config, rest.text, 0o600)
        if rest.made_directory:
            _remove_if_empty(folder)


def _write_ledger(directory: str, ledger: Ledger) -> None:
    if read_ledger(directory) != ledger:
        write_atomic(os.path.join(directory, LEDGER), ledger.to_text())


def _directories_to_make(path: str) -> List[str]:
    places = []
    while not os.path.isdir(path):
        places.append(path)
        path = os.path.dirname(path)
    return places


def _make_directories(places: Tuple[str, ...]) -> None:
    """Readable for all, whatever the umask: users read their file there."""
    for place in sorted(places, key=len):
        if not os.path.isdir(place):
            os.mkdir(place)
            os.chmod(place, 0o755)


def _remove_if_empty(place: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(place)


def _line(text: str) -> str:
    return text + "\n" if text else ""


def to_dict(tunnels: Optional[Plan]) -> Dict[str, Any]:
    """Ports and slots by user, as JSON types."""
    if tunnels is None:
        return {"slots": {}, "ports": {}}
    return {
        "slots": {user.name: tunnels.slots[user.name] for user in tunnels.users},
        "ports": {user.name: tunnels.ports(user) for user in tunnels.users},
    }
