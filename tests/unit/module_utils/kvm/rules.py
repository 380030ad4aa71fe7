"""The planner's rules as a checker of its own: it knows plans and hosts, and nothing of how a plan is made."""
from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset

SIZES = {"none": 0, "2M": 2048, "1G": 1048576}


def node_of(topology):
    """The node of each CPU that is online; where there is only one, a CPU that names none is on that."""
    alone = topology.nodes[0].id if len(topology.nodes) == 1 else -1
    return {cpu.id: alone if cpu.node == -1 else cpu.node for cpu in topology.online}


def broken_rules(topology, guests, policy, plan):
    """Sentences about what a plan (a dictionary) breaks; empty for a sound plan."""
    found = []
    placed = {guest["name"]: guest for guest in plan["guests"]}
    asked = {guest["name"]: guest for guest in guests}
    answered = sorted(list(placed) + [refusal["guest"] for refusal in plan["refused"]])
    if answered != sorted(asked):
        found.append("rule 7: asked for {0}, answered for {1}".format(sorted(asked), answered))
    homes = node_of(topology)
    siblings = {cpu.id: cpu.siblings for cpu in topology.online}
    found += _cpus(placed, siblings)
    for guest in placed.values():
        found += _shape(guest, asked[guest["name"]])
        found += _nodes(topology, guest, asked[guest["name"]], homes)
        found += _helpers(guest, placed, plan, homes)
    found += _memory(topology, placed, asked, policy)
    return found


def _cpus(placed, siblings):
    found, user_of = [], {}
    for name, guest in placed.items():
        for cpu in guest["vcpupin"].values():
            if cpu in user_of:
                found.append("rule 1: CPU {0} serves vCPUs of {1} and {2}".format(cpu, user_of[cpu], name))
            user_of[cpu] = name
            if cpu not in siblings:
                found.append("rule 1: CPU {0} of {1} is not online".format(cpu, name))
        if guest["pinning"] == "core":
            pins = [guest["vcpupin"][vcpu] for vcpu in sorted(guest["vcpupin"])]
            width = guest["topology"]["threads"]
            for at in range(0, len(pins), width):
                group = pins[at:at + width]
                if tuple(sorted(group)) != siblings[group[0]]:
                    found.append("rule 1: the guest siblings {0} of {1} are not the core {2}".format(group, name, siblings[group[0]]))
    for name, guest in placed.items():
        if guest["pinning"] == "core":
            for cpu in guest["vcpupin"].values():
                for sibling in siblings[cpu]:
                    if user_of.get(sibling, name) != name:
                        found.append("rule 1: the core of CPU {0} serves {1} and {2}".format(cpu, name, user_of[sibling]))
    return found


