# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Huge pages per NUMA node: what is given, refused, taken back and kept."""
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.files import read_text
from ansible_collections.dgxops.fleet.plugins.module_utils.host.hugepages import (
    Found,
    Memory,
    Place,
    Pool,
    Wish,
    decide,
    directory_of,
    results,
    show_size,
    unmounted,
    wanted_pages,
)
from ansible_collections.dgxops.fleet.plugins.module_utils.host.hugepages_host import carry_out, read, users_of_pages
from ansible_collections.dgxops.fleet.tests.unit.module_utils.host.lab_kernel import GIB, LabKernel

TMPFILES = "etc/tmpfiles.d/dgxops-hugepages.conf"
RECORD = "var/backups/dgxops/hugepages.json"


@pytest.fixture
def kernel(tmp_path):
    return LabKernel(tmp_path)


def run(kernel, pages, **options):
    """What the module does: read, decide, act; returns the change."""
    found = read(kernel)
    change = decide(Wish(wanted_pages(pages), **options), found, users=lambda: users_of_pages(kernel))
    carry_out(change, kernel, found.by_node)
    return change


def refused(kernel, pages, **options):
    """The words of a refusal, which must leave everything as it is."""
    before = dict(kernel.pages), read_text(kernel.path(TMPFILES))
    with pytest.raises(FleetError) as caught:
        run(kernel, pages, **options)
    assert (dict(kernel.pages), read_text(kernel.path(TMPFILES))) == before
    return str(caught.value)


def test_each_node_gets_its_own_pages_and_a_second_run_finds_them(kernel):
    assert run(kernel, {"1G": {0: 40, 1: 8}, "2M": {1: 100}})
    assert kernel.pages == {(GIB, 0): 40, (GIB, 1): 8, (2048, 0): 0, (2048, 1): 100}
    writes = len(kernel.writes)
    assert not run(kernel, {"1G": {0: 40, 1: 8}, "2M": {1: 100}})
    assert len(kernel.writes) == writes


def test_the_planners_answer_is_taken_as_it_is(kernel):
    run(kernel, {"1048576": {"0": 40}, "2048": {"1": "100"}})
    assert kernel.pages[GIB, 0] == 40 and kernel.pages[2048, 1] == 100


def test_larger_pages_are_asked_for_first_and_memory_is_given_back_before(kernel):
    run(kernel, {"2M": {0: 20480, 1: 0}})
    kernel.writes.clear()
    run(kernel, {"2M": {0: 512, 1: 512}, "1G": {0: 60}})
    assert [(name.split("/node")[-1][0], name.split("hugepages-")[1].split("kB")[0], text) for name, text in kernel.writes] == [
        ("0", "2048", "512"), ("0", "1048576", "60"), ("1", "2048", "512"),
    ]


def test_a_node_with_memory_in_pieces_gives_the_pages_after_compaction(kernel):
    kernel.scattered, kernel.compaction = {(GIB, 1): 10}, 30
    run(kernel, {"1G": {1: 40}})
    assert kernel.pages[GIB, 1] == 40
    assert ("proc/sys/vm/compact_memory", "1") in kernel.writes


def test_only_the_node_concerned_is_compacted_where_the_kernel_can(kernel):
    kernel.put("sys/devices/system/node/node1/compact", "")
    kernel.scattered, kernel.compaction = {(GIB, 1): 10}, 30
    run(kernel, {"1G": {1: 40}})
    assert [name for name, _text in kernel.writes if "compact" in name] == ["sys/devices/system/node/node1/compact"]


def test_a_compaction_that_fails_leaves_the_pools_as_they_were(kernel):
    kernel.scattered, kernel.broken = {(GIB, 1): 10}, "compact_memory"
    assert "All pools are as they were." in refused(kernel, {"1G": {1: 40}, "2M": {0: 8}})


def test_too_few_pages_put_every_pool_back_and_name_the_way_by_the_kernel_command_line(kernel):
    run(kernel, {"2M": {0: 1024}})
    kernel.scattered, kernel.compaction = {(GIB, 1): 10}, 5
    with pytest.raises(FleetError) as caught:
        run(kernel, {"2M": {0: 512}, "1G": {0: 4, 1: 40}})
    assert kernel.pages == {(GIB, 0): 0, (GIB, 1): 0, (2048, 0): 1024, (2048, 1): 0}
    assert caught.value.details == {"node": 1, "size_kib": GIB, "asked": 40, "got": 15}
    assert "Node 1 gave 15 of 40 pages of 1G" in caught.value.message
    assert "All pools are as they were." in caught.value.message
    assert "hugepagesz=1G" in caught.value.message and "reboot" in caught.value.message
    assert "1024" in read_text(kernel.path(TMPFILES)) and "hugepages-1048576kB" not in read_text(kernel.path(TMPFILES))


