"""What an administrator of a DGX gets from the planner, story by story; figures from the Best Practices for DGX."""
import copy
from typing import Any, Dict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import placement
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.hosts import GIB, dgx2, dgx_a100
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.nonsense import NONSENSE, places

DGX2 = dgx2()


def planned(*guests, **policy):
    """The plan for these guests on a DGX-2, as a dictionary."""
    return placement.plan(DGX2, guests, policy).to_dict()


def only(*guests, **policy):
    """The one placement of a plan that refuses nobody."""
    plan = planned(*guests, **policy)
    assert plan["refused"] == []
    assert len(plan["guests"]) == 1
    return plan["guests"][0]


def refusal(*guests, **policy):
    """The one refusal of a plan."""
    plan = planned(*guests, **policy)
    assert len(plan["refused"]) == 1
    return plan["refused"][0]


@pytest.mark.parametrize("gpus, first, node", [([0, 1], 0, 0), ([8, 9], 24, 1)])
def test_two_gpus_by_core_sit_on_the_threads_of_five_cores_of_their_socket(gpus, first, node):
    """Section 12.2.3, Example of Enabling Core Affinity Optimization on a 2-GPU VM; the topology multiplies to the vCPUs, unlike there."""
    guest = only({"name": "a", "gpus": gpus, "vcpus": 10, "memory": "96G", "pinning": "core"})
    assert guest["vcpupin"] == {0: first, 1: first + 48, 2: first + 1, 3: first + 49, 4: first + 2, 5: first + 50, 6: first + 3, 7: first + 51,
                                8: first + 4, 9: first + 52}
    assert guest["topology"] == {"sockets": 1, "cores": 5, "threads": 2}
    assert guest["cells"] == [{"id": 0, "vcpus": "0-9", "memory_kib": 96 * GIB, "node": node}]


def test_two_gpus_by_thread_are_pinned_as_nvidia_vm_does():
    """Section 12.2.2: vCPUs 0-5 on 0-5 and 6-10 on 48-52."""
    guest = only({"name": "a", "gpus": 2, "vcpus": 11, "memory": "96G", "pinning": "thread"})
    assert list(guest["vcpupin"].values()) == [0, 1, 2, 3, 4, 5, 48, 49, 50, 51, 52]
    assert guest["topology"] == {"sockets": 1, "cores": 11, "threads": 1}


def test_eight_gpus_by_thread_are_pinned_as_nvidia_vm_does():
    """Section 12.2.1: vCPU 22 on 22, vCPU 23 on 48, vCPU 45 on 70."""
    pins = only({"name": "a", "gpus": 8, "vcpus": 46, "memory": "360G", "pinning": "thread"})["vcpupin"]
    assert (pins[0], pins[22], pins[23], pins[44], pins[45]) == (0, 22, 48, 69, 70)


def test_sixteen_gpus_get_a_cell_on_each_socket():
    """Section 12.4.2.1: 0-45 and 46-91 with 758456320 KiB each; 12.3.1.1: 740680 pages of 2 MiB."""
    guest = only({"name": "a", "gpus": 16, "vcpus": 92, "memory_kib": 1516912640, "hugepages": "2M"})
    assert guest["cells"] == [
        {"id": 0, "vcpus": "0-45", "memory_kib": 758456320, "node": 0},
        {"id": 1, "vcpus": "46-91", "memory_kib": 758456320, "node": 1},
    ]
    assert guest["topology"] == {"sockets": 2, "cores": 23, "threads": 2}
    assert guest["pages"] == {"2048": {0: 370340, 1: 370340}}
    assert guest["emulatorpin"] == "23,47,71,95"


@pytest.mark.parametrize("pinning", ["core", "thread", "none"])
def test_the_largest_guest_fits_whatever_the_policy(pinning):
    assert only({"name": "a", "gpus": 16, "vcpus": 92, "memory_kib": 1516912640, "pinning": pinning})["nodes"] == [0, 1]


