# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the netplan files that a host has to those that are wanted: what is filled in, what is in the way, which links have to go. No side effects."""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from .netplan import HEADER, KINDS, Definition, Definitions, Document, base, in_force, listed, merged, number, spoken_to_values, written
from .netplan_links import Links, as_named, meant, owners
from .netplan_rules import Network, problems

PLACE = "/etc/netplan/"
#: How often a bond looks at its members' links, in ms. Without it the kernel never notices in most modes that one is gone; section 8.1.3 has 100.
MONITOR_MS = 100
#: What the network cards of running guests and containers are on the host.
GUEST_PORTS = ("tun", "veth", "macvtap")

_FILE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.yaml\Z")
#: The key of a secret, alone on its line or in braces after others; what it says is the rest of the line, and all lines below that are indented further.
_SECRET = re.compile(
    r"(?im)^(?P<indent>[ \t]*)(?P<key>(?:[^\n]*?[\s{,])?"
    r"[\"']?(?:[\w.-]*(?:password|psk|secrets?|wep-key\d)|key|private(?:-key)?|shared|(?:sim-)?pin)[\"']?[ \t]*:)"
    r"[^\n]*(?:\n(?P=indent)[ \t]+[^\n]*|\n[ \t]*(?=\n))*")


#: What our file says: settings by kind and name.
Own = Dict[str, Dict[str, Dict[str, Any]]]


class Text(NamedTuple):
    """A file as it is or is to be: its text, and None as mode for one that is written anew."""

    text: str
    mode: Optional[int] = None


class Wish(NamedTuple):
    """What a play asks for; checked as far as no host is needed."""

    present: bool
    file: str
    network: Mapping[str, Any]
    replaces: Tuple[str, ...]
    detach: bool

    @property
    def path(self) -> str:
        return PLACE + self.file

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what cannot be netplan's."""
        present = params["state"] == "present"
        replaces = tuple(dict.fromkeys(_file_name("replaces", name) for name in params["replaces"] or ()))
        file = _file_name("file", params["file"])
        if file in replaces:
            raise FleetError("replaces has {0}, which is the file that is written. Name the other files there.".format(file))
        network = params["network"]
        if present and not network:
            raise FleetError("network is empty. It takes what stands below \"network:\" in a netplan file: {0}. To remove the file, use state: absent.".format(
                ", ".join(KINDS)))
        return cls(present, file, checked(network or {}) if present else {}, replaces, bool(params["detach"]))


class Found(NamedTuple):
    """A host as it is. ``files`` are all that netplan reads, by path; ``documents`` what they say; ``kept`` those set aside by an earlier run, by name,
    and ``kept_documents`` what these say. ``ifupdown``: interfaces that the older system configures, and where."""

    files: Mapping[str, Text]
    documents: Sequence[Document]
    kept: Mapping[str, Text]
    kept_documents: Sequence[Document]
    links: Links
    ifupdown: Mapping[str, str] = {}


class Plan(NamedTuple):
    """What has to be done to links between one set of files and another; netplan and networkd do the rest, but neither removes nor remakes a link."""

    remove: Tuple[str, ...]
    release: Tuple[str, ...]


class Change(NamedTuple):
    """``files``: new contents of files by path, None for one that goes away. ``aside``: names that are kept; ``back``: names that are no longer."""

    files: Mapping[str, Optional[Text]]
    aside: Tuple[str, ...]
    back: Tuple[str, ...]
    before: Mapping[str, Text]
    warnings: Tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.files)

    @property
    def after(self) -> Dict[str, Text]:
        """All of netplan's files as they will be."""
        answer = {path: text for path, text in self.before.items() if path not in self.files}
        answer.update({path: text for path, text in self.files.items() if text is not None})
        return answer

    @property
    def diffs(self) -> List[Diff]:
        shown = []
        for path in sorted(self.files):
            found, wanted = self.before.get(path), self.files[path]
            shown.append(Diff(_masked(found.text) if found else "", _masked(wanted.text) if wanted else "", path))
        return shown


