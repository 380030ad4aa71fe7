# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a head node does for a cluster of a given size: chapter 10 of the Best Practices for DGX, and section 8.1.1 on subnet managers.

The document speaks of "smaller" and "larger" clusters. Where it comes nearest to a number (8.1.1) it calls two to four systems small; one 36-port switch, the
smallest there is, ends at nine systems with four links each.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError

#: Up to here one machine serves all; from the other number on, people get machines of their own to log in to.
SMALL, LARGE = 4, 9
#: So many people make a head node slow for the scheduler; "this is also true as the number of users grows".
MANY_USERS = 20

SERVICES = ("scheduler", "monitoring", "login", "nfs", "subnet_manager")


class Cluster(NamedTuple):
    """What the advice depends on. ``login_nodes`` and ``storage`` are machines for that alone; ``hardware_manager``: a switch can manage the subnet."""

    nodes: int
    users: int
    login_nodes: int
    storage: bool
    infiniband: bool
    hardware_manager: bool

    @classmethod
    def from_dict(cls, given: Any) -> "Cluster":
        if not isinstance(given, Mapping):
            raise FleetError("The cluster is {0!r}, but a dictionary is expected, such as {{nodes: 4, users: 10}}.".format(given))
        unknown = sorted(set(given) - set(cls._fields), key=str)
        if unknown:
            raise FleetError("{0!r} is not known of a cluster. There are {1}.".format(unknown[0], ", ".join(cls._fields)))
        numbers = [_count(name, given.get(name, 0)) for name in cls._fields[:3]]
        switches = [_switch(name, given.get(name, False)) for name in cls._fields[3:]]
        return cls(numbers[0], numbers[1], numbers[2], *switches)

    @property
    def size(self) -> str:
        return "small" if self.nodes <= SMALL else "medium" if self.nodes <= LARGE else "large"


class Service(NamedTuple):
    """Whether the head node does this, and why, or why not."""

    here: bool
    why: str


class Advice(NamedTuple):
    """What the head node does, and what else the document says of a cluster like this."""

    size: str
    services: Mapping[str, Service]
    remarks: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        return {"size": self.size, "services": {name: dict(service._asdict()) for name, service in self.services.items()}, "remarks": list(self.remarks)}


def advise(given: Any, chosen: Any = None) -> Advice:
    """Advice for a cluster. ``chosen`` are services that somebody decided on himself, with true or false; the others are by size.

    Raises :class:`FleetError` for what is not a cluster, or not a service.
    """
    cluster = Cluster.from_dict(given)
    services = {
        "scheduler": Service(True, "The head node runs the resource manager at any size."),
        "monitoring": Service(True, "The head node watches the cluster at any size."),
        "login": _login(cluster),
        "nfs": _nfs(cluster),
        "subnet_manager": _manager(cluster),
    }
    if chosen is not None and not isinstance(chosen, Mapping):
        raise FleetError("The chosen services are {0!r}, but a dictionary with true or false is expected, such as {{nfs: false}}.".format(chosen))
    for name, here in (chosen or {}).items():
        if name not in services:
            raise FleetError("{0!r} is not a service of a head node. There are {1}.".format(name, ", ".join(SERVICES)))
        if here != "auto":
            wanted = _switch(name, here)
            advised = services[name]
            against = "" if wanted == advised.here else " The advice is otherwise: " + advised.why
            services[name] = Service(wanted, "So it was chosen." + against)
    return Advice(cluster.size, services, tuple(_remarks(cluster, services)))


def _login(cluster: Cluster) -> Service:
    if cluster.login_nodes:
        return Service(False, "People log in to {0}.".format(_number(cluster.login_nodes, "other machine")))
    if cluster.nodes > LARGE or cluster.users > MANY_USERS:
        return Service(True, "There is no other machine to log in to. With {0} and {1}, one or more login nodes are advised (chapter 10).".format(
            _number(cluster.nodes, "system"), _number(cluster.users, "user")))
    return Service(True, "For a cluster of {0} it is the login node too (chapter 10).".format(_number(cluster.nodes, "system")))