def test_memory_that_is_no_whole_number_of_pages_is_refused_with_both_neighbours():
    """Section 12.3.1.2 takes 1446 pages for 1446.6."""
    refused = refusal({"name": "a", "gpus": 16, "vcpus": 92, "memory_kib": 1516912640, "hugepages": "1G"})
    assert refused["rule"] == "pages"
    assert "1517289472 KiB (1447 pages)" in refused["message"]
    assert refused["fits"] == {"memory_kib": 1517289472, "pages": 1447}
    guest = only({"name": "a", "gpus": 16, "vcpus": 92, "memory_kib": 1517289472, "hugepages": "1G"})
    assert guest["pages"] == {"1048576": {0: 724, 1: 723}}
    assert [cell["memory_kib"] for cell in guest["cells"]] == [724 * GIB, 723 * GIB]


def test_eight_small_guests_leave_the_emulators_the_siblings_that_nobody_uses():
    """Section 12.5 shows just these CPUs."""
    plan = planned(*[{"name": "g{0}".format(at), "gpus": [at], "vcpus": 5, "memory_kib": 10485760} for at in range(8)])
    assert {guest["emulatorpin"] for guest in plan["guests"]} == {"50,53,56,59,62,65,68,71"}
    assert {guest["pinning"] for guest in plan["guests"]} == {"thread"}


def test_a_mixed_set_shares_the_host_without_sharing_a_core():
    sizes = [("h", 8, 46), ("f", 4, 22), ("t", 2, 10), ("o", 1, 5), ("p", 1, 5)]
    plan = planned(*[{"name": name, "gpus": count, "vcpus": vcpus, "memory": "64G"} for name, count, vcpus in sizes])
    assert {guest["name"]: guest["gpus"] for guest in plan["guests"]} == {
        "h": list(range(8)), "f": [8, 9, 10, 11], "t": [12, 13], "o": [14], "p": [15]
    }
    cores = [{cpu % 48 for cpu in guest["vcpupin"].values()} for guest in plan["guests"]]
    assert sum(map(len, cores)) == len(set().union(*cores))


def test_a_guest_of_odd_size_rather_takes_another_node_than_half_of_a_core_of_somebody():
    """41 vCPUs leave seven threads on their node, one of them on a core of their own; the other node has whole cores."""
    large, small = planned({"name": "a", "vcpus": 41, "memory": "8G"}, {"name": "b", "vcpus": 7, "memory": "8G"})["guests"]
    assert (large["nodes"], small["nodes"]) == ([0], [1])
    assert not {cpu % 48 for cpu in large["vcpupin"].values()} & {cpu % 48 for cpu in small["vcpupin"].values()}


def test_a_small_guest_fills_a_gap_and_leaves_large_blocks_of_gpus_whole():
    plan = planned({"name": "a", "gpus": [4], "vcpus": 4, "memory": "8G"}, {"name": "b", "gpus": 1, "vcpus": 4, "memory": "8G"},
                   {"name": "c", "gpus": 2, "vcpus": 4, "memory": "8G"}, {"name": "d", "gpus": 8, "vcpus": 4, "memory": "8G"})
    assert {guest["name"]: guest["gpus"] for guest in plan["guests"]} == {"a": [4], "b": [5], "c": [6, 7], "d": list(range(8, 16))}


def test_the_host_keeps_the_lowest_cores_of_each_node():
    plan = planned({"name": "a", "gpus": 1, "vcpus": 4, "memory": "8G"}, reserved_cores=1)
    assert plan["host"]["reserved_cpus"] == "0,24,48,72"
    assert sorted(plan["guests"][0]["vcpupin"].values()) == [1, 2, 49, 50]
    assert planned({"name": "a", "vcpus": 2, "memory": "8G"}, reserved_cores={"1": 2})["host"]["reserved_cpus"] == "24-25,72-73"


def test_io_threads_get_a_cpu_each_where_there_are_enough():
    guest = only({"name": "a", "gpus": 8, "vcpus": 46, "memory": "360G", "iothreads": 2})
    assert guest["iothreadpin"] == {1: "23", 2: "71"}
    guest = only({"name": "a", "gpus": 8, "vcpus": 46, "memory": "360G", "iothreads": 3})
    assert guest["iothreadpin"] == {1: "23,71", 2: "23,71", 3: "23,71"}


