# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carrying out what was decided for networks, all of it or none: whatever was done is undone if a later step fails."""
from typing import Dict, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.undo import Undo
from .client import Client
from .network_backups import NetworkBackups
from .network_change import Entry, FoundNetwork, NetworkChange, bridged
from .network_parts import read_mtu
from .network_xml import NetworkDocument


class NetworkWork:
    """One run over several networks."""

    def __init__(self, client: Client, backups: NetworkBackups, commands: Commands) -> None:
        self.client = client
        self.backups = backups
        self.commands = commands
        #: Where the backups of restored networks are now, by name.
        self.retired: Dict[str, str] = {}
        self._undo = Undo()

    def carry_out(self, changes: Sequence[NetworkChange]) -> None:
        """Do all changes. If one step fails, everything is put back, and the :class:`FleetError` says so.

        What makes room (removals and stops) comes first, since two networks cannot have the same subnet or bridge at a time.
        """
        with self._undo.on_failure(lambda: "All networks are as they were before."):
            for change in changes:
                self._keep(change)
            for change in changes:
                self._stop(change)
            for change in changes:
                self._define(change)
            for change in changes:
                self._activate(change)
        for change in changes:
            self._finish(change)

    def _keep(self, change: NetworkChange) -> None:
        name, before = change.found.name, change.found.backup
        if change.keep is not None:
            if before is None:
                self._undo.later("the backup of {0}".format(name), self.backups.forget, name)
            else:
                self._undo.later("the record of {0}".format(name), self.backups.write, before)
            self.backups.write(change.keep)

    def _stop(self, change: NetworkChange) -> None:
        found = change.found
        if change.stop:
            self.client.stop_network(found.name)
            self._undo.later("the start of {0}".format(found.name), self._start_again, found)
        if change.remove:
            self.client.undefine_network(found.name)
            self._undo.later("the configuration of {0}".format(found.name), self._define_again, found)

    def _define(self, change: NetworkChange) -> None:
        found = change.found
        if change.after is None:
            return
        try:
            self.client.define_network(change.after)
        except FleetError as error:
            raise FleetError("Network {0}: {1}".format(found.name, error.message), network=found.name)
        if found.inactive is None:
            self._undo.later("the removal of {0}".format(found.name), self.client.undefine_network, found.name)
        else:
            self._undo.later("the configuration of {0}".format(found.name), self._define_again, found)

    def _define_again(self, found: FoundNetwork) -> None:
        self.client.define_network(found.inactive or "")
        self.client.autostart_network(found.name, found.autostart)

    def _activate(self, change: NetworkChange) -> None:
        found = change.found
        for entry in change.entries:
            self._update(found.name, entry)
            self._undo.later("{0} of {1}".format(entry.section, found.name), self._update, found.name, entry.undo())
        if change.start:
            self.client.start_network(found.name)
            self._undo.later("the stop of {0}".format(found.name), self.client.stop_network, found.name)
            self._connect(found)
        if change.autostart is not None:
            self.client.autostart_network(found.name, change.autostart)
            self._undo.later("the autostart of {0}".format(found.name), self.client.autostart_network, found.name, found.autostart)

    def _update(self, name: str, entry: Entry) -> None:
        self.client.update_network(name, entry.section, entry.add, entry.parent, entry.xml)

    def _start_again(self, found: FoundNetwork) -> None:
        self.client.start_network(found.name)
        self._connect(found)

    def _connect(self, found: FoundNetwork) -> None:
        """Connect the running guests to the bridge, which is a new one. libvirt itself does that only when its daemon starts."""
        document = NetworkDocument(self.client.network_xml(found.name, inactive=False))
        if not bridged(document) or not document.bridge:
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
