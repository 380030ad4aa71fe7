# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SSH tunnels to the services of a node: who has which port, and the configurations of OpenSSH and PuTTY that say so.

Chapter 9 of the Best Practices forwards 5000, 5901 and 6901, "if multiple users, each selects own port". Here a user has a slot, a small number, and a service
of his is at its port plus that slot, on the node and on his own machine. A slot that was given stays with its user.
"""
import re
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError

#: Table 2 of chapter 9. A VNC server numbers its displays from 5900 on, so that display :1 is at 5901.
SERVICES: Tuple[Mapping[str, Any], ...] = ({"name": "notebook", "port": 5000}, {"name": "vnc", "port": 5901}, {"name": "vnc-web", "port": 6901})

#: Below it only root may listen, and the near end of a tunnel is a program of the user (ip(7), ip_unprivileged_port_start).
FIRST_LOCAL_PORT = 1024
LAST_PORT = 65535

# What goes into a file that ssh or PuTTY reads has no blank, quote, wildcard, token (%h) or line end in it. A path to a login may not begin with a dash.
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_LOGIN = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.@\\+-]*\$?\Z")
_ADDRESS = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z|^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\Z")


class Service(NamedTuple):
    """What listens on a node. ``own`` says whether each user has one of his own, at ``port`` plus his slot."""

    name: str
    port: int
    local_port: int
    address: str
    own: bool

    @classmethod
    def from_dict(cls, given: Any) -> "Service":
        entry = _entry("services", given, ("name", "port"), ("name", "port", "local_port", "address", "per_user"))
        name = _text("services", "name", entry["name"], _NAME)
        port = _port("services[{0}].port".format(name), entry["port"])
        local = port if entry.get("local_port") is None else entry["local_port"]
        own = entry.get("per_user")
        if own not in (None, True, False):
            raise FleetError("services[{0}].per_user is {1!r}, but true or false is expected.".format(name, own))
        address = _text("services[{0}]".format(name), "address", entry.get("address") or "localhost", _ADDRESS)
        return cls(name, port, _port("services[{0}].local_port".format(name), local, FIRST_LOCAL_PORT), address, own is not False)

    def ports(self, slot: int) -> Tuple[int, int]:
        """The port on the user's machine and the port on the node."""
        return (self.local_port + slot, self.port + slot) if self.own else (self.local_port, self.port)


class User(NamedTuple):
    """Whose tunnels they are. ``login`` is his name on the nodes, ``account`` that on the machine with the configuration."""

    name: str
    login: str
    account: str
    slot: Optional[int]

    @classmethod
    def from_dict(cls, given: Any) -> "User":
        entry = _entry("users", {"name": given} if isinstance(given, str) else given, ("name",), ("name", "login", "account", "slot"))
        name = _text("users", "name", entry["name"], _NAME)
        place = "users[{0}]".format(name)
        login, account = (_text(place, key, entry.get(key) or name, _LOGIN) for key in ("login", "account"))
        return cls(name, login, account, None if entry.get("slot") is None else _number(place + ".slot", entry["slot"], 0, LAST_PORT))


class Node(NamedTuple):
    """Where a tunnel leads, or the head node on the way there."""

    name: str
    address: str
    port: int

    @classmethod
    def from_dict(cls, given: Any, place: str = "nodes") -> "Node":
        entry = _entry(place, {"name": given} if isinstance(given, str) else given, ("name",), ("name", "address", "port"))
        name = _text(place, "name", entry["name"], _NAME)
        place = "{0}[{1}]".format(place, name)
        return cls(name, _text(place, "address", entry.get("address") or name, _ADDRESS), _port(place + ".port", entry.get("port") or 22))


class Plan(NamedTuple):
    """All tunnels. ``slots`` holds former users too: what they still have configured must not lead to a successor's service."""

    users: Tuple[User, ...]
    nodes: Tuple[Node, ...]
    services: Tuple[Service, ...]
    jump: Optional[Node]
    prefix: str
    slots: Mapping[str, int]

    def alias(self, node: Node) -> str:
        """What a user types after ``ssh``."""
        return self.prefix + node.name

    def ports(self, user: User) -> Dict[str, int]:
        """The user's ports on the nodes by service."""
        return {service.name: service.ports(self.slots[user.name])[1] for service in self.services}

    def forwards(self, user: User) -> List[Tuple[int, str, int]]:
        """Port on the user's machine, and address and port as the node sees them."""
        entries = [(service, service.ports(self.slots[user.name])) for service in self.services]
        return [(near, service.address, far) for service, (near, far) in entries]


