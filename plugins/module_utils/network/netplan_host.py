# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a host's netplan files, tries a change on a copy of them, and makes it; what is to be changed is decided in :mod:`netplan_change`."""
import inspect
import json
import os
import re
import shutil
import stat
import tempfile
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import BACKUPS, read_text, remove
from .netplan import DIRECTORIES, Definitions, Document, base, in_force, merged
from .netplan_change import PLACE, Change, Found, Text, Wish, foreign_ports, plan, unfit_ports
from .netplan_links import Links, owners, read_links
from .netplan_pending import Record, copy_exactly, settle, stage, waiting
from .netplan_rollback import Place, discard, forget, load, save, sync

#: Where files that were set aside are kept, below the name of the file that replaced them.
KEPT = BACKUPS + "/netplan"

#: How adapters were before any file spoke of them, in the same place.
LINKS = "links.json"

#: Where only the system's Python can read YAML.
_TO_JSON = """import json, sys, yaml
from typing import Any, Dict
{0}
json.dump({{path: read_yaml(yaml, text) for path, text in json.load(sys.stdin).items()}}, sys.stdout)
"""
#: netplan.io depends on python3-yaml, so the system's Python has it, whichever Python runs this.
_PYTHON = "/usr/bin/python3"


class Host(NamedTuple):
    """A host's programs, and its files below a root (other than ``/`` for tests)."""

    commands: Commands
    root: str = "/"

    def path(self, name: str) -> str:
        return os.path.join(self.root, name.lstrip("/"))

    @property
    def place(self) -> Place:
        place = Place(*[self.path(directory) for directory in Place()])
        # A host that has never known netplan gets no directory of its.
        return place if os.path.isdir(os.path.dirname(place.directory)) else place._replace(directory=self.path("/etc/network/.dgxops"))

    @property
    def sysfs(self) -> str:
        return self.path("/sys")


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    files = read_files(host)
    kept = {}
    folder = host.path(os.path.join(KEPT, wish.file))
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".yaml"):
            kept[name] = _text(os.path.join(folder, name))
    return Found(
        files, documents(files, host.commands), kept,
        documents({PLACE + name: text for name, text in kept.items()}, host.commands), read_links(host.commands, host.sysfs), read_ifupdown(host),
    )


def read_ifupdown(host: Host) -> Dict[str, str]:
    """The interfaces that interfaces(5) speaks of, and where."""
    folder = host.path("/etc/network/interfaces.d")
    paths = ["/etc/network/interfaces"] + ["/etc/network/interfaces.d/" + name for name in sorted(os.listdir(folder) if os.path.isdir(folder) else [])]
    answer: Dict[str, str] = {}
    for path in paths:
        text = read_text(host.path(path)) if os.path.isfile(host.path(path)) else None
        for name in re.findall(r"^[ \t]*iface[ \t]+(\S+)", text or "", re.MULTILINE):
            if name != "lo":
                answer.setdefault(name, path)
    return answer


def read_files(host: Host) -> Dict[str, Text]:
    """All files that netplan reads, by path."""
    files: Dict[str, Text] = {}
    for directory in DIRECTORIES:
        folder = host.path(directory)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if name.endswith(".yaml") and not name.startswith("."):
                files["/{0}/{1}".format(directory, name)] = _text(os.path.join(folder, name))
    return files


def _text(path: str) -> Text:
    return Text(read_text(path) or "", stat.S_IMODE(os.stat(path).st_mode))


def documents(files: Mapping[str, Text], commands: Commands) -> List[Document]:
    """What files say; raises :class:`FleetError` for one that is not netplan's."""
    answer = []
    for path, content in parse_yaml({path: files[path].text for path in sorted(files)}, commands).items():
        network = content.get("network") if isinstance(content, dict) else content
        if network and not isinstance(network, dict):
            raise FleetError("{0} has no settings below \"network:\". netplan would not take it either; repair or remove it.".format(path))
        answer.append(Document(path, network if isinstance(network, dict) else {}))
    return answer


def parse_yaml(texts: Mapping[str, str], commands: Commands) -> Dict[str, Any]:
    """YAML files by path, all values as text."""
    try:
        import yaml
    except ImportError:
        told = json.loads(commands.output((_PYTHON, "-c", _TO_JSON.format(inspect.getsource(read_yaml))), text_in=json.dumps(texts))) if texts else {}
    else:
        told = {path: read_yaml(yaml, text) for path, text in texts.items()}
    for path in texts:
        if "wrong" in told[path]:
            raise FleetError("{0} cannot be read as YAML: {1}. netplan would not take it either; repair or remove it.".format(path, told[path]["wrong"]))
    return {path: told[path]["content"] for path in texts}