def _nfs(cluster: Cluster) -> Service:
    if cluster.storage:
        return Service(False, "There is a storage system for that.")
    if cluster.nodes > SMALL:
        return Service(False, "For {0} a dedicated storage system, NFS or a parallel file system, is advised (chapter 10). Choose nfs to export from here "
                              "all the same.".format(_number(cluster.nodes, "system")))
    return Service(True, "For {0} it can be the NFS server; give it storage and memory for that (chapter 10).".format(_number(cluster.nodes, "system")))


def _manager(cluster: Cluster) -> Service:
    if not cluster.infiniband:
        return Service(False, "There is no InfiniBand.")
    return Service(True, "The primary subnet manager is here{0} (chapter 10).".format(", and that of a switch takes over" if cluster.hardware_manager else ""))


def _remarks(cluster: Cluster, services: Mapping[str, Service]) -> List[str]:
    remarks = []
    if services["subnet_manager"].here and not cluster.hardware_manager and not cluster.login_nodes:
        remarks.append("Nothing takes over if this subnet manager fails. Switch on that of an InfiniBand switch, or run a second one on another machine.")
    if services["subnet_manager"].here and cluster.login_nodes:
        remarks.append("Let the login nodes run subnet managers of lower priority (chapter 10).")
    if services["login"].here and not services["login"].why.startswith("For "):
        remarks.append("Keep logins off this machine as soon as there is another: what people run slows the scheduler down.")
    if cluster.infiniband and cluster.nodes > LARGE:
        remarks.append("With heavy traffic on InfiniBand, a machine for the subnet manager alone is better (section 8.1.1).")
    if services["login"].here:
        remarks.append("For graphical pre- and post-processing, consider a GPU in this machine (chapter 10).")
    return remarks


class Supply(NamedTuple):
    """A power supply as the management controller tells of it."""

    name: str
    present: bool
    good: bool
    said: str


_ABSENT = re.compile(r"not present|device absent|no reading|disabled|^ns$", re.IGNORECASE)
_BAD = re.compile(r"fail|lost|out-of-range|config error|inactive|non-?redundant|insufficient|degraded|redundancy lost", re.IGNORECASE)


def power_supplies(text: str) -> List[Supply]:
    """What ``ipmitool sdr type "Power Supply"`` prints: name, number, status, entity and the events that hold, between bars.

    An entry without a state of a supply, such as one that only counts watts, is left out; so is the controller's own summary of redundancy.
    """
    supplies = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 5 or not fields[0]:
            continue
        name, _number_, status, _entity, said = fields
        if re.search("redundan", name + said, re.IGNORECASE) or re.match(r"-?\d+(\.\d+)? (Watts|Volts|Amps|percent|degrees)", said):
            continue
        absent = bool(_ABSENT.search(said) or status == "ns" or not re.search("presence detected", said, re.IGNORECASE))
        supplies.append(Supply(name, not absent, not absent and not _BAD.search(said) and status in ("ok", "ns", ""), said or status))
    return supplies


def judge_power(supplies: List[Supply]) -> Tuple[Optional[bool], str]:
    """Whether one power supply may fail, None if it is not known, and in words."""
    if not supplies:
        return None, "The management controller tells of no power supply."
    good = [supply.name for supply in supplies if supply.good]
    bad = ["{0} ({1})".format(supply.name, supply.said) for supply in supplies if not supply.good]
    text = "{0} good: {1}.".format(_number(len(good), "power supply is", "power supplies are"), ", ".join(good) or "none")
    survives = len(good) > 1 and not any(supply.present and not supply.good for supply in supplies)
    return survives, text + (" Not good: {0}.".format(", ".join(bad)) if bad else "")


def _number(count: int, one: str, more: str = "") -> str:
    return "{0} {1}".format(count, one if count == 1 else more or one + "s")


def _count(name: str, given: Any) -> int:
    text = str(given)
    if isinstance(given, bool) or not re.match(r"^[0-9]{1,6}\Z", text):
        raise FleetError("{0} of the cluster is {1!r}, but a number is expected.".format(name, given))
    return int(text)


def _switch(name: str, given: Any) -> bool:
    if isinstance(given, bool):
        return given
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(given).lower() not in words:
        raise FleetError("{0} is {1!r}, but true or false is expected.".format(name, given))
    return words[str(given).lower()]