def plan(
    users: Any, nodes: Any, services: Any = SERVICES, jump: Any = None, kept: Optional[Mapping[str, Any]] = None, prefix: str = "tunnel-",
    reserved: Iterable[Any] = (),
) -> Plan:
    """Give each user his ports. ``kept`` are the slots given before; ``reserved`` are ports on the nodes that nobody gets.

    Raises :class:`FleetError` for what is not a name, an address or a port, and where two would get the same port.
    """
    if prefix:
        _text("", "prefix", prefix, _NAME)
    people = _unlike("users", [User.from_dict(given) for given in _list("users", users)])
    offered = _unlike("services", [Service.from_dict(given) for given in _list("services", services)])
    if not offered:
        raise FleetError("services is empty, so there is nothing to make a tunnel to. Name a service with its port, such as {name: notebook, port: 5000}.")
    places = _unlike("nodes", [Node.from_dict(given) for given in _list("nodes", nodes)])
    head = None if jump in (None, "", {}) else Node.from_dict(jump, "jump")
    if head and any(node.name == "jump" for node in places):
        raise FleetError("A node is called jump, as is the way through the head node in what is written. Give the node another name and its address.")
    taken = {name: _number("the slot kept for {0}".format(name), slot, 0, LAST_PORT) for name, slot in (kept or {}).items()}
    slots = _slots(people, taken, Slots(offered, frozenset(_port("reserved", port) for port in reserved)))
    return Plan(tuple(people), tuple(places), tuple(offered), head, prefix, slots)


class Slots:
    """Which slots there are. Two slots never give the same port, and none gives a port of a service that all share, or a reserved one."""

    def __init__(self, services: Sequence[Service], reserved: FrozenSet[int]) -> None:
        self.own = [service for service in services if service.own]
        self.reserved = reserved
        self.near: Dict[int, str] = {}
        self.far: Dict[Tuple[str, int], str] = {}
        for service in services:
            self._take(self.near, service.local_port, service, "on the users' machines. Give one of them another local_port")
            self._take(self.far, (service.address, service.port), service, "on the nodes. Give one of them another port")
        self.shared_near = {service.local_port: service.name for service in services if not service.own}
        self.shared_far = {(service.address, service.port): service.name for service in services if not service.own}
        room = [LAST_PORT + 1 - max(service.local_port, service.port) for service in self.own]
        #: Slots from here on reach the ports of another service.
        self.count = min(room + self._gaps()) if self.own else LAST_PORT + 1

    @staticmethod
    def _take(taken: Dict[Any, str], key: Any, service: Service, place: str) -> None:
        if key in taken:
            port = key[1] if isinstance(key, tuple) else key
            raise FleetError("The services {0} and {1} both have port {2} {3}.".format(taken[key], service.name, port, place))
        taken[key] = service.name

    def _gaps(self) -> List[int]:
        pairs = [(one, other) for one in self.own for other in self.own if one.name < other.name]
        near = [abs(one.local_port - other.local_port) for one, other in pairs]
        return near + [abs(one.port - other.port) for one, other in pairs if one.address == other.address]

    def problem(self, slot: int) -> Optional[str]:
        """Why nobody can have this slot."""
        if slot >= self.count:
            return "with these services there are {0} slots, 0 to {1}; beyond them the ports of two services would meet".format(self.count, self.count - 1)
        for service in self.own:
            near, far = service.ports(slot)
            shared = self.shared_near.get(near) or self.shared_far.get((service.address, far))
            if shared:
                return "the port {0} of {1} would be that of {2}, which all users share".format(far, service.name, shared)
            if far in self.reserved:
                return "the port {0} of {1} is reserved".format(far, service.name)
        return None


def _slots(users: Sequence[User], kept: Mapping[str, int], slots: Slots) -> Dict[str, int]:
    """First what the users' entries say, then what was kept, then the lowest that are free."""
    given = {user.name: user.slot for user in users if user.slot is not None}
    owners: Dict[int, str] = {}
    for name, slot in sorted(given.items()):
        problem = slots.problem(slot)
        if problem or slot in owners:
            raise FleetError("User {0} cannot have slot {1}: {2}. Slot {3} is free.".format(
                name, slot, problem or "{0} has it".format(owners[slot]), _free(slots, set(given.values()) | set(kept.values()))))
        owners[slot] = name
    present = {user.name for user in users}
    for name, slot in sorted(kept.items(), key=lambda entry: (entry[0] not in present, entry[0])):
        if name in given:
            continue
        problem = slots.problem(slot) if name in present else None
        if not problem and slot in owners:
            problem = "{0} has it".format(owners[slot])
        if problem and name in present:
            # To move him silently would lead his tunnels to another's service.
            raise FleetError("User {0} has had slot {1} so far, but {2}. Say slot: {3} for {0} to move his ports, or undo what is in the way.".format(
                name, slot, problem, _free(slots, set(owners) | set(kept.values()))))
        if not problem:
            owners[slot] = name
    for user in users:
        if user.name not in owners.values():
            owners[_free(slots, set(owners), user.name)] = user.name
    return {name: slot for slot, name in owners.items()}


def _free(slots: Slots, taken: Iterable[int], name: str = "") -> int:
    occupied = set(taken)
    for slot in range(slots.count):
        if slot not in occupied and slots.problem(slot) is None:
            return slot
    raise FleetError("There is no free slot{0}: with these services there are {1}, and former users keep theirs. Put the ports of the services further apart, "
                     "or remove former users from ports.json.".format(" for user " + name if name else "", slots.count))


