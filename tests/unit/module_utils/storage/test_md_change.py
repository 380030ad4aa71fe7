# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Making, keeping, naming and removing arrays: what would be done, and above all what would not."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import MD, Signature, Uses
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import Mount
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_change import LEVELS, Record, Wish, decide

from .lab_drives import CONF, FRESH, OTHER, OURS, array, contents, drive, found, member_of, wish

EXT4 = Signature("ext4", "826dbe2e", "precious", "nvme2n1")
RAID = [Mount("/raid", "ext4", "rw")]
LINE = "ARRAY /dev/md/raid metadata=1.2 UUID={0}\n"


def commands(change):
    return [" ".join(step.argv) for step in change.steps]


def refused(asked, host):
    with pytest.raises(FleetError) as caught:
        decide(asked, host, FRESH)
    return caught.value.message


# Making one


def test_blank_drives_become_an_array_with_one_line_in_mdadm_conf():
    change = decide(wish(), found(), FRESH)
    assert commands(change) == [
        "mdadm --create /dev/md/raid --run --metadata=1.2 --level=raid0 --raid-devices=4 --name=raid --uuid=0f:0f:0f:0f --chunk=512 "
        "/dev/nvme0n1 /dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1"]
    assert change.conf_after == CONF + LINE.format(FRESH)
    assert change.record == Record("made", FRESH, FRESH, CONF, CONF + LINE.format(FRESH), (), True)
    assert change.initramfs and "initramfs" in change.told[-1]


def test_where_no_initramfs_has_a_copy_of_mdadm_conf_none_is_made():
    assert not decide(wish(), found(initramfs=False), FRESH).initramfs


@pytest.mark.parametrize("taken, why", [
    (contents(2, [EXT4]), 'holds a file system (ext4) labelled "precious" (UUID 826dbe2e). It was not touched. To take it anyway and lose that data, '
                          "add its id nvme-MZ_S2 to wipe"),
    (contents(2, [Signature("gpt", device="nvme2n1")], partitions=["nvme2n1p1"]), "holds a GPT partition table"),
    (contents(2, partitions=["nvme2n1p1"]), "holds the partitions nvme2n1p1"),
    (contents(2, [Signature("swap", "1", device="nvme2n1p3")], partitions=["nvme2n1p3"]), "holds swap space (UUID 1) on nvme2n1p3"),
    (contents(2, [Signature("zfs_member", device="nvme2n1")]), "holds a member of a ZFS pool"),
    (contents(2, [Signature("ceph_bluestore", device="nvme2n1")]), "holds data of the type ceph_bluestore"),
    (member_of(2, OTHER, "dgx01:other"), "holds the superblock of the md array dgx01:other (UUID 0b:0b:0b:0b)"),
    (contents(2, [Signature(MD, "x", device="nvme2n1")]), "holds the superblock of an md array"),
])
def test_a_drive_that_holds_something_is_refused_until_its_own_id_consents(taken, why):
    host = found(carried=[taken])
    message = refused(wish(), host)
    assert "/dev/nvme2n1 (serial S2) " + why in message and message.count("It was not touched") == 1
    assert "nvme2n1" in refused(wish(wipe=("nvme-MZ_S1", "S3")), host)  # consent for others is none for this one
    for name in taken.names:
        erased = commands(decide(wish(wipe=(name,)), host, FRESH))
        assert "wipefs --all /dev/nvme2n1" in erased and erased[-1].startswith("mdadm --create")
        assert not any("nvme1n1" in argv for argv in erased[:-1])


@pytest.mark.parametrize("uses, why", [
    ({"uses": ["is mounted at /data"]}, "is mounted at /data. It was not touched. End that use first"),
    ({"uses": ["is held by the LVM volume a-b (dm-0)"]}, "is held by the LVM volume"),
    ({"uses": ["can only be read"]}, "can only be read"),
    ({"uses": ["holds the operating system"], "system": True}, "Nothing consents to that. Name other drives."),
    ({"arrays": ["md5"]}, "is part of the array md5. It was not touched. Stop that array first"),
])
def test_nothing_consents_to_a_drive_that_is_in_use(uses, why):
    for wipe in ((), ("nvme-MZ_S2",)):
        assert why in refused(wish(wipe=wipe), found(carried=[contents(2, **uses)]))


def test_all_drives_that_are_refused_are_told_at_once_with_their_ids():
    with pytest.raises(FleetError) as caught:
        decide(wish(), found(carried=[contents(1, [EXT4]), contents(3, uses=["is mounted at /x"])]), FRESH)
    assert [entry["id"] for entry in caught.value.details["refused"]] == ["nvme-MZ_S1", "nvme-MZ_S3"]


