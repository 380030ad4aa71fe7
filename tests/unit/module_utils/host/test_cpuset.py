# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CPU lists, CPU masks and host lists are read as the kernel, libvirt and Slurm write them, and written as short as can be."""
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

cpus = st.frozensets(st.integers(0, 2047), max_size=200)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", []),
        (" \n", []),
        ("5", [5]),
        ("0-3,48", [0, 1, 2, 3, 48]),
        ("0-3, 48-49\n", [0, 1, 2, 3, 48, 49]),
        ("3,1,1-2", [1, 2, 3]),
        ("0-7,^3", [0, 1, 2, 4, 5, 6, 7]),
        ("^3-4,0-5", [0, 1, 2, 5]),
        ("0-10:2/5", [0, 1, 5, 6, 10]),
        (7, [7]),
        ([4, 2], [2, 4]),
        (range(3), [0, 1, 2]),
    ],
)
def test_a_cpu_list_is_read(text, expected):
    assert cpuset.parse(text) == frozenset(expected)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("3-1", "The range '3-1' in the CPU list '3-1' runs backwards"),
        ("0,x", "'x' in the CPU list '0,x' is neither a CPU nor a range"),
        ("0,,2", "'' in the CPU list '0,,2' is neither a CPU nor a range"),
        ("-1", "'-1' in the CPU list '-1' is neither"),
        ("0-99999999", "CPU 99999999 in the CPU list '0-99999999' is above 65535"),
        ("9" * 5000, "is neither a CPU nor a range"),
        ("0-3:4/2", "The stride of '0-3:4/2'"),
        ("\u0663", "is neither a CPU nor a range"),
        (-1, "-1 is not a CPU number"),
        ([1, "2"], "'2' is not a CPU number"),
        (True, "True is not a CPU list"),
        (b"0-3", "is not a CPU list"),
        (None, "None is not a CPU list"),
        (1.5, "1.5 is not a CPU list"),
    ],
)
def test_what_is_no_cpu_list_is_refused_with_the_part_that_is_wrong(text, complaint):
    with pytest.raises(FleetError) as caught:
        cpuset.parse(text)
    assert complaint in caught.value.message


@pytest.mark.parametrize("numbers, text", [([], ""), ([3], "3"), ([0, 1], "0-1"), ([48, 2, 1, 0], "0-2,48"), ([5, 7, 9], "5,7,9")])
def test_a_cpu_list_is_written_as_short_as_can_be(numbers, text):
    assert cpuset.show(numbers) == text


@given(cpus)
def test_what_is_written_is_read_back(numbers):
    assert cpuset.parse(cpuset.show(numbers)) == numbers
    assert cpuset.parse_mask(cpuset.show_mask(numbers)) == numbers


@given(cpus)
def test_runs_are_unbroken_and_apart(numbers):
    found = cpuset.runs(numbers)
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(numbers)
    assert all(later[0] > earlier[1] + 1 for earlier, later in zip(found, found[1:]))


@given(st.text(alphabet="0123456789-,^:/ x", max_size=20))
@example("0-3:1/")
def test_any_text_is_a_cpu_list_or_refused_in_words(text):
    try:
        found = cpuset.parse(text)
    except FleetError as error:
        assert error.message
    else:
        assert all(0 <= number <= cpuset.HIGHEST_CPU for number in found)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("00000000", []),
        ("f", [0, 1, 2, 3]),
        ("0xf0\n", [4, 5, 6, 7]),
        ("00ff,00000001", [0] + list(range(32, 40))),
    ],
)
def test_a_mask_is_read(text, expected):
    assert cpuset.parse_mask(text) == frozenset(expected)


@pytest.mark.parametrize("text", ["", "0-3", "xyz", "0x"])
def test_what_is_no_mask_is_refused(text):
    with pytest.raises(FleetError, match="is not a CPU mask"):
        cpuset.parse_mask(text)


@pytest.mark.parametrize("numbers, text", [([], "00000000"), ([0], "00000001"), ([32], "00000001,00000000"), ([0, 95], "80000000,00000000,00000001")])
def test_a_mask_is_written_as_the_kernel_does(numbers, text):
    assert cpuset.show_mask(numbers) == text


@pytest.mark.parametrize(
    "text, hosts",
    [
        ("", []),
        ("login", ["login"]),
        ("dgx[01-03],login", ["dgx01", "dgx02", "dgx03", "login"]),
        ("node[212-213,215]", ["node212", "node213", "node215"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[009-011]", ["n009", "n010", "n011"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("a,b a\nc", ["a", "b", "c"]),
        ("dgx[1-2].lab.example", ["dgx1.lab.example", "dgx2.lab.example"]),
    ],
)
def test_a_host_list_is_read_in_the_order_written(text, hosts):
    assert cpuset.parse_hosts(text) == hosts


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("dgx[1-2", "brackets of the host list 'dgx[1-2' do not match"),
        ("dgx1-2]", "brackets of the host list 'dgx1-2]' do not match"),
        ("dgx[1[2]]", "do not match"),
        ("dgx[]", "'' in the host list 'dgx[]' is neither a number nor a range"),
        ("dgx[a-b]", "'a-b' in the host list"),
        ("dgx[3-1]", "The range '3-1' in the host list 'dgx[3-1]' runs backwards"),
        ("dgx[1-9999999]", "names more than 65536 hosts"),
        ("r[1-1000]n[1-1000]", "names more than 65536 hosts"),
        (",".join("g%d-[1-60000]" % number for number in range(3)), "names more than 65536 hosts"),
    ],
)
def test_what_is_no_host_list_is_refused_with_the_part_that_is_wrong(text, complaint):
    with pytest.raises(FleetError) as caught:
        cpuset.parse_hosts(text)
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    "hosts, text",
    [
        ([], ""),
        (["login"], "login"),
        (["dgx2", "dgx1", "dgx3"], "dgx[1-3]"),
        (["dgx09", "dgx10", "dgx12"], "dgx[09-10,12]"),
        (["n1", "n01"], "n1,n01"),
        (["n{0}".format(number) for number in range(12)], "n[0-11]"),
        (["n0", "n00", "n10"], "n0,n[00,10]"),
        (["n1"], "n1"),
        (["n", "n1", "n2"], "n,n[1-2]"),
    ],
)
def test_a_host_list_is_written_short_and_keeps_leading_zeros(hosts, text):
    assert cpuset.show_hosts(hosts) == text


@given(st.sets(st.from_regex(r"\A[a-z]{0,2}[0-9]{0,4}[a-z]?\Z").filter(bool), max_size=40))
@example({"a0", "a00", "a1", "a01", "a10", "a010"})
@example({"0", "00", "1"})
def test_every_host_of_a_list_that_was_written_is_read_back(hosts):
    assert set(cpuset.parse_hosts(cpuset.show_hosts(hosts))) == hosts