def ssh_config(tunnels: Plan, user: User) -> str:
    """What ``Include`` in ``~/.ssh/config`` reads (ssh_config(5); ProxyJump and Include are known from OpenSSH 7.3 on).

    The names have a prefix, so that an ordinary ``ssh dgx01`` does not open tunnels.
    """
    lines = ["# Tunnels of {0}. Written by dgxops.fleet.ssh_tunnel, which owns this file.".format(user.name)]
    for service, forward in zip(tunnels.services, tunnels.forwards(user)):
        lines.append("#   {0}: localhost:{1}".format(service.name, forward[0]))
    jump = tunnels.jump
    if jump:
        lines += ["", "Host {0}jump".format(tunnels.prefix), "    HostName " + jump.address, "    Port {0}".format(jump.port), "    User " + user.login]
    for node in tunnels.nodes:
        lines += ["", "Host " + tunnels.alias(node), "    HostName " + node.address, "    Port {0}".format(node.port), "    User " + user.login]
        if jump and node.address != jump.address:
            lines.append("    ProxyJump {0}jump".format(tunnels.prefix))
        # Not localhost, which has two addresses on most machines: ssh is content with one of them, though the other may be somebody else's page.
        lines += ["    LocalForward 127.0.0.1:{0} {1}".format(near, _join(address, far)) for near, address, far in tunnels.forwards(user)]
        # Without the first, a port that is taken is no more than a line of warning.
        lines += ["    ExitOnForwardFailure yes", "    ServerAliveInterval 60"]
    return "\n".join(lines) + "\n"


_SESSIONS = "HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\Sessions\\"
_REG_HEAD = ["Windows Registry Editor Version 5.00", ""]


def putty_sessions(tunnels: Plan, user: User) -> str:
    """A session per node for PuTTY, as a file that a double click on Windows imports. The jump needs PuTTY 0.77, which knows SSH as a proxy (method 6)."""
    forwards = ",".join("L{0}={1}".format(near, _join(address, far)) for near, address, far in tunnels.forwards(user))
    lines = list(_REG_HEAD)
    for node in tunnels.nodes:
        values = [("HostName", node.address), ("PortNumber", node.port), ("Protocol", "ssh"), ("UserName", user.login), ("PortForwardings", forwards),
                  ("LocalPortAcceptAll", 0), ("PingIntervalSecs", 60)]
        jump = tunnels.jump
        if jump and node.address != jump.address:
            values += [("ProxyMethod", 6), ("ProxyHost", jump.address), ("ProxyPort", jump.port), ("ProxyUsername", user.login)]
        lines += ["[{0}{1}]".format(_SESSIONS, tunnels.alias(node))] + [_value(name, value) for name, value in values] + [""]
    return "\r\n".join(lines)


def putty_removal(tunnels: Plan) -> str:
    """The file that takes the sessions out of PuTTY again."""
    return "\r\n".join(_REG_HEAD + ["[-{0}{1}]".format(_SESSIONS, tunnels.alias(node)) for node in tunnels.nodes] + [""])


def _value(name: str, value: Any) -> str:
    if isinstance(value, int):
        return '"{0}"=dword:{1:08x}'.format(name, value)
    return '"{0}"="{1}"'.format(name, value.replace("\\", "\\\\"))


def _join(address: str, port: int) -> str:
    return "{0}:{1}".format("[{0}]".format(address) if ":" in address else address, port)


def _list(place: str, given: Any) -> Sequence[Any]:
    if isinstance(given, (list, tuple)):
        return given
    raise FleetError("{0} is {1!r}, but a list is expected.".format(place, given))


def _entry(place: str, given: Any, needed: Iterable[str], known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise FleetError("An entry of {0} is {1!r}, but a dictionary with {2} is expected.".format(place, given, " and ".join(needed)))
    missing = [key for key in needed if given.get(key) is None]
    if missing:
        raise FleetError("An entry of {0} has no {1}: {2!r}.".format(place, missing[0], dict(given)))
    unknown = sorted(set(given) - set(known), key=str)
    if unknown:
        raise FleetError("{0!r} in {1}[{2}] is not known. There are {3}.".format(unknown[0], place, given["name"], ", ".join(known)))
    return given


def _text(place: str, key: str, given: Any, pattern: Any) -> str:
    where = "{0}.{1}".format(place, key) if place else key
    if isinstance(given, str) and pattern.match(given):
        return given
    raise FleetError("{0} is {1!r}, which ssh and PuTTY could not read back as one word. Expected are letters, digits, dots, dashes and underscores.".format(
        where, given))


def _number(place: str, given: Any, least: int, most: int) -> int:
    text = str(given)
    if isinstance(given, bool) or not re.match(r"^[0-9]{1,6}\Z", text) or not least <= int(text) <= most:
        raise FleetError("{0} is {1!r}, but a number from {2} to {3} is expected.".format(place, given, least, most))
    return int(text)


def _port(place: str, given: Any, least: int = 1) -> int:
    return _number(place, given, least, LAST_PORT)


def _unlike(place: str, things: List[Any]) -> List[Any]:
    names = [thing.name for thing in things]
    for name in names:
        if names.count(name) > 1:
            raise FleetError("{0} names {1} twice. Remove one of the entries.".format(place, name))
    return things