def test_a_drive_that_is_smaller_than_said_is_refused_whatever_is_consented():
    small = contents(2)._replace(drive=drive(2, 10 ** 9))
    assert "has 1000000000 bytes, but at least 3800000000000 were said" in refused(
        wish(least_bytes=3800 * 10 ** 9, wipe=("S2",)), found(carried=[small]))


def test_assembling_never_makes_an_array():
    assert "There is no array raid to assemble" in refused(wish("assembled"), found())


@pytest.mark.parametrize("level", LEVELS)
def test_too_few_drives_are_told(level):
    assert "needs at least" in refused(wish(level=level), found(range(0)))


# One that is there


def test_a_running_array_of_these_drives_is_left_alone():
    line = CONF + LINE.format(OURS)
    change = decide(wish(), found(arrays=[array()], link="md127", conf=line), FRESH)
    assert not change and change.diffs == [] and change.uuid == OURS and change.record.origin == "found"


def test_an_array_that_came_up_as_md127_after_a_new_installation_gets_its_name_and_keeps_its_data():
    change = decide(wish(), found(arrays=[array(name="old:cache")]), FRESH)
    assert commands(change) == [
        "mdadm --stop /dev/md127", "mdadm --assemble /dev/md/raid --uuid=0a:0a:0a:0a /dev/nvme0n1 /dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1"]
    assert change.conf_after.endswith(LINE.format(OURS)) and change.record.origin == "found"


def test_one_that_is_mounted_goes_on_and_gets_its_name_at_the_next_boot():
    change = decide(wish(), found(arrays=[array(mounts=RAID)]), FRESH)
    assert not change.steps and change.conf_after.endswith(LINE.format(OURS)) and "from the next boot on" in change.warnings[0]


def test_drives_with_the_superblocks_of_one_array_are_assembled():
    change = decide(wish(), found(carried=[member_of(number) for number in range(4)]), FRESH)
    assert commands(change)[0].startswith("mdadm --assemble /dev/md/raid --uuid=0a:0a:0a:0a") and len(change.steps) == 1


def test_a_superblock_below_a_file_system_or_partitions_does_not_bring_the_old_array_back():
    """What is at the start of a drive of version 1.2 is not the array's. The cache's file system would be made over it."""
    old = [member_of(number) for number in range(4)]
    old[2] = old[2]._replace(signatures=old[2].signatures + (EXT4,))
    message = refused(wish(), found(carried=old))
    assert "/dev/nvme2n1 (serial S2) holds the superblock of the array dgx01:raid" in message and 'labelled "precious"' in message
    assert "mdadm --zero-superblock /dev/nvme2n1" in message
    assert commands(decide(wish(wipe=("S2",)), found(carried=old), FRESH))[0].startswith("mdadm --assemble")
    divided = [member_of(number)._replace(partitions=("nvme{0}n1p1".format(number),)) for number in range(4)]
    assert "the partitions nvme3n1p1" in refused(wish(), found(carried=divided))
    at_the_end = [one._replace(superblock=one.superblock._replace(metadata="1.0")) for one in divided]
    assert commands(decide(wish(), found(carried=at_the_end), FRESH))[0].startswith("mdadm --assemble")


def test_half_an_array_that_was_assembled_too_early_is_stopped_and_assembled_whole():
    early = array(range(2), state="inactive", disks=4)
    carried = [member_of(number, arrays=["md127"] if number < 2 else []) for number in range(4)]
    assert [argv.split()[1] for argv in commands(decide(wish(), found(carried=carried, arrays=[early]), FRESH))] == ["--stop", "--assemble"]


def test_a_missing_member_is_told_and_nothing_is_made_anew_by_the_consent_for_drives():
    host = found(range(4), carried=[member_of(number) for number in range(3)])
    ids = tuple("nvme-MZ_S{0}".format(number) for number in range(4))
    message = refused(wish(wipe=ids), host)
    assert "is made of 4 drives, but only 3 of them are among those asked for" in message and "add its UUID 0a:0a:0a:0a to wipe" in message
    assert commands(decide(wish(wipe=(OURS,)), host, FRESH))[-1].startswith("mdadm --create")


