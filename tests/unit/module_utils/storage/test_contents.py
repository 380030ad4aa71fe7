# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a drive holds and who uses it, on hosts of a few files; and which drives are for data."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.dgx import platform
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import Drives, parse_wipefs, refusal
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.data_drives import data_drives

from .lab_md import host


class Machine:
    """A host below a directory: its drives, what is made of them, and what is mounted."""

    def __init__(self, root):
        self.root, self.mounts, self.answers, self.count = root, [], {}, 0
        self.write("proc/swaps", "Filename Type Size Used Priority\n")

    def write(self, path, text):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")

    def link(self, path, target):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, str(place))

    def device(self, name, on="", **files):
        """A drive, a partition of one, or something that is made of another."""
        place = "sys/devices/" + (on + "/" if on and "partition" in files else "") + name
        self.count += 1
        for path, text in dict({"dev": "259:{0}".format(self.count), "size": "7501476528", "queue/rotational": "0", "ro": "0"}, **files).items():
            self.write("{0}/{1}".format(place, path.replace("__", "/")), text)
        self.link("sys/class/block/" + name, "../../../" + place)
        if "partition" not in files:
            self.link("sys/block/" + name, "../../" + place)
            self.write("dev/" + name, "")
        if on and "partition" not in files:
            self.write("sys/class/block/{0}/holders/{1}".format(on, name), "")
        return "259:{0}".format(self.count)

    def drive(self, name, serial="", **files):
        number = self.device(name, **dict({"device__model": "MODEL", "wwid": "eui." + name}, **files))
        self.write("sys/class/nvme/{0}/serial".format(name.partition("n1")[0]), serial or "S-" + name)
        self.link("dev/disk/by-id/nvme-MODEL_S-" + name, "../../" + name)
        self.says(name, "")
        return number

    def says(self, name, printed):
        self.answers[("wipefs", "--no-act", "--parsable", "/dev/" + name)] = Result(0, printed, "")

    def mount(self, number, path, source="/dev/x"):
        self.mounts.append("30 1 {0} / {1} rw - ext4 {2} rw".format(number, path, source))
        self.write("proc/self/mountinfo", "\n".join(self.mounts))

    def drives(self, busy=()):
        return Drives(Sysfs(str(self.root)), lambda name: name in busy)

    def look(self, name, busy=()):
        drives = self.drives(busy)
        return drives.contents(drives.called("/dev/" + name), Recorded(self.answers))


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_signatures_are_read_from_what_wipefs_prints():
    told = parse_wipefs("# offset,uuid,label,type\n0x438,b378f469,a, b,ext4\n0x200,,,gpt\n\nnonsense,,,\n0x1,\n")
    assert [(one.type, one.uuid, one.label) for one in told] == [("ext4", "b378f469", "a, b"), ("gpt", "", "")]


def test_a_drive_is_found_by_each_of_its_names(machine):
    machine.drive("nvme0n1")
    for name in ("/dev/nvme0n1", "nvme-MODEL_S-nvme0n1", "S-nvme0n1", "eui.nvme0n1", "/dev/disk/by-id/nvme-MODEL_S-nvme0n1"):
        assert machine.drives().called(name).device == "nvme0n1"


@pytest.mark.parametrize("name, why", [("nvme0n1", "There is no drive nvme0n1"), ("/dev/nvme9n1", "There are: nvme0n1"), ("/dev/nvme0n1p1", "is a partition")])
def test_what_is_no_drive_is_told(machine, name, why):
    machine.drive("nvme0n1")
    machine.device("nvme0n1p1", on="nvme0n1", partition="1")
    with pytest.raises(FleetError, match=why):
        machine.drives().called(name)


def test_two_drives_with_one_serial_number_are_not_confused(machine):
    for name in ("nvme0n1", "nvme1n1"):
        machine.drive(name, serial="0000")
    with pytest.raises(FleetError, match="the name of 2 drives: nvme0n1, nvme1n1"):
        machine.drives().called("0000")


