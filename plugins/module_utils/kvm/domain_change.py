# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deciding what to do with domains: from what was found and what is wanted to changes, or to a refusal. Nothing here has side effects."""
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host import cpuset
from ..host.errors import FleetError
from ..host.files import Diff
from .domain_backups import Backup, Backups, Record
from .domain_cpu import EmulatorPin, IoThreadPins, VcpuPins
from .domain_live import LiveStep, as_configured, cpus_without_pin, describe, live_steps, pins_of, settles
from .domain_rules import check, check_images
from .domain_settings import Settings, View, not_in_force
from .domain_xml import DomainDocument

WHEN_RUNNING = ("refuse", "next_boot", "live", "restart")


class Found(NamedTuple):
    """A domain as libvirt has it. ``active`` is None if it is not running; ``saved`` is whether it would start from a saved state."""

    name: str
    uuid: str
    inactive: str
    active: Optional[str] = None
    persistent: bool = True
    saved: bool = False
    backup: Optional[Backup] = None


class Host(NamedTuple):
    """What the decision needs to know of the host: its CPUs, and what the headers of disk images say (None: cannot be read)."""

    cpus: FrozenSet[int]
    image_format: Callable[[str], Optional[str]]


class Change(NamedTuple):
    """What will be done to one domain.

    ``after`` is the XML to define, None for none; ``keep`` the backup to keep before that. ``start`` is to start the guest, after a shutdown if
    ``shutdown``. ``retire`` is to move the backup to the history. ``owned`` are the names that ``pending`` is about. ``pins`` are the host CPUs
    that its vCPUs are pinned to then.
    """

    found: Found
    after: Optional[str] = None
    settings: Tuple[str, ...] = ()
    steps: Tuple[LiveStep, ...] = ()
    shutdown: bool = False
    start: bool = False
    keep: Optional[Backup] = None
    retire: bool = False
    owned: Tuple[str, ...] = ()
    pending: Tuple[str, ...] = ()
    pins: FrozenSet[int] = frozenset()
    warnings: Tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.after is not None or bool(self.steps) or self.start or self.retire

    def diffs(self) -> List[Diff]:
        """The configuration before and after, and what changes in the running guest."""
        found = []
        if self.after is not None:
            found.append(Diff(DomainDocument(self.found.inactive).shown(), DomainDocument(self.after).shown(), "domain {0}".format(self.found.name)))
        if self.steps:
            lines = [describe(step) for step in self.steps]
            before, after = ("".join(line + "\n" for line in side) for side in zip(*lines))
            found.append(Diff(before, after, "domain {0}, running".format(self.found.name)))
        return found

    def result(self, backups: Backups, retired: Mapping[str, str]) -> Dict[str, Any]:
        """The domain's entry of the module's answer; ``retired`` says where backups were moved to."""
        uuid = self.found.uuid
        kept = self.keep is not None or self.found.backup is not None
        return {
            "name": self.found.name,
            "uuid": uuid,
            "changed": self.changed,
            "running": self.found.active is not None or self.start,
            "settings": list(self.settings),
            "live": list(dict.fromkeys(step.setting for step in self.steps)),
            "restarted": self.start,
            "pending": list(self.pending),
            "backup": retired.get(uuid, backups.path(uuid)) if kept else None,
        }


def decide(found: Sequence[Found], wanted: Optional[Sequence[Settings]], host: Host, when_running: str) -> List[Change]:
    """The changes of all domains, in their order; ``wanted`` has an entry for each, or is None to bring back what was found at first.

    Raises :class:`FleetError` if one of them cannot be changed as asked: then none is.
    """
    changes = []
    for number, domain in enumerate(found):
        if not domain.persistent:
            raise FleetError(
                "Domain {0} is transient: libvirt keeps no configuration of it that could be changed. Make it persistent first "
                "(virsh dumpxml {0} > {0}.xml; virsh define {0}.xml).".format(domain.name), domain=domain.name)
        changes.append(_bring_back(domain, host, when_running) if wanted is None else _make(domain, wanted[number], host, when_running))
    _refuse_if_running(changes, when_running)
    return changes


def _refuse_if_running(changes: Iterable[Change], when_running: str) -> None:
    running = [change for change in changes if change.found.active is not None and change.after is not None]
    if not running or when_running != "refuse":
        return
    what = [(change.found.name, ", ".join(change.settings)) for change in running]
    if len(what) == 1:
        blame = "Domain {0} is running, and its configuration has to change ({1})".format(*what[0])
    else:
        listed = "; ".join("{0} ({1})".format(*entry) for entry in what)
        blame = "{0} domains are running, and their configuration has to change: {1}".format(len(what), listed)
    raise FleetError(
        blame + ". Nothing was changed. Shut the guest down, or set when_running to next_boot (in force when it is next started), "
        "live (what can be, at once) or restart (shut down and start it now).", running=[name for name, _settings in what])


