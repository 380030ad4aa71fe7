# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module md_array_info and the filter md_text as a playbook meets them."""
import json

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter.md_text import FilterModule
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.modules import md_array_info
from ansible_collections.dgxops.fleet.tests.unit.module_utils.storage.lab_md import host

from .run_module import run_module

md_text = FilterModule().filters()["md_text"]


@pytest.fixture
def pulled(tmp_path):
    host("pulled", tmp_path)
    return str(tmp_path)


def test_a_playbook_learns_that_a_drive_was_pulled(pulled):
    answer = run_module(md_array_info.main, {"root": pulled})
    assert (answer["changed"], answer["healthy"]) == (False, False)
    assert [(array["device"], array["verdict"], array["missing_slots"]) for array in answer["arrays"]] == [("md0", "healthy", []), ("md127", "broken", [1])]
    assert len(answer["problems"]) == 1 and "What is mounted at /raid only seems to work." in answer["problems"][0]
    assert run_module(md_array_info.main, {"root": pulled}, check=True) == answer


def test_a_task_that_requires_health_fails_with_the_reason_and_all_the_rest(pulled):
    answer = run_module(md_array_info.main, {"root": pulled, "required": True})
    assert answer["failed"] and answer["msg"].startswith("md127 is broken: It has lost slot 1 (nvme0n1)")
    assert len(answer["arrays"]) == 2


def test_only_the_arrays_that_are_asked_for_count(pulled):
    answer = run_module(md_array_info.main, {"root": pulled, "arrays": ["md0"], "required": True})
    assert answer["healthy"] and [array["device"] for array in answer["arrays"]] == ["md0"]


@pytest.mark.parametrize("options, why", [({"devices": ["/dev/nvme0n1"]}, "mdadm would look at this one"), ({"arrays": ["md7"]}, "There is no array md7")])
def test_a_mistake_is_answered_in_words(pulled, options, why):
    answer = run_module(md_array_info.main, dict(options, root=pulled))
    assert answer["failed"] and why in answer["msg"]


def test_the_wear_of_members_is_told_where_it_is_asked_for(tmp_path, monkeypatch):
    there = host("healthy", tmp_path)
    there.commands.answers["nvme", "smart-log", "/dev/nvme1n1", "--output-format=json"] = Result(0, '{"percent_used": 3, "data_units_written": "2"}', "")
    for name in ("nvme0n1", "nvme2n1", "nvme6n1"):
        there.commands.answers["nvme", "smart-log", "/dev/" + name, "--output-format=json"] = Result(1, "", "No such device")
    monkeypatch.setattr(md_array_info, "Sysfs", lambda root: Sysfs(str(tmp_path)))
    monkeypatch.setattr(md_array_info, "Commands", lambda: there.commands)
    (array,) = run_module(md_array_info.main, {"arrays": ["md127"], "wear": True})["arrays"]
    told = {member["device"]: member["wear"] for member in array["members"]}
    assert told == {"nvme0n1": None, "nvme1n1": {"written_bytes": 1024000, "used_percent": 3, "spare_percent": None, "media_errors": None}, "nvme2n1": None,
                    "nvme6n1": None}
    described = yaml.safe_load(md_array_info.RETURN)["arrays"]["contains"]["members"]["contains"]
    assert set(described) == set(array["members"][0])


def test_devices_are_examined_on_a_running_host(tmp_path, monkeypatch):
    there = host("healthy", tmp_path)
    monkeypatch.setattr(md_array_info, "Sysfs", lambda root: Sysfs(str(tmp_path)))
    monkeypatch.setattr(md_array_info, "Commands", lambda: there.commands)
    (device,) = run_module(md_array_info.main, {"devices": ["/dev/nvme0n1"]})["devices"]
    assert (device["kind"], device["array"], device["superblock"]["members_then"]) == ("member", "md127", "AAAA")
    described = yaml.safe_load(md_array_info.RETURN)["devices"]["contains"]
    assert set(described) == set(device) and set(described["superblock"]["sample"]) == set(device["superblock"])


def test_this_very_machine_can_be_asked():
    assert isinstance(run_module(md_array_info.main, {})["arrays"], list)


def test_the_documentation_names_all_that_is_returned(pulled):
    answer = run_module(md_array_info.main, {"root": pulled})
    described = yaml.safe_load(md_array_info.RETURN)
    assert set(described) == set(answer) - {"changed", "invocation", "warnings"}  # ansible-core 2.19 always adds the last
    array = described["arrays"]["contains"]
    assert set(array) == set(answer["arrays"][0])
    assert set(array["members"]["contains"]) == set(answer["arrays"][0]["members"][0]) | {"wear"}
    assert set(array["sync"]["contains"]) == set(answer["arrays"][0]["sync"])
    for name in ("file_system", "nfs_cache"):
        assert set(array[name]["sample"]) == set(answer["arrays"][0][name])


def test_a_log_bundle_is_read_where_no_host_is_at_hand(tmp_path):
    there = host("degraded", tmp_path)
    told = md_text(there.text("proc/mdstat") + "\n\n" + there.said("mdadm", "--detail", "/dev/md5"))
    assert [(array["source"], array["device"], array["verdict"]) for array in told["arrays"]] == [
        ("mdstat", "md5", "degraded"), ("mdstat", "md0", "healthy"), ("detail", "md5", "degraded")
    ]
    assert json.dumps(told)


def test_what_is_no_text_is_refused():
    with pytest.raises(AnsibleFilterError, match="is expected, not 5"):
        md_text(5)