def test_a_mount_of_what_is_made_of_a_partition_counts(machine):
    machine.drive("nvme0n1")
    machine.device("nvme0n1p1", on="nvme0n1", partition="1")
    number = machine.device("dm-0", on="nvme0n1p1", dm__name="vg-data", dm__uuid="LVM-x")
    machine.mount(number, "/data\\040here")
    machine.says("nvme0n1p1", "0x218,u,,LVM2_member\n")
    found = machine.look("nvme0n1")
    assert found.uses.told == ("is mounted at /data here", "is held by the LVM volume vg-data (dm-0)")
    assert found.partitions == ("nvme0n1p1",) and [one.device for one in found.signatures] == ["nvme0n1p1"] and not found.uses.system


@pytest.mark.parametrize("path", ["/", "/boot/efi", "/var"])
def test_what_the_system_is_on_is_told_also_through_an_array(machine, path):
    machine.drive("nvme0n1")
    machine.mount(machine.device("md0", on="nvme0n1", md__level="raid1"), path)
    found = machine.look("nvme0n1")
    assert found.uses.system and found.uses.arrays == ("md0",) and "holds the operating system" in found.uses.told


def test_swap_bcache_read_only_and_exclusive_users_count(machine):
    machine.drive("nvme0n1")
    machine.write("proc/swaps", "Filename Type\n/dev/nvme0n1 partition 1 0 -2")
    assert "is used as swap (/dev/nvme0n1)" in machine.look("nvme0n1").uses.told
    machine.drive("nvme1n1", ro="1")
    machine.device("bcache0", on="nvme1n1")
    assert machine.look("nvme1n1").uses.told == ("is held by bcache0", "can only be read")
    machine.drive("nvme2n1")
    assert "held open" in machine.look("nvme2n1", busy=["nvme2n1"]).uses.told[0]
    assert machine.look("nvme2n1").uses.told == ()


def test_a_consent_by_a_name_that_two_drives_have_is_none(machine):
    """Two name spaces of one NVMe drive have its serial number; older rules of udev name only one of them in /dev/disk/by-id."""
    for name in ("nvme0n1", "nvme0n2"):
        machine.device(name, device__model="MODEL", wwid="eui." + name)
        machine.says(name, "0x438,u,,ext4\n")
    machine.write("sys/class/nvme/nvme0/serial", "S")
    machine.write("sys/class/nvme/nvme0/model", "MODEL")
    machine.link("dev/disk/by-id/nvme-MODEL_S", "../../nvme0n1")
    first, second = machine.look("nvme0n1"), machine.look("nvme0n2")
    assert first.id == "nvme-MODEL_S" and "S" not in first.names
    assert second.drive.id == "" and second.id == "eui.nvme0n2"
    assert "add its id eui.nvme0n2 to wipe" in refusal(second, ["nvme-MODEL_S", "S"])
    assert refusal(first, ["S"]) and not refusal(first, ["nvme-MODEL_S"]) and not refusal(second, ["eui.nvme0n2"])


def test_a_name_of_what_is_on_a_drive_does_not_name_the_drive(machine):
    machine.device("vda")
    machine.link("dev/disk/by-id/lvm-pv-uuid-x", "../../vda")
    assert machine.drives().all[0].id == ""


def test_programs_that_write_to_a_drive_are_told_though_they_do_not_hold_it(machine):
    machine.drive("nvme0n1")
    machine.device("nvme0n1p1", on="nvme0n1", partition="1")
    machine.says("nvme0n1p1", "")
    machine.drive("nvme1n1")
    for number, (comm, path, flags) in enumerate([("qemu-system-x86", "/dev/nvme0n1p1", "02140002"), ("udevd", "/dev/nvme1n1", "02100000")], 700):
        machine.write("proc/{0}/comm".format(number), comm)
        machine.link("proc/{0}/fd/9".format(number), path)
        machine.write("proc/{0}/fdinfo/9".format(number), "pos:\t0\nflags:\t{0}\nmnt_id:\t24".format(flags))
    assert machine.look("nvme0n1").uses.told == ("is open for writing by qemu-system-x86 (process 700)",)
    assert "End that use first" in refusal(machine.look("nvme0n1"), ["S-nvme0n1"])
    assert machine.look("nvme1n1").uses.told == ()


def test_a_loop_device_over_a_drive_and_an_export_over_a_network_are_uses(machine):
    machine.drive("nvme0n1")
    machine.mount(machine.device("loop0", loop__backing_file="/dev/nvme0n1"), "/mnt")
    assert machine.look("nvme0n1").uses.told == ("is mounted at /mnt", "is held by loop0")
    machine.drive("nvme1n1")
    space = "sys/kernel/config/nvmet/subsystems/scratch/namespaces/1/"
    machine.write(space + "device_path", "/dev/disk/by-id/nvme-MODEL_S-nvme1n1")
    machine.write(space + "enable", "0")
    assert machine.look("nvme1n1").uses.told == ()
    machine.write(space + "enable", "1")
    assert machine.look("nvme1n1").uses.told == ("is exported by nvmet as scratch",)


