# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slurm_gres, with its error for bad input."""
import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter import slurm_gres
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm import MODES
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm import hosts

apply = slurm_gres.FilterModule().filters()["slurm_gres"]


def test_a_cluster_on_paper():
    plan = apply({"a1": hosts.dgx_a100().to_dict()}, "23.11", numa_node_as_socket=True, gpu_type="a100", reserved_memory_mib="2048")
    assert plan["nodes"][0].startswith("NodeName=a1 CPUs=256 Boards=1 SocketsPerBoard=8 CoresPerSocket=16 ")
    assert plan["gres"][0] == "NodeName=a1 Name=gpu Type=a100 File=/dev/nvidia[0-1] Cores=48-63"
    assert plan["slurm_conf"][-1] == "SlurmdParameters=numa_node_as_socket"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"version": "latest"}, "slurm_gres: 'latest' is not a version"), ({"reserved_memory_mib": "much"}, "'much', but a number of MiB"),
     ({"slurm_conf": ["x"]}, r"slurm_conf is \['x'\], but a dictionary"), ({"mode": "shared"}, "mode 'shared'"),
     ({"gpu_type": "a:1"}, "a1: 'a:1' cannot be a type")])
def test_a_slip_is_answered_in_words(options, said):
    with pytest.raises(AnsibleFilterError, match=said):
        apply({"a1": hosts.dgx_a100().to_dict()}, **dict({"version": "22.05"}, **options))


def test_the_documented_modes_are_those_there_are():
    assert sorted(yaml.safe_load(slurm_gres.DOCUMENTATION)["options"]["mode"]["choices"]) == sorted(MODES)
