# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a head node is advised to do by the size of its cluster, and what can be told of its drives and power supplies."""
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.head_node import advise, judge_power, power_supplies
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.head_node_host import read_mirror, read_power
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs


def here(advice):
    return sorted(name for name, service in advice.services.items() if service.here)


@pytest.mark.parametrize(("cluster", "size", "services"), [
    ({"nodes": 2}, "small", ["login", "monitoring", "nfs", "scheduler"]),
    ({"nodes": 4, "infiniband": True}, "small", ["login", "monitoring", "nfs", "scheduler", "subnet_manager"]),
    ({"nodes": 4, "storage": True}, "small", ["login", "monitoring", "scheduler"]),
    ({"nodes": 9, "infiniband": True, "hardware_manager": True}, "medium", ["login", "monitoring", "scheduler", "subnet_manager"]),
    ({"nodes": 140, "infiniband": True, "login_nodes": 2, "storage": True}, "large", ["monitoring", "scheduler", "subnet_manager"]),
    ({"nodes": 0}, "small", ["login", "monitoring", "nfs", "scheduler"]),
])
def test_the_advice_of_chapter_10_by_size(cluster, size, services):
    advice = advise(cluster)
    assert (advice.size, here(advice)) == (size, services)


def test_what_else_the_document_says_of_such_a_cluster():
    assert "Nothing takes over" in advise({"nodes": 4, "infiniband": True}).remarks[0]
    assert not any("Nothing takes over" in remark for remark in advise({"nodes": 4, "infiniband": True, "hardware_manager": True}).remarks)
    assert "Let the login nodes run subnet managers" in advise({"nodes": 40, "infiniband": True, "login_nodes": 1}).remarks[0]
    assert "one or more login nodes are advised" in advise({"nodes": 4, "users": 50}).services["login"].why
    assert advise({"nodes": 40, "login_nodes": 2}).services["login"].why == "People log in to 2 other machines."
    assert "dedicated storage system" in advise({"nodes": 5}).services["nfs"].why


def test_who_decides_otherwise_is_told_the_advice():
    advice = advise({"nodes": 40}, {"nfs": True, "login": "no", "monitoring": "auto"})
    assert here(advice) == ["monitoring", "nfs", "scheduler"]
    assert "The advice is otherwise: For 40 systems a dedicated storage" in advice.services["nfs"].why


@pytest.mark.parametrize(("cluster", "chosen", "said"), [
    (["x"], None, "The cluster is ['x'], but a dictionary"), ({"nodes": -1}, None, "nodes of the cluster is -1, but a number"),
    ({"nodes": True}, None, "nodes of the cluster is True"), ({"gpus": 1}, None, "'gpus' is not known of a cluster. There are nodes, users"),
    ({"storage": "maybe"}, None, "storage is 'maybe', but true or false"), ({}, {"web": True}, "'web' is not a service of a head node"),
    ({}, ["nfs"], "The chosen services are ['nfs']"), ({}, {"nfs": "perhaps"}, "nfs is 'perhaps'"),
])
def test_slips_are_answered_in_words(cluster, chosen, said):
    with pytest.raises(FleetError) as refused:
        advise(cluster, chosen)
    assert said in refused.value.message


# The forms of ipmitool's sdr list: of a machine with two supplies (DGX-1 has four), of one that lost its mains, of a Dell with a summary of redundancy.
TWO = """PSU0 Status      | C8h | ok  | 10.1 | Presence detected
PSU1 Status      | C9h | ok  | 10.2 | Presence detected
PSU0 Pin         | C1h | ok  | 10.1 | 350 Watts
"""
LOST = TWO.replace("10.2 | Presence detected", "10.2 | Presence detected, Power Supply AC lost")
DELL = """Status           | 85h | ok  | 10.1 | Presence detected
Status           | 86h | ok  | 10.2 | Presence detected, Failure detected
PS Redundancy    | 77h | ok  |  7.1 | Redundancy Lost
"""
EMPTY_BAY = TWO.replace("C9h | ok  | 10.2 | Presence detected", "C9h | ns  | 10.2 | No Reading")


@pytest.mark.parametrize(("text", "survives", "said"), [
    (TWO, True, "2 power supplies are good: PSU0 Status, PSU1 Status."),
    (LOST, False, "1 power supply is good: PSU0 Status. Not good: PSU1 Status (Presence detected, Power Supply AC lost)."),
    (DELL, False, "1 power supply is good: Status. Not good: Status (Presence detected, Failure detected)."),
    (EMPTY_BAY, False, "1 power supply is good: PSU0 Status. Not good: PSU1 Status (No Reading)."),
    ("", None, "The management controller tells of no power supply."),
])
def test_whether_one_power_supply_may_fail(text, survives, said):
    assert judge_power(power_supplies(text)) == (survives, said)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("PSU 1|ok\nnsPresence detected,fail"), max_size=200))
