# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drives are known by names that last."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.drives import Drive, read_drives
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree


def test_a_dgx_2_has_two_small_drives_and_eight_large_ones(simulated):
    drives = read_drives(Sysfs(simulated("dgx-2")), [0, 1])
    assert [drive.device for drive in drives] == ["nvme%dn1" % number for number in range(10)]
    assert [drive.size_bytes // 10**9 for drive in drives] == [960] * 2 + [3840] * 8
    assert drives[2] == Drive(
        "nvme2n1", "nvme-Micron_9200_MTFDHAL3T8TCT_18261D000002", "Micron_9200_MTFDHAL3T8TCT", "18261D000002", 3840699998208, False, "0000:2e:00.0", 0
    )
    assert drives[9].node == 1


def test_sixteen_data_drives_are_in_the_order_of_their_numbers(simulated):
    drives = read_drives(Sysfs(simulated("dgx-2-16-drives")), [0, 1])
    assert [drive.device for drive in drives] == ["nvme%dn1" % number for number in range(18)]


def test_the_volumes_of_a_dgx_1_are_scsi_disks_of_its_controller(simulated):
    drives = read_drives(Sysfs(simulated("dgx-1")), [0, 1])
    assert [(drive.device, drive.model, drive.serial, drive.pci, drive.node) for drive in drives] == [
        ("sda", "MR9361-8i", "00a1b2c3d4e5f60718190001", "0000:81:00.0", 1),
        ("sdb", "MR9361-8i", "00a1b2c3d4e5f60718190002", "0000:81:00.0", 1),
    ]
    assert drives[0].id == "scsi-300a1b2c3d4e5f60718190001", "rather than its wwn"


def test_an_nvme_drive_has_an_id_also_before_udev_made_the_link(simulated):
    root = simulated(sysfs_tree.dgx_2())
    for name in os.listdir(os.path.join(root, "dev/disk/by-id")):
        os.unlink(os.path.join(root, "dev/disk/by-id", name))
    assert read_drives(Sysfs(root), [0, 1])[0].id == "nvme-SAMSUNG_MZ1LW960HMJP-00003_S2XXNX0K000001"


@pytest.mark.parametrize(
    "links, known_as",
    [
        (["nvme-eui.0025385b71b0a5b3", "nvme-SAMSUNG_MZQL_S64", "nvme-SAMSUNG_MZQL_S64_1"], "nvme-SAMSUNG_MZQL_S64"),
        (["nvme-eui.0025385b71b0a5b3", "nvme-nvme.144d-533634-53414d53554e47"], "nvme-eui.0025385b71b0a5b3"),
        (["wwn-0x5002538e0001", "ata-SAMSUNG_MZ7LH_S45", "scsi-0ATA_SAMSUNG_MZ7LH_S45", "scsi-SATA_SAMSUNG_MZ7LH_S45"], "ata-SAMSUNG_MZ7LH_S45"),
        (["wwn-0x600508b1001c", "scsi-3600508b1001c"], "scsi-3600508b1001c"),
        ([], ""),
    ],
)
def test_the_id_with_model_and_serial_number_is_preferred(tmp_path, links, known_as):
    (tmp_path / "sys" / "block" / "sda").mkdir(parents=True)
    (tmp_path / "dev" / "disk" / "by-id").mkdir(parents=True)
    for name in links:
        (tmp_path / "dev" / "disk" / "by-id" / name).symlink_to("../../sda")
        (tmp_path / "dev" / "disk" / "by-id" / (name + "-part1")).symlink_to("../../sda1")
    assert read_drives(Sysfs(str(tmp_path)), [0]) == [Drive("sda", known_as, "", "", 0, False, "", -1)]


def test_what_is_no_drive_is_left_out(tmp_path):
    for name in "loop0 md0 dm-0 sr0 ram0 zram0 nvme0c0n1 nbd0 sda sdb sdaa vda nvme10n1 nvme2n1 nvme2n2 mmcblk0 mmcblk0boot0".split():
        (tmp_path / "sys" / "block" / name).mkdir(parents=True)
    found = [drive.device for drive in read_drives(Sysfs(str(tmp_path)), [0])]
    assert found == ["mmcblk0", "nvme2n1", "nvme2n2", "nvme10n1", "sda", "sdb", "sdaa", "vda"]


def test_a_drive_with_two_paths_belongs_to_its_first_controller(tmp_path):
    """Native multipath: the name space hangs below a subsystem, which lists the controllers (kernel, drivers/nvme/host/multipath.c)."""
    devices = tmp_path / "sys" / "devices"
    controller = devices / "pci0000:2b" / "0000:2b:00.0" / "0000:2e:00.0" / "nvme" / "nvme7"
    space = devices / "virtual" / "nvme-subsystem" / "nvme-subsys3" / "nvme3n1"
    controller.mkdir(parents=True)
    space.mkdir(parents=True)
    (controller / "model").write_text("PM1733  \n")
    (controller / "serial").write_text("S4YP\n")
    (space / "size").write_text("8\n")
    for directory, name, target in (("class/nvme", "nvme7", controller), ("block", "nvme3n1", space), ("class/nvme-subsystem", "nvme-subsys3", space.parent)):
        (tmp_path / "sys" / directory).mkdir(parents=True)
        (tmp_path / "sys" / directory / name).symlink_to(os.path.relpath(str(target), str(tmp_path / "sys" / directory)))
    (space.parent / "nvme7").symlink_to(os.path.relpath(str(controller), str(space.parent)))
    (tmp_path / "sys" / "bus" / "pci" / "devices").mkdir(parents=True)
    assert read_drives(Sysfs(str(tmp_path)), [0]) == [Drive("nvme3n1", "nvme-PM1733_S4YP", "PM1733", "S4YP", 4096, False, "0000:2e:00.0", 0)]
