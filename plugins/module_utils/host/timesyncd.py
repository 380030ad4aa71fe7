# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""systemd-timesyncd as a host's one time service: what is wanted, what other time services are in the way, and the way there and back.

Chapter 4 of the Best Practices edits /etc/systemd/timesyncd.conf and runs ``timedatectl set-ntp true``. A drop-in leaves the file of the distribution alone.
``set-ntp`` enables whichever time service the host prefers, so that on a host with chrony it starts chrony, and it says nothing if nothing starts;
so units are enabled and started by name.
"""
import contextlib
import re
import socket
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import records
from .errors import FleetError
from .files import Diff
from .units import Unit

SERVICE = "systemd-timesyncd.service"
PACKAGE = "systemd-timesyncd"

#: Others that set the clock, by unit, and their packages, which on Debian from 11 and Ubuntu from 20.04 on exclude each other (Conflicts: time-daemon).
OTHER_UNITS = ("chrony.service", "chronyd.service", "ntp.service", "ntpd.service", "ntpsec.service", "openntpd.service")
OTHER_PACKAGES = ("chrony", "ntp", "ntpsec", "openntpd")

DROP_IN = "etc/systemd/timesyncd.conf.d/50-dgxops.conf"
RECORD = "timesyncd"
HEADER = "# Written by dgxops.fleet.timesyncd, which owns this file. See timesyncd.conf(5).\n"

#: As a resolver takes it, with the dot of the root or without; underscores are not in the rules, but in names of some sites.
_SERVER = re.compile(r"^(?=.{1,254}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?\Z")


class Option(NamedTuple):
    """A setting of timesyncd.conf(5) that is a number of seconds: the module's name for it, the least value, and the systemd that brought it."""

    name: str
    key: str
    least: float
    since: int


#: No number of seconds that a float can be and timesyncd reads: not that one, nor nan.
_FOR_EVER = 1e9

OPTIONS = (
    Option("root_distance_max_s", "RootDistanceMaxSec", 0.001, 236),
    Option("poll_interval_min_s", "PollIntervalMinSec", 16, 236),
    Option("poll_interval_max_s", "PollIntervalMaxSec", 16, 236),
    Option("connection_retry_s", "ConnectionRetrySec", 1, 248),
    Option("save_interval_s", "SaveIntervalSec", 0, 250),
)


class Zone(NamedTuple):
    """The time zone: where /etc/localtime leads (None: nowhere, which means UTC), and what /etc/timezone says (None: there is none)."""

    link: Optional[str]
    name: Optional[str]

    @property
    def called(self) -> str:
        return self.link.split("zoneinfo/", 1)[-1] if self.link else self.name or "UTC"


class State(NamedTuple):
    """All that is managed. ``packages`` are those installed of timesyncd's and the others'; a unit that does not exist is left out of ``units``."""

    packages: Tuple[str, ...]
    units: Mapping[str, Unit]
    drop_in: Optional[str]
    zone: Zone


class Found(NamedTuple):
    """A host as it is. ``record`` is what the first change found; ``zone_exists`` tells whether the host knows the wanted time zone."""

    state: State
    systemd: int
    zone_exists: bool
    record: Mapping[str, Any]


