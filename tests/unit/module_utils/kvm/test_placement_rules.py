"""Every plan keeps every rule, on any machine and for any guests."""
import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import placement
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.hosts import dgx2, dgx_a100, guest_lists, policies, topologies
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.rules import broken_rules, node_of

thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
RULES = {"gpus", "pages", "core_threads", "node_cpus", "node_memory", "emulator_cpus", "pinned"}


@thorough
@given(st.data())
def test_no_plan_breaks_a_rule(data):
    topology = data.draw(topologies())
    guests = data.draw(guest_lists(len(topology.gpus)))
    policy = data.draw(policies)
    plan = placement.plan(topology, guests, policy).to_dict()
    assert broken_rules(topology, guests, policy, plan) == []


@thorough
@given(st.data())
def test_the_documented_machines_keep_the_rules_too(data):
    topology = data.draw(st.sampled_from([dgx2(), dgx_a100()]))
    guests = data.draw(guest_lists(len(topology.gpus)))
    plan = placement.plan(topology, guests, {}).to_dict()
    assert broken_rules(topology, guests, {}, plan) == []


@thorough
@given(st.data())
def test_the_order_of_the_guests_does_not_matter(data):
    topology = data.draw(topologies())
    guests = data.draw(guest_lists(len(topology.gpus)))
    shuffled = data.draw(st.permutations(guests))
    policy = data.draw(policies)
    assert placement.plan(topology, guests, policy).to_dict() == placement.plan(topology, shuffled, policy).to_dict()


@thorough
@given(st.data())
def test_what_a_plan_pinned_stays_when_it_is_planned_again(data):
    topology = data.draw(topologies())
    guests = data.draw(guest_lists(len(topology.gpus)))
    policy = data.draw(policies)
    first = placement.plan(topology, guests, policy).to_dict()
    placed = {guest["name"] for guest in first["guests"]}
    again = [guest for guest in guests if guest["name"] in placed]
    second = placement.plan(topology, again, dict(policy, pinned=first["guests"], move="never")).to_dict()
    assert second["refused"] == []
    for key in ("vcpupin", "topology", "pinning"):
        assert [guest[key] for guest in second["guests"]] == [guest[key] for guest in first["guests"]]


@thorough
@given(st.data())
def test_a_newcomer_leaves_those_who_are_there_alone(data):
    topology = data.draw(topologies())
    guests = data.draw(guest_lists(len(topology.gpus)))
    policy = data.draw(policies)
    first = placement.plan(topology, guests[:-1], policy).to_dict()
    placed = {guest["name"] for guest in first["guests"]}
    settled = [guest for guest in guests[:-1] if guest["name"] in placed]
    both = settled + guests[-1:]
    second = placement.plan(topology, both, dict(policy, pinned=first["guests"])).to_dict()
    assert broken_rules(topology, both, policy, second) == []
    before = {guest["name"]: guest["vcpupin"] for guest in first["guests"]}
    assert {guest["name"]: guest["vcpupin"] for guest in second["guests"] if guest["name"] in before} == before
    stranger = placement.plan(topology, guests[-1:], dict(policy, pinned=first["guests"])).to_dict()
    taken = {cpu for guest in first["guests"] for cpu in guest["vcpupin"].values()}
    assert not taken & {cpu for guest in stranger["guests"] for cpu in guest["vcpupin"].values()}


@thorough
@given(st.data())
def test_a_guest_alone_sits_on_the_fewest_nodes_that_hold_it(data):
    topology = data.draw(topologies())
    vcpus = data.draw(st.integers(1, 40))
    guest = {"name": "a", "vcpus": vcpus, "memory_kib": 1048576, "pinning": data.draw(st.sampled_from(["core", "thread"]))}
    plan = placement.plan(topology, [guest], {}).to_dict()
    if guest["pinning"] == "thread":
        homes = list(node_of(topology).values())
        rooms = sorted((homes.count(node.id) for node in topology.nodes if node.memory_kib and node.id in homes), reverse=True)
        fewest = next((count for count in range(1, len(rooms) + 1) if sum(rooms[:count]) >= vcpus), None)
        assert [len(placed["nodes"]) for placed in plan["guests"]] == ([fewest] if fewest else [])
    for placed in plan["guests"]:
        for fewer in range(1, len(placed["nodes"])):
            assert placement.plan(topology, [dict(guest, max_nodes=fewer)], {}).to_dict()["guests"] == []


