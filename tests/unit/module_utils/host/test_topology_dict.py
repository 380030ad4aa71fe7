# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host described by hand or by facts: little has to be written, everything is checked, and mistakes are named by their place."""
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Cpu, Device, Node, Pages, Topology

#: Two cores with two threads on two nodes, one GPU, all that must be written and no more.
SMALL = {
    "cpus": [
        {"id": 0, "socket": 0, "core": 0, "node": 0},
        {"id": 1, "socket": 1, "core": 0, "node": 1},
        {"id": 2, "socket": 0, "core": 0, "node": 0},
        {"id": 3, "socket": 1, "core": 0, "node": 1},
    ],
    "nodes": [{"id": 0, "memory_kib": 1000}, {"id": 1, "memory_kib": 2000}],
    "devices": [{"pci": "0000:34:00.0", "kind": "gpu", "node": 1}],
}


def small(change=None):
    described = copy.deepcopy(SMALL)
    if change:
        change(described)
    return described


def test_what_may_be_left_out_is_filled_in():
    host = Topology.from_dict(SMALL)
    assert host.cpu(2) == Cpu(2, 0, 0, 0, 0, (0, 2), None, True)
    assert host.node(1) == Node(1, 2000, (20, 10), {})
    assert host.devices == (Device("0000:34:00.0", "gpu", 0, 1, None, ""),)


def test_the_dictionary_is_what_design_and_facts_promise():
    host = Topology.from_dict(small(lambda given: given["nodes"][0].update(pages={"2048": {"total": 8, "free": 3}})))
    written = host.to_dict()
    assert written["cpus"][0] == {"id": 0, "socket": 0, "die": 0, "core": 0, "node": 0, "siblings": [0, 2], "l3": None, "online": True}
    assert written["nodes"][0] == {"id": 0, "memory_kib": 1000, "distances": [10, 20], "pages": {"2048": {"total": 8, "free": 3}}}
    assert written["devices"] == [{"pci": "0000:34:00.0", "kind": "gpu", "index": 0, "node": 1, "switch": None, "name": ""}]
    assert Topology.from_dict(json.loads(json.dumps(written))) == host


def test_no_devices_are_needed():
    assert Topology.from_dict(small(lambda given: given.pop("devices"))).gpus == []


def test_sizes_of_pages_may_be_numbers_and_all_pages_are_free_unless_told():
    host = Topology.from_dict(small(lambda given: given["nodes"][0].update(pages={1048576: {"total": 4}})))
    assert host.node(0).pages == {1048576: Pages(4, 4)}


def test_numbers_that_a_template_made_into_text_are_read():
    host = Topology.from_dict(small(lambda given: given["nodes"][0].update(memory_kib="1000")))
    assert host == Topology.from_dict(SMALL)


def test_entries_may_come_in_any_order_and_distances_follow_their_nodes():
    def shuffle(given):
        given["cpus"].reverse()
        given["nodes"] = [
            {"id": 2, "memory_kib": 1, "distances": [10, 30, 31]},
            {"id": 0, "memory_kib": 1, "distances": [30, 10, 21]},
            {"id": 1, "memory_kib": 1, "distances": [31, 21, 10]},
        ]

    host = Topology.from_dict(small(shuffle))
    assert [node.distances for node in host.nodes] == [(10, 21, 30), (21, 10, 31), (30, 31, 10)]
    assert [cpu.id for cpu in host.cpus] == [0, 1, 2, 3]


def test_devices_are_numbered_in_pci_order_by_number_and_not_by_text():
    def add(given):
        given["devices"] = [{"pci": pci, "kind": "nvme"} for pci in ("10000:01:00.0", "0002:01:00.0", "0000:0A:00.0")]

    host = Topology.from_dict(small(add))
    assert [(device.pci, device.index, device.node) for device in host.devices] == [
        ("0000:0a:00.0", 0, -1),
        ("0002:01:00.0", 1, -1),
        ("10000:01:00.0", 2, -1),
    ]