def test_a_creation_that_was_cut_short_is_done_again_without_asking():
    record = Record("made", OURS, OURS, CONF, CONF)
    argv = commands(decide(wish(), found(carried=[member_of(number) for number in range(2)], record=record), FRESH))
    assert argv[-1].startswith("mdadm --create") and "wipefs --all /dev/nvme0n1" in argv
    assert "nvme3n1" in refused(wish(), found(carried=[member_of(0), contents(3, [EXT4])], record=record))


def test_a_broken_array_is_not_made_anew_unasked_nor_while_it_is_mounted():
    host = found(arrays=[array(lost=[1], mounts=RAID)], link="md127")
    assert "is broken" in refused(wish(), host)
    assert "umount /raid" in refused(wish(wipe=(OURS,)), host)
    argv = commands(decide(wish(wipe=(OURS,)), found(arrays=[array(lost=[1])], link="md127"), FRESH))
    assert argv[0] == "mdadm --stop /dev/md127" and argv[-1].startswith("mdadm --create")


def test_more_drives_for_a_raid0_are_refused_with_the_reason_and_both_ways_out():
    message = refused(wish(), found(range(6), arrays=[array()], link="md127"))
    assert "2 more were asked for" in message and "not grown" in message and "mdadm --grow" in message and "add its UUID" in message


def test_a_mirror_takes_more_drives_and_replaces_lost_ones():
    mirror = array(range(2), level="raid1")
    assert [argv.split()[1] for argv in commands(decide(wish(level="raid1"), found(range(3), arrays=[mirror], link="md127"), FRESH))] == ["--manage", "--grow"]
    lacking = array(range(2), level="raid1", lost=[1])
    (add,) = commands(decide(wish(level="raid1"), found([0, 2], arrays=[lacking], link="md127"), FRESH))
    assert add == "mdadm --manage /dev/md127 --add /dev/nvme2n1"
    assert "precious" in refused(wish(level="raid1"), found([0, 2], arrays=[lacking], link="md127", carried=[contents(2, [EXT4])]))


@pytest.mark.parametrize("host, why", [
    (found(range(3), arrays=[array()]), "is a raid0 of nvme0n1, nvme1n1, nvme2n1, nvme3n1, but a raid0 of nvme0n1, nvme1n1, nvme2n1 was asked for"),
    (found(range(6), arrays=[array(name="dgx01:other")]), "remove it first"),  # part of another array, whatever is consented
    (found(range(4, 8), arrays=[array()]), "remove it first"),  # the name is taken
    (found(arrays=[array(level="raid10")]), "is a raid10, but raid0 was asked for"),
    (found(arrays=[array(range(2)), array(range(2, 4), "md126", OTHER, "x:y")]), "belong to several arrays"),
    (found(arrays=[array(range(8), "md0", OTHER, "dgx01:0")], uses={"md0": Uses(("is mounted at /",), ("md0",), True)}), "holds the operating system"),
    (found(carried=[member_of(number) for number in range(4)], arrays=[array([8, 9], "md3", OTHER, "dgx01:x")], uses={"md3": Uses()},
           conf=CONF + LINE.format(OTHER)), "gives the path /dev/md/raid to The array md3"),
])
def test_what_would_take_another_array_is_refused(host, why):
    assert why in refused(wish(), host)


# Removing one


def test_an_array_is_freed_by_its_uuid_and_mdadm_conf_is_as_before():
    after = CONF + LINE.format(OURS)
    record = Record("made", OURS, "", CONF, after)
    host = found(arrays=[array()], link="md127", conf=after, record=record)._replace(carried={"md127": (EXT4,)}, contents={})
    assert "holds a file system (ext4)" in refused(wish("absent"), host) and "add its UUID 0a:0a:0a:0a" in refused(wish("absent"), host)
    assert "holds" in refused(wish("absent", wipe=("nvme-MZ_S0", "S1", "S2", "S3")), host)
    change = decide(wish("absent", wipe=(OURS,)), host, FRESH)
    assert commands(change) == ["mdadm --stop /dev/md127", "mdadm --zero-superblock /dev/nvme0n1 /dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1"]
    assert change.conf_after == CONF and change.record is None and not change.initramfs


@pytest.mark.parametrize("gone", [array(range(3), state="inactive", disks=4), array(lost=[0]), array(state="broken")])
@pytest.mark.parametrize("state", ["absent", "restored"])
def test_an_array_that_cannot_be_looked_at_does_not_count_as_empty(gone, state):
    """One that lacks a drive shows nothing of what it holds, and has it all when the drive is plugged in again."""
    host = found(arrays=[gone], link="md127", record=Record("made", OURS, "", CONF, CONF))._replace(contents={})
    if state == "absent":
        assert "add its UUID 0a:0a:0a:0a to wipe" in refused(wish(state), host)
    else:
        assert commands(decide(wish(state), host, FRESH)) == ["mdadm --stop /dev/md127"]
    assert commands(decide(wish(state, wipe=(OURS,)), host, FRESH))[-1].startswith("mdadm --zero-superblock")