def test_pools_that_do_not_go_back_are_told(kernel):
    run(kernel, {"2M": {0: 1024}})
    kernel.scattered = {(GIB, 0): 1, (2048, 0): 700}
    with pytest.raises(FleetError, match="Not all pools could be put back: node 0 should have 1024 of 2M"):
        run(kernel, {"2M": {0: 512}, "1G": {0: 40}})


def test_a_kernel_that_refuses_is_told_with_the_way_at_boot(kernel):
    kernel.broken = "hugepages-1048576kB"
    text = refused(kernel, {"1G": {0: 4}, "2M": {0: 0}})
    assert "The kernel refused 4 pages of 1G on node 0: Invalid argument." in text and "hugepagesz=1G" in text


def test_pages_in_use_are_not_taken_and_their_user_is_named(kernel):
    run(kernel, {"1G": {0: 40}})
    kernel.use(GIB, 0, 30)
    kernel.put("proc/4711/status", "Name:\tqemu-system-x86\nHugetlbPages:\t31457280 kB\n")
    kernel.put("proc/4711/cmdline", "/usr/bin/qemu-system-x86_64\0-name\0guest=dgx2vm-a,debug-threads=on\0")
    kernel.put("proc/1/status", "Name:\tsystemd\nHugetlbPages:\t0 kB\n")
    text = refused(kernel, {"1G": {0: 20}})
    assert "Node 0 has 40 pages of 1G, 30 of them in use, and is to have 20." in text
    assert "In use by: guest dgx2vm-a (process 4711, 30.0 GiB)." in text
    assert "shrink_in_use" in text
    run(kernel, {"1G": {0: 30}})
    assert kernel.pages[GIB, 0] == 30


def test_users_that_are_no_guests_are_named_too_largest_first(kernel):
    kernel.put("proc/7/status", "Name:\tpostgres\nHugetlbPages:\t4096 kB\n")
    kernel.put("proc/8/status", "Name:\tdpdk\nHugetlbPages:\t2097152 kB\n")
    assert users_of_pages(kernel) == ["dpdk (process 8, 2.0 GiB)", "postgres (process 7, 4 MiB)"]


def test_with_consent_the_kernel_takes_pages_in_use_when_they_are_freed(kernel):
    run(kernel, {"1G": {0: 40}})
    kernel.use(GIB, 0, 30)
    before = read(kernel)
    change = run(kernel, {"1G": {0: 20}}, shrink_in_use=True)
    (pool,) = [result.to_dict() for result in results(change, before, read(kernel))]
    assert pool == {
        "node": 0, "size": "1G", "size_kib": GIB, "before": 40, "wanted": 20, "total": 30, "free": 0, "in_use": 30, "surplus": 10,
    }
    assert not run(kernel, {"1G": {0: 20}})


def test_reserved_pages_are_not_taken(kernel):
    run(kernel, {"2M": {0: 100, 1: 100}})
    kernel.reserved[2048] = 150
    kernel.show()
    text = refused(kernel, {"2M": {0: 50, 1: 50}})
    assert "Of the 200 free pages of 2M, 150 are reserved" in text
    run(kernel, {"2M": {0: 75, 1: 75}})


def test_more_than_the_node_has_is_refused_beforehand_with_the_numbers(kernel):
    text = refused(kernel, {"1G": {0: 65}})
    assert "65.0 GiB more of its 64.0 GiB, but only 64.0 GiB are free" in text
    run(kernel, {"2M": {0: 16384}})
    text = refused(kernel, {"2M": {0: 16384}, "1G": {0: 40}})
    assert "40.0 GiB more" in text and "32.0 GiB are free" in text
    run(kernel, {"2M": {0: 0}, "1G": {0: 40}})
    assert kernel.pages[GIB, 0] == 40


def test_cached_files_count_as_room(kernel):
    kernel.put("sys/devices/system/node/node0/meminfo", (
        "Node 0 MemTotal: 67108864 kB\nNode 0 MemFree: 1048576 kB\nNode 0 Active(file): 1048576 kB\n"
        "Node 0 Inactive(file): 2097152 kB\nNode 0 SReclaimable: 1048576 kB\nNode 0 Active(anon): 50000000 kB\n"
    ))
    assert read(kernel).memory[0] == Memory(67108864, 5 * GIB)


