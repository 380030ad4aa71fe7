# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which drives guests get, what that takes, and what is refused."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import Uses
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover import Guest, Record
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover_change import decide
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.partitioning import Share, Table, partition_uuid, plan

from .lab_handover import CONF, FSTAB, SIZE, UUID, array, drive, guest, holding, host, stopped, wish, without

MEMBERS = ["S1", "S2", "S3"]


def programs(change):
    return [" ".join(step.argv[:2]) for step in change.first + change.steps if step.argv]


def test_a_blank_nvme_drive_goes_to_a_guest_as_it_is():
    change = decide(wish(guest(nvme=["S4"])), host())
    assert not change and change.told == [], "the host has nothing to do"
    assert change.domains == ({"name": "vm1", "hostdevs": [{"pci": "0000:24:00.0", "managed": True}], "disks": []},)
    assert change.record.given[0].ready and change.record.arrays == ()


@pytest.mark.parametrize("word", ["nvme-M_S4", "S4", "/dev/disk/by-id/nvme-M_S4", "0000:24:00.0", "24:00.0", "nvme4n1-wwid"])
def test_a_drive_is_found_by_any_of_its_names(word):
    assert decide(wish(guest(nvme=[word])), host()).domains[0]["hostdevs"][0]["pci"] == "0000:24:00.0"


def test_an_array_is_unmounted_and_stopped_and_kept_from_coming_back():
    change = decide(wish(guest(nvme=MEMBERS), arrays=["md1"], wipe=MEMBERS), host())
    assert [step.argv for step in change.first] == [("umount", "/raid"), ("mdadm", "--stop", "/dev/md1")]
    assert change.conf[1] == CONF.replace("ARRAY /dev/md1 metadata=1.2 name=dgx:1 UUID=", "ARRAY <ignore> UUID=")
    assert change.fstab[1].splitlines()[1].endswith(": UUID=fsid  /raid ext4 defaults 0 2") and change.fstab[1].splitlines()[0] == FSTAB.splitlines()[0]
    assert change.initramfs
    one = change.record.arrays[0]
    assert (one.members, one.parts, one.level, one.chunk_bytes, one.fs_uuid) == (("nvme-M_S1", "nvme-M_S2", "nvme-M_S3"), (0, 0, 0), "raid0", 524288, "fsid")
    assert (one.conf, change.record.conf_before, change.record.fstab_before) == (CONF.splitlines(True)[1], CONF, FSTAB)


@pytest.mark.parametrize("name", ["md1", "/dev/md1", "/dev/md/1", "1", "dgx:1", UUID])
def test_the_array_may_be_named_in_any_way(name):
    assert decide(wish(guest(nvme=["S1"]), arrays=[name], wipe=["S1"]), host()).first


def test_all_are_those_that_hold_no_system_and_are_not_named_elsewhere():
    asked = wish(guest(nvme=["all"]), guest("vm2", drives=[{"drive": "S5", "filesystem": "none"}]), arrays=["md1"], wipe=MEMBERS + ["S6"])
    hostdevs = decide(asked, host()).domains[0]["hostdevs"]
    assert [entry["pci"] for entry in hostdevs] == ["0000:21:00.0", "0000:22:00.0", "0000:23:00.0", "0000:24:00.0", "0000:26:00.0"]


def test_a_whole_drive_gets_a_partition_with_ext4_and_goes_as_a_disk():
    change = decide(wish(guest(drives=[{"drive": "S4"}])), host())
    assert programs(change) == ["sfdisk --quiet", "udevadm settle", "mkfs.ext4 -q"]
    assert change.steps[-1].argv[-1] == "/dev/nvme4n1p1"
    disk = change.domains[0]["disks"][0]
    assert disk == {
        "target": "vdb", "type": "block", "source": "/dev/disk/by-id/nvme-M_S4", "bus": "virtio", "driver": {"type": "raw", "cache": "none", "io": "native"}
    }  # fmt: skip