def test_io_threads_of_several_guests_do_not_crowd_on_one_cpu():
    plan = planned(*[{"name": "g{0}".format(at), "gpus": [at], "vcpus": 5, "memory": "10G", "iothreads": 1} for at in range(8)])
    assert [guest["iothreadpin"][1] for guest in plan["guests"]] == "50 53 56 59 62 65 68 71".split()


def test_an_emulator_may_be_given_its_cpus_by_name():
    guest = only({"name": "a", "gpus": 1, "vcpus": 10, "memory": "8G", "emulator": "0,48"})
    assert guest["emulatorpin"] == "0,48"
    assert min(guest["vcpupin"].values()) == 1
    assert refusal({"name": "a", "gpus": [0], "vcpus": 10, "memory": "8G", "emulator": "24"})["rule"] == "emulator_cpus"
    assert refusal({"name": "a", "gpus": [0], "vcpus": 10, "memory": "8G", "emulator": "96"})["rule"] == "emulator_cpus"


def test_without_pins_a_guest_still_gets_cells_beside_its_gpus():
    guest = only({"name": "a", "gpus": [8], "vcpus": 5, "memory_kib": 10485760, "pinning": "none", "emulator": "none"})
    assert (guest["vcpupin"], guest["emulatorpin"]) == ({}, "")
    assert guest["cells"] == [{"id": 0, "vcpus": "0-4", "memory_kib": 10485760, "node": 1}]


def test_odd_vcpus_are_refused_by_core_and_go_by_thread_when_left_alone():
    """Section 12.2.3, 1-GPU VMs."""
    refused = refusal({"name": "a", "gpus": 1, "vcpus": 5, "memory": "10G", "pinning": "core"})
    assert refused["rule"] == "core_threads"
    assert refused["message"] == "a has 5 vCPUs, which do not fill cores of 2 threads. Give it 4 or 6, or pin it by thread."
    assert refusal({"name": "a", "vcpus": 5, "memory": "10G"}, pinning="core")["rule"] == "core_threads"
    assert only({"name": "a", "gpus": 1, "vcpus": 5, "memory": "10G"})["pinning"] == "thread"


def test_more_vcpus_than_the_socket_of_the_gpus_holds():
    refused = refusal({"name": "a", "gpus": [0, 1], "vcpus": 60, "memory": "10G", "pinning": "thread"})
    assert refused["rule"] == "node_cpus"
    assert refused["message"].startswith("a asks for 60 vCPUs pinned by thread, but node 0, where its GPUs are, has 48 free threads. 48 vCPUs would fit.")
    assert refused["asked"]["vcpus"] == 60
    assert refused["free"]["nodes"][0] == {"threads": 48, "cores": 24, "memory_kib": 791000000}
    assert refused["fits"] == {"vcpus": 48, "nodes": [0]}
    assert only({"name": "a", "gpus": [0, 1], "vcpus": 60, "memory": "10G", "beyond_gpu_nodes": True})["nodes"] == [0, 1]


def test_more_memory_than_the_socket_of_the_gpus_holds():
    refused = refusal({"name": "a", "gpus": [0], "vcpus": 4, "memory": "1T", "hugepages": "1G"})
    assert refused["rule"] == "node_memory"
    assert refused["fits"]["memory_kib"] == 754 * GIB


def test_a_refusal_names_all_that_must_change_for_the_guest_to_fit():
    guest = {"name": "a", "gpus": [0], "vcpus": 60, "memory": "1000G", "pinning": "thread", "hugepages": "1G"}
    refused = refusal(guest)
    assert refused["fits"] == {"vcpus": 48, "memory_kib": 754 * GIB, "nodes": [0]}
    assert "has 48 free threads. With 48 vCPUs and {0} KiB of memory it would fit. With beyond_gpu_nodes".format(754 * GIB) in refused["message"]
    assert only({"name": "a", "gpus": [0], "vcpus": 48, "memory_kib": 754 * GIB, "pinning": "thread", "hugepages": "1G"})["nodes"] == [0]


def test_pages_that_would_be_whole_are_not_advised_where_they_do_not_fit():
    refused = refusal({"name": "a", "gpus": [0], "vcpus": 4, "memory_kib": 754 * GIB + 1, "hugepages": "1G"})
    assert refused["rule"] == "pages"
    assert refused["fits"] == {"memory_kib": 754 * GIB, "pages": 754, "nodes": [0]}


