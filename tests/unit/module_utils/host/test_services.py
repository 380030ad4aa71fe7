"""Units and packages: how they are read, and how they are brought to stand otherwise."""
import os
import stat

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import services
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.services import Unit, bring, read_units

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
            return Result(0, "Id={0}\nLoadState=loaded\nUnitFileState=enabled\nActiveState=inactive".format(argv[-1]), "")
        self.asked.append(" ".join(argv[1:]))
        return Result(0, "", "")


def test_only_units_that_are_there_are_told():
    commands = Recorded({ASK + ("a.service", "b.service", "c@1.service"): Result(0, SHOWN, "")})
    assert read_units(commands, ["c@1.service", "a.service", "b.service"]) == {"a.service": Unit("enabled", True), "c@1.service": Unit("loaded", False)}
    assert read_units(Recorded({}), []) == {}


@pytest.mark.parametrize("found, wanted, steps", [
    (Unit("enabled", True), Unit("enabled", True), []),
    (Unit("disabled", False), Unit("enabled", True), ["enable", "start"]),
    (Unit("enabled", True), Unit("masked", False), ["stop", "mask"]),
    (Unit("masked", False), Unit("enabled", True), ["unmask", "start"]),
    (Unit("masked", False), Unit("disabled", False), ["unmask", "disable"]),
    (Unit("static", True), Unit("static", False), ["stop"]),
    (Unit("enabled", True), Unit("static", True), ["disable"]),
    (None, Unit("masked", False), ["mask"]),
])
def test_no_step_more_than_needed(found, wanted, steps):
    commands = Noted()
    bring(commands, "x.service", found, wanted)
    assert commands.asked == [step + " x.service" for step in steps]


def apt(*words):
    options = ("--quiet", "--yes", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold")
    return ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get") + options + words


def test_what_an_installation_would_bring_and_never_what_it_would_remove():
    said = "Inst libx [1.0] (1.1 stable)\nInst liby (2.0 stable)\nInst opensm (3.3 stable)\nConf opensm (3.3 stable)\n"
    assert services.what_comes_with(Recorded({apt("install", "opensm", "--simulate"): Result(0, said, "")}), ["opensm"]) == ["liby", "opensm"]
    removing = Recorded({apt("install", "opensm", "--simulate"): Result(0, "Remv other [1]\n" + said, "")})
    with pytest.raises(FleetError, match="apt would remove other. Nothing was changed"):
        services.what_comes_with(removing, ["opensm"])


def test_package_lists_are_fetched_if_they_do_not_know_it():
    commands = Recorded({apt("install", "x", "--simulate"): Result(100, "", "E: Unable to locate package x"), apt("update"): Result(0, "", "")})
    with pytest.raises(FleetError, match="apt cannot install x: E: Unable to locate package x"):
        services.what_comes_with(commands, ["x"])
    assert commands.asked[1] == apt("update")
    assert not services.apt_knows(Recorded({}), "x"), "a host without apt knows no package"


def test_programs_are_found_where_a_user_s_path_does_not_lead(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert services.missing_programs({"sh": "dash", "no-such-program": "that"}) == ["that"]


def test_a_record_is_for_root_and_a_damaged_one_is_told(tmp_path):
    root = str(tmp_path)
    assert services.read_record("x", root) == {}
    services.write_record("x", {"a": 1}, root)
    assert services.read_record("x", root) == {"a": 1}
    assert stat.S_IMODE(os.stat(services.record_place("x", root)).st_mode) == 0o600
    with open(services.record_place("x", root), "w") as handle:
        handle.write("[1, 2")
    with pytest.raises(FleetError, match="x.json is damaged"):
        services.read_record("x", root)
