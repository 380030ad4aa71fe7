# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel command line, read as the kernel reads it."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.kernel import (
    HugePages,
    effect,
    huge_pages,
    in_force,
    pages_in,
    parameter,
    parse_line,
    size_kib,
    wanted_parameters,
)

GIB = 1048576


def texts(line):
    return [found.text for found in parse_line(line)]


@pytest.mark.parametrize(("line", "words"), [
    ("BOOT_IMAGE=/boot/vmlinuz-5.15 root=UUID=x ro quiet\n", ["BOOT_IMAGE=/boot/vmlinuz-5.15", "root=UUID=x", "ro", "quiet"]),
    ('dyndbg="file ec.c +p" quiet', ['dyndbg="file ec.c +p"', "quiet"]),
    ("quiet -- hugepages=4", ["quiet"]),
    ('a "unclosed b', ["a", '"unclosed b']),
    ("  \n", []),
])
def test_a_line_is_split_as_the_kernel_does(line, words):
    assert texts(line) == words


def test_dashes_and_underscores_are_one_and_values_lose_their_quotes():
    assert parameter('transparent-hugepage="never"')[1:] == ("transparent_hugepage", "never")
    assert parameter("nosmt")[1:] == ("nosmt", None)


# Each line with what Linux 6.1 (mm/hugetlb.c, hugetlbpage.rst) sets aside for it.
@pytest.mark.parametrize(("line", "default", "pools"), [
    ("hugepages=256", None, [(2048, "256")]),
    ("default_hugepagesz=1G hugepages=96", GIB, [(GIB, "96")]),
    ("hugepages=96 default_hugepagesz=1G", GIB, [(GIB, "96")]),
    ("default_hugepagesz=1G hugepagesz=1G hugepages=96", GIB, [(GIB, "96")]),
    ("hugepagesz=1G hugepages=96 hugepagesz=2M hugepages=512", None, [(2048, "512"), (GIB, "96")]),
    ("hugepages=256 hugepagesz=2M hugepages=512", None, [(2048, "256")]),
    ("hugepagesz=1G hugepages=4 hugepagesz=1G hugepages=8", None, [(GIB, "4")]),
    ("hugepagesz=1G hugepages=4 hugepages=8", None, [(GIB, "4")]),
    ("hugepagesz=1G hugepages=4 hugepagesz=1024M hugepages=8", None, [(GIB, "4")]),
    ("default_hugepagesz=1G default_hugepagesz=2M hugepagesz=1G hugepages=8", GIB, [(GIB, "8")]),
    ("hugepagesz=2M hugepages=0:1,1:2", None, [(2048, "0:1,1:2")]),
    ("hugepagesz=nonsense hugepages=4 hugepagesz=2M hugepages=8", None, [(2048, "8")]),
    ("hugepagesz=2M hugepages=junk", None, []),
    ("quiet splash", None, []),
])
def test_the_huge_pages_of_a_line_are_those_the_kernel_would_set_aside(line, default, pools):
    assert huge_pages(parse_line(line)) == HugePages(default, tuple(pools))


def test_a_line_covers_another_if_it_asks_for_all_of_it():
    line = huge_pages(parse_line("default_hugepagesz=1G hugepagesz=1G hugepages=96 hugepagesz=2M hugepages=512"))
    assert line.covers(huge_pages(parse_line("hugepagesz=2M hugepages=512")))
    assert not line.covers(huge_pages(parse_line("hugepagesz=2M hugepages=513")))
    assert not huge_pages(parse_line("hugepagesz=1G hugepages=96")).covers(huge_pages(parse_line("default_hugepagesz=1G")))
    assert line.total_kib == 97 * GIB


def test_counts_by_node_add_up():
    assert pages_in("0:48,1:50") == 98 and pages_in("7") == 7 and pages_in("") == 0


def test_a_size_without_a_letter_is_in_bytes():
    assert size_kib("2097152", "here") == 2048
    with pytest.raises(FleetError, match="hugepagesz= has no page size. Write it as 2M or 1G"):
        size_kib("", "hugepagesz=")