def test_a_drive_with_content_is_cleared_first_if_that_was_consented_to():
    change = decide(wish(guest(drives=[{"drive": "S6", "filesystem": "xfs"}]), wipe=["nvme-M_S6"]), host())
    assert programs(change) == ["wipefs --quiet", "udevadm settle", "sfdisk --quiet", "udevadm settle", "mkfs.xfs -q"]


def test_a_drive_as_it_is_is_not_written_to():
    assert not decide(wish(guest(drives=[{"drive": "S6", "filesystem": "none"}]), wipe=["S6"]), host())


def test_a_drive_is_divided_among_guests_who_find_their_part_by_its_uuid():
    asked = wish(guest(partitions=[{"drive": "S4", "size": "100GiB"}]), guest("vm2", partitions=[{"drive": "S4"}, {"drive": "nvme-M_S4", "target": "vdx"}]))
    change = decide(asked, host())
    assert programs(change) == ["sfdisk --quiet", "udevadm settle"] and change.steps[0].text_in.count("start=") == 3
    sources = [disk["source"].rpartition("/")[2] for domain in change.domains for disk in domain["disks"]]
    assert sources == [partition_uuid("nvme-M_S4", name, number) for name, number in (("vm1", 1), ("vm2", 1), ("vm2", 2))]
    assert [disk["target"] for disk in change.domains[1]["disks"]] == ["vdb", "vdx"]


def test_disks_get_targets_that_nobody_has_or_asked_for():
    asked = wish(guest(drives=[{"drive": "S4"}, {"drive": "S5"}], partitions=[{"drive": "S6", "target": "vdc"}]), wipe=["S6"])
    found = host(guests={"vm1": Guest("vm1", disks={"vda": "/os.img", "vdb": "/data.img"})})
    assert [disk["target"] for disk in decide(asked, found).domains[0]["disks"]] == ["vdd", "vde", "vdc"]


def test_a_second_run_changes_nothing_and_does_not_look_at_drives_that_are_a_guests():
    asked = wish(guest(nvme=["S1"], partitions=[{"drive": "S4"}]), guest("vm2", drives=[{"drive": "S6"}]), arrays=["md1"], wipe=["S1", "S6"])
    first = decide(asked, host())
    table = plan("nvme-M_S4", SIZE, 512, [Share("vm1", 1)])
    guests = {"vm1": Guest("vm1", True, frozenset(["0000:21:00.0"]), {"vdb": first.domains[0]["disks"][0]["source"]}),
              "vm2": Guest("vm2", False, frozenset(), {"vdb": "/dev/disk/by-id/nvme-M_S6"})}  # fmt: skip
    now = without(stopped(host()), 1)._replace(
        record=first.record, guests=guests, conf=first.conf[1], fstab=first.fstab[1], tables={"nvme4n1": table}, contents={"nvme6n1": holding(6, "ext4")}
    )
    again = decide(asked, now)
    assert not again and again.record == first.record and again.domains == first.domains


def test_a_run_that_was_cut_short_is_completed():
    asked = wish(guest(nvme=["S1"]), guest("vm2", drives=[{"drive": "S2"}]), arrays=["md1"], wipe=["S1", "S2"])
    first = decide(asked, host())
    begun = first.record._replace(given=tuple(one._replace(ready=False) for one in first.record.given), initramfs=True)
    later = decide(asked, stopped(host())._replace(record=begun))
    assert later.first == () and later.conf == first.conf and later.fstab == first.fstab and later.initramfs
    assert programs(later)[-1] == "mkfs.ext4 -q" and later.record == first.record
    # The table is there, and so is the file system: only the files are left to be done.
    table = plan("nvme-M_S2", SIZE, 512, [Share("vm2", 1)])
    part = holding(2, "gpt")
    part = part._replace(signatures=part.signatures + (part.signatures[0]._replace(type="ext4", device="nvme2n1p1"),))
    contents = dict(host().contents, nvme2n1=part)
    last = decide(asked, stopped(host())._replace(record=begun, tables={"nvme2n1": table}, contents=contents))
    assert programs(last) == ["systemctl daemon-reload"]


