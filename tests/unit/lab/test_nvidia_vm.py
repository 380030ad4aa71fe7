"""The guests of the simulated DGX-2 are those of the document."""
from xml.etree import ElementTree

import pytest

from ansible_collections.dgxops.fleet.tests.lab import nvidia_vm, sysfs_tree
from ansible_collections.dgxops.fleet.tests.lab.nvidia_vm import Guest
from ansible_collections.dgxops.fleet.tests.lab.simulated_host import SimulatedHost, canonical


@pytest.mark.parametrize(
    "guest, name",
    [
        (Guest("testme", 8, 8), "testme-8g8-15"),
        (Guest("disk-passthrough", 8, 1), "disk-passthrough-1g8"),
        (Guest("dgx2vm-labMon1906", 0, 16), "dgx2vm-labMon1906-16g0-15"),
    ],
)
def test_names_tell_the_gpus(guest, name):
    assert guest.name == name


def test_eight_gpus_are_pinned_as_section_12_2_1_shows():
    pins = nvidia_vm.Guest("dgx2vm-labThu1726", 0, 8).pins()
    assert [pins[vcpu] for vcpu in (0, 1, 22, 23, 24, 44, 45)] == [0, 1, 22, 48, 49, 69, 70]


def test_guests_of_one_gpu_leave_the_cpus_free_that_section_12_5_pins_an_emulator_to():
    taken = {cpu for first in range(8) for cpu in Guest("a", first, 1).pins()}
    assert taken == set(range(24)) | set(range(48, 72)) - {50, 53, 56, 59, 62, 65, 68, 71}


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_guests_beside_each_other_share_no_cpu(count):
    taken = [cpu for first in range(0, 16, count) for cpu in Guest("a", first, count).pins()]
    assert len(taken) == len(set(taken)) == 16 // count * nvidia_vm.VCPUS[count]
    assert set(taken) <= set(range(96))


def test_the_xml_has_the_gpus_of_the_host():
    guest = Guest("a", 8, 4)
    gpus = SimulatedHost("/nowhere", sysfs_tree.dgx_2()).gpus()
    domain = ElementTree.fromstring(nvidia_vm.domain_xml(guest, gpus[8:12]))
    assert [address.get("bus") for address in domain.iterfind("devices/hostdev/source/address")] == ["0xb7", "0xb9", "0xbc", "0xbe"]
    assert domain.findtext("vcpu") == "22"
    assert len(domain.findall("cputune/vcpupin")) == 22
    assert domain.findtext("memory") == str(1516912640 // 4)


def test_canonical_xml_forgets_spelling_and_nothing_else():
    assert canonical("<a y='1' x=\"2\"><b/>\n</a>") == canonical('<a x="2" y="1"><b></b></a>') != canonical('<a x="2" y="1"/>')


def test_faults_of_placement_are_found_in_the_xml_alone():
    host = SimulatedHost("/nowhere", sysfs_tree.dgx_2())
    guests = [Guest("a", 0, 2), Guest("b", 2, 2), Guest("c", 8, 1)]
    xml = {guest.name: nvidia_vm.domain_xml(guest, host.gpus()[guest.first:guest.first + guest.gpus]) for guest in guests}
    assert host.faults(xml) == []
    assert host.faults({"c": xml["c-1g8"].replace("cpuset='24'", "cpuset='0'")}) == ["CPU 0 of c is away from its GPUs"]
    assert host.faults(dict(xml, d=xml["c-1g8"]))[:2] == ["CPU 24 serves two vCPUs, of c-1g8 and d", "the core of CPU 24 serves c-1g8 and d"]
    assert host.faults({"c": xml["c-1g8"].replace("cpuset='24'", "cpuset='24-25'")}) == ["c has vCPUs without a CPU of their own"]
    sibling = xml["b-2g2-3"].replace("cpuset='6'", "cpuset='48'")
    assert "the core of CPU 48 serves a-2g0-1 and b" in host.faults({"a-2g0-1": xml["a-2g0-1"], "b": sibling})
