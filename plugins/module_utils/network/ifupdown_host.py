# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a host's files of ifupdown, and makes a change of them; what is to be changed is decided in :mod:`ifupdown_change`."""
import glob
import json
import os
import re
import shutil
import tempfile
from typing import Any, Dict, List, Mapping, Optional

from ..host.errors import FleetError
from ..host.files import BACKUPS, read_text, remove, write_atomic
from . import ifupdown_change
from .ifupdown import MAIN, names_in, sources
from .ifupdown_change import Change, Found, Kept, Wish, flat
from .netplan import Definitions
from .netplan_host import LINKS, Host, read_files, refuse_links, remember_links
from .netplan_links import read_links
from .netplan_pending import Record, settle, stage, waiting
from .netplan_rollback import BEFORE, forget, sync

#: Where it is written down what was taken out of the host's files.
KEPT = BACKUPS + "/ifupdown"
#: What ifupdown has brought up.
STATE = "/run/network/ifstate"


def read(wish: Wish, host: Host) -> Found:
    """Read everything once."""
    files = interfaces_files(host)
    own = read_text(host.path(wish.path))
    if own is not None:
        files[wish.path] = own
    return Found(files, _read_kept(host.path(_kept_path(wish))), read_links(host.commands, host.sysfs), _read_netplan(host))


def interfaces_files(host: Host) -> Dict[str, str]:
    """All files that ifupdown reads, by path."""
    answer: Dict[str, str] = {}
    waiting_for = [MAIN]
    while waiting_for:
        path = waiting_for.pop(0)
        text = read_text(host.path(path)) if path not in answer and os.path.isfile(host.path(path)) else None
        if text is None:
            continue
        answer[path] = text
        for keyword, pattern in sources(text):
            waiting_for += _sourced(keyword, os.path.join(os.path.dirname(path), pattern), host)
    return answer


def _sourced(keyword: str, pattern: str, host: Host) -> List[str]:
    if keyword == "source":
        found = sorted(glob.glob(host.path(pattern)))
    else:
        folder = host.path(pattern)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        found = [os.path.join(folder, name) for name in names if re.match(r"^[A-Za-z0-9_-]+\Z", name)]
    return ["/" + os.path.relpath(path, host.root) for path in found]


def _read_netplan(host: Host) -> Dict[str, str]:
    """The interfaces that netplan's files seem to speak of; to be sure of it, Python would need a reader of YAML, which such a host may lack."""
    answer: Dict[str, str] = {}
    for path, text in read_files(host).items():
        for name in re.findall(r"^[ \t]+[\"']?([^\s\"':#]+)[\"']?:[ \t]*(?:\{.*)?$", text.text, re.MULTILINE):
            answer.setdefault(name, path)
    return answer


def definitions(host: Host) -> Definitions:
    """What the files say now."""
    return ifupdown_change.definitions(interfaces_files(host))


def moves(before: Definitions, after: Definitions, host: Host) -> Dict[str, Any]:
    """For the record of a change: what is taken down and brought up."""
    stanzas = [name for text in interfaces_files(host).values() for name in names_in(text)]
    up = re.findall(r"^([^=\s]+)=", read_text(host.path(STATE)) or "", re.MULTILINE)
    return {key: list(names) for key, names in ifupdown_change.moves(before, after, stanzas, up)._asdict().items()}


def try_out(change: Change, host: Host) -> None:
    """Let ifupdown read the files as they will be; raises :class:`FleetError` with its words if it does not take them."""
    scratch = tempfile.mkdtemp(prefix="dgxops-ifupdown.")
    try:
        place = os.path.join(scratch, "interfaces")
        with open(place, "wb") as handle:
            handle.write(flat(change.after).encode("utf-8", "surrogateescape"))
        result = host.commands.run(("ifquery", "--interfaces=" + place, "--list", "--all"))
        if result.rc != 0:
            raise FleetError("ifupdown does not take this, so nothing was changed: {0}".format(
                " ".join((result.err.strip() or result.out.strip()).replace(place, MAIN).split())))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def carry_out(change: Change, wish: Wish, found: Found, host: Host) -> Optional[Record]:
    """Write the files, with the way back laid out on the disk before the first of them. Answers with what waits to be applied, if anything does.

    To be called alone (:func:`netplan_pending.alone`).
    """
    waiting(host.place, host.commands)  # while we were thinking, another run may have begun to apply
    if not change:
        return settle(host.place)
    refuse_links(change.files, host)
    place, kept = host.place, host.path(_kept_path(wish))
    links = os.path.join(os.path.dirname(kept), LINKS)
    if not os.path.isdir(os.path.dirname(place.directory)):
        raise FleetError("{0} is missing. ifupdown does not seem to be what sets up this host.".format(os.path.dirname(place.directory)))
    before = ifupdown_change.definitions(found.files)
    obsolete = ([] if change.kept else [kept]) + ([] if wish.present else [links])
    first = stage(place, sorted(map(host.path, change.files)), before, obsolete, [kept, links], system="ifupdown")
    try:
        if first:
            write_atomic(os.path.join(place.directory, BEFORE), flat(found.files), 0o600)
        remember_links(links, before, ifupdown_change.definitions(change.after), found.links)
        if change.kept:
            os.makedirs(os.path.dirname(kept), mode=0o700, exist_ok=True)
            write_atomic(kept, json.dumps({path: entry._asdict() for path, entry in sorted(change.kept.items())}) + "\n", 0o600)
    except (OSError, FleetError):
        if first:
            forget(place)
        raise
    for path, text in sorted(change.files.items(), key=lambda entry: entry[1] is None):
        if text is None:
            remove(host.path(path))
        else:
            write_atomic(host.path(path), text)
        sync(os.path.dirname(host.path(path)))
    return settle(place)


def _kept_path(wish: Wish) -> str:
    return "{0}/{1}/files.json".format(KEPT, wish.file)


def _read_kept(path: str) -> Mapping[str, Kept]:
    text = read_text(path)
    try:
        return {str(name): Kept(str(entry["original"]), tuple(entry["made"])) for name, entry in json.loads(text).items()} if text is not None else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FleetError("{0} is damaged; it holds what was taken out of the host's files. Repair or remove it.".format(path))
