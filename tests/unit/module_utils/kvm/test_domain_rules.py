# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What does not agree within a domain is refused with a remedy, but only if the change is to blame."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_devices import Image
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_rules import check, check_images, disagreements, image_format
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_settings import Settings
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import MAC, document

GIB = 1048576


def cell(id, vcpus, memory_kib, **more):
    return dict(more, id=id, vcpus=vcpus, memory_kib=memory_kib)


@pytest.mark.parametrize(
    "wanted, said",
    [
        # The document's own example: 23 cores for ten vCPUs.
        ({"topology": {"sockets": 1, "cores": 23, "threads": 2}}, "makes 46 vCPUs, but the domain has 10. Change topology or vcpus so that they agree."),
        ({"topology": {"sockets": 1, "dies": 2, "cores": 5, "threads": 2}}, "1 sockets x 2 dies x 5 cores x 2 threads makes 20 vCPUs"),
        ({"vcpus": 1}, "vcpupin names vCPU 1, but the domain has vCPUs 0 to 0. Leave them out, or give more vcpus."),
        ({"vcpupin": {10: 1, 11: 2, 20: 3}}, "vcpupin names vCPU 10-11,20, but"),
        ({"iothreadpin": {1: 20}}, "iothreadpin names I/O thread 1, but the domain has no I/O threads. Give more iothreads"),
        ({"iothreads": 2, "iothreadpin": {1: 20, 3: 21}}, "names I/O thread 3, but the domain has I/O threads 1-2"),
        ({"iothreads": 1, "disks": [{"target": "vdb", "driver": {"iothread": 2}}]}, "The disk vdb uses I/O thread 2, but the domain has I/O threads 1."),
        ({"cells": [cell(0, "0-4", 10 * GIB), cell(1, "4-9", 10 * GIB)]}, "vCPU 4 is in more than one cell"),
        ({"cells": [cell(0, "0-4", 10 * GIB), cell(1, "5-8", 10 * GIB)]}, "vCPU 9 is in no cell. Put each of the 10 vCPUs into one cell."),
        ({"cells": [cell(0, "0-11", 20 * GIB)]}, "The cells name vCPU 10-11, but the domain has vCPUs 0 to 9"),
        ({"cells": [cell(0, "0-9", 19 * GIB)]}, "The cells hold 19922944 KiB, but the domain has 20971520 KiB. Make memory_kib 19922944 or divide"),
        (
            {"memory_kib": 20 * GIB + 1024, "hugepages": "1G"},
            "The domain has 20972544 KiB, which is no multiple of the huge page size of 1048576 KiB. Make it 20971520 or 22020096.",
        ),
        ({"hugepages": "1G", "cells": [cell(0, "0-4", 10 * GIB - 2048), cell(1, "5-9", 10 * GIB + 2048)]}, "Cell 0 has 10483712 KiB, which is no multiple"),
        ({"disks": [{"target": "vdb", "driver": {"io": "native"}}]}, "The disk vdb has io native, which needs the cache mode none or directsync"),
        ({"disks": [{"target": "vdb", "driver": {"queues": 16}}]}, "The disk vdb has 16 queues, but the domain has 10 vCPUs. Give it at most 10."),
        ({"disks": [{"target": "vdb", "bus": "sata", "driver": {"queues": 2}}]}, "on the bus sata, but driver.queues is for virtio disks"),
        ({"disks": [{"target": "vdb", "bus": "scsi", "driver": {"iothread": 1}}], "iothreads": 1}, "on the bus scsi, but driver.iothread is for virtio disks"),
        ({"interfaces": [{"mac": MAC, "model": "e1000e", "queues": 4}]}, "has the model e1000e, but queues are for virtio"),
    ],
)
def test_what_does_not_agree_is_refused_with_a_remedy(wanted, said):
    guest = document()
    Settings.from_option(dict(wanted, name="a")).apply(guest)
    with pytest.raises(FleetError) as refusal:
        check(document(), guest)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith("Domain 2gpu-vm-2g0-1: ")


@pytest.mark.parametrize(
    "wanted",
    [
        {"topology": {"sockets": 1, "cores": 5, "threads": 2}},
        {"vcpus": 92, "topology": {"sockets": 2, "cores": 23, "threads": 2}, "disks": [{"target": "vdb", "driver": {"queues": 64}}]},
        {"iothreads": 46, "iothreadpin": {46: 1}, "disks": [{"target": "vdb", "driver": {"io": "native", "cache": "directsync", "iothread": 46}}]},
        {"memory_kib": 4 * GIB, "hugepages": "1G", "cells": [cell(0, "0-9", 4 * GIB, node=0)]},
        {"interfaces": [{"mac": MAC, "model": "virtio-non-transitional", "queues": 256}]},
    ],
)
def test_what_agrees_passes(wanted):
    guest = document()
    assert Settings.from_option(dict(wanted, name="a")).apply(guest)
    check(document(), guest)


