"""Filters as a playbook uses them: through Ansible's templating, with its error for bad input."""
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.dgxops.fleet.plugins.filter import cache_plan, cpuset, hostlist, ib_fabric_plan, kvm_plan, storage_advice

TOPOLOGY = {
    "cpus": [{"id": number, "socket": 0, "core": number % 4, "node": 0} for number in range(8)],
    "nodes": [{"id": 0, "memory_kib": 1 << 25}],
    "devices": [{"pci": "0000:0{0}:00.0".format(at), "kind": "hca", "index": at, "node": 0, "name": "mlx5_{0}".format(at)} for at in range(2)],
}


def apply(plugin, name, *arguments, **options):
    return plugin.FilterModule().filters()[name](*arguments, **options)


def test_a_plan_of_a_topology_that_facts_returned():
    plan = apply(kvm_plan, "kvm_plan", TOPOLOGY, [{"name": "a", "vcpus": "4", "memory": "1G"}], {"pinning": "core"})
    assert plan["guests"][0]["vcpupin"] == {0: 0, 1: 4, 2: 1, 3: 5}
    assert plan["host"]["free_cpus"] == "2-3,6-7"


def test_lists_and_their_short_forms():
    assert apply(cpuset, "cpuset", [0, 1, 2, 3, 48]) == "0-3,48"
    assert apply(cpuset, "cpuset", "0-3,48") == [0, 1, 2, 3, 48]
    assert apply(hostlist, "hostlist", ["dgx02", "dgx01", "login"]) == "dgx[01-02],login"
    assert apply(hostlist, "hostlist", "dgx[01-02],login") == ["dgx01", "dgx02", "login"]


def test_a_fabric_by_number_of_nodes_and_by_topology():
    assert apply(ib_fabric_plan, "ib_fabric_plan", 40)["most_nodes"] == 160
    plan = apply(ib_fabric_plan, "ib_fabric_plan", ["a", "b"], links=1, topology=TOPOLOGY)
    assert plan["hcas"]["names"] == ["mlx5_0"]
    assert plan["node_oversubscription"] == 2.0
    assert plan["cables"][0] == {"source": "a", "source_port": "mlx5_0", "target": "leaf01", "target_port": 1}


def test_numbers_that_a_template_made_texts_of_are_numbers():
    assert apply(ib_fabric_plan, "ib_fabric_plan", "40", links="4", leaf_ports="36", oversubscription="1.0") == apply(ib_fabric_plan, "ib_fabric_plan", 40)
    assert apply(ib_fabric_plan, "ib_fabric_plan", ["a"], links="1", topology=TOPOLOGY)["hcas"]["names"] == ["mlx5_0"]


def test_storage_before_it_is_bought():
    assert apply(cache_plan, "cache_plan", "20TB", 8, "3.84TB")["adequate"] is True
    assert apply(storage_advice, "storage_advice", "dl_4k", gpus=8, nodes=4)["networks"] == ["40 GbE", "InfiniBand"]


@pytest.mark.parametrize(
    "plugin, name, arguments",
    [
        (kvm_plan, "kvm_plan", ({}, [])),
        (kvm_plan, "kvm_plan", (TOPOLOGY, [{"name": "a"}])),
        (cpuset, "cpuset", ("0-",)),
        (cpuset, "cpuset", (None,)),
        (hostlist, "hostlist", ("a[1",)),
        (hostlist, "hostlist", ([1],)),
        (ib_fabric_plan, "ib_fabric_plan", ("many",)),
        (ib_fabric_plan, "ib_fabric_plan", (1000,)),
        (ib_fabric_plan, "ib_fabric_plan", (10**12,)),
        (ib_fabric_plan, "ib_fabric_plan", (4, "two", 36, 648, 1, 1, None, TOPOLOGY)),
        (cache_plan, "cache_plan", ("much", 8, "1TB")),
        (storage_advice, "storage_advice", ("video", 8)),
    ],
)
def test_bad_input_is_a_filter_error_that_starts_with_the_filter(plugin, name, arguments):
    with pytest.raises(AnsibleFilterError) as caught:
        apply(plugin, name, *arguments)
    assert str(caught.value).startswith(name + ": ")
