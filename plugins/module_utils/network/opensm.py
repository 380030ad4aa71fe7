# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""OpenSM as a host's subnet manager: what is wanted, what is in the way, and the way there and back.

One unit per port, ``opensm@GUID``, since one OpenSM serves one port. The unit of the distribution reads no settings of its own per port, and its
``opensm.service`` starts an OpenSM with default settings on every port, also when its package is upgraded; so our template takes the place of the one, and
the other is masked.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import Diff
from ..host.services import differences, units_diff
from ..host.units import Unit
from .ib_text import guid

#: What brings the programs, by program.
PROGRAMS = {"opensm": "opensm", "ibstat": "infiniband-diags", "saquery": "infiniband-diags", "sminfo": "infiniband-diags"}
#: Other ways to start one: the distribution's, on all ports, and that of NVIDIA's MLNX_OFED.
STARTERS = ("opensm.service", "opensmd.service")

TEMPLATE = "etc/systemd/system/opensm@.service"
PARTITIONS = "etc/opensm/dgxops-partitions.conf"
ROOTS = "etc/opensm/dgxops-roots.conf"
HEADER = "# Written by dgxops.fleet.opensm, which owns this file. See opensm(8).\n"

ENGINES = ("minhop", "updn", "dnup", "file", "ftree", "lash", "dor", "torus-2QoS", "nue", "dfsssp", "sssp", "ar_updn", "ar_ftree", "ar_torus", "kdor-hc",
           "kdor-ghc", "dfp", "dfp2", "chain", "pqft", "auto")
#: Settings that OpenSM reads anew at a HUP signal (osm_subnet.c, opt_tbl); at any other it must start again, and another becomes master meanwhile.
#: The priority is not among them, though OpenSM reads it: one that starts with it finds its place by itself, one that runs has to be handed the fabric.
_LIVE = ("sminfo_polling_timeout", "polling_retry_number")
_OWNED = _LIVE + (
    "sm_priority", "guid", "routing_engine", "root_guid_file", "partition_config_file", "sm_key", "subnet_prefix", "log_file", "dump_files_dir", "daemon")

_KEY = re.compile(r"^[a-z][a-z0-9_]*\Z")
_VALUE = re.compile(r"^[^\n#]*\Z")
_NAME = re.compile(r"^[A-Za-z0-9_.-]+\Z")
_GROUPS = ("ALL", "ALL_CAS", "ALL_SWITCHES", "ALL_ROUTERS", "SELF")


class Partition(NamedTuple):
    """A partition: its members as they are written in the file, in order."""

    name: str
    pkey: int
    ipoib: bool
    flags: Tuple[str, ...]
    members: Tuple[Tuple[str, str], ...]

    def line(self) -> str:
        head = "{0}=0x{1:04x}".format(self.name, self.pkey) + (",ipoib" if self.ipoib else "") + "".join("," + flag for flag in self.flags)
        return "{0} : {1} ;".format(head, ", ".join("{0}={1}".format(*member) for member in self.members))


