# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What /proc/mdstat and mdadm print is read right, and any other text does no harm."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import Sync, array_to_dict, judge
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_text import parse_detail, parse_examine, parse_mdstat, parse_udev, read_text

from .lab_md import host

STAGES = ["healthy", "pulled", "inactive", "recovering", "degraded", "imsm"]

#: Made after md_seq_show and the status functions of the levels in the kernel (drivers/md): what the recorded hosts do not show.
MDSTAT = """\
Personalities : [raid1] [raid6] [raid5] [raid4]
md3 : active (auto-read-only) raid6 sda1[0] sdh1[7] sdg1[6](F) sdf1[9] sde1[8](S) sdd1[3] sdc1[2] sdb1[1]
      5853468288 blocks level 6, 64k chunk, algorithm 2 [7/6] [UUUU_UU]
        resync=PENDING
      bitmap: 0/8 pages [0KB], 65536KB chunk

md_d4 : active (read-only) raid1 sdj2[1] sdi2[0]
      4883648 blocks [2/2] [UU]
      [=>...................]  check =  8.5% (416128/4883648) finish=17.0min speed=4355K/sec

md9 : active raid1 sdk[2] sdl[0](W)
      1000 blocks super 1.2 [2/1] [U_]
        resync=DELAYED

md11 : inactive sdm[1](S) sdn[0](F)
      2000 blocks super 1.2

unused devices: <none>
"""


def test_mdstat_in_all_its_forms():
    six, one, delayed, waiting = parse_mdstat(MDSTAT)
    assert (six.device, six.level, six.state, six.metadata, six.chunk_bytes, six.size_bytes) == ("md3", "raid6", "active", "0.90", 65536, 5853468288 * 1024)
    assert (six.raid_disks, six.lost_slots, judge(six).verdict) == (7, [4], "degraded")
    assert [(member.device, member.slot) for member in six.having("active")] == [
        ("sda1", 0), ("sdb1", 1), ("sdc1", 2), ("sdd1", 3), ("sdh1", 5), ("sdf1", 6)
    ]
    assert [member.device for member in six.having("failed") + six.having("spare")] == ["sdg1", "sde1"]
    assert (one.device, one.state, one.sync, judge(one).verdict) == ("md_d4", "readonly", Sync("check", 8.5, 4355), "warning")
    assert [(member.device, member.role) for member in delayed.members] == [("sdl", "active"), ("sdk", "spare")]
    assert delayed.sync.action == "resync"
    assert (waiting.state, [(member.device, member.role) for member in waiting.members]) == ("inactive", [("sdm", "spare"), ("sdn", "failed")])


@pytest.mark.parametrize(
    "stage, device, by_mdstat, by_detail",
    [
        ("healthy", "md0", "healthy", "healthy"),
        ("healthy", "md127", "unknown", "healthy"),
        ("pulled", "md127", "unknown", "broken"),
        ("inactive", "md127", "inactive", "inactive"),
        ("recovering", "md5", "rebuilding", "rebuilding"),
        ("degraded", "md5", "degraded", "degraded"),
        ("imsm", "md126", "rebuilding", "rebuilding"),
        ("imsm", "md127", "healthy", "healthy"),
    ],
)
def test_texts_of_a_real_machine_lead_to_the_same_verdict(tmp_path, stage, device, by_mdstat, by_detail):
    recorded = host(stage, tmp_path)
    mdstat = {array.device: array for array in parse_mdstat(recorded.text("proc/mdstat"))}
    (detail,) = parse_detail(recorded.said("mdadm", "--detail", "/dev/" + device))
    assert (judge(mdstat[device]).verdict, judge(detail).verdict) == (by_mdstat, by_detail)


def test_mdadm_tells_which_member_a_broken_array_lacks(tmp_path):
    (array,) = parse_detail(host("pulled", tmp_path).said("mdadm", "--detail", "/dev/md127"))
    assert (array.name, array.uuid, array.chunk_bytes, array.size_bytes) == ("dgx:cache", "cb0e3fb8:65acc798:c37e8237:123016e3", 524288, 4186112 * 1024)
    assert [(member.device, member.role, member.slot) for member in array.members] == [
        ("nvme1n1", "active", 0), ("", "gone", 1), ("nvme2n1", "active", 2), ("nvme6n1", "active", 3)
    ]