def test_in_place_of_a_taken_gpu_as_many_free_ones_fit_as_were_asked_for():
    plan = planned({"name": "a", "gpus": [3], "vcpus": 4, "memory": "1G"}, {"name": "b", "gpus": [2, 3], "vcpus": 4, "memory": "1G"})
    assert len(plan["refused"][0]["fits"]["gpus"]) == 1
    assert plan["refused"][0]["fits"]["gpus"][0] not in (2, 3)


def test_what_fits_is_what_a_guest_gets_though_smaller_ones_take_the_rest_meanwhile():
    guests = [{"name": "big", "gpus": [8], "vcpus": 60, "memory": "10G"}, {"name": "small", "vcpus": 48, "memory": "10G"}]
    guests += [{"name": "other", "gpus": [0], "vcpus": 48, "memory": "10G"}]
    refused = planned(*guests)["refused"]
    assert [(one["guest"], one["fits"]) for one in refused] == [("big", {"vcpus": 48, "nodes": [1]})]
    assert "big" in [guest["name"] for guest in planned(dict(guests[0], vcpus=48), *guests[1:])["guests"]]


def test_pins_that_cannot_stay_are_not_said_to_be_mended_by_a_move_if_there_is_no_room_either():
    mine = {"name": "a", "vcpupin": {"0": "0-1", "1": "2"}, "gpus": [0]}
    refused = refusal({"name": "a", "gpus": [0], "vcpus": 60, "memory": "10G", "pinning": "thread"}, pinned=[mine])
    assert refused["fits"] == {"move": "if_needed", "vcpus": 48, "nodes": [0]}
    assert refused["message"].endswith("With 48 vCPUs and move: if_needed it would fit.")


def test_beyond_the_nodes_of_its_gpus_a_guest_may_sit_where_these_are_full():
    pins = {str(at): str(cpu) for at, cpu in enumerate([*range(24), *range(48, 72)])}
    full = {"name": "full", "vcpupin": pins}
    guest = {"name": "a", "gpus": [0], "vcpus": 8, "memory": "10G"}
    assert refusal(guest, pinned=[full])["rule"] == "node_cpus"
    assert only(dict(guest, beyond_gpu_nodes=True), pinned=[full])["nodes"] == [1]
    nearly = {"name": "full", "vcpupin": {vcpu: cpu for vcpu, cpu in pins.items() if cpu != "71"}}
    assert only(dict(guest, beyond_gpu_nodes=True, max_nodes=1), pinned=[nearly])["nodes"] == [1]


def test_where_nothing_else_is_idle_emulators_share_the_cpus_that_another_guest_named():
    one = {"name": "one", "vcpus": 47, "memory": "10G", "gpus": [0], "emulator": "71", "pinning": "thread"}
    many = {"name": "many", "vcpus": 2, "memory": "10G", "gpus": [1], "pinning": "none", "numa": "auto"}
    assert [guest["emulatorpin"] for guest in planned(one, many)["guests"]] == ["71", "71"]


def test_a_newcomer_does_not_take_the_gpus_of_a_guest_without_pins_or_cells():
    there = {"name": "z", "gpus": [0], "vcpus": 2, "memory": "10G", "pinning": "none", "numa": "none"}
    newcomer = {"name": "a", "gpus": [0, 1], "vcpus": 20, "memory": "10G"}
    plan = planned(there, newcomer, pinned=planned(there)["guests"])
    assert [guest["name"] for guest in plan["guests"]] == ["z"]


def test_a_guest_bound_to_nothing_is_where_it_was_in_the_next_plan():
    guests = [{"name": "loose", "vcpus": 40, "memory": "10G", "pinning": "none", "numa": "none"}, {"name": "a", "vcpus": 20, "memory": "10G"}]
    first = planned(*guests)["guests"]
    assert planned(*guests, pinned=first)["guests"][1]["emulatorpin"] == first[1]["emulatorpin"]