@pytest.mark.parametrize(("wanted", "line", "expected"), [
    ("intel_iommu=on", "intel_iommu=off intel_iommu=on", True),
    ("intel_iommu=on", "intel_iommu=on intel_iommu=off", False),
    ("intel-iommu=on", "intel_iommu=on", True),
    ("nosmt", "quiet nosmt", True),
    ("nosmt", "nosmt=force", False),
    ("console=ttyS0", "console=ttyS0 console=tty1", True),
    ("cgroup_enable=memory", "cgroup_enable=cpuset", False),
])
def test_whether_a_parameter_is_in_force(wanted, line, expected):
    assert in_force(parameter(wanted), [parameter(wanted)], parse_line(line)) is expected


def test_huge_page_parameters_are_in_force_together_or_not_at_all():
    wanted = wanted_parameters(["hugepagesz=1G", "hugepages=96"])
    assert all(in_force(item, wanted, parse_line("quiet hugepagesz=1G hugepages=96")) for item in wanted)
    assert not any(in_force(item, wanted, parse_line("quiet hugepagesz=1G hugepages=16")) for item in wanted)


def test_the_effect_of_a_flag_a_value_and_of_nothing():
    line = parse_line("quiet loglevel=3 loglevel=5")
    assert effect(parameter("quiet"), line) is True
    assert effect(parameter("loglevel=1"), line) == "5"
    assert effect(parameter("nosmt"), line) is None


@pytest.mark.parametrize(("given_parameters", "words"), [
    (["quiet splash"], "'quiet splash' is not a kernel parameter that can be set"),
    (["a=$(reboot)"], "cannot|can be set"),
    (["a=`id`"], "can be set"),
    (['a="b"'], "can be set"),
    (["a='b'"], "can be set"),
    (["a=b\n"], "can be set"),
    (["a=b\\"], "can be set"),
    (["a;b"], "can be set"),
    (["memmap=2G$4G"], "can be set"),
    ([""], "can be set"),
    (["--"], "can be set"),
    (["=1"], "can be set"),
    (["intel_iommu=on", "intel_iommu=off"], "given twice, as intel_iommu=on and as intel_iommu=off"),
    (["nosmt", "nosmt"], "given twice"),
    (["console=tty1", "console=tty1"], "console=tty1 is given twice"),
    (["hugepages=many"], "hugepages=many has no number of pages"),
    (["hugepages"], "hugepages has no number of pages"),
    (["hugepages=0:1,2"], "has no number of pages"),
    (["hugepagesz=1X", "hugepages=4"], "hugepagesz=1X has no page size"),
    (["hugepagesz=1G", "hugepages=4", "hugepages=8"], "the first count"),
    (["hugepagesz=1G", "hugepages=4", "hugepagesz=1G", "hugepages=8"], "each page size once"),
    (["default_hugepagesz=1G", "default_hugepagesz=2M"], "default_hugepagesz at most once"),
    (["hugepages=256", "hugepagesz=2M", "hugepages=512"], "ignore the rest"),
])
def test_parameters_that_would_not_arrive_are_refused(given_parameters, words):
    with pytest.raises(FleetError, match=words):
        wanted_parameters(given_parameters)


@pytest.mark.parametrize("given_parameters", [
    ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=96"],
    ["hugepagesz=1G", "hugepages=0:48,1:48", "hugepagesz=2M", "hugepages=512"],
    ["console=tty1", "console=ttyS0,115200n8"],
    ["cgroup_enable=memory", "swapaccount=1"],
    ["crashkernel=512M-:192M", "vfio-pci.ids=10de:1db8", "memmap=4G!12G", "module_blacklist=nouveau", "isolcpus=1-3,49"],
])
def test_parameters_that_people_use_are_taken(given_parameters):
    assert [item.text for item in wanted_parameters(given_parameters)] == given_parameters


@given(st.text())
def test_no_line_and_no_parameter_ends_in_anything_but_an_answer(text):
    huge_pages(parse_line(text))
    try:
        (found,) = wanted_parameters([text])
    except FleetError:
        return
    assert texts(text) == [text] == [found.text]


@given(st.lists(st.sampled_from(["hugepagesz=1G", "hugepagesz=2M", "default_hugepagesz=1G", "hugepages=4", "hugepages=8"]), max_size=6))
def test_what_is_accepted_is_used_in_full_by_the_kernel(words):
    try:
        wanted = wanted_parameters(words)
    except FleetError:
        return
    assert sum(pages_in(count) for _size, count in huge_pages(wanted).pools) == sum(int(word[10:]) for word in words if word.startswith("hugepages="))
