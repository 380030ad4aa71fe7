# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a cluster, as Slurm would read them."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm, slurm_conf, slurm_files
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import Gpu, SlurmNode
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

BIG = SlurmNode(96, 2, 24, 2, 1545216, tuple(Gpu(minor, "v100", "0-23" if minor < 8 else "24-47") for minor in range(16))).to_dict()
NODES = {"dgx01": BIG, "dgx02": BIG, "dgx10": dict(BIG, real_memory_mib=10240, gpus=[])}
GROUPS = {"dgx": ["dgx01.example.com", "dgx02", "dgx10"], "v100": ["dgx01.example.com", "dgx02"], "new": ["dgx11"]}
WANTED = {"version": "22.05.8", "cluster": "dgx", "controller": "slurm01", "database": "slurm01", "partitions": [{"name": "dgx"}], "health_interval": 300}


def made(**more):
    return slurm_files.files(NODES, dict(WANTED, **more), GROUPS)


def conf(**more):
    return slurm_conf.parse(made(**more)["slurm.conf"])


@pytest.mark.parametrize("mode", slurm.MODES)
@pytest.mark.parametrize("cgroup", [1, 2])
@pytest.mark.parametrize("version", ["22.05.8", "23.11.4-1.2ubuntu5", "24.05", "25.11"])
def test_all_files_are_there_for_each_version_and_mode(version, mode, cgroup):
    files = made(version=version, mode=mode, cgroup=cgroup)
    found = slurm_conf.parse(files["slurm.conf"])
    assert found.settings["slurmctldhost"] == "slurm01" and found.settings["accountingstoragehost"] == "slurm01"
    assert sorted(found.nodes) == ["dgx01", "dgx02", "dgx10"]
    assert (files["gres.conf"] is None) == (mode == "exclusive") == ("OverSubscribe=EXCLUSIVE" in found.partitions["dgx"])
    assert ("CgroupAutomount" in files["cgroup.conf"]) == (cgroup == 1 and slurm.version_of(version) < slurm.Version(23, 11))
    slurm.check_settings(slurm.SLURM_CONF, found.settings, slurm.version_of(version))


def test_a_job_that_asks_for_no_memory_gets_its_share_of_the_smallest_node():
    assert "DefMemPerCPU=106" in conf().partitions["dgx"]
    assert "DefMemPerCPU=16096" in conf(partitions=[{"name": "v100"}]).partitions["v100"]
    assert "DefMemPerCPU" not in conf(partitions=[{"name": "v100", "options": {"DefMemPerGPU": "1000"}}]).partitions["v100"]
    assert "DefMemPerCPU" not in conf(mode="exclusive").partitions["dgx"]


def test_partitions_are_host_lists_from_groups():
    v100 = {"name": "v100", "options": {"MaxTime": "2-0", "State": "DRAIN"}}
    found = conf(partitions=[{"name": "all", "groups": ["dgx", "new"], "default": True}, v100]).partitions
    assert found["all"].startswith("Nodes=dgx[01-02,10] Default=YES State=UP ")
    assert found["v100"].startswith("Nodes=dgx[01-02] Default=NO ") and found["v100"].endswith(" MaxTime=2-0 State=DRAIN") and "State=UP" not in found["v100"]


def test_a_partition_whose_hosts_were_never_seen_has_none_yet():
    assert conf(partitions=[{"name": "new"}]).partitions["new"].startswith('Nodes="" Default=YES')


def test_nodes_that_no_partition_has_are_told():
    assert made(partitions=[{"name": "v100"}])["warnings"][-1] == "No partition has dgx10, so no job begins there."
    assert not any("No partition" in warning for warning in made()["warnings"])


def test_the_users_settings_win():
    found = conf(slurm_conf={"returntoservice": 0, "PrologFlags": "Contain,X11", "SlurmctldDebug": "debug"}).settings
    assert found["returntoservice"] == "0" and found["prologflags"] == "Contain,X11" and found["slurmctlddebug"] == "debug"


def test_gpus_are_counted_only_where_there_is_a_database():
    """slurmctld 22.05: "fatal: slurmdbd is required to run with TRES gres/gpu"."""
    assert conf().settings["accountingstoragetres"] == "gres/gpu"
    with pytest.raises(FleetError, match="AccountingStorageTRES=gres/gpu,gres/nic needs accounting with a database"):
        made(database="", slurm_conf={"accountingstoragetres": "gres/gpu,gres/nic"})


