# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the programs of infiniband-diags print: ibstat, sminfo, saquery and ibnetdiscover.

They have no other output than text for people, which has kept its form since OFED 1.5. What is not understood is passed over, since newer releases add
lines; what is needed and missing is a :class:`FleetError`.
"""
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..host.errors import FleetError
from ..host.sysfs import Sysfs

#: SMInfo:SMState (InfiniBand Architecture Specification, 14.2.5.13).
STATES = ("not_active", "discovering", "standby", "master")

_KINDS = {"channel adapter": "host", "ca": "host", "switch": "switch", "router": "router"}
_SMINFO = re.compile(r"sm lid (\d+) sm guid 0x([0-9a-fA-F]+),? activity count (\d+) priority (\d+) state (\d+)")
_DOTTED = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_ ]*?)\.{2,}(.*)$")
_NODE = re.compile(r'^(Ca|Switch|Rt)\s+\d+\s+"[HSR]-([0-9a-fA-F]+)"\s*#\s*"(.*?)"(.*)$')
_LINK = re.compile(r'^\[(\d+)\](?:\([0-9a-fA-F]+\))?\s+"([HSR])-([0-9a-fA-F]+)"\[(\d+)\](.*)$')
_PORT_GUID = re.compile(r"^\[\d+\]\(([0-9a-fA-F]+)\)")


class Port(NamedTuple):
    """A port of this host: ``mlx5_0``, 1, its GUID as ``0x`` and 16 digits, whether it is InfiniBand and its cable leads somewhere."""

    hca: str
    number: int
    guid: str
    infiniband: bool
    link_up: bool
    lid: int
    sm_lid: int
    is_sm: bool

    @property
    def name(self) -> str:
        return "{0}/{1}".format(self.hca, self.number)

    @property
    def words(self) -> Tuple[str, ...]:
        """The words by which the programs are told to use this port."""
        return ("-C", self.hca, "-P", str(self.number))


class Manager(NamedTuple):
    """A subnet manager as the fabric knows it."""

    guid: str
    lid: int
    priority: int
    state: str
    activity: int


class Node(NamedTuple):
    """A node in the records of the subnet administration: an HCA's port, a switch or a router."""

    name: str
    kind: str
    lid: int
    guid: str


class Seat(NamedTuple):
    """An HCA's port and the switch port that its cable leads to, as ibnetdiscover finds them without any subnet manager."""

    name: str
    guid: str
    lid: int
    switch: str
    switch_port: int


def guid(text: str) -> str:
    """A GUID in one form: ``0x`` and 16 digits; raises :class:`FleetError` for what is none."""
    digits = text.strip().lower().replace(":", "")
    digits = digits[2:] if digits.startswith("0x") else digits
    if not re.match(r"^[0-9a-f]{1,16}\Z", digits):
        raise FleetError("{0!r} is not the GUID of a port. Such as 0x0002c9030002fce9 is expected; ibstat -p lists those of a host.".format(text))
    return "0x" + digits.zfill(16)


def ports_of(text: str) -> List[Port]:
    """The ports that ibstat lists."""
    ports: List[Port] = []
    hca, number, found = "", 0, {}  # type: str, int, Dict[str, str]

    def finish() -> None:
        if number and found.get("Port GUID"):
            layer = found.get("Link layer", "InfiniBand")
            ports.append(Port(
                hca, number, guid(found["Port GUID"]), layer in ("InfiniBand", "IB"), found.get("Physical state") == "LinkUp",
                _number(found.get("Base lid", "")), _number(found.get("SM lid", "")), bool(_number(found.get("Capability mask", "")) & 2),
            ))

    for line in text.splitlines():
        start = re.match(r"^CA '(.+)'", line)
        port = re.match(r"^\s+Port (\d{1,4}):\s*$", line)
        if start or port:
            finish()
            found = {}
            hca, number = (start.group(1), 0) if start else (hca, int(port.group(1)) if port else 0)
            continue
        key, colon, value = line.strip().partition(":")
        if colon:
            found[key] = value.strip()
    finish()
    return ports