def test_a_file_system_is_not_made_on_what_a_guest_was_given_even_if_nothing_is_recognized_there():
    asked = wish(guest(partitions=[{"drive": "S4", "filesystem": "ext4"}]))
    first = decide(asked, host())
    table = plan("nvme-M_S4", SIZE, 512, [Share("vm1", 1)])
    assert not decide(asked, host(record=first.record, tables={"nvme4n1": table}))


def test_what_is_not_named_any_more_is_taken_away_while_the_others_keep_theirs():
    first = decide(wish(guest(nvme=["S4"], drives=[{"drive": "S5", "filesystem": "none"}]), guest("vm2", partitions=[{"drive": "S6"}]), wipe=["S6"]), host())
    vm1 = Guest("vm1", False, frozenset(["0000:24:00.0"]), {"vdb": "/dev/disk/by-id/nvme-M_S5"})
    vm2 = Guest("vm2", False, frozenset(), {"vdb": first.domains[1]["disks"][0]["source"]})
    now = host(record=first.record, guests={"vm1": vm1, "vm2": vm2})
    change = decide(wish(guest(drives=[{"drive": "S5", "filesystem": "none"}])), now)
    assert change.domains[0]["hostdevs"] == [{"pci": "0000:24:00.0", "state": "absent"}] and len(change.domains[0]["disks"]) == 1
    assert change.domains[1] == {"name": "vm2", "hostdevs": [], "disks": [{"target": "vdb", "state": "absent"}]}
    gone = decide(wish(guest(drives=[{"drive": "S5", "filesystem": "none"}])), now._replace(guests={"vm1": vm1._replace(hostdevs=frozenset())}))
    assert [one.drive for one in gone.record.given] == ["nvme-M_S5"], "what was taken away, or whose guest is gone, is forgotten"


def test_a_host_without_mdadm_conf_and_fstab_gets_a_file_that_ignores_the_array():
    change = decide(wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]), host(conf=None, fstab=None))
    assert change.conf == (None, "ARRAY <ignore> UUID=%s\n" % UUID) and change.fstab == (None, None)


def held(**more):
    return dict({"uses": dict(host().uses, nvme4n1=Uses((more.pop("told"),), tuple(more.pop("arrays", ())), more.pop("system", False)))}, **more)


