"""The machines the lab can pose as, and what a person is told who asks for one that cannot be."""
import pytest

from ansible_collections.dgxops.fleet.tests.lab.vm.platforms import PLATFORMS, mebibytes, platform_named
from ansible_collections.dgxops.fleet.tests.lab.vm.programs import LabError


def test_a_dgx2_has_a_mirrored_system_and_eight_nvme_drives_with_serial_numbers_of_their_own():
    dgx2 = platform_named("dgx2-small")
    assert (dgx2.product, dgx2.os_drives, dgx2.data.bus, dgx2.data.total, dgx2.sockets) == ("DGX-2", 2, "nvme", 8, 2)
    assert len({dgx2.data.serial_of(number) for number in range(16)}) == 16


def test_thread_siblings_and_kvm_guests_exclude_each_other():
    for platform in PLATFORMS.values():
        assert platform.nested_kvm == (platform.threads == 1)


def test_sizes_can_be_chosen():
    smaller = platform_named("dgx2-smt").sized(cpus=4, memory="2G", drives=2, drive_size="512M")
    assert (smaller.cpus, smaller.cores, smaller.memory_mib, smaller.data.total, smaller.data.size_mib) == (4, 1, 2048, 2, 512)
    assert platform_named("dgx1").sized() == platform_named("dgx1")


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"cpus": 6}, "6 CPUs do not fit, a multiple of 4 does"),
        ({"cpus": 0}, "0 CPUs do not fit"),
        ({"memory": "1G"}, "it needs 1G a socket"),
        ({"memory": "6 GB"}, "Write it like 512M or 6G"),
        ({"memory": "0M"}, "is not a size"),
        ({"drives": 17}, "0 to 16 data drives, not 17"),
        ({"drives": -1}, "0 to 16 data drives, not -1"),
        ({"drive_size": "1T"}, "'1T' is not a size"),
    ],
)
def test_what_does_not_fit_is_named(wish, words):
    with pytest.raises(LabError) as refused:
        platform_named("dgx2-smt").sized(**wish)
    assert words in str(refused.value)


def test_an_unknown_platform_is_answered_with_those_there_are():
    with pytest.raises(LabError, match="There are: dgx2-small, dgx2-smt, dgx1, station"):
        platform_named("dgx3")


@pytest.mark.parametrize("text, size", [("512M", 512), ("1G", 1024), ("16G", 16384)])
def test_sizes_are_read(text, size):
    assert mebibytes(text) == size