@pytest.mark.parametrize("gpus, said", [([16], "asks for GPU 16, but this host has GPU 0-15"), (17, "asks for 17 GPUs, but only 16 of 16 are free")])
def test_gpus_that_are_not_there(gpus, said):
    refused = refusal({"name": "a", "gpus": gpus, "vcpus": 4, "memory": "1G"})
    assert refused["rule"] == "gpus"
    assert said in refused["message"]


def test_a_gpu_goes_to_one_guest_only():
    plan = planned({"name": "a", "gpus": [3], "vcpus": 4, "memory": "1G"}, {"name": "b", "gpus": [2, 3], "vcpus": 4, "memory": "1G"})
    assert [guest["name"] for guest in plan["guests"]] == ["b"]
    assert plan["refused"][0]["message"] == "a asks for GPU 3, which b has. Free are 0-1,4-15."


NVIDIA_VM = {vcpu: (0 if vcpu < 5 else 43) + vcpu for vcpu in range(10)}


def test_a_guest_that_is_not_planned_keeps_its_cpus_to_itself():
    other = {"name": "other", "vcpupin": {"0": "0", "1": "48"}, "gpus": [0], "cells": [{"id": 0, "node": 0, "memory_kib": 700 * GIB}]}
    guest = only({"name": "a", "gpus": 1, "vcpus": 4, "memory": "8G"}, pinned=[other])
    assert guest["gpus"] == [1]
    assert sorted(guest["vcpupin"].values()) == [1, 2, 49, 50]
    assert refusal({"name": "a", "gpus": [1], "vcpus": 4, "memory": "80G"}, pinned=[other])["rule"] == "node_memory"


def test_present_pins_stay_where_nothing_is_asked_of_them():
    guest = only({"name": "a", "gpus": [0, 1], "vcpus": 10, "memory": "8G"}, pinned={"a": {"vcpupin": NVIDIA_VM}})
    assert guest["vcpupin"] == NVIDIA_VM
    assert (guest["kept"], guest["pinning"], guest["topology"]["threads"]) == (True, "thread", 1)


