"""GPU to HCA to CPUs, on the platforms that there are."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_node
from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset
from ansible_collections.dgxops.fleet.plugins.module_utils.host.affinity import affinities
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.network import fabric


def host(sockets, nodes_per_socket, cores_per_node, gpus, hcas):
    """A host with two threads a core. GPUs and HCAs are (node, switch) each; switches are numbers, None for none."""
    nodes = sockets * nodes_per_socket
    cores = nodes * cores_per_node
    cpus = [{"id": number, "socket": number % cores // cores_per_node // nodes_per_socket, "core": number % cores, "node": number % cores // cores_per_node}
            for number in range(2 * cores)]
    devices = [
        {"pci": "0000:{0:02x}:00.0".format(at + base), "kind": kind, "index": at, "node": node, "name": "{0}{1}".format(kind, at),
         "switch": None if switch is None else "0000:{0:02x}:00.0".format(0xe0 + switch)}
        for kind, base, seats in (("gpu", 0x10, gpus), ("hca", 0x80, hcas)) for at, (node, switch) in enumerate(seats)]
    return Topology.from_dict({"cpus": cpus, "nodes": [{"id": node, "memory_kib": 1 << 20} for node in range(nodes)], "devices": devices})


# Sources: peers' and NVIDIA's listings of these machines (nccl #671, dask-cuda #1358, vllm #13855); switches as in their user guides.
DGX1 = host(2, 1, 20, [(at // 4, at // 2) for at in range(8)], [(at // 2, at) for at in range(4)])
A100 = host(2, 4, 16, [(node, node) for node in (3, 3, 1, 1, 7, 7, 5, 5)], [(node, node) for node in (3, 3, 1, 1, 7, 7, 5, 5)])
H100 = host(2, 1, 56, [(at // 4, at) for at in range(8)], [(at // 4, at) for at in range(8)])


@pytest.mark.parametrize("topology, cpus, hcas, across", [
    (DGX1, {0: "0-19,40-59", 7: "20-39,60-79"}, [0, 0, 1, 1, 2, 2, 3, 3], {"switch"}),
    (A100, {0: "48-63,176-191", 2: "16-31,144-159", 4: "112-127,240-255", 6: "80-95,208-223"}, [0, 0, 2, 2, 4, 4, 6, 6], {"switch"}),
    (H100, {0: "0-55,112-167", 4: "56-111,168-223"}, list(range(8)), {"switch"}),
])
def test_every_gpu_has_the_cpus_of_its_node_and_the_hca_of_its_switch(topology, cpus, hcas, across):
    found = affinities(topology)
    assert {gpu: found[gpu].cpus for gpu in cpus} == cpus
    assert [one.hca for one in found] == hcas
    assert {one.across for one in found} == across


@pytest.mark.parametrize("topology", [DGX1, A100, H100])
def test_slurm_and_the_fabric_s_plan_say_the_same(topology):
    cores = slurm_node.logical_cores(topology)
    by_slurm = slurm_node.node_of(topology, choices=slurm_node.Choices(numa_node_as_socket=True)).gpus
    by_fabric = fabric.choose_hcas(topology, len(topology.of_kind("hca"))).affinity
    for gpu, planned in zip(by_slurm, by_fabric):
        assert {cpu for core in cpuset.parse(gpu.cores) for cpu in cores[core]} == set(cpuset.parse(planned.cpus))


def test_where_the_firmware_names_no_node_nothing_is_claimed():
    found = affinities(host(2, 1, 4, [(-1, None)], [(0, None)]))
    assert [(one.cpus, one.across) for one in found] == [("", "unknown")]
    assert affinities(host(1, 1, 4, [(-1, None)], [(0, None)]))[0].across == "node", "there is but one"


def test_a_host_without_hcas():
    assert [one.to_dict() for one in affinities(host(1, 1, 2, [(0, None)], []))] == [{"gpu": 0, "node": 0, "cpus": "0-3", "hca": None, "across": ""}]