def decide(wish: Wish, found: Found) -> Change:
    """The files that are wanted, or a refusal that names all that stands against them."""
    files: Dict[str, Optional[Text]] = {}
    own = found.files.get(wish.path)
    if own is not None and not own.text.startswith(HEADER):
        raise FleetError("{0} is there and was not written by dgxops.fleet. It was left alone. Choose another name (file), or move it by hand.".format(
            wish.path))
    replaces = wish.replaces if wish.present else ()
    aside = tuple(name for name in replaces if PLACE + name in found.files)
    back = tuple(name for name in sorted(found.kept) if name not in replaces and (own is not None or PLACE + name not in found.files))
    for name in replaces:
        if name not in aside and name not in found.kept:
            raise FleetError("replaces has {0}, but there is no {1}{0}, and no copy of it was kept. {1} has {2}.".format(
                name, PLACE, ", ".join(sorted(base(path) for path in found.files if path.startswith(PLACE) and path != wish.path)) or "no other file"))
    for name in aside:
        files[PLACE + name] = None
    for name in back:
        if PLACE + name in found.files and found.files[PLACE + name].text != found.kept[name].text:
            raise FleetError("{0}{1} was set aside, and is to come back, but there is another file of that name now. Move either of them: the older one is "
                             "kept in /var/backups/dgxops/netplan/{2}.".format(PLACE, name, wish.file))
        if PLACE + name not in found.files:
            files[PLACE + name] = found.kept[name]
    warnings: Tuple[str, ...] = ()
    if wish.present:
        others = _others(wish, found, aside, back)
        whole = complete(wish.network, others, found.links)
        _refuse(wish, others, whole, found)
        text = written(whole)
        if own is None or own.text != text:
            files[wish.path] = Text(text)
        warnings = _cloud_init(aside)
    elif own is not None:
        files[wish.path] = None
    return Change(files, aside, back, found.files, warnings)


def plan(before: Definitions, after: Definitions) -> Plan:
    """Links that only ``before`` has, or has made differently: the kernel or networkd would leave them as they are."""
    gone = [one.name for one in before.values() if one.virtual and _making(one) != _making(after.get(one.name))]
    masters, wanted = _masters(before), _masters(after)
    released = [name for name, master in masters.items() if wanted.get(name) != master and master not in gone and name not in gone]
    # What lies on top goes first.
    gone.sort(key=lambda name: (-height(before, name), name))
    return Plan(tuple(gone), tuple(sorted(released)))


def foreign_ports(names: Sequence[str], before: Definitions, links: Links) -> Dict[str, List[str]]:
    """For links that are to go, what is attached to them that no file speaks of: the network cards of running guests."""
    answer: Dict[str, List[str]] = {}
    for name in names:
        known = before[name].members if name in before else ()
        ports = sorted(link.name for link in links.values() if link.master == name and link.name not in known and link.kind in GUEST_PORTS)
        if ports:
            answer[name] = ports
    return answer


def unfit_ports(after: Definitions, links: Links) -> List[str]:
    """Links that get another MTU than they have, with what of running guests is attached to them and would not have it: guests keep theirs while they run."""
    told = []
    links = as_named(after, links)
    for name, definitions in sorted(owners(after, links).items()):
        wanted = next((one.mtu for one in definitions if one.mtu is not None), None)
        if wanted is None or name not in links or links[name].mtu == wanted:
            continue
        ports = sorted("{0} ({1})".format(link.name, link.mtu) for link in links.values()
                       if name in (link.master, link.lower) and link.kind in GUEST_PORTS and link.mtu != wanted)
        if ports:
            told.append("{0} is to have the MTU {1}, but {2} of running guests on it would keep theirs".format(name, wanted, ", ".join(ports)))
        if links[name].handed_out:
            told.append("{0} is to have the MTU {1} instead of {2}, but running guests have its virtual functions {3} and would keep theirs".format(
                name, wanted, links[name].mtu, ", ".join(links[name].handed_out)))
    return told


def _making(one: Optional[Definition]) -> Any:
    """What a link is made with, and can only get by being made anew."""
    if one is None:
        return None
    keys: Tuple[str, ...] = ("parameters", "macaddress")
    if one.kind == "vlans":
        keys += ("id", "link")
    elif one.kind not in ("bonds", "bridges"):
        return one.kind, _text(one.settings)
    return (one.kind,) + tuple(_text(one.settings.get(key)) for key in keys)