def test_an_array_whose_creation_was_not_seen_to_end_is_not_empty_if_it_has_a_file_system():
    host = found(arrays=[array()], link="md127", record=Record("made", OURS, OURS, CONF, CONF))._replace(carried={"md127": (EXT4,)}, contents={})
    assert "holds a file system (ext4)" in refused(wish("absent"), host)


def test_going_back_without_consent_stops_it_and_tells_how_to_free_its_drives():
    after = CONF + LINE.format(OURS)
    host = found(arrays=[array()], link="md127", conf=after, record=Record("made", OURS, "", CONF, after))._replace(carried={"md127": (EXT4,)}, contents={})
    change = decide(wish("restored"), host, FRESH)
    assert commands(change) == ["mdadm --stop /dev/md127"] and change.conf_after == CONF and "add its UUID" in change.warnings[0]
    later = found(conf=CONF, record=change.record)._replace(contents={"nvme{0}n1".format(number): member_of(number) for number in range(4)})
    assert not decide(wish("restored"), later, FRESH)
    assert commands(decide(wish("restored", wipe=(OURS,)), later, FRESH))[0].startswith("mdadm --zero-superblock /dev/nvme0n1")


def test_an_array_that_was_there_before_stays_when_the_host_is_given_back():
    before = CONF + "ARRAY /dev/md/0 metadata=1.2 name=old:0 UUID=0a0a0a0a\n"
    adopted = decide(wish(), found(arrays=[array(mounts=RAID)], conf=before), FRESH)
    assert adopted.conf_after == CONF + LINE.format(OURS)
    host = found(arrays=[array(mounts=RAID)], conf=adopted.conf_after, record=adopted.record)
    back = decide(wish("restored"), host, FRESH)
    assert not back.steps and back.conf_after == before
    edited = host._replace(conf=adopted.conf_after + "PROGRAM /bin/true\n")
    assert decide(wish("restored"), edited, FRESH).conf_after == before + "PROGRAM /bin/true\n"


def test_what_others_write_into_mdadm_conf_between_two_runs_stays_when_it_is_given_back():
    first = decide(wish(), found(arrays=[array()], link="md127"), FRESH)
    others = first.conf_after + "PROGRAM /bin/true\n"
    second = decide(wish(), found(arrays=[array()], link="md127", conf=others, record=first.record), FRESH)
    assert not second.steps and second.conf_after == others
    back = decide(wish("restored"), found(arrays=[array()], link="md127", conf=others, record=second.record), FRESH)
    assert back.conf_after == CONF + "PROGRAM /bin/true\n"


def test_one_that_is_mounted_is_neither_stopped_nor_removed():
    host = found(arrays=[array(mounts=RAID)], link="md127")
    for state in ("stopped", "absent"):
        assert "is mounted at /raid, so it was not stopped" in refused(wish(state, wipe=(OURS,)), host)


@pytest.mark.parametrize("state", ["stopped", "absent", "restored"])
def test_where_there_is_none_nothing_is_to_be_done(state):
    assert not decide(wish(state), found(), FRESH)


def test_without_mdadm_a_check_says_what_comes_first():
    change = decide(wish(), found(mdadm=False), FRESH)
    assert change and change.told == ["install mdadm"] and change.warnings


@pytest.mark.parametrize("options, why", [
    ({"name": "a b"}, "up to 31 letters"), ({"name": "../x"}, "up to 31 letters"), ({"name": "a\n"}, "up to 31"), ({"chunk_kib": 100}, "power of two"),
    ({"chunk_kib": 0}, "power of two"), ({"drives": []}, "empty list"), ({"drives": ["a", " "]}, "empty entry"), ({"wipe": [""]}, "empty entry"),
    ({"drive_size_min": "large"}, "drive_size_min is 'large'"),
])
def test_a_mistake_is_told_in_words(options, why):
    params = dict({"name": "raid", "state": "present", "level": "raid0", "drives": None, "chunk_kib": 512, "drive_size_min": None, "wipe": []}, **options)
    with pytest.raises(FleetError, match=why):
        Wish.from_params(params)
