# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each setting of a domain reads itself, writes itself, changes nothing when it is as wanted, and is brought back without a trace."""
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_cpu import Vcpus
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_settings import SETTINGS, Settings, read_settings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import GPU, GUEST, MAC, document, lines_changed

TWO_CELLS = [
    {"id": 0, "vcpus": "0-4", "memory_kib": 10485760, "node": 0},
    {"id": 1, "vcpus": "5-9", "memory_kib": 10485760, "node": "1"},
]
#: A setting as a user writes it, and the lines of the guest that it changes.
EDITS: List[Tuple[Dict[str, Any], List[str]]] = [
    ({"vcpus": 12}, ["-<vcpu placement='static'>10</vcpu>", "+<vcpu placement='static'>12</vcpu>"]),
    (
        {"memory_kib": 8388608},
        ["-<memory unit='KiB'>20971520</memory>", "-<currentMemory unit='KiB'>20971520</currentMemory>",
         "+<memory unit='KiB'>8388608</memory>", "+<currentMemory unit='KiB'>8388608</currentMemory>"],
    ),
    (
        {"vcpupin": {"1": 48, 0: "0", 2: [1, 2, 3, 49]}},
        ["-<vcpupin vcpu='1' cpuset='0-3,48-51'/>", "+<vcpupin vcpu='1' cpuset='48'/>", "+<vcpupin vcpu='2' cpuset='1-3,49'/>"],
    ),
    ({"vcpupin": {"1": "0-3,48-51"}}, ["-<vcpupin vcpu='0' cpuset='0'/>"]),
    ({"vcpupin": {}}, ["-<vcpupin vcpu='0' cpuset='0'/>", "-<vcpupin vcpu='1' cpuset='0-3,48-51'/>"]),
    ({"emulatorpin": "50,53,56,59"}, ["+<emulatorpin cpuset='50,53,56,59'/>"]),
    ({"iothreads": 2}, ["+<iothreads>2</iothreads>"]),
    (
        {"iothreads": 2, "iothreadpin": {1: "20", "2": "21-22"}},
        ["+<iothreads>2</iothreads>", "+<iothreadpin iothread='1' cpuset='20'/>", "+<iothreadpin iothread='2' cpuset='21-22'/>"],
    ),
    ({"topology": {"sockets": 1, "cores": 5, "threads": 2}}, ["+<topology sockets='1' cores='5' threads='2'/>"]),
    (
        {"topology": {"sockets": 1, "dies": 5, "clusters": None, "cores": 1, "threads": 2}},
        ["+<topology sockets='1' dies='5' cores='1' threads='2'/>"],
    ),
    (
        {"cells": TWO_CELLS},
        ["+<numatune>", "+<memnode cellid='0' mode='strict' nodeset='0'/>", "+<memnode cellid='1' mode='strict' nodeset='1'/>", "+</numatune>",
         "+<numa>", "+<cell id='0' cpus='0-4' memory='10485760' unit='KiB'/>", "+<cell id='1' cpus='5-9' memory='10485760' unit='KiB'/>", "+</numa>"],
    ),
    ({"cells": [{"id": 0, "vcpus": "0-9", "memory_kib": 20971520}]}, ["+<numa>", "+<cell id='0' cpus='0-9' memory='20971520' unit='KiB'/>", "+</numa>"]),
    (
        {"hugepages": "1G"},
        ["+<memoryBacking>", "+<hugepages>", "+<page size='1048576' unit='KiB'/>", "+</hugepages>", "+</memoryBacking>"],
    ),
    ({"hugepages": "default"}, ["+<memoryBacking>", "+<hugepages/>", "+</memoryBacking>"]),
    ({"agent_channel": True}, ["+<channel type='unix'>", "+<target type='virtio' name='org.qemu.guest_agent.0'/>", "+</channel>"]),
    (
        {"disks": [{"target": "vdb", "driver": {"cache": "none", "io": "native", "queues": 8}}]},
        ["-<driver name='qemu' type='raw' error_policy='stop'/>",
         "+<driver name='qemu' type='raw' error_policy='stop' cache='none' io='native' queues='8'/>"],
    ),
    ({"disks": [{"target": "vdb", "serial": ""}]}, ["-<serial>vol-2gpu</serial>"]),
    (
        {"disks": [{"target": "vdb", "source": "/dev/disk/by-id/nvme-A"}]},
        ["-<source file='/raid/dgx-kvm/vol-2gpu'/>", "+<disk type='block' device='disk'>", "+<source dev='/dev/disk/by-id/nvme-A'/>"],
    ),
    (
        {"disks": [{"target": "vdb", "bus": "sata"}]},
        ["-<target dev='vdb' bus='virtio'/>", "-<address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>",
         "+<target dev='vdb' bus='sata'/>"],
    ),
    (
        {"disks": [{"target": "vdc", "source": "/dev/disk/by-id/nvme-A", "serial": "a", "driver": {"cache": "none"}}]},
        ["+<disk type='block' device='disk'>", "+<driver name='qemu' type='raw' cache='none'/>", "+<source dev='/dev/disk/by-id/nvme-A'/>",
         "+<target dev='vdc' bus='virtio'/>", "+<serial>a</serial>"],
    ),
    (
        {"interfaces": [{"mac": MAC.upper(), "queues": 10, "mtu": 9000, "bandwidth": {"inbound": {"average": 1000, "burst": 2048}}}]},
        ["+<bandwidth>", "+<inbound average='1000' burst='2048'/>", "+</bandwidth>", "+<driver queues='10'/>", "+<mtu size='9000'/>"],
    ),
    ({"interfaces": [{"network": "default", "model": "e1000e"}]}, ["-<model type='virtio'/>", "+<model type='e1000e'/>"]),
    (
        {"interfaces": [{"mac": MAC, "bridge": "br0"}]},
        ["-<interface type='network'>", "-<source network='default'/>", "+<interface type='bridge'>", "+<source bridge='br0'/>"],
    ),
    (
        {"interfaces": [{"mac": MAC, "dev": "enp134s0f0", "mode": "bridge"}]},
        ["-<interface type='network'>", "-<source network='default'/>", "+<interface type='direct'>", "+<source dev='enp134s0f0' mode='bridge'/>"],
    ),
    (
        {"hostdevs": [{"pci": "2E:00.0"}]},
        ["+<address domain='0x0000' bus='0x2e' slot='0x00' function='0x0'/>"],
    ),
    (
        {"hostdevs": [{"pci": GPU, "managed": False}]},
        ["-<hostdev mode='subsystem' type='pci' managed='yes'>", "+<hostdev mode='subsystem' type='pci' managed='no'>"],
    ),
]  # fmt: skip
IDS = [" ".join(sorted(edit)) + " " + str(number) for number, (edit, _lines) in enumerate(EDITS)]


