# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Slurm is told of a host."""
import pytest
from hypothesis import given

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_lines, slurm_node
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import Choices, Gpu, SlurmNode
from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm import hosts

PER_NODE = Choices(numa_node_as_socket=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = {}

    def topology(name):
        if name not in made:
            root = str(tmp_path_factory.mktemp("hosts") / name)
            sysfs_tree.write(sysfs_tree.machines()[name](), root)
            made[name] = Topology.from_sysfs(root)
        return made[name]

    return topology


def lines(topology, choices=slurm_node.AS_FOUND, minors=None):
    node = {"dgx01": slurm_node.node_of(topology, minors, choices)}
    return slurm_lines.node_lines(node) + slurm_lines.gres_lines(node)


# The documented CPUs next to the GPUs are the kernel's numbers (sources: tests/lab/sysfs_tree.py). With all first threads numbered before the second
# ones, as on all DGX, the logical cores are the first halves of them.
@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("dgx-1", slurm_node.AS_FOUND, [
            "NodeName=dgx01 CPUs=80 Boards=1 SocketsPerBoard=2 CoresPerSocket=20 ThreadsPerCore=2 RealMemory=514048 Gres=gpu:v100:8 State=UNKNOWN",
            "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[0-3] Cores=0-19",
            "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[4-7] Cores=20-39"]),
        ("dgx-2", slurm_node.AS_FOUND, [
            "NodeName=dgx01 CPUs=96 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=2 RealMemory=1545216 Gres=gpu:v100:16 State=UNKNOWN",
            "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[0-7] Cores=0-23",
            "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[8-15] Cores=24-47"]),
        ("dgx-2-nosmt", slurm_node.AS_FOUND, [
            "NodeName=dgx01 CPUs=48 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=1 RealMemory=1545216 Gres=gpu:v100:16 State=UNKNOWN",
            "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[0-7] Cores=0-23",
            "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[8-15] Cores=24-47"]),
        ("dgx-a100", slurm_node.AS_FOUND, [
            "NodeName=dgx01 CPUs=256 Boards=1 SocketsPerBoard=2 CoresPerSocket=64 ThreadsPerCore=2 RealMemory=1030144 Gres=gpu:a100:8 State=UNKNOWN",
            "NodeName=dgx01 Name=gpu Type=a100 File=/dev/nvidia[0-3] Cores=0-63",
            "NodeName=dgx01 Name=gpu Type=a100 File=/dev/nvidia[4-7] Cores=64-127"]),
        ("dgx-a100", PER_NODE, [
            "NodeName=dgx01 CPUs=256 Boards=1 SocketsPerBoard=8 CoresPerSocket=16 ThreadsPerCore=2 RealMemory=1030144 Gres=gpu:a100:8 State=UNKNOWN",
            "NodeName=dgx01 Name=gpu Type=a100 File=/dev/nvidia[0-1] Cores=48-63",
            "NodeName=dgx01 Name=gpu Type=a100 File=/dev/nvidia[2-3] Cores=16-31",
            "NodeName=dgx01 Name=gpu Type=a100 File=/dev/nvidia[4-5] Cores=112-127",
            "NodeName=dgx01 Name=gpu Type=a100 File=/dev/nvidia[6-7] Cores=80-95"]),
        ("dgx-h100", slurm_node.AS_FOUND, [
            "NodeName=dgx01 CPUs=224 Boards=1 SocketsPerBoard=2 CoresPerSocket=56 ThreadsPerCore=2 RealMemory=2062336 Gres=gpu:h100:8 State=UNKNOWN",
            "NodeName=dgx01 Name=gpu Type=h100 File=/dev/nvidia[0-3] Cores=0-55",
            "NodeName=dgx01 Name=gpu Type=h100 File=/dev/nvidia[4-7] Cores=56-111"]),
    ])
def test_each_dgx_has_its_documented_cores_next_to_its_gpus(machine, name, choices, expected):
    assert lines(machine(name), choices) == expected