def test_a_host_that_is_no_node_gets_a_file_for_any_version():
    for none in (0, "0", ""):  # a text, from older ansible-core
        assert "CgroupAutomount" in made(version="21.08", cgroup=none)["cgroup.conf"]
        assert "CgroupAutomount" not in made(cgroup=none)["cgroup.conf"]


def test_without_accounting_and_hooks_nothing_speaks_of_them():
    files = made(database="", hooks=False)
    assert files["slurmdbd.conf"] is None
    settings = slurm_conf.parse(files["slurm.conf"]).settings
    assert not {"accountingstoragehost", "accountingstoragetres", "prolog", "epilog", "healthcheckprogram"} & set(settings)
    assert "healthcheckprogram" not in conf(health_interval=0).settings


def test_there_is_no_password():
    assert "StoragePass" not in made()["slurmdbd.conf"] and "StorageUser=slurm\n" in made()["slurmdbd.conf"]


def test_the_files_depend_on_no_order():
    assert slurm_files.files(dict(reversed(list(NODES.items()))), WANTED, {name: hosts[::-1] for name, hosts in GROUPS.items()}) == made()


@pytest.mark.parametrize(("more", "said"), [
    ({"version": ""}, "slurm01 has no Slurm.*slurm_gpu_version"),
    ({"version": "19.05.5"}, "too old"),
    ({"cluster": "DGX"}, "lower case"),
    ({"cluster": "dgx\nSlurmUser=root"}, "lower case"),
    ({"controller": ""}, "slurm_gpu_controller_group"),
    ({"mode": "shared"}, "exclusive and per_gpu"),
    ({"partitions": [{"groups": ["dgx"]}]}, "a name of its own"),
    ({"partitions": [{"name": "dgx"}, {"name": "dgx"}]}, "a name of its own"),
    ({"partitions": ["dgx"]}, "a name of its own"),
    ({"partitions": [{"name": "a b", "groups": ["dgx"]}]}, "a name of its own"),
    ({"partitions": [{"name": "a100"}]}, "the group a100, which is not in the inventory. It has: dgx, new, v100"),
    ({"partitions": [{"name": "dgx", "default": True}, {"name": "v100", "default": True}]}, "Several partitions are the default: dgx, v100"),
    ({"partitions": [{"name": "dgx", "options": {"Nodes": "ALL"}}]}, "cannot be in its line"),
    ({"partitions": [{"name": "dgx", "options": {"MaxTime": "1\nSlurmUser=root"}}]}, "cannot be in its line"),
    ({"partitions": "dgx"}, "a list is expected"),
    ({"partitions": [{"name": "dgx", "groups": "v100"}]}, "groups is expected to be a list of names"),
    ({"partitions": [{"name": "dgx", "groups": [[1]]}]}, "groups is expected to be a list of names"),
    ({"partitions": [{"name": "dgx", "options": ["MaxTime"]}]}, "options a dictionary"),
    ({"health_interval": [300]}, "a number of seconds is expected"),
    ({"slurm_conf": {"MailProg": "/bin/mail # ours"}}, "cannot be a line of slurm.conf"),
    ({"slurm_conf": {"SlurmctldHost": "other"}}, "made by the role itself"),
    ({"slurm_conf": {"NodeName": "x"}}, "made by the role itself"),
    ({"cgroup_conf": {"CgroupReleaseAgentDir": "/x"}}, "is gone since Slurm 22.05"),
    ({"memory_cgroup": False}, "cgroup_enable=memory swapaccount=1"),
])
def test_what_cannot_be_is_refused_with_a_reason(more, said):
    with pytest.raises(FleetError, match=said):
        made(**more)


def test_where_memory_is_not_limited_no_control_group_is_needed():
    assert made(memory_cgroup=False, cgroup_conf={"ConstrainRAMSpace": False})


def test_a_controller_that_knows_no_node_yet_asks_for_one():
    """The first run with --limit to the controller, or one in which all nodes failed."""
    with pytest.raises(FleetError, match="No node was ever described: none is known to the controller slurm01.*Run it with a node or more"):
        slurm_files.files({}, WANTED, GROUPS)


@pytest.mark.parametrize("groups", [[], {"dgx": "dgx01"}, {"dgx": None}, {"dgx": [5]}, {5: ["dgx01"]}])
def test_groups_that_are_none_are_refused(groups):
    with pytest.raises(FleetError, match="the inventory's groups"):
        slurm_files.files(NODES, WANTED, groups)


@pytest.mark.parametrize("hosts", [None, {"dgx01": {"node": "x"}}, {"dgx01": 1}])
def test_descriptions_that_are_none_are_refused(hosts):
    with pytest.raises(FleetError):
        slurm_files.files(hosts, WANTED, GROUPS)