class Wish(NamedTuple):
    """What a play asks for; checked."""

    present: bool
    ports: Tuple[str, ...]
    priority: int
    polling_timeout_ms: int
    polling_retries: int
    routing: Tuple[str, ...]
    roots: Tuple[str, ...]
    partitions: Tuple[Partition, ...]
    sm_key: Optional[str]
    subnet_prefix: Optional[str]
    settings: Tuple[Tuple[str, str], ...]
    take_over: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what OpenSM would not take, or would pass over without a word."""
        for key, least, most in (("priority", 0, 15), ("polling_timeout_ms", 100, 600000), ("polling_retries", 1, 100)):
            if not least <= params[key] <= most:
                raise FleetError("{0} is {1}, but a number from {2} to {3} is expected (opensm(8)).".format(key, params[key], least, most))
        for engine in params["routing"]:
            if engine not in ENGINES:
                raise FleetError("routing has {0!r}, which is no routing engine of OpenSM. There are: {1}.".format(engine, ", ".join(ENGINES)))
        settings = []
        for key, value in sorted(params["settings"].items()):
            said = {True: "TRUE", False: "FALSE", None: "(null)"}.get(value, str(value)) if isinstance(value, (bool, type(None))) else str(value)
            if not _KEY.match(str(key)) or not _VALUE.match(said):
                raise FleetError("settings has {0!r}: {1!r}, but a key of opensm.conf with a value on one line is expected.".format(key, value))
            if key in _OWNED:
                raise FleetError("settings has {0}, which is written from other options of this module. Use those.".format(key))
            settings.append((str(key), said))
        return cls(
            params["state"] == "present", tuple(params["ports"]), params["priority"], params["polling_timeout_ms"], params["polling_retries"],
            tuple(params["routing"]), tuple(guid(one) for one in params["roots"]), partitions_of(params["partitions"]),
            _hex("sm_key", params["sm_key"], secret=True), _hex("subnet_prefix", params["subnet_prefix"]), tuple(settings), params["conflicts"] == "disable",
        )

    def config(self, port: str) -> str:
        """The file for a port. Logs go to the journal, which knows how to keep and to end them."""
        lines = [
            ("guid", port), ("sm_priority", str(self.priority)), ("sminfo_polling_timeout", str(self.polling_timeout_ms)),
            ("polling_retry_number", str(self.polling_retries)), ("log_file", "stdout"), ("dump_files_dir", "/var/cache/opensm-" + port),
        ]
        lines += [("routing_engine", ",".join(self.routing))] if self.routing else []
        lines += [("root_guid_file", "/" + ROOTS)] if self.roots else []
        lines += [("partition_config_file", "/" + PARTITIONS)] if self.partitions else []
        lines += [("sm_key", self.sm_key)] if self.sm_key else []
        lines += [("subnet_prefix", self.subnet_prefix)] if self.subnet_prefix else []
        return HEADER + "".join("{0} {1}\n".format(*line) for line in lines + list(self.settings))

    def files(self, ports: Sequence[str]) -> Dict[str, str]:
        """All files, by path."""
        found = {TEMPLATE: TEMPLATE_TEXT}
        found.update({config_path(port): self.config(port) for port in ports})
        if self.partitions:
            found[PARTITIONS] = HEADER + "".join(partition.line() + "\n" for partition in self.partitions)
        if self.roots:
            found[ROOTS] = HEADER + "".join(root + "\n" for root in self.roots)
        return found


#: ib_umad is what OpenSM talks through; nothing loads it by itself where the kernel's own drivers are used. A standby takes over before it starts again.
TEMPLATE_TEXT = HEADER + """[Unit]
Description=OpenSM, InfiniBand subnet manager on port %I
Documentation=man:opensm(8)
After=openibd.service rdma-load-modules@infiniband.service
Before=remote-fs-pre.target

[Service]
ExecStartPre=-/bin/sh -c 'exec modprobe --quiet ib_umad'
ExecStart=/usr/sbin/opensm --config /etc/opensm/dgxops-%i.conf
ExecReload=/bin/kill -HUP $MAINPID
Environment=OSM_CACHE_DIR=/var/cache/opensm-%i OSM_TMP_DIR=/var/cache/opensm-%i
CacheDirectory=opensm-%i
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
"""


class Found(NamedTuple):
    """A host as it is. ``ports`` are the chosen ones by GUID; ``files`` those that may be ours; ``record`` what the first change found."""

    units: Mapping[str, Unit]
    files: Mapping[str, Optional[str]]
    ports: Tuple[str, ...]
    missing: Tuple[str, ...]
    unknown_settings: Tuple[str, ...]
    record: Mapping[str, Any]


class Change(NamedTuple):
    """From how a host is to how it is to be. A file that is None is removed. ``touched``: units that must read their files anew, and how."""

    before: Found
    units: Mapping[str, Unit]
    files: Mapping[str, Optional[str]]
    install: Tuple[str, ...]
    purge: Tuple[str, ...]
    touched: Mapping[str, str]
    record: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.install or self.purge or self.touched or self.changed_files or self.changed_units or self.unmask)

    @property
    def unmask(self) -> bool:
        """Whether a unit that was not there before is to be masked no longer."""
        return not self.before.ports and STARTERS[0] not in self.units and "masked" in self.before.units.get(STARTERS[0], Unit("", False)).enablement

    @property
    def stopped(self) -> List[str]:
        """Others that no longer serve a port."""
        return sorted(name for name, unit in self.units.items() if not unit.in_charge and self.before.units.get(name, unit).in_charge)

    @property
    def started(self) -> List[str]:
        """Ports whose subnet manager starts, or starts again."""
        return [port for port in self.before.ports
                if self.touched.get(unit_of(port)) == "restart" or not self.before.units.get(unit_of(port), Unit("", False)).active]

    @property
    def changed_files(self) -> List[str]:
        return differences(self.before.files, self.files)

    @property
    def changed_units(self) -> List[str]:
        return differences(self.before.units, self.units)

    @property
    def diffs(self) -> List[Diff]:
        shown = [Diff(self._shown(self.before.files.get(path)), self._shown(self.files[path]), "/" + path) for path in self.changed_files]
        return shown + units_diff(self.before.units, self.units)

    def _shown(self, text: Optional[str]) -> str:
        """A key lets whoever knows it become master, so none is shown."""
        return re.sub(r"(?m)^(\w*key ).*$", r"\1********", text or "")


def config_path(port: str) -> str:
    """The settings of one port's OpenSM."""
    return "etc/opensm/dgxops-{0}.conf".format(port)


