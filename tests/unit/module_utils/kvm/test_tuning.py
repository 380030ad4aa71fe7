"""What the role kvm_tuning makes of the guests it finds: told as its users would tell it."""
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.tuning import decide, queues
from ansible_collections.dgxops.fleet.tests.lab import nvidia_vm

from .lab_guests import configured_as, facts, settings_of, tune, vm
from .nonsense import NONSENSE, places

GIB = 1024 * 1024


def refusal(decision):
    assert not decision["domains"]
    return " ".join(decision["refused"])


# -- guests as nvidia-vm makes them --------------------------------------------------------------------------------------------------------


def test_the_documents_two_gpu_guest_is_pinned_to_cores_of_its_socket():
    first = settings_of(tune([vm(2, 0)]), "vm-2g0-1")
    assert list(first["vcpupin"].values()) == [0, 48, 1, 49, 2, 50, 3, 51, 4, 52]
    assert first["topology"] == {"sockets": 1, "cores": 5, "threads": 2}
    second = settings_of(tune([vm(2, 8)]), "vm-2g8-9")
    assert list(second["vcpupin"].values()) == [24, 72, 25, 73, 26, 74, 27, 75, 28, 76]


def test_the_documents_sixteen_gpu_guest_gets_a_cell_on_each_node():
    guest = settings_of(tune([vm(16, 0)]), "vm-16g0-15")
    assert [(cell["vcpus"], cell["memory_kib"], cell["node"]) for cell in guest["cells"]] == [("0-45", 758456320, 0), ("46-91", 758456320, 1)]
    assert guest["topology"] == {"sockets": 2, "cores": 23, "threads": 2}


def test_a_one_gpu_guest_of_five_vcpus_keeps_its_pins_to_threads():
    found = vm(1, 0)
    guest = settings_of(tune([found]), "vm-1g0")
    assert guest["vcpupin"] == {int(vcpu): int(cpus) for vcpu, cpus in found["configured"]["vcpupin"].items()}


def test_a_one_gpu_guest_is_refused_core_affinity_with_what_would_help():
    message = refusal(tune([vm(1, 0)], pinning="core"))
    assert "5 vCPUs" in message and "kvm_tuning_pinning" in message


def test_an_emulator_runs_on_free_cpus_of_its_guests_socket():
    guest = settings_of(tune([vm(8, 0)]), "vm-8g0-7")
    assert guest["emulatorpin"] == "23,71"


def test_the_whole_host_shares_no_core_between_guests_pinned_by_core():
    decision = tune([vm(8, 0), vm(4, 8), vm(2, 12), vm(2, 14)])
    cores = [{cpu % 48 for cpu in guest["vcpupin"].values()} for guest in decision["guests"]]
    assert sum(map(len, cores)) == len(set.union(*cores))


@given(data=st.data())
def test_a_second_run_wants_the_same_and_moves_nobody(data):
    found, first = [], 0
    while first < 16:
        count = data.draw(st.sampled_from([size for size in (1, 2, 4, 8, 16) if first % size == 0]))
        pins = data.draw(st.sampled_from(["nvidia-vm", "none", "overlapping"]))
        own = {} if pins == "nvidia-vm" else {"vcpupin": {} if pins == "none" else {str(vcpu): str(vcpu) for vcpu in range(nvidia_vm.VCPUS[count])}}
        if data.draw(st.booleans()):
            found.append(vm(count, first, memory_kib=90 * GIB * count, **own))
        first += count
    wanted = {
        "pinning": data.draw(st.sampled_from(["auto", "thread"])),
        "hugepages": data.draw(st.sampled_from(["none", "2M", "1G"])),
        "iothreads": data.draw(st.sampled_from(["disks", "vcpus", 0, 3])),
        "reserved_cores": data.draw(st.sampled_from([0, 1])),
    }
    before = tune(found, **wanted)
    assert not before["refused"]
    tuned = [configured_as(domain, settings_of(before, domain["name"])) for domain in found]
    after = tune(tuned, **wanted)
    assert after["domains"] == before["domains"] and after["pages"]["after"] == before["pages"]["after"]
    assert all(guest["kept"] for guest in after["guests"])
    assert before["unsettled"] or not found
    assert not after["unsettled"] and tune(tuned, **dict(wanted, pinning="none"))["unsettled"] == bool(found)