class Wish(NamedTuple):
    """What a play asks for; checked."""

    present: bool
    servers: Tuple[str, ...]
    fallback: Optional[Tuple[str, ...]]
    seconds: Mapping[str, float]
    timezone: Optional[str]
    take_over: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """Read the module's options; raises :class:`FleetError` for what timesyncd.conf(5) would not take, or would take and pass over."""
        fallback = params["fallback_servers"]
        seconds = {option.name: float(params[option.name]) for option in OPTIONS if params[option.name] is not None}
        for option in OPTIONS:
            if not option.least <= seconds.get(option.name, option.least) < _FOR_EVER:
                raise FleetError("{0} is {1:g}, but at least {2:g} seconds are expected, and less than {3:g} (timesyncd.conf(5)).".format(
                    option.name, seconds[option.name], option.least, _FOR_EVER))
        shortest, longest = seconds.get("poll_interval_min_s", 32), seconds.get("poll_interval_max_s", 2048)
        if longest <= shortest:
            raise FleetError("poll_interval_max_s ({0:g}) must be greater than poll_interval_min_s ({1:g}); 2048 and 32 are their defaults.".format(
                longest, shortest))
        return cls(
            params["state"] == "present", _servers("servers", params["servers"]),
            None if fallback is None else _servers("fallback_servers", fallback), seconds, params["timezone"] or None, params["conflicts"] == "disable",
        )

    def drop_in(self, systemd: int) -> str:
        """The file. Lists begin with an empty assignment: without it they would add to what other files name."""
        lines = [HEADER + "[Time]"]
        for key, servers in (("NTP", self.servers or None), ("FallbackNTP", self.fallback)):
            if servers is not None:
                lines += [key + "="] + ([key + "=" + " ".join(servers)] if servers else [])
        lines += ["{0}={1:.10g}".format(option.key, self.seconds[option.name]) for option in OPTIONS if self._takes(option, systemd)]
        return "\n".join(lines) + "\n"

    def too_new(self, systemd: int) -> List[str]:
        """What this host's systemd does not know yet, as warnings."""
        text = "{0} was left out: {1} came with systemd {2}, and this host has {3}."
        return [
            text.format(option.name, option.key, option.since, systemd)
            for option in OPTIONS if option.name in self.seconds and not self._takes(option, systemd)
        ]

    def _takes(self, option: Option, systemd: int) -> bool:
        return option.name in self.seconds and systemd >= option.since


class Change(NamedTuple):
    """From one state to another. ``record`` is what is remembered meanwhile, and afterwards too if it is to be kept; ``restart``: timesyncd has to read its
    file anew, also because an earlier run was cut short before it could."""

    before: State
    after: State
    record: Mapping[str, Any]
    keep: bool
    restart: bool

    def __bool__(self) -> bool:
        return self.before != self.after or self.restart

    @property
    def install(self) -> List[str]:
        return sorted(set(self.after.packages) - set(self.before.packages))

    @property
    def remove(self) -> List[str]:
        return sorted(set(self.before.packages) - set(self.after.packages))

    @property
    def stopped(self) -> List[str]:
        """Other time services that no longer set the clock."""
        gone = Unit("not there", False)
        return sorted(name for name, unit in self.before.units.items() if unit.in_charge and not self.after.units.get(name, gone).in_charge)

    @property
    def diffs(self) -> List[Diff]:
        shown = [
            (_services(self.before), _services(self.after), "time services"),
            (self.before.drop_in or "", self.after.drop_in or "", "/" + DROP_IN),
            (self.before.zone.called + "\n", self.after.zone.called + "\n", "time zone"),
        ]
        return [Diff(*entry) for entry in shown if entry[0] != entry[1]]


def decide(wish: Wish, found: Found) -> Change:
    """The way to what is wanted, or a refusal; no side effects."""
    return _present(wish, found) if wish.present else _absent(found)


def _present(wish: Wish, found: Found) -> Change:
    state = found.state
    missing = SERVICE not in state.units
    rivals = {name: unit for name, unit in state.units.items() if name != SERVICE and unit.in_charge}
    replaced = [name for name in state.packages if name != PACKAGE] if missing else []
    if (rivals or replaced) and not wish.take_over:
        _refuse(rivals, replaced)
    zone = state.zone
    if wish.timezone is not None:
        _check_zone(wish.timezone, found)
        name = wish.timezone
        zone = Zone(zone.link if zone.called == name and zone.link else "/usr/share/zoneinfo/" + name, zone.name and name)
    units = dict(state.units)
    units.update({name: Unit("disabled", False) for name in rivals})
    units[SERVICE] = Unit("enabled", True)
    if missing:  # the package manager takes the others away
        units = {SERVICE: units[SERVICE]}
    packages = (PACKAGE,) if missing else state.packages
    after = State(packages, units, wish.drop_in(found.systemd), zone)
    record = _remember(found, after)
    return Change(state, after, record, True, record["restart"])


