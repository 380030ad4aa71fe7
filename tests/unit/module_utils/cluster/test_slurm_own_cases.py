# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Slurm's own test of generic resources, test7.17 of its test suite (25.11): which cores it takes for near to which device, in each way to write it.

The nodes are two sockets of 4 or 8 cores and 8 devices, half of them near each socket. Only these facts are taken over from there.
Last, what slurmd finds by itself.
"""
import re

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_conf, slurm_host, slurm_lines, slurm_node
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import SlurmNode
from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree


def machine(cores, near=True):
    """Two sockets of so many cores, with four GPUs near each, or near none."""
    cpus = [{"id": number, "socket": number // cores, "core": number % cores, "node": number // cores if near else 0} for number in range(2 * cores)]
    nodes = [{"id": node, "memory_kib": 8 << 20} for node in range(2 if near else 1)]
    gpus = [{"pci": "0000:{0:02x}:00.0".format(at), "kind": "gpu", "index": at, "node": at // 4 if near else -1} for at in range(8)]
    return Topology.from_dict({"cpus": cpus, "nodes": nodes, "devices": gpus})


def near_cores(lines, every):
    """The cores next to each device, by its number, as Slurm reads them; without Cores all are."""
    found = {}
    for line in lines:
        words = dict(re.findall(r"(\w+)=(\S+)", line))
        cores = cpuset.parse(words["Cores"].strip("[]")) if "Cores" in words else set(every)
        for name in cpuset.parse_hosts(words["File"].rpartition("/")[2]):
            found[int(re.sub(r"\D", "", name))] = set(cores)
    return found


COMPACT = ["Name=gpu File=/dev/tty[0-3] Cores={0}", "Name=gpu File=/dev/tty[4-7] Cores={1}"]


@pytest.mark.parametrize(("cores", "written"), [
    (4, [line.format("[0-3]", "[4-7]") for line in COMPACT]),
    (8, [line.format("0,1,2,3,4,5,6,7", "8,9,10,11,12,13,14,15") for line in COMPACT]),
    (8, ["Name=gpu File=/dev/tty{0} Cores={1}".format(at, "0,1,2,3,4,5,6,7" if at < 4 else "8,9,10,11,12,13,14,15") for at in range(8)]),
], ids=["7.17.1", "7.17.2", "7.17.3"])
def test_the_lines_made_from_the_hardware_mean_what_slurm_wrote_for_the_same_hardware(cores, written):
    own = slurm_lines.gres_lines({"dgx01": slurm_node.node_of(machine(cores))})
    assert len(own) == 2, "one for each socket, however long Slurm's own are"
    assert near_cores(own, range(2 * cores)) == near_cores(written, range(2 * cores))


def test_devices_near_to_no_socket_are_near_to_all_7_17_4():
    written = ["Name=gpu File=/dev/tty[0-3]", "Name=gpu File=/dev/tty[4-7]"]
    own = slurm_lines.gres_lines({"dgx01": slurm_node.node_of(machine(8, near=False))})
    assert near_cores(own, range(16)) == near_cores(written, range(16)) == {at: set(range(16)) for at in range(8)}


def test_cores_that_the_node_has_not_are_refused_before_slurm_dies_of_them_7_17_7():
    described = slurm_node.node_of(machine(4)).to_dict()
    described["gpus"][0]["cores"] = "0-10000"
    with pytest.raises(FleetError, match=r"gpus\[0\].cores is 0-10000, but the node has the cores 0-7"):
        SlurmNode.from_dict(described)


@pytest.mark.parametrize("written", [[line.format("[0-3]", "[4-7]") for line in COMPACT]])
def test_lines_that_somebody_else_wrote_are_for_all_nodes(written):
    assert slurm_conf.gres_by_node("# a comment\n" + "\n".join(written)) == {"": set(written)}


@pytest.mark.parametrize(("machine_name", "minors", "found"), [
    ("dgx-1", range(8), {range(4): "0-19", range(4, 8): "20-39"}),
    ("dgx-2", range(16), {range(8): "0-23", range(8, 16): "24-47"}),
    ("dgx-a100", (2, 3, 0, 1, 6, 7, 4, 5), {range(2): "16-31", range(2, 4): "48-63", range(4, 6): "80-95", range(6, 8): "112-127"}),
])
def test_the_gpus_and_cores_are_those_that_slurmd_finds_by_itself(tmp_path, machine_name, minors, found):
    """slurmd -G of 24.11.5 (Debian 13) with AutoDetect=nvidia and numa_node_as_socket on these machines, on 2026-11-23: Cores by device file."""
    machine = sysfs_tree.machines()[machine_name]()._replace(minors=list(minors))
    root = sysfs_tree.write(machine, str(tmp_path))
    node = slurm_node.node_of(Topology.from_sysfs(root), slurm_host.read_minors(Sysfs(root)), slurm_node.Choices(numa_node_as_socket=True))
    assert {gpu.minor: gpu.cores for gpu in node.gpus} == {minor: cores for some, cores in found.items() for minor in some}
