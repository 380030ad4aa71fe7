# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Arrays of hosts that were recorded in the lab's machine while drives were pulled and failed."""
import os
import shutil

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import FileSystem, Member, Mount, NfsCache, judge
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_query import asker, chosen, problems, query
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_sysfs import read_arrays

from .lab_md import host


@pytest.fixture
def recorded(tmp_path):
    return lambda stage: host(stage, tmp_path)


def arrays_of(there):
    """By device, with mdadm's help."""
    return {array.device: array for array in read_arrays(there.sysfs, asker(there.commands))}


def roles(array):
    return [(member.device, member.role, member.slot) for member in array.members]


def test_a_healthy_cache_is_told_with_everything_that_is_known_about_it(recorded):
    there = recorded("healthy")
    array = arrays_of(there)["md127"]
    assert there.commands.asked == [], "sysfs and udev know it all, so no program is started"
    assert (array.name, array.uuid, array.level, array.metadata) == ("dgx:cache", "cb0e3fb8:65acc798:c37e8237:123016e3", "raid0", "1.2")
    assert (array.state, array.chunk_bytes, array.size_bytes, array.raid_disks, array.trim) == ("clean", 524288, 4286578688, 4, True)
    assert array.members[1] == Member(
        "nvme0n1", "active", 1, ("in_sync",), 0, 0, 1071644672, True, "nvme-QEMU_NVMe_Ctrl_S3HCNX0K400002", "S3HCNX0K400002", 0
    )
    assert array.file_system == FileSystem("ext4", "826dbe2e-06f6-4846-8093-5011cf881816", "raid")
    assert array.mounts == (Mount("/raid", "ext4", "rw,noatime,rw,discard,stripe=512"),)
    assert array.nfs_cache == NfsCache("/raid", True)
    assert judge(array) == ("healthy", ())


def test_a_pulled_drive_breaks_the_array_though_mdstat_shows_all_members(recorded):
    there = recorded("pulled")
    array = arrays_of(there)["md127"]
    assert "nvme0n1[1]" in there.text("proc/mdstat") and there.text("sys/block/md127/md/dev-nvme0n1/state") == "in_sync"
    assert roles(array)[1] == ("nvme0n1", "gone", 1)
    assert judge(array).verdict == "broken" and "slot 1 (nvme0n1)" in judge(array).reasons[0]
    assert array.file_system.type == "ext4", "by the mount, since udev has forgotten"


def test_a_kernel_that_does_not_call_it_broken_is_not_believed(recorded):
    """Before Linux 5.4 array_state stays clean."""
    there = recorded("pulled")
    there.write("sys/block/md127/md/array_state", "clean\n")
    assert judge(arrays_of(there)["md127"]).verdict == "broken"


def test_a_new_drive_in_the_place_of_a_pulled_one_is_not_taken_for_it(recorded):
    there = recorded("healthy")
    os.unlink(there.sysfs.path("sys/block/nvme0n1/holders/md127"))
    array = arrays_of(there)["md127"]
    assert roles(array)[1] == ("nvme0n1", "gone", 1) and array.members[1].serial == ""


def test_an_array_that_waits_for_a_member_is_known_by_what_the_others_carry(recorded):
    array = arrays_of(recorded("inactive"))["md127"]
    assert (array.state, array.level, array.raid_disks, array.name, array.uuid) == (
        "inactive", "raid0", 4, "dgx:cache", "cb0e3fb8:65acc798:c37e8237:123016e3"
    )
    assert judge(array).reasons[0].startswith("It does not run: 3 of 4 members are there (nvme1n1 (serial S3HCNX0K400001), nvme2n1")


def test_without_mdadm_the_same_array_still_counts_as_inactive(recorded):
    there = recorded("inactive")
    array = read_arrays(there.sysfs)[1]
    assert (array.device, array.level, array.name, judge(array).verdict) == ("md127", "", "", "inactive")


