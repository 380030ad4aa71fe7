# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module hugepages as a playbook meets it: its answers, its check mode, its failures."""
import pytest

from ansible_collections.dgxops.fleet.plugins.modules import hugepages
from ansible_collections.dgxops.fleet.tests.unit.module_utils.host.lab_kernel import GIB, LabKernel
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    lab = LabKernel(tmp_path)
    monkeypatch.setattr(hugepages, "Kernel", lambda root: lab)
    return lab


def run(check=False, **options):
    return run_module(hugepages.main, options, check)


def test_the_answer_tells_the_pools_and_that_they_were_verified(kernel):
    answer = run(pages={"2M": {"0": 100}})
    assert answer["changed"] and answer["verified"]
    assert answer["pools"] == [
        {"node": 0, "size": "2M", "size_kib": 2048, "before": 0, "wanted": 100, "total": 100, "free": 100, "in_use": 0, "surplus": 0}
    ]
    assert answer["persistent_file"] == "/etc/tmpfiles.d/dgxops-hugepages.conf"
    assert answer["hugetlbfs"] == {"2048": "/dev/hugepages"}


def test_check_mode_predicts_and_touches_nothing(kernel, tmp_path):
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    predicted = run(check=True, pages={"2M": {"0": 100, "1": 8}})
    assert kernel.writes == [] and sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert predicted["changed"] and not predicted["verified"]
    assert run(pages={"2M": {"0": 100, "1": 8}})["diff"] == predicted["diff"]
    again = run(check=True, pages={"2M": {"0": 100, "1": 8}})
    assert not again["changed"] and again["verified"] and again["diff"] == []


def test_a_size_that_libvirt_cannot_mount_is_warned_of(kernel):
    warnings = str(run(pages={"1G": {"0": 4}})["warnings"])
    assert "No hugetlbfs with pages of 1G is mounted" in warnings and "pagesize=1G" in warnings


def test_too_few_pages_fail_with_the_numbers_beside_the_words(kernel):
    kernel.scattered = {(GIB, 0): 3}
    answer = run(pages={"1G": {"0": 4}})
    assert answer["failed"] and (answer["node"], answer["asked"], answer["got"], answer["size_kib"]) == (0, 4, 3, GIB)
    assert kernel.pages[GIB, 0] == 0


def test_absent_needs_no_pages_and_gives_back(kernel):
    run(pages={"2M": {"0": 100}})
    assert run(state="absent")["changed"]
    assert kernel.pages[2048, 0] == 0
    assert not run(state="absent")["changed"]


def test_absent_ignores_the_pages_that_a_role_passes_along(kernel):
    run(pages={"2M": {"0": 100}})
    run(state="absent", pages={"2M": {"0": 100}})
    assert kernel.pages[2048, 0] == 0


def test_present_without_pages_is_refused(kernel):
    assert "pages" in run()["msg"]


def test_without_the_right_to_write_the_failure_says_become(kernel, monkeypatch):
    def denied(name, text):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(kernel, "write", denied)
    answer = run(pages={"2M": {"0": 100}})
    assert answer["failed"] and "become: true" in answer["msg"]
