# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CPUs and nodes are found as the kernel shows them, and what it does not show is survived."""
import os
import shutil
import time

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Cpu, Node, Pages, Topology
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree
from ansible_collections.dgxops.fleet.tests.lab.sysfs_tree import Machine, processors


def test_a_dgx_2_has_48_cores_of_two_threads_on_two_nodes(simulated):
    host = Topology.from_sysfs(simulated("dgx-2"))
    assert len(host.online) == 96 and len(host.cores()) == 48
    assert host.cores()[0] == (0, 48) and host.cores()[47] == (47, 95)
    assert host.cpus_of_node(0) == set(range(24)) | set(range(48, 72))
    assert host.cpu(30) == Cpu(30, 1, 0, 8, 1, (30, 78), 1, True)
    assert host.node(0) == Node(0, 791061664, (10, 21), {2048: Pages(0, 0), 1048576: Pages(0, 0)})


def test_a_dgx_a100_has_eight_nodes_and_a_cache_for_every_four_cores(simulated):
    host = Topology.from_sysfs(simulated("dgx-a100"))
    assert [len(host.cpus_of_node(node.id)) for node in host.nodes] == [32] * 8
    assert host.cpus_of_node(3) == set(range(48, 64)) | set(range(176, 192))
    assert {cpu.l3 for cpu in host.online} == set(range(32)), "numbered without the gaps of the kernel's ids"
    assert {cpu.id for cpu in host.online if cpu.l3 == 0} == {0, 1, 2, 3, 128, 129, 130, 131}


def test_a_power9_has_four_threads_to_a_core_and_nodes_with_gaps(simulated):
    host = Topology.from_sysfs(simulated("power9"))
    assert host.cores()[:2] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [node.id for node in host.nodes] == [0, 8, 255]
    assert host.cpus_of_node(255) == frozenset()
    assert host.node(255).distances == (80, 80, 10)
    assert {cpu.die for cpu in host.online} == {0}


def test_with_smt_switched_off_each_core_has_its_first_thread(simulated):
    host = Topology.from_sysfs(simulated("dgx-2-nosmt"))
    assert host.cores() == [(number,) for number in range(48)]
    assert host.cpu(48) == Cpu(48, -1, 0, -1, 0, (), None, False)


def test_offline_cpus_are_there_but_serve_nobody(simulated):
    host = Topology.from_sysfs(simulated(sysfs_tree.offline(sysfs_tree.dgx_2(), [0, 50, 95])))
    assert [cpu.id for cpu in host.cpus if not cpu.online] == [0, 50, 95]
    assert host.cpu(48).siblings == (48,) and host.cpu(2).siblings == (2,)
    assert host.cpu(95).node == 1
    assert 0 not in host.cpus_of_node(0)


def test_gaps_in_the_numbering_are_kept(simulated):
    threads = [thread for thread in processors(2, 4, 2) if thread.id not in (3, 5)]
    host = Topology.from_sysfs(simulated(Machine(threads, {0: 1024, 1: 1024})))
    assert [cpu.id for cpu in host.cpus] == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert host.cpu(11).siblings == (11,)


def test_more_than_1024_cpus_are_read_in_less_than_a_second(simulated):
    root = simulated(Machine(processors(4, 130, 2, cores_per_l3=13), dict.fromkeys(range(4), 1024)))
    times = []
    for _attempt in range(3):
        started = time.monotonic()
        host = Topology.from_sysfs(root)
        times.append(time.monotonic() - started)
    assert min(times) < 1
    assert len(host.online) == 1040 and host.cpu(1039).siblings == (519, 1039)
    assert len({cpu.l3 for cpu in host.online}) == 40


def test_huge_pages_are_counted_per_node(simulated):
    pages = {0: {2048: (512, 12), 1048576: (4, 4)}, 1: {2048: (0, 0), 1048576: (8, 0)}}
    host = Topology.from_sysfs(simulated(sysfs_tree.dgx_2()._replace(pages=pages)))
    assert host.node(0).pages == {2048: Pages(512, 12), 1048576: Pages(4, 4)}
    assert host.node(1).pages == {2048: Pages(0, 0), 1048576: Pages(8, 0)}