@pytest.mark.parametrize(
    "asked, changes, says",
    [
        (wish(guest(nvme=["S9"])), {}, r"There is no drive S9 on this host\. .* There are: nvme0n1 \(nvme-M_S0\)"),
        (wish(guest(nvme=["/dev/nvme4n1"])), {}, r"/dev/nvme4n1 may be another drive after the next boot.* Name it by its id: nvme-M_S4"),
        (wish(guest(drives=[{"drive": "nvme4n1"}])), {}, r"Name it by its id: nvme-M_S4"),
        (wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]),
         {"uses": dict(host().uses, nvme1n1=Uses(("is mounted at /raid", "is mounted at /other"), ("md1",)))}, r"nvme1n1 \(serial S1\) is mounted at /other\."),
        (wish(guest(nvme=["S4"])), {"guests": {"vm1": Guest("vm1", True, persistent=False)}}, r"Guest vm1 is transient"),
        (wish(guest(nvme=["00:99.0"])), {}, r"There is no NVMe device at 0000:00:99\.0\. There are: 0000:20:00\.0"),
        (wish(guest(nvme=["S0"]), wipe=["S0"]), {}, r"/dev/nvme0n1 \(serial S0\) is mounted at / and holds the operating system\. Nothing consents to that"),
        (wish(guest(nvme=["S6"])), {}, r"holds a file system \(xfs\)\. Guest vm1 could overwrite that\. .* add its id nvme-M_S6 to wipe"),
        (wish(guest(drives=[{"drive": "S6"}])), {}, r"holds a file system \(xfs\)\. That would be lost\."),
        (wish(guest(nvme=["S6"]), wipe=["S5"]), {}, r"add its id nvme-M_S6 to wipe"),
        (wish(guest(nvme=["S1"])), {}, r"array md1 .* mounted at /raid, and nobody uses it\. .*All together: arrays: \[md1\]; wipe: \[nvme-M_S1\]"),
        (wish(guest(nvme=["S1"]), arrays=["md1"]), {}, r"holds the superblock of the md array dgx:1 \(UUID 10a6"),
        (wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]), {"users": {"md1": ("fio (process 77)",)}}, r"is used by fio \(process 77\)"),
        (wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]),
         {"array_uses": {"md1": Uses(("is mounted at /raid", "is held by the LVM volume data-x (dm-0)"), ("md1",))}}, r"is held by the LVM volume"),
        (wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]), {"array_uses": {"md1": Uses(("is mounted at /",), ("md1",), True)}}, r"the operating system"),
        (wish(guest(nvme=["S1"]), arrays=["md1"], wipe=["S1"]), {"arrays": (array(metadata="external:/md127/0"),)}, r"is firmware RAID"),
        (wish(guest(nvme=["S4"]), wipe=["S4"]), held(told="is mounted at /data"), r"/dev/nvme4n1 \(serial S4\) is mounted at /data\. End that use first"),
        (wish(guest(drives=[{"drive": "S4"}]), wipe=["S4"]), held(told="can only be read"), r"can only be read"),
        (wish(guest(nvme=["S4"]), guest("vm2", nvme=["nvme-M_S4"])), {}, r"is to go to guest vm1 \(nvme\) and to guest vm2 \(nvme\)"),
        (wish(guest(nvme=["S4"], partitions=[{"drive": "S4"}])), {}, r"is to go to guest vm1 \(nvme\) and to guest vm1 \(partition\)"),
        (wish(guest(drives=[{"drive": "S4"}]), guest("vm2", partitions=[{"drive": "S4"}])), {}, r"A drive goes to one guest as a whole, or to several"),
        (wish(guest("vm9", nvme=["S4"])), {}, r"There is no guest vm9\. libvirt has: vm1, vm2"),
        (wish(guest(nvme=["S4"]), when_running="refuse"), {}, r"Guest vm1 is running, and its drives have to change"),
        (wish(guest(nvme=["S4"])), {"guests": {"vm1": Guest("vm1"), "vm2": Guest("vm2", hostdevs=frozenset(["0000:24:00.0"]))}}, r"but guest vm2 has it"),
        (wish(guest(nvme=["S4"])), {"guests": {"vm1": Guest("vm1"), "vm2": Guest("vm2", True, held=frozenset(["0000:24:00.0"]))}}, r"is shut down"),
        (wish(guest(nvme=["S4"])), {"guests": {"vm1": Guest("vm1"), "vm2": Guest("vm2", disks={"vda": "/dev/x"})}, "real": {"/dev/x": "nvme4n1p2"}},
         r"guest vm2 has it \(/dev/x as vda\)"),
        (wish(guest(drives=[{"drive": "S4", "target": "vdb"}])), {"guests": {"vm1": Guest("vm1", disks={"vdb": "/img"})}}, r"has another disk at vdb: /img"),
        (wish(guest(drives=[{"drive": "S4", "target": "vdb"}])), {"guests": {"vm1": Guest("vm1", disks={"vdc": "/dev/disk/by-id/nvme-M_S4"})}}, r"as vdc"),
        (wish(guest(partitions=[{"drive": "S4", "size": "2TiB"}])), {}, r"do not fit"),
        (wish(guest(nvme=["all"])), {"root_is_on_one": False}, r"on none of this host's drives"),
        (wish(guest(partitions=[{"drive": "S4", "size": "1GiB"}])), {"tables": {"nvme4n1": plan("nvme-M_S4", SIZE, 512, [Share("vm1", 1)])}}, r"is divided"),
        (wish(guest(partitions=[{"drive": "S4"}])), {"tables": {"nvme4n1": plan("nvme-M_S4", SIZE, 512, [Share("vm2", 1)])}}, r"has no part for guest vm1"),
    ],
)  # fmt: skip
def test_what_may_not_be_is_refused_with_the_reason_and_the_remedy(asked, changes, says):
    with pytest.raises(FleetError, match=says):
        decide(asked, host(**changes))