def test_memory_modules_count_beside_the_cells():
    module = "    <memory model='dimm'><target><size unit='GiB'>4</size><node>0</node></target></memory>\n"
    guest = document(("    <graphics", module + "    <graphics"))
    Settings.from_option({"name": "a", "cells": [cell(0, "0-9", 16 * GIB)]}).apply(guest)
    assert disagreements(guest) == []


def test_automatic_placement_excludes_a_node_per_cell():
    guest = document(("  <os>", "  <numatune><memory mode='strict' placement='auto'/></numatune>\n  <os>"))
    before = document(("  <os>", "  <numatune><memory mode='strict' placement='auto'/></numatune>\n  <os>"))
    Settings.from_option({"name": "a", "cells": [cell(0, "0-9", 20 * GIB, node=0)]}).apply(guest)
    with pytest.raises(FleetError, match="Remove placement='auto' from numatune, or leave out the nodes"):
        check(before, guest)


def test_what_did_not_agree_before_is_not_held_against_an_unrelated_change():
    crooked = ("    <feature", "    <topology sockets='3' cores='1' threads='1'/>\n    <feature")
    guest = document(crooked)
    Settings.from_option({"name": "a", "emulatorpin": "50"}).apply(guest)
    assert disagreements(guest)
    check(document(crooked), guest)


@pytest.mark.parametrize(
    "start, expected",
    [
        (b"QFI\xfb\x00\x00\x00\x03", "qcow2"),
        (b"KDMV\x01", "vmdk"),
        (b"# Disk Descriptor", "raw"),
        (b"\x00" * 510 + b"\x55\xaa", "raw"),
        (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\x00") + b"\x7f\x10\xda\xbe", "vdi"),
        (b"", "raw"),
    ],
)
def test_an_image_tells_its_format_by_its_first_bytes(tmp_path, start, expected):
    image = tmp_path / "image"
    image.write_bytes(start)
    assert image_format(str(image)) == expected


def test_what_is_no_image_has_no_format(tmp_path):
    assert image_format(str(tmp_path)) is None
    assert image_format(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    "image, formats, said",
    [
        (Image("/a", "raw", True), {"/a": "qcow2"}, "/a holds qcow2, but would be read as raw. To change the format, convert the image (qemu-img convert"),
        (Image("/a", "raw", False), {"/a": "vmdk"}, "otherwise set driver.type to vmdk"),
        (Image("/a", "qcow2", True), {"/a": "raw"}, "holds raw (no known header), but would be read as qcow2"),
        (Image("/a", "raw", True), {"/a": None}, "could not be read to see whether that is what it holds"),
    ],
)
def test_an_image_is_not_read_as_what_it_is_not(image, formats, said):
    with pytest.raises(FleetError) as refusal:
        check_images("a", [image], formats)
    assert said in str(refusal.value)


@pytest.mark.parametrize("image, formats", [
    (Image("/a", "raw", True), {"/a": "raw"}),
    (Image("/a", "qcow2", False), {"/a": "qcow2"}),
    (Image("/a", "raw", False), {"/a": None}),
])  # fmt: skip
def test_an_image_is_read_as_what_it_is(image, formats):
    check_images("a", [image], formats)


@pytest.mark.parametrize(
    "disk, expected",
    [
        ({"target": "vda", "driver": {"type": "raw"}}, [Image("/var/lib/libvirt/images/2gpu.qcow2", "raw", True)]),
        ({"target": "vda", "driver": {"type": "qcow2"}}, []),
        ({"target": "vda", "driver": {"cache": "none"}}, []),
        ({"target": "vda", "source": "/new.raw", "driver": {"type": "raw"}}, [Image("/new.raw", "raw", False)]),
        ({"target": "vda", "source": "/new.qcow2"}, [Image("/new.qcow2", "qcow2", False)]),
        ({"target": "vdc", "source": "/dev/sdx"}, [Image("/dev/sdx", "raw", False)]),
        ({"target": "vda", "state": "absent"}, []),
    ],
)
def test_images_are_looked_at_only_where_their_format_is_at_stake(disk, expected):
    assert Settings.from_option({"name": "a", "disks": [disk]}).images_to_check(document()) == expected