def _make(found: Found, settings: Settings, host: Host, when_running: str) -> Change:
    document = DomainDocument(found.inactive, "The XML of domain {0}".format(found.name))
    names = settings.apply(document)
    warnings = settings.warnings(document)
    if names:
        before = DomainDocument(found.inactive)
        check(before, document)
        images = settings.images_to_check(before)
        check_images(found.name, images, {image.path: host.image_format(image.path) for image in images})
        warnings += _missing_cpus(document, names, host.cpus)
    change = Change(found, settings=tuple(names), pins=pins_of(document), warnings=tuple(warnings))
    change = _in_the_guest(change, document, settings.owned, host, when_running)
    if names:
        change = change._replace(after=document.text)
    if names or change.shutdown:
        change = change._replace(keep=_backup(found, names, change.shutdown))
    return change


def _bring_back(found: Found, host: Host, when_running: str) -> Change:
    if found.backup is None:
        return Change(found)
    record, document = found.backup.record, DomainDocument(found.inactive, "The XML of domain {0}".format(found.name))
    now = document.digest()
    if record.alone and now == record.digest:
        # Nobody else has touched it: the very document, without the controllers and ports that libvirt added for our devices.
        document = found.backup.document
    else:
        for name in record.settings:
            document.bring_back(name, found.backup.document)
    differs = document.digest() != now
    before = DomainDocument(found.inactive)
    names = tuple(name for name in record.settings if before.differs(name, document)) if differs else ()
    change = _in_the_guest(Change(found, settings=names, retire=True), document, lambda documents: record.settings, host, when_running)
    if differs:
        change = change._replace(after=document.text)
    if change.shutdown:
        change = change._replace(keep=found.backup._replace(record=record._replace(restarting=True)))
    return change


def _in_the_guest(
    change: Change, document: DomainDocument, owned: Callable[[Sequence[DomainDocument]], Sequence[str]], host: Host, when_running: str
) -> Change:
    """Complete a change by what is done to the running guest, and what is pending then."""
    found = change.found
    if found.active is None:
        interrupted = found.backup is not None and found.backup.record.restarting and when_running == "restart"
        warnings = change.warnings
        if found.saved and change.settings:
            warnings += (
                "Domain {0} has a saved state and will start with the configuration that it had when it was saved. "
                "To start it with the new one, drop that state (virsh managedsave-remove {0}).".format(found.name),)
        return change._replace(start=interrupted, warnings=warnings)
    active = as_configured(DomainDocument(found.active), document)
    everywhere = cpus_without_pin(active, host.cpus)
    names = tuple(owned([document, active]))
    stale = not_in_force(names, View(active, everywhere), View(document, everywhere))
    change = change._replace(owned=names, pending=tuple(stale))
    if when_running == "restart" and (stale or change.settings):
        return change._replace(shutdown=True, start=True, pending=())
    if when_running == "live":
        steps = live_steps(stale, active, document, everywhere)
        done = {step.setting for step in steps if settles(step.setting, active, document)}
        return change._replace(steps=tuple(steps), pending=tuple(name for name in stale if name not in done))
    return change


def _backup(found: Found, names: Iterable[str], restarting: bool) -> Backup:
    """The backup to keep before settings are changed: the first one is the one that counts, once something was changed."""
    if found.backup is None or not found.backup.record.settings:
        return Backup(found.inactive, Record(found.name, tuple(names), restarting=restarting))
    record, now = found.backup.record, DomainDocument(found.inactive).digest()
    alone = record.alone and now in (record.digest, found.backup.document.digest())
    return found.backup._replace(record=Record(found.name, tuple(dict.fromkeys(record.settings + tuple(names))), "", alone, restarting))


def _missing_cpus(document: DomainDocument, names: Iterable[str], host: FrozenSet[int]) -> List[str]:
    pins = {
        "vcpupin": VcpuPins.read(document).pins.values(),
        "iothreadpin": IoThreadPins.read(document).pins.values(),
        "emulatorpin": [EmulatorPin.read(document).cpus],
    }
    missing = frozenset(cpu for name in names for cpus in pins.get(name, ()) for cpu in cpus) - host
    if not host or not missing:
        return []
    return ["Domain {0} is pinned to host CPU {1}, which this host does not have or has offline. The guest will not start.".format(
        document.name, cpuset.show(missing))]


def overlaps(changed: Iterable[str], pins: Mapping[str, FrozenSet[int]]) -> List[str]:
    """Warnings about host CPUs that the vCPUs of two domains are pinned to, where one of them is in the call (``changed``)."""
    mine = set(changed)
    pairs = []
    names = sorted(pins)
    for position, name in enumerate(names):
        for other in names[position + 1:]:
            shared = pins[name] & pins[other]
            if shared and (name in mine or other in mine):
                pairs.append("{0} and {1} share {2}".format(name, other, cpuset.show(shared)))
    if not pairs:
        return []
    shown = pairs if len(pairs) <= 8 else pairs[:8] + ["and {0} more pairs".format(len(pairs) - 8)]
    return ["Domains are pinned to the same host CPUs, and slow each other down when they run together: {0}.".format("; ".join(shown))]
