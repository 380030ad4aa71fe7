# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's side of applying a change: arm the roll-back, apply, prove that the change is in force, confirm. The controller says when."""
import ipaddress
import json
import os
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from . import ifupdown_host
from .netplan import Definition, Definitions, in_force, merged, number, truth
from .netplan_change import plan
from .netplan_host import KEPT, LINKS, Host, documents, read_files, remembered_links
from .netplan_links import Links, as_named, meant, owners, read_links
from .netplan_pending import alone, boot_id, definitions_before, program, roll_back_now, waiting
from .netplan_rollback import Programs, discard, forget, load, save, snapshot, tell

#: Seconds before the end of its time in which a change is no longer confirmed, so that confirming and rolling back do not meet.
MARGIN = 2
#: Seconds that a connection is kept waiting for an answer.
PATIENCE = 20


class Answer(NamedTuple):
    """How a change stands: nothing, started, applying, in_force, confirmed, rolling_back, rolled_back or unknown; and why."""

    state: str
    reason: str = ""
    missing: Sequence[str] = ()
    failed_steps: Sequence[str] = ()
    created: Sequence[str] = ()
    removed: Sequence[str] = ()

    def to_dict(self) -> Dict[str, Any]:
        return {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in self._asdict().items()}


def look(host: Host) -> Answer:
    """What :func:`start` would do."""
    record = waiting(host.place, host.commands)
    if record is None:
        return Answer("nothing")
    before, after = definitions_before(record), _after(host, record)
    return Answer("started", created=_virtual(plan(after, before).remove, after), removed=_virtual(plan(before, after).remove, before))


def start(host: Host, identity: str, timeout: int) -> Answer:
    """Arm the roll-back, then apply beside us, since it may cut us off."""
    with alone(host.place):
        record = waiting(host.place, host.commands)
        if record is None:
            return Answer("nothing")
        before, after = definitions_before(record), _after(host, record)
        forward, backward = plan(before, after), plan(after, before)
        links, routes = snapshot(Programs())
        found = read_links(host.commands, host.sysfs)
        known = owners(before, found)
        for name, link in links.items():
            link["managed"] = name in known
        written = dict(record)
        record.update(
            id=identity, state="applying", boot=boot_id(), deadline=time.monotonic() + timeout, timeout=timeout,
            remove_first=forward.remove, release_first=_links_of(forward.release, before, found),
            remove_back=backward.remove, release_back=_links_of(backward.release, after, found),
            abandon=_abandoned(host, known, after, found), links={name: link for name, link in links.items() if name != "lo"}, routes=routes,
            timer="dgxops-netplan-timer-{0}.timer".format(identity), apply_unit="dgxops-netplan-apply-{0}.service".format(identity),
        )
        if record.get("system") == "ifupdown":
            record.update(ifupdown_host.moves(before, after, host))
        try:
            save(host.place.record, record)
        except OSError as error:
            raise FleetError("The state of the network could not be written to {0}: {1}. Nothing was applied.".format(host.place.record, error.strerror))
        try:
            _arm(host, record, timeout)
        except FleetError as error:
            save(host.place.record, written)
            host.commands.run(("systemctl", "stop", record["timer"]))
            raise FleetError("The roll-back could not be armed, so nothing was applied: {0}".format(error.message))
        try:
            host.commands.output(
                ("systemd-run", "--collect", "--no-block", "--unit=" + record["apply_unit"][:-len(".service")]) + program(host.place, "apply"))
        except FleetError as error:  # it may have begun all the same, so the timer is left alone
            raise FleetError("systemd could not be asked to apply the change: {0} Whatever was done of it is taken back in {1} s. Run this again then.".format(
                error.message, timeout))
    return Answer("started", created=_virtual(backward.remove, after), removed=_virtual(forward.remove, before))


def _abandoned(host: Host, known: Mapping[str, Any], after: Definitions, links: Links) -> Dict[str, Any]:
    """Adapters of which no file speaks any more, and how they were when none did yet."""
    wanted, named = owners(after, links), as_named(after, links)
    names = [name for name in known if name not in wanted and name in links and name in named and not links[name].kind]
    states: Dict[str, Any] = {}
    for folder in (host.path(KEPT), host.path(ifupdown_host.KEPT)):
        for entry in sorted(os.listdir(folder)) if names and os.path.isdir(folder) else []:
            for name, state in remembered_links(os.path.join(folder, entry, LINKS)).items():
                states.setdefault(name, state)
    return {name: states.get(name, {"mtu": links[name].mtu, "up": links[name].up, "addresses": []}) for name in names}


def _arm(host: Host, record: Dict[str, Any], timeout: int) -> None:
    reason = "the change was not confirmed within {0} s".format(timeout)
    timer = record["timer"]
    host.commands.output((
        "systemd-run", "--collect", "--unit=" + timer[:-len(".timer")], "--on-active={0}s".format(timeout), "--timer-property=AccuracySec=1s",
    ) + program(host.place, "rollback", reason))
    if host.commands.run(("systemctl", "is-active", timer)).out.strip() != "active":
        raise FleetError("systemd did not start the timer {0}.".format(timer))