def unit_of(port: str) -> str:
    """The unit of one port."""
    return "opensm@{0}.service".format(port)


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects."""
    return _present(wish, found) if wish.present else _absent(found)


def _present(wish: Wish, found: Found) -> Change:
    if found.unknown_settings:
        raise FleetError("settings has {0}, which this host's OpenSM does not know and would pass over. opensm -c FILE writes all that it knows.".format(
            ", ".join(found.unknown_settings)))
    own = {unit_of(port) for port in found.record.get("ports", [])}
    rivals = {name: unit for name, unit in found.units.items() if unit.in_charge and name not in own}
    if found.record:  # our own template answers for its instances, but whoever was started by others is still in the way
        rivals = {name: unit for name, unit in rivals.items() if name not in {unit_of(port) for port in found.ports}}
    if rivals and not wish.take_over:
        raise FleetError(
            "This host has a subnet manager already: {0}. Two on one port do not start, and one with other settings may become master, so nothing was changed. "
            "Set conflicts (ib_subnet_manager_conflicts in the role) to disable to replace it, which state: absent undoes, or leave this host out.".format(
                "; ".join("{0} ({1})".format(name, unit) for name, unit in sorted(rivals.items()))), conflicts=sorted(rivals))
    files: Dict[str, Optional[str]] = dict.fromkeys(found.record.get("files", {}), None)
    files.update(wish.files(found.ports))
    units = {name: Unit("disabled", False) for name in list(rivals) + sorted(own)}
    units[STARTERS[0]] = Unit("masked", False)
    units.update({unit_of(port): Unit("enabled", True) for port in found.ports})
    record = _remember(found, files, units)
    touched = _touched(found, files, units)
    record["pending"] = dict(touched)
    return Change(found, units, files, found.missing, (), touched, record)


def _absent(found: Found) -> Change:
    record = found.record
    files: Dict[str, Optional[str]] = dict(record.get("files", {}))
    units = {unit_of(port): Unit("disabled", False) for port in record.get("ports", []) if unit_of(port) in found.units}
    units.update({name: Unit(*unit) for name, unit in record.get("units", {}).items()})
    own = {unit_of(port) for port in record.get("ports", [])}
    # One that ran before the first change and runs now has to go back to its own settings.
    touched = {name: "restart" for name in own if name in found.units and found.units[name].active and units[name].active}
    return Change(found, units, files, (), tuple(record.get("packages", [])), touched, dict(record))


def _remember(found: Found, files: Mapping[str, Optional[str]], units: Mapping[str, Unit]) -> Dict[str, Any]:
    """The record, with what this change is the first to touch, as it was before."""
    record = dict(found.record)
    kept_files = {path: found.files.get(path) for path in files}
    kept_files.update(record.get("files", {}))
    kept_units = {name: list(unit) for name, unit in found.units.items() if name in units and not (name.startswith("opensm@") and not unit.in_charge)}
    # Of these, the first change has said what was there; the mask on the distribution's is ours.
    own = {unit_of(port) for port in record.get("ports", [])} | ({STARTERS[0]} if found.record else set())
    kept_units = {name: unit for name, unit in kept_units.items() if name not in own}
    kept_units.update(record.get("units", {}))
    record.update(files=kept_files, units=kept_units, packages=sorted(set(record.get("packages", [])) | set(found.missing)),
                  ports=sorted(set(record.get("ports", [])) | set(found.ports)), current=list(found.ports))
    return record


def _touched(found: Found, files: Mapping[str, Optional[str]], units: Mapping[str, Unit]) -> Dict[str, str]:
    """Running units whose files change, with ``reload`` where that is enough; also what an earlier run was cut short before."""
    touched = {name: how for name, how in found.record.get("pending", {}).items() if name in units and units[name].active}
    for port in found.ports:
        name = unit_of(port)
        if not found.units.get(name, Unit("", False)).active:
            touched.pop(name, None)
            continue
        ways = {_way(found.files.get(path), files[path], path) for path in (TEMPLATE, config_path(port), PARTITIONS, ROOTS) if path in files}
        for way in ("restart", "reload"):
            if way in ways and touched.get(name) != "restart":
                touched[name] = way
    return touched


def _way(before: Optional[str], after: Optional[str], path: str) -> str:
    if before == after:
        return ""
    if path == PARTITIONS and before is not None and after is not None:
        return "reload"
    old, new = (dict(line.partition(" ")[::2] for line in (text or "").splitlines()) for text in (before, after))
    different = {key for key in set(old) | set(new) if old.get(key) != new.get(key)}
    return "reload" if path != TEMPLATE and different and different <= set(_LIVE) else "restart"


def partitions_of(given: Sequence[Mapping[str, Any]]) -> Tuple[Partition, ...]:
    """The partitions of a play; raises :class:`FleetError` for those that would cut hosts off."""
    found = []
    for at, one in enumerate(given):
        place = "partitions[{0}]".format(at)
        name = str(one.get("name") or "")
        if not _NAME.match(name):
            raise FleetError("{0}.name is {1!r}, but a word of letters, digits, '_', '.' and '-' is expected.".format(place, name))
        try:
            pkey = int(str(one.get("pkey")), 0)
        except ValueError:
            pkey = 0
        if not 1 <= pkey & 0x7FFF or not 0 < pkey <= 0xFFFF:
            raise FleetError("{0}.pkey is {1!r}, but a number such as 0x8001 is expected, of which the low 15 bits count and may not be 0.".format(
                place, one.get("pkey")))
        flags = tuple("{0}={1}".format(key, int(one[key])) for key in ("rate", "mtu", "sl", "scope") if one.get(key) is not None)
        if flags and not one.get("ipoib"):
            raise FleetError("{0} has {1}, which counts for the broadcast group of IPoIB only. Set ipoib: true.".format(place, ", ".join(flags)))
        members = tuple(_member(member, place) for member in one.get("members") or ())
        if not members:
            raise FleetError("{0} ({1}) has no members. Name GUIDs of ports, or one of {2}.".format(place, name, ", ".join(_GROUPS)))
        found.append(Partition(name, pkey & 0x7FFF, bool(one.get("ipoib")), flags, members))
    keys = [partition.pkey for partition in found]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise FleetError("Two of the partitions have the pkey 0x{0:04x}. Its highest bit tells full from limited members and does not count.".format(twice[0]))
    if found and 0x7FFF not in keys:
        raise FleetError(
            "The partitions leave out the default one, 0x7fff. All hosts would become limited members of it, and then reach none but the subnet manager "
            "(opensm(8)). Add {name: Default, pkey: 0x7fff, ipoib: true, members: [{port: ALL, membership: full}]}, or with limited members, if that is meant.")
    return tuple(found)


def _member(given: Mapping[str, Any], place: str) -> Tuple[str, str]:
    port = str(given.get("port") or "")
    return port if port in _GROUPS else guid(port), str(given.get("membership") or "limited")


def _hex(option: str, text: Optional[str], secret: bool = False) -> Optional[str]:
    if text is None or text == "":
        return None
    if not re.match(r"^0x[0-9a-fA-F]{1,16}\Z", text):
        raise FleetError("{0} is {1}, but 0x and up to 16 hexadecimal digits are expected.".format(option, "something else" if secret else repr(text)))
    return "0x" + text[2:].lower().zfill(16)
