# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deciding what to do with networks: from what was found and what is wanted to changes, or to a refusal. Nothing here has side effects."""
import contextlib
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from .network_backups import NetworkBackup, NetworkBackups
from .network_parts import MANAGED, Forward, pool_of, read_dns_hosts, read_leases, read_ranges
from .network_rules import HostNetworks, check, check_neighbours, warnings
from .network_settings import NetworkSettings
from .network_xml import NetworkDocument, changed_settings
from .xml_tree import serialize

WHEN_IN_USE = ("refuse", "next_start", "restart")

#: What networkUpdate changes without a restart (virNetworkDefUpdateSection in src/conf/network_conf.c), with how it is listed.
_LIVE: Dict[str, Tuple[str, str, Callable[[NetworkDocument], Sequence[object]]]] = {
    "ranges": ("ip/dhcp", "range", read_ranges),
    "hosts": ("ip/dhcp", "host", read_leases),
    "dns.hosts": ("dns", "host", read_dns_hosts),
}


class Plug(NamedTuple):
    """An interface of a running guest that is connected to a network; ``device`` is its end on the host, ``on_bridge`` whether a bridge holds it."""

    guest: str
    device: str
    on_bridge: bool


class FoundNetwork(NamedTuple):
    """A network as libvirt has it. ``inactive`` is None if there is none, ``active`` (the XML in force) if it is not started. ``functions`` are the
    PCI addresses of the virtual functions that its device has now, if it gives such to guests."""

    name: str
    inactive: Optional[str] = None
    active: Optional[str] = None
    autostart: bool = False
    persistent: bool = True
    plugs: Tuple[Plug, ...] = ()
    backup: Optional[NetworkBackup] = None
    functions: Tuple[str, ...] = ()

    @property
    def document(self) -> NetworkDocument:
        if self.inactive is None:
            return NetworkDocument.empty(self.name)
        return NetworkDocument(self.inactive, "The XML of network {0}".format(self.name))

    @property
    def guests(self) -> List[str]:
        """The running guests that are connected."""
        return sorted({plug.guest for plug in self.plugs})


class Entry(NamedTuple):
    """An entry that is added to or deleted from an active network; ``parent`` counts the ``<ip>`` elements."""

    section: str
    add: bool
    parent: int
    xml: str

    def undo(self) -> "Entry":
        return self._replace(add=not self.add)


class NetworkChange(NamedTuple):
    """What will be done to one network.

    ``after`` is the XML to define; ``entries`` change what is active; ``stop`` and ``start`` together are a restart, after which the guests'
    interfaces are connected again. ``keep`` is the backup to keep before that; ``retire`` is to move the backup to the history.
    """

    found: FoundNetwork
    after: Optional[str] = None
    settings: Tuple[str, ...] = ()
    entries: Tuple[Entry, ...] = ()
    stop: bool = False
    remove: bool = False
    start: bool = False
    autostart: Optional[bool] = None
    keep: Optional[NetworkBackup] = None
    retire: bool = False
    pending: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.after is not None or bool(self.entries) or self.stop or self.start or self.remove or self.autostart is not None or self.retire

    @property
    def state(self) -> str:
        """Where the change leaves the network: absent, inactive or active."""
        if self.remove or (self.found.inactive is None and self.after is None):
            return "absent"
        return "active" if self.start or (self.found.active is not None and not self.stop) else "inactive"

    def diffs(self) -> List[Diff]:
        """The configuration before and after; what changes while it is active; and whether it is active and starts with the host."""
        name, found = self.found.name, []
        if self.after is not None or self.remove:
            before = self.found.document.shown() if self.found.inactive is not None else ""
            found.append(Diff(before, NetworkDocument(self.after).shown() if self.after is not None else "", "network {0}".format(name)))
        if self.entries:
            gone, new = ("".join(entry.xml + "\n" for entry in self.entries if entry.add is add) for add in (False, True))
            found.append(Diff(gone, new, "network {0}, active".format(name)))
        lines = []
        if self.stop or self.start:
            was = "inactive" if self.found.active is None else "active"
            lines.append((was, "{0} (restarted)".format(self.state) if self.stop and self.start else self.state))
        if self.autostart is not None:
            lines.append(("autostart: {0}".format(self.found.autostart), "autostart: {0}".format(self.autostart)))
        if lines:
            before, after = ("".join(line + "\n" for line in side) for side in zip(*lines))
            found.append(Diff(before, after, "network {0}, state".format(name)))
        return found

    def result(self, backups: NetworkBackups, retired: Mapping[str, str]) -> Dict[str, Any]:
        """The network's entry of the module's answer; ``retired`` says where backups were moved to."""
        kept = self.keep is not None or self.found.backup is not None
        return {
            "name": self.found.name,
            "changed": self.changed,
            "state": self.state,
            "settings": list(self.settings),
            "live": list(dict.fromkeys(entry.section for entry in self.entries)),
            "restarted": self.stop and self.start,
            "guests": self.found.guests,
            "pending": list(self.pending),
            "backup": retired.get(self.found.name, backups.path(self.found.name)) if kept else None,
        }


