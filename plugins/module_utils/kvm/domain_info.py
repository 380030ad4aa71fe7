# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What there is to know about a domain: what is configured, what is in force, and where the two differ."""
from typing import Any, Dict, FrozenSet, NamedTuple, Optional

from ..host import cpuset
from .client import Affinities, Client, DomainEntry
from .domain_cpu import Vcpus
from .domain_live import as_configured, cpus_without_pin
from .domain_memory import Memory
from .domain_settings import View, not_in_force, read_settings
from .domain_xml import DomainDocument


class Running(NamedTuple):
    """A running guest: its XML, and the CPUs that the kernel lets its threads use."""

    xml: str
    vcpus: Affinities
    iothreads: Affinities
    emulator: FrozenSet[int]


class Domain(NamedTuple):
    """A domain as libvirt has it; ``running`` is None if it is not."""

    entry: DomainEntry
    state: str
    autostart: bool
    xml: str
    running: Optional[Running]


def read_domain(client: Client, entry: DomainEntry, autostart: bool) -> Domain:
    """Ask libvirt for everything about one domain."""
    xml = client.inactive_xml(entry.uuid)
    active = client.active_xml(entry.uuid) if entry.running else None
    running = None
    if active is not None:
        iothreads = client.iothread_affinities(entry.uuid) if "<iothreads>" in active else {}
        running = Running(active, client.vcpu_affinities(entry.uuid), iothreads, client.emulator_affinity(entry.uuid))
    return Domain(entry, client.state(entry.uuid), autostart, xml, running)


def describe(domain: Domain, host_cpus: FrozenSet[int]) -> Dict[str, Any]:
    """The domain as libvirt_domain_info returns it."""
    document = DomainDocument(domain.xml, "The XML of domain {0}".format(domain.entry.name))
    configured = read_settings(document)
    found: Dict[str, Any] = {
        "name": domain.entry.name,
        "uuid": domain.entry.uuid,
        "state": domain.state,
        "running": domain.running is not None,
        "persistent": domain.entry.persistent,
        "autostart": domain.autostart,
        "vcpus": Vcpus.read(document).count,
        "memory_kib": Memory.read(document).amount,
        "pci": [device["pci"] for device in configured["hostdevs"]],
        "configured": configured,
        "in_force": None,
        "differences": [],
    }
    if domain.running is not None:
        active = as_configured(DomainDocument(domain.running.xml), document)
        found["in_force"] = dict(
            read_settings(active),
            vcpupin=_shown(domain.running.vcpus),
            iothreadpin=_shown(domain.running.iothreads),
            emulatorpin=cpuset.show(domain.running.emulator),
        )
        everywhere = cpus_without_pin(active, host_cpus)
        now, then = View(active, everywhere), View(document, everywhere)
        found["differences"] = not_in_force(then.names() + now.names(), now, then)
    return found


def _shown(affinities: Affinities) -> Dict[str, str]:
    return {str(thread): cpuset.show(cpus) for thread, cpus in sorted(affinities.items())}
