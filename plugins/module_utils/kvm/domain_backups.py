# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The XML of domains as it was before the collection's first change, and a record of what was changed since.

``UUID.xml`` is the document, ``UUID.json`` the record, both for root only, since the document holds passwords. A backup that was brought back
moves to ``history``.
"""
import json
import os
import time
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.files import read_text, remove, write_atomic
from .domain_xml import DomainDocument, split_name


class Record(NamedTuple):
    """What was done to a domain since its backup was made.

    ``settings`` are the names of what was changed. ``digest`` is that of libvirt's document after the last change, "" if that was interrupted.
    ``alone`` is whether nobody else has edited the domain in between. ``restarting`` is set while the guest is shut down to be started again.
    """

    name: str
    settings: Tuple[str, ...] = ()
    digest: str = ""
    alone: bool = True
    restarting: bool = False


class Backup(NamedTuple):
    """A domain as it was found, and the record of what was changed since."""

    text: str
    record: Record

    @property
    def document(self) -> DomainDocument:
        return DomainDocument(self.text, "The backup of domain {0}".format(self.record.name))


class Backups:
    """The backups below a directory, by the UUID of the domain."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, uuid: str, suffix: str = "xml") -> str:
        return os.path.join(self.directory, "{0}.{1}".format(uuid, suffix))

    def uuids(self) -> List[str]:
        """The domains that have a backup."""
        try:
            return sorted(name[:-4] for name in os.listdir(self.directory) if name.endswith(".xml"))
        except FileNotFoundError:
            return []

    def read(self, uuid: str) -> Optional[Backup]:
        """The backup of a domain; None if there is none. Raises :class:`FleetError` if it cannot be used."""
        text = read_text(self.path(uuid))
        if text is None:
            return None
        backup = Backup(text, self._read_record(uuid))
        try:
            found = backup.document.uuid
        except FleetError as error:
            raise FleetError("{0} cannot be used: {1} {2}".format(self.path(uuid), error.message, self._remedy(uuid)))
        if found != uuid:
            raise FleetError("{0} is the backup of another domain (UUID {1}). {2}".format(self.path(uuid), found or "missing", self._remedy(uuid)))
        return backup

    def _read_record(self, uuid: str) -> Record:
        path = self.path(uuid, "json")
        text = read_text(path)
        if text is None:
            # The run that made the backup ended before it changed anything.
            return Record(uuid)
        try:
            fields = json.loads(text)
            record = Record(**dict(fields, settings=tuple(fields["settings"])))
            for name in record.settings:
                split_name(name)
        except (ValueError, TypeError, KeyError, FleetError) as error:
            raise FleetError("{0} cannot be used: {1}. {2}".format(path, str(error).rstrip("."), self._remedy(uuid)))
        return record

    def _remedy(self, uuid: str) -> str:
        return "Nothing was changed. Repair it, or move it and {0} out of {1} to make the domain's present state the one to go back to.".format(
            os.path.basename(self.path(uuid, "*")), self.directory)

    def write(self, uuid: str, backup: Backup) -> None:
        """Keep a backup, its document before its record, so that a record is never without its document."""
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, mode=0o700)
        if read_text(self.path(uuid)) != backup.text:
            write_atomic(self.path(uuid), backup.text, mode=0o600)
        write_atomic(self.path(uuid, "json"), json.dumps(_fields(backup.record), indent=2, sort_keys=True) + "\n", mode=0o600)

    def forget(self, uuid: str) -> None:
        """Remove a backup whose domain was not changed after all."""
        for suffix in ("json", "xml"):
            remove(self.path(uuid, suffix))

    def retire(self, uuid: str) -> str:
        """Move a backup that was brought back to the history; returns where its document is now."""
        history = os.path.join(self.directory, "history")
        os.makedirs(history, mode=0o700, exist_ok=True)
        stem = os.path.join(history, "{0}-{1}".format(uuid, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())))
        copies = 1
        kept = stem
        while os.path.exists(kept + ".xml"):
            copies += 1
            kept = "{0}-{1}".format(stem, copies)
        for suffix in ("json", "xml"):
            if os.path.exists(self.path(uuid, suffix)):
                os.replace(self.path(uuid, suffix), "{0}.{1}".format(kept, suffix))
        return kept + ".xml"


def _fields(record: Record) -> Dict[str, object]:
    return dict(record._asdict(), settings=list(record.settings))
