# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host says by its product name which DGX it is; anything else is a host without a name."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import dgx
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs


@pytest.mark.parametrize(
    "product, key",
    [
        ("DGX-1 with V100", "dgx-1"),
        ("DGX-1", "dgx-1"),
        ("NVIDIA DGX-2", "dgx-2"),
        ("NVIDIA DGX-2H", "dgx-2h"),
        ("DGX2-H", "dgx-2h"),
        ("DGX Station", "dgx-station"),
        ("DGX Station A100 920-23487-2530-000", "dgx-station-a100"),
        ("DGXA100 920-23687-2530-000", "dgx-a100"),
        ("DGXA100 920-23687-2531-001", "dgx-a100"),
        ("NVIDIA DGX A100", "dgx-a100"),
        ("DGXA800", "dgx-a100"),
        ("DGXH100", "dgx-h100"),
        ("dgxh200", "dgx-h200"),
        ("DGXB200", "dgx-b200"),
        ("DGX B300 System", "dgx-b300"),
        ("NVIDIA_DGX_Spark", "dgx-spark"),
        ("NVIDIA DGX Station GB300", "generic"),
        ("DGX-10", "generic"),
        ("DGXA1000", "generic"),
        ("PowerEdge R760", "generic"),
        ("My DGX-2", "generic"),
        ("", "generic"),
    ],
)
def test_a_product_name_tells_the_model(product, key):
    assert dgx.platform_of(product).key == key


def test_a_dgx_2_has_what_the_document_says():
    model = dgx.platform("dgx-2")
    assert (model.gpus, model.os_drives, model.data_drives, model.raid) == (16, 2, (8, 16), "mdadm")
    assert [model.guest_size(gpus).vcpus for gpus in (1, 2, 8, 16)] == [5, 10, 46, 92]
    assert model.guest_size(16).memory_kib == 1516912640
    assert model.guest_size(3) is None


def test_a_dgx_1_makes_its_array_by_its_controller():
    assert (dgx.platform("dgx-1").raid, dgx.platform("dgx-1").data_drives) == ("storcli", (4,))


def test_guests_are_not_larger_in_total_than_one_with_all_gpus():
    for key in dgx.keys():
        model = dgx.platform(key)
        for size in model.guest_sizes:
            assert size.vcpus * (model.gpus // size.gpus) <= model.guest_size(model.gpus).vcpus
            assert size.memory_kib * (model.gpus // size.gpus) <= model.guest_size(model.gpus).memory_kib


def test_a_platform_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(FleetError, match="The platform 'dgx-3' is not known. Known are dgx-1, dgx-2, .*generic"):
        dgx.platform("dgx-3")


def test_each_platform_can_be_told_in_facts():
    for key in dgx.keys():
        told = dgx.to_dict(dgx.platform(key))
        assert told["key"] == key and isinstance(told["data_drives"], list)


def put(root, path, text):
    place = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as handle:
        handle.write(text)


def test_the_fillers_of_firmware_are_no_names(tmp_path):
    put(tmp_path, "sys/class/dmi/id/sys_vendor", b"To Be Filled By O.E.M.\n")
    put(tmp_path, "sys/class/dmi/id/product_name", b"Default string\n")
    put(tmp_path, "sys/class/dmi/id/product_serial", b"QTF1\n")
    assert dgx.read_dmi(Sysfs(str(tmp_path))) == dgx.Dmi("", "", "QTF1")


def test_a_host_without_dmi_may_have_a_device_tree(tmp_path):
    put(tmp_path, "proc/device-tree/model", b"IBM,8335-GTH\0")
    assert dgx.read_dmi(Sysfs(str(tmp_path))) == dgx.Dmi("", "IBM,8335-GTH", "")


def test_a_host_that_says_nothing_has_no_name(tmp_path):
    assert dgx.read_dmi(Sysfs(str(tmp_path))) == dgx.Dmi("", "", "")
