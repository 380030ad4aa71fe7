"""kvm_picture as a playbook calls it: dictionaries in, text out, and errors that Ansible shows as one sentence."""
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter.kvm_picture import FilterModule
from ansible_collections.dgxops.fleet.plugins.filter.kvm_plan import FilterModule as Planner

TOPOLOGY = {
    "cpus": [{"id": number, "socket": 0, "core": number % 2, "node": 0} for number in range(4)],
    "nodes": [{"id": 0, "memory_kib": 4 * 1024 * 1024}],
}
kvm_picture = FilterModule().filters()["kvm_picture"]
kvm_plan = Planner().filters()["kvm_plan"]


def test_a_plan_of_kvm_plan_is_drawn():
    text = kvm_picture(TOPOLOGY, kvm_plan(TOPOLOGY, [{"name": "a", "vcpus": 2}]), width=60, unicode=False)
    assert text.splitlines()[:7] == [
        "1 node, 2 cores, 4 CPUs, 0 GPUs. 1 guest, pinned to 2 CPUs",
        "of 1 core.",
        "",
        "node 0, socket 0",
        "    CPU  0  1",
        "         A  +",
        "         A  +",
    ]


@pytest.mark.parametrize(
    "topology, plan, options, words",
    [
        ({}, {"guests": []}, {}, "nodes is missing"),
        (TOPOLOGY, {"plan": []}, {}, "This is not a plan"),
        (TOPOLOGY, {"guests": []}, {"width": 20}, "from 60 to 500"),
    ],
)
def test_bad_input_is_an_error_of_the_filter(topology, plan, options, words):
    with pytest.raises(AnsibleFilterError, match="^kvm_picture: .*" + words):
        kvm_picture(topology, plan, **options)