def test_btrfs_which_has_numbers_of_its_own_is_seen_by_its_source(machine):
    machine.drive("nvme0n1")
    machine.mount("0:44", "/data", "/dev/nvme0n1")
    assert machine.look("nvme0n1").uses.told == ("is mounted at /data",)


def dgx2(machine, data=8, **files):
    for number in range(data):
        machine.drive("nvme{0}n1".format(number), **files)
    machine.mount(machine.drive("sda"), "/")
    return machine


@pytest.mark.parametrize("data", [8, 16])
def test_the_data_drives_of_a_dgx2_are_those_without_the_system(machine, data):
    found = data_drives(dgx2(machine, data).drives(), Sysfs(str(machine.root)), platform("dgx-2"))
    assert [drive.device for drive in found] == ["nvme{0}n1".format(number) for number in range(data)]


def test_a_drive_too_few_is_told_unless_the_array_is_made_of_just_these(machine):
    drives, sysfs = dgx2(machine, 7).drives(), Sysfs(str(machine.root))
    with pytest.raises(FleetError, match="has 8 or 16 data drives, but 7 were found"):
        data_drives(drives, sysfs, platform("dgx-2"))
    assert len(data_drives(drives, sysfs, platform("dgx-2"), ["nvme{0}n1".format(number) for number in range(7)])) == 7
    assert len(data_drives(drives, sysfs, platform("generic"))) == 7


def test_drives_of_other_sizes_are_not_guessed_about(machine):
    dgx2(machine, 7).drive("nvme9n1", size="1000")
    with pytest.raises(FleetError, match="differ in size"):
        data_drives(machine.drives(), Sysfs(str(machine.root)), platform("generic"))


def test_disks_sticks_and_card_readers_are_no_data_drives(machine):
    dgx2(machine)
    machine.drive("sdb", queue__rotational="1")
    machine.drive("sdc", removable="1")
    machine.drive("sdd", size="0")
    assert len(data_drives(machine.drives(), Sysfs(str(machine.root)), platform("dgx-2"))) == 8


@pytest.mark.parametrize("name, place", [
    ("sdb", "devices/platform/host5/session1/target5:0:0/5:0:0:0/block/sdb"), ("sdb", "devices/pci0000:00/0000:00:01.0/host1/rport-1:0-2/block/sdb"),
    ("nvme9n1", "devices/virtual/nvme-fabrics/ctl/nvme9/nvme9n1"),
])  # fmt: skip
def test_what_comes_over_a_network_is_no_data_drive(machine, name, place):
    dgx2(machine)
    for path, text in {"size": "7501476528", "queue/rotational": "0"}.items():
        machine.write("sys/{0}/{1}".format(place, path), text)
    machine.link("sys/block/" + name, "../" + place)
    assert len(machine.drives().all) == 10
    assert len(data_drives(machine.drives(), Sysfs(str(machine.root)), platform("generic"))) == 8


def test_a_host_that_was_booted_over_the_network_shows_no_system_drives(machine):
    machine.drive("nvme0n1")
    machine.mount("0:30", "/", "server:/root")
    with pytest.raises(FleetError, match="booted over the network"):
        data_drives(machine.drives(), Sysfs(str(machine.root)), platform("dgx-2"))


def test_a_dgx1_is_pointed_to_its_hardware_raid(machine):
    with pytest.raises(FleetError, match="raid_cache_backend: storcli"):
        data_drives(dgx2(machine, 1).drives(), Sysfs(str(machine.root)), platform("dgx-1"))


def test_on_a_recorded_host_members_and_the_system_are_told_apart(tmp_path):
    there = host("healthy", tmp_path)
    drives = Drives(there.sysfs, lambda name: False)
    uses = {drive.device: drives.uses(drive) for drive in drives.all}
    assert uses["vda"].system and uses["vda"].arrays == ("md0",)
    assert uses["nvme0n1"].arrays == ("md127",) and not uses["nvme0n1"].system
