# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Devices are told by class, placed by node, and grouped by the PCIe switch they share."""
import os
from typing import Dict, List, Tuple

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.tests.lab.sysfs_tree import Card, Machine, gpu, hca, nic, nvme, processors


def devices(simulated, *cards, nodes=2):
    return Topology.from_sysfs(simulated(Machine(processors(nodes, 2), dict.fromkeys(range(nodes), 1024), cards))).devices


def card(pci_class, vendor="10de", address="0000:41:00.0", **more):
    return Card(("0000:40:01.0",), address, pci_class, vendor, "1234", 0, **more)


def test_the_devices_of_a_dgx_2_are_all_found_with_their_nodes(simulated):
    host = Topology.from_sysfs(simulated("dgx-2"))
    assert [(device.pci[5:7], device.node) for device in host.gpus] == [
        ("34", 0), ("36", 0), ("39", 0), ("3b", 0), ("57", 0), ("59", 0), ("5c", 0), ("5e", 0),
        ("b7", 1), ("b9", 1), ("bc", 1), ("be", 1), ("e0", 1), ("e2", 1), ("e5", 1), ("e7", 1),
    ]  # fmt: skip
    assert [device.pci[5:7] for device in host.of_kind("nvme")] == ["01", "05", "2e", "2f", "51", "52", "b1", "b2", "da", "db"]
    assert [device.name for device in host.of_kind("hca")] == ["mlx5_%d" % number for number in range(10)]
    assert [device.name for device in host.of_kind("nic")] == ["enp6s0"]


def test_an_hca_of_a_dgx_2_shares_the_switch_of_its_two_gpus(simulated):
    host = Topology.from_sysfs(simulated("dgx-2"))
    switches: Dict[str, List[Tuple[str, int]]] = {}
    for device in host.devices:
        switches.setdefault(device.switch, []).append((device.kind, device.index))
    assert switches["0000:32:00.0"] == [("gpu", 0), ("hca", 0), ("gpu", 1)]
    assert switches["0000:e3:00.0"] == [("gpu", 14), ("hca", 9), ("gpu", 15)]
    assert switches["0000:2c:00.0"] == [("nvme", 2), ("nvme", 3)], "the switch above, which the drives share"


def test_a_dgx_1_has_an_hca_for_every_two_gpus(simulated):
    host = Topology.from_sysfs(simulated("dgx-1"))
    assert [len([gpu for gpu in host.gpus if gpu.switch == fabric.switch]) for fabric in host.of_kind("hca")] == [2, 2, 2, 2]


def test_gpus_of_a_dgx_a100_are_on_four_of_its_eight_nodes(simulated):
    assert [gpu.node for gpu in Topology.from_sysfs(simulated("dgx-a100")).gpus] == [3, 3, 1, 1, 7, 7, 5, 5]


def test_each_gpu_of_a_dgx_h100_has_its_own_hca(simulated):
    host = Topology.from_sysfs(simulated("dgx-h100"))
    assert [gpu.node for gpu in host.gpus] == [0] * 4 + [1] * 4
    assert [len([fabric for fabric in host.of_kind("hca") if fabric.switch == gpu.switch]) for gpu in host.gpus] == [1] * 8


@pytest.mark.parametrize(
    "pci_class, vendor, kind",
    [
        ("030200", "10de", "gpu"),
        ("030000", "10de", "gpu"),
        ("030200", "1002", "gpu"),
        ("120000", "1002", "gpu"),
        ("038000", "8086", "gpu"),
        ("030000", "1a03", None),
        ("030000", "8086", None),
        ("120000", "10ee", None),
        ("068000", "10de", None),
        ("010802", "144d", "nvme"),
        ("010400", "1000", None),
        ("010601", "8086", None),
        ("020000", "8086", "nic"),
        ("028000", "8086", None),
        ("020700", "15b3", "hca"),
        ("060400", "10b5", None),
        ("0c0330", "8086", None),
    ],
)
def test_devices_are_told_by_class(simulated, pci_class, vendor, kind):
    assert [device.kind for device in devices(simulated, card(pci_class, vendor))] == ([kind] if kind else [])