def test_a_node_without_memory_and_a_node_without_cpus_are_nodes(simulated):
    threads = processors(2, 2)
    host = Topology.from_sysfs(simulated(Machine(threads, {0: 1024, 1: 0, 2: 4096})))
    assert [(node.id, node.memory_kib, sorted(host.cpus_of_node(node.id))) for node in host.nodes] == [(0, 1024, [0, 1]), (1, 0, [2, 3]), (2, 4096, [])]


def test_a_kernel_without_numa_is_one_node_with_all_memory(simulated):
    pages = {0: {2048: (16, 16)}}
    host = Topology.from_sysfs(simulated(Machine(processors(1, 4, 2), {0: 8192}, pages=pages, hide=frozenset(["node"]))))
    assert host.nodes == (Node(0, 8192, (10,), {2048: Pages(16, 16)}),)
    assert host.cpus_of_node(0) == set(range(8))


@pytest.mark.parametrize(
    "hidden, cores",
    [("smt", [(number,) for number in range(8)]), ("topology", [(number,) for number in range(8)]), ("lists", [(0, 4), (1, 5), (2, 6), (3, 7)])],
)
def test_a_kernel_that_shows_less_about_cpus_is_understood_as_far_as_it_goes(simulated, hidden, cores):
    host = Topology.from_sysfs(simulated(Machine(processors(1, 4, 2), {0: 8192}, hide=frozenset([hidden]))))
    assert host.cores() == cores
    assert Topology.from_dict(host.to_dict()) == host


def test_no_level_3_cache_is_none(simulated):
    host = Topology.from_sysfs(simulated(Machine(processors(1, 4), {0: 8192}, hide=frozenset(["cache"]))))
    assert {cpu.l3 for cpu in host.online} == {None}


def change(root, path, text):
    with open(os.path.join(root, path), "w") as handle:
        handle.write(text)


def test_packages_that_have_no_number_are_counted(simulated):
    root = simulated(Machine(processors(4, 2), {0: 8192}))
    for number in range(8):
        change(root, "sys/devices/system/cpu/cpu%d/topology/physical_package_id" % number, "-1\n")
        change(root, "sys/devices/system/cpu/cpu%d/topology/core_id" % number, "-1\n")
    host = Topology.from_sysfs(root)
    assert [cpu.socket for cpu in host.cpus] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [cpu.core for cpu in host.cpus] == list(range(8))


def test_siblings_that_contradict_each_other_still_make_cores(simulated):
    root = simulated(Machine(processors(1, 4, 2), {0: 8192}))
    change(root, "sys/devices/system/cpu/cpu5/topology/thread_siblings_list", "2-7\n")
    change(root, "sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "rubbish\n")
    host = Topology.from_sysfs(root)
    assert sorted(thread for core in host.cores() for thread in core) == list(range(8))
    assert Topology.from_dict(host.to_dict()) == host


@pytest.mark.parametrize("row", ["0 0\n", "10\n", "10 x\n", ""])
def test_a_table_of_distances_that_makes_no_sense_is_replaced_by_the_usual_one(simulated, row):
    root = simulated(Machine(processors(2, 2), {0: 1024, 1: 1024}))
    change(root, "sys/devices/system/node/node1/distance", row)
    assert Topology.from_sysfs(root).node(1).distances == (20, 10)


def test_a_tree_without_cpus_is_refused_with_the_place(tmp_path):
    with pytest.raises(FleetError, match="No CPU was found in .*sys/devices/system/cpu.*is sysfs mounted there"):
        Topology.from_sysfs(str(tmp_path))


def test_any_directory_may_be_missing(simulated):
    root = simulated(sysfs_tree.dgx_1())
    for path in ("proc", "dev", "sys/class", "sys/bus", "sys/devices/pci0000:00", "sys/devices/system/node", "sys/kernel"):
        shutil.rmtree(os.path.join(root, path))
        host = Topology.from_sysfs(root)
        assert len(host.cores()) == 40
        assert Topology.from_dict(host.to_dict()) == host


def test_this_machine_is_a_host_too():
    host = Topology.from_sysfs("/")
    assert len(host.online) == len([line for line in open("/proc/cpuinfo") if line.startswith("processor")])
    assert Topology.from_dict(host.to_dict()) == host