def read_yaml(yaml: Any, text: str) -> Dict[str, Any]:
    """As netplan does: all values are text (YAML would take some MAC addresses for numbers), and a key that is there twice counts both times.

    Its text is run by another Python as well, so it uses no names from here.
    """
    def plain(node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return node.value
        if isinstance(node, yaml.SequenceNode):
            return [plain(entry) for entry in node.value]
        answer: Dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError("a name is expected{0}".format(key.start_mark))
            answer[key.value] = together(answer.get(key.value), plain(value))
        return answer

    def together(first: Any, second: Any) -> Any:
        if isinstance(first, list) and isinstance(second, list):
            return first + second
        if isinstance(first, dict) and isinstance(second, dict):
            return dict(first, **{key: together(first.get(key), value) for key, value in second.items()})
        return second

    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        return {"content": None if root is None else plain(root)}
    except (yaml.YAMLError, RecursionError) as error:
        return {"wrong": " ".join(str(error).split())}


def try_out(change: Change, host: Host) -> None:
    """Let netplan read the files as they will be, in a directory of its own in memory; raises :class:`FleetError` with its words if it does not take them."""
    parent = host.path("/run")
    scratch = tempfile.mkdtemp(prefix="dgxops-netplan.", dir=parent if os.path.isdir(parent) and os.access(parent, os.W_OK) else None)
    try:
        for path, text in change.after.items():
            copy = os.path.join(scratch, path.lstrip("/"))
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            with os.fdopen(os.open(copy, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as handle:
                handle.write(text.text.encode("utf-8", "surrogateescape"))
        result = host.commands.run(("netplan", "generate", "--root-dir", scratch))
        if result.rc != 0:
            words = " ".join((result.err.strip() or result.out.strip()).replace(scratch, "").split())
            raise FleetError("netplan does not take this, so nothing was changed: {0}".format(words))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_ports(change: Change, wish: Wish, found: Found, commands: Commands) -> None:
    """Refuse to take a bridge away from under running guests, or to give it another MTU than theirs."""
    before = merged(in_force(found.documents))
    after = merged(in_force(documents(change.after, commands)))
    ports = foreign_ports(plan(before, after).remove, before, found.links)
    if ports and not wish.detach:
        raise FleetError("Nothing was changed: {0}. They would lose their network. Shut these guests down, or set detach: true.".format("; ".join(
            "{0} would have to be removed or made anew, and {1} of running guests are attached to it".format(name, ", ".join(attached))
            for name, attached in sorted(ports.items()))), ports=ports)
    unfit = unfit_ports(after, found.links)
    if unfit and not wish.detach:
        raise FleetError("Nothing was changed: {0}. Frames would be lost. Shut these guests down, and start them again afterwards; or set detach: true.".format(
            "; ".join(unfit)))


def refuse_links(files: Iterable[str], host: Host) -> None:
    """Raise :class:`FleetError` for a file that is a link: what it leads to may belong to another."""
    for path in files:
        if os.path.islink(host.path(path)):
            raise FleetError("{0} is a symbolic link, which is not handled here. Nothing was changed. Replace it by a file.".format(path))


def carry_out(change: Change, wish: Wish, found: Found, host: Host) -> Optional[Record]:
    """Write the files, with the way back laid out on the disk before the first of them. Answers with what waits to be applied, if anything does.

    To be called alone (:func:`netplan_pending.alone`).
    """
    waiting(host.place, host.commands)  # while we were thinking, another run may have begun to apply
    if not change:
        return settle(host.place)
    if read_files(host) != found.files:
        raise FleetError("netplan's files were changed by somebody else at this moment. Nothing was changed by this run; run it again.")
    refuse_links(change.files, host)
    folder = host.path(os.path.join(KEPT, wish.file))
    before = merged(in_force(found.documents))
    obsolete = [os.path.join(folder, name) for name in change.back + (() if wish.present else (LINKS,))]
    first = stage(host.place, sorted(map(host.path, change.files)), before, obsolete, [os.path.join(folder, name) for name in change.aside + (LINKS,)])
    ready: Dict[str, str] = {}
    try:
        remember_links(os.path.join(folder, LINKS), before, merged(in_force(documents(change.after, host.commands))), found.links)
        # All that needs room on the disk comes first; then nothing can fail half way.
        for name in change.aside:
            _keep(host.path(PLACE + name), os.path.join(folder, name))
        for path, text in change.files.items():
            if text is not None:
                ready[path] = _make_ready(host.path(path), text, os.path.join(folder, base(path)) if base(path) in change.back else None)
    except OSError as error:
        for temporary in ready.values():
            remove(temporary)
        if first:
            discard((load(host.place) or {}).get("kept", []))
            forget(host.place)
        raise FleetError("{0} could not be written: {1}. Nothing was changed. Free some space, or check that the file system can be written.".format(
            error.filename or PLACE, error.strerror))
    for path in sorted(change.files):
        if path in ready:
            os.replace(ready[path], host.path(path))
        else:
            remove(host.path(path))
    sync(host.path(PLACE))
    return settle(host.place)


def remember_links(path: str, before: Definitions, after: Definitions, links: Links) -> None:
    """How adapters were that nobody managed: when no file speaks of them any more, nobody else will bring them back into that state."""
    states = remembered_links(path)
    managed, known = owners(before, links), set(states)
    for name in owners(after, links):
        if name in links and not links[name].kind and name not in managed and name not in states:
            link = links[name]
            addresses = [address for address in link.addresses if not address.lower().startswith("fe80:")]
            states[name] = {"mtu": link.mtu, "up": link.up, "addresses": addresses}
    if set(states) != known:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        save(path, states)


def remembered_links(path: str) -> Dict[str, Any]:
    try:
        return dict(json.loads(read_text(path) or "{}"))
    except ValueError:
        return {}


def _keep(path: str, kept: str) -> None:
    """Keep a file that is set aside. Of a name that was kept before, with another text, the older one stays beside it."""
    os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)
    if os.path.exists(kept) and read_text(kept) != read_text(path):
        os.replace(kept, kept + ".old")
    copy_exactly(path, kept)
    sync(os.path.dirname(kept))


def _make_ready(path: str, text: Text, kept: Optional[str]) -> str:
    """Beside its place, under a name that netplan does not read."""
    temporary = path + ".new"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    remove(temporary)
    if kept is not None:
        copy_exactly(kept, temporary)
        return temporary
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as handle:
            handle.write(text.text.encode("utf-8", "surrogateescape"))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        remove(temporary)
        raise
    return temporary
