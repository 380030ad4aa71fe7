# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an array is well, and what is said if it is not."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import Array, Member, Mount, Sync, array_to_dict, judge


def array_of(level, roles, disks=None, **more):
    """An array whose members have these roles, slots in order for those that hold data."""
    members = [Member("sd" + chr(97 + number), role, number if role in ("active", "rebuilding", "gone") else None) for number, role in enumerate(roles)]
    return Array("md1", "sysfs", level=level, raid_disks=disks or len(roles), members=tuple(members), **dict({"state": "clean"}, **more))


@pytest.mark.parametrize(
    "array, verdict",
    [
        (array_of("raid0", ["active"] * 8), "healthy"),
        (array_of("raid0", ["active"] * 8, state="broken"), "broken"),
        (array_of("raid0", ["active"] * 7 + ["gone"]), "broken"),  # Linux before 5.4 does not call it broken
        (array_of("linear", ["gone", "active"]), "broken"),
        (array_of("raid1", ["active", "failed"]), "degraded"),
        (array_of("raid1", ["active", "active", "gone"]), "degraded"),
        (array_of("raid1", ["failed", "failed"]), "broken"),
        (array_of("raid5", ["active", "active", "rebuilding"], sync=Sync("recover", 12.5)), "rebuilding"),
        (array_of("raid5", ["active", "active", "active", "spare"], disks=3), "healthy"),
        (array_of("raid5", ["active", "active", "active"], sync=Sync("resync", 1.0)), "rebuilding"),
        (array_of("raid5", ["active", "active", "active"], sync=Sync("check", 1.0)), "healthy"),
        (array_of("raid5", ["active", "failed", "gone"]), "broken"),
        (array_of("raid6", ["active", "active", "failed", "failed"]), "degraded"),
        (array_of("raid6", ["active", "active", "failed", "failed", "gone"]), "broken"),
        (array_of("raid10", ["active", "gone", "active", "gone"]), "degraded"),
        (array_of("raid10", ["active", "gone", "active", "gone"], state="broken"), "broken"),
        (array_of("raid5", ["spare"] * 2, state="inactive", disks=3), "inactive"),
        (array_of("", ["spare"] * 2, state="inactive", metadata="external:imsm"), "healthy"),
        (array_of("raid1", ["active", "active"], metadata="external:/md127/0", state="inactive"), "inactive"),
        (array_of("raid1", ["active", "active"], state="readonly"), "warning"),
        (array_of("raid1", ["active", "active"], state="read-auto"), "healthy"),
        (array_of("raid1", ["active", "active"], mismatches=128), "healthy"),
        (array_of("raid5", ["active", "active", "active"], mismatches=128), "warning"),
    ],
)
def test_the_verdict(array, verdict):
    found = judge(array)
    assert found.verdict == verdict
    assert bool(found.reasons) == (verdict != "healthy"), "whoever is told that something is wrong is told why"


@pytest.mark.parametrize(
    "member, reason",
    [
        (Member("sda", "active", 0, errors=3), "sda has had 3 read errors"),
        (Member("sda", "active", 0, bad_blocks=1), "sda has 1 ranges of bad blocks"),
        (Member("sda", "active", 0, flags=("in_sync", "want_replacement")), "marked want_replacement"),
    ],
)
def test_a_member_that_begins_to_fail_is_named(member, reason):
    verdict = judge(Array("md1", "sysfs", level="raid1", state="clean", raid_disks=1, members=(member,)))
    assert verdict.verdict == "warning" and reason in verdict.reasons[0]


def test_a_broken_cache_says_what_only_seems_to_work():
    members = (Member("nvme1n1", "active", 0), Member("nvme0n1", "gone", 1))
    array = Array("md127", "sysfs", level="raid0", state="broken", raid_disks=2, members=members, mounts=(Mount("/raid", "ext4", "rw"),))
    assert judge(array).reasons == (
        "It has lost slot 1 (nvme0n1), more than raid0 survives: data is missing. What is mounted at /raid only seems to work. Unmount and stop it. "
        "If the drive comes back unharmed, assemble the array again; otherwise replace the drive and create the array anew.",
    )


def test_sizes_are_told_as_drives_and_as_programs_count_them():
    told = array_to_dict(Array("md1", "sysfs", size_bytes=8 * 3840755982336))
    assert (told["size_gb"], told["size_gib"]) == (30726.05, 28615.86)
