# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Questions that placement asks of a host."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology


def host(nodes=(0, 8), cores=3, threads=2, off=()):
    """Nodes that are not numbered in a row, cores numbered before their second threads, some CPUs off."""
    count = len(nodes) * cores
    return Topology.from_dict(
        {
            "cpus": [
                {"id": number, "online": False}
                if number in off
                else {"id": number, "socket": number % count // cores, "core": number % cores, "node": nodes[number % count // cores]}
                for number in range(count * threads)
            ],
            "nodes": [{"id": node, "memory_kib": 1024} for node in nodes] + [{"id": 99, "memory_kib": 512}],
            "devices": [
                {"pci": "0000:b7:00.0", "kind": "gpu", "node": 8, "index": 0},
                {"pci": "0000:34:00.0", "kind": "gpu", "node": 0, "index": 1},
                {"pci": "0000:2e:00.0", "kind": "nvme", "node": 0},
            ],
        }
    )


def test_cores_come_by_node_and_then_by_their_lowest_thread():
    assert host().cores() == [(0, 6), (1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]


def test_a_core_with_an_offline_thread_is_shorter_and_one_without_any_is_gone():
    assert host(off=(6, 1, 7)).cores() == [(0,), (2, 8), (3, 9), (4, 10), (5, 11)]


def test_each_online_cpu_is_in_one_core():
    machine = host(threads=4, off=(2, 13))
    assert sorted(thread for core in machine.cores() for thread in core) == [cpu.id for cpu in machine.online]


def test_cpus_of_a_node_are_those_that_are_online():
    machine = host(off=(8,))
    assert machine.cpus_of_node(0) == {0, 1, 2, 6, 7}
    assert machine.cpus_of_node(99) == frozenset(), "a node of memory alone"
    assert machine.cpus_of_node(5) == frozenset()


def test_gpus_come_by_the_index_they_were_given():
    assert [gpu.pci for gpu in host().gpus] == ["0000:b7:00.0", "0000:34:00.0"]
    assert [device.pci for device in host().of_kind("nvme")] == ["0000:2e:00.0"]
    assert [device.pci for device in host().devices] == ["0000:2e:00.0", "0000:34:00.0", "0000:b7:00.0"]


def test_asking_for_what_is_not_there_says_what_is():
    with pytest.raises(FleetError, match="This host has no CPU 50; it has 0-11."):
        host().cpu(50)
    with pytest.raises(FleetError, match="This host has no NUMA node 1; it has 0,8,99."):
        host().node(1)
    assert host(off=(3,)).cpu(3).online is False


def test_hosts_are_equal_if_all_is_the_same():
    assert host() == host()
    assert host() != host(off=(3,))
    assert (host() == "host") is False


def test_a_host_shows_its_size():
    assert repr(host(off=(3,))) == "<Topology: 11 CPUs online of 12, 6 cores, 3 nodes, 3 devices>"


def test_thousands_of_cpus_are_nothing_special():
    machine = host(nodes=tuple(range(16)), cores=128)
    assert len(machine.cores()) == 2048
    assert machine.cpu(4095).siblings == (2047, 4095)
    assert Topology.from_dict(machine.to_dict()) == machine