def test_planning_anew_moves_nobody_a_second_time_though_only_one_had_pins_at_first():
    pinned = vm(2, 0, vcpupin={str(vcpu): str(30 + vcpu) for vcpu in range(10)})
    domains = [pinned, vm(4, 4, vcpupin={}), vm(2, 2, vcpupin={})]
    first = tune(domains, move="always")
    again = tune([configured_as(domain, settings_of(first, domain["name"])) for domain in domains], move="always")
    assert again["domains"] == first["domains"] and not again["unsettled"]


@pytest.mark.parametrize("switched", [{"pinning": "none"}, {"pinning": "leave", "move": "always"}, {"pinning": "none", "numa": "leave"}])
def test_memory_and_emulator_stay_where_they_are_though_there_are_no_pins_to_tell(switched):
    domains = [vm(2, 0, prefix="a", hostdevs=[], vcpupin={}), vm(8, 0, prefix="b", vcpupin={str(vcpu): "0-3" for vcpu in range(46)})]
    domains[0]["pci"] = []
    first = tune(domains, **switched)
    assert not first["refused"]
    again = tune([configured_as(domain, settings_of(first, domain["name"])) for domain in domains], **switched)
    assert again["domains"] == first["domains"] and not again["unsettled"]


def test_the_order_in_which_libvirt_lists_domains_does_not_matter():
    found = [vm(8, 0), vm(4, 8), vm(2, 12), vm(1, 14)]
    assert tune(found) == tune(found[::-1])


@pytest.mark.parametrize("cpus, words", [("96", "CPU 96, which is not online"), ("23,30", "not on the nodes")])
def test_a_guest_that_stays_is_refused_an_emulator_that_cannot_be(cpus, words):
    found = vm(2, 0)
    tuned = configured_as(found, settings_of(tune([found]), "vm-2g0-1"))
    assert words in refusal(tune([tuned], emulator=cpus))


# -- switches ------------------------------------------------------------------------------------------------------------------------------

ALL_LEFT = {"pinning": "leave", "emulator": "leave", "numa": "leave", "hugepages": "leave", "iothreads": "leave", "disks": "leave"}


def test_what_is_left_alone_is_not_named():
    assert tune([vm(2, 0)], **ALL_LEFT)["domains"] == [{"name": "vm-2g0-1"}]


@pytest.mark.parametrize(
    "switch, owned",
    [
        ({"pinning": "core"}, {"vcpupin", "topology"}),
        ({"pinning": "none"}, {"vcpupin"}),
        ({"emulator": "same_node"}, {"emulatorpin"}),
        ({"emulator": "none"}, {"emulatorpin"}),
        ({"emulator": "20-23"}, {"emulatorpin"}),
        ({"numa": "auto"}, {"cells"}),
        ({"numa": "none"}, {"cells"}),
        ({"hugepages": "2M"}, {"hugepages"}),
        ({"hugepages": "none"}, {"hugepages"}),
        ({"iothreads": 2}, {"iothreads", "iothreadpin"}),
        ({"iothreads": 0}, {"iothreads", "iothreadpin"}),
        ({"disks": "data"}, {"disks"}),
        ({"disks": "none"}, {"disks"}),
    ],
)
def test_each_feature_is_switched_on_its_own(switch, owned):
    assert set(tune([vm(2, 0)], **dict(ALL_LEFT, **switch))["domains"][0]) == owned | {"name"}


def test_switched_off_features_are_taken_away():
    off = {"pinning": "none", "emulator": "none", "numa": "none", "hugepages": "none", "iothreads": 0, "disks": "none"}
    guest = tune([vm(2, 0)], **off)["domains"][0]
    assert guest == {
        "name": "vm-2g0-1", "vcpupin": {}, "emulatorpin": "", "cells": [], "hugepages": "none", "iothreads": 0, "iothreadpin": {},
        "disks": [{"target": "vdb", "driver": {"cache": "default", "io": "default", "queues": 0, "iothread": 0}}],
    }  # fmt: skip