def test_an_offline_cpu_needs_only_its_number_and_is_nobodys_sibling():
    def switch_off(given):
        given["cpus"][2] = {"id": 2, "online": False}
        given["cpus"][0]["siblings"] = [0, 2]

    host = Topology.from_dict(small(switch_off))
    assert host.cpu(2) == Cpu(2, -1, 0, -1, -1, (), None, False)
    assert host.cpu(0).siblings == (0,)
    assert [cpu.id for cpu in host.online] == [0, 1, 3]


def test_core_numbers_that_old_kernels_repeat_on_each_node_do_not_merge_cores():
    def one_socket(given):
        for cpu in given["cpus"]:
            cpu["socket"] = 0

    assert Topology.from_dict(small(one_socket)).cores() == [(0, 2), (1, 3)]


MISTAKES = [
    (lambda given: given["cpus"][3].update(node=7), "cpus[3].node is 7, but nodes holds 0 and 1."),
    (lambda given: given["cpus"][3].update(id=1), "cpus[3].id is 1, as is that of cpus[1]. Each may be there once."),
    (lambda given: given["cpus"][3].update(id=-1), "cpus[3].id is -1, but a whole number from 0 to 65535 is expected."),
    (lambda given: given["cpus"][3].update(socket="first"), "cpus[3].socket is 'first', but a whole number of at least 0 is expected."),
    (lambda given: given["cpus"][3].update(socket=True), "cpus[3].socket is True, but a whole number of at least 0 is expected."),
    (lambda given: given["cpus"][3].update(core=0.5), "cpus[3].core is 0.5, but"),
    (lambda given: given["cpus"][3].pop("core"), "cpus[3].core is missing; expected is a whole number of at least 0."),
    (lambda given: given["cpus"][3].update(online="yes"), "cpus[3].online is 'yes', but true or false is expected."),
    (lambda given: given["cpus"][3].update(l3=-2), "cpus[3].l3 is -2, but"),
    (
        lambda given: given["cpus"][3].update(sibling=[1, 3]),
        "cpus[3] has the unknown key sibling. Is siblings meant? Known are id, socket, die, core, node, siblings,",
    ),
    (
        lambda given: given["cpus"][0].update(siblings=[0, 9]),
        "cpus[2].siblings says that CPU 2 shares a core with 0,2, but cpus[0] says of CPU 0 that its core is 0.",
    ),
    (lambda given: given["cpus"][0].update(siblings="0,2"), "cpus[0].siblings is '0,2', but a list of CPU numbers is expected."),
    (lambda given: given["cpus"][0].update(siblings=[0, None]), "cpus[0].siblings is [0, None], but a list of CPU numbers is expected."),
    (
        lambda given: given["cpus"][0].update(siblings=[0, 1]),
        "cpus[0].siblings says that CPU 0 shares a core with 0-1, but cpus[1] says of CPU 1 that its core is 1,3.",
    ),
    (lambda given: given.update(cpus=[]), "topology.cpus holds no CPU that is online."),
    (lambda given: given.update(cpus=[{"id": 0, "online": False}]), "topology.cpus holds no CPU that is online."),
    (lambda given: given.pop("cpus"), "topology.cpus is missing; expected is a list."),
    (lambda given: given.update(cpus="0-3"), "topology.cpus is '0-3', but a list is expected."),
    (lambda given: given["cpus"].append(4), "cpus[4] is 4, but a dictionary with the keys id, socket,"),
    (lambda given: given.update(nodes=[]), "topology.nodes is empty. Give at least one node"),
    (lambda given: given["nodes"][1].pop("memory_kib"), "nodes[1].memory_kib is missing"),
    (lambda given: given["nodes"][1].update(memory_kib=-5), "nodes[1].memory_kib is -5, but a whole number of at least 0 is expected."),
    (lambda given: given["nodes"][1].update(distances=[10]), "nodes[1].distances is [10], but a list of 2 distances of at least 10, one per node, is"),
    (lambda given: given["nodes"][1].update(distances=[10, 9]), "nodes[1].distances is [10, 9], but"),
    (lambda given: given["nodes"][1].update(pages=[]) or given["nodes"][1].update(pages=[2048]), "nodes[1].pages is [2048], but a dictionary"),
    (lambda given: given["nodes"][1].update(pages={"2M": {}}), "nodes[1].pages has the key '2M', but a page size in KiB such as 2048"),
    (lambda given: given["nodes"][1].update(pages={"2048": {}}), "nodes[1].pages[2048].total is missing"),
    (
        lambda given: given["nodes"][1].update(pages={"2048": {"total": 1, "free": 2}}),
        "nodes[1].pages[2048].free is 2, but a whole number from 0 to 1 is expected.",
    ),
    (lambda given: given["devices"][0].update(kind="fpga"), "devices[0].kind is 'fpga', but one of gpu, nvme, nic, hca is expected."),
    (lambda given: given["devices"][0].update(pci="34:00.0"), "devices[0].pci is '34:00.0', but a full PCI address such as 0000:34:00.0 is expected."),
    (lambda given: given["devices"][0].update(node=3), "devices[0].node is 3, but nodes holds 0 and 1."),
    (lambda given: given["devices"][0].update(switch="plx"), "devices[0].switch is 'plx', but a full PCI address"),
    (lambda given: given["devices"].append(dict(given["devices"][0])), "devices[1].pci is 0000:34:00.0, as is that of devices[0]."),
    (
        lambda given: given["devices"].append({"pci": "0000:35:00.0", "kind": "gpu", "index": 0}),
        "devices[1].index is 0, as is that of devices[0]. Number the devices of a kind without repeats.",
    ),
    (lambda given: given.update(device=[]), "topology has the unknown key device. Is devices meant? Known are cpus, nodes, devices."),
]


