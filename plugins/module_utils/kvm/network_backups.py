# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks as they were before the collection's first change, and a record of what was changed since, as ``NAME.json``.

A record that was brought back moves to ``history``.
"""
import json
import os
import time
from typing import List, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.files import read_text, remove, write_atomic
from .network_xml import PLACES, NetworkDocument


class NetworkBackup(NamedTuple):
    """A network as it was found; ``xml`` is None if there was none.

    ``settings`` are the names of what was changed since, ``digest`` is that of libvirt's document after the last change, and ``alone`` is
    whether nobody else has edited the network in between.
    """

    name: str
    xml: Optional[str]
    autostart: bool = False
    active: bool = False
    settings: Tuple[str, ...] = ()
    digest: str = ""
    alone: bool = True

    @property
    def document(self) -> NetworkDocument:
        return NetworkDocument(self.xml or "", "The backup of network {0}".format(self.name))


class NetworkBackups:
    """The backups below a directory, by the name of the network."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name + ".json")

    def names(self) -> List[str]:
        """The networks that have a backup."""
        try:
            return sorted(name[:-5] for name in os.listdir(self.directory) if name.endswith(".json"))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> Optional[NetworkBackup]:
        """The backup of a network; None if there is none. Raises :class:`FleetError` if it cannot be used."""
        text = read_text(self.path(name))
        if text is None:
            return None
        try:
            fields = json.loads(text)
            backup = NetworkBackup(**dict(fields, settings=tuple(fields["settings"])))
            if backup.name != name or set(backup.settings) - set(PLACES) - {"autostart", "active"}:
                raise ValueError("it is not a record of network {0}".format(name))
            if backup.xml is not None and backup.document.name != name:
                raise ValueError("it holds another network")
        except (ValueError, TypeError, KeyError, FleetError) as error:
            raise FleetError("{0} cannot be used: {1}. Nothing was changed. Repair it, or move it away to make the network's present state the one to go "
                             "back to.".format(self.path(name), str(error).rstrip(".")))
        return backup

    def write(self, backup: NetworkBackup) -> None:
        """Keep a backup."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        write_atomic(self.path(backup.name), json.dumps(backup._asdict(), indent=2, sort_keys=True) + "\n", mode=0o600)

    def forget(self, name: str) -> None:
        """Remove a backup whose network was not changed after all."""
        remove(self.path(name))

    def retire(self, name: str) -> str:
        """Move a backup that was brought back to the history; returns where it is now."""
        history = os.path.join(self.directory, "history")
        os.makedirs(history, mode=0o700, exist_ok=True)
        stem = os.path.join(history, "{0}-{1}".format(name, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())))
        kept, copies = stem, 1
        while os.path.exists(kept + ".json"):
            copies += 1
            kept = "{0}-{1}".format(stem, copies)
        os.replace(self.path(name), kept + ".json")
        return kept + ".json"
