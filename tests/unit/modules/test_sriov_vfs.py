# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module sriov_vfs as a playbook meets it: its answers, its check mode, its failures."""
import pytest

from ansible_collections.dgxops.fleet.plugins.modules import sriov_vfs
from ansible_collections.dgxops.fleet.tests.unit.module_utils.network.lab_adapters import LabAdapters
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module


@pytest.fixture
def lab(tmp_path, monkeypatch):
    adapters = LabAdapters(tmp_path)
    monkeypatch.setattr(sriov_vfs, "Sysfs", lambda root: adapters)
    return adapters


def run(lab, check=False, **options):
    return run_module(sriov_vfs.main, dict(options, root=lab.root), check)


WANTED = [{"device": "enp134s0f0", "vfs": 2}, {"device": "0000:86:00.1", "vfs": "all"}]


def test_check_mode_predicts_what_the_run_then_does(lab):
    predicted = run(lab, check=True, functions=WANTED)
    assert lab.writes == [] and not (lab.entries("etc") or lab.entries("var"))
    done = run(lab, functions=WANTED)
    assert (predicted["changed"], predicted["diff"], predicted["rules_file"]) == (True, done["diff"], done["rules_file"])
    assert [(one["before"], one["vfs"], one["total"]) for one in done["functions"]] == [(0, 2, 63), (0, 63, 63)]
    assert done["functions"][0]["virtual_functions"][1] == {
        "pci": "0000:86:03.1", "driver": "mlx5_core", "interfaces": ["enp134s0f0v1"], "in_use": False,
    }  # fmt: skip
    assert not run(lab, functions=WANTED)["changed"]


def test_the_diff_names_adapters_as_people_do(lab):
    shown = run(lab, check=True, functions=WANTED)["diff"]
    assert shown[0]["before"] == "0000:86:00.0 (enp134s0f0): 0\n0000:86:00.1 (enp134s0f1): 0\n"
    assert shown[0]["after"] == "0000:86:00.0 (enp134s0f0): 2\n0000:86:00.1 (enp134s0f1): 63\n"
    assert shown[1]["after_header"] == "/etc/udev/rules.d/80-dgxops-sriov.rules"


def test_all_is_given_back(lab):
    run(lab, functions=WANTED)
    done = run(lab, state="absent")
    assert done["changed"] and done["rules_file"] == "" and set(lab.numbers().values()) == {0}
    assert not run(lab, state="absent")["changed"]


def test_a_virtual_function_in_use_is_named_for_playbooks_too(lab):
    run(lab, functions=WANTED)
    lab.drive("0000:86:03.1", "vfio-pci")
    answer = run(lab, state="absent")
    assert answer["failed"] and answer["in_use"] == ["0000:86:03.1"] and "Traceback" not in answer["msg"]