def ports_in_sysfs(sysfs: Sysfs) -> List[Port]:
    """The same from the kernel, where infiniband-diags is not installed."""
    base = "sys/class/infiniband"
    ports = []
    for hca in sysfs.entries(base):
        for number in sysfs.entries("{0}/{1}/ports".format(base, hca)):
            place = "{0}/{1}/ports/{2}/".format(base, hca, number)
            said = {name: (sysfs.read(place + name) or "").strip() for name in ("link_layer", "phys_state", "lid", "sm_lid", "cap_mask", "gids/0")}
            parts = said["gids/0"].split(":")
            if number.isdigit() and len(parts) == 8:
                ports.append(Port(
                    hca, int(number), guid("".join(parts[4:])), said["link_layer"] in ("InfiniBand", ""), said["phys_state"].endswith("LinkUp"),
                    _number(said["lid"]), _number(said["sm_lid"]), bool(_number(said["cap_mask"]) & 2),
                ))
    return ports


def master_of(text: str) -> Optional[Manager]:
    """The subnet manager that sminfo tells of; None if none answered."""
    match = _SMINFO.search(text)
    if not match:
        return None
    lid, digits, activity, priority, state = match.groups()
    return Manager(guid(digits), int(lid), int(priority), _state(int(state)), int(activity))


def managers_of(text: str) -> List[Manager]:
    """The subnet managers in the answer to ``saquery SMIR``: the master first, then by priority; of equal ones the lower GUID comes first, as it would win."""
    found = []
    for record in _records(text, "SMInfoRecord dump:"):
        try:
            numbers = [int(record[key], 0) for key in ("LID", "Priority", "SMState")] + [int(record.get("ActCount", "0"), 0)]
            found.append(Manager(guid(record["GUID"]), numbers[0], numbers[1], _state(numbers[2]), numbers[3]))
        except (KeyError, ValueError):
            raise FleetError("saquery SMIR was expected to tell LID, GUID, Priority and SMState of each subnet manager, but told {0}.".format(
                ", ".join("{0} {1}".format(*entry) for entry in sorted(record.items())) or "nothing"))
    return sorted(found, key=lambda one: (one.state != "master", -one.priority, one.guid))


def nodes_of(text: str) -> List[Node]:
    """The nodes in the answer to ``saquery NR``, by LID."""
    found = []
    for record in _records(text, "NodeRecord dump:"):
        kind = _KINDS.get(record.get("node_type", "").lower(), "other")
        try:
            found.append(Node(record["NodeDescription"], kind, int(record["lid"], 0), guid(record["port_guid"])))
        except (KeyError, ValueError):
            continue  # another kind of line, of a release that is not known yet
    return sorted(found, key=lambda node: node.lid)


def seats_of(text: str) -> List[Seat]:
    """Where the hosts' cables lead, from ibnetdiscover; a port without a cable is not in its list."""
    switches: Dict[str, str] = {}
    links: List[Tuple[str, str, int, str, int]] = []
    kind, name = "", ""
    for line in text.splitlines():
        node = _NODE.match(line)
        if node:
            kind, name = node.group(1), node.group(3)
            if kind == "Switch":
                switches[node.group(2)] = name
            continue
        link = _LINK.match(line)
        own = _PORT_GUID.match(line)
        if kind == "Ca" and link and own:
            lid = re.search(r"#\s*lid (\d+)", link.group(5))
            links.append((name, own.group(1), int(lid.group(1)) if lid else 0, link.group(3), int(link.group(4))))
    return sorted(Seat(host, guid(port), lid, switches.get(peer, guid(peer)), number) for host, port, lid, peer, number in links)


def _state(number: int) -> str:
    return STATES[number] if 0 <= number < len(STATES) else "unknown"


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _records(text: str, heading: str) -> List[Dict[str, str]]:
    """The ``key....value`` lines below each heading."""
    records: List[Dict[str, str]] = []
    for line in text.splitlines():
        if line.strip() == heading:
            records.append({})
        match = _DOTTED.match(line)
        if match and records:
            records[-1].setdefault(match.group(1).strip(), match.group(2).strip())
    return records
