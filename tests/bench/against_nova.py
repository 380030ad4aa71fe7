# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planner and OpenStack Nova's ``numa_fit_instance_to_host`` on the same hosts and guests, in one process, turn by turn.

Nova places one guest at a time: each guest is fitted to the host as the guests before it left it, and Nova's own
``numa_usage_from_instance_numa`` then counts it in, as its resource tracker does. Only these two calls are timed: its host and guest
objects are made beforehand, its log is off, and it is not asked for GPUs. Of the planner everything but the reading of the host's facts is
timed, the reading and checking of the guests' dictionaries included.
"""
import argparse
import functools
import gc
import logging
import sys
import warnings
from importlib.metadata import version
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import placement
from ansible_collections.dgxops.fleet.tests.bench import cases, clock

warnings.simplefilter("ignore")  # eventlet, on which Nova is built, announces its end of life

from nova.objects.instance_numa import InstanceNUMACell, InstanceNUMATopology  # noqa: E402
from nova.objects.numa import NUMACell, NUMAPagesTopology, NUMATopology  # noqa: E402
from nova.virt import hardware  # noqa: E402

#: The host CPUs of each guest that was placed.
Pins = Dict[str, List[int]]
#: A guest by name, and Nova's idea of it.
Fitted = Tuple[str, InstanceNUMATopology]
#: hw:cpu_thread_policy of a flavour: a core per vCPU; siblings only; siblings where there are some.
THREAD_POLICIES = ("isolate", "require", "prefer")


class Attempt(NamedTuple):
    """All hosts filled once: the time, and the pins by host and guest."""

    seconds: float
    pins: List[Pins]


Contender = Callable[[Sequence[cases.Case]], Attempt]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()  # what Nova's libraries have loaded would be gone through at each collection, at our cost too
    hosts, times = (2, 1) if options.smoke else (100, 5)
    large = cases.full(4, 8, 16) if options.smoke else cases.full(32, 32, 256)
    comparisons: Sequence[Tuple[str, Iterable[cases.Case], int]] = (
        ("16 guests of whole cores on 96 threads", cases.fleet(hosts, cases.WHOLE_CORES), times),
        ("16 guests of any size on 96 threads", cases.fleet(hosts, cases.ANY_SIZE), times),
        ("16 guests that ask for 1.5 times what there is", cases.overbooked(hosts), times),
        ("16 guests that do not fit at all", cases.impossible(hosts), times),
        ("{0} guests on {1:,} CPUs".format(len(large.guests), len(large.topology["cpus"])), [large], 1),
    )
    for title, wanted, attempts in comparisons:
        _compare(title, list(wanted), attempts)
    return 0


def _compare(title: str, wanted: Sequence[cases.Case], turns: int) -> None:
    contenders: Dict[str, Contender] = {"dgxops.fleet": _plan}
    contenders.update({"nova " + policy: functools.partial(_nova, policy) for policy in THREAD_POLICIES})
    attempts: Dict[str, List[Attempt]] = {name: [] for name in contenders}
    for _turn in range(turns):
        for name, contender in contenders.items():
            attempts[name].append(contender(wanted))
    ours = min(attempt.seconds for attempt in attempts["dgxops.fleet"])
    rows = [_row(name, wanted, min(found, key=lambda attempt: attempt.seconds), ours) for name, found in attempts.items()]
    asked = "{0:,} guests on {1}".format(sum(len(case.guests) for case in wanted), "1 host" if len(wanted) == 1 else "{0} hosts".format(len(wanted)))
    head = (asked, "ms per host", "times ours", "guests placed", "us per guest placed", "vCPUs placed", "cores shared by guests")
    clock.table("Nova {0}: {1}".format(version("nova"), title), head, rows)


def _row(name: str, wanted: Sequence[cases.Case], attempt: Attempt, ours: float) -> Sequence[object]:
    placed = sum(len(pins) for pins in attempt.pins)
    return (
        name,
        "{0:.2f}".format(attempt.seconds * 1000 / len(wanted)),
        "{0:.1f}".format(attempt.seconds / ours),
        "{0:,}".format(placed),
        "{0:,.0f}".format(attempt.seconds * 1000000 / placed) if placed else "",
        "{0:,}".format(sum(len(cpus) for pins in attempt.pins for cpus in pins.values())),
        sum(_shared_cores(case, pins) for case, pins in zip(wanted, attempt.pins)),
    )


def _plan(wanted: Sequence[cases.Case]) -> Attempt:
    """By this collection's planner."""
    topologies = [Topology.from_dict(case.topology) for case in wanted]
    plans: List[placement.Plan] = []
    taken = clock.seconds(lambda: plans.extend([placement.plan(topology, case.guests, case.policy) for topology, case in zip(topologies, wanted)]))
    return Attempt(taken, [{placed.guest.name: list(placed.pins.values()) for placed in plan.placements} for plan in plans])


