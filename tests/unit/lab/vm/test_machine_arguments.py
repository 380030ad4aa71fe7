"""The command line of QEMU says what the platform promises."""
import re

import pytest

from ansible_collections.dgxops.fleet.tests.lab.vm.machine_arguments import arguments, node_of_slot, slot_of
from ansible_collections.dgxops.fleet.tests.lab.vm.platforms import PLATFORMS, platform_named

every_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)


def options(platform, name):
    argv = arguments(platform, "/boot/grub.lnx", 2222)
    return [value for option, value in zip(argv, argv[1:]) if option == name]


def devices(platform, driver):
    return [device for device in options(platform, "-device") if device.split(",")[0] == driver]


@every_platform
def test_every_cpu_and_all_memory_is_on_one_node(platform):
    memory = [int(re.search(r"size=(\d+)M", value).group(1)) for value in options(platform, "-object")]
    ranges = [re.search(r"cpus=(\d+)-(\d+)", value) for value in options(platform, "-numa") if value.startswith("node,")]
    cpus = [cpu for found in ranges for cpu in range(int(found.group(1)), int(found.group(2)) + 1)]
    assert cpus == list(range(platform.cpus))
    assert options(platform, "-m") == [f"{sum(memory)}M"]
    assert len(memory) == len(ranges) == platform.sockets


@every_platform
def test_no_two_parts_share_a_place_on_a_bus(platform):
    places = [tuple(re.findall(r",(?:bus|addr)=[^,]*", device)) for device in options(platform, "-device") if ",addr=" in device]
    assert len(places) == len(set(places))
    assert all(len(place) == 2 for place in places)


@every_platform
def test_only_the_loopback_address_leads_in(platform):
    assert [value for value in options(platform, "-netdev") if "hostfwd" in value] == ["user,id=management,hostfwd=tcp:127.0.0.1:2222-:22"]


@every_platform
def test_the_system_drives_are_named_relative_to_the_machines_own_directory(platform):
    files = re.findall(r"file=([^,]*)", " ".join(options(platform, "-drive")))
    assert files == [f"os{number}.qcow2" for number in range(platform.os_drives)]


@every_platform
def test_every_data_drive_of_a_dgx2_finds_an_empty_slot(platform):
    slots = [re.search(r"id=([^,]*)", port).group(1) for port in devices(platform, "pcie-root-port")]
    assert {slot_of(number) for number in range(platform.data.total)} < set(slots)


def test_half_of_the_drives_is_near_each_socket():
    dgx2 = platform_named("dgx2-small")
    assert [node_of_slot(dgx2, slot) for slot in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert {f"numa_node={node}" in bridge for node, bridge in enumerate(devices(dgx2, "pxb-pcie"))} == {True}


def test_dmi_tells_which_dgx_it_is():
    assert "product=DGX Station" in " ".join(options(platform_named("station"), "-smbios"))


def test_a_machine_with_one_socket_has_no_distances():
    assert not [value for value in options(platform_named("station"), "-numa") if value.startswith("dist")]


def test_links_are_pairs_of_ports_on_a_cable():
    hubs = re.findall(r"hubid=(\d+)", " ".join(options(platform_named("dgx2-small"), "-netdev")))
    assert sorted(hubs) == ["1", "1", "2", "2"]
    addresses = re.findall(r"mac=([^,]*)", " ".join(devices(platform_named("dgx2-small"), "virtio-net-pci")))
    assert len(set(addresses)) == 5
