# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The addresses of running guests: who is asked, which of the answers count, and when there is nothing more to wait for."""
import ipaddress
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from .client import Client, DomainEntry, GuestAddress
from .domain_xml import DomainDocument, device_key
from .xml_tree import attribute, child

SOURCES = ("agent", "lease", "arp")


class Card(NamedTuple):
    """A network card of a guest; ``connection`` is the network, bridge or device of the host that it is on."""

    mac: str
    connection: str


class Answers(NamedTuple):
    """What was found out about one guest. ``problems`` are the words of the sources that gave no answer."""

    name: str
    running: bool
    cards: Tuple[Card, ...] = ()
    addresses: Tuple[GuestAddress, ...] = ()
    problems: Tuple[Tuple[str, str], ...] = ()

    def usable(self, family: str) -> List[GuestAddress]:
        """The addresses by which the guest can be reached: on a card of its own, and of more than its own link."""
        cards = {card.mac for card in self.cards}
        found = [entry for entry in self.addresses if entry.mac in cards and _reaches(entry.address)]
        wanted = {"ipv4": (4,), "ipv6": (6,), "any": (4, 6)}[family]
        # IPv4 first, in the order of the cards, so that the same guest has the same first address each time.
        order = {card.mac: number for number, card in enumerate(self.cards)}
        usable = [entry for entry in found if ipaddress.ip_address(entry.address).version in wanted]
        return sorted(usable, key=lambda entry: (ipaddress.ip_address(entry.address).version, order[entry.mac], SOURCES.index(entry.source)))

    def result(self, family: str) -> Dict[str, Any]:
        """The guest's entry of the module's answer."""
        usable, connections = self.usable(family), dict(self.cards)
        return {
            "name": self.name,
            "running": self.running,
            "address": usable[0].address if usable else None,
            "addresses": [dict(entry._asdict(), connection=connections.get(entry.mac)) for entry in self.addresses],
            "problems": dict(self.problems),
        }


def _reaches(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local)


def cards_of(document: DomainDocument) -> List[Card]:
    """The network cards of a guest, in the order of its XML."""
    found = []
    for interface in document.find_all("devices/interface"):
        source, mac = child(interface, "source"), device_key(interface)
        connection = next((value for value in (attribute(source, name) for name in ("network", "bridge", "dev")) if value), "")
        if mac:
            found.append(Card(mac, connection))
    return found


def merged(found: Mapping[str, Sequence[GuestAddress]]) -> List[GuestAddress]:
    """What the sources said, each address of a card once: as the first source has it."""
    once: Dict[Tuple[str, str], GuestAddress] = {}
    for source in SOURCES:
        for entry in found.get(source, ()):
            once.setdefault((entry.mac, entry.address), entry)
    return list(once.values())


def ask(client: Client, entry: DomainEntry, sources: Sequence[str]) -> Answers:
    """Ask about one guest."""
    text = client.active_xml(entry.uuid) if entry.running else None
    if text is None:
        return Answers(entry.name, False)
    found: Dict[str, List[GuestAddress]] = {}
    problems = []
    for source in SOURCES:
        if source in sources:
            try:
                found[source] = client.addresses(entry.uuid, source)
            except FleetError as error:
                problems.append((source, error.message))
    return Answers(entry.name, True, tuple(cards_of(DomainDocument(text))), tuple(merged(found)), tuple(problems))


def wait_for_addresses(
    client: Client, names: Optional[Sequence[str]], sources: Sequence[str], family: str = "ipv4", timeout: float = 0, poll: float = 2
) -> List[Answers]:
    """Ask about these guests (None: all that run) until each has a usable address; those that have are not asked again.

    Raises :class:`FleetError` after ``timeout`` seconds, with what each source said. A timeout of 0 asks once and takes what there is.
    """
    deadline = time.monotonic() + timeout
    done: Dict[str, Answers] = {}
    while True:
        entries = {entry.name: entry for entry in client.domains()}
        if names is None:
            names = sorted(entry.name for entry in entries.values() if entry.running)
        unknown = [name for name in names if name not in entries]
        if unknown:
            raise FleetError("There is no domain {0}. libvirt has: {1}. Correct the name.".format(
                ", ".join(unknown), ", ".join(sorted(entries)) or "none at all"), unknown=unknown)
        for name in names:
            if name not in done or not done[name].usable(family):
                done[name] = ask(client, entries[name], sources)
        waiting = [done[name] for name in names if not done[name].usable(family)]
        if not waiting or not timeout:
            return [done[name] for name in names]
        if time.monotonic() >= deadline:
            raise FleetError(_no_address(waiting, sources, timeout), waiting=[answers.name for answers in waiting])
        time.sleep(min(poll, max(deadline - time.monotonic(), 0)))


def _no_address(waiting: Sequence[Answers], sources: Sequence[str], timeout: float) -> str:
    lines = []
    for answers in waiting:
        if not answers.running:
            lines.append("{0} is not running".format(answers.name))
        elif not answers.cards:
            lines.append("{0} has no network card".format(answers.name))
        else:
            problems = dict(answers.problems)
            said = ["{0}: {1}".format(source, problems.get(source, "knows none").rstrip(".")) for source in sources]
            lines.append("{0} ({1})".format(answers.name, "; ".join(said)))
    return (
        "No address within {0:g} s of: {1}. See that the guest has booted and its network is up. A guest on a bridge, macvtap device or virtual function is "
        "known to its agent only: it needs the agent channel (libvirt_domain, agent_channel: true) and qemu-guest-agent inside."
    ).format(timeout, ", ".join(lines))
