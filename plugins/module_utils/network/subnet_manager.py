# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who manages an InfiniBand subnet: the master, those that stand by, in software or in a switch, and whether that is as it should be (section 8.1.1)."""
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.sysfs import Sysfs
from .ib_text import Manager, Node, Port, Seat, guid, managers_of, master_of, nodes_of, ports_in_sysfs, ports_of, seats_of

#: One program asks three times, a second each, before it gives up.
_TIMEOUT = 20


class Asked(NamedTuple):
    """What should be so: subnet managers at least, one of them on this very port, and it of this priority."""

    managers: int = 0
    own: bool = False
    priority: Optional[int] = None
    hosts: bool = False


class Subnet(NamedTuple):
    """The subnet that a port is in: its subnet managers, the nodes that these are on, and the seats of the hosts if they were asked for."""

    port: Port
    managers: Tuple[Manager, ...]
    nodes: Tuple[Node, ...]
    seats: Tuple[Seat, ...] = ()

    @property
    def master(self) -> Optional[Manager]:
        return next((one for one in self.managers if one.state == "master"), None)

    @property
    def here(self) -> Optional[Manager]:
        return next((one for one in self.managers if one.guid == self.port.guid), None)

    @property
    def lost(self) -> List[Seat]:
        """Ports whose cable leads into the fabric, but which no subnet manager has given an address."""
        return [seat for seat in self.seats if not seat.lid]

    def to_dict(self) -> Dict[str, Any]:
        """What the module returns."""
        master = self.master
        return {
            "port": {"name": self.port.name, "guid": self.port.guid, "lid": self.port.lid},
            "master": self._told(master) if master else None,
            "managers": [self._told(one) for one in self.managers],
            "state": self.here.state if self.here else "none",
            "hosts": [dict(seat._asdict()) for seat in self.seats],
            "lost": [dict(seat._asdict()) for seat in self.lost],
        }

    def node_of(self, manager: Manager) -> Optional[Node]:
        """The node that a subnet manager is on, if the master has told."""
        return next((node for node in self.nodes if manager.guid == node.guid or manager.lid == node.lid), None)

    def _told(self, manager: Manager) -> Dict[str, Any]:
        node = self.node_of(manager)
        return dict(
            manager._asdict(), name=node.name if node else "", kind={"host": "software", "switch": "hardware"}.get(node.kind, node.kind) if node else "unknown",
            here=manager.guid == self.port.guid)


def read_ports(commands: Commands, sysfs: Sysfs) -> List[Port]:
    """The InfiniBand ports of this host, by ibstat or, where that is not installed, from the kernel."""
    try:
        text = commands.run(["ibstat"], _TIMEOUT).out
    except FleetError:
        return [port for port in ports_in_sysfs(sysfs) if port.infiniband]
    return [port for port in ports_of(text) if port.infiniband]


def choose_port(ports: Sequence[Port], wanted: str) -> Port:
    """The port that is meant by a GUID, ``mlx5_0/1`` or ``mlx5_0``, or the first with a cable; raises :class:`FleetError` if there is no such port."""
    told = ", ".join("{0} ({1}{2})".format(port.name, port.guid, "" if port.link_up else ", no link") for port in ports)
    if not ports:
        raise FleetError("This host has no InfiniBand port. Is the driver loaded (ibstat shows its ports), and is the port's LINK_TYPE InfiniBand?")
    if not wanted:
        linked = [port for port in ports if port.link_up]
        if not linked:
            raise FleetError("No InfiniBand port of this host has a link: {0}. Check the cable, or name a port.".format(told))
        return linked[0]
    if "/" in wanted:
        found = [port for port in ports if port.name == wanted]
    else:
        found = [port for port in ports if port.hca == wanted]
        if not found and wanted[:2].lower() == "0x":
            found = [port for port in ports if port.guid == guid(wanted)]
    if len(found) != 1:
        raise FleetError("{0!r} is {1} of this host, which has {2}. Name one by its GUID, such as {3}, or as {4}.".format(
            wanted, "no InfiniBand port" if not found else "more than one port", told, ports[0].guid, ports[0].name))
    return found[0]


def observe(port: Port, commands: Commands, hosts: bool = False) -> Subnet:
    """Ask the subnet administration, which is the master's, for all subnet managers and nodes; if it is silent, at least the port's own subnet manager."""
    said = commands.run(("saquery",) + port.words + ("SMIR",), _TIMEOUT)
    managers = tuple(managers_of(said.out)) if said.rc == 0 else ()
    # Only these few are asked for: the records of all nodes of a large fabric are a long answer.
    nodes = tuple(node for one in managers for node in nodes_of(commands.run(("saquery",) + port.words + ("NR", str(one.lid)), _TIMEOUT).out))
    if not managers:
        own = master_of(commands.run(("sminfo",) + port.words + (str(port.lid),), _TIMEOUT).out) if port.is_sm and port.lid else None
        managers = (own,) if own else ()
    seats = tuple(seats_of(commands.output(("ibnetdiscover",) + port.words, 300))) if hosts else ()
    return Subnet(port, managers, nodes, seats)


def problem_of(subnet: Subnet, asked: Asked) -> str:
    """What is not as it should be, and what to do; empty if all is well."""
    master, here = subnet.master, subnet.here
    if master is None:
        return "No subnet manager is the master of the fabric at {0} ({1}). {2}".format(
            subnet.port.name, subnet.port.guid,
            "The one on this port is {0}; if that stays so, journalctl -u 'opensm@*' says why.".format(here.state) if here
            else "Start one on a host, by the role ib_subnet_manager, or on a switch.")
    masters = [one for one in subnet.managers if one.state == "master"]
    if len(masters) > 1:
        return "The fabric has {0} masters: {1}. They do not know of each other; compare their sm_key.".format(
            len(masters), ", ".join(one.guid for one in masters))
    if subnet.node_of(master) is None:
        return "The master {0} (LID {1}) does not answer for its nodes yet. That passes within seconds after it took over.".format(master.guid, master.lid)
    if asked.own and (here is None or here.state not in ("master", "standby")):
        return "The subnet manager on this port ({0}) is {1}. Its log (journalctl -u 'opensm@*') says why; a port without a link is one reason.".format(
            subnet.port.guid, here.state if here else "not known to the fabric")
    if asked.priority is not None and here is not None and here.priority != asked.priority:
        return "The subnet manager on this port has priority {0}, but {1} is wanted.".format(here.priority, asked.priority)
    ready = [one for one in subnet.managers if one.state in ("master", "standby")]
    if len(ready) < asked.managers:
        return "{0} subnet manager{1} ready, but {2} are wanted: {3}.".format(
            len(ready), " is" if len(ready) == 1 else "s are", asked.managers,
            ", ".join("{0} {1} (priority {2})".format(one.guid, one.state, one.priority) for one in subnet.managers))
    if subnet.lost:
        return "No subnet manager has given these ports an address: {0}.".format(
            ", ".join("{0} ({1}) on {2} port {3}".format(seat.name, seat.guid, seat.switch, seat.switch_port) for seat in subnet.lost))
    return ""


def watch(wanted: str, asked: Asked, commands: Commands, sysfs: Sysfs, seconds: float, pause: Callable[[float], None] = time.sleep) -> Tuple[Subnet, str]:
    """Observe until nothing is wrong, or for this long."""
    end = time.monotonic() + seconds
    while True:
        subnet = observe(choose_port(read_ports(commands, sysfs), wanted), commands, asked.hosts)
        problem = problem_of(subnet, asked)
        if not problem or time.monotonic() >= end:
            return subnet, problem
        pause(1)