def _shape(guest, asked):
    found, name = [], guest["name"]
    topology = guest["topology"]
    if topology["sockets"] * topology["cores"] * topology["threads"] != asked["vcpus"]:
        found.append("rule 2: {0} has {1} vCPUs, but {2}".format(name, asked["vcpus"], topology))
    if guest["pinning"] != "none" and sorted(guest["vcpupin"]) != list(range(asked["vcpus"])):
        found.append("rule 2: {0} pins vCPUs {1}".format(name, sorted(guest["vcpupin"])))
    if asked.get("numa", "auto") == "auto":
        vcpus = sorted(vcpu for cell in guest["cells"] for vcpu in cpuset.parse(cell["vcpus"]))
        if vcpus != list(range(asked["vcpus"])):
            found.append("rule 2: the cells of {0} hold the vCPUs {1}".format(name, vcpus))
        if sum(cell["memory_kib"] for cell in guest["cells"]) != asked["memory_kib"]:
            found.append("rule 2: the cells of {0} hold {1} KiB".format(name, [cell["memory_kib"] for cell in guest["cells"]]))
        if any(cell["memory_kib"] <= 0 or not cpuset.parse(cell["vcpus"]) for cell in guest["cells"]):
            found.append("rule 2: {0} has an empty cell".format(name))
        per_socket = asked["vcpus"] // topology["sockets"]
        for cell in guest["cells"]:
            sockets = {vcpu // per_socket for vcpu in cpuset.parse(cell["vcpus"])}
            if len(sockets) * per_socket != len(cpuset.parse(cell["vcpus"])) and not guest["kept"]:
                found.append("rule 2: a socket of {0} spans two cells".format(name))
    elif guest["cells"]:
        found.append("rule 2: {0} asked for no cells".format(name))
    return found


def _nodes(topology, guest, asked, homes):
    found, name = [], guest["name"]
    known = {node.id for node in topology.nodes}
    near = {gpu.node for gpu in topology.gpus if gpu.index in guest["gpus"]} & known
    if near and not set(guest["nodes"]) <= near and not asked.get("beyond_gpu_nodes"):
        found.append("rule 3: {0} sits on {1}, its GPUs on {2}".format(name, guest["nodes"], sorted(near)))
    if len(guest["nodes"]) > asked.get("max_nodes", 99):
        found.append("rule 3: {0} sits on {1}".format(name, guest["nodes"]))
    wanted = asked.get("gpus") or []
    if (sorted(wanted) if isinstance(wanted, list) else wanted) != (guest["gpus"] if isinstance(wanted, list) else len(guest["gpus"])):
        found.append("rule 3: {0} asked for GPUs {1} and got {2}".format(name, wanted, guest["gpus"]))
    if guest["vcpupin"] and {homes[cpu] for cpu in guest["vcpupin"].values()} != set(guest["nodes"]):
        found.append("rule 3: {0} is pinned off its nodes {1}".format(name, guest["nodes"]))
    for cell in guest["cells"]:
        on = {homes[guest["vcpupin"][vcpu]] for vcpu in cpuset.parse(cell["vcpus"]) if guest["vcpupin"]}
        if on and on != {cell["node"]}:
            found.append("rule 3: cell {0} of {1} has CPUs of {2}".format(cell, name, on))
    return found


def _memory(topology, placed, asked, policy):
    found, used = [], {}
    for name, guest in placed.items():
        size = SIZES[asked[name].get("hugepages", "none")]
        if size:
            pages = guest["pages"][str(size)]
            if guest["cells"] and any(pages[cell["node"]] != -(-cell["memory_kib"] // size) for cell in guest["cells"]):
                found.append("rule 4: pages {0} of {1} do not hold {2}".format(pages, name, guest["cells"]))
            if sum(pages.values()) * size < asked[name]["memory_kib"]:
                found.append("rule 4: pages {0} of {1} are too few".format(pages, name))
            for node, count in pages.items():
                used[node] = used.get(node, 0) + count * size
        else:
            for cell in guest["cells"]:
                used[cell["node"]] = used.get(cell["node"], 0) + cell["memory_kib"]
    for node, kib in used.items():
        if kib > max(0, topology.node(node).memory_kib - policy.get("reserved_memory_kib", 0)):
            found.append("rule 4: node {0} gives {1} KiB of {2}".format(node, kib, topology.node(node).memory_kib))
    return found


def _helpers(guest, placed, plan, homes):
    found, name = [], guest["name"]
    busy = {cpu for other in placed.values() for cpu in other["vcpupin"].values()}
    local = {cpu for cpu, node in homes.items() if node in guest["nodes"]}
    idle = local - busy
    pins = [cpuset.parse(guest["emulatorpin"])] + [cpuset.parse(cpus) for cpus in guest["iothreadpin"].values()]
    for cpus in pins:
        if not cpus <= local:
            found.append("rule 5: helpers of {0} on {1}, off its nodes".format(name, sorted(cpus - local)))
        if idle and cpus & busy:
            found.append("rule 5: helpers of {0} on the busy CPUs {1} though {2} are idle".format(name, sorted(cpus & busy), sorted(idle)))
    free = cpuset.parse(plan["host"]["free_cpus"])
    if free & (busy | cpuset.parse(plan["host"]["reserved_cpus"])):
        found.append("free CPUs {0} are not free".format(sorted(free)))
    if busy & cpuset.parse(plan["host"]["reserved_cpus"]) and not guest["kept"]:
        found.append("a vCPU runs on a reserved CPU")
    return found
