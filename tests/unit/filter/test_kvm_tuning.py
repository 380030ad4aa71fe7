"""The filter kvm_tuning as the role uses it."""
import json

from ansible_collections.dgxops.fleet.plugins.filter.kvm_tuning import FilterModule

TOPOLOGY = {
    "cpus": [{"id": number, "socket": 0, "core": number % 4, "node": 0} for number in range(8)],
    "nodes": [{"id": 0, "memory_kib": 1 << 25, "pages": {"2048": {"total": 0, "free": 0}}}],
    "devices": [],
}


def tune(facts, domains, *wanted):
    return FilterModule().filters()["kvm_tuning"](facts, domains, *wanted)


def test_a_guest_on_paper_needs_no_host():
    decision = tune(TOPOLOGY, None, {"guests": [{"name": "a", "vcpus": 4, "memory": "1G"}], "hugepages": "2M"})
    assert decision["domains"][0]["vcpupin"] == {0: 0, 1: 4, 2: 1, 3: 5}
    assert decision["pages"] == {"before": {"2048": {0: 512}}, "after": {"2048": {0: 512}}} and decision["host_first"]


def test_a_host_without_guests_and_without_wishes():
    assert tune({"topology": TOPOLOGY, "numa_balancing": 0}, [])["sysctl"] == {"kernel.numa_balancing": 1}


def test_the_answer_has_the_same_keys_whatever_it_is():
    answers = [tune(TOPOLOGY, []), tune(TOPOLOGY, None, {"guests": [{"name": "a", "vcpus": 40}]}), tune({}, []), tune(TOPOLOGY, [], {"pinning": 1})]
    assert len({tuple(answer) for answer in answers}) == 1
    assert [bool(answer["refused"]) for answer in answers] == [False, True, True, True]
    assert all(json.dumps(answer) for answer in answers)
