# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the files of ifupdown that a host has to those that are wanted. The network itself is judged by the rules of netplan's. No side effects."""
import fnmatch
import hashlib
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from .ifupdown import DIRECTORY, HEADER, MAIN, names_in, network_of, sources, without, written
from .netplan import Definitions, Document, merged
from .netplan_change import checked, complete, height
from .netplan_links import Links
from .netplan_rules import Network, problems

#: Names that "source-directory" takes as well (run-parts(8)).
_FILE = re.compile(r"^[A-Za-z0-9_-]+\Z")


class Wish(NamedTuple):
    """What a play asks for; checked as far as no host is needed."""

    present: bool
    file: str
    network: Mapping[str, Any]
    replaces: Tuple[str, ...]

    @property
    def path(self) -> str:
        return DIRECTORY + self.file

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cannot be."""
        present, file = params["state"] == "present", str(params["file"])
        if not _FILE.match(file):
            raise FleetError("file is {0!r}. The name of a file in {1} is expected, of letters, digits, - and _ only: others are not read.".format(
                file, DIRECTORY))
        network = checked(params["network"] or {}) if present else {}
        if present and not network:
            raise FleetError("network is empty. It takes bonds, vlans and ethernets, as a netplan file has them. To remove the file, use state: absent.")
        return cls(present, file, network, tuple(dict.fromkeys(str(name) for name in params["replaces"] or ())))


class Kept(NamedTuple):
    """A file of the host's before we first took a stanza out of it, and the digests of all that we have made of it since."""

    original: str
    made: Tuple[str, ...]

    def knows(self, text: str) -> bool:
        return text == self.original or digest(text) in self.made


class Found(NamedTuple):
    """A host as it is: the files that ifupdown reads, by path; those kept; its links; and what netplan configures there, with the file."""

    files: Mapping[str, str]
    kept: Mapping[str, Kept]
    links: Links
    netplan: Mapping[str, str] = {}


class Change(NamedTuple):
    """``files``: new contents by path, None for one that goes away. ``kept``: what is to be kept from then on. ``before``: all files as they are."""

    files: Mapping[str, Optional[str]]
    kept: Mapping[str, Kept]
    taken: Tuple[str, ...]
    before: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.files)

    @property
    def after(self) -> Dict[str, str]:
        answer = {path: text for path, text in self.before.items() if path not in self.files}
        answer.update({path: text for path, text in self.files.items() if text is not None})
        return answer

    @property
    def given_back(self) -> List[str]:
        """The host's own files that are as they were, from now on."""
        return sorted(path for path, text in self.files.items() if text is not None and path not in self.kept and not text.startswith(HEADER))

    @property
    def diffs(self) -> List[Diff]:
        return [Diff(self.before.get(path, ""), self.files[path] or "", path) for path in sorted(self.files)]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def decide(wish: Wish, found: Found) -> Change:
    """The files that are wanted, or a refusal that names all that stands against them."""
    own = found.files.get(wish.path)
    if own is not None and not own.startswith(HEADER):
        raise FleetError("{0} is there and was not written by dgxops.fleet. It was left alone. Choose another name (file), or move it by hand.".format(
            wish.path))
    return _make(wish, found) if wish.present else _give_back(wish, found)


def definitions(files: Mapping[str, str]) -> Definitions:
    """What files say together."""
    return merged([Document(path, network_of(text)) for path, text in files.items()])


def flat(files: Mapping[str, str]) -> str:
    """All files as one, which needs no other."""
    text = ""
    for path in sorted(files, key=lambda name: (name != MAIN, name)):
        text += re.sub(r"(?m)^([ \t]*source(?:-directory)?[ \t])", r"#\1", files[path]).rstrip("\n") + "\n"
    return text


class Moves(NamedTuple):
    """What is taken down and brought up, in this order, on the way there and on the way back."""

    down_first: Tuple[str, ...]
    up_first: Tuple[str, ...]
    down_back: Tuple[str, ...]
    up_back: Tuple[str, ...]