def test_without_pins_the_guest_is_not_told_of_siblings():
    tuned = vm(2, 0, topology={"sockets": 1, "cores": 5, "threads": 2})
    assert tune([tuned], pinning="none")["domains"][0]["topology"] == {}


def test_a_topology_of_the_users_own_survives_where_nothing_was_pinned():
    own = vm(2, 0, topology={"sockets": 1, "cores": 5, "threads": 2}, vcpupin={})
    assert "topology" not in tune([own], pinning="none")["domains"][0]


def test_pins_that_are_left_alone_are_not_given_to_others():
    mine = vm(2, 0, vcpupin={str(vcpu): str(cpu) for vcpu, cpu in enumerate([0, 48, 1, 49, 2, 50, 3, 51, 4, 52])})
    decision = tune([mine, vm(2, 2)], guests=[{"name": "vm-2g0-1", "pinning": "leave"}], select="all")
    assert "vcpupin" not in settings_of(decision, "vm-2g0-1")
    assert not {cpu % 48 for cpu in settings_of(decision, "vm-2g2-3")["vcpupin"].values()} & set(range(5))


def test_pins_that_are_left_alone_on_the_wrong_node_are_told():
    far = vm(2, 0, vcpupin={str(vcpu): str(24 + vcpu) for vcpu in range(10)})
    message = refusal(tune([far], pinning="leave"))
    assert "vCPU 0-9" in message and "node 0" in message and "leave" in message
    assert not tune([far], pinning="leave", numa="leave")["refused"]


def test_a_guest_may_differ_from_the_others():
    decision = tune([vm(2, 0), vm(2, 2)], select="all", guests=[{"name": "vm-2g2-3", "pinning": "thread", "hugepages": "1G", "memory": "100G"}])
    other = settings_of(decision, "vm-2g2-3")
    assert (other["hugepages"], other["memory_kib"]) == ("1G", 100 * GIB)
    assert "hugepages" not in settings_of(decision, "vm-2g0-1")
    assert next(guest for guest in decision["guests"] if guest["name"] == "vm-2g2-3")["pinning"] == "thread"


# -- disks ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vcpus, expected", [(1, 1), (2, 2), (5, 4), (46, 32), (64, 64), (92, 64)])
def test_queues_are_the_greatest_power_of_two_not_above_the_vcpus(vcpus, expected):
    assert queues(vcpus) == expected


def test_the_data_drive_is_tuned_and_the_systems_is_not():
    guest = settings_of(tune([vm(8, 8)]), "vm-8g8-15")
    assert guest["iothreads"] == 1
    assert guest["disks"] == [{"target": "vdb", "driver": {"cache": "none", "io": "native", "queues": 32, "iothread": 1}}]


def test_disks_are_dealt_out_to_the_io_threads():
    disks = [{"target": "vd" + letter, "bus": "virtio", "type": "file", "driver": {"type": "raw"}} for letter in "cab"] + [
        {"target": "sda", "bus": "sata", "type": "file", "driver": {"type": "raw"}}, {"target": "vdz", "bus": "virtio", "driver": {"type": "raw"}},
    ]  # fmt: skip
    guest = tune([vm(8, 0, disks=disks)], disks="all", iothreads=2)["domains"][0]
    assert [(disk["target"], disk["driver"]["iothread"]) for disk in guest["disks"]] == [("vda", 1), ("vdb", 2), ("vdc", 1)]


def test_the_documents_46_io_threads_are_to_be_had():
    guest = tune([vm(8, 0)], iothreads="vcpus")["domains"][0]
    assert guest["iothreads"] == 46 and set(guest["iothreadpin"]) == set(range(1, 47))


def test_a_disk_that_is_not_there_is_told():
    assert "vm-8g0-7 has no disk vdq; it has vda, vdb." in refusal(tune([vm(8, 0)], disks=["vdq"]))