def settings(**wanted):
    return Settings.from_option(dict(wanted, name="a"))


@pytest.mark.parametrize("wanted, lines", EDITS, ids=IDS)
def test_a_setting_changes_its_own_lines(wanted, lines):
    guest = document()
    assert settings(**wanted).apply(guest)
    assert lines_changed(document().shown(), guest.shown()) == lines


@pytest.mark.parametrize("wanted, lines", EDITS, ids=IDS)
def test_a_setting_that_is_there_is_no_change(wanted, lines):
    guest = document()
    settings(**wanted).apply(guest)
    again = DomainDocument(guest.text)
    assert settings(**wanted).apply(again) == []
    assert again.text == guest.text


@pytest.mark.parametrize("wanted, lines", EDITS, ids=IDS)
def test_what_was_changed_can_be_brought_back(wanted, lines):
    guest = document()
    for name in settings(**wanted).apply(guest):
        guest.bring_back(name, document())
    assert guest.digest() == document().digest()


@pytest.mark.parametrize("wanted, lines", EDITS, ids=IDS)
def test_what_is_owned_is_at_least_what_was_changed(wanted, lines):
    guest = document()
    changed = settings(**wanted).apply(guest)
    assert set(changed) <= set(settings(**wanted).owned([guest]))


def test_what_is_read_can_be_given_back_and_changes_nothing():
    guest = document()
    for wanted, _lines in EDITS:
        settings(**wanted).apply(guest)
    found = read_settings(guest)
    assert Settings.from_option(found).apply(guest) == []
    assert found["cells"] == [{"id": 0, "vcpus": "0-9", "memory_kib": 20971520}]
    assert found["interfaces"][0]["bandwidth"] == {"inbound": {"average": 1000, "burst": 2048}}