def test_an_nvme_drive_goes_with_all_its_name_spaces_and_each_consents_for_itself():
    second = drive(4)._replace(device="nvme4n2", id="nvme-M_S4_2")
    own = ("nvme-M_S4_2", "S4", "nvme4n2-wwid")
    other = holding(4, "xfs")._replace(drive=second, names=own)
    found = host()
    found = found._replace(
        drives=found.drives + (second,), names=dict(found.names, nvme4n2=own), uses=dict(found.uses, nvme4n2=Uses()),
        contents=dict(found.contents, nvme4n2=other._replace(names=("nvme-M_S4_2", "nvme4n2-wwid"))))
    for wipe in ([], ["nvme-M_S4"], ["S4"]):
        with pytest.raises(FleetError, match="/dev/nvme4n2 .* holds a file system .* add its id nvme-M_S4_2 to wipe"):
            decide(wish(guest(nvme=["nvme-M_S4"]), wipe=wipe), found)
    assert decide(wish(guest(nvme=["nvme-M_S4"]), wipe=["nvme-M_S4_2"]), found).domains
    unseen = found._replace(contents={device: one for device, one in found.contents.items() if device != "nvme4n2"})
    with pytest.raises(FleetError, match="/dev/nvme4n2 .* was not looked at"):
        decide(wish(guest(nvme=["nvme-M_S4"]), wipe=["nvme-M_S4_2"]), unseen)


def test_a_drive_that_is_divided_among_guests_does_not_go_to_another_as_a_whole_unasked():
    """The partitions stay when they are taken back without consent, with all that the guests have on them."""
    found = host(tables={"nvme4n1": plan("nvme-M_S4", SIZE, 512, [Share("vm1", 1)])})
    found = found._replace(contents=dict(found.contents, nvme4n1=holding(4, "gpt", partitions=("nvme4n1p1",))))
    asked = guest("vm2", drives=[{"drive": "S4", "filesystem": "none"}])
    with pytest.raises(FleetError, match="holds a GPT partition table. Guest vm2 could overwrite that"):
        decide(wish(asked), found)
    assert not decide(wish(asked, wipe=["S4"]), found).steps
    both = {"nvme4n1": plan("nvme-M_S4", SIZE, 512, [Share("vm1", 1), Share("vm2", 1)])}
    with pytest.raises(FleetError, match="holds a GPT partition table"):
        decide(wish(guest("vm2", drives=[{"drive": "S4"}])), found._replace(tables=both))
    assert decide(wish(guest(drives=[{"drive": "S4"}])), found).domains, "it was vm1's alone, and comes back to it with all that is on it"


def test_a_drive_that_a_program_writes_to_is_refused_but_not_for_its_own_guest():
    used = Uses(("is open for writing by qemu-system-x86 (process 7)",))
    found = host()
    found = found._replace(contents=dict(found.contents, nvme4n1=holding(4, uses=used)))
    asked = wish(guest(drives=[{"drive": "S4", "filesystem": "none"}]), wipe=["S4"])
    with pytest.raises(FleetError, match="is open for writing by qemu-system-x86"):
        decide(asked, found)
    has = {"vm1": Guest("vm1", True, disks={"vdb": "/dev/disk/by-id/nvme-M_S4"})}
    assert not decide(asked, found._replace(guests=has)).steps
    with pytest.raises(FleetError, match="is open for writing by qemu-system-x86"):
        decide(wish(guest(drives=[{"drive": "S4"}]), wipe=["S4"]), found._replace(guests=has))


