# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What slurm.conf and cgroup.conf say, version by version."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm, slurm_plan
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm import CGROUP_CONF, EXCLUSIVE, PER_GPU, SLURM_CONF
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import Choices
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm import hosts

RELEASES = ["20.11", "21.08", "22.05", "23.02", "23.11", "24.05", "24.11", "25.05", "25.11", "26.05"]

# The options that the reader of cgroup.conf of each release takes, from Slurm's repository on 2026-11-23: src/common/xcgroup_read_config.c at tag
# slurm-20-11-9-1, src/common/cgroup.c at slurm-21-08-8-2, src/interfaces/cgroup.c at slurm-22-05-8-1, -23-02-8-1, -23-11-11-1, branch slurm-25.11 and
# slurm-26-05-3-1 (in both without CgroupAutomount, which is read only to say that it is gone).
_ALWAYS = """CgroupMountpoint ConstrainCores ConstrainRAMSpace AllowedRAMSpace MaxRAMPercent MinRAMSpace ConstrainSwapSpace AllowedSwapSpace MaxSwapPercent
    MemoryLimitEnforcement MemoryLimitThreshold ConstrainDevices AllowedDevicesFile MemorySwappiness""".split()
_KMEM = ["ConstrainKmemSpace", "AllowedKmemSpace", "MaxKmemPercent", "MinKmemSpace"]
_SYSTEMD = ["CgroupPlugin", "IgnoreSystemd", "IgnoreSystemdOnFailure"]
_NEWEST = ["EnableControllers", "SignalChildrenProcesses", "SystemdTimeout", "EnableExtraControllers", "CgroupSlice"]
READ = {
    "20.11": _ALWAYS + _KMEM + ["CgroupAutomount", "CgroupReleaseAgentDir", "TaskAffinity"],
    "21.08": _ALWAYS + _KMEM + ["CgroupAutomount", "CgroupReleaseAgentDir", "TaskAffinity", "CgroupPlugin"],
    "22.05": _ALWAYS + _KMEM + ["CgroupAutomount"] + _SYSTEMD,
    "23.02": _ALWAYS + _KMEM + ["CgroupAutomount", "EnableControllers"] + _SYSTEMD,
    "23.11": _ALWAYS + ["EnableControllers", "SignalChildrenProcesses"] + _SYSTEMD,
    "25.11": _ALWAYS + _NEWEST + _SYSTEMD,
    "26.05.1": _ALWAYS + _NEWEST + _SYSTEMD,
    "26.05.2": _ALWAYS + _NEWEST + _SYSTEMD + ["CgroupJobIdPaths"],
}


def site(version, mode=PER_GPU, cgroup=1, per_node=False):
    return slurm.site_of(version, mode, cgroup, per_node)


@pytest.mark.parametrize("version", sorted(READ))
def test_a_key_is_let_through_exactly_where_that_release_reads_it(version):
    for key in sorted({key for keys in READ.values() for key in keys}):
        if key in READ[version]:
            slurm.check_settings(CGROUP_CONF, {key: "yes"}, slurm.version_of(version))
        else:
            with pytest.raises(FleetError, match=key):
                slurm.check_settings(CGROUP_CONF, {key: "yes"}, slurm.version_of(version))


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("mode", [PER_GPU, EXCLUSIVE])
def test_what_is_written_is_known_to_the_release(version, mode):
    where = site(version, mode)
    cgroup = slurm.cgroup_settings(where)
    slurm.check_settings(SLURM_CONF, slurm.slurm_settings(where), where.version)
    slurm.check_settings(CGROUP_CONF, cgroup, where.version)
    assert ("CgroupAutomount" in cgroup) == (where.version < slurm.Version(23, 11))
    assert (cgroup.get("ConstrainDevices") == "yes") == (mode == PER_GPU)


