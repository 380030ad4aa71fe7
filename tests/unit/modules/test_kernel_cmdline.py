# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module kernel_cmdline as a playbook meets it: its answers, its check mode, its failures."""
import pytest

from ansible_collections.dgxops.fleet.plugins.modules import kernel_cmdline
from ansible_collections.dgxops.fleet.tests.unit.module_utils.host.lab_grub import LabGrub
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

PAGES = ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=96"]


@pytest.fixture
def lab(tmp_path):
    return LabGrub(tmp_path)


def run(lab, check=False, **options):
    return run_module(kernel_cmdline.main, dict(options, root=lab.root, update_grub=lab.update_grub), check)


def test_the_answer_before_and_after_the_reboot(lab):
    answer = run(lab, parameters=PAGES)
    assert answer["changed"] and answer["grub_updated"] and answer["reboot_required"]
    assert answer["path"] == "/etc/default/grub.d/zz-dgxops.cfg"
    assert answer["missing"] == PAGES and answer["in_force"] == []
    assert answer["configured"] == ["quiet", "splash"] + PAGES
    lab.reboot()
    answer = run(lab, parameters=PAGES)
    assert not answer["changed"] and not answer["grub_updated"] and not answer["reboot_required"]
    assert answer["missing"] == [] and answer["in_force"] == PAGES


def test_check_mode_predicts_and_touches_nothing(lab, tmp_path):
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    predicted = run(lab, check=True, parameters=PAGES)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before and lab.runs == 1
    assert run(lab, parameters=PAGES) == predicted


def test_a_parameter_already_in_force_is_told_apart_from_one_that_waits_for_a_reboot(lab):
    run(lab, parameters=["nosmt"])
    lab.reboot()
    answer = run(lab, parameters=["nosmt", "intel_iommu=on"])
    assert (answer["in_force"], answer["missing"]) == (["nosmt"], ["intel_iommu=on"])


def test_absent_needs_no_parameters(lab):
    run(lab, parameters=["nosmt"])
    lab.reboot()
    answer = run(lab, state="absent")
    assert answer["changed"] and answer["reboot_required"] and answer["configured"] == ["quiet", "splash"]


def test_a_refusal_is_a_failure_in_words(lab):
    answer = run(lab, parameters=["a b"])
    assert answer["failed"] and "'a b' is not a kernel parameter" in answer["msg"]


def test_present_without_parameters_is_refused(lab):
    assert "parameters" in run(lab)["msg"]


def test_a_warning_reaches_the_user(lab):
    lab.put("etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=off"\n')
    assert "intel_iommu=off (/etc/default/grub, line 1) stays" in str(run(lab, parameters=["intel_iommu=on"])["warnings"])
