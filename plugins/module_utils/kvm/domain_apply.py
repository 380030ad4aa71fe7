# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Carrying out what was decided for domains, all of it or none: whatever was done is undone if a later step fails."""
import time
from typing import Any, Dict, List, Sequence

from ..host.errors import FleetError
from ..host.undo import Undo
from .client import Client
from .domain_backups import Backup, Backups
from .domain_change import Change
from .domain_live import AttachDevice, DetachDevice, LimitInterface, LiveStep, PinThread
from .domain_xml import DomainDocument

_SCHEMA_HINT = " If the domain's present XML does not pass either (virsh dumpxml {0} | virt-xml-validate - domain), set validate to false."


class Work:
    """One run over several domains."""

    def __init__(self, client: Client, backups: Backups, validate: bool = True, shutdown_timeout: float = 300, poll: float = 0.5) -> None:
        self.client = client
        self.backups = backups
        self.validate = validate
        self.shutdown_timeout = shutdown_timeout
        self.poll = poll
        #: Where the backups of restored domains are now, by UUID.
        self.retired: Dict[str, str] = {}
        self._undo = Undo()
        self._started: List[str] = []

    def carry_out(self, changes: Sequence[Change]) -> None:
        """Do all changes. If one step fails, everything is put back, and the :class:`FleetError` says so.

        Configurations come first: libvirt can refuse them, and then no guest has been disturbed.
        """
        with self._undo.on_failure(self._all_is_as_before):
            for change in changes:
                self._keep(change)
            for change in changes:
                self._define(change)
            self._shut_down([change for change in changes if change.shutdown])
            for change in changes:
                self._run_steps(change)
            for change in changes:
                self._start(change)
        for change in changes:
            self._finish(change)

    def _keep(self, change: Change) -> None:
        if change.keep is None:
            return
        uuid, before = change.found.uuid, change.found.backup
        if before is None:
            self._undo.later("the backup of {0}".format(change.found.name), self.backups.forget, uuid)
        else:
            self._undo.later("the record of {0}".format(change.found.name), self.backups.write, uuid, before)
        self.backups.write(uuid, change.keep)

    def _define(self, change: Change) -> None:
        found = change.found
        if change.shutdown:
            # Undone after the definition, so that the guest comes back with its old configuration.
            self._undo.later("the start of {0}".format(found.name), self._ensure_running, found.uuid)
        if change.after is not None:
            # What is brought back was libvirt's own; it need not pass a schema that is sometimes behind the code.
            validate = self.validate and not change.retire
            try:
                self.client.define(change.after, validate)
            except FleetError as error:
                hint = _SCHEMA_HINT.format(found.name) if validate and "schema" in error.message else ""
                raise FleetError("Domain {0}: {1}{2}".format(found.name, error.message, hint), domain=found.name, **error.details)
            self._undo.later("the configuration of {0}".format(found.name), self.client.define, found.inactive, False)

    def _shut_down(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.client.shutdown(change.found.uuid)
        waiting, deadline = list(changes), time.monotonic() + self.shutdown_timeout
        while waiting:
            waiting = [change for change in waiting if self.client.is_active(change.found.uuid)]
            if waiting and time.monotonic() > deadline:
                raise FleetError(
                    "{0} did not shut down within {1:g} s. Look at the guest's console, see that it answers the power button (acpid or systemd-logind), "
                    "or give a longer shutdown_timeout; or set when_running to next_boot. A guest that has got the request may still shut down.".format(
                        ", ".join(change.found.name for change in waiting), self.shutdown_timeout))
            if waiting:
                time.sleep(self.poll)

    def _run_steps(self, change: Change) -> None:
        for step in change.steps:
            self._run(change.found.uuid, step)
            self._undo.later("{0} of {1}".format(step.setting, change.found.name), self._run, change.found.uuid, step.undo())

    def _run(self, uuid: str, step: LiveStep) -> None:
        if isinstance(step, PinThread):
            self.client.pin(uuid, step.setting, step.number, step.cpus)
        elif isinstance(step, LimitInterface):
            average, peak, burst = (value or 0 for value in step.limit)
            self.client.limit_interface(uuid, step.mac, step.direction, average, peak, burst)
        elif isinstance(step, AttachDevice):
            self.client.attach(uuid, step.xml)
        elif isinstance(step, DetachDevice):
            self.client.detach(uuid, step.xml)

    def _start(self, change: Change) -> None:
        if change.start:
            self.client.start(change.found.uuid)
            self._started.append(change.found.name)

    def _ensure_running(self, uuid: str) -> None:
        if not self.client.is_active(uuid):
            self.client.start(uuid)

    def _finish(self, change: Change) -> None:
        uuid = change.found.uuid
        kept = change.keep or change.found.backup
        if change.retire:
            self.retired[uuid] = self.backups.retire(uuid)
        elif change.after is not None and kept is not None:
            digest = DomainDocument(self.client.inactive_xml(uuid, with_secrets=True)).digest()
            self.backups.write(uuid, _with(kept, digest=digest, restarting=False))
        elif kept is not None and kept.record.restarting and (change.start or change.found.active is not None):
            # The guest is up, whoever started it.
            self.backups.write(uuid, _with(kept, restarting=False))

    def _all_is_as_before(self) -> str:
        if self._started:
            return "All configurations are as before, but {0} run with the new one until the next boot.".format(", ".join(self._started))
        return "All domains are as they were before."


def _with(backup: Backup, **fields: Any) -> Backup:
    return backup._replace(record=backup.record._replace(**fields))