def _nova(thread_policy: str, wanted: Sequence[cases.Case]) -> Attempt:
    """By Nova. Fitting writes into the guest and counting into the host, so that every attempt needs new ones."""
    hosts = [(_host(case), [(guest["name"], _instance(guest, thread_policy)) for guest in case.guests]) for case in wanted]
    fitted: List[List[Fitted]] = []
    taken = clock.seconds(lambda: fitted.extend([_fit_one_after_another(host, guests) for host, guests in hosts]))
    return Attempt(taken, [{name: [cpu for cell in found.cells for cpu in cell.cpu_pinning.values()] for name, found in host} for host in fitted])


def _fit_one_after_another(host: NUMATopology, guests: Sequence[Fitted]) -> List[Fitted]:
    """What Nova's scheduler and its resource tracker do between them, guest by guest."""
    fitted = []
    for name, guest in guests:
        found: Optional[InstanceNUMATopology] = hardware.numa_fit_instance_to_host(host, guest, {})
        if found is not None:
            host = hardware.numa_usage_from_instance_numa(host, found)
            fitted.append((name, found))
    return fitted


def _host(case: cases.Case) -> NUMATopology:
    """Nova's picture of a host, as its libvirt driver makes it; all CPUs may be pinned.

    ``cpuset`` equals ``pcpuset``, since Nova knows by that alone a host on which *isolate* may take cores of two threads (its bug 1889633).
    """
    cells = []
    for node in case.topology["nodes"]:
        siblings = sorted({tuple(cpu["siblings"]) for cpu in case.topology["cpus"] if cpu["node"] == node["id"]})
        cpus = {cpu for core in siblings for cpu in core}
        pages = NUMAPagesTopology(size_kb=4, total=node["memory_kib"] // 4, used=0)
        cells.append(NUMACell(
            id=node["id"], cpuset=set(cpus), pcpuset=set(cpus), memory=node["memory_kib"] // 1024, memory_usage=0, cpu_usage=0, pinned_cpus=set(),
            siblings=[set(core) for core in siblings], mempages=[pages], socket=node["id"]))
    return NUMATopology(cells=cells)


def _instance(guest: cases.Described, thread_policy: str) -> InstanceNUMATopology:
    """A guest of one cell with dedicated CPUs, as the flavour's ``hw:numa_nodes=1`` and ``hw:cpu_policy=dedicated`` make it."""
    cell = InstanceNUMACell(
        id=0, cpuset=set(), pcpuset=set(range(guest["vcpus"])), memory=guest["memory_kib"] // 1024, pagesize=None,
        cpu_policy="dedicated", cpu_thread_policy=thread_policy)
    return InstanceNUMATopology(cells=[cell], emulator_threads_policy=None)


def _shared_cores(case: cases.Case, pins: Pins) -> int:
    """On how many physical cores more than one guest has a vCPU. A CPU given out twice is no result at all."""
    taken = [cpu for cpus in pins.values() for cpu in cpus]
    if len(taken) != len(set(taken)):
        raise SystemExit("a CPU was given to two vCPUs")
    core_of = {cpu["id"]: tuple(cpu["siblings"]) for cpu in case.topology["cpus"]}
    guests_on: Dict[Tuple[int, ...], set] = {}
    for name, cpus in pins.items():
        for cpu in cpus:
            guests_on.setdefault(core_of[cpu], set()).add(name)
    return sum(1 for names in guests_on.values() if len(names) > 1)


if __name__ == "__main__":
    sys.exit(main())