def test_the_documents_settings_in_todays_words():
    assert slurm.as_lines(slurm.slurm_settings(site("22.05"))) == [
        "ProctrackType=proctrack/cgroup", "TaskPlugin=task/affinity,task/cgroup", "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory",
        "JobAcctGatherType=jobacct_gather/cgroup", "GresTypes=gpu", "AccountingStorageTRES=gres/gpu",
    ]
    assert slurm.as_lines(slurm.cgroup_settings(site("25.11", cgroup=2))) == ["ConstrainCores=yes", "ConstrainRAMSpace=yes", "ConstrainDevices=yes"]


@pytest.mark.parametrize(
    ("text", "version"),
    [("22.05", "22.05"), ("22.05.8", "22.05.8"), ("slurm 23.11.4", "23.11.4"), ("slurm-wlm 22.05.8", "22.05.8"), ("slurm 25.11.0-0rc1", "25.11"),
     (22.05, "22.05"), ("24.11.5-4+deb13u1", "24.11.5")])
def test_versions_as_people_and_programs_write_them(text, version):
    assert str(slurm.version_of(text)) == version


@pytest.mark.parametrize("text", ["", "22", "22.1", "22.13", "latest", None, "2022.05"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(FleetError, match="is not a version of Slurm"):
        slurm.version_of(text)


def test_too_old_too_new_and_cgroups_that_do_not_fit():
    with pytest.raises(FleetError, match="Slurm 20.02 is too old"):
        slurm.version_of("20.02")
    assert slurm.doubts(site("26.11", cgroup=2)) == ["Slurm 26.11 is newer than 26.05, the newest whose keys are known here; those of 26.05 are used."]
    assert slurm.doubts(site("26.05.5", cgroup=2)) == []
    assert slurm.doubts(site("25.05")) == ["Slurm deprecates cgroup v1 since 25.05. Boot the nodes with cgroup v2."]
    with pytest.raises(FleetError, match="Slurm 21.08 knows cgroup v1 only, and the nodes have v2"):
        slurm.cgroup_settings(site("21.08", cgroup=2))
    with pytest.raises(FleetError, match="numa_node_as_socket in slurm.conf is known since Slurm 22.05; here is 21.08"):
        slurm.slurm_settings(site("21.08", per_node=True))
    with pytest.raises(FleetError, match="mode 'shared' is not known"):
        site("22.05", "shared")
    with pytest.raises(FleetError, match="cgroup is 3"):
        site("22.05", cgroup=3)


def test_the_epilog_finds_a_jobs_control_group_where_slurm_can_be_told_to_name_it_by_the_jobs_number():
    """26.05 names it by another number, which an epilog is not told; 26.05.2 brought the way back, at which older ones end."""
    assert slurm.cgroup_settings(site("26.05.5", cgroup=2))["CgroupJobIdPaths"] == "yes"
    for version, cgroup in (("26.05.1", 2), ("26.05", 2), ("25.11.7", 2), ("26.05.5", 1)):
        assert "CgroupJobIdPaths" not in slurm.cgroup_settings(site(version, cgroup=cgroup))


def test_a_users_setting_wins_and_one_that_is_gone_is_refused_with_what_to_write():
    assert slurm.slurm_settings(site("22.05"), {"selecttypeparameters": "CR_CPU_Memory", "PrivateData": "jobs"})["SelectTypeParameters"] == "CR_CPU_Memory"
    assert slurm.cgroup_settings(site("22.05"), {"ConstrainSwapSpace": True})["ConstrainSwapSpace"] == "yes"
    with pytest.raises(FleetError, match=r"select/cons_res in slurm.conf is gone since Slurm 23.11; here is 24.05.*Write SelectType=select/cons_tres"):
        slurm.slurm_settings(site("24.05"), {"SelectType": "select/cons_res"})
    with pytest.raises(FleetError, match="CgroupReleaseAgentDir in cgroup.conf is gone since Slurm 22.05"):
        slurm.cgroup_settings(site("22.05"), {"cgroupreleaseagentdir": "/etc/slurm/cgroup"})
    for more in ({"A B": "x"}, {"Key": "x\nNodeName=evil"}, {"Key": "x\\"}, {"Key\n": "x"}, {"Key": ["x"]}, {"Key": None}):
        with pytest.raises(FleetError, match="cannot be a line of slurm.conf"):
            slurm.slurm_settings(site("22.05"), more)


@pytest.mark.parametrize(("key", "since", "before"), [
    ("SlurmctldPlugstack", None, "23.02"), ("SchedulerAuth", None, "24.05"), ("frontendname", None, "25.05"), ("AccountingStorageLoc", None, "25.11"),
    ("MaxNodeCount", "22.05", None), ("PrologTimeout", "25.05", None), ("NamespaceType", "25.11", None),
    ("HealthCheckTimeout", "26.05", None),
    ("GetEnvTimeout", None, None), ("PrologEpilogTimeout", None, None),
])
def test_a_key_is_refused_in_the_versions_whose_daemons_it_would_stop(key, since, before):
    for version in RELEASES:
        if (since is None or version >= since) and (before is None or version < before):
            assert slurm.slurm_settings(site(version), {key: "5"})[key] == "5"
        else:
            with pytest.raises(FleetError, match="(?i){0} in slurm.conf is (gone|known) since Slurm {1}; here is {2}".format(key, since or before, version)):
                slurm.slurm_settings(site(version), {key: "5"})


def test_numa_nodes_as_sockets_stay_so_beside_a_users_parameters():
    settings = slurm.slurm_settings(site("22.05", per_node=True), {"SlurmdParameters": "config_overrides"})
    assert settings["SlurmdParameters"] == "config_overrides,numa_node_as_socket"


def test_a_cluster_of_nodes_seen_and_nodes_planned():
    """dgx01 is down, and only its description of yesterday is left; dgx02 is not bought yet."""
    seen = slurm_plan.slurm_node.node_of(hosts.dgx2(), None, Choices(gpu_type="v100")).to_dict()
    planned = {"topology": hosts.dgx2().to_dict()}
    plan = slurm_plan.plan({"dgx01": {"node": seen, "changed": False}, "dgx02": planned}, "22.05", choices=Choices(gpu_type="v100"))
    assert plan.nodes == [
        "NodeName=dgx[01-02] CPUs=96 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=2 RealMemory=1543168 Gres=gpu:v100:16 State=UNKNOWN"]
    assert plan.gres == [
        "NodeName=dgx[01-02] Name=gpu Type=v100 File=/dev/nvidia[0-7] Cores=0-23", "NodeName=dgx[01-02] Name=gpu Type=v100 File=/dev/nvidia[8-15] Cores=24-47"]
    assert [warning[:33] for warning in plan.warnings] == ["dgx02: The numbers of the GPUs' d"]


def test_whole_nodes_need_no_word_of_gpus():
    plan = slurm_plan.plan({"dgx01": hosts.dgx2().to_dict()}, "22.05", EXCLUSIVE)
    assert plan.gres == [] and "Gres" not in plan.nodes[0]
    assert plan.partition_options == "OverSubscribe=EXCLUSIVE"
    assert not any("gpu" in line for line in plan.slurm_conf)


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "dictionary of hosts by name"), ([], "dictionary of hosts by name"), ({"a": 1}, "a is 1, but the node"), ({"a": {}}, "^a: topology"),
     ({"a": {"topology": 7}}, "^a: topology is 7"), ({"a": {"cores_per_socket": 4}}, "a.cpus is None")])
def test_what_is_no_host_is_refused_by_name(given, said):
    with pytest.raises(FleetError, match=said):
        slurm_plan.plan(given, "22.05")


def test_a_login_node_among_gpu_nodes_is_noticed():
    topology = dict(hosts.dgx2().to_dict(), devices=[])
    assert slurm_plan.plan({"login": topology}, "22.05").warnings == ["No GPU is known on login; jobs that ask for GPUs will not run there."]
