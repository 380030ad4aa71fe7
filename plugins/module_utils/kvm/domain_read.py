# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading domains from libvirt: everything that a decision needs, once."""
from typing import Dict, FrozenSet, List, Mapping, Sequence

from ..host.errors import FleetError
from .client import Client, DomainEntry
from .domain_backups import Backups
from .domain_change import Change, Found
from .domain_live import as_configured, cpus_without_pin, pins_of
from .domain_settings import View, not_in_force
from .domain_xml import DomainDocument


def find_entries(entries: Sequence[DomainEntry], names: Sequence[str]) -> List[DomainEntry]:
    """The domains of these names, in this order. Raises :class:`FleetError` for a name that is given twice or that no domain has."""
    by_name = {entry.name: entry for entry in entries}
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FleetError("Domain {0} is given more than once. Give each domain once, with all that is wanted of it.".format(", ".join(twice)))
    unknown = [name for name in names if name not in by_name]
    if unknown:
        known = ", ".join(sorted(by_name)) or "none at all"
        raise FleetError(
            "There is no domain {0}. libvirt has: {1}. Correct the name, or define the domain first.".format(", ".join(unknown), known), unknown=unknown)
    return [by_name[name] for name in names]


def read_domains(client: Client, backups: Backups, entries: Sequence[DomainEntry]) -> List[Found]:
    """The domains with their configuration (secrets included, since it is to be defined again), running XML and backup."""
    found = []
    for entry in entries:
        active = client.active_xml(entry.uuid) if entry.running else None
        saved = active is None and entry.persistent and client.has_saved_state(entry.uuid)
        inactive = client.inactive_xml(entry.uuid, with_secrets=True)
        found.append(Found(entry.name, entry.uuid, inactive, active, entry.persistent, saved, backups.read(entry.uuid)))
    return found


def pins_of_all(client: Client, entries: Sequence[DomainEntry], planned: Mapping[str, FrozenSet[int]]) -> Dict[str, FrozenSet[int]]:
    """The host CPUs that the vCPUs of every domain are pinned to; ``planned`` are those of the domains of this call, by UUID."""
    pins = {}
    for entry in entries:
        if entry.uuid in planned:
            pins[entry.name] = planned[entry.uuid]
            continue
        text = client.inactive_xml(entry.uuid)
        if "<vcpupin" in text:
            pins[entry.name] = pins_of(DomainDocument(text))
    return pins


def pending_now(client: Client, change: Change) -> List[str]:
    """What is configured but not in force after a change was carried out: what libvirt says, where the decision could only foresee it."""
    if not change.owned or not change.changed:
        return list(change.pending)
    uuid = change.found.uuid
    active = client.active_xml(uuid)
    if active is None:
        return []
    inactive = DomainDocument(client.inactive_xml(uuid))
    running = as_configured(DomainDocument(active), inactive)
    everywhere = cpus_without_pin(running, client.host_cpus())
    return not_in_force(change.owned, View(running, everywhere), View(inactive, everywhere))