def test_an_image_that_is_not_raw_is_mentioned_until_it_is_asked_for():
    slow = [{"target": name, "bus": "virtio", "type": "file", "driver": {"type": "qcow2"}} for name in ("vda", "vdb")]
    assert "vdb of vm-2g0-1 is qcow2" in " ".join(tune([vm(2, 0, disks=slow)])["warnings"])
    wanted = tune([vm(2, 0, disks=slow)], disk_format="raw")
    assert wanted["domains"][0]["disks"][0]["driver"]["type"] == "raw" and not wanted["warnings"]


# -- guests that run ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when_running, running, unsettled", [
    ("refuse", True, False), ("next_boot", True, False), ("live", False, False), ("live", True, True), ("restart", True, True), ("restart", False, True),
])  # fmt: skip
def test_a_guest_as_wanted_is_looked_at_again_only_where_it_may_have_to_be_set_right_as_it_runs(when_running, running, unsettled):
    found = vm(2, 0, running=running)
    tuned = configured_as(found, settings_of(tune([found]), "vm-2g0-1"))
    decision = tune([tuned], when_running=when_running)
    assert decision["unsettled"] == unsettled
    assert decision["pending"] == ({"vm-2g0-1": ["topology"]} if running else {})


# -- which guests --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ({}, ["vm-2g0-1", "vm-2g2-3", "vm-2g4-5"]),
        ({"select": "all"}, ["vm-2g0-1", "vm-2g2-3", "vm-2g4-5"]),
        ({"select": "running"}, ["vm-2g0-1"]),
        ({"select": "autostart"}, ["vm-2g2-3"]),
        ({"select": ["vm-2g4-5"]}, ["vm-2g4-5"]),
        ({"guests": [{"name": "vm-2g4-5"}]}, ["vm-2g4-5"]),
        ({"guests": [{"name": "vm-2g4-5"}], "select": "running"}, ["vm-2g0-1"]),
        ({"select": []}, []),
    ],
)
def test_guests_are_selected(wanted, expected):
    decision = tune([vm(2, 0, running=True), vm(2, 2, autostart=True), vm(2, 4)], **wanted)
    assert [domain["name"] for domain in decision["domains"]] == expected


def test_a_guest_that_libvirt_will_forget_keeps_its_cpus_but_is_not_tuned():
    passing = dict(vm(2, 0, running=True), persistent=False)
    decision = tune([passing, vm(2, 2)])
    assert [domain["name"] for domain in decision["domains"]] == ["vm-2g2-3"]
    assert 0 not in decision["domains"][0]["vcpupin"].values()


def test_guests_that_take_turns_cannot_be_planned_together():
    message = refusal(tune([vm(16, 0), vm(8, 0), vm(8, 8)]))
    assert "vm-16g0-15 and vm-8g0-7 are both given GPU 0, GPU 1, GPU 2 and 5 devices more" in message
    assert "vm-16g0-15 and vm-8g8-15" in message and "kvm_tuning_select" in message


def test_guests_that_take_turns_are_tuned_set_by_set():
    everyone = [vm(16, 0), vm(8, 0), vm(8, 8)]
    small = tune(everyone, select=["vm-8g0-7", "vm-8g8-15"])
    assert not small["refused"] and len(small["domains"]) == 2
    large = tune(everyone, select=["vm-16g0-15"])
    assert not large["refused"] and len(large["domains"][0]["vcpupin"]) == 92


def test_a_guest_that_is_not_selected_keeps_its_cpus():
    decision = tune([vm(2, 0), vm(2, 2)], select=["vm-2g2-3"])
    assert not set(settings_of(decision, "vm-2g2-3")["vcpupin"].values()) & {0, 1, 2, 3, 4, 48, 49, 50, 51, 52}


# -- huge pages ----------------------------------------------------------------------------------------------------------------------------


def test_huge_pages_are_left_alone_unless_asked_for():
    decision = tune([vm(2, 0)], pages={0: {2048: (100, 0)}})
    assert decision["pages"]["after"] is None and decision["boot_parameters"] is None