def decide(
    found: Sequence[FoundNetwork], wanted: Optional[Sequence[NetworkSettings]], others: Mapping[str, str], host: HostNetworks, when_in_use: str
) -> List[NetworkChange]:
    """The changes of all networks, in their order; ``wanted`` has an entry for each, or is None to bring back what was found at first.

    ``others`` are the XML of all networks by name. Raises :class:`FleetError` if one cannot be changed as asked: then none is.
    """
    documents = {name: NetworkDocument(text) for name, text in others.items()}
    for number, network in enumerate(found):
        if wanted is not None and not wanted[number].present:
            documents.pop(network.name, None)
        elif wanted is not None:
            # Neighbours are judged as they will be, in whatever order they are given. What cannot be is refused below.
            with contextlib.suppress(FleetError):
                documents[network.name] = _wanted(network, wanted[number])
    changes = []
    for number, network in enumerate(found):
        try:
            if network.inactive is not None and not network.persistent:
                raise FleetError(
                    "It is transient: libvirt keeps no configuration of it that could be changed. Make it persistent first (virsh net-dumpxml, net-define).")
            if wanted is None:
                change = _bring_back(network, when_in_use)
            elif not wanted[number].present:
                change = _remove(network)
            else:
                change = _make(network, wanted[number], documents, host, when_in_use)
        except FleetError as error:
            raise FleetError("Network {0}: {1}".format(network.name, error.message), **dict(error.details, network=network.name))
        changes.append(change)
    return changes


def _wanted(found: FoundNetwork, settings: NetworkSettings) -> NetworkDocument:
    """The configuration as it will be."""
    if found.inactive is None and settings.kind is None:
        raise FleetError("There is no such network. To make it, say its mode (nat, isolated, bridge, macvtap, hostdev); or correct the name.")
    document = found.document
    settings.apply(document)
    return document


def _make(
    found: FoundNetwork, settings: NetworkSettings, documents: Mapping[str, NetworkDocument], host: HostNetworks, when_in_use: str
) -> NetworkChange:
    before, document = found.document, _wanted(found, settings)
    names = changed_settings(before, document)
    change = NetworkChange(found)
    if names or found.inactive is None:
        check(document, names) if found.inactive is not None else check(document)
        check_neighbours(document, before, {name: other for name, other in documents.items() if name != found.name}, host)
        change = change._replace(after=document.text, warnings=tuple(warnings(document, host)))
    new = found.inactive is None
    active = settings.active if settings.active is not None else (True if new else found.active is not None)
    autostart = settings.autostart if settings.autostart is not None else (True if new else found.autostart)
    change = _towards(change, document, names, settings.owned(), active, autostart, when_in_use)
    return change._replace(keep=_backup(found, change.settings)) if change.settings or new else change


def _towards(
    change: NetworkChange, document: NetworkDocument, names: Iterable[str], owned: Iterable[str], active: bool, autostart: bool, when_in_use: str
) -> NetworkChange:
    """Complete a change by what is done to the network that is active, or is to be."""
    found, settings = change.found, list(names)
    if autostart != found.autostart:
        change = change._replace(autostart=autostart)
        settings.append("autostart")
    if active != (found.active is not None):
        settings.append("active")
        change = change._replace(start=active, stop=not active)
        if not active:
            _refuse_under_guests(found, "stopped")
    elif active and found.active is not None:
        change = _in_force(change, document, NetworkDocument(found.active), list(owned), when_in_use)
    return change._replace(settings=tuple(settings))


