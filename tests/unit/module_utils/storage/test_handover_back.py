# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host gets back what guests had, and what guests left is not lost without consent."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import Uses
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover import Guest, Record
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover_back import decide_back, refuse_held, release
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover_change import decide

from .lab_handover import CONF, FSTAB, UUID, array, guest, holding, host, stopped, wish, without

MEMBERS = ["S1", "S2", "S3"]


def handed_over(**changes):
    """The host after md1's drives went to vm1 and came back untouched."""
    first = decide(wish(guest(nvme=MEMBERS), arrays=["md1"], wipe=MEMBERS), host())
    return stopped(host())._replace(**dict({"record": first.record, "conf": first.conf[1], "fstab": first.fstab[1]}, **changes))


def lines(change):
    return [" ".join(step.argv) for step in change.steps + change.last]


def test_an_array_that_guests_left_alone_comes_back_with_all_that_is_on_it():
    change = decide_back([], handed_over(), False)
    assert lines(change) == [
        "mdadm --assemble /dev/md1 --uuid=%s /dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1" % UUID, "systemctl daemon-reload", "mount /raid"
    ]  # fmt: skip
    assert (change.conf[1], change.fstab[1]) == (CONF, FSTAB) and change.initramfs and change.record is None


def test_a_degraded_array_comes_back_degraded():
    first = decide(wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]), host(arrays=(array(level="raid5", raid_disks=4),)))
    change = decide_back([], stopped(host())._replace(record=first.record), False)
    assert lines(change)[0].startswith("mdadm --assemble /dev/md1 --uuid=%s --run /dev/nvme1n1" % UUID)


def test_a_mirror_of_which_a_guest_wrote_over_one_drive_is_rebuilt_from_the_others():
    """The consent for the guest's drive does not make the whole array anew: the other drives have all its data, and nobody gave that up."""
    mirror = host(arrays=(array(level="raid1"),))
    first = decide(wish(guest(drives=[{"drive": "S1"}]), arrays=["md1"], wipe=["S1"]), mirror)
    found = stopped(host())._replace(record=first.record, contents=overwritten(1))
    with pytest.raises(FleetError, match="so the array md1 has to be rebuilt onto it. .* add its id nvme-M_S1 to wipe"):
        decide_back([], found, False)
    told = lines(decide_back(["S1"], found, False))
    assert told[:2] == ["mdadm --assemble /dev/md1 --uuid=%s --run /dev/nvme2n1 /dev/nvme3n1" % UUID, "wipefs --quiet --all /dev/nvme1n1"]
    assert told[3] == "mdadm --manage /dev/md1 --add /dev/nvme1n1" and not [line for line in told if "--create" in line or "mkfs" in line]
    assert [line for line in lines(decide_back(MEMBERS, found, False)) if "--create" in line], "given up by name, drive by drive"
    # A run that ended before the drive was added is completed by the next.
    whole = array(level="raid1")
    cut_short = found._replace(arrays=(whole._replace(members=tuple(member for member in whole.members if member.device != "nvme1n1")),))
    assert lines(decide_back(["S1"], cut_short, False))[:3:2] == ["wipefs --quiet --all /dev/nvme1n1", "mdadm --manage /dev/md1 --add /dev/nvme1n1"]
    with pytest.raises(FleetError, match="so the array md1 has to be rebuilt onto it"):
        decide_back([], cut_short, False)


def test_an_array_of_partitions_that_are_gone_is_left_to_a_person():
    found = handed_over(contents=overwritten(1))
    record = found.record._replace(arrays=(found.record.arrays[0]._replace(parts=(1, 1, 1)),))
    with pytest.raises(FleetError, match="it was made of partitions or not whole, so it is not made anew either"):
        decide_back(MEMBERS, found._replace(record=record), False)


def test_a_mount_that_is_not_in_fstab_is_mounted_as_it_was():
    found = handed_over()
    found = found._replace(fstab="", record=found.record._replace(fstab_before="", fstab_after=""))
    assert lines(decide_back([], found, False))[-1] == "mount -t ext4 -o rw,relatime /dev/md1 /raid"


def test_what_others_changed_in_the_files_meanwhile_stays():
    found = handed_over()
    found = found._replace(conf=found.conf + "PROGRAM /bin/x\n", fstab="# new\n" + found.fstab)
    change = decide_back([], found, False)
    assert (change.conf[1], change.fstab[1]) == (CONF + "PROGRAM /bin/x\n", "# new\n" + FSTAB)


def test_a_file_that_was_not_there_is_not_there_again():
    found = handed_over()
    found = found._replace(record=found.record._replace(conf_before=None))
    assert decide_back([], found, False).conf[1] is None
    assert decide_back([], found._replace(conf=None), False).conf == (None, None), "nor after a run that was cut short"


def overwritten(*numbers):
    return {"nvme%dn1" % number: holding(number, "gpt") if number in numbers else holding(number, "linux_raid_member") for number in (1, 2, 3)}


def test_an_array_that_a_guest_wrote_over_is_kept_as_it_is_until_that_is_given_up():
    found = handed_over(contents=overwritten(1, 2))
    with pytest.raises(FleetError, match=r"nvme1n1 .* holds a GPT partition table, so the array md1 cannot be assembled, only made anew") as refusal:
        decide_back(["nvme-M_S2"], found, False)
    assert [entry["id"] for entry in refusal.value.details["refused"]] == ["nvme-M_S1"]