def _text(value: Any) -> Any:
    """Values of a file and values of a playbook compare alike."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _text(entry)) for key, entry in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_text(entry) for entry in value)
    return str(spoken_to_values(value))


def _masters(definitions: Definitions) -> Dict[str, str]:
    return {member: one.name for one in definitions.values() for member in one.members}


def height(definitions: Definitions, name: str, seen: Tuple[str, ...] = ()) -> int:
    one = definitions.get(name)
    if one is None or name in seen:
        return 0
    below = one.members + ((one.link,) if one.link else ())
    return 1 + max([height(definitions, lower, seen + (name,)) for lower in below] or [0])


def _file_name(option: str, name: str) -> str:
    plain = name[len(PLACE):] if name.startswith(PLACE) else name
    if not _FILE.match(plain):
        raise FleetError("{0} has {1!r}. The name of a file in {2} is expected, ending in .yaml.".format(option, name, PLACE))
    return plain


def checked(network: Mapping[str, Any]) -> Dict[str, Any]:
    """The part below ``network``, with the types of netplan; a renderer for all is said of each, since another file's interfaces are not ours to move."""
    if set(network) == {"network"} and isinstance(network["network"], Mapping):
        network = network["network"]
    unknown = sorted(set(map(str, network)) - set(KINDS) - {"version", "renderer"})
    if unknown:
        hint = " netplan calls them ethernets, with an s." if "ethernet" in unknown else ""
        raise FleetError("network has {0}. {1} are expected.{2} What else netplan knows belongs in a file of its own.".format(
            ", ".join(unknown), ", ".join(KINDS), hint))
    if str(network.get("version", 2)) != "2":
        raise FleetError("network.version is {0!r}, but netplan has only version 2.".format(network["version"]))
    answer: Dict[str, Any] = {}
    for kind in KINDS:
        entries = network.get(kind) or {}
        if not isinstance(entries, Mapping):
            raise FleetError("network.{0} is {1!r}. Names of interfaces are expected there, each with its settings.".format(kind, entries))
        for name, settings in entries.items():
            if settings is not None and not isinstance(settings, Mapping):
                raise FleetError("network.{0}.{1} is {2!r}. Settings are expected, such as {{dhcp4: true}}.".format(kind, name, settings))
            own = spoken_to_values(settings or {})
            _check_lists(kind, name, own)
            if network.get("renderer"):
                own.setdefault("renderer", str(network["renderer"]))
            answer.setdefault(kind, {})[str(name)] = own
    return answer


def _check_lists(kind: str, name: Any, settings: Mapping[str, Any]) -> None:
    place = "network.{0}.{1}".format(kind, name)
    for key in ("addresses", "interfaces", "routes"):
        if key in settings and not isinstance(settings[key], (list, tuple)):
            raise FleetError("{0}.{1} is {2!r}. A list is expected: [{2}].".format(place, key, settings[key]))
    for key in ("nameservers", "parameters", "match"):
        if key in settings and not isinstance(settings[key], Mapping):
            raise FleetError("{0}.{1} is {2!r}. Settings by name are expected.".format(place, key, settings[key]))
    for key, value in sorted((settings.get("nameservers") or {}).items()):
        if not isinstance(value, (list, tuple)):
            raise FleetError("{0}.nameservers.{1} is {2!r}. A list is expected: [{2}].".format(place, key, value))
    for entry in settings.get("routes", []):
        if not isinstance(entry, Mapping):
            raise FleetError("{0}.routes has {1!r}. {{to: …, via: …}} is expected.".format(place, entry))
    secrets = sorted({"auth", "access-points"}.intersection(settings))
    if secrets:
        raise FleetError("{0} has {1}, which holds a password, and what is said here is shown in diffs. Keep it in a file of its own.".format(
            place, secrets[0]))


def _others(wish: Wish, found: Found, aside: Sequence[str], back: Sequence[str]) -> List[Document]:
    """The other files that will count."""
    hidden = {wish.path} | {PLACE + name for name in aside}
    there = [document for document in found.documents if document.path not in hidden]
    return in_force(there + [document for document in found.kept_documents if base(document.path) in back])


def complete(network: Mapping[str, Any], others: Sequence[Document], links: Links) -> Own:
    """What is wanted with what follows from it: members that are not spoken of, their MTU, and that they ask for no address; a bond that watches its links."""
    own: Own = {kind: {name: dict(settings) for name, settings in entries.items()} for kind, entries in network.items()}
    for settings in own.get("bonds", {}).values():
        parameters = dict(settings.get("parameters") or {})
        if not {"mii-monitor-interval", "arp-interval"}.intersection(parameters):
            parameters["mii-monitor-interval"] = MONITOR_MS
        settings["parameters"] = parameters
    elsewhere = merged(others)
    for kind, name in _top_down(own):
        upper = own[kind][name]
        members = [str(member) for member in listed(upper.get("interfaces"))]
        for lower in members + ([str(upper["link"])] if kind == "vlans" and upper.get("link") else []):
            lower_settings = _settings_of(lower, own, elsewhere, links)
            if lower_settings is None:
                continue
            if lower in members:
                lower_settings.setdefault("dhcp4", False)
                lower_settings.setdefault("dhcp6", False)
            mtu = number(upper.get("mtu"))
            said = lower_settings.get("mtu") or (elsewhere[lower].settings.get("mtu") if lower in elsewhere else None)
            if mtu is not None and said is None and (lower in members or mtu > 1500):
                lower_settings["mtu"] = mtu
    return own