def test_a_guest_as_found_is_read_in_the_shape_of_the_options():
    assert read_settings(document()) == {
        "name": "2gpu-vm-2g0-1", "vcpus": 10, "memory_kib": 20971520, "vcpupin": {"0": "0", "1": "0-3,48-51"}, "emulatorpin": "", "iothreads": 0,
        "iothreadpin": {}, "topology": {}, "cells": [], "hugepages": "none", "agent_channel": False,
        "disks": [
            {"target": "vda", "type": "file", "source": "/var/lib/libvirt/images/2gpu.qcow2", "bus": "virtio", "driver": {"type": "qcow2"}},
            {"target": "vdb", "type": "file", "source": "/raid/dgx-kvm/vol-2gpu", "bus": "virtio", "serial": "vol-2gpu", "driver": {"type": "raw"}},
        ],
        "interfaces": [{"mac": MAC, "network": "default", "model": "virtio"}],
        "hostdevs": [{"pci": GPU, "managed": True}],
    }  # fmt: skip


def test_the_settings_of_a_domain_say_null_where_the_option_has_no_word_for_what_is_there():
    guest = document(
        ("static'>10", "static' current='2'>10"), ("<currentMemory unit='KiB'>20971520", "<currentMemory unit='KiB'>1048576"),
        ("  <cputune>", "  <iothreads>2</iothreads><iothreadids><iothread id='4'/><iothread id='8'/></iothreadids>\n  <cputune>"),
        ("  <os>", "  <memoryBacking><hugepages><page size='2048' nodeset='0'/><page size='1048576' nodeset='1'/></hugepages></memoryBacking>\n  <os>"),
    )  # fmt: skip
    found = read_settings(guest)
    assert [name for name, value in found.items() if value is None] == ["vcpus", "memory_kib", "iothreads", "hugepages"]
    assert Settings.from_option(found).apply(guest) == []


def test_settings_that_are_left_out_or_null_are_left_alone():
    guest = document()
    assert settings(vcpus=None, cells=None, disks=[], interfaces=None).apply(guest) == []
    assert guest.text == GUEST


def test_empty_values_remove_what_is_there():
    guest = document()
    settings(cells=TWO_CELLS, hugepages="2M", iothreads=1, emulatorpin="3", topology={"sockets": 10, "cores": 1, "threads": 1}, agent_channel=True).apply(guest)
    removed = settings(cells=[], hugepages="none", iothreads=0, emulatorpin="", topology={}, agent_channel=False).apply(guest)
    assert removed == ["cells", "hugepages", "iothreads", "emulatorpin", "topology", "agent_channel"]
    assert guest.digest() == document().digest()


def test_a_device_can_be_taken_away():
    guest = document()
    wanted = settings(
        disks=[{"target": "vdb", "state": "absent"}, {"target": "vdz", "state": "absent"}],
        interfaces=[{"network": "default", "state": "absent"}],
        hostdevs=[{"pci": GPU, "state": "absent"}],
    )
    assert wanted.apply(guest) == ["disks[vdb]", "interfaces[{0}]".format(MAC), "hostdevs[{0}]".format(GPU)]
    assert wanted.apply(guest) == []


def test_cells_keep_what_the_option_does_not_know():
    numa = (
        "<numa><cell id='0' cpus='0-4' memory='10' unit='GiB' memAccess='shared'><distances><sibling id='0' value='10'/><sibling id='1' value='21'/>"
        "</distances></cell><cell id='1' cpus='5-9' memory='10485760' unit='KiB'/></numa>"
    )
    guest = document(("    <feature", "    " + numa + "\n    <feature"))
    assert settings(cells=TWO_CELLS).apply(guest) == ["cells"]
    assert "memAccess='shared'" in guest.text and "value='21'" in guest.text and "memory='10' unit='GiB'" in guest.text
    settings(cells=[{"id": 0, "vcpus": "0-9", "memory_kib": 20971520}]).apply(guest)
    assert "memAccess='shared'" in guest.text and "value='10'" in guest.text
    assert "sibling id='1'" not in guest.text and "memnode" not in guest.text