@thorough
@given(st.data())
def test_a_refusal_tells_the_rule_the_guest_and_what_would_fit(data):
    topology = data.draw(topologies())
    guests = data.draw(guest_lists(len(topology.gpus)))
    for refusal in placement.plan(topology, guests, {}).to_dict()["refused"]:
        assert refusal["rule"] in RULES
        assert refusal["guest"] in refusal["message"]
        assert refusal["asked"]["vcpus"] > 0
        assert set(refusal["free"]["nodes"]) == {node.id for node in topology.nodes}
        assert isinstance(refusal["fits"], dict)


@thorough
@given(st.data())
def test_what_a_refusal_says_would_fit_does_fit(data):
    topology = data.draw(topologies())
    vcpus = data.draw(st.integers(1, 80))
    memory = data.draw(st.sampled_from([1048576, 3 * 1048576 + 512, 5000 * 1048576]))
    guest = {"name": "a", "vcpus": vcpus, "memory_kib": memory, "pinning": data.draw(st.sampled_from(["core", "thread"]))}
    guest["hugepages"] = data.draw(st.sampled_from(["none", "2M"]))
    for _try in range(4):  # mending one thing may bring the next obstacle to light
        refused = placement.plan(topology, [guest], {}).to_dict()["refused"]
        if not refused:
            return
        fits = {key: value for key, value in refused[0]["fits"].items() if key in guest}
        if not all(fits.values()):
            return  # nothing fits there, and the message says so
        guest = dict(guest, **fits)
    pytest.fail("still refused: {0}".format(refused[0]["message"]))


@thorough
@given(st.data())
def test_what_fits_among_other_guests_gets_its_place_when_it_is_asked_for(data):
    topology = data.draw(topologies())
    guests = data.draw(guest_lists(len(topology.gpus)))
    policy = data.draw(policies)
    for refusal in placement.plan(topology, guests, policy).to_dict()["refused"]:
        fits = {key: value for key, value in refusal["fits"].items() if key not in ("nodes", "pages")}
        if not fits or not all(fits.values()):
            continue  # nothing fits there, and the message says so
        again = [dict(guest, **fits) if guest["name"] == refusal["guest"] else guest for guest in guests]
        assert refusal["guest"] not in [other["guest"] for other in placement.plan(topology, again, policy).to_dict()["refused"]]


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 100) | st.sampled_from(["", "a", "0-3", "1G", "core", "none", "9" * 30, "²"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["0", "a", "name", "vcpupin", "cells", "node", "memory_kib"]), inner),
    max_leaves=6,
)
GUEST_KEYS = "gpus memory_kib memory pinning emulator iothreads hugepages numa max_nodes beyond_gpu_nodes".split()
POLICY_KEYS = "pinning emulator iothreads hugepages numa max_nodes reserved_cores reserved_memory_kib move pinned".split()


@thorough
@given(
    st.lists(st.fixed_dictionaries({"name": st.just("a") | json, "vcpus": st.just(2) | json}, optional=dict.fromkeys(GUEST_KEYS, json)), max_size=2) | json,
    st.dictionaries(st.sampled_from(POLICY_KEYS), json, max_size=3) | json,
)
def test_whatever_is_asked_the_answer_is_a_plan_or_a_sentence(guests, policy):
    try:
        placement.plan(dgx2(), guests, policy)
    except FleetError as error:
        assert error.message.endswith((".", ")"))


def test_a_host_of_more_than_a_thousand_cpus():
    cpus = [{"id": number, "socket": number % 1024 // 64, "core": number % 64, "node": number % 1024 // 64} for number in range(2048)]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": node, "memory_kib": 1 << 30} for node in range(16)]})
    guests = [{"name": "g{0:03}".format(at), "vcpus": 30, "memory_kib": 1 << 24, "pinning": "core"} for at in range(64)]
    plan = placement.plan(topology, guests, {"reserved_cores": 1}).to_dict()
    assert plan["refused"] == []
    assert broken_rules(topology, guests, {}, plan) == []


def test_planning_does_not_change_what_it_was_given():
    guests = [{"name": "a", "gpus": [1, 0], "vcpus": 10, "memory": "96G"}]
    policy = {"pinned": [{"name": "b", "vcpupin": {"0": "4"}}], "reserved_cores": {"0": 1}}
    before = copy.deepcopy((guests, policy))
    placement.plan(dgx2(), guests, policy)
    assert (guests, policy) == before