def test_cores_are_logical_where_the_kernel_deals_cpus_out_by_turns():
    """CPU 0 on socket 0, CPU 1 on socket 1, and so on, as the firmware of many two-socket servers has it."""
    cpus = [{"id": number, "socket": number % 2, "core": number // 2 % 4, "node": number % 2} for number in range(16)]
    gpus = [{"pci": "0000:{0}:00.0".format(bus), "kind": "gpu", "index": at, "node": at} for at, bus in enumerate(("17", "b3"))]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": node, "memory_kib": 1 << 25} for node in (0, 1)], "devices": gpus})
    assert [core[0] for core in slurm_node.logical_cores(topology)] == [0, 2, 4, 6, 1, 3, 5, 7]
    assert [gpu.cores for gpu in slurm_node.node_of(topology).gpus] == ["0-3", "4-7"]


def test_adjacent_siblings_are_one_core(machine):
    node = slurm_node.node_of(machine("power9"))
    assert (node.cpus, node.sockets, node.cores_per_socket, node.threads_per_core) == (128, 2, 16, 4)
    assert node.gpus[0].cores == "0-15"


def test_the_device_file_is_the_drivers_number_and_not_the_pci_order():
    topology = hosts.dgx_a100()
    addresses = [gpu.pci for gpu in topology.gpus]
    minors = dict(zip(addresses, (2, 3, 0, 1, 6, 7, 4, 5)))
    assert lines(topology, PER_NODE, minors)[1:] == [
        "NodeName=dgx01 Name=gpu File=/dev/nvidia[0-1] Cores=16-31",
        "NodeName=dgx01 Name=gpu File=/dev/nvidia[2-3] Cores=48-63",
        "NodeName=dgx01 Name=gpu File=/dev/nvidia[4-5] Cores=80-95",
        "NodeName=dgx01 Name=gpu File=/dev/nvidia[6-7] Cores=112-127",
    ]


def test_more_than_ten_gpus_next_to_the_same_cores_are_one_name_of_files():
    described = hosts.dgx2().to_dict()
    described["devices"] = [dict(gpu, node=0) for gpu in described["devices"] if gpu["kind"] == "gpu"]
    assert lines(Topology.from_dict(described))[1:] == ["NodeName=dgx01 Name=gpu File=/dev/nvidia[0-15] Cores=0-23"]


def test_a_gpu_that_was_handed_to_a_guest_is_not_slurms():
    topology = hosts.dgx2()
    minors = {gpu.pci: gpu.index for gpu in topology.gpus if gpu.index != 3}
    assert [gpu.minor for gpu in slurm_node.node_of(topology, minors).gpus] == [0, 1, 2] + list(range(4, 16))
    assert slurm_node.doubts(topology, minors) == ["NVIDIA's driver does not have these GPUs, so Slurm does not get them: 0000:3b:00.0."]
    assert slurm_node.doubts(topology, dict(minors, **{"0000:3b:00.0": 3})) == []


def test_gpus_of_which_no_node_is_known_may_be_used_from_any_core():
    described = hosts.dgx2().to_dict()
    described["devices"] = [dict(described["devices"][0], node=-1)]
    topology = Topology.from_dict(described)
    assert lines(topology)[1:] == ["NodeName=dgx01 Name=gpu File=/dev/nvidia0"]
    assert "any core: 0000:34:00.0" in slurm_node.doubts(topology)[-1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Tesla V100-SXM3-32GB", "v100"), ("Tesla P100-SXM2-16GB", "p100"), ("NVIDIA A100-SXM4-40GB", "a100"), ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"), ("NVIDIA GB200", "gb200"), ("NVIDIA L40S", "l40s"), ("Tesla T4", "t4"), ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA GeForce RTX 3090", "geforce_rtx_3090"), ("", ""), ("3000", ""),
    ])
def test_users_ask_for_a_short_type(name, kind):
    assert slurm_node.type_of(name) == kind


