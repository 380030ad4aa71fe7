# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How units are read, and how they are brought to stand otherwise."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.units import Unit, bring, read_units

SHOWN = """Id=a.service
LoadState=loaded
UnitFileState=enabled
ActiveState=active

Id=b.service
LoadState=not-found
UnitFileState=
ActiveState=inactive

Id=c@1.service
LoadState=loaded
UnitFileState=
ActiveState=activating
SubState=auto-restart
"""
ASK = ("systemctl", "show", "--property=Id,LoadState,UnitFileState,ActiveState,SubState")


class Noted(Commands):
    """Says yes to everything, and remembers it; a unit below a mask is enabled."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def run(self, argv, timeout=None, text_in=None):
        if argv[1] == "show":
            below = "LoadState=loaded\nUnitFileState=enabled\nActiveState=inactive" if "unmask " + argv[-1] in self.asked else "LoadState=not-found"
            return Result(0, "Id={0}\n{1}".format(argv[-1], below), "")
        self.asked.append(" ".join(argv[1:]))
        return Result(0, "", "")


def test_only_units_that_are_there_are_told():
    commands = Recorded({ASK + ("a.service", "b.service", "c@1.service"): Result(0, SHOWN, "")})
    assert read_units(commands, ["c@1.service", "a.service", "b.service"]) == {"a.service": Unit("enabled", True), "c@1.service": Unit("loaded", False)}
    assert read_units(Recorded({}), []) == {}


@pytest.mark.parametrize("found, wanted, steps", [
    (Unit("enabled", True), Unit("enabled", True), []),
    (Unit("disabled", False), Unit("enabled", True), ["enable", "restart"]),
    (Unit("enabled", True), Unit("masked", False), ["stop", "mask"]),
    (Unit("masked", False), Unit("enabled", True), ["unmask", "restart"]),
    (Unit("masked", False), Unit("disabled", False), ["unmask", "disable"]),
    (Unit("static", True), Unit("static", False), ["stop"]),
    (Unit("enabled", True), Unit("static", True), ["disable"]),
    (Unit("enabled", False), Unit("enabled", True), ["restart"]),
    (None, Unit("masked", False), ["mask"]),
])
def test_no_step_more_than_needed(found, wanted, steps):
    commands = Noted()
    bring(commands, "x.service", found, wanted)
    assert commands.asked == [step + " x.service" for step in steps]


def test_what_runs_can_be_started_anew():
    commands = Noted()
    bring(commands, "x.service", Unit("enabled", True), Unit("enabled", True), restart=True)
    assert commands.asked == ["restart x.service"]


def test_a_unit_that_the_host_does_not_have_is_named():
    commands = Recorded({ASK + ("x.service",): Result(0, "Id=x.service\nLoadState=not-found\n", "")})
    with pytest.raises(FleetError, match="This host has no x.service, which is to be enabled, running. Install its package"):
        bring(commands, "x.service", None, Unit("enabled", True))