def test_with_consent_it_is_made_anew_with_its_uuids_its_name_and_its_label():
    change = decide_back(["S1", "nvme-M_S2"], handed_over(contents=overwritten(1, 2)), False)
    told = lines(change)
    assert told[:4] == ["wipefs --quiet --all /dev/nvme1n1", "udevadm settle --timeout=60", "wipefs --quiet --all /dev/nvme2n1", "udevadm settle --timeout=60"]
    assert told[4] == ("mdadm --create /dev/md1 --run --metadata=1.2 --level=raid0 --raid-devices=3 --uuid=%s --name=1 --homehost=dgx --chunk=512 "
                       "/dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1" % UUID)  # fmt: skip
    assert told[5] == "mkfs.ext4 -q -F -U fsid -L data /dev/md1"


def test_a_drive_whose_superblock_is_gone_without_a_trace_needs_consent_too():
    with pytest.raises(FleetError, match="no superblock of the array any more, but maybe what a guest wrote"):
        decide_back([], handed_over(contents=dict(overwritten(), nvme3n1=holding(3))), False)


def test_a_file_system_over_a_superblock_that_is_still_there_is_a_guests():
    with pytest.raises(FleetError, match="cannot be assembled"):
        decide_back([], handed_over(contents=dict(overwritten(), nvme3n1=holding(3, "linux_raid_member", "ext4"))), False)


def test_an_array_with_a_missing_drive_waits_for_it():
    found = handed_over()
    gone = found._replace(drives=tuple(drive for drive in found.drives if drive.device != "nvme2n1"))
    with pytest.raises(FleetError, match=r"The array md1 .* cannot be brought back: 1 of its drives are not there: nvme-M_S2\. Plug them in"):
        decide_back([], gone, False)


def test_a_run_that_was_cut_short_after_the_array_came_back_only_mounts():
    found = handed_over(arrays=(array(mounts=()),))
    assert lines(decide_back([], found, False)) == ["systemctl daemon-reload", "mount /raid"]
    assert lines(decide_back([], found._replace(arrays=(array(),), fstab=FSTAB), False)) == []


def test_pieces_that_udev_put_together_are_stopped_first():
    piece = array(device="md127", state="inactive", mounts=(), uuid="")
    assert lines(decide_back([], handed_over(arrays=(piece,)), False))[0] == "mdadm --stop /dev/md127"


def test_divided_drives_stay_as_guests_left_them_unless_that_is_given_up():
    first = decide(wish(guest(partitions=[{"drive": "S4"}])), host())
    found = host(record=first.record, contents={"nvme4n1": holding(4, "gpt", partitions=("nvme4n1p1",))})
    kept = decide_back([], found, False)
    assert not kept and "keeps the partitions that were made for guests" in kept.warnings[0]
    assert kept.record == Record(tables=("nvme-M_S4",)), "so that a later run with consent can clear it"
    blank = decide_back(["S4"], found._replace(record=kept.record), False)
    assert lines(blank)[0] == "wipefs --quiet --all /dev/nvme4n1" and blank.record is None
    used = holding(4, "gpt", uses=Uses(("is mounted at /mnt",)))
    with pytest.raises(FleetError, match="is mounted at /mnt, so it was not made blank"):
        decide_back(["S4"], found._replace(contents={"nvme4n1": used}), False)


def test_nothing_was_handed_over_so_nothing_comes_back():
    assert not decide_back([], host(), False)


def test_a_device_that_libvirt_did_not_give_back_goes_to_the_hosts_driver():
    found = without(handed_over(), 1)
    steps = release(found)
    assert [(step.path.rpartition("/")[2], step.text_in) for step in steps if step.path] == [
        ("driver_override", "\n"), ("unbind", "0000:21:00.0"), ("drivers_probe", "0000:21:00.0")
    ]  # fmt: skip
    assert release(handed_over()) == [], "libvirt did"
    assert release(found._replace(guests={"x": Guest("x", hostdevs=frozenset(["0000:21:00.0"]))})) == [], "another guest has it"


@pytest.mark.parametrize(
    "running, foreseen, when, says",
    [
        (True, False, "live", "Guest vm1 still has 0000:21:00.0, so the host was not given back yet. Shut it down and run this again"),
        (True, True, "refuse", "Guest vm1 is running and has 0000:21:00.0"),
        (True, True, "next_boot", "still has"),
        (True, True, "live", ""),
        (False, True, "refuse", ""),
        (False, False, "refuse", "still has 0000:21:00.0 in its configuration"),
    ],
)
def test_what_guests_still_have_is_not_taken(running, foreseen, when, says):
    found = handed_over(guests={"vm1": Guest("vm1", running, frozenset(["0000:21:00.0"]))})
    if not says:
        refuse_held(found, foreseen, when)
        return
    with pytest.raises(FleetError, match=says):
        refuse_held(found, foreseen, when)


def test_a_check_foretells_the_way_back_while_guests_still_have_the_drives():
    change = decide_back([], without(handed_over(), 1, 2, 3), True)
    assert change.told == [
        "write /etc/mdadm/mdadm.conf", "write /etc/fstab", "assemble md1", "make the initramfs anew, which has a copy of mdadm.conf",
        "let systemd see /etc/fstab", "mount /raid",
    ]  # fmt: skip
    with pytest.raises(FleetError, match="cannot be assembled"):
        decide_back([], without(handed_over(contents=overwritten(3)), 1), True)