def test_pages_are_counted_per_node_for_all_guests():
    decision = tune([vm(8, 0), vm(2, 8)], hugepages="2M")
    each = {guest["name"]: guest["memory_kib"] // 2048 for guest in decision["guests"]}
    assert decision["pages"]["after"] == {"2048": {0: each["vm-8g0-7"], 1: each["vm-2g8-9"]}}
    assert decision["pages"]["before"] == decision["pages"]["after"]
    assert decision["boot_parameters"] == []


def test_pages_that_are_there_are_not_asked_for_before_the_guests():
    count = vm(8, 0)["memory_kib"] // 2048
    decision = tune([vm(8, 0)], hugepages="2M", pages={0: {2048: (count, 0)}})
    assert decision["pages"] == {"before": {}, "after": {"2048": {0: count}}}


def test_pages_that_are_there_and_stay_are_not_asked_for_again():
    count = vm(8, 0)["memory_kib"] // 2048

    def again(kept, total):
        return decide(facts({0: {2048: (total, 0)}}, kept={"hugepages": kept, "kernel_cmdline": []}), [vm(8, 0)], {"hugepages": "2M"}).to_dict()

    settled = again({"2048": {"0": count}}, count)
    assert settled["pages"] == {"before": {}, "after": None} and settled["boot_parameters"] is None
    for other in (again({"2048": {"0": count}}, count + 1), again({}, count), again({"2048": {"0": count}, "1048576": {"0": 1}}, count)):
        assert other["pages"]["after"] == {"2048": {0: count}}


def test_kernel_parameters_of_before_are_taken_away():
    there = facts(kept={"kernel_cmdline": ["dgxops-hugepages"]})
    assert decide(there, [], {"hugepages": "2M"}).supply.boot == []
    assert decide(there, [], {}).supply.boot is None


def test_pages_of_guests_that_are_not_tuned_are_counted_too():
    stranger = vm(2, 2, hugepages="2M", cells=[{"id": 0, "vcpus": "0-9", "memory_kib": 64 * GIB, "node": 1}])
    decision = tune([vm(2, 0), stranger], select=["vm-2g0-1"], hugepages="2M")
    assert decision["pages"]["after"]["2048"] == {0: vm(2, 0)["memory_kib"] // 2048, 1: 32 * 1024}


def test_memory_is_divided_in_whole_pages_of_the_size_that_the_guest_has_already():
    decision = tune([vm(16, 0, hugepages="1G", memory_kib=1447 * GIB)])
    assert not decision["refused"]
    assert [cell["memory_kib"] % GIB for cell in settings_of(decision, "vm-16g0-15")["cells"]] == [0, 0]
    assert "hugepages" not in settings_of(decision, "vm-16g0-15")
    assert "1446.6 pages of 1G" in refusal(tune([vm(16, 0, hugepages="1G", memory_kib=1516912640)]))


def test_pages_of_a_divided_guest_are_where_its_cells_will_be():
    decision = tune([vm(16, 0, hugepages="2M", memory_kib=1446 * GIB), vm(2, 0, prefix="o")], select=["vm-16g0-15"])
    assert decision["pages"]["after"] is None
    mixed = tune([vm(8, 0, hugepages="2M", memory_kib=300 * GIB), vm(2, 8)], guests=[{"name": "vm-2g8-9", "hugepages": "2M"}], select="all")
    assert mixed["pages"]["after"]["2048"][0] == 300 * 512


def test_pages_suffice_for_guests_that_take_turns():
    big = vm(16, 0, hugepages="2M", cells=[{"id": node, "vcpus": "0-1", "memory_kib": 700 * GIB, "node": node} for node in (0, 1)])
    decision = tune([big, vm(8, 0), vm(8, 8)], select=["vm-8g0-7", "vm-8g8-15"], hugepages="2M")
    half = vm(8, 0)["memory_kib"] // 2048
    assert decision["pages"]["after"]["2048"] == {0: max(half, 350 * 1024), 1: max(half, 350 * 1024)}


def test_switching_huge_pages_off_empties_the_pools_after_the_guests_let_go():
    tuned = vm(2, 0, hugepages="2M")
    decision = tune([tuned], hugepages="none", pages={0: {2048: (1000, 0)}})
    assert decision["domains"][0]["hugepages"] == "none"
    assert decision["pages"] == {"before": {}, "after": {"2048": {0: 0, 1: 0}, "1048576": {0: 0, 1: 0}}}


def test_a_change_of_page_size_gives_free_pages_back_first_and_keeps_those_in_use():
    decision = tune([vm(1, 0, hugepages="2M", memory_kib=64 * GIB)], hugepages="1G", pages={0: {2048: (9000, 4000)}, 1: {2048: (10, 10)}})
    assert decision["pages"]["before"] == {"1048576": {0: 64}, "2048": {0: 5000}}
    assert decision["pages"]["after"] == {"1048576": {0: 64}}


def test_memory_that_is_no_whole_number_of_pages_is_refused_with_what_would_be():
    message = refusal(tune([vm(16, 0)], hugepages="1G"))
    assert "1446.6 pages" in message and "1447 pages" in message


def test_pages_of_one_gib_need_a_mount_of_their_own():
    decision = tune([vm(2, 0, memory_kib=96 * GIB)], hugepages="1G")
    assert decision["mounts"] == [{"size": "1G", "path": "/dev/hugepages1G", "there": False}] and decision["host_first"]
    assert tune([vm(2, 0)], hugepages="2M")["mounts"] == [{"size": "2M", "path": "/dev/hugepages", "there": True}]
    assert decide(facts(hugetlbfs=None), [vm(2, 0)], {"hugepages": "2M"}).supply.mounts == []


# -- huge pages at boot --------------------------------------------------------------------------------------------------------------------


def boot(release="5.15.0-1042-nvidia", pages=None, running=False, **wanted):
    found = [vm(8, 0, memory_kib=640 * GIB, running=running), vm(2, 8, memory_kib=96 * GIB)]
    return decide(facts(pages, kernel_release=release), found, dict({"hugepages": "1G", "hugepages_at": "boot"}, **wanted)).to_dict()


@pytest.mark.parametrize(
    "release, count", [("5.16.0", "0:640,1:96"), ("6.8.0-1021-nvidia", "0:640,1:96"), ("5.15.0-1042-nvidia", "1280"), ("4.15.0-88", "1280")]
)
def test_the_kernel_is_asked_by_node_where_it_can_count_by_node(release, count):
    assert boot(release)["boot_parameters"] == ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=" + count]


def test_guests_get_boot_time_pages_only_once_they_are_there():
    before = boot()
    assert before["held_back"] and before["pages"] == {"before": {}, "after": None}
    assert all("hugepages" not in domain and "vcpupin" in domain for domain in before["domains"])
    after = boot(pages={0: {1048576: (640, 640)}, 1: {1048576: (640, 640)}})
    assert not after["held_back"] and all(domain["hugepages"] == "1G" for domain in after["domains"])
    assert after["pages"] == {"before": {}, "after": {"1048576": {0: 640, 1: 96}}}
    assert after["boot_parameters"] == before["boot_parameters"]


def test_a_reboot_that_is_allowed_comes_before_the_guests():
    decision = boot(reboot=True)
    assert decision["held_back"] and all(domain["hugepages"] == "1G" for domain in decision["domains"])


def test_a_reboot_under_running_guests_needs_their_consent_too():
    message = refusal(boot(running=True, reboot=True))
    assert "vm-8g0-7" in message and "kvm_tuning_when_running" in message
    assert not boot(running=True, reboot=True, when_running="restart")["refused"]
    assert not boot(running=True, reboot=False)["refused"]


def test_two_page_sizes_keep_the_usual_default():
    found = [vm(2, 0, memory_kib=96 * GIB), vm(2, 8, memory_kib=96 * GIB)]
    wanted = {"guests": [{"name": "vm-2g0-1", "hugepages": "2M"}], "select": "all", "hugepages": "1G", "hugepages_at": "boot"}
    assert decide(facts(kernel_release="6.8"), found, wanted).supply.boot == ["hugepagesz=1G", "hugepages=1:96", "hugepagesz=2M", "hugepages=0:49152"]


# -- the host ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "now, wanted, expected",
    [(1, {}, 1), (0, {}, 1), (2, {}, 3), (3, {"numa_balancing": "disabled"}, 2), (1, {"numa_balancing": "disabled"}, 0)],
)
def test_numa_balancing_is_set_and_memory_tiering_left_alone(now, wanted, expected):
    assert decide(facts(numa_balancing=now), [], wanted).sysctl == {"kernel.numa_balancing": expected}


@pytest.mark.parametrize(
    "now, kept, settled",
    [(1, {"kvm-tuning": {"kernel.numa_balancing": "1"}}, True), (0, {"kvm-tuning": {"kernel.numa_balancing": "1"}}, False),
     (1, {"kvm-tuning": {"kernel.numa_balancing": "0"}}, False), (1, {"other": {"kernel.numa_balancing": "1"}}, False), (1, {}, False)],
)  # fmt: skip
def test_numa_balancing_is_settled_once_it_is_in_force_and_stays_so(now, kept, settled):
    assert decide(facts(numa_balancing=now, kept={"sysctl": kept}), [], {}).sysctl_settled == settled


def test_numa_balancing_is_not_set_where_the_kernel_has_none_or_it_is_left_alone():
    assert decide(facts(numa_balancing=None), [], {}).sysctl == {}
    assert decide(facts(), [], {"numa_balancing": "leave"}).sysctl == {}


def test_a_host_without_libvirt_is_planned_as_far_as_the_guests_are_known():
    known = {"name": "a", "gpus": [0, 1], "vcpus": 10, "memory": "96G"}
    decision = decide(facts(), None, {"guests": [known, {"name": "b"}], "hugepages": "2M"}).to_dict()
    assert [guest["name"] for guest in decision["guests"]] == ["a"]
    assert decision["pages"]["after"] == {"2048": {0: 49152}}
    assert "guest b" in decision["warnings"][0] and "vcpus" in decision["warnings"][0]


def test_a_host_without_guests_needs_nothing():
    decision = tune([])
    assert not decision["refused"] and not decision["domains"] and decision["guests"] == []


def test_no_more_memory_is_planned_than_leaves_the_host_its_own():
    message = refusal(tune([vm(2, 0, memory_kib=790 * GIB)]))
    assert "memory" in message and "node 0" in message
    small = dict(facts()["topology"], nodes=[dict(node, memory_kib=1000000) for node in facts()["topology"]["nodes"]])
    assert "950000 KiB left" in refusal(decide(small, [vm(2, 0, memory_kib=990000)], {}).to_dict())


# -- bad input -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted, words",
    [
        ({"guests": [{"name": "ghost"}]}, ["no domain ghost", "vm-2g0-1", "kvm_tuning_guests"]),
        ({"select": ["ghost"]}, ["no domain ghost", "kvm_tuning_select"]),
        ({"select": "everything"}, ["kvm_tuning_select", "everything", "running"]),
        ({"pinning": "hard"}, ["kvm_tuning_pinning", "hard", "auto, core, thread, none, leave"]),
        ({"emulator": "5-3"}, ["kvm_tuning_emulator", "CPU list"]),
        ({"emulator": ""}, ["kvm_tuning_emulator"]),
        ({"iothreads": -1}, ["kvm_tuning_iothreads", "-1"]),
        ({"iothreads": True}, ["kvm_tuning_iothreads"]),
        ({"disks": 7}, ["kvm_tuning_disks"]),
        ({"hugepages": "4K"}, ["kvm_tuning_hugepages", "2M"]),
        ({"hugepages_at": "noon"}, ["kvm_tuning_hugepages_at", "runtime, boot"]),
        ({"numa_balancing": True}, ["kvm_tuning_numa_balancing", "enabled"]),
        ({"move": "often"}, ["move", "if_needed"]),
        ({"reserved_cores": "many"}, ["reserved_cores"]),
        ({"colour": "red"}, ["kvm_tuning_colour"]),
        ({"guests": "vm-2g0-1"}, ["kvm_tuning_guests"]),
        ({"guests": [{"vcpus": 3}]}, ["kvm_tuning_guests", "name"]),
        ({"guests": [{"name": "vm-2g0-1"}, {"name": "vm-2g0-1"}]}, ["more than once"]),
        ({"guests": [{"name": "vm-2g0-1", "colour": "red"}]}, ["guest vm-2g0-1", "colour"]),
        ({"guests": [{"name": "vm-2g0-1", "vcpus": "ten"}]}, ["guest vm-2g0-1", "vcpus", "ten"]),
        ({"guests": [{"name": "vm-2g0-1", "memory": "lots"}]}, ["guest vm-2g0-1", "memory", "96G"]),
        ({"guests": [{"name": "vm-2g0-1", "gpus": [3]}]}, ["guest vm-2g0-1", "GPU 0-1 is passed through"]),
        ({"guests": [{"name": "vm-2g0-1", "gpus": "both"}]}, ["guest vm-2g0-1", "gpus"]),
        ({"guests": [{"name": "vm-2g0-1", "vcpus": 60}]}, ["60 vCPUs", "node 0", "48 vCPUs would fit"]),
        ({"guests": [{"name": "vm-2g0-1", "memory": "900G"}]}, ["memory", "node 0"]),
        ({"emulator": "96"}, ["CPU 96", "not online"]),
    ],
)
def test_a_mistake_is_one_clear_sentence_and_nothing_is_to_be_done(wanted, words):
    decision = tune([vm(2, 0)], **wanted)
    message = refusal(decision)
    assert all(word in message for word in words), message
    assert "None" not in message


