# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One call tells all of a host, on a DGX and on anything else."""
import json
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.facts import gather
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree


@pytest.mark.parametrize("name, key", [("dgx-1", "dgx-1"), ("dgx-2", "dgx-2"), ("dgx-a100", "dgx-a100"), ("dgx-h100", "dgx-h100"), ("power9", "generic")])
def test_a_host_is_known_and_has_what_its_model_promises(simulated, name, key):
    facts = gather(simulated(name))
    assert facts.platform.key == key
    if key != "generic":
        assert len(facts.topology.gpus) == facts.platform.gpus
        assert len([hca for hca in facts.topology.of_kind("hca") if hca.switch]) == facts.platform.compute_hcas
    if facts.platform.raid == "mdadm" and key != "generic":
        assert len(facts.drives) - facts.platform.os_drives in facts.platform.data_drives


def test_the_settings_that_tuning_looks_at_are_told(simulated):
    facts = gather(simulated("dgx-2"))
    assert (facts.dmi.vendor, facts.dmi.product, facts.dmi.serial) == ("NVIDIA", "NVIDIA DGX-2", "QTFCOU8000001")
    assert (facts.numa_balancing, facts.transparent_hugepages, facts.hugepage_sizes_kib, facts.iommu) == (1, "madvise", [2048, 1048576], True)
    assert facts.kernel_release == "5.15.0-1042-nvidia" and "intel_iommu=on" in facts.kernel_cmdline


def test_a_host_that_has_none_of_it_says_so(simulated):
    root = simulated(sysfs_tree.Machine(sysfs_tree.processors(1, 1), {0: 1024}, cmdline="quiet", numa_balancing=None, pages={0: {}}))
    os.unlink(os.path.join(root, "sys/kernel/mm/transparent_hugepage/enabled"))
    facts = gather(root)
    assert (facts.dmi.product, facts.numa_balancing, facts.transparent_hugepages, facts.hugepage_sizes_kib, facts.iommu) == ("", None, "", [], False)
    assert facts.drives == []


def test_the_platform_can_be_told_instead_of_found(simulated):
    root = simulated("power9")
    assert gather(root, "dgx-2").platform.name == "DGX-2"
    with pytest.raises(FleetError, match="The platform 'cray' is not known"):
        gather(root, "cray")


def test_the_facts_of_a_large_host_stay_small_and_hold_the_whole_topology(simulated):
    told = gather(simulated("dgx-a100")).to_dict()
    text = json.dumps(told)
    assert len(text) < 40000
    assert json.loads(text) == told
    assert len(Topology.from_dict(told["topology"]).online) == 256