@pytest.mark.parametrize(("pages", "words"), [
    ({"1G": {2: 1}}, "no NUMA node 2; it has 0, 1"),
    ({"16M": {0: 1}}, "offers no pages of 16M; it offers 2M, 1G"),
    ({"1G": 4}, r"pages\[1G\] is 4, but should say how many pages each node gets"),
    ({"1G": {0: -1}}, r"pages\[1G\]\[0\] is -1"),
    ({"1G": {0: 1.5}}, r"pages\[1G\]\[0\] is 1.5"),
    ({"1G": {0: True}}, r"pages\[1G\]\[0\] is True"),
    ({"1G": {0: "all"}}, r"pages\[1G\]\[0\] is 'all'"),
    ({"1G": {"zero": 1}}, r"pages\[1G\]\[zero\]"),
    ({"1G": {"\u00b2": 1}}, "which is no number of pages"),
    ({"\u00b2": {0: 1}}, "has no page size"),
    ({"1T": {0: 1}}, r"pages\[1T\] has no page size. Write it as 2M or 1G"),
    ({"1G": {0: 1}, "1048576": {0: 2}}, "the size 1G for node 0 twice"),
    (["1G"], "Write pages as"),
])
def test_what_cannot_be_is_refused_in_words(kernel, pages, words):
    with pytest.raises(FleetError, match=words):
        run(kernel, pages)


@pytest.mark.parametrize(("written", "kib"), [
    ("2M", 2048), ("2m", 2048), ("2MB", 2048), ("2MiB", 2048), (2048, 2048), ("1G", GIB), ("1048576", GIB), ("64kB", 64),
])
def test_sizes_in_every_usual_spelling(written, kib):
    assert wanted_pages({written: {0: 1}}) == {Place(kib, 0): 1}


def test_a_node_without_memory_can_be_told_to_hold_nothing_only(tmp_path):
    kernel = LabKernel(tmp_path, memory=(64, 0))
    assert not run(kernel, {"1G": {1: 0}}, persistent=False)
    assert "Node 1 has no memory of its own" in refused(kernel, {"1G": {1: 4}})


def test_a_kernel_without_numa_has_one_node(tmp_path):
    kernel = LabKernel(tmp_path, memory=(16,), numa=False)
    run(kernel, {"2M": {0: 100}})
    assert kernel.pages[2048, 0] == 100
    assert "w! /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages - - - - 100\n" in read_text(kernel.path(TMPFILES))
    assert "no NUMA node 1; it has 0" in refused(kernel, {"2M": {1: 100}})


def test_a_kernel_without_huge_pages_says_so(tmp_path):
    kernel = LabKernel(tmp_path, sizes=())
    assert "it offers no huge pages at all" in refused(kernel, {"2M": {0: 1}})


def test_the_pages_are_set_again_at_boot_per_node_and_without_a_shell(kernel):
    run(kernel, {"2M": {1: 100, 0: 50}, "1G": {0: 4}})
    lines = read_text(kernel.path(TMPFILES)).splitlines()
    assert lines[1:] == [
        "w! /sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages - - - - 4",
        "w! /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages - - - - 50",
        "w! /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages - - - - 100",
    ]
    assert run(kernel, {"2M": {1: 100, 0: 50}, "1G": {0: 4}}, persistent=False)
    assert not os.path.exists(kernel.path(TMPFILES))


def test_a_run_cut_short_before_the_file_is_completed(kernel):
    run(kernel, {"2M": {0: 50}})
    os.unlink(kernel.path(TMPFILES))
    assert run(kernel, {"2M": {0: 50}})
    assert os.path.exists(kernel.path(TMPFILES))


def test_absent_gives_back_what_was_there_before_the_first_change(kernel):
    kernel.pages[2048, 0] = 20  # set aside at boot, by someone else
    kernel.show()
    run(kernel, {"2M": {0: 50, 1: 50}})
    run(kernel, {"2M": {0: 70, 1: 50}})
    assert json.loads(read_text(kernel.path(RECORD))) == {"pages": {"2048": {"0": 20, "1": 0}}}
    assert run(kernel, {})
    assert kernel.pages == {(GIB, 0): 0, (GIB, 1): 0, (2048, 0): 20, (2048, 1): 0}
    assert not os.path.exists(kernel.path(TMPFILES)) and not os.path.exists(kernel.path(RECORD))
    assert not run(kernel, {})


def test_a_pool_no_longer_named_goes_back_and_is_then_left_alone(kernel):
    run(kernel, {"2M": {0: 50, 1: 60}})
    assert run(kernel, {"2M": {0: 50}})
    assert kernel.pages[2048, 1] == 0
    kernel.pages[2048, 1] = 8  # somebody else's, from now on
    kernel.show()
    assert not run(kernel, {"2M": {0: 50}})
    run(kernel, {})
    assert kernel.pages[2048, 1] == 8


def test_pools_that_were_never_changed_are_never_touched(kernel):
    kernel.pages[2048, 1] = 8
    kernel.show()
    run(kernel, {"1G": {0: 4}})
    run(kernel, {})
    assert kernel.pages[2048, 1] == 8