def test_all_mistakes_are_told_at_once():
    wrong = [{"name": "vm-2g0-1", "gpus": [3]}, {"name": "vm-2g2-3", "memory": "lots"}]
    assert [sentence.split(":")[0] for sentence in tune([vm(2, 0), vm(2, 2)], guests=wrong)["refused"]] == ["guest vm-2g0-1", "guest vm-2g2-3"]
    crowded = tune([vm(1, 0), vm(1, 1)], pinning="core")["refused"]
    assert len(crowded) == 2


def test_overlapping_pins_made_by_hand_are_parted_or_refused():
    pins = {str(vcpu): str(vcpu) for vcpu in range(10)}
    both = [vm(2, 0, vcpupin=pins), vm(2, 2, vcpupin=pins)]
    parted = tune(both, pinning="thread")
    assert not {*settings_of(parted, "vm-2g0-1")["vcpupin"].values()} & {*settings_of(parted, "vm-2g2-3")["vcpupin"].values()}
    message = refusal(tune(both, pinning="thread", move="never"))
    assert "vm-2g2-3 is pinned already" in message and "kvm_tuning_move" in message


def test_a_host_that_is_none_is_told():
    assert "nodes is missing" in refusal(decide({"topology": {}}, [], {}).to_dict())


@pytest.mark.parametrize(
    "domains, said",
    [
        (3, "domains is 3, but the list that libvirt_domain_info returns is expected."),
        (["vm"], "domains[0] is not as libvirt_domain_info returns a domain"),
        ([dict(vm(2, 0), vcpus="many")], "domains[0] is not as libvirt_domain_info returns a domain (ValueError"),
        ([vm(2, 0), {"name": "vm"}], "domains[1] is not as libvirt_domain_info returns a domain (KeyError: 'configured')"),
    ],
)
def test_domains_written_by_hand_are_refused_in_words(domains, said):
    assert said in refusal(tune(domains))


@given(data=st.data())
def test_a_domain_with_anything_put_anywhere_is_tuned_or_refused_in_words(data):
    found = copy.deepcopy([vm(2, 0), vm(1, 4)])
    container, key = data.draw(st.sampled_from(places(found)))
    container[key] = data.draw(NONSENSE)
    tune(found)