def test_a_cache_that_fell_onto_the_system_drives_shows_there(recorded):
    """The array is gone from /raid, but cachefilesd is still told to use that directory."""
    arrays = arrays_of(recorded("inactive"))
    assert (arrays["md0"].nfs_cache, arrays["md127"].nfs_cache) == (NfsCache("/raid", False), NfsCache())


def test_before_linux_5_17_nobody_knows_whether_the_cache_is_active(recorded):
    there = recorded("healthy")
    os.unlink(there.sysfs.path("proc/fs/fscache/caches"))
    assert arrays_of(there)["md127"].nfs_cache == NfsCache("/raid", None)


def test_a_spare_that_is_being_filled_is_no_redundancy_yet(recorded):
    array = arrays_of(recorded("recovering"))["md5"]
    assert roles(array) == [("nvme1n1", "active", 0), ("nvme2n1", "active", 1), ("nvme6n1", "rebuilding", 2), ("nvme3n1", "spare", None)]
    assert judge(array) == ("rebuilding", ("1 of 3 members missing: slot 2. It is being rebuilt onto nvme6n1 (serial S3HCNX0K400004), 0.0 % done.",))
    assert array.trim is False and array.members[0].trim is True, "raid5 does not hand TRIM through, though its members could"


def test_an_array_that_is_being_reshaped_counts_what_it_is_to_have(recorded):
    """Documentation/admin-guide/md.rst: the old value follows in brackets."""
    there = recorded("recovering")
    there.write("sys/block/md5/md/raid_disks", "4 (3)\n")
    there.write("sys/block/md5/md/chunk_size", "131072 (65536)\n")
    array = arrays_of(there)["md5"]
    assert (array.raid_disks, array.chunk_bytes) == (4, 131072)


def test_failed_members_are_named_with_what_to_do(recorded):
    verdict = judge(arrays_of(recorded("degraded"))["md5"])
    assert verdict.verdict == "degraded"
    assert verdict.reasons[1] == "nvme1n1 (serial S3HCNX0K400001) failed and is still attached. Remove it: mdadm --manage /dev/md5 --remove /dev/nvme1n1"


def test_a_container_of_firmware_raid_is_not_an_array_that_does_not_run(recorded):
    arrays = arrays_of(recorded("imsm"))
    assert (arrays["md127"].level, judge(arrays["md127"]).verdict) == ("container", "healthy")
    assert (arrays["md126"].name, arrays["md126"].uuid, arrays["md126"].sync.action) == ("vol0", "feb7e043:d22ec42d:9bb4dac1:a35ce4cb", "resync")


def test_a_partition_has_the_serial_number_of_its_drive_and_mounts_of_volumes_count(recorded):
    there = recorded("healthy")
    root = there.sysfs.path("sys/block/vda")
    os.mkdir(root + "/vda2")
    for name, text in (("dev", "254:2\n"), ("size", "8\n")):
        with open("{0}/vda2/{1}".format(root, name), "w") as handle:
            handle.write(text)
    place = there.sysfs.path("sys/block/md0/md")
    os.rename(place + "/dev-vda", place + "/dev-vda2")
    os.unlink(place + "/dev-vda2/block")
    os.symlink(os.path.realpath(root) + "/vda2", place + "/dev-vda2/block")
    volume = there.sysfs.path("sys/class/block/dm-0")
    os.mkdir(volume)
    with open(volume + "/dev", "w") as handle:
        handle.write("253:0\n")
    os.makedirs(there.sysfs.path("sys/block/md0/holders/dm-0"))
    there.write("proc/self/mountinfo", "50 1 253:0 / /srv/my\\040data rw shared:1 - xfs /dev/mapper/a rw\nnonsense\n51 1 0:40 / /b rw - btrfs /dev/md127 rw\n")
    arrays = arrays_of(there)
    assert (arrays["md0"].members[0].device, arrays["md0"].members[0].drive, arrays["md0"].members[0].trim) == ("vda2", "virtio-LABOS0", True)
    assert [mount.path for mount in arrays["md0"].mounts] == ["/srv/my data"]
    assert [mount.path for mount in arrays["md127"].mounts] == ["/b"]


