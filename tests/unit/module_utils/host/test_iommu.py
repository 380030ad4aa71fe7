# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PCI devices go to a guest by whole IOMMU groups."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.iommu import Function, nvme_addresses, read_functions, whole_groups
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs


def device(root, address, pci_class, group="", driver="", virtual=False):
    """A PCI function as sysfs shows it."""
    place = root / "sys" / "bus" / "pci" / "devices" / address
    place.mkdir(parents=True)
    (place / "class").write_text("0x%s02\n" % pci_class)
    if group:
        (place / "iommu_group").symlink_to("../../../../kernel/iommu_groups/" + group)
    if driver:
        (place / "driver").symlink_to("../../../../bus/pci/drivers/" + driver)
    if virtual:
        (place / "physfn").symlink_to("../0000:01:00.0")


@pytest.fixture
def sysfs(tmp_path):
    device(tmp_path, "0000:00:1c.0", "0604", "1", "pcieport")
    device(tmp_path, "0000:2e:00.0", "0108", "1", "nvme")
    device(tmp_path, "0000:2f:00.0", "0108", "2", "vfio-pci")
    device(tmp_path, "0000:51:00.0", "0108", "3", "nvme")
    device(tmp_path, "0000:51:00.1", "0108", "3", "nvme", virtual=True)
    device(tmp_path, "0000:52:00.0", "0108", "4", "nvme")
    device(tmp_path, "0000:52:00.1", "0c03", "4", "xhci_hcd")
    device(tmp_path, "0000:53:00.0", "0108")
    return Sysfs(str(tmp_path))


def test_nvme_devices_are_known_by_class_whatever_their_driver(sysfs):
    functions = read_functions(sysfs)
    assert nvme_addresses(sysfs, functions) == ["0000:2e:00.0", "0000:2f:00.0", "0000:51:00.0", "0000:52:00.0", "0000:53:00.0"]
    assert functions["0000:2f:00.0"] == Function("0000:2f:00.0", "0108", "2", "vfio-pci")
    assert "0000:00:1c.0" not in functions, "a bridge stays with the host"


@pytest.mark.parametrize("given", [["0000:2e:00.0"], ["0000:2e:00.0", "0000:2f:00.0"], ["0000:51:00.0", "0000:51:00.1"], []])
def test_whole_groups_are_given_also_when_a_bridge_is_in_them(sysfs, given):
    whole_groups(given, read_functions(sysfs), "vm1")


@pytest.mark.parametrize(
    "given, says",
    [
        (["0000:51:00.0"], r"is in IOMMU group 3 with 0000:51:00\.1 \(NVMe, driver nvme\)\. VFIO gives a group to one guest as a whole\."),
        (["0000:52:00.0"], r"with 0000:52:00\.1 \(bus controller, driver xhci_hcd\)"),
        (["0000:53:00.0"], r"has no IOMMU group, .* intel_iommu=on"),
        (["0000:99:00.0"], r"There is no PCI device 0000:99:00\.0 on this host any more, which guest vm1 shall have"),
    ],
)
def test_a_part_of_a_group_is_refused(sysfs, given, says):
    with pytest.raises(FleetError, match=says):
        whole_groups(given, read_functions(sysfs), "vm1")
