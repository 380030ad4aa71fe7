# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hardware RAID of a DGX-1, as StorCLI tells it; recorded/storcli_dgx1.json says where that comes from."""
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import storcli

RECORDED = json.loads((Path(__file__).resolve().parent / "recorded" / "storcli_dgx1.json").read_text())
SHOW, VOLUMES, NONE = (RECORDED[name]["Controllers"] for name in ("show", "volumes", "none"))


def answers(show, volumes):
    return Recorded({("storcli64", "/call", "show", "all", "J"): Result(0, show, ""), ("storcli64", "/call/vall", "show", "all", "J"): Result(0, volumes, "")})


def test_a_dgx1_has_a_volume_for_its_system_and_one_of_four_drives_for_the_cache():
    (controller,) = storcli.read("storcli64", answers(json.dumps({"Controllers": SHOW}), json.dumps({"Controllers": VOLUMES})))
    assert (controller.model, controller.state, len(controller.drives)) == ("AVAGO MegaRAID SAS 9361-8i", "Optimal", 5)
    assert storcli.judge([controller]) == []
    cache = storcli.cache_volume([controller], ["/dev/sda"])
    assert (cache.device, cache.level, cache.strip_bytes, cache.drives) == ("/dev/sdb", "raid0", 65536, ("252:1", "252:2", "252:3", "252:4"))
    assert round(cache.size_bytes / 1e12, 2) == 7.67 and storcli.verdict(cache) == "healthy"


def test_where_two_volumes_would_do_one_must_be_named():
    controllers = storcli.parse(SHOW, VOLUMES)
    with pytest.raises(FleetError, match="Several RAID-0 volumes could be the cache: /c0/v0 ./dev/sda., /c0/v1 ./dev/sdb."):
        storcli.cache_volume(controllers, [])
    assert storcli.cache_volume(controllers, [], "/dev/sdb").number == 1
    assert storcli.cache_volume(controllers, ["/dev/sdb"], "/dev/sdb") is None  # the system's own, whatever is named


def test_a_drive_that_failed_and_its_volume_are_told():
    show = copy.deepcopy(SHOW)
    data = show[0]["Response Data"]
    data["VD LIST"][1]["State"], data["PD LIST"][3]["State"], data["Status"]["Controller Status"] = "OfLn", "Failed", "Needs Attention"
    told = storcli.judge(storcli.parse(show, VOLUMES))
    assert told[0] == "Controller 0 (AVAGO MegaRAID SAS 9361-8i) is in state Needs Attention."
    assert "The raid0 volume /c0/v1 (/dev/sdb) is broken (state OfLn)" in told[1] and "The drive 252:3 of controller 0" in told[2]


def test_without_a_cache_volume_it_is_told_how_to_make_one_of_the_free_drives():
    show = copy.deepcopy(SHOW)
    show[0]["Response Data"]["VD LIST"].pop()
    for drive in show[0]["Response Data"]["PD LIST"][1:]:
        drive.update(State="UGood", DG="-")
    controllers = storcli.parse(show, VOLUMES)
    assert storcli.cache_volume(controllers, ["/dev/sda"]) is None
    assert storcli.how_to_make(controllers) == "storcli64 /c0 add vd type=raid0 drives=252:1,252:2,252:3,252:4 name=cache"


def test_no_controller_is_an_answer_too():
    assert storcli.parse(NONE, NONE) == [] and storcli.how_to_make([]) == ""


@pytest.mark.parametrize("text", ["", "storcli64: not found", "[]", "{}", '{"Controllers": 5}', '{"Controllers": [1]}'])
def test_what_is_no_answer_is_told(text):
    with pytest.raises(FleetError, match="expected to print JSON"):
        storcli.read("storcli64", answers(text, text))


def test_a_drive_whose_name_has_a_tab_in_it_does_not_spoil_the_answer():
    show = json.dumps({"Controllers": SHOW}).replace("SAMSUNG MZ7LM1T9HMJP", "SAMSUNG\tMZ7LM1T9HMJP")
    (controller,) = storcli.read("storcli64", answers(show, json.dumps({"Controllers": VOLUMES})))
    assert any(drive.model.startswith("SAMSUNG\tMZ7") for drive in controller.drives)


def test_a_missing_program_is_told():
    with pytest.raises(FleetError, match="StorCLI was not found at /nowhere/storcli"):
        storcli.find_program("/nowhere/storcli")


_WORDS = ["Command Status", "Controller", "Response Data", "VD LIST", "PD LIST", "Basics", "DG/VD", "Size", "State", "VD0 Properties"]
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), part), max_leaves=20)


@given(st.lists(st.dictionaries(st.sampled_from(["Command Status", "Response Data"]), _json), max_size=3))
def test_no_answer_is_too_odd(controllers):
    found = storcli.parse(controllers, controllers)
    storcli.judge(found)
    storcli.how_to_make(found)