def test_what_slurm_cannot_describe_is_refused_with_the_way_out():
    off = Topology.from_dict({**hosts.dgx2().to_dict(), "devices": []}).to_dict()
    off["cpus"] = [dict(cpu, online=False, siblings=[], socket=-1, core=-1) if cpu["id"] == 95 else cpu for cpu in off["cpus"]]
    off["cpus"] = [dict(cpu, siblings=[47]) if cpu["id"] == 47 else cpu for cpu in off["cpus"]]
    with pytest.raises(FleetError, match="1 online threads, others 2.*all off"):
        slurm_node.node_of(Topology.from_dict(off))
    cpus = [{"id": number, "socket": number // 3, "core": number, "node": 0} for number in range(5)]
    uneven = Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": 1 << 25}]})
    with pytest.raises(FleetError, match="sockets of this host have 3, 2 online cores"):
        slurm_node.node_of(uneven)
    with pytest.raises(FleetError, match="which leaves none. Give from 0 to 32767"):
        slurm_node.node_of(uneven_free(), None, Choices(reserved_memory_mib=32768))
    with pytest.raises(FleetError, match="'gpu:1' cannot be a type"):
        slurm_node.node_of(hosts.dgx2(), None, Choices(gpu_type="gpu:1"))
    with pytest.raises(FleetError, match="GPU at 0000:99:00.0, but sysfs shows none there"):
        slurm_node.node_of(hosts.dgx2(), {"0000:99:00.0": 0})
    with pytest.raises(FleetError, match="several GPUs have the device file /dev/nvidia0"):
        slurm_node.node_of(hosts.dgx2(), {"0000:34:00.0": 0, "0000:36:00.0": 0})


def uneven_free():
    return Topology.from_dict({"cpus": [{"id": 0, "socket": 0, "core": 0, "node": 0}], "nodes": [{"id": 0, "memory_kib": 1 << 25}]})


@given(hosts.topologies())
def test_any_host_is_described_in_full_or_refused(topology):
    """Every online CPU is counted once, and each GPU has whole sockets, among them all cores of its node."""
    cores = slurm_node.logical_cores(topology)
    assert sorted(cpu for core in cores for cpu in core) == [cpu.id for cpu in topology.online]
    for choices in (slurm_node.AS_FOUND, PER_NODE):
        try:
            node = slurm_node.node_of(topology, None, choices._replace(reserved_memory_mib=0))
        except FleetError:
            continue
        assert node.sockets * node.cores_per_socket * node.threads_per_core == node.cpus == len(topology.online)
        sockets = [set(members) for members in slurm_node.slurm_sockets(topology, choices.numa_node_as_socket)]
        for gpu, device in zip(node.gpus, topology.gpus):
            near = cpuset.parse(gpu.cores)
            assert all(members <= near or not members & near for members in sockets)
            assert {cpu for index in near for cpu in cores[index]} >= topology.cpus_of_node(device.node)


def test_a_description_is_kept_as_json_and_read_back():
    node = slurm_node.node_of(hosts.dgx2(), None, Choices(gpu_type="v100"))
    assert SlurmNode.from_dict(node.to_dict()) == node
    assert SlurmNode.from_dict(dict(node.to_dict(), cpus="96")) == node
    with pytest.raises(FleetError, match="dgx01.cpus is 'many', but a whole number is expected"):
        SlurmNode.from_dict(dict(node.to_dict(), cpus="many"), "dgx01")
    with pytest.raises(FleetError, match=r"dgx01.gpus\[0\].minor is None"):
        SlurmNode.from_dict(dict(node.to_dict(), gpus=[{}]), "dgx01")
    with pytest.raises(FleetError, match="dgx01.gpus is 16, but a list"):
        SlurmNode.from_dict(dict(node.to_dict(), gpus=16), "dgx01")


def test_hosts_that_are_the_same_share_a_line_whatever_their_order():
    two, odd = slurm_node.node_of(hosts.dgx2()), slurm_node.node_of(hosts.dgx_a100())
    more = two._replace(real_memory_mib=two.real_memory_mib * 2)
    nodes = {"dgx{0:02d}".format(at): two for at in (12, 1, 2, 10, 11, 3)}
    nodes.update({"a1": odd, "big": more})
    first = slurm_lines.node_lines(nodes)
    assert [line.split()[0] for line in first] == ["NodeName=a1", "NodeName=big", "NodeName=dgx[01-03,10-12]"]
    assert first == slurm_lines.node_lines(dict(reversed(list(nodes.items()))))
    # the GPUs of big are those of the others, whatever its memory
    assert [line.split()[0] for line in slurm_lines.gres_lines(nodes)][-1] == "NodeName=big,dgx[01-03,10-12]"


def test_gpus_of_two_models_are_counted_apart():
    assert slurm_lines.gres_of((Gpu(0, "v100", ""), Gpu(1, "a100", ""), Gpu(2, "v100", ""))) == "gpu:a100:1,gpu:v100:2"
    assert slurm_lines.gres_of((Gpu(0, "", ""), Gpu(1, "", ""))) == "gpu:2"


@pytest.mark.parametrize(("kinds", "said"), [(("v100", ""), "/dev/nvidia1 has none, and /dev/nvidia0 is v100"), (("", "a100"), "/dev/nvidia0 has none, and")])
def test_types_for_some_of_a_nodes_gpus_only_are_refused(kinds, said):
    """slurmd ends: "some records have Type= specification while others do not" (Slurm's own test39.18, b10 and b12)."""
    described = SlurmNode(8, 2, 4, 1, 1024, ()).to_dict()
    described["gpus"] = [{"minor": at, "type": kind} for at, kind in enumerate(kinds)]
    with pytest.raises(FleetError, match=said):
        SlurmNode.from_dict(described, "dgx01")


def test_a_device_file_twice_is_refused():
    """test39.18: "gpu duplicate device file name"."""
    with pytest.raises(FleetError, match="dgx01: several GPUs have the device file /dev/nvidia0"):
        SlurmNode.from_dict(dict(SlurmNode(8, 2, 4, 1, 1024, ()).to_dict(), gpus=[{"minor": 0}, {"minor": 0}]), "dgx01")


def test_half_a_cluster_by_socket_and_half_by_node_is_refused():
    nodes = {"a1": slurm_node.node_of(hosts.dgx_a100(), None, PER_NODE), "a2": slurm_node.node_of(hosts.dgx_a100())}
    with pytest.raises(FleetError, match="a1 are described with a socket for each NUMA node, a2 are not"):
        slurm_lines.numa_node_as_socket(nodes)


def test_memory_that_the_nodes_do_not_know_of_counts():
    """Seen on a virtual machine with an H100: 4 of its 126 GiB were its node's, the others came later."""
    known = sum(node.memory_kib for node in hosts.dgx2().nodes)
    assert slurm_node.node_of(hosts.dgx2(), memory_kib=2 * known).real_memory_mib > 1.9 * slurm_node.node_of(hosts.dgx2()).real_memory_mib
    assert slurm_node.node_of(hosts.dgx2(), memory_kib=known // 2) == slurm_node.node_of(hosts.dgx2())