def _absent(found: Found) -> Change:
    state, record = found.state, found.record
    packages = tuple(record.get("packages", state.packages))
    units = dict(state.units)
    units.update({name: Unit(*unit) for name, unit in record.get("units", {}).items()})
    if PACKAGE in state.packages and PACKAGE not in packages:
        units.pop(SERVICE, None)
    zone = Zone(*record["zone"]) if "zone" in record else state.zone
    after = State(packages, units, None, zone)
    return Change(state, after, dict(record, restart=True), False, bool(record.get("restart")) or state.drop_in is not None)


def _remember(found: Found, after: State) -> Dict[str, Any]:
    """The record, with what this change is the first to touch, as it was before."""
    state, record = found.state, dict(found.record)
    units = {name: list(unit) for name, unit in state.units.items() if after.units.get(name) != unit}
    units.update(record.get("units", {}))
    if units:
        record["units"] = units
    if after.zone != state.zone:
        record.setdefault("zone", list(state.zone))
    if after.packages != state.packages:
        record.setdefault("packages", list(state.packages))
    record["restart"] = bool(record.get("restart")) or after.drop_in != state.drop_in
    return record


def _refuse(rivals: Mapping[str, Unit], replaced: Sequence[str]) -> None:
    told = ["{0} ({1}{2})".format(name, unit.enablement, ", running" if unit.active else "") for name, unit in sorted(rivals.items())]
    told += ["the package {0}, which installing {1} would remove".format(name, PACKAGE) for name in replaced]
    raise FleetError(
        "This host has another time service: {0}. Two that set the clock work against each other, so nothing was changed. Set conflicts (timesyncd_conflicts "
        "in the role) to disable to let timesyncd take over, which state: absent undoes, or leave this host out.".format("; ".join(told)),
        conflicts=sorted(rivals) or list(replaced),
    )


def _check_zone(name: str, found: Found) -> None:
    if not found.zone_exists or name.startswith("/") or ".." in name:
        raise FleetError("timezone is {0!r}, but this host has no such zone below /usr/share/zoneinfo. timedatectl list-timezones shows those it has; "
                         "the package tzdata brings them.".format(name))
    if found.state.zone.link == "":
        raise FleetError("/etc/localtime is a file of its own on this host and not a link to a time zone, so it could not be given back. Replace it by a link "
                         "(timedatectl set-timezone does), or leave the time zone out.")


def _services(state: State) -> str:
    lines = ["{0}: {1}, {2}\n".format(name, unit.enablement, "running" if unit.active else "stopped") for name, unit in sorted(state.units.items())]
    return "".join(lines + ["package {0}: installed\n".format(name) for name in state.packages])


def _servers(option: str, names: Optional[Sequence[str]]) -> Tuple[str, ...]:
    for name in names or ():
        if not _is_server(name):
            raise FleetError("{0} has {1!r}, but host names or IP addresses are expected, one an entry; the port is always 123.".format(option, name))
    return tuple(names or ())


def _is_server(name: str) -> bool:
    """An address, or a name that is not one gone wrong, such as 10.0.0 or cafe:123."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, name)
            return True
    return bool(_SERVER.match(name)) and not re.match(r"^[0-9.]+\Z", name)


def check_record(record: Mapping[str, Any]) -> Dict[str, Any]:
    """What the first change found; raises :class:`FleetError` if it is something else."""
    try:
        for unit in record.get("units", {}).values():
            Unit(*unit)
        Zone(*record.get("zone", [None, None]))
        return dict(record)
    except (TypeError, AttributeError):
        raise records.damaged(RECORD)
