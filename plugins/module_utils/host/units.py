# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""systemd units: how they stand, and bringing them to where they should."""
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .commands import Commands
from .errors import FleetError

_PROPERTIES = "--property=Id,LoadState,UnitFileState,ActiveState,SubState"
#: Seconds for systemctl: a database or a machine under load takes its time.
_TIMEOUT = 300


class Unit(NamedTuple):
    """How a unit stands: ``enabled``, ``disabled``, ``masked`` or what else systemd calls it, and whether it runs."""

    enablement: str
    active: bool

    @property
    def in_charge(self) -> bool:
        """Whether it does its work, now or after the next boot. A removed package leaves a script in /etc/init.d, which systemd calls ``generated``."""
        return self.active or self.enablement in ("enabled", "enabled-runtime")

    def __str__(self) -> str:
        return "{0}, {1}".format(self.enablement, "running" if self.active else "stopped")


#: A daemon that is to run, now and after each boot.
RUNNING = Unit("enabled", True)


def read_units(commands: Commands, names: Iterable[str]) -> Dict[str, Unit]:
    """Those of the units that this host has, each under its own name and not under an alias."""
    asked = tuple(sorted(set(names)))
    if not asked:
        return {}
    text = commands.output(("systemctl", "show", _PROPERTIES) + asked)
    units = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") not in ("not-found", None):
            # One that has died and waits for its next start does not run.
            active = values.get("ActiveState") in ("active", "activating", "reloading") and values.get("SubState") != "auto-restart"
            units[values["Id"]] = Unit(values.get("UnitFileState") or values["LoadState"], active)
    return units


def with_scripts(commands: Commands, found: Mapping[str, Unit]) -> Dict[str, Unit]:
    """The same, with what the links in /etc/rc?.d say of scripts in /etc/init.d: systemd calls these ``generated``, started at boot or not."""
    answer = dict(found)
    for name, unit in found.items():
        if unit.enablement in ("loaded", "generated"):
            answer[name] = unit._replace(enablement=commands.run(("systemctl", "is-enabled", name)).out.strip() or "disabled")
    return answer


def bring(commands: Commands, name: str, found: Optional[Unit], wanted: Unit, restart: bool = False) -> None:
    """Enable, disable, mask, start, stop or restart a unit; ``found`` is how it stands, None to ask for it.

    A mask hides how a unit stood before, so that is looked at again below it. Raises :class:`FleetError` for a unit that the host does not have.
    """
    if found is None:
        found = read_units(commands, [name]).get(name)
    if found is None and wanted.enablement != "masked":  # what is not there can be masked, lest it come
        raise FleetError("This host has no {0}, which is to be {1}. Install its package and run this again.".format(name, wanted))
    if found is not None and found.active and not wanted.active:
        commands.output(("systemctl", "stop", name), _TIMEOUT)
    if found is not None and "masked" in found.enablement and wanted.enablement != "masked":
        commands.output(("systemctl", "unmask", name), _TIMEOUT)
        found = found._replace(enablement=read_units(commands, [name]).get(name, found).enablement)
    # A static unit has no way of being enabled; a link that is there is from when it had one.
    verb = {"enabled": "enable", "disabled": "disable", "masked": "mask", "static": "disable"}.get(wanted.enablement)
    if verb and (found is None or found.enablement != wanted.enablement):
        commands.output(("systemctl", verb, name), _TIMEOUT)
    if wanted.active and found is not None and (restart or not found.active):
        commands.output(("systemctl", "restart", name), _TIMEOUT)  # which starts what does not run


def changed(before: Mapping[str, Unit], after: Mapping[str, Unit]) -> List[Tuple[str, Unit, Unit]]:
    """The units that are to stand otherwise, with how they stand and are to."""
    gone = Unit("not there", False)
    return [(name, before.get(name, gone), unit) for name, unit in after.items() if before.get(name, gone) != unit]


def check_running(commands: Commands, names: Sequence[str]) -> None:
    """Raise :class:`FleetError` with the last words of the first of these that does not run."""
    now = read_units(commands, names)
    for name in names:
        if not now.get(name, Unit("", False)).active:
            said = commands.run(["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=8", "--unit=" + name])
            words = "; ".join(line.strip() for line in said.out.splitlines() if line.strip()) or "nothing"
            raise FleetError("{0} does not run. Its last words in the journal: {1}".format(name, words))


def why_not(commands: Commands, name: str) -> str:
    """What to tell about a unit that did not start: systemd starts nothing, and says so to nobody, if a condition of the unit is not met."""
    text = commands.run(("systemctl", "cat", name)).out
    conditions = [line for line in text.splitlines() if line.startswith("Condition")]
    hint = " It starts only if all of this holds: {0}.".format("; ".join(conditions)) if conditions else ""
    return "{0} did not start; journalctl -u {0} says why.{1}".format(name, hint)
