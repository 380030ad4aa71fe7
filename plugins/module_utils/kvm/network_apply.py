# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carrying out what was decided for networks, all of it or none: whatever was done is undone if a later step fails."""
from typing import Callable, Dict, List, NamedTuple, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from .client import Client
from .network_backups import NetworkBackups
from .network_change import Entry, FoundNetwork, NetworkChange, served
from .network_parts import read_mtu
from .network_xml import NetworkDocument


class _Undo(NamedTuple):
    what: str
    act: Callable[[], None]


class NetworkWork:
    """One run over several networks."""

    def __init__(self, client: Client, backups: NetworkBackups, commands: Commands) -> None:
        self.client = client
        self.backups = backups
        self.commands = commands
        #: Where the backups of restored networks are now, by name.
        self.retired: Dict[str, str] = {}
        self._undo: List[_Undo] = []

    def carry_out(self, changes: Sequence[NetworkChange]) -> None:
        """Do all changes. If one step fails, everything is put back, and the :class:`FleetError` says so.

        What makes room (removals and stops) comes first, since two networks cannot have the same subnet or bridge at a time.
        """
        try:
            for change in changes:
                self._keep(change)
            for change in changes:
                self._stop(change)
            for change in changes:
                self._define(change)
            for change in changes:
                self._activate(change)
        except FleetError as error:
            raise FleetError("{0} {1}".format(error.message, self._put_back()), **error.details)
        except OSError as error:
            error.strerror = "{0}. {1}".format(error.strerror, self._put_back())
            raise
        for change in changes:
            self._finish(change)

    def _keep(self, change: NetworkChange) -> None:
        name, before = change.found.name, change.found.backup
        if change.keep is not None:
            if before is None:
                self._later("the backup of {0}".format(name), lambda: self.backups.forget(name))
            else:
                self._later("the record of {0}".format(name), lambda: self.backups.write(before))
            self.backups.write(change.keep)

    def _stop(self, change: NetworkChange) -> None:
        found = change.found
        if change.stop:
            self.client.stop_network(found.name)
            self._later("the start of {0}".format(found.name), lambda: self._start_again(found))
        if change.remove:
            self.client.undefine_network(found.name)
            self._later("the configuration of {0}".format(found.name), lambda: self._define_again(found))

    def _define(self, change: NetworkChange) -> None:
        found = change.found
        if change.after is None:
            return
        try:
            self.client.define_network(change.after)
        except FleetError as error:
            raise FleetError("Network {0}: {1}".format(found.name, error.message), network=found.name)
        if found.inactive is None:
            self._later("the removal of {0}".format(found.name), lambda: self.client.undefine_network(found.name))
        else:
            self._later("the configuration of {0}".format(found.name), lambda: self._define_again(found))

    def _define_again(self, found: FoundNetwork) -> None:
        self.client.define_network(found.inactive or "")
        self.client.autostart_network(found.name, found.autostart)

    def _activate(self, change: NetworkChange) -> None:
        found = change.found
        for entry in change.entries:
            self._update(found.name, entry)
            self._later("{0} of {1}".format(entry.section, found.name), _bound(self._update, found.name, entry.undo()))
        if change.start:
            self.client.start_network(found.name)
            self._later("the stop of {0}".format(found.name), lambda: self.client.stop_network(found.name))
            self._connect(found)
        if change.autostart is not None:
            self.client.autostart_network(found.name, change.autostart)
            self._later("the autostart of {0}".format(found.name), lambda: self.client.autostart_network(found.name, found.autostart))

    def _update(self, name: str, entry: Entry) -> None:
        self.client.update_network(name, entry.section, entry.add, entry.parent, entry.xml)

    def _start_again(self, found: FoundNetwork) -> None:
        self.client.start_network(found.name)
        self._connect(found)

    def _connect(self, found: FoundNetwork) -> None:
        """Connect the running guests to the bridge, which is a new one. libvirt itself does that only when its daemon starts."""
        document = NetworkDocument(self.client.network_xml(found.name, inactive=False))
        if not served(document) or not document.bridge:
            return
        mtu = read_mtu(document)
        for plug in found.plugs:
            if plug.on_bridge:
                size = ["mtu", str(mtu)] if mtu else []
                self.commands.output(["ip", "link", "set", "dev", plug.device] + size + ["master", document.bridge, "up"])

    def _finish(self, change: NetworkChange) -> None:
        name, kept = change.found.name, change.keep or change.found.backup
        if change.retire:
            self.retired[name] = self.backups.retire(name)
        elif change.keep is not None and kept is not None and change.state != "absent":
            digest = NetworkDocument(self.client.network_xml(name)).digest()
            self.backups.write(kept._replace(digest=digest))

    def _later(self, what: str, act: Callable[[], None]) -> None:
        self._undo.append(_Undo(what, act))

    def _put_back(self) -> str:
        """Undo everything, the last step first; returns what to tell the user about it."""
        failed = []
        while self._undo:
            undo = self._undo.pop()
            try:
                undo.act()
            except (FleetError, OSError) as problem:
                failed.append("{0} ({1})".format(undo.what, problem))
        if failed:
            return "Not everything could be put back: {0}.".format("; ".join(failed))
        return "All networks are as they were before."


def _bound(function: Callable[[str, Entry], None], name: str, entry: Entry) -> Callable[[], None]:
    return lambda: function(name, entry)