def wait(host: Host, identity: str, reach: Sequence[str]) -> Answer:
    """Until the change is in force, as far as the host can tell; what is not in force when time is nearly up is taken back.

    Answers ``applying`` if it is to be asked again. This may be a connection from before the change, so it confirms nothing.
    """
    until = time.monotonic() + PATIENCE
    while True:
        told = outcome(host, identity)
        record = load(host.place)
        if told.state not in ("applying", "applied") or record is None:
            return told
        left = float(record["deadline"]) - time.monotonic()
        lacking = _lacking(host, record, reach) if told.state == "applied" else []
        if told.state == "applied" and not lacking:
            return Answer("in_force")
        if lacking and left < MARGIN + 5:
            reason = "it was applied, but {0}".format("; ".join(lacking))
            roll_back_now(host.place, host.commands, record, reason)
            return Answer("rolling_back", reason)
        if time.monotonic() > until:
            return Answer("applying", "; ".join(lacking))
        time.sleep(0.5)


def confirm(host: Host, identity: str, reach: Sequence[str]) -> Answer:
    """Call the roll-back off. Only for a connection that was made when :func:`wait` had found the change in force: that connection is the proof."""
    told = outcome(host, identity)
    if told.state != "applied":
        return told
    with alone(host.place):
        record = load(host.place)
        if record is None or record.get("id") != identity:
            return outcome(host, identity)
        lacking = _lacking(host, record, reach)
        if lacking or float(record["deadline"]) - time.monotonic() < MARGIN:
            return Answer("applying", "; ".join(lacking))
        return _disarm(host, record)


def _lacking(host: Host, record: Dict[str, Any], reach: Sequence[str]) -> List[str]:
    return lacks(record, _after(host, record), read_links(host.commands, host.sysfs)) + _unreached(reach, host.commands)


def _disarm(host: Host, record: Dict[str, Any]) -> Answer:
    after, before = _after(host, record), definitions_before(record)
    forget(host.place)
    tell(host.place, record, "confirmed")
    host.commands.run(("systemctl", "stop", record["timer"]))
    discard(record.get("obsolete", []))
    return Answer("confirmed", created=_virtual(plan(after, before).remove, after), removed=_virtual(plan(before, after).remove, before))


def outcome(host: Host, identity: str) -> Answer:
    """How the change with this number stands, as the host's own program has left it."""
    try:
        with open(host.place.outcome(identity)) as handle:
            told = json.load(handle)
        return Answer(str(told["state"]), str(told.get("reason", "")), told.get("missing", []), told.get("failed", []))
    except (OSError, ValueError, KeyError):
        record = load(host.place)
        return Answer("applying" if record is not None and record.get("id") == identity else "unknown")


def lacks(record: Dict[str, Any], after: Definitions, links: Links) -> List[str]:
    """What the files say and the host does not have yet, or still has, for the interfaces that this change is about; ``optional`` ones may lack anything."""
    before = definitions_before(record)
    masters = {member: one.name for one in after.values() for member in one.members}
    told: List[str] = []
    for one in after.values():
        unchanged = one.name in before and _same(before[one.name], one)
        if unchanged or truth(one.settings.get("optional")):
            continue
        names = meant(one, links)
        if not names or (one.virtual and one.name not in links):
            told.append("{0} does not exist".format(one.name))
            continue
        old = before[one.name].addresses if one.name in before else ()
        for name in names:
            # As long as the host is to be had at an old address, a connection proves nothing.
            there = [spelled_alike(address) for address in links[name].addresses] if name in links else []
            wanted = [spelled_alike(address) for address in one.addresses]
            told += ["{0} still has the address {1}".format(name, address) for address in old
                     if spelled_alike(address) in there and spelled_alike(address) not in wanted]
            if name in links:
                told += _lacks_link(one, masters.get(one.name, ""), name, links)
            else:
                told.append("{0} does not exist".format(name))
    return told


def _lacks_link(one: Definition, master: str, name: str, links: Links) -> List[str]:
    link, told = links[name], []
    there = [spelled_alike(address) for address in link.addresses]
    if master and link.master != master:
        told.append("{0} is not in {1}".format(name, master))
    if one.mtu is not None and link.mtu != one.mtu:
        told.append("{0} has the MTU {1} and not {2}".format(name, link.mtu, one.mtu))
    told += ["{0} does not have the address {1}".format(name, address) for address in one.addresses if spelled_alike(address) not in there]
    if truth(one.settings.get("dhcp4")) and not any(":" not in address for address in link.addresses):
        told.append("{0} has got no address by DHCP".format(name))
    count = number(one.settings.get("virtual-function-count"))
    if count is not None and link.vfs != count:
        told.append("{0} has {1} virtual functions and not {2}".format(name, link.vfs, count))
    return told


def spelled_alike(address: str) -> str:
    """IPv6 can be written in many ways."""
    try:
        return str(ipaddress.ip_interface(address))
    except ValueError:
        return address


def _links_of(names: Sequence[str], definitions: Definitions, links: Links) -> List[str]:
    """The links behind netplan's names, one of which may stand for several."""
    return sorted({link for name in names if name in definitions for link in meant(definitions[name], links)})


def _same(left: Definition, right: Definition) -> bool:
    return (left.kind, left.settings) == (right.kind, right.settings)


def _after(host: Host, record: Mapping[str, Any]) -> Definitions:
    if record.get("system") == "ifupdown":
        return ifupdown_host.definitions(host)
    return merged(in_force(documents(read_files(host), host.commands)))


def _unreached(addresses: Sequence[str], commands: Commands) -> List[str]:
    return ["{0} does not answer a ping".format(address) for address in addresses
            if commands.run(("ping", "-c", "1", "-W", "2", address), timeout=10).rc != 0]


def _virtual(names: Sequence[str], definitions: Definitions) -> List[str]:
    return sorted(name for name in names if name in definitions)