def _settings_of(name: str, own: Own, elsewhere: Definitions, links: Links) -> Optional[Dict[str, Any]]:
    """Where an interface is spoken of in our file; None if it does not exist at all."""
    for entries in own.values():
        if name in entries:
            return entries[name]
    if name in elsewhere:
        kind = elsewhere[name].kind
    elif name in links and not links[name].kind:
        kind = "ethernets"
    else:
        return None
    if kind not in KINDS:
        return None
    return own.setdefault(kind, {}).setdefault(name, {})


def _top_down(own: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> List[Tuple[str, str]]:
    definitions = {name: Definition(name, kind, settings, ()) for kind, entries in own.items() for name, settings in entries.items()}
    return [(definitions[name].kind, name) for name in sorted(definitions, key=lambda name: (-height(definitions, name), name))]


def _refuse(wish: Wish, others: Sequence[Document], own: Mapping[str, Any], found: Found) -> None:
    mine = Document(wish.path, own)
    counting = in_force(list(others) + [mine])
    hiding = [document.path for document in counting if base(document.path) == wish.file and document is not mine]
    if hiding:
        raise FleetError("{0} hides {1}: of files with one name netplan reads only that one. Choose another name (file), or remove it.".format(
            hiding[0], wish.path))
    together = merged(counting)
    ours: Set[str] = {name for entries in own.values() for name in entries}
    told = _overruled(mine, others) + _older(together, ours, found) + problems(Network(together, _staying(together, found), ours))
    if told:
        raise FleetError("Nothing was changed, since this network cannot be: {0}".format(" ".join(
            told if len(told) == 1 else ["({0}) {1}".format(position, sentence) for position, sentence in enumerate(told, 1)])), problems=told)


def _staying(together: Definitions, found: Found) -> Links:
    """The host's links without those that only the old files speak of, and that have their addresses from there."""
    before, links = merged(in_force(found.documents)), as_named(together, found.links)
    left, kept = owners(before, links), owners(together, links)
    leaving = {name for name in left if name not in kept} | {name for name, one in before.items() if one.virtual and name not in together}
    return {name: link for name, link in links.items() if name not in leaving}


def _older(together: Definitions, ours: Set[str], found: Found) -> List[str]:
    """Images that were upgraded from older releases may still have ifupdown at work."""
    names = {link for name in ours for link in meant(together[name], found.links)} | {name for name in ours if together[name].virtual}
    form = ("{0} is configured by ifupdown too, in {1}. Two systems would set it up, each in its own way. Take it out there first; or leave it to ifupdown, "
            "by dgxops.fleet.ifupdown_config.")
    return [form.format(name, found.ifupdown[name]) for name in sorted(names) if name in found.ifupdown]


def _overruled(mine: Document, others: Sequence[Document]) -> List[str]:
    """What other files would add to our lists, or say after us."""
    told: List[str] = []
    for other in others:
        later = base(other.path) > base(mine.path)
        for kind in KINDS:
            theirs = other.network.get(kind)
            for name, settings in mine.network.get(kind, {}).items():
                found = theirs.get(name) if isinstance(theirs, Mapping) else None
                if isinstance(found, Mapping):
                    told += _differences("{0} of {1}", name, settings, found, other.path, later)
    return told


def _differences(form: str, name: str, own: Mapping[str, Any], found: Mapping[str, Any], path: str, later: bool) -> List[str]:
    told: List[str] = []
    for key, value in own.items():
        other = found.get(key)
        what = form.format(key, name)
        if other is None:
            continue
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            told += _differences("{0} in " + key + " of {1}", name, value, other, path, later)
        elif isinstance(value, (list, tuple)):
            more = [entry for entry in listed(other) if _text(entry) not in [_text(known) for known in value]]
            if more:
                told.append("{0} also has {1}: {2}. netplan would add them to ours. Set that file aside by replaces, or edit it.".format(
                    path, what, ", ".join(str(entry) for entry in more)))
        elif later and _text(value) != _text(other):
            told.append("{0} comes after our file and says that {1} is {2}, not {3}. Choose a later name (file), or set that file aside by replaces.".format(
                path, what, other, value))
    return told


def _cloud_init(aside: Sequence[str]) -> Tuple[str, ...]:
    written_by = [name for name in aside if "cloud-init" in name]
    if not written_by:
        return ()
    return ("{0} is written by cloud-init, which may write it again. Tell it not to: \"network: {{config: disabled}}\" in "
            "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg.".format(written_by[0]),)


def _masked(text: str) -> str:
    return _SECRET.sub(r"\g<indent>\g<key> ********", text)
