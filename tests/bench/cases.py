# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the planner is measured on: hosts and guests made by rule, the same on every machine and in every run."""
import random
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

from ansible_collections.dgxops.fleet.tests.lab.nvidia_vm import VCPUS

Described = Dict[str, Any]

#: Memory of a DGX-2 by node, and what a guest may ask for; small enough that CPUs are what runs out first.
NODE_KIB = 755 * 1024 ** 2
GUEST_GIB = (8, 60)
#: Guest sizes in vCPUs that fill cores of two threads, and sizes that need not.
WHOLE_CORES = (2, 4, 6, 8, 10)
ANY_SIZE = tuple(range(1, 12))


class Case(NamedTuple):
    """A host and the guests it is to hold, as a playbook would write them."""

    topology: Described
    guests: List[Described]
    policy: Described


def host(nodes: int, cores: int, threads: int = 2, gpus: int = 0) -> Described:
    """A host with one socket per node, numbered as Linux does: the first threads of all cores, then the second ones."""
    total = nodes * cores
    cpus = [
        {
            "id": thread * total + core,
            "socket": core // cores,
            "die": 0,
            "core": core % cores,
            "node": core // cores,
            "siblings": [core + rank * total for rank in range(threads)],
            "l3": core // cores,
        }
        for thread in range(threads)
        for core in range(total)
    ]
    memory = [{"id": node, "memory_kib": NODE_KIB, "distances": [10 if node == other else 21 for other in range(nodes)]} for node in range(nodes)]
    devices = [{"pci": "0000:{0:02x}:00.0".format(16 + gpu), "kind": "gpu", "index": gpu, "node": gpu * nodes // gpus} for gpu in range(gpus)]
    return {"cpus": cpus, "nodes": memory, "devices": devices}


def dgx2(gpus: int = 16) -> Described:
    """96 threads: two sockets of 24 cores."""
    return host(nodes=2, cores=24, gpus=gpus)


def guest(number: int, vcpus: int, draw: random.Random, **more: Any) -> Described:
    """A guest with memory drawn by lot."""
    return dict({"name": "guest{0:04d}".format(number), "vcpus": vcpus, "memory_kib": draw.randint(*GUEST_GIB) * 1024 ** 2}, **more)


def fleet(hosts: int, sizes: Sequence[int], seed: int = 1) -> Iterator[Case]:
    """Hosts of 96 threads with 16 guests each, all different; their cores would all fit if nodes did not matter.

    Every guest is to sit on one node: it is what Nova's guests of one cell ask for, so that both are asked the same.
    """
    draw = random.Random(seed)
    policy: Described = {"max_nodes": 1, "pinning": "core" if sizes is WHOLE_CORES else None}
    for _number in range(hosts):
        yield Case(dgx2(gpus=0), [guest(number, vcpus, draw) for number, vcpus in enumerate(_sizes(draw, sizes))], policy)


def _sizes(draw: random.Random, sizes: Sequence[int]) -> List[int]:
    """Sixteen sizes that need 40 to 48 cores."""
    while True:
        drawn = [draw.choice(sizes) for _guest in range(16)]
        if 40 <= sum((vcpus + 1) // 2 for vcpus in drawn) <= 48:
            return drawn


def gpu_fleet(hosts: int, seed: int = 2) -> Iterator[Case]:
    """DGX-2 hosts whose 16 GPUs are shared out to guests of 1, 2, 4, 8 or 16."""
    draw = random.Random(seed)
    for _number in range(hosts):
        counts: List[int] = []
        while sum(counts) < 16:
            counts.append(draw.choice([count for count in VCPUS if count <= 16 - sum(counts)]))
        yield Case(dgx2(), [guest(number, VCPUS[count], draw, gpus=count) for number, count in enumerate(counts)], {})


def one_gpu_each() -> Case:
    """A DGX-2 with 16 guests of one GPU."""
    draw = random.Random(3)
    return Case(dgx2(), [guest(number, VCPUS[1], draw, gpus=[number]) for number in range(16)], {})


def full(nodes: int, cores: int, guests: int) -> Case:
    """A host of any size with alike guests on three quarters of its cores."""
    vcpus = max(2, nodes * cores * 3 // 4 // guests * 2)
    draw = random.Random(4)
    many = [dict(guest(number, vcpus, draw), memory_kib=1024 ** 2) for number in range(guests)]
    return Case(host(nodes, cores), many, {"pinning": "core"})


def overbooked(hosts: int) -> Iterator[Case]:
    """The hosts of :func:`fleet` with guests of one and a half times the size: about a third must be refused."""
    for case in fleet(hosts, WHOLE_CORES, seed=5):
        yield case._replace(guests=[dict(one, vcpus=one["vcpus"] * 3 // 4 * 2) for one in case.guests])


def impossible(hosts: int) -> Iterator[Case]:
    """No guest fits: each asks for more CPUs than a node has."""
    for case in fleet(hosts, WHOLE_CORES, seed=6):
        yield case._replace(guests=[dict(one, vcpus=50 + one["vcpus"]) for one in case.guests])


def torn() -> Case:
    """The worst host for a search: of 16 nodes half have the CPUs and half the memory, so that combinations look good until they are tried."""
    topology = host(nodes=16, cores=8)
    for node in topology["nodes"]:
        node["memory_kib"] = NODE_KIB if node["id"] % 2 else 1024
    topology["cpus"] = [dict(cpu, online=not cpu["node"] % 2 or cpu["core"] == 0) for cpu in topology["cpus"]]
    draw = random.Random(7)
    return Case(topology, [guest(number, 64, draw, memory_kib=NODE_KIB * 4) for number in range(16)], {"pinning": "core"})