def test_no_text_of_ipmitool_is_a_traceback(text):
    judge_power(power_supplies(text))


def machine(tmp_path, mountinfo, tree):
    """A tree with devices: name -> (below it, files); a name with a slash is a partition below its drive."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(mountinfo)
    (tmp_path / "sys/class/block").mkdir(parents=True)
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    for number, (path, (below, files)) in enumerate(sorted(tree.items())):
        place = tmp_path / "sys/devices" / path
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(text)
        (place / "slaves").mkdir(exist_ok=True)
        for name in below:
            (place / "slaves" / name).write_text("")
        if "/" in path:
            (place / "partition").write_text("1")
        os.symlink(str(place), str(tmp_path / "sys/class/block" / place.name))
        os.symlink(str(place), str(tmp_path / "sys/dev/block/9:{0}".format(number)))
    return Sysfs(str(tmp_path))


ROOT = "22 1 9:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
RAID1 = {"md/level": "raid1\n", "md/degraded": "0\n", "md/array_state": "clean\n", "md/raid_disks": "2\n"}
DRIVE = ((), {"device/model": "SAMSUNG MZ7LM\n"})


@pytest.mark.parametrize(("tree", "survives", "said"), [
    ({"a-md0": (("sda1", "sdb1"), RAID1), "sda": DRIVE, "sda/sda1": ((), {})}, True, "/ is on a-md0 (raid1, clean)."),
    ({"a-md0": (("sda1",), dict(RAID1, **{"md/degraded": "1\n"}))}, False, "which has lost 1 of its 2 members. Replace the drive."),
    ({"a-dm0": (("md0",), {}), "md0": (("sda", "sdb"), RAID1)}, True, "/ is on md0 (raid1, clean)."),
    ({"a-dm0": (("md0", "sdc"), {}), "md0": (("sda", "sdb"), RAID1), "sdc": DRIVE}, False, "/ is on one drive, sdc (SAMSUNG MZ7LM). If it fails"),
    ({"a/a1": ((), {}), "a": DRIVE}, False, "/ is on one drive, a (SAMSUNG MZ7LM)"),
    ({"a-raid0": (("sda",), {"md/level": "raid0\n"}), "sda": DRIVE}, False, "/ is on one drive, sda"),
    ({"a": ((), {"device/vendor": "AVAGO\n", "device/model": "MR9361-8i\n"})}, None, "which a controller makes up of other drives. Ask its tool"),
    ({"a-dm0": (("vda",), {}), "vda": ((), {})}, None, "a drive that somebody else lends this machine"),
    ({"a-loop": (("a-loop",), {})}, None, "lies deeper below / than this was made for"),
    ({}, None, "/ is not on a drive that Linux shows (/dev/root)."),
])
def test_whether_the_drive_under_the_system_may_fail(tmp_path, tree, survives, said):
    mirror = read_mirror(machine(tmp_path, ROOT, {path: (below, files) for path, (below, files) in tree.items()}))
    assert mirror.survives is survives and said in mirror.said


def test_a_container_or_btrfs_has_no_device_number_of_its_own(tmp_path):
    sysfs = machine(tmp_path, ROOT + "30 1 0:50 / / rw - overlay overlay rw\n", {"a": DRIVE})
    assert read_mirror(sysfs).said == "/ is not on a drive that Linux shows (overlay)."
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/a").write_text("")
    (tmp_path / "proc/self/mountinfo").write_text("30 1 0:50 / / rw - btrfs /dev/a rw\n")
    assert "one drive, a " in read_mirror(sysfs).said
    (tmp_path / "proc/self/mountinfo").write_text("nonsense\n")
    assert read_mirror(sysfs).survives is None


ASK = ("ipmitool", "sdr", "type", "Power Supply")


def test_power_supplies_are_read_where_there_is_somebody_to_ask(tmp_path):
    sysfs = Sysfs(str(tmp_path))
    assert read_power(sysfs, Recorded({})).survives is None
    assert "There is no management controller that Linux can ask" in read_power(sysfs, Recorded({})).said
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ipmi0").write_text("")
    assert "The program ipmitool is not installed" in read_power(sysfs, Recorded({})).said
    assert "could not ask the management controller: Get failed" in read_power(sysfs, Recorded({ASK: Result(1, "", "Get failed\n")})).said
    assert read_power(sysfs, Recorded({ASK: Result(0, TWO, "")})).survives
