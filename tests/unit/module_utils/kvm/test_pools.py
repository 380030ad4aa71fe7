"""How many huge pages a host needs, where, and in which order they come and go."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import pools
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.guests import Domain

from .lab_guests import facts, vm

GIB = 1024 * 1024
SMALL, LARGE = 2048, 1048576


def host(pages=None):
    return Topology.from_dict(facts(pages)["topology"])


def domain(**configured):
    return Domain.from_info(vm(2, 0, **dict({"hugepages": "2M", "memory_kib": 64 * GIB}, **configured)))


@pytest.mark.parametrize(
    "configured, expected",
    [
        ({"hugepages": "none"}, {}),
        ({}, {SMALL: {0: 32768}}),  # by its pins
        ({"vcpupin": {}}, {SMALL: {0: 16384, 1: 16384}}),  # by nothing: anywhere
        ({"hugepages": "1G"}, {LARGE: {0: 64}}),
        ({"cells": [{"id": 0, "vcpus": "0-9", "memory_kib": 64 * GIB, "node": 1}]}, {SMALL: {1: 32768}}),
        ({"cells": [{"id": 0, "vcpus": "0-9", "memory_kib": 64 * GIB, "node": "0-1"}]}, {SMALL: {0: 32768}}),
        ({"cells": [{"id": at, "vcpus": str(at), "memory_kib": 32 * GIB + 1024, "node": at} for at in (0, 1)]}, {SMALL: {0: 16385, 1: 16385}}),
    ],
)
def test_a_guest_that_is_not_planned_needs_the_pages_it_is_configured_with(configured, expected):
    assert pools.pages_of(domain(**configured), host()) == expected


def rival(name, *devices, **configured):
    return domain(**configured)._replace(name=name, pci=frozenset(devices))


def test_no_pages_are_asked_of_a_node_that_has_no_memory():
    described = host().to_dict()
    described["nodes"][1]["memory_kib"] = 0
    split = domain(memory_kib=4 * GIB, vcpupin={"0": "0", "1": "24"})
    assert pools.pages_of(split, Topology.from_dict(described)) == {2048: {0: 2048}}
    described["nodes"][0]["memory_kib"] = 0
    assert pools.pages_of(split, Topology.from_dict(described)) == {2048: {}}


def test_pages_are_enough_for_each_set_of_guests_that_take_turns():
    rivals = [rival("big", "a", "b", hugepages="1G"), rival("left", "a"), rival("right", "b")]
    planned = {SMALL: {0: 40000, 1: 1}}
    assert pools.wanted_pools(planned, [], rivals, host()) == {SMALL: {0: 65536, 1: 1}, LARGE: {0: 64}}
    assert pools.wanted_pools(planned, [rival("beside", "c")], [], host()) == {SMALL: {0: 72768, 1: 1}}


def test_nothing_is_to_be_done_before_the_guests_where_pools_only_shrink():
    assert pools.before({SMALL: {0: 100}}, host({0: {SMALL: (100, 0)}, 1: {SMALL: (50, 0)}})) == {}


def test_pools_grow_before_the_guests_and_pages_in_use_stay():
    found = host({0: {SMALL: (1000, 400), LARGE: (3, 3)}})
    assert pools.before({LARGE: {0: 5, 1: 1}}, found) == {SMALL: {0: 600}, LARGE: {0: 5, 1: 1}}


def test_a_size_that_the_host_does_not_tell_of_is_asked_for_at_once_so_that_its_absence_is_told():
    nodes = [dict(node, pages={}) for node in facts()["topology"]["nodes"]]
    bare = Topology.from_dict(dict(facts()["topology"], nodes=nodes))
    assert pools.before({LARGE: {0: 5}}, bare) == {LARGE: {0: 5}}
    assert pools.before({LARGE: {0: 0}}, bare) == {}


def test_pages_are_there_once_the_host_holds_as_many_on_whatever_node():
    assert pools.there({LARGE: {0: 6}}, host({0: {LARGE: (3, 0)}, 1: {LARGE: (3, 0)}}))
    assert not pools.there({LARGE: {0: 6}}, host({0: {LARGE: (5, 0)}}))


@pytest.mark.parametrize(
    "release, expected",
    [("5.15.0-1042-nvidia", (5, 15)), ("6.8", (6, 8)), ("6.8-rc1", (6, 8)), ("", (0, 0)), ("linux", (0, 0)), ("6", (0, 0))],
)
def test_kernel_releases_are_read(release, expected):
    assert pools.version(release) == expected


def test_a_host_of_one_node_is_asked_for_a_plain_number():
    nodes = [dict(facts()["topology"]["nodes"][0], distances=[10])]
    cpus = [dict(cpu, node=0) for cpu in facts()["topology"]["cpus"]]
    single = Topology.from_dict({"cpus": cpus, "nodes": nodes, "devices": []})
    assert pools.boot_parameters({SMALL: {0: 7}}, single, "6.8") == ["default_hugepagesz=2M", "hugepagesz=2M", "hugepages=7"]
    assert pools.boot_parameters({SMALL: {0: 0}}, single, "6.8") == []