def test_absent_with_a_guest_running_is_refused(kernel):
    run(kernel, {"1G": {0: 4}})
    kernel.use(GIB, 0, 4)
    assert "4 of them in use, and is to have 0" in refused(kernel, {})


def test_a_damaged_record_is_told_and_not_guessed(kernel):
    kernel.put(RECORD, '{"pages": [')
    assert "/var/backups/dgxops/hugepages.json is damaged" in refused(kernel, {"2M": {0: 1}})


def test_the_diff_is_a_table_of_the_pools_that_change_and_the_file(kernel):
    change = decide(Wish(wanted_pages({"1G": {1: 8, 0: 4}, "2M": {0: 0}})), read(kernel))
    pools, text = change.diffs
    assert pools.before == "node 0    1G  0 pages\nnode 1    1G  0 pages\n"
    assert pools.after == "node 0    1G  4 pages\nnode 1    1G  8 pages\n"
    assert text.before == "" and text.header == "/etc/tmpfiles.d/dgxops-hugepages.conf"
    assert decide(Wish({}), read(kernel)).diffs == []


def test_sizes_that_libvirt_cannot_use_are_pointed_out(kernel):
    found = read(kernel)
    assert found.mounts == {2048: "/dev/hugepages"}
    assert unmounted(Wish(wanted_pages({"1G": {0: 4}, "2M": {0: 4}})), found) == [GIB]
    assert unmounted(Wish(wanted_pages({"1G": {0: 0}})), found) == []


def test_a_mount_without_a_size_has_the_default_size(kernel):
    kernel.put("proc/self/mounts", "none /dev/hugepages hugetlbfs rw 0 0\nproc /proc proc rw 0 0\n")
    kernel.put("proc/meminfo", "Hugepagesize:    1048576 kB\n")
    assert read(kernel).mounts == {GIB: "/dev/hugepages"}


@pytest.mark.parametrize(("kib", "shown"), [(2048, "2M"), (GIB, "1G"), (64, "64K"), (16 * GIB, "16G"), (0, "0K")])
def test_sizes_are_shown_as_people_write_them(kib, shown):
    assert show_size(kib) == shown


PLACES = [Place(2048, 0), Place(2048, 1), Place(GIB, 0), Place(GIB, 1)]
COUNTS = st.integers(min_value=0, max_value=64)


@st.composite
def hosts(draw):
    pools = {}
    for place in PLACES:
        total = draw(COUNTS)
        free = draw(st.integers(min_value=0, max_value=total))
        pools[place] = Pool(total, free, draw(st.integers(min_value=0, max_value=total - free)))
    return Found(
        pools, {2048: draw(st.integers(0, 20)), GIB: 0}, {node: Memory(256 * GIB, draw(st.integers(0, 256)) * GIB) for node in (0, 1)}, True, None,
        record=draw(st.dictionaries(st.sampled_from(PLACES), COUNTS)),
    )


@given(hosts(), st.dictionaries(st.sampled_from(PLACES), COUNTS))
def test_no_decision_takes_pages_in_use_or_more_than_the_memory_or_touches_what_is_not_its_own(found, pages):
    try:
        change = decide(Wish(pages), found)
    except FleetError:
        return
    after = {place: pool.kept for place, pool in found.pools.items()}
    for step in change.steps:
        assert step.place in pages or step.place in found.record
        assert step.before == after[step.place] and step.before != step.after
        assert step.after >= found.pools[step.place].in_use or step.after > step.before
        after[step.place] = step.after
    assert all(after[place] == count for place, count in pages.items())
    assert set(change.record) >= {step.place for step in change.steps}
    for node, memory in found.memory.items():
        grown = sum((step.after - step.before) * step.place.size_kib for step in change.steps if step.place.node == node)
        assert grown <= max(memory.available_kib, 0) or grown <= 0


@given(hosts(), st.dictionaries(st.sampled_from(PLACES), COUNTS))
def test_a_decision_repeated_after_its_steps_is_empty(found, pages):
    try:
        change = decide(Wish(pages), found)
    except FleetError:
        return
    pools = dict(found.pools)
    for step in change.steps:
        old = pools[step.place]
        pools[step.place] = Pool(max(step.after, old.in_use), max(step.after, old.in_use) - old.in_use, max(0, old.in_use - step.after))
    again = decide(Wish(pages), found._replace(pools=pools, record=change.record, persisted=change.persist))
    assert not again


ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=8)


@given(ANYTHING)
def test_whatever_is_written_for_pages_the_answer_is_pages_or_a_sentence(written):
    try:
        wanted = wanted_pages(written)
    except FleetError as error:
        assert "Write" in error.message or "Keep one" in error.message
        return
    assert all(count >= 0 for count in wanted.values())


def test_the_directory_of_a_pool():
    assert directory_of(Place(2048, 3), True) == "sys/devices/system/node/node3/hugepages/hugepages-2048kB"