def test_threads_with_numbers_of_their_own_become_one_to_n():
    guest = document(("  <cputune>", "  <iothreads>3</iothreads><iothreadids><iothread id='2'/><iothread id='4'/></iothreadids>\n  <cputune>"))
    assert SETTINGS["iothreads"].read(guest).value() == [1, 2, 4]
    settings(iothreads=2).apply(guest)
    assert "<iothreads>2</iothreads><iothreadids><iothread id='2'/></iothreadids>" in guest.text


def test_a_new_interface_gets_the_same_address_each_time():
    made = []
    for _attempt in range(2):
        guest = document()
        assert settings(interfaces=[{"network": "private-net", "queues": 4}]).apply(guest)
        made.append(guest.text)
        assert settings(interfaces=[{"network": "private-net", "queues": 4}]).apply(guest) == []
    assert made[0] == made[1]
    assert lines_changed(GUEST.replace('"', "'"), made[0])[:2] == ["+<mac address='52:54:00:c0:9f:3f'/>", "+<source network='private-net'/>"]


def test_new_huge_pages_replace_old_ones():
    guest = document(("  <vcpu", "  <memoryBacking><hugepages><page size='2' unit='M' nodeset='0-1'/></hugepages><locked/></memoryBacking>\n  <vcpu"))
    settings(hugepages="1G").apply(guest)
    assert "<memoryBacking><hugepages><page size='1048576' unit='KiB'/></hugepages><locked/></memoryBacking>" in guest.text.replace("\n", "")


@pytest.mark.parametrize(
    "wanted, said",
    [
        ({"vcpus": 0}, "Domain a, vcpus: The number of vCPUs is 0. It must be from 1 to 65535."),
        ({"vcpus": "many"}, "'many', which is not a whole number"),
        ({"vcpus": True}, "not a whole number"),
        ({"memory_kib": 0}, "The memory is 0. It must be at least 1."),
        ({"vcpupin": "0-3"}, "Write it as {vcpu: CPU list}"),
        ({"vcpupin": {"a": 1}}, "The vcpu number is 'a'"),
        ({"vcpupin": {"0": ""}}, "The vcpu 0 is pinned to no CPU"),
        ({"vcpupin": {"0": "3-1"}}, "runs backwards"),
        ({"vcpupin": {"0": 1, 0: 2}}, "The vcpu 0 is pinned twice"),
        ({"emulatorpin": "all"}, "neither a CPU nor a range"),
        ({"emulatorpin": {"a": 1}}, "not a CPU"),
        ({"iothreads": -1}, "The number of I/O threads is -1. It must be from 0 to 1024."),
        ({"vcpus": 10**9}, "It must be from 1 to 65535."),
        ({"iothreadpin": {0: "1"}}, "The iothread number is 0. It must be at least 1."),
        ({"topology": {"sockets": 1, "cores": 5}}, "It has no threads"),
        ({"topology": {"sockets": 0, "cores": 5, "threads": 2}}, "The number of sockets is 0"),
        ({"topology": {"sockets": 1, "cores": 5, "threads": 2, "floors": 3}}, "the unknown floors"),
        ({"cells": [{"id": 1, "vcpus": "0", "memory_kib": 1024}]}, "Number them from 0 without gaps"),
        ({"cells": [{"id": 0, "vcpus": "0", "memory_kib": 1024}] * 2}, "The cells are numbered 0, 0"),
        ({"cells": [{"id": 0, "vcpus": "x", "memory_kib": 1024}]}, "neither a CPU nor a range"),
        ({"cells": [{"id": 0, "vcpus": "0", "memory_kib": None}]}, "The memory of cell 0 is None"),
        ({"hugepages": "4K"}, "Choose none, default, 2M or 1G"),
        ({"disks": [{"target": "v/b"}]}, "not a device name such as vdb"),
        ({"disks": [{"target": "vdb"}, {"target": "vdb"}]}, r"disks\[vdb\] is given more than once"),
        ({"disks": [{"target": "vdb", "driver": {"queues": -1}}]}, "The disk vdb's queues is -1"),
        ({"interfaces": [{"model": "virtio"}]}, "neither mac nor network, bridge or dev"),
        ({"interfaces": [{"network": "a", "bridge": "b"}]}, "both network and bridge"),
        ({"interfaces": [{"network": "a", "mode": "vepa"}]}, "macvtap mode vepa but no dev"),
        ({"interfaces": [{"mac": "52:54:00"}]}, "not a MAC address"),
        ({"interfaces": [{"mac": MAC, "queues": 257}]}, "The number of queues is 257. It must be from 0 to 256."),
        ({"interfaces": [{"mac": MAC, "bandwidth": {"inbound": {"peak": 5}}}]}, "inbound bandwidth has a peak or burst but no average"),
        ({"hostdevs": [{"pci": "34"}]}, "not a PCI address such as 0000:2e:00.0"),
        ({"colour": "green"}, "there is no setting colour"),
    ],
)
def test_a_bad_value_is_refused_with_the_domain_and_the_remedy(wanted, said):
    with pytest.raises(FleetError, match=said) as refusal:
        settings(**wanted)
    assert str(refusal.value).startswith("Domain a")