def test_an_ethernet_card_with_rdma_is_an_hca(simulated):
    assert [(device.kind, device.name) for device in devices(simulated, hca([], "0000:86:00.0", 1, 4, "enp134s0f0", ethernet=True))] == [("hca", "mlx5_4")]


def test_virtual_functions_are_left_out(simulated):
    network = card("020000", "8086", virtual=("0000:41:10.0", "0000:41:10.1"))
    found = devices(simulated, network, card("030200", address="0000:42:00.0", virtual=("0000:42:00.4",)))
    assert [(device.kind, device.pci) for device in found] == [("nic", "0000:41:00.0"), ("gpu", "0000:42:00.0")]


def test_names_are_what_the_drivers_say(simulated):
    found = devices(
        simulated,
        gpu([], "0000:34:00.0", 0, "Tesla V100-SXM3-32GB", "1db8"),
        gpu([], "0000:36:00.0", 0, "", "1db8"),
        nvme([], "0000:2e:00.0", 0, 3, 3840.7, "18261D000003"),
        card("020000", "15b3", net=("eth1", "eth0")),
    )
    assert [device.name for device in found] == ["Micron_9200_MTFDHAL3T8TCT 18261D000003", "Tesla V100-SXM3-32GB", "", "eth0,eth1"]


def test_a_device_that_knows_no_node_is_where_its_root_port_is(simulated):
    root = simulated(Machine(processors(2, 2), {0: 1024, 1: 1024}, [nvme(["0000:80:01.0", "0000:81:00.0"], "0000:82:00.0", 1, 0, 3840.7, "S1")]))
    for place in ("0000:82:00.0", "0000:81:00.0"):
        with open(os.path.join(root, "sys/bus/pci/devices", place, "numa_node"), "w") as handle:
            handle.write("-1\n")
    assert Topology.from_sysfs(root).devices[0].node == 1


def test_a_device_whose_node_nobody_knows_is_nowhere_unless_there_is_one_node(simulated, tmp_path):
    lost = Card((), "0000:01:00.0", "010802", "144d", "1234", -1)
    assert devices(simulated, lost)[0].node == -1
    os.rename(str(tmp_path / "host"), str(tmp_path / "first"))
    assert devices(simulated, lost, nodes=1)[0].node == 0


def test_a_node_that_the_kernel_does_not_show_is_no_node(simulated):
    assert devices(simulated, Card((), "0000:01:00.0", "010802", "144d", "1234", 5))[0].node == -1


def test_the_functions_of_one_card_share_no_switch_with_each_other(simulated):
    above = ["0000:00:02.0", "0000:02:00.0", "0000:03:08.0"]
    ports = [hca(above, "0000:05:00.%d" % port, 0, port, "ib%d" % port) for port in range(2)]
    assert [device.switch for device in devices(simulated, *ports)] == [None, None]


def test_ports_of_a_card_share_the_switch_above_with_a_gpu(simulated):
    above = ["0000:00:02.0", "0000:02:00.0"]
    ports = [hca(above + ["0000:03:08.0"], "0000:05:00.%d" % port, 0, port, "ib%d" % port) for port in range(2)]
    found = devices(simulated, gpu(above + ["0000:03:10.0"], "0000:06:00.0", 0, "", "1db8"), *ports)
    assert [device.switch for device in found] == ["0000:02:00.0"] * 3


def test_drives_behind_a_vmd_keep_their_domain_and_share_it(simulated):
    above = ["0000:16:05.5", "10000:00:02.0"]
    other = ["0000:16:05.5", "10000:00:03.0"]
    drives = [nvme(above, "10000:01:00.0", 0, 0, 3840.7, "S1"), nvme(other, "10000:02:00.0", 0, 1, 3840.7, "S2")]
    found = devices(simulated, nic([], "0001:01:00.0", 0, "eth0"), *drives)
    assert [(device.pci, device.switch) for device in found] == [
        ("0001:01:00.0", None), ("10000:01:00.0", "0000:16:05.5"), ("10000:02:00.0", "0000:16:05.5")
    ]  # fmt: skip