@pytest.mark.parametrize("change, complaint", MISTAKES, ids=[complaint[:40] for _change, complaint in MISTAKES])
def test_a_mistake_is_named_with_its_place(change, complaint):
    with pytest.raises(FleetError) as caught:
        Topology.from_dict(small(change))
    assert complaint in caught.value.message


@pytest.mark.parametrize("given", [None, [], "host", 3])
def test_what_is_no_dictionary_is_refused(given):
    with pytest.raises(FleetError, match="a dictionary with the keys cpus, nodes, devices is expected"):
        Topology.from_dict(given)


def test_an_empty_switch_is_none():
    host = Topology.from_dict(small(lambda given: given["devices"][0].update(switch="")))
    assert host.devices[0].switch is None


def test_a_long_value_does_not_fill_the_screen():
    with pytest.raises(FleetError) as caught:
        Topology.from_dict(small(lambda given: given["cpus"][0].update(siblings="0" * 1000)))
    assert len(caught.value.message) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.floats(allow_nan=False) | st.sampled_from(["gpu", "0000:34:00.0", "2048", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "socket", "core", "node", "total", "2048"]), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.data())
def test_a_host_with_anything_put_anywhere_is_a_host_or_refused_in_words(data):
    described = small()
    part = data.draw(st.sampled_from(["cpus", "nodes", "devices"]))
    entry = data.draw(st.sampled_from(described[part]))
    keys = {"cpus": Cpu._fields, "nodes": Node._fields, "devices": Device._fields}[part]
    entry[data.draw(st.sampled_from(keys))] = data.draw(json_values)
    try:
        host = Topology.from_dict(described)
    except FleetError as error:
        assert error.message
    else:
        assert Topology.from_dict(host.to_dict()) == host


def test_a_richer_description_and_nulls_are_read_for_what_is_known():
    given = small()
    given["platform"] = "dgx-2"
    given["cpus"][0].update(mhz=2700, l3=None)
    given["devices"] = [{"pci": "0000:34:00.0", "kind": "gpu", "node": None, "switch": None, "name": None, "driver": "vfio-pci"}]
    topology = Topology.from_dict(given)
    assert (topology.cpu(0).l3, topology.gpus[0].node, topology.gpus[0].name) == (None, -1, "")


def test_a_core_whose_other_thread_is_not_there_has_one_thread():
    given = small()
    gone = given["cpus"].pop()
    left = [cpu for cpu in given["cpus"] if cpu["core"] == gone["core"] and cpu["socket"] == gone["socket"]]
    left[0]["siblings"] = [left[0]["id"], gone["id"]]
    assert Topology.from_dict(given).cpu(left[0]["id"]).siblings == (left[0]["id"],)
