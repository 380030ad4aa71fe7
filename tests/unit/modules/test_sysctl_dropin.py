# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module sysctl_dropin as a playbook meets it."""
import pytest

from ansible_collections.dgxops.fleet.plugins.modules import sysctl_dropin

from .run_module import run_module


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "proc" / "sys" / "kernel"
    place.mkdir(parents=True)
    (place / "numa_balancing").write_text("0\n")
    return tmp_path


def run(root, check=False, **options):
    return run_module(sysctl_dropin.main, dict(options, name="kvm", root=str(root)), check)


WANTED = {"kernel.numa_balancing": 1}


def test_check_mode_predicts_what_the_run_then_does(root):
    predicted = run(root, check=True, values=WANTED)
    assert (root / "proc/sys/kernel/numa_balancing").read_text() == "0\n" and not (root / "etc").exists()
    done = run(root, values=WANTED)
    assert (predicted["changed"], predicted["diff"], predicted["file"]) == (True, done["diff"], done["file"])
    assert (done["before"], done["after"]) == ({"kernel.numa_balancing": "0"}, {"kernel.numa_balancing": "1"})
    assert not run(root, values=WANTED)["changed"]


def test_it_tells_what_it_gave_back(root):
    run(root, values=WANTED)
    done = run(root, state="absent")
    assert (done["changed"], done["after"], done["file"]) == (True, {"kernel.numa_balancing": "0"}, "")
    assert not run(root, state="absent")["changed"]


def test_a_setting_the_kernel_does_not_have_is_an_answer_and_no_traceback(root):
    answer = run(root, values={"kernel.nonsense": 1})
    assert answer["failed"] and "kernel.nonsense" in answer["msg"]