def _in_force(change: NetworkChange, document: NetworkDocument, active: NetworkDocument, owned: Sequence[str], when_in_use: str) -> NetworkChange:
    found = change.found
    stale = [name for name in changed_settings(active, document) if name in owned]
    if Forward.read(active) == Forward.read(document) and not (found.functions and pool_of(active) != set(found.functions)):
        # An active pool lists what libvirt found behind its devices when it was started, and gives guests nothing else.
        stale = [name for name in stale if name != "mode"]
    slow = [name for name in stale if name not in _LIVE]
    if not slow:
        return change._replace(entries=tuple(_entries(stale, active, document)))
    if not found.plugs or when_in_use == "restart":
        return change._replace(stop=True, start=True)
    if when_in_use == "refuse" and change.after is not None:
        raise FleetError(
            "{0} of it has to change, which needs a restart of the network, and running guests are connected to it: {1}. Nothing was changed. Set "
            "when_in_use to restart (their connection is cut for about a second) or to next_start (in force when the network is next started).".format(
                ", ".join(slow), ", ".join(found.guests)), guests=found.guests, settings=slow)
    live = [name for name in stale if name in _LIVE] if "address" not in slow else []
    return change._replace(entries=tuple(_entries(live, active, document)), pending=tuple(name for name in stale if name not in live))


def _entries(names: Iterable[str], active: NetworkDocument, document: NetworkDocument) -> List[Entry]:
    """What is deleted and then added: a lease that changes has the MAC or the address of the one before, which libvirt takes for a repetition."""
    gone, new = [], []
    for name in names:
        path, tag, read = _LIVE[name]
        before, after = read(active), read(document)
        there, wanted = active.find_all(path, tag), document.find_all(path, tag)
        parent = active.ip_index if path.startswith("ip") else -1
        gone += [Entry(name, False, parent, _compact(element)) for entry, element in zip(before, there) if entry not in after]
        new += [Entry(name, True, parent, _compact(element)) for entry, element in zip(after, wanted) if entry not in before]
    return gone + new


def _compact(element: Any) -> str:
    return "".join(line.strip() for line in serialize(element).splitlines())


def _refuse_under_guests(found: FoundNetwork, what: str) -> None:
    if found.plugs:
        raise FleetError("It cannot be {0} while running guests are connected to it: {1}. Shut them down, or take their interfaces away, first.".format(
            what, ", ".join(found.guests)), guests=found.guests)


def _remove(found: FoundNetwork) -> NetworkChange:
    if found.inactive is None:
        return NetworkChange(found)
    _refuse_under_guests(found, "removed")
    return NetworkChange(found, remove=True, stop=found.active is not None, keep=_backup(found, ()))


def _bring_back(found: FoundNetwork, when_in_use: str) -> NetworkChange:
    backup = found.backup
    if backup is None:
        return NetworkChange(found)
    if backup.xml is None:
        return _remove(found)._replace(keep=None, retire=True)
    document = found.document
    if found.inactive is None or (backup.alone and document.digest() == backup.digest):
        document = backup.document
    else:
        for name in backup.settings:
            if name not in ("autostart", "active"):
                document.bring_back(name, backup.document)
    differs = found.inactive is None or document.digest() != found.document.digest()
    change = NetworkChange(found, after=document.text if differs else None, retire=True)
    gone = found.inactive is None
    active = backup.active if gone or "active" in backup.settings else found.active is not None
    autostart = backup.autostart if gone or "autostart" in backup.settings else found.autostart
    names = changed_settings(found.document, document)
    return _towards(change, document, names, tuple(backup.settings) + tuple(names), active, autostart, when_in_use)


def _backup(found: FoundNetwork, names: Sequence[str]) -> NetworkBackup:
    """The backup to keep before a change: the first one is the one that counts."""
    if found.backup is None:
        return NetworkBackup(found.name, found.inactive, found.autostart, found.active is not None, tuple(names))
    before = found.backup
    alone = before.alone and (found.inactive is None or found.document.digest() == before.digest)
    return before._replace(settings=tuple(dict.fromkeys(before.settings + tuple(names))), alone=alone)


def bridged(document: NetworkDocument) -> bool:
    """Whether guests are on a bridge, libvirt's own or the host's, so that they are to be put on it when the network is started."""
    return document.bridge is not None and Forward.read(document).kind in MANAGED + ("bridge",)