@pytest.mark.parametrize("damage", ["remove", "empty", "nonsense"])
def test_whatever_a_kernel_leaves_out_or_garbles_is_survived(recorded, damage):
    there = recorded("recovering")
    for directory, _names, files in os.walk(there.sysfs.path("sys/block/md5/md"), followlinks=False):
        for name in files:
            path = os.path.join(directory, name)
            if name == "array_state" or os.path.islink(path):
                continue
            if damage == "remove":
                os.unlink(path)
            else:
                with open(path, "w") as handle:
                    handle.write("" if damage == "empty" else "?/\x00 99999999999999999999999 x")
    assert judge(arrays_of(there)["md5"]).verdict


def test_a_host_without_arrays_has_none(tmp_path):
    assert read_arrays(Sysfs(str(tmp_path))) == []


def test_devices_are_told_apart_by_what_they_carry(recorded):
    there = recorded("healthy")
    os.makedirs(there.sysfs.path("dev/disk/by-id"), exist_ok=True)
    arrays = list(arrays_of(there).values())
    former = [array for array in arrays if array.device != "md127"]
    drive = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_S3HCNX0K400002"
    (member, plain, array), (left,) = query([drive, "/dev/nvme4n1", "/dev/md0"], arrays, there.sysfs, there.commands), query(
        ["/dev/nvme0n1"], former, there.sysfs, there.commands
    )
    assert (member.device, member.kind, member.array, member.superblock.slot) == ("nvme0n1", "member", "md127", 1)
    assert (plain.kind, plain.superblock, array.kind) == ("none", None, "array")
    assert (left.kind, left.superblock.name) == ("former_member", "dgx:cache")


@pytest.mark.parametrize("path", ["/dev/nosuch", "nvme0n1", "/etc/passwd", ""])
def test_what_is_no_block_device_is_refused_in_words(recorded, path):
    there = recorded("healthy")
    with pytest.raises(FleetError, match="is not a block device of this host"):
        query([path], [], there.sysfs, there.commands)


@pytest.mark.parametrize("word", ["md127", "/dev/md127", "/dev/md/cache", "cache", "dgx:cache", "cb0e3fb8:65acc798:c37e8237:123016e3"])
def test_an_array_is_found_by_any_of_its_names(recorded, word):
    there = recorded("healthy")
    assert [array.device for array in chosen(list(arrays_of(there).values()), [word], there.sysfs)] == ["md127"]


def test_a_broken_array_is_found_by_its_path_though_udev_has_removed_it(recorded):
    there = recorded("pulled")
    assert not there.sysfs.exists("dev/md/cache")
    assert [array.device for array in chosen(list(arrays_of(there).values()), ["/dev/md/cache"], there.sysfs)] == ["md127"]


@pytest.mark.parametrize("word", ["", "/", "/dev/md/", "md"])
def test_a_word_that_means_nothing_means_no_array(recorded, word):
    there = recorded("imsm")
    with pytest.raises(FleetError, match="There is no array"):
        chosen(list(arrays_of(there).values()), [word], there.sysfs)


def test_an_array_that_is_not_there_is_an_error_that_names_those_that_are(recorded):
    there = recorded("healthy")
    with pytest.raises(FleetError, match=r"no array scratch on this host\. There are: md0 \(dgx:0\), md127 \(dgx:cache\)\."):
        chosen(list(arrays_of(there).values()), ["scratch"], there.sysfs)


def test_problems_say_which_array(recorded):
    assert problems(list(arrays_of(recorded("pulled")).values()))[0].startswith("md127 (dgx:cache) is broken: It has lost slot 1")


def test_a_drive_directory_that_vanishes_while_it_is_read_is_a_drive_that_is_gone(recorded):
    there = recorded("healthy")
    shutil.rmtree(os.path.realpath(there.sysfs.path("sys/block/nvme2n1")))
    assert roles(arrays_of(there)["md127"])[2] == ("nvme2n1", "gone", 2)
