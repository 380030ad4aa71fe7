# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way to an NFS server: through which interface, with which MTU, and whether frames of that size really arrive.

"Check the network between the NFS server and a DGX server to make sure there are no bottlenecks (for example, … a smaller MTU somewhere in the network)"
(Best Practices, section 2.2.1): an interface tells nothing about the switches behind it, so packets of full size that nobody may split are sent.
"""
import json
import re
import socket
from typing import Any, List, NamedTuple, Optional, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.sysfs import Sysfs

#: IP and ICMP headers, which ping does not count.
_HEADERS = {4: 28, 6: 48}
#: What is usual: jumbo frames, IPoIB with 4 KiB and 2 KiB, Ethernet, tunnels, the least of IPv6.
_USUAL = (65520, 9000, 4092, 2044, 1500, 1450, 1400, 1280)
_SECONDS = 1
_ATTEMPTS = 2
#: An IPv4 packet holds no more than this.
_LARGEST = 65535


class Route(NamedTuple):
    """The way to a server. ``carries`` is the largest frame that is known to arrive whole; None if that was not tried, or nothing answers."""

    server: str
    address: str
    interface: str
    mtu: Optional[int]
    gateway: str
    carries: Optional[int]
    problem: str


def server_of(source: str) -> str:
    """The host of ``host:/export`` or ``[fd00::1]:/export``; empty if it is neither."""
    match = re.match(r"^\[([0-9A-Fa-f:.%]+[^\]]*)\]:|^([^\[\]:/\s]+):", source)
    return (match.group(1) or match.group(2)) if match else ""


def find_route(server: str, address: str, sysfs: Sysfs, commands: Commands, probe: bool, least: Optional[int]) -> Route:
    """Ask the kernel for the way; ``address`` may be empty, then the name is resolved. ``least`` is the MTU that is wanted."""
    address = address or resolve(server)
    if not address:
        return Route(server, "", "", None, "", None, "{0} has no address: the name cannot be resolved on this host.".format(server))
    entry = _ask(address, commands)
    interface = str(entry.get("dev") or "")
    if not interface:
        return Route(server, address, "", None, "", None, "There is no route to {0}.".format(_named(server, address)))
    mtu = _mtu(entry, interface, sysfs)
    if interface == "lo" or mtu is None:
        return Route(server, address, interface, mtu, "", None, "")
    route = Route(server, address, interface, mtu, str(entry.get("gateway") or ""), None, "")
    try:
        route = route._replace(carries=_carries(address, mtu, commands) if probe else None)
    except FleetError as error:
        return route._replace(problem="It is not known whether frames of {0} bytes arrive at {1} by {2}. {3}".format(
            mtu, _named(server, address), interface, error.message))
    return route._replace(problem=_problem(route, probe, least))


def _named(server: str, address: str) -> str:
    return server if server == address else "{0} ({1})".format(server, address)


def resolve(server: str) -> str:
    """The first address of a name; empty if there is none."""
    try:
        return str(socket.getaddrinfo(server, 2049, 0, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        return ""


def parse_route(text: str) -> Any:
    """The first entry of ``ip -json route get``; empty if it is none. iproute2 before 4.16, as in Ubuntu 18.04, prints routes in words all the same."""
    try:
        entry = json.loads(text)[0]
    except (ValueError, LookupError, TypeError):
        return _in_words(text)
    return entry if isinstance(entry, dict) else {}


def _in_words(text: str) -> Any:
    words = dict(re.findall(r"\b(dev|via|mtu)(?: lock)? (\S+)", text))
    if "dev" not in words:
        return {}
    mtu = words.get("mtu", "")
    return {"dev": words["dev"], "gateway": words.get("via", ""), "metrics": [{"mtu": int(mtu)}] if re.match(r"^[0-9]{1,6}\Z", mtu) else []}


def _ask(address: str, commands: Commands) -> Any:
    try:
        return parse_route(commands.run(("ip", "-json", "route", "get", address)).out)
    except FleetError:
        return {}


def _mtu(entry: Any, interface: str, sysfs: Sysfs) -> Optional[int]:
    """That of the interface, or a smaller one that the route itself has."""
    mtu = sysfs.number("sys/class/net/{0}/mtu".format(interface), 0)
    metrics = entry.get("metrics")
    for metric in metrics if isinstance(metrics, list) else []:
        if isinstance(metric, dict) and isinstance(metric.get("mtu"), int):
            mtu = min(mtu, metric["mtu"]) if mtu else metric["mtu"]
    return mtu or None


def _carries(address: str, mtu: int, commands: Commands) -> Optional[int]:
    """The largest of the usual sizes that arrives; None if nothing comes back even of small ones. Raises :class:`FleetError` if ping cannot be run."""
    sizes: List[int] = [min(mtu, _LARGEST)] + [size for size in _USUAL if size < mtu]
    if _arrives(address, sizes[0], commands):
        return sizes[0]
    if not _arrives(address, sizes[-1], commands):
        return None
    return next((size for size in sizes[1:-1] if _arrives(address, size, commands)), sizes[-1])


def _arrives(address: str, size: int, commands: Commands) -> bool:
    version = 6 if ":" in address else 4
    words: Sequence[str] = ("ping", "-n", "-q", "-c", "1", "-W", str(_SECONDS), "-M", "do", "-s", str(size - _HEADERS[version]), address)
    # One packet that is lost for another reason says nothing of its size.
    return any(commands.run(words, _SECONDS * 5).rc == 0 for _attempt in range(_ATTEMPTS))


def _problem(route: Route, probe: bool, least: Optional[int]) -> str:
    """Why this way is too narrow; empty if it is not."""
    way = "{0} by {1}".format(_named(route.server, route.address), route.interface)
    if least is not None and route.mtu is not None and route.mtu < least:
        return "The way to {0} has an MTU of {1}, but {2} is expected. Set it on the interface, and on the switches and the server too.".format(
            way, route.mtu, least)
    if not probe or route.mtu is None:
        return ""
    if route.carries is None:
        return "{0} does not answer ping, so it is not known whether frames of {1} bytes arrive there.".format(way, route.mtu)
    if route.carries < route.mtu:
        return ("Frames to {0} may have {1} bytes by the interface, but only {2} arrive. A switch or the server has a smaller MTU: full packets are lost or "
                "split on the way. Set the same MTU everywhere.").format(way, route.mtu, route.carries)
    return ""
