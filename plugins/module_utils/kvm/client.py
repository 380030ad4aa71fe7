# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""libvirt, as the collection uses it. The only file that imports its bindings; whatever goes wrong there becomes a :class:`FleetError`."""
import contextlib
import sys
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from ..host.errors import FleetError

try:
    import libvirt
except ImportError:
    libvirt = None

#: Names of libvirt's domain states by their number (virDomainState).
STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")

#: CPUs by thread, such as ``{0: {12}, 1: {60}}``.
Affinities = Dict[int, FrozenSet[int]]


class DomainEntry(NamedTuple):
    """A domain in the list of all."""

    name: str
    uuid: str
    running: bool
    persistent: bool


class NetworkEntry(NamedTuple):
    """A network in the list of all. A transient one has no configuration."""

    name: str
    active: bool
    autostart: bool
    persistent: bool


class GuestAddress(NamedTuple):
    """An address of a guest's interface; ``source`` says who told it: agent, lease or arp."""

    interface: str
    mac: str
    address: str
    prefix: int
    source: str


class Client:
    """A connection to libvirt. Domains are named by their UUID, networks by their name."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._domains: Dict[str, Any] = {}

    @classmethod
    def open(cls, uri: str, read_only: bool = False) -> "Client":
        """Connect. Raises :class:`FleetError` with a remedy if the bindings, the daemon or the permission are missing."""
        if libvirt is None:
            raise FleetError(
                "The libvirt bindings for Python are not installed for {0}. Install python3-libvirt on this host "
                "and let ansible_python_interpreter be the system's Python (/usr/bin/python3).".format(sys.executable))
        # Otherwise libvirt prints each error on its own, into the module's answer.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        try:
            return cls(libvirt.openReadOnly(uri) if read_only else libvirt.open(uri))
        except libvirt.libvirtError as error:
            raise FleetError("No connection to libvirt at {0}: {1}. {2}".format(uri, _words(error), _remedy(error)))

    def close(self) -> None:
        """Let the connection go."""
        with contextlib.suppress(libvirt.libvirtError):
            self._connection.close()

    def domains(self) -> List[DomainEntry]:
        """All domains, in two round trips."""
        with _explained("The domains could not be listed"):
            found = self._connection.listAllDomains(0)
            transient = {domain.UUIDString() for domain in self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)}
        self._domains = {domain.UUIDString(): domain for domain in found}
        return [DomainEntry(domain.name(), uuid, domain.ID() != -1, uuid not in transient) for uuid, domain in self._domains.items()]

    def autostarting(self) -> FrozenSet[str]:
        """The domains that are started with the host."""
        with _explained("The domains could not be listed"):
            return frozenset(domain.UUIDString() for domain in self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART))

    def host_cpus(self) -> FrozenSet[int]:
        """The CPUs of the host that are online."""
        with _explained("The host's CPUs could not be read"):
            if self._connection.getType() == "TEST":
                # The test driver invents a CPU map; only the number of CPUs comes from its description of the host.
                return frozenset(range(self._connection.getInfo()[2]))
            _count, online, _number = self._connection.getCPUMap()
        return frozenset(cpu for cpu, there in enumerate(online) if there)

    def inactive_xml(self, uuid: str, with_secrets: bool = False) -> str:
        """The configuration of a domain. Without its secrets it must not be defined again: they would be lost."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | (libvirt.VIR_DOMAIN_XML_SECURE if with_secrets else 0)
        return str(self._call(uuid, "could not be read", lambda domain: domain.XMLDesc(flags)))

    def active_xml(self, uuid: str) -> Optional[str]:
        """The XML of the running guest; None if it is not running."""

        def read(domain: Any) -> Optional[str]:
            text = domain.XMLDesc(0)
            return text if domain.isActive() else None

        return self._call(uuid, "could not be read", read)

    def is_active(self, uuid: str) -> bool:
        """Whether a guest is running or paused."""
        return bool(self._call(uuid, "could not be looked at", lambda domain: domain.isActive()))

    def has_saved_state(self, uuid: str) -> bool:
        """Whether a guest starts from a saved state instead of its configuration."""
        return bool(self._call(uuid, "could not be looked at", lambda domain: domain.hasManagedSaveImage(0)))

    def state(self, uuid: str) -> str:
        """The state of a domain in libvirt's words, such as ``running`` or ``shutoff``."""
        number = self._call(uuid, "could not be looked at", lambda domain: domain.state(0))[0]
        return STATES[number] if number < len(STATES) else STATES[0]

    def define(self, xml: str, validate: bool = True) -> None:
        """Make ``xml`` the configuration of the domain whose name and UUID it has."""
        with _explained("libvirt did not accept the new configuration"):
            self._connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE if validate else 0)

    def start(self, uuid: str) -> None:
        """Start a guest."""
        self._call(uuid, "could not be started", lambda domain: domain.create())

    def shutdown(self, uuid: str) -> None:
        """Ask a guest to shut down; it does so when it likes."""
        self._call(uuid, "could not be asked to shut down", lambda domain: domain.shutdown())

    def pin(self, uuid: str, setting: str, number: int, cpus: FrozenSet[int]) -> None:
        """Put a thread of a running guest on host CPUs; ``setting`` is vcpupin, iothreadpin or emulatorpin."""
        cpu_map = tuple(cpu in cpus for cpu in range(max(cpus) + 1))
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE
        calls = {
            "vcpupin": lambda domain: domain.pinVcpuFlags(number, cpu_map, live),
            "iothreadpin": lambda domain: domain.pinIOThread(number, cpu_map, live),
            "emulatorpin": lambda domain: domain.pinEmulator(cpu_map, live),
        }
        self._call(uuid, "could not be pinned ({0} {1}) while it runs".format(setting, number), calls[setting])

    def attach(self, uuid: str, xml: str) -> None:
        """Plug a device into a running guest."""
        self._call(uuid, "did not get a device while it runs", lambda domain: domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def detach(self, uuid: str, xml: str) -> None:
        """Ask a running guest to let a device go."""
        self._call(uuid, "did not give up a device while it runs", lambda domain: domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def limit_interface(self, uuid: str, mac: str, direction: str, average: int, peak: int, burst: int) -> None:
        """Limit the bandwidth of an interface of a running guest; zeros are no limit."""
        values = {"{0}.{1}".format(direction, name): value for name, value in (("average", average), ("peak", peak), ("burst", burst))}
        self._call(uuid, "did not get a bandwidth limit while it runs",
                   lambda domain: domain.setInterfaceParameters(mac, values, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def vcpu_affinities(self, uuid: str) -> Affinities:
        """The host CPUs that each online vCPU of a running guest may use."""
        info = self._call(uuid, "did not tell its vCPUs", lambda domain: domain.vcpus())
        return {entry[0]: _cpus(cpu_map) for entry, cpu_map in zip(*info)}

    def emulator_affinity(self, uuid: str) -> FrozenSet[int]:
        """The host CPUs that the emulator threads of a running guest may use."""
        return _cpus(self._call(uuid, "did not tell its emulator pin", lambda domain: domain.emulatorPinInfo(libvirt.VIR_DOMAIN_AFFECT_LIVE)))

    def iothread_affinities(self, uuid: str) -> Affinities:
        """The host CPUs that each I/O thread of a running guest may use."""
        found = self._call(uuid, "did not tell its I/O threads", lambda domain: domain.ioThreadInfo(libvirt.VIR_DOMAIN_AFFECT_LIVE))
        return {entry[0]: _cpus(entry[1]) for entry in found}

    def addresses(self, uuid: str, source: str) -> List[GuestAddress]:
        """The addresses of a running guest as ``source`` knows them: agent, lease or arp."""
        number = {
            "agent": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
            "lease": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
            "arp": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
        }[source]
        interfaces = self._call(uuid, "did not tell its addresses", lambda domain: domain.interfaceAddresses(number, 0))
        return [
            GuestAddress(name, str(interface.get("hwaddr") or "").lower(), entry["addr"], int(entry["prefix"]), source)
            for name, interface in (interfaces or {}).items() for entry in interface.get("addrs") or ()
        ]

    def networks(self) -> List[NetworkEntry]:
        """All networks."""
        with _explained("The networks could not be listed"):
            found = [(network, network.isPersistent() == 1) for network in self._connection.listAllNetworks(0)]
            return [
                NetworkEntry(network.name(), network.isActive() == 1, persistent and network.autostart() == 1, persistent)
                for network, persistent in found
            ]

    def network_xml(self, name: str, inactive: bool = True) -> str:
        """The configuration of a network, or with ``inactive`` off what is in force."""
        return str(self._network(name, "could not be read", lambda network: network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE if inactive else 0)))

    def define_network(self, xml: str) -> None:
        """Make ``xml`` the configuration of the network whose name it has; one that is active stays as it is until it is started again."""
        with _explained("libvirt did not accept the configuration of the network"):
            self._connection.networkDefineXML(xml)

    def undefine_network(self, name: str) -> None:
        """Remove the configuration of a network."""
        self._network(name, "could not be removed", lambda network: network.undefine())

    def start_network(self, name: str) -> None:
        """Start a network."""
        self._network(name, "could not be started", lambda network: network.create())

    def stop_network(self, name: str) -> None:
        """Stop a network. Guests on its bridge lose their connection."""
        self._network(name, "could not be stopped", lambda network: network.destroy())

    def autostart_network(self, name: str, autostart: bool) -> None:
        """Whether libvirt starts a network when the host starts."""
        self._network(name, "could not be marked for autostart", lambda network: network.setAutostart(int(autostart)))

    def update_network(self, name: str, section: str, add: bool, parent: int, xml: str) -> None:
        """Add or delete an entry of an active network, which stays up; ``parent`` counts the ``<ip>`` elements. The configuration is not touched."""
        number = {
            "hosts": libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
            "ranges": libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
            "dns.hosts": libvirt.VIR_NETWORK_SECTION_DNS_HOST,
        }[section]
        command = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if add else libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
        self._network(name, "could not be updated while it is active ({0})".format(section),
                      lambda network: network.update(command, number, parent, xml, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE))

    def _network(self, name: str, failure: str, function: Any) -> Any:
        with _explained("Network {0} {1}".format(name, failure)):
            return function(self._connection.networkLookupByName(name))

    def _call(self, uuid: str, failure: str, function: Any) -> Any:
        with _explained("A domain could not be found"):
            domain = self._domains.get(uuid) or self._connection.lookupByUUIDString(uuid)
            self._domains[uuid] = domain
        with _explained("Domain {0} {1}".format(domain.name(), failure)):
            return function(domain)


def _cpus(cpu_map: Tuple[bool, ...]) -> FrozenSet[int]:
    return frozenset(cpu for cpu, allowed in enumerate(cpu_map) if allowed)


@contextlib.contextmanager
def _explained(failure: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise FleetError("{0}. libvirt says: {1}.".format(failure, _words(error)))


def _words(error: Any) -> str:
    return str(error.get_error_message() or error).strip().rstrip(".")


def _remedy(error: Any) -> str:
    words = _words(error).lower()
    if "permission denied" in words or "authentication" in words or "access denied" in words:
        return "Run the task with become: true, or let the user be a member of the group libvirt."
    if "no such file" in words or "connection refused" in words:
        return "Install libvirt-daemon-system and start it (systemctl start libvirtd), or correct the uri."
    return "Check the uri, and that libvirtd runs and may be reached by this user."