@pytest.mark.parametrize(
    "wanted, said",
    [
        ({"disks": [{"target": "sda", "type": "block"}]}, "The disk sda has no file or block device yet. To make it a block, give its source too."),
        ({"disks": [{"target": "vdc", "driver": {"queues": 2}}]}, "It has no disk vdc. To add it, give its source"),
        ({"interfaces": [{"mac": "52:54:00:00:00:01", "queues": 2}]}, "It has no interface 52:54:00:00:00:01. To add it, give its network"),
    ],
)
def test_a_device_that_is_missing_and_not_described_is_refused(wanted, said):
    empty = "    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>\n"
    with pytest.raises(FleetError, match=said):
        settings(**wanted).apply(document(("    <controller", empty + "    <controller")))


def test_two_interfaces_on_one_network_have_to_be_told_apart():
    other = "    <interface type='network'><mac address='52:54:00:00:00:02'/><source network='default'/></interface>\n"
    with pytest.raises(FleetError, match="It has 2 interfaces on the network default: 52:54:00:d8:ec:20, 52:54:00:00:00:02. Name the one"):
        settings(interfaces=[{"network": "default", "mtu": 9000}]).apply(document(("    <graphics", other + "    <graphics")))


def test_an_outbound_peak_is_warned_of():
    wanted = settings(interfaces=[{"network": "default", "bandwidth": {"outbound": {"average": 1000, "peak": 2000}}}])
    assert wanted.warnings(document())[0].startswith("Domain a: The outbound peak of interfaces[network=default] has no effect")


def test_more_queues_than_vcpus_are_warned_of():
    vcpus = Vcpus.read(document()).count
    interface = {"network": "default", "model": "virtio"}
    assert settings(interfaces=[dict(interface, queues=vcpus)]).warnings(document()) == []
    warned = settings(interfaces=[dict(interface, queues=vcpus + 1)]).warnings(document())
    assert len(warned) == 1 and "has {0} queues, but the domain has {1} vCPUs".format(vcpus + 1, vcpus) in warned[0]


cpus = st.frozensets(st.integers(0, 255), min_size=1, max_size=8)


@given(pins=st.dictionaries(st.integers(0, 63), cpus, max_size=12))
def test_any_pins_are_written_as_they_are_read(pins):
    guest = document()
    wanted = {str(vcpu): cpuset.show(found) for vcpu, found in pins.items()}
    settings(vcpupin=wanted).apply(guest)
    assert read_settings(DomainDocument(guest.text))["vcpupin"] == dict(sorted(wanted.items(), key=lambda item: int(item[0])))
    assert settings(vcpupin=wanted).apply(guest) == []
    numbers = [int(element.getAttribute("vcpu")) for element in guest.find_all("cputune/vcpupin")]
    assert numbers == sorted(numbers)
    guest.bring_back("vcpupin", document())
    assert guest.digest() == document().digest()


@given(edits=st.lists(st.sampled_from([edit for edit, _lines in EDITS]), max_size=8))
def test_any_sequence_of_edits_is_undone_by_bringing_back_what_it_changed(edits):
    guest, changed = document(), []
    for edit in edits:
        changed += settings(**edit).apply(guest)
    for name in dict.fromkeys(changed):
        guest.bring_back(name, document())
    assert guest.digest() == document().digest()
