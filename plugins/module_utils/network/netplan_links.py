# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The network links of a host, as ``ip`` and sysfs tell them, and which of them one of netplan's definitions means."""
import fnmatch
import glob
import json
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.commands import Commands
from ..host.errors import FleetError
from .interfaces import HANDED_OUT
from .netplan import Definition, Definitions, texts

LIST_LINKS = ("ip", "-details", "-json", "address", "show")


class Link(NamedTuple):
    """A link; ``kind`` is empty for hardware. ``max_mtu`` and ``max_vfs`` are 0 where nobody tells. ``lower`` is what a macvtap or VLAN lies on,
    ``handed_out`` the PCI addresses of its virtual functions that guests have."""

    name: str
    kind: str = ""
    mac: str = ""
    driver: str = ""
    mtu: int = 1500
    max_mtu: int = 0
    max_vfs: int = 0
    vfs: int = 0
    up: bool = True
    master: str = ""
    addresses: Tuple[str, ...] = ()
    lower: str = ""
    handed_out: Tuple[str, ...] = ()
    other_names: Tuple[str, ...] = ()

    def called(self, pattern: str) -> bool:
        """By any of its names, as networkd's ``Name=`` takes them (systemd.network(5))."""
        return any(fnmatch.fnmatchcase(name, pattern) for name in (self.name,) + self.other_names)


Links = Dict[str, Link]


def read_links(commands: Commands, sysfs: str = "/sys") -> Links:
    """All links of the host."""
    return parse_links(commands.output(LIST_LINKS), sysfs)


def parse_links(text: str, sysfs: str = "/sys") -> Links:
    """Read what ``ip -details -json address show`` says (iproute2 4.15 is that of DGX OS 4)."""
    try:
        entries = [entry for entry in json.loads(text or "[]") if entry.get("ifname")]
    except (ValueError, AttributeError):
        raise FleetError("{0} did not answer in JSON but with {1!r}. This needs iproute2 4.15 or newer.".format(" ".join(LIST_LINKS), text[:80]))
    return {entry["ifname"]: _link(entry, sysfs) for entry in entries}


def _link(entry: Mapping[str, Any], sysfs: str) -> Link:
    name = str(entry["ifname"])
    device = os.path.join(sysfs, "class", "net", name, "device")
    about = entry.get("linkinfo", {})
    kind = str(about.get("info_kind", ""))
    if kind == "ipoib" and not entry.get("link"):
        kind = ""  # the port of the adapter itself, and not a partition on it
    # In a bond the address is the bond's; iproute2 before 5.6 tells the adapter's own only here.
    own_mac = entry.get("permaddr") or about.get("info_slave_data", {}).get("perm_hwaddr") or entry.get("address") or ""
    driver = os.path.join(device, "driver")
    return Link(
        name, kind, str(own_mac).lower(),
        os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else "",
        int(entry.get("mtu") or 0), int(entry.get("max_mtu") or 0), _number(os.path.join(device, "sriov_totalvfs")),
        _number(os.path.join(device, "sriov_numvfs")), "UP" in entry.get("flags", []),
        str(entry.get("master", "")), tuple("{0}/{1}".format(part["local"], part["prefixlen"]) for part in entry.get("addr_info", []) if part.get("local")),
        str(entry.get("link") or ""), _handed_out(device), tuple(map(str, entry.get("altnames", []))),
    )


def _handed_out(device: str) -> Tuple[str, ...]:
    functions = [os.path.realpath(path) for path in glob.glob(os.path.join(glob.escape(device), "virtfn*"))]
    return tuple(sorted(os.path.basename(path) for path in functions if os.path.basename(os.path.realpath(os.path.join(path, "driver"))) in HANDED_OUT))


def _number(path: str) -> int:
    try:
        with open(path) as handle:
            return int(handle.read())
    except (OSError, ValueError):
        return 0


def meant(definition: Definition, links: Links) -> List[str]:
    """The names of the links that a definition is about, after it is applied; of hardware only what is there."""
    if definition.match is None or definition.virtual:
        if definition.virtual or definition.name in links:
            return [definition.name]
        return [link.name for link in links.values() if definition.name in link.other_names]
    found = matching(definition, links)
    renamed = definition.settings.get("set-name")
    return [str(renamed)] if renamed and found else sorted(found)


def matching(definition: Definition, links: Links) -> List[str]:
    """The names that the hardware has now of which a definition speaks by its properties (``match``)."""
    if definition.match is None or definition.virtual:
        return []
    return [link.name for link in links.values() if not link.kind and _matches(definition.match, link, definition.settings.get("set-name"))]


def as_named(definitions: Definitions, links: Links) -> Links:
    """The links by the names that ``set-name`` gives them; a link whose new name another one has and keeps is under its old one still."""
    new: Dict[str, str] = {}
    for one in definitions.values():
        found = matching(one, links) if one.settings.get("set-name") else []
        if len(found) == 1:
            new[found[0]] = str(one.settings["set-name"])
    while set(new.values()).difference(new).intersection(links):  # a name that somebody keeps; who does not get it keeps one, too
        new = {name: wanted for name, wanted in new.items() if wanted in new or wanted not in links}
    return {new.get(name, name): link._replace(
        name=new.get(name, name), master=new.get(link.master, link.master), lower=new.get(link.lower, link.lower)) for name, link in links.items()}


def _matches(match: Mapping[str, Any], link: Link, renamed: Optional[Any]) -> bool:
    """All conditions hold. A link that already has its new name is known by it, since the kernel's old one is gone."""
    if not match:
        return link.name != "lo"
    mac, driver, name = match.get("macaddress"), match.get("driver"), match.get("name")
    if mac is not None and str(mac).lower() != link.mac:
        return False
    if driver is not None:
        patterns = texts(driver) if isinstance(driver, (list, tuple)) else str(driver).split()
        if not any(fnmatch.fnmatchcase(link.driver, pattern) for pattern in patterns):
            return False
    if name is not None:
        return link.name == renamed or link.called(str(name))
    return mac is not None or driver is not None


def owners(definitions: Definitions, links: Links) -> Dict[str, List[Definition]]:
    """For each link the definitions that are about it."""
    answer: Dict[str, List[Definition]] = {}
    for definition in definitions.values():
        for name in meant(definition, links):
            answer.setdefault(name, []).append(definition)
    return answer
