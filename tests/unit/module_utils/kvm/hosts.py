"""Hosts to plan for: the documented DGX machines, and any machine hypothesis can think of."""
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology

GIB = 1024 * 1024
#: PCI buses of the GPUs of a DGX-2 (GPUDirect Storage guide; hwloc's nvidiaDGX2.xml): 0-7 on node 0, 8-15 on node 1.
DGX2_BUSES = "34 36 39 3b 57 59 5c 5e b7 b9 bc be e0 e2 e5 e7".split()
#: GPUs of a DGX A100 under NPS4 by node (DeepOps' nhc example).
A100_NODES = [3, 3, 1, 1, 7, 7, 5, 5]


def dgx2():
    """2 sockets x 24 cores x 2 threads, numbered as Linux does: first all cores, then their siblings."""
    cpus = [{"id": number, "socket": number % 48 // 24, "core": number % 24, "node": number % 48 // 24} for number in range(96)]
    nodes = [{"id": node, "memory_kib": 791000000, "distances": [10, 21] if node == 0 else [21, 10]} for node in (0, 1)]
    gpus = [{"pci": "0000:{0}:00.0".format(bus), "kind": "gpu", "index": at, "node": at // 8} for at, bus in enumerate(DGX2_BUSES)]
    return Topology.from_dict({"cpus": cpus, "nodes": nodes, "devices": gpus})


def dgx_a100():
    """2 sockets x 64 cores x 2 threads, 8 nodes of 16 cores, 4 cores to a level 3 cache."""
    cpus = [
        {"id": number, "socket": number % 128 // 64, "core": number % 64, "node": number % 128 // 16, "l3": number % 128 // 4} for number in range(256)
    ]
    nodes = [
        {"id": node, "memory_kib": 128 * GIB, "distances": [10 if other == node else 12 if other // 4 == node // 4 else 32 for other in range(8)]}
        for node in range(8)
    ]
    gpus = [{"pci": "0000:{0:02x}:00.0".format(7 + at * 16), "kind": "gpu", "index": at, "node": node} for at, node in enumerate(A100_NODES)]
    return Topology.from_dict({"cpus": cpus, "nodes": nodes, "devices": gpus})


@st.composite
def topologies(draw, most_cores=6):
    """1-8 sockets, 1-16 nodes, SMT 1, 2 or 4, gaps in the numbering, offline CPUs, nodes without memory or without CPUs, GPUs anywhere."""
    sockets = draw(st.integers(1, 8))
    per_socket = draw(st.sampled_from([1, 1, 1, 2]))
    smt = draw(st.sampled_from([1, 2, 2, 4]))
    cores = draw(st.integers(1, most_cores))
    adjacent = draw(st.booleans())
    base = draw(st.sampled_from([0, 0, 0, 1020]))
    node_ids = draw(st.permutations(range(sockets * per_socket + draw(st.integers(0, 1)))))
    places = [(socket, part, core) for socket in range(sockets) for part in range(per_socket) for core in range(cores)]
    cpus = []
    for at, (socket, part, core) in enumerate(places):
        for thread in range(smt):
            number = at * smt + thread if adjacent else thread * len(places) + at
            cpus.append(
                {
                    "id": base + number,
                    "socket": socket,
                    "core": part * cores + core,
                    "node": sorted(node_ids)[socket * per_socket + part],
                    "l3": (socket * per_socket + part) * 2 + core % 2,
                }
            )
    gone = draw(st.sets(st.integers(0, len(cpus) - 1), max_size=len(cpus) // 3))
    cpus = [dict(cpu, online=at not in gone) for at, cpu in enumerate(cpus)]
    for cpu in cpus:
        if not cpu["online"]:
            cpu.update(siblings=[], socket=-1, core=-1)
    if not any(cpu["online"] for cpu in cpus):
        cpus[0] = {"id": cpus[0]["id"], "socket": 0, "core": 0, "node": sorted(node_ids)[0]}
    holes = draw(st.sets(st.integers(0, len(cpus) - 1), max_size=len(cpus) // 4))
    kept = [cpu for at, cpu in enumerate(cpus) if at not in holes]
    cpus = kept if any(cpu.get("online", True) for cpu in kept) else cpus
    if draw(st.integers(0, 9)) == 0:  # firmware that names no node for some CPUs
        for cpu in cpus[:draw(st.integers(1, len(cpus)))]:
            cpu["node"] = -1
    nodes = [{"id": node, "memory_kib": draw(st.sampled_from([0, 4 * GIB, 64 * GIB, 64 * GIB + 12345, 700 * GIB]))} for node in sorted(node_ids)]
    where = draw(st.lists(st.sampled_from([-1] + sorted(node_ids)), max_size=8))
    gpus = [{"pci": "0000:{0:02x}:00.0".format(16 + at), "kind": "gpu", "index": at, "node": node} for at, node in enumerate(where)]
    return Topology.from_dict({"cpus": cpus, "nodes": nodes, "devices": gpus})


@st.composite
def guest_lists(draw, gpus):
    """Up to six guests that ask for reasonable and unreasonable things."""
    guests = []
    for at in range(draw(st.integers(1, 6))):
        guest = {"name": "g{0}".format(at), "vcpus": draw(st.integers(1, 24))}
        guest["memory_kib"] = draw(st.sampled_from([GIB, 2 * GIB, 3 * GIB + 512 * 1024, 8 * GIB, 10000001, 200 * GIB]))
        if gpus:
            guest["gpus"] = draw(st.one_of(st.integers(0, gpus), st.lists(st.integers(0, gpus - 1), max_size=3, unique=True)))
        for key, values in (
            ("pinning", ["core", "thread", "none"]),
            ("hugepages", ["2M", "1G", "none"]),
            ("numa", ["auto", "none"]),
            ("iothreads", [0, 1, 3, 40]),
            ("emulator", ["same_node", "none"]),
            ("max_nodes", [1, 2]),
        ):
            if draw(st.booleans()):
                guest[key] = draw(st.sampled_from(values))
        guests.append(guest)
    return guests


policies = st.fixed_dictionaries({"reserved_cores": st.sampled_from([0, 0, 1, 2]), "reserved_memory_kib": st.sampled_from([0, GIB])})