def test_superblocks_of_version_1_and_of_version_0(tmp_path):
    (modern,) = parse_examine(host("healthy", tmp_path).said("mdadm", "--examine", "/dev/nvme0n1"))
    assert (modern.metadata, modern.level, modern.role, modern.slot, modern.members_then) == ("1.2", "raid0", "active", 1, "AAAA")
    assert (modern.data_offset_bytes, modern.chunk_bytes, modern.checksum_correct, modern.update_time) == (4096 * 512, 524288, True, 1795406728)
    # After super0.c of mdadm.
    (old,) = parse_examine(
        "/dev/sdb1:\n          Magic : a92b4efc\n        Version : 0.90.00\n           UUID : 5afe1ab0:00004000:80000000:00000002\n"
        "     Raid Level : raid5\n   Raid Devices : 3\n    Update Time : Tue Feb 30 25:61:61 2010\n       Checksum : 1bf27952 - expected 1bf27953\n"
        "         Events : 0.48\n     Chunk Size : 64K\n\n      Number   Major   Minor   RaidDevice State\n"
        "this     1       8       17        1      active sync   /dev/sdb1\n\n   0     0       8        1        0      active sync   /dev/sda1\n"
    )
    assert (old.uuid, old.role, old.slot, old.checksum_correct) == ("5afe1ab0:00004000:80000000:00000002", "active", 1, False)


def test_a_partition_table_is_no_superblock():
    assert parse_examine("/dev/sda:\n   MBR Magic : aa55\nPartition[0] :   4294967295 sectors at            1 (type ee)\n") == []


def test_several_texts_after_each_other_are_all_read(tmp_path):
    recorded = host("healthy", tmp_path)
    texts = [recorded.text("proc/mdstat"), "", recorded.said("mdadm", "--detail", "/dev/md0"), recorded.said("mdadm", "--examine", "/dev/vda")]
    arrays, superblocks = read_text("\n".join(texts))
    assert [(array.source, array.device) for array in arrays] == [("mdstat", "md127"), ("mdstat", "md0"), ("detail", "md0")]
    assert [superblock.device for superblock in superblocks] == ["vda"]


def test_udev_properties_are_the_lines_marked_e():
    assert parse_udev("S:disk/by-label/a\nE:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=a=b\nV:1\n") == {"ID_FS_TYPE": "ext4", "ID_FS_LABEL": "a=b"}


def _pieces():
    """Lines of the real thing, whole and cut, in any order, with any characters between them."""
    lines = MDSTAT.splitlines(True)
    lines += ["/dev/md1:\n", "          Magic : x\n", "     Raid Level : raid5\n", "          State : clean, recovering\n", "     Chunk Size : 64K\n"]
    lines += ["   Device Role : Active device 1\n", "       0     8     1     0      active sync   /dev/sda\n", "   Raid Devices : 99999999\n"]
    lines += ["this     1       8       17        1      active sync   /dev/sdb1\n", "    Update Time : Tue Feb 30 25:61:61 2010\n", "     Array Size : 7 (\n"]
    line = st.sampled_from(lines)
    cut = st.builds(lambda text, start, end: text[start:end], line, st.integers(0, 30), st.integers(0, 120))
    return st.lists(st.one_of(line, cut, st.text(max_size=30)), max_size=20).map("".join)


@given(st.one_of(st.text(), _pieces()))
def test_no_text_makes_it_fail(text):
    arrays, superblocks = read_text(text)
    json.dumps([array_to_dict(array) for array in arrays])
    json.dumps([superblock._asdict() for superblock in superblocks])


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_real_machine_printed_is_understood_to_the_last_member(tmp_path, stage):
    recorded = host(stage, tmp_path)
    for argv, answer in recorded.commands.answers.items():
        if argv[1:2] == ("--detail",) and len(argv) == 3:
            for array in parse_detail(answer.out):
                names = {line.rpartition("/dev/")[2] for line in answer.out.splitlines() if "/dev/" in line and line[:1] == " " and ":" not in line}
                assert {member.device for member in array.members} - {""} == names
