"""Planning an InfiniBand fabric: the document's numbers, any other numbers, and the cables."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.network import fabric


def names(count):
    return ["dgx{0:03}".format(at) for at in range(count)]


def dgx1():
    """Two GPUs and an HCA below each of four PCIe switches, two switches to a socket (section 8.1; nccl #671 for the GPU addresses)."""
    cpus = [{"id": number, "socket": number % 40 // 20, "core": number % 20, "node": number % 40 // 20} for number in range(80)]
    devices, gpus = [], "06 07 0a 0b 85 86 89 8a".split()
    for at, bus in enumerate(gpus):
        switch = "0000:{0:02x}:00.0".format(0xe0 + at // 2)
        devices.append({"pci": "0000:{0}:00.0".format(bus), "kind": "gpu", "index": at, "node": at // 4, "switch": switch})
    for at, bus in enumerate(["05", "0c", "84", "8b"]):
        switch = "0000:{0:02x}:00.0".format(0xe0 + at)
        devices.append({"pci": "0000:{0}:00.0".format(bus), "kind": "hca", "index": at, "node": at // 2, "switch": switch, "name": "mlx5_{0}".format(at)})
    return Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": 1}, {"id": 1, "memory_kib": 1}], "devices": devices})


@pytest.mark.parametrize("links, most", [(4, 9), (2, 18), (1, 36)])
def test_one_switch_of_36_ports(links, most):
    found = fabric.plan(names(most), links)
    assert (found.tiers, found.leaves, found.cores, found.most_nodes) == (1, 1, 0, most)
    assert fabric.plan(names(most + 1), links).tiers == 2


@pytest.mark.parametrize(
    "links, oversubscription, per_leaf, uplinks, leaves, most",
    [
        (4, 1, 4, 16, 40, 160),  # section 8.1.1: full bisection bandwidth
        (2, 1, 9, 18, 36, 324),  # section 8.1.1: 2:1 at the nodes
        (4, 2, 6, 12, 54, 324),  # 2:1 at the leaves
        (2, 2, 12, 12, 54, 648),  # 2:1 at both
    ],
)
def test_two_tiers_below_a_core_of_648_ports(links, oversubscription, per_leaf, uplinks, leaves, most):
    found = fabric.plan(names(most), links, oversubscription=oversubscription, hcas=["ib0", "ib1", "ib2", "ib3"])
    assert (found.nodes_per_leaf, found.uplinks_per_leaf, found.leaves, found.most_nodes) == (per_leaf, uplinks, leaves, most)
    assert (found.node_oversubscription, found.leaf_oversubscription) == (4 / links, oversubscription)
    with pytest.raises(FleetError) as caught:
        fabric.plan(names(most + 1), links, oversubscription=oversubscription)
    assert "take only" not in caught.value.message
    assert "{0} nodes.".format(most) in caught.value.message
    assert "third tier" in caught.value.message


def test_two_links_of_a_dgx1_go_to_both_sockets():
    """Section 8.1.1: IB0+IB2, IB1+IB3, IB0+IB3 or IB1+IB2."""
    choice = fabric.choose_hcas(dgx1(), 2)
    assert choice.hcas == (0, 2)
    assert set(choice.equivalent) == {(0, 2), (1, 3), (0, 3), (1, 2)}
    assert {one.across for one in choice.affinity} == {"switch", "node"}
    assert not choice.warnings


def test_four_links_give_every_gpu_the_hca_below_its_own_switch():
    choice = fabric.choose_hcas(dgx1(), 4)
    assert [(one.gpu, one.hca, one.across) for one in choice.affinity] == [(gpu, gpu // 2, "switch") for gpu in range(8)]


def test_one_link_is_planned_with_a_warning():
    choice = fabric.choose_hcas(dgx1(), 1)
    assert choice.names == ("mlx5_0",)
    assert "across the link between the CPUs" in choice.warnings[0]
    assert fabric.plan(names(2), 1).warnings


@pytest.mark.parametrize("links, said", [
    (5, "5 links are asked for, but this host has 4 HCAs."),
    (0, "links is 0, but a whole number of at least 1 is expected."),
    (None, "links is None, but a whole number of at least 1 is expected."),
])
def test_more_links_than_hcas_are_refused(links, said):
    with pytest.raises(FleetError) as caught:
        fabric.choose_hcas(dgx1(), links)
    assert caught.value.message == said


@given(
    st.integers(1, 200), st.integers(1, 8), st.integers(8, 64), st.integers(8, 800), st.sampled_from([1, 1.5, 2, 3]), st.integers(1, 4)
)
def test_cables_fit_their_ports_and_bandwidth_is_as_promised(count, links, leaf_ports, core_ports, oversubscription, cores):
    try:
        found = fabric.plan(names(count), links, leaf_ports, core_ports, oversubscription, cores)
    except FleetError as error:
        assert error.message.endswith(".")
        return
    used = {}
    down, up = {}, {}
    for cable in found.cables:
        for switch, port in ((cable.target, cable.target_port), (cable.source, cable.source_port)):
            if switch.startswith(("leaf", "core")):
                used.setdefault(switch, []).append(int(port))
        leaf = cable.source if cable.source.startswith("leaf") else cable.target
        side = up if cable.source.startswith("leaf") else down
        side[leaf] = side.get(leaf, 0) + 1
    for switch, ports in used.items():
        assert len(set(ports)) == len(ports)
        assert 1 <= min(ports) and max(ports) <= (leaf_ports if switch.startswith("leaf") else core_ports)
    assert sum(down.values()) == count * links
    if found.tiers == 2:
        assert all(down[leaf] <= oversubscription * up[leaf] for leaf in down)
    assert count <= found.most_nodes


@pytest.mark.parametrize("oversubscription, nodes, uplinks", [(1.4, 21, 15), (1.9, 23, 13), (2.8, 26, 10), (4 / 3, 20, 15)])
def test_a_ratio_that_is_no_binary_number_costs_no_uplink_more(oversubscription, nodes, uplinks):
    found = fabric.plan(names(100), 1, 36, 648, oversubscription)
    assert (found.nodes_per_leaf, found.uplinks_per_leaf) == (nodes, uplinks)


def test_a_host_with_a_great_many_hcas_is_looked_at_for_seconds_only():
    described = dgx1().to_dict()
    described["devices"] = [{"pci": "0000:{0:02x}:00.0".format(at), "kind": "hca", "index": at, "node": 0} for at in range(40)]
    assert len(fabric.choose_hcas(Topology.from_dict(described), 20).hcas) == 20


@pytest.mark.parametrize(
    "arguments, said",
    [
        (([],), "There are no nodes"),
        ((["a", "a"],), "The node a is listed more than once"),
        ((["a"], 0), "links is 0"),
        ((["a"], 40), "does not fit on a switch of 36 ports"),
        ((["a"], 4, 36, 648, 0.5), "oversubscription is 0.5"),
        ((["a"], 4, 36, 648, 1, "two"), "cores is 'two'"),
        ((names(2), 4, 6), "A leaf of 6 ports cannot take one node of 4 links"),
        ((["a"], 2, 36, 648, 1, 1, ["ib0"]), "2 links per node are asked for, but 1 HCAs are named: ib0"),
        ((["a"], 2, 36, 648, 1, 1, ["ib0", "ib0"]), "2 links per node are asked for, but 1 HCAs are named: ib0, ib0"),
        ((["a"], 2, 36, 648, 1, 1, []), "2 links per node are asked for, but 0 HCAs are named: none"),
    ],
)
def test_bad_input_is_named(arguments, said):
    with pytest.raises(FleetError) as caught:
        fabric.plan(*arguments)
    assert said in caught.value.message