def moves(before: Definitions, after: Definitions, stanzas: Sequence[str], up: Sequence[str]) -> Moves:
    """``stanzas``: interfaces that the new files bring up; ``up``: those that ifupdown had brought up before."""
    changed = {name for name in set(before) | set(after) if not _same(before, after, name)}
    for one in sorted(list(before.values()) + list(after.values()), key=lambda one: max(height(before, one.name), height(after, one.name))):
        if one.link in changed or changed.intersection(one.members):
            changed.add(one.name)  # it goes with what it lies on
    down = sorted((name for name in changed if name in before), key=lambda name: (-height(before, name), name))
    rise = sorted((name for name in changed if name in after and name in stanzas), key=lambda name: (height(after, name), name))
    return Moves(tuple(down), tuple(rise), tuple(rise[::-1]), tuple(name for name in down[::-1] if name in up))


def _same(before: Definitions, after: Definitions, name: str) -> bool:
    return name in before and name in after and (before[name].kind, before[name].settings) == (after[name].kind, after[name].settings)


def _make(wish: Wish, found: Found) -> Change:
    originals = {path: _original(path, text, found) for path, text in found.files.items() if path != wish.path}
    texts = {path: without(text, wish.replaces) for path, text in originals.items()}
    others = [Document(path, network_of(text)) for path, text in texts.items()]
    whole = complete(wish.network, others, found.links)
    if not _is_read(wish.path, texts):
        texts[MAIN] = "{0}{1}source {2}\n".format(texts.get(MAIN, ""), "" if texts.get(MAIN, "\n").endswith("\n") else "\n", wish.path)
    _refuse(wish, whole, others, originals, found)
    wanted = dict(texts)
    wanted[wish.path] = written(whole)
    kept = {}
    for path, text in texts.items():
        if text != originals.get(path, ""):
            made = found.kept[path].made if path in found.kept else ()
            kept[path] = Kept(originals.get(path, ""), made if digest(text) in made else made + (digest(text),))
    files = {path: text for path, text in wanted.items() if text != found.files.get(path)}
    return Change(files, kept, wish.replaces, found.files)


def _give_back(wish: Wish, found: Found) -> Change:
    files: Dict[str, Optional[str]] = {wish.path: None} if wish.path in found.files else {}
    for path, kept in sorted(found.kept.items()):
        text = found.files.get(path)
        if text is not None and not kept.knows(text):
            raise FleetError("{0} was edited since a stanza was taken out of it, so it cannot be given back as it was. What was taken out is kept in "
                             "/var/backups/dgxops/ifupdown/{1}/files.json. Put it back by hand, and remove that file.".format(path, wish.file))
        if text != kept.original:
            files[path] = kept.original
    return Change(files, {}, (), found.files)


def _original(path: str, text: str, found: Found) -> str:
    """The file as it would be without us. What somebody has edited since stays as edited."""
    return found.kept[path].original if path in found.kept and found.kept[path].knows(text) else text


def _is_read(path: str, texts: Mapping[str, str]) -> bool:
    patterns = [(keyword, os.path.join(os.path.dirname(MAIN), pattern)) for keyword, pattern in sources(texts.get(MAIN, ""))]
    return any(fnmatch.fnmatchcase(path, pattern) if keyword == "source" else os.path.dirname(path) == pattern.rstrip("/") for keyword, pattern in patterns)


def _refuse(wish: Wish, whole: Mapping[str, Any], others: Sequence[Document], originals: Mapping[str, str], found: Found) -> None:
    ours: Set[str] = {name for entries in whole.values() for name in entries}
    told = []
    stanzas = {name: path for path, text in originals.items() for name in names_in(text)}
    for name in wish.replaces:
        if name not in stanzas:
            told.append("replaces has {0}, of which no file speaks. These have a stanza: {1}.".format(name, ", ".join(sorted(stanzas)) or "none"))
    for name in sorted(ours):
        if name in stanzas and name not in wish.replaces:
            told.append("{0} has a stanza in {1}. To have it taken out (it comes back with state: absent), name {0} in replaces.".format(name, stanzas[name]))
        if name in found.netplan:
            told.append("{0} is configured by netplan too, in {1}. Two systems would set it up, each in its own way. Use dgxops.fleet.netplan_config.".format(
                name, found.netplan[name]))
    if not told:
        together = merged(list(others) + [Document(wish.path, whole)])
        before = definitions(found.files)
        staying = {name: link for name, link in found.links.items() if name not in before or name in together}
        told = problems(Network(together, staying, ours))
    if told:
        raise FleetError("Nothing was changed, since this network cannot be: {0}".format(" ".join(
            told if len(told) == 1 else ["({0}) {1}".format(position, sentence) for position, sentence in enumerate(told, 1)])), problems=told)