def test_present_pins_on_cores_of_different_widths_are_no_core_pinning():
    """A core of three threads and one of two, as where a sibling is offline: no guest topology is three wide and has five vCPUs."""
    cpus = [{"id": number, "socket": 0, "core": number // 3, "node": 0} for number in range(5)]
    host = Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": 64 * GIB}], "devices": []})
    guest = {"name": "a", "vcpus": 5, "memory": "8G", "vcpupin": {number: number for number in range(5)}}
    placed = placement.plan(host, [guest]).to_dict()["guests"][0]
    assert (placed["pinning"], placed["topology"], placed["kept"]) == ("thread", {"sockets": 1, "cores": 5, "threads": 1}, True)


def test_a_guest_may_bring_its_pins_itself():
    guest = only({"name": "a", "gpus": [0, 1], "vcpus": 10, "memory": "8G", "vcpupin": NVIDIA_VM})
    assert (guest["vcpupin"], guest["kept"]) == (NVIDIA_VM, True)


def test_cpus_that_name_no_node_are_on_the_only_one():
    cpus = [{"id": number, "socket": 0, "core": number // 2, "node": -1} for number in range(4)]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": 8 * GIB}]})
    for pinning in ("core", "none"):
        plan = placement.plan(topology, [{"name": "a", "vcpus": 2, "memory": "1G", "pinning": pinning}], {}).to_dict()
        assert plan["guests"][0]["nodes"] == [0]


def test_cpus_that_name_no_node_of_several_are_left_alone():
    cpus = [{"id": number, "socket": 0, "core": number // 2, "node": -1} for number in range(4)]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": 8 * GIB}, {"id": 1, "memory_kib": 8 * GIB}]})
    plan = placement.plan(topology, [{"name": "a", "vcpus": 2, "memory": "1G"}], {}).to_dict()
    assert plan["refused"][0]["message"] == "a finds no free CPU with memory beside it: node 0-1 has none."


def test_present_pins_that_break_what_is_asked_move_only_with_consent():
    asked = {"name": "a", "gpus": [0, 1], "vcpus": 10, "memory": "8G", "pinning": "core"}
    refused = refusal(asked, pinned={"a": {"vcpupin": NVIDIA_VM}})
    assert refused["rule"] == "pinned"
    assert "Set move to if_needed" in refused["message"]
    assert only(asked, pinned={"a": {"vcpupin": NVIDIA_VM}}, move="if_needed")["vcpupin"][1] == 48


def test_a_plan_made_anew_ignores_what_was_there():
    pins = {vcpu: vcpu + 10 for vcpu in range(4)}
    asked = {"name": "a", "gpus": [0], "vcpus": 4, "memory": "8G", "pinning": "thread"}
    assert only(asked, pinned={"a": {"vcpupin": pins}}, move="if_needed")["vcpupin"] == pins
    assert sorted(only(asked, pinned={"a": {"vcpupin": pins}}, move="always")["vcpupin"].values()) == [0, 1, 48, 49]


PINS = {0: 2, 1: 50}


@pytest.mark.parametrize(
    "pins, gpus, said",
    [
        ({0: 2}, [0], "they pin vCPU 0, but it has 2 vCPUs"),
        ({0: "2-3", 1: 50}, [0], "a vCPU may run on more than one CPU"),
        ({0: 2, 1: 2}, [0], "two of its vCPUs share a CPU"),
        ({0: 2, 1: 96}, [0], "CPU 96 is not online"),
        ({0: 0, 1: 48}, [0], "CPU 0,48 is reserved"),
        ({0: 2, 1: 4}, [0], "CPU 4 is pinned by other too"),
        ({0: 2, 1: 50}, [8], "they are on node 0, but its GPUs are on node 1"),
    ],
)
def test_why_present_pins_cannot_stay(pins, gpus, said):
    policy = {"pinned": [{"name": "a", "vcpupin": pins}, {"name": "other", "vcpupin": {0: 4}}], "reserved_cores": {0: 1}}
    refused = refusal({"name": "a", "gpus": gpus, "vcpus": 2, "memory": "8G", "pinning": "thread"}, **policy)
    assert refused["rule"] == "pinned"
    assert said in refused["message"]


def test_pins_that_overlap_by_hand_are_refused_for_one_and_kept_for_the_other():
    guests = [{"name": name, "gpus": [at], "vcpus": 2, "memory": "8G"} for at, name in enumerate("ab")]
    plan = planned(*guests, pinned=[{"name": "a", "vcpupin": PINS}, {"name": "b", "vcpupin": {0: 3, 1: 50}}])
    assert [guest["name"] for guest in plan["guests"]] == ["a"]
    assert "CPU 50 is pinned by a too" in plan["refused"][0]["message"]
    parted = planned(*guests, pinned=[{"name": "a", "vcpupin": PINS}, {"name": "b", "vcpupin": {0: 3, 1: 50}}], move="if_needed")
    assert [sorted(guest["vcpupin"].values()) for guest in parted["guests"]] == [[2, 50], [0, 48]]


def test_strangers_that_overlap_and_strangers_that_float_are_warned_of():
    floating = {"name": "f", "vcpupin": {0: "0-23,48-71", 1: "0-23,48-71"}}
    plan = planned({"name": "c", "vcpus": 96, "memory": "8G"}, pinned=[floating])
    assert plan["refused"] == []
    assert plan["warnings"] == ["f may run on all CPUs of node 0: its pins (0-23,48-71) reserve nothing."]
    plan = planned({"name": "c", "vcpus": 2, "memory": "8G"}, pinned=[{"name": "a", "vcpupin": PINS}, {"name": "b", "vcpupin": {0: 50}}])
    assert plan["warnings"] == ["b shares CPU 50 with a by their present pins. Plan these guests together to part them."]


def test_a_guest_without_gpus_keeps_away_from_gpus_that_nobody_has_yet():
    topology = dgx_a100()
    plan = placement.plan(topology, [{"name": "web", "vcpus": 8, "memory": "16G"}], {}).to_dict()
    assert plan["guests"][0]["nodes"] == [0]  # nodes 1, 3, 5 and 7 have GPUs
    assert sorted(plan["guests"][0]["vcpupin"].values()) == [0, 1, 2, 3, 128, 129, 130, 131]


def test_an_a100_guest_sits_on_the_four_nodes_of_its_eight_gpus():
    plan = placement.plan(dgx_a100(), [{"name": "a", "gpus": 8, "vcpus": 120, "memory": "400G"}], {}).to_dict()
    guest = plan["guests"][0]
    assert guest["nodes"] == [1, 3, 5, 7]
    assert guest["topology"] == {"sockets": 4, "cores": 15, "threads": 2}
    assert [cell["memory_kib"] for cell in guest["cells"]] == [100 * GIB] * 4


def test_cores_under_one_cache_come_first():
    plan = placement.plan(dgx_a100(), [{"name": "a", "gpus": [0], "vcpus": 12, "memory": "1G"}, {"name": "b", "gpus": [1], "vcpus": 8, "memory": "1G"}], {})
    pins = {placed.guest.name: sorted(placed.pins.values()) for placed in plan.placements}
    assert pins["a"][:6] == [48, 49, 50, 51, 52, 53]
    assert pins["b"][:4] == [56, 57, 58, 59]  # not 54-55 and two of another cache


def test_a_topology_without_siblings_is_planned_core_by_core():
    cpus = [{"id": number, "socket": 0, "core": number, "node": 0} for number in range(4)]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": 8 * GIB}]})
    plan = placement.plan(topology, [{"name": "a", "vcpus": 3, "memory": "1G", "pinning": "core"}], {}).to_dict()
    assert plan["guests"][0]["topology"] == {"sockets": 1, "cores": 3, "threads": 1}


@pytest.mark.parametrize(
    "guests, policy, said",
    [
        ("a", {}, "guests is 'a', but a list of guests is expected"),
        ([3], {}, "guests[0] is 3, but a dictionary"),
        ([{"vcpus": 2}], {}, "guests[0].name is None"),
        ([{"name": "a"}], {}, "guest a: vcpus is None, but a number of vCPUs of at least 1"),
        ([{"name": "a", "vcpus": 0}], {}, "vcpus is 0"),
        ([{"name": "a", "vcpus": True}], {}, "vcpus is True"),
        ([{"name": "a", "vcpus": "many"}], {}, "vcpus is 'many'"),
        ([{"name": "a", "vcpus": 2, "memory": "lots"}], {}, "memory_kib is 'lots', but a number of KiB, or a text such as 96G"),
        ([{"name": "a", "vcpus": 2, "memory": 1, "memory_kib": 1}], {}, "memory and memory_kib are both given"),
        ([{"name": "a", "vcpus": 2, "gpus": "two"}], {}, "gpus is 'two'"),
        ([{"name": "a", "vcpus": 2, "gpus": [-1]}], {}, "gpus is -1"),
        ([{"name": "a", "vcpus": 2, "pinning": "cores"}], {}, "pinning is 'cores', but one of none, thread, core"),
        ([{"name": "a", "vcpus": 2, "hugepages": "3M"}], {}, "hugepages is '3M'"),
        ([{"name": "a", "vcpus": 2, "hugepages": []}], {}, "hugepages is []"),
        ([{"name": "a", "vcpus": 2, "emulator": "x"}], {}, "emulator is neither none, same_node nor a CPU list"),
        ([{"name": "a", "vcpus": 2, "max_nodes": 0}], {}, "max_nodes is 0"),
        ([{"name": "a", "vcpus": 2, "gpu": 3}], {}, "guests[0] has the unknown key gpu"),
        ([{"name": "a", "vcpus": 2}, {"name": "a", "vcpus": 2}], {}, "The guest a is listed 2 times"),
        ([], {"pin": "core"}, "policy has the unknown key pin"),
        ([], [], "policy is [], but a dictionary"),
        ([], {"pinning": "cores"}, "policy.pinning is 'cores'"),
        ([], {"reserved_cores": "one"}, "policy.reserved_cores is 'one'"),
        ([], {"reserved_cores": {"a": 1}}, "policy.reserved_cores is 'a'"),
        ([], {"move": "yes"}, "policy.move is 'yes'"),
        ([], {"pinned": 3}, "policy.pinned is 3"),
        ([], {"pinned": ["a"]}, "policy.pinned[0] is 'a'"),
        ([], {"pinned": [{"name": "a", "vcpupin": {"0": "x"}}]}, "policy.pinned a: vcpupin: 'x' in the CPU list"),
        ([], {"pinned": [{"name": "a", "vcpupin": [0]}]}, "policy.pinned a: vcpupin is [0]"),
        ([], {"pinned": [{"name": "a", "vcpupin": {"0": "1"}, "cells": 2}]}, "policy.pinned a: cells is 2, but a list of cells"),
    ],
)
def test_bad_input_names_the_value_and_the_place(guests, policy, said):
    with pytest.raises(FleetError) as caught:
        placement.plan(DGX2, guests, policy)
    assert said in caught.value.message


def test_a_reserved_core_may_have_a_thread_that_firmware_put_on_no_node():
    cpus = [{"id": cpu, "socket": cpu % 4 // 2, "core": cpu % 4, "node": cpu % 4 // 2, "siblings": [cpu % 4, cpu % 4 + 4]} for cpu in range(8)]
    cpus[4]["node"] = -1
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": node, "memory_kib": 8 * GIB} for node in (0, 1)]})
    plan = placement.plan(topology, [{"name": "a", "vcpus": 2, "memory": "1G"}], {"reserved_cores": 1}).to_dict()
    assert plan["guests"][0]["vcpupin"] == {0: 1, 1: 5}
    assert plan["guests"][0]["emulatorpin"] == "0"


PLANNED: Dict[str, Any] = {
    "cpus": [{"id": cpu, "socket": cpu % 4 // 2, "core": cpu % 4, "node": cpu % 4 // 2, "siblings": [cpu % 4, cpu % 4 + 4]} for cpu in range(8)],
    "nodes": [{"id": node, "memory_kib": 100 * GIB} for node in (0, 1)],
    "devices": [{"pci": "0000:3{0}:00.0".format(gpu), "kind": "gpu", "index": gpu, "node": gpu // 2} for gpu in range(4)],
    "guests": [
        {"name": "a", "gpus": [0], "vcpus": 2, "memory_kib": GIB, "pinning": "core", "hugepages": "1G", "iothreads": 2},
        {"name": "b", "gpus": 1, "vcpus": 1, "memory": "4G", "emulator": "2", "max_nodes": 1, "beyond_gpu_nodes": True, "numa": "auto"},
    ],
    "policy": {
        "pinning": "thread", "reserved_cores": {0: 1}, "reserved_memory_kib": 0, "move": "if_needed",
        "pinned": [{"name": "z", "vcpupin": {0: "1", 1: "5"}, "gpus": [3], "cells": [{"id": 0, "vcpus": "0-1", "memory_kib": 1024, "node": 0}]}],
    },
}


@settings(max_examples=300)
@given(data=st.data())
def test_nonsense_anywhere_is_planned_or_refused_in_words(data):
    asked = copy.deepcopy(PLANNED)
    container, key = data.draw(st.sampled_from(places(asked)))
    container[key] = data.draw(NONSENSE)
    topology = {part: asked[part] for part in ("cpus", "nodes", "devices")}
    try:
        placement.plan(Topology.from_dict(topology), asked["guests"], asked["policy"]).to_dict()
    except FleetError as error:
        assert error.message


def test_a_guest_without_pins_keeps_the_memory_it_has_when_another_comes():
    """Five nodes of 50 GiB: one guest without pins has 200 GiB of them, another has 1 GiB of what is left; a third takes what neither has."""
    cpus = [{"id": cpu, "socket": cpu, "core": 0, "node": cpu} for cpu in range(5)]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": node, "memory_kib": 50 * GIB} for node in range(5)]})
    there = [
        {"name": "large", "vcpus": 5, "memory": "200G", "pinning": "none"},
        {"name": "loose", "vcpus": 1, "memory": "1G", "numa": "none"},
    ]
    first = placement.plan(topology, there, {}).to_dict()
    second = placement.plan(topology, there + [{"name": "new", "vcpus": 1, "memory": "1G"}], {"pinned": first["guests"]}).to_dict()
    assert [guest["name"] for guest in second["guests"]] == ["large", "loose", "new"]
    assert second["guests"][0]["cells"] == first["guests"][0]["cells"]
