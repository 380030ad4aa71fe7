# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""netplan's documents: read as netplan reads them, several files as one, and written.

Values may come from a playbook, with YAML's types, or from a file, where everything is text, as it is to netplan itself.
"""
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError

#: What is written here. Other kinds (wifis, tunnels, …) may be in other files.
KINDS = ("ethernets", "bonds", "bridges", "vlans")
OTHER_KINDS = ("wifis", "modems", "tunnels", "vrfs", "dummy-devices", "virtual-ethernets", "nm-devices")
#: Kinds whose links netplan makes.
VIRTUAL_KINDS = ("bonds", "bridges", "vlans", "tunnels", "vrfs", "dummy-devices", "virtual-ethernets")
#: What is looked for, in netplan's order: of files with the same name the first counts (netplan-generate(8)).
DIRECTORIES = ("run/netplan", "etc/netplan", "lib/netplan")

HEADER = "# Written by dgxops.fleet.netplan_config, which owns this file. See netplan(5).\n"

#: IFNAMSIZ is 16, with the final zero; the kernel takes neither "/" nor white space (dev_valid_name).
NAME = re.compile(r"^[^\s/:%]{1,15}\Z")
_PLAIN = re.compile(r"^(?!(?:true|false|yes|no|on|off|null|y|n)\Z)[A-Za-z][A-Za-z0-9_./-]*\Z", re.IGNORECASE)
_NUMBER = re.compile(r"^(?:0|[1-9][0-9]*)\Z")
_SPOKEN = {"true": True, "yes": True, "on": True, "y": True, "false": False, "no": False, "off": False, "n": False}
#: Ethernet's six bytes, or InfiniBand's twenty.
_MAC = re.compile(r"^[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}(?:(?::[0-9A-Fa-f]{2}){14})?\Z")


class Document(NamedTuple):
    """One file: where it is, and what it says below ``network``."""

    path: str
    network: Mapping[str, Any]


class Route(NamedTuple):
    """An entry of ``routes``."""

    to: str
    via: Optional[str]
    metric: Optional[int]
    table: Optional[int]
    on_link: bool

    @property
    def default(self) -> bool:
        return self.to in ("default", "0.0.0.0/0", "::/0", "0/0")


class Definition(NamedTuple):
    """One interface, as all files together define it. ``name`` is netplan's, which is that of the link unless there is a ``match``."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    files: Tuple[str, ...]

    @property
    def virtual(self) -> bool:
        return self.kind in VIRTUAL_KINDS

    @property
    def members(self) -> Tuple[str, ...]:
        return tuple(texts(self.settings.get("interfaces"))) if self.kind in ("bonds", "bridges", "vrfs") else ()

    @property
    def link(self) -> str:
        return str(self.settings.get("link", "")) if self.kind == "vlans" else ""

    @property
    def match(self) -> Optional[Mapping[str, Any]]:
        found = self.settings.get("match")
        return found if isinstance(found, Mapping) else None

    @property
    def parameters(self) -> Mapping[str, Any]:
        found = self.settings.get("parameters")
        return found if isinstance(found, Mapping) else {}

    @property
    def mode(self) -> str:
        """The bond's mode; balance-rr is the kernel's default."""
        return str(self.parameters.get("mode", "balance-rr"))

    @property
    def mtu(self) -> Optional[int]:
        return number(self.settings.get("mtu"))

    @property
    def dhcp(self) -> bool:
        return truth(self.settings.get("dhcp4")) or truth(self.settings.get("dhcp6"))

    @property
    def addresses(self) -> Tuple[str, ...]:
        """With their prefix lengths; an entry may be a mapping with options."""
        return tuple(entry for entry in texts(self.settings.get("addresses")))

    @property
    def routes(self) -> Tuple[Route, ...]:
        found = [entry for entry in listed(self.settings.get("routes")) if isinstance(entry, Mapping)]
        return tuple(
            Route(
                str(entry.get("to", "")), str(entry["via"]) if entry.get("via") is not None else None,
                number(entry.get("metric")), number(entry.get("table")), truth(entry.get("on-link")),
            )
            for entry in found
        )


Definitions = Dict[str, Definition]


def truth(value: Any) -> bool:
    """A switch, as YAML or netplan spell it."""
    return value if isinstance(value, bool) else _SPOKEN.get(str(value).lower(), False)


