# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a change of slurm.conf asks of daemons and jobs."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_conf

CONF = """# a comment
ClusterName=dgx
SelectType=select/cons_tres
TaskPlugin=task/affinity,\\
task/cgroup
MinJobAge=300   # and another
NodeName=dgx[01-02] CPUs=96  Gres=gpu:v100:16 State=UNKNOWN
NodeName=dgx04 CPUs=256 State=UNKNOWN
PartitionName=all Nodes=dgx[01-02,04] Default=YES
"""


def difference(before, after):
    return slurm_conf.compare(slurm_conf.parse(before), slurm_conf.parse(after))


def test_a_file_is_read_as_slurm_reads_it():
    found = slurm_conf.parse(CONF)
    assert found.settings == {"clustername": "dgx", "selecttype": "select/cons_tres", "taskplugin": "task/affinity, task/cgroup", "minjobage": "300"}
    assert found.nodes["dgx02"] == "CPUs=96 Gres=gpu:v100:16 State=UNKNOWN" and list(found.nodes) == ["dgx01", "dgx02", "dgx04"]
    assert found.partitions == {"all": "Nodes=dgx[01-02,04] Default=YES"}
    assert slurm_conf.parse(None) == slurm_conf.parse("")


# (what is replaced, by what) -> (a daemon starts anew, jobs on a node may not see it, slurmctld would lose all jobs)
@pytest.mark.parametrize(("old", "new", "expected"), [
    ("MinJobAge=300", "MinJobAge=200", (False, False, False)),
    ("Default=YES", "Default=NO", (False, False, False)),
    ("task/affinity,\\\ntask/cgroup", "task/cgroup", (True, True, False)),
    ("select/cons_tres", "select/linear", (True, True, True)),
    ("CPUs=256", "CPUs=128", (True, False, False)),
    ("NodeName=dgx04 CPUs=256 State=UNKNOWN\n", "", (True, False, False)),
    ("ClusterName=dgx\n", "ClusterName=dgx\nNobodyKnowsThis=1\n", (True, False, False)),
])
def test_what_a_change_asks_for(old, new, expected):
    found = difference(CONF, CONF.replace(old, new))
    assert found
    assert (found.needs_restart, found.under_jobs, found.counted_by) == expected


def test_comments_spaces_and_the_order_of_hosts_change_nothing():
    other = CONF.replace("# a comment\n", "").replace("CPUs=96  Gres", "CPUs=96 Gres")
    other = other.replace("dgx[01-02] CPUs", "dgx02,dgx01\tCPUs").replace("MinJobAge", "minjobage").replace("=all Nodes", "=all\tNodes")
    assert other.count("\t") == 2 and not difference(CONF, other)


def test_a_line_that_is_other_is_told_from_nodes_that_come_and_go():
    found = difference(CONF, CONF.replace("dgx04 CPUs=256", "dgx05 CPUs=128").replace("gpu:v100:16", "gpu:v100:15"))
    assert found.nodes == ("dgx01", "dgx02") and found.members


def test_gres_lines_are_compared_node_by_node():
    before = "NodeName=dgx[01-02] Name=gpu File=/dev/nvidia[0-7] Cores=0-23\nName=gpu Type=v100\n"
    after = "NodeName=dgx01 Name=gpu File=/dev/nvidia[0-7] Cores=0-23\nNodeName=dgx02 Name=gpu File=/dev/nvidia[0-7] Cores=0-3\nName=gpu Type=v100\n"
    assert slurm_conf.other_gres(before, after) == ["dgx02"]
    assert slurm_conf.other_gres(before, None) == []