def test_an_iommu_group_goes_to_one_guest_as_a_whole():
    functions = dict(host().functions)
    functions[drive(5).pci] = functions[drive(5).pci]._replace(group="4")
    with pytest.raises(FleetError, match=r"is in IOMMU group 4 with 0000:25:00\.0"):
        decide(wish(guest(nvme=["S4"])), host(functions=functions))
    with pytest.raises(FleetError, match="is in IOMMU group 4"):
        decide(wish(guest(nvme=["S4"]), guest("vm2", nvme=["S5"])), host(functions=functions))
    assert decide(wish(guest(nvme=["S4", "S5"])), host(functions=functions)).domains


def test_a_device_that_nobody_knows_and_vfio_holds_is_refused_since_it_cannot_be_looked_at():
    with pytest.raises(FleetError, match=r"virsh nodedev-reattach pci_0000_24_00_0"):
        decide(wish(guest(nvme=["0000:24:00.0"])), without(host(), 4))


def test_a_drive_that_a_guest_has_and_the_host_mounted_meanwhile_is_reported():
    first = decide(wish(guest(drives=[{"drive": "S4"}])), host())
    uses = dict(host().uses, nvme4n1=Uses(("is mounted at /mnt",)))
    with pytest.raises(FleetError, match="is mounted at /mnt"):
        decide(wish(guest(drives=[{"drive": "S4"}])), host(record=first.record, uses=uses))


def test_a_table_that_somebody_changed_behind_a_guest_is_not_repaired():
    asked = wish(guest(partitions=[{"drive": "S4"}]))
    first = decide(asked, host())
    with pytest.raises(FleetError, match="somebody has changed its table"):
        decide(asked, host(record=first.record, tables={"nvme4n1": Table("gpt", "other", ())}))


@pytest.mark.parametrize(
    "guests, more, says",
    [
        ([guest(), guest()], {}, "Guest vm1 is in guests more than once"),
        ([guest(nvme=["all", "S4"])], {}, "beside names of drives"),
        ([guest(nvme=["all"]), guest("vm2", nvme=["all"])], {}, "Only one guest can have nvme: all, but vm1 and vm2"),
        ([guest(nvme=[" "])], {}, "an entry without the name of a drive"),
        ([guest(drives=[{"drive": "a", "target": "vdb"}, {"drive": "b", "target": "vdb"}])], {}, "two disks with the same target"),
        ([guest(drives=[{"drive": "a", "target": "disk1"}])], {}, "'disk1' is not the name of a disk such as vdb"),
        ([guest(partitions=[{"drive": "a", "size": "much"}])], {}, "The size of a partition for guest vm1 is 'much'"),
        ([], {"wipe": [""]}, "wipe has an empty entry"),
        ([], {"arrays": [" "]}, "arrays has an empty entry"),
        ([], {"wipe": ["/dev/nvme3n1"]}, "may be another drive after the next boot"),
    ],
)
def test_nonsense_is_refused_in_words(guests, more, says):
    with pytest.raises(FleetError, match=says):
        wish(*guests, **more)


def test_the_record_comes_back_from_its_file_and_a_damaged_one_says_so():
    asked = wish(guest(nvme=["S1"], partitions=[{"drive": "S4"}]), arrays=["md1"], wipe=["S1"])
    record = decide(asked, host()).record
    assert Record.from_json(record.to_json(), "x") == record
    for text in ("", "{}", "[]", '{"given": [{}], "arrays": [], "tables": []}', record.to_json()[:-20]):
        with pytest.raises(FleetError, match="x is damaged"):
            Record.from_json(text, "x")