def number(value: Any) -> Optional[int]:
    """A whole number, or None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.match(r"^-?[0-9]+\Z", value.strip()) else None


def listed(value: Any) -> List[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def texts(value: Any) -> List[str]:
    """The entries of a list; of an entry that is a mapping, such as an address with options, the key."""
    return [str(next(iter(entry), "")) if isinstance(entry, Mapping) else str(entry) for entry in listed(value)]


def spelled_mac(value: str) -> bool:
    return bool(_MAC.match(value))


def in_force(documents: Iterable[Document]) -> List[Document]:
    """Those files that netplan reads, in its order: by name, wherever they are; one in /run hides one of the same name in /etc, and that one in /lib."""
    chosen: Dict[str, Document] = {}
    ranks = {"/" + directory: rank for rank, directory in enumerate(DIRECTORIES)}
    for document in sorted(documents, key=lambda entry: ranks.get(entry.path.rpartition("/")[0], len(ranks))):
        chosen.setdefault(base(document.path), document)
    return [chosen[name] for name in sorted(chosen)]


def base(path: str) -> str:
    return path.rpartition("/")[2]


def merged(documents: Sequence[Document]) -> Definitions:
    """What several files say together. A later file adds to lists and replaces single values (netplan(5), "General structure")."""
    together: Dict[str, Dict[str, Any]] = {}
    sources: Dict[Tuple[str, str], List[str]] = {}
    for document in documents:
        for kind, name, settings in _definitions(document):
            found = together.setdefault(kind, {}).setdefault(name, {})
            _add(found, settings)
            sources.setdefault((kind, name), []).append(document.path)
    answer: Definitions = {}
    for kind in KINDS + OTHER_KINDS:
        for name, settings in together.get(kind, {}).items():
            if name in answer:
                raise FleetError("{0} is one of the {1} in {2} and one of the {3} in {4}. It can be only one of them.".format(
                    name, answer[name].kind, ", ".join(answer[name].files), kind, ", ".join(sources[kind, name])))
            answer[name] = Definition(name, kind, settings, tuple(sources[kind, name]))
    return answer


def _definitions(document: Document) -> Iterator[Tuple[str, str, Mapping[str, Any]]]:
    for kind in KINDS + OTHER_KINDS:
        entries = document.network.get(kind)
        for name, settings in entries.items() if isinstance(entries, Mapping) else ():
            if name != "renderer":
                yield kind, str(name), settings if isinstance(settings, Mapping) else {}


def _add(found: Dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if key != "match" and isinstance(value, Mapping):
            below = found.setdefault(key, {})
            if isinstance(below, dict):
                _add(below, value)
                continue
        if isinstance(value, (list, tuple)) and isinstance(found.get(key), list):
            found[key] = found[key] + [entry for entry in value if entry not in found[key]]
        else:
            found[key] = list(value) if isinstance(value, (list, tuple)) else value


def written(network: Mapping[str, Any]) -> str:
    """The file for what is wanted; the same text whatever the order it was said in."""
    body: Dict[str, Any] = {"version": 2}
    body.update({kind: network[kind] for kind in KINDS if network.get(kind)})
    return HEADER + "network:\n" + "".join(line + "\n" for line in _block(body, 1))


def _block(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key in value if depth == 1 else sorted(value):
        entry = value[key]
        if isinstance(entry, Mapping):
            if entry:
                yield "{0}{1}:".format(indent, _scalar(key))
                yield from _block(entry, depth + 1)
            else:
                yield "{0}{1}: {{}}".format(indent, _scalar(key))
        elif isinstance(entry, (list, tuple)) and any(isinstance(part, Mapping) for part in entry):
            yield "{0}{1}:".format(indent, _scalar(key))
            for part in entry:
                if not isinstance(part, Mapping):
                    yield "{0}- {1}".format(indent, _scalar(part))
                    continue
                lines = list(_block(part, depth + 1))
                yield "{0}- {1}".format(indent, lines[0].strip() if lines else "{}")
                yield from lines[1:]
        elif isinstance(entry, (list, tuple)):
            yield "{0}{1}: [{2}]".format(indent, _scalar(key), ", ".join(_scalar(part) for part in entry))
        else:
            yield "{0}{1}: {2}".format(indent, _scalar(key), _scalar(entry))


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if isinstance(value, int) or _NUMBER.match(text) or _PLAIN.match(text):
        return text
    return '"{0}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def spoken_to_values(value: Any) -> Any:
    """Switches and numbers that came as text (a template gives nothing else) as what they are, so that they are always written alike. null is not said."""
    if isinstance(value, Mapping):
        return {str(key): spoken_to_values(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [spoken_to_values(entry) for entry in value]
    if isinstance(value, str):
        if value.lower() in ("true", "false", "yes", "no"):
            return truth(value)
        if _NUMBER.match(value):
            return int(value)
    return value
