# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long the planner takes: one host, ten thousand hosts, a very large host, requests that cannot be met, and how it grows."""
import argparse
import itertools
import math
import sys
from typing import Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import placement
from ansible_collections.dgxops.fleet.tests.bench import cases, clock


class Effort(NamedTuple):
    """How large a run is: the whole thing, or just enough of it to see that it runs."""

    hosts: int
    some_hosts: int
    times: int
    nodes: Sequence[int]
    guests: Sequence[int]


WHOLE = Effort(hosts=10000, some_hosts=500, times=7, nodes=(2, 4, 8, 16, 32, 64, 128), guests=(4, 8, 16, 32, 64, 128, 256, 512))
SMOKE = Effort(hosts=5, some_hosts=3, times=1, nodes=(2, 4), guests=(4, 8))
#: Cores of a node of the hosts that grow: 64 threads, so that 2 to 128 nodes are 128 to 8,192 CPUs.
CORES = 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("hosts", "growth"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    options = parser.parse_args()
    effort = SMOKE if options.smoke else WHOLE
    if options.part == "hosts":
        measure_hosts(effort)
    else:
        measure_growth(effort)
    return 0


def measure_hosts(effort: Effort) -> None:
    """Hosts of one kind after another."""
    rows = [
        _row("DGX-2, 16 guests of 1 GPU", [cases.one_gpu_each()], effort.times * 5),
        _row("DGX-2s, GPUs shared out by lot", cases.gpu_fleet(effort.some_hosts), effort.times),
        _row("hosts of 96 threads, 16 guests of whole cores", cases.fleet(effort.some_hosts, cases.WHOLE_CORES), effort.times),
        _row("hosts of 96 threads, 16 guests of any size", cases.fleet(effort.some_hosts, cases.ANY_SIZE), effort.times),
        _row("the same, asked for 1.5 times what there is", cases.overbooked(effort.some_hosts), effort.times),
        _row("the same, no guest fits", cases.impossible(effort.some_hosts), effort.times),
        _row("2,048 CPUs in 32 nodes, 16 guests", [cases.full(32, 32, 16)], effort.times),
        _row("2,048 CPUs in 32 nodes, 512 guests", [cases.full(32, 32, 512)], effort.times),
        _row("16 nodes, half with the CPUs, half with the memory", [cases.torn()], 1),
    ]
    clock.table("The planner: CPU time per host, best run", ("hosts and guests", "hosts", "placed", "refused", "ms per host"), rows)
    _whole_fleet(effort.hosts)


def _row(name: str, wanted: Iterable[cases.Case], times: int) -> Tuple[str, str, int, int, str]:
    """Time to plan alone: the hosts have been read, as in a play that plans the same host again and again."""
    hosts = [(Topology.from_dict(case.topology), case) for case in wanted]
    plans = [placement.plan(topology, case.guests, case.policy) for topology, case in hosts]
    taken = clock.best(lambda: [placement.plan(topology, case.guests, case.policy) for topology, case in hosts], times)
    placed = sum(len(plan.placements) for plan in plans)
    refused = sum(len(plan.refusals) for plan in plans)
    return name, str(len(hosts)), placed, refused, "{0:.2f}".format(taken * 1000 / len(hosts))


def _whole_fleet(hosts: int) -> None:
    """What a controller does for a fleet: dictionaries in, dictionaries out, no two hosts alike."""
    taken = {"read the host's facts": 0.0, "plan its 16 guests": 0.0, "write the plan": 0.0}
    wanted = cases.fleet(hosts, cases.WHOLE_CORES)
    while True:
        batch = list(itertools.islice(wanted, 100))
        if not batch:
            break
        read: List[Topology] = []
        plans: List[placement.Plan] = []
        steps: List[Callable[[], object]] = [
            lambda: read.extend([Topology.from_dict(case.topology) for case in batch]),
            lambda: plans.extend([placement.plan(topology, case.guests, case.policy) for topology, case in zip(read, batch)]),
            lambda: [plan.to_dict() for plan in plans],
        ]
        for name, step in zip(taken, steps):
            taken[name] += clock.seconds(step)
    taken["all"] = sum(taken.values())
    rows = [(name, "{0:.1f}".format(spent), "{0:.2f}".format(spent * 1000 / hosts)) for name, spent in taken.items()]
    clock.table("{0:,} hosts of 96 threads, one run".format(hosts), ("step", "seconds", "ms per host"), rows)


def measure_growth(effort: Effort) -> None:
    """The same work on larger hosts and with more guests; three quarters of each host's cores are handed out."""
    taken: Dict[Tuple[int, int], float] = {}
    for nodes in effort.nodes:
        for guests in effort.guests:
            case = cases.full(nodes, CORES, guests)
            if sum(one["vcpus"] for one in case.guests) <= 2 * nodes * CORES:
                topology = Topology.from_dict(case.topology)
                taken[nodes, guests] = clock.best(lambda: placement.plan(topology, case.guests, case.policy), effort.times)
    rows = [
        ["{0:,}".format(2 * nodes * CORES)] + ["{0:.1f}".format(taken[nodes, guests] * 1000) if (nodes, guests) in taken else "" for guests in effort.guests]
        for nodes in effort.nodes
    ]
    clock.table("Growth: ms per plan by CPUs (down) and guests (across)", ["CPUs"] + ["{0}".format(guests) for guests in effort.guests], rows)
    by_cpus = [_exponent([(nodes, taken[nodes, guests]) for nodes in effort.nodes if (nodes, guests) in taken]) for guests in effort.guests]
    by_guests = [_exponent([(guests, taken[nodes, guests]) for guests in effort.guests if (nodes, guests) in taken]) for nodes in effort.nodes]
    print("  time grows with CPUs to the power of {0:.2f} to {1:.2f}, with guests to the power of {2:.2f} to {3:.2f}; 1 is linear".format(
        min(by_cpus), max(by_cpus), min(by_guests), max(by_guests)))


def _exponent(points: Sequence[Tuple[int, float]]) -> float:
    """The slope of time over size on logarithmic paper, by least squares."""
    logs = [(math.log(size), math.log(time)) for size, time in points]
    middle = sum(x for x, _y in logs) / len(logs), sum(y for _x, y in logs) / len(logs)
    spread = sum((x - middle[0]) ** 2 for x, _y in logs)
    return sum((x - middle[0]) * (y - middle[1]) for x, y in logs) / spread if spread else 0.0


if __name__ == "__main__":
    sys.exit(main())
