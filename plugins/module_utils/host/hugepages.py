# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pools of huge pages, per NUMA node, while the host runs: what has to be done for the pages a user wants. Pure; see :mod:`.hugepages_host`.

Sources: Documentation/admin-guide/mm/hugetlbpage.rst and Documentation/ABI/stable/sysfs-devices-node of the kernel. A write to a
node's nr_hugepages always succeeds; what came of it has to be read back. What is in use stays, whatever is written: the kernel
then calls it surplus, and takes it back when it is freed.
"""
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .errors import FleetError
from .files import Diff
from .kept import TMPFILES
from .kernel import size_kib

_NUMBER = re.compile(r"\d+\Z", re.ASCII)

# Below the root of the host.
NODES = "sys/devices/system/node"
WHOLE_HOST = "sys/kernel/mm/hugepages"

#: Why tmpfiles.d: sysctl (vm.nr_hugepages) and the kernel command line before 5.16 cannot tell nodes apart, and a unit would need a shell to
#: write a file. ``w`` writes a file that exists, ``!`` only at boot (tmpfiles.d(5)); systemd-tmpfiles-setup.service runs before
#: sysinit.target, hence before libvirtd, and while memory is still in one piece.
HEADER = "# Written by dgxops.fleet.hugepages, which owns this file: the huge pages of each NUMA node, set at every boot. See tmpfiles.d(5).\n"


class Place(NamedTuple):
    """A pool's place: page size in KiB and NUMA node."""

    size_kib: int
    node: int


class Pool(NamedTuple):
    """A pool as the kernel shows it. ``total`` includes ``surplus``, pages that go when they are freed."""

    total: int
    free: int
    surplus: int

    @property
    def kept(self) -> int:
        """The pages the kernel keeps, which is what is asked of it."""
        return self.total - self.surplus

    @property
    def in_use(self) -> int:
        return self.total - self.free


class Memory(NamedTuple):
    """Memory of a node. ``available_kib`` is what is free or holds only cached files."""

    total_kib: int
    available_kib: int


class Found(NamedTuple):
    """All pools of a host. ``reserved`` counts, by size, pages promised to a program that has not touched them yet; of no node yet."""

    pools: Mapping[Place, Pool]
    reserved: Mapping[int, int]
    memory: Mapping[int, Memory]
    by_node: bool
    mounts: Optional[Mapping[int, str]]
    record: Mapping[Place, int] = {}
    persisted: Optional[str] = None

    @property
    def sizes(self) -> List[int]:
        return sorted({place.size_kib for place in self.pools})


class Wish(NamedTuple):
    """What the user asked for. Pools that are not named go back to what they were before the first change, or are left alone."""

    pages: Mapping[Place, int]
    persistent: bool = True
    shrink_in_use: bool = False


class Step(NamedTuple):
    """One pool taken from one count to another."""

    place: Place
    before: int
    after: int


class Change(NamedTuple):
    """What is to be done: ``steps`` now, and the file that repeats them at boot, from one text to another (None: no file).

    ``record`` holds, for every pool that was changed, the pages it had before the first change.
    """

    wish: Wish
    steps: Sequence[Step]
    persisted: Optional[str]
    persist: Optional[str]
    record: Mapping[Place, int]

    def __bool__(self) -> bool:
        return bool(self.steps) or self.persisted != self.persist

    @property
    def diffs(self) -> List[Diff]:
        """What ``--diff`` shows: the pools as a table, and the file."""
        pools = [
            Diff(_table({step.place: step.before for step in self.steps}), _table({step.place: step.after for step in self.steps}), "huge pages by NUMA node")
        ]
        text = [Diff(self.persisted or "", self.persist or "", "/" + TMPFILES)]
        return (pools if self.steps else []) + (text if self.persisted != self.persist else [])


class Result(NamedTuple):
    """A pool for the user: what it had before, what was ``wanted`` of it (None: nothing), and what it has now."""

    node: int
    size_kib: int
    before: int
    wanted: Optional[int]
    pool: Pool

    def to_dict(self) -> Dict[str, Any]:
        return {
            "node": self.node,
            "size": show_size(self.size_kib),
            "size_kib": self.size_kib,
            "before": self.before,
            "wanted": self.wanted,
            "total": self.pool.total,
            "free": self.pool.free,
            "in_use": self.pool.in_use,
            "surplus": self.pool.surplus,
        }


def results(change: Change, before: Found, now: Found) -> List[Result]:
    """Every pool that was asked for or holds pages, by node and size."""
    wanted: Dict[Place, int] = {step.place: step.after for step in change.steps}
    wanted.update(change.wish.pages)
    shown = [place for place in now.pools if place in wanted or now.pools[place].total or before.pools[place].total]
    return [
        Result(place.node, place.size_kib, before.pools[place].kept, wanted.get(place), now.pools[place])
        for place in sorted(shown, key=lambda place: (place.node, place.size_kib))
    ]


def unmounted(wish: Wish, found: Found) -> List[int]:
    """Page sizes that were asked for, but that libvirt cannot use, since no hugetlbfs of that size is mounted."""
    sizes = {place.size_kib for place, count in wish.pages.items() if count}
    return sorted(sizes - set(found.mounts)) if found.mounts is not None else []


def directory_of(place: Place, by_node: bool) -> str:
    """Where the kernel has the files of a pool; a kernel without NUMA has them for the host only."""
    above = "{0}/node{1}/hugepages".format(NODES, place.node) if by_node else WHOLE_HOST
    return "{0}/hugepages-{1}kB".format(above, place.size_kib)


def wanted_pages(given: Any) -> Dict[Place, int]:
    """The pages a user asked for: page size (KiB, or ``2M``, ``1G``), to node, to count. Raises :class:`FleetError` for anything else."""
    shape = 'Write pages as {"1G": {0: 96, 1: 96}}: page size, NUMA node, number of pages.'
    if not isinstance(given, Mapping):
        raise FleetError("pages is {0!r}. {1}".format(given, shape))
    wanted: Dict[Place, int] = {}
    for size, nodes in given.items():
        kib = int(size) if _NUMBER.match(str(size)) else size_kib(re.sub(r"(?i)(?<=[kmg])i?b\Z", "", str(size)), "pages[{0}]".format(size))
        if not isinstance(nodes, Mapping):
            raise FleetError("pages[{0}] is {1!r}, but should say how many pages each node gets. {2}".format(size, nodes, shape))
        for node, count in nodes.items():
            if not _NUMBER.match(str(node)) or isinstance(count, bool) or not _NUMBER.match(str(count)):
                raise FleetError("pages[{0}][{1}] is {2!r}, which is no number of pages. {3}".format(size, node, count, shape))
            place = Place(kib, int(node))
            if place in wanted:
                raise FleetError("pages names the size {0} for node {1} twice, in different spellings. Keep one.".format(show_size(kib), node))
            wanted[place] = int(count)
    return wanted


def decide(wish: Wish, found: Found, users: Callable[[], Sequence[str]] = tuple) -> Change:
    """The way to the wanted counts; raises :class:`FleetError` before anything that cannot work or would take pages from a program.

    ``users`` finds out who uses huge pages; it is asked only where that is what is in the way.
    """
    for place, count in sorted(wish.pages.items()):
        _check_place(place, count, found)
    counts = dict(found.record)
    counts.update(wish.pages)
    steps = [
        Step(place, found.pools[place].kept, count) for place, count in counts.items() if place in found.pools and found.pools[place].kept != count
    ]
    if not wish.shrink_in_use:
        _check_use(steps, found, users)
    _check_memory(steps, found)
    record = {step.place: step.before for step in steps}
    record.update(found.record)
    return Change(
        wish=wish,
        # What gives memory back goes first. Larger pages come before smaller ones, which would break up the free memory they need.
        steps=sorted(steps, key=lambda step: (step.after > step.before, -step.place.size_kib, step.place.node)),
        persisted=found.persisted,
        persist=_persist_text(wish, found) if wish.persistent and wish.pages else None,
        record=record,
    )


def _persist_text(wish: Wish, found: Found) -> str:
    return HEADER + "".join(
        "w! /{0}/nr_hugepages - - - - {1}\n".format(directory_of(place, found.by_node), count)
        for place, count in sorted(wish.pages.items(), key=lambda item: (-item[0].size_kib, item[0].node))
        if place in found.pools
    )


def _check_place(place: Place, count: int, found: Found) -> None:
    if place in found.pools or (count == 0 and place.node in found.memory):
        return
    if place.node not in found.memory:
        raise FleetError(
            "This host has no NUMA node {0}; it has {1}. Compare with lscpu, or take the pages from the planner's answer for this host.".format(
                place.node, ", ".join(str(node) for node in sorted(found.memory))
            )
        )
    if place.size_kib not in found.sizes:
        raise FleetError(
            "This host's kernel offers no pages of {0}; it offers {1}. Pages of 1 GiB need a CPU with the flag pdpe1gb (see /proc/cpuinfo).".format(
                show_size(place.size_kib), ", ".join(show_size(size) for size in found.sizes) or "no huge pages at all"
            )
        )
    raise FleetError("Node {0} has no memory of its own, so it cannot hold {1} pages of {2}.".format(place.node, count, show_size(place.size_kib)))


def _check_use(steps: Sequence[Step], found: Found, users: Callable[[], Sequence[str]]) -> None:
    for step in steps:
        in_use = found.pools[step.place].in_use
        if step.after < min(step.before, in_use):
            raise FleetError(
                "Node {0} has {1} pages of {2}, {3} of them in use, and is to have {4}. {5}".format(
                    step.place.node, step.before, show_size(step.place.size_kib), in_use, step.after, _how_to_free(users())
                )
            )
    for size in found.sizes:
        lost = sum(step.before - step.after for step in steps if step.place.size_kib == size)
        free = sum(pool.free for place, pool in found.pools.items() if place.size_kib == size)
        if lost > 0 and free - lost < found.reserved.get(size, 0):
            raise FleetError(
                "Of the {0} free pages of {1}, {2} are reserved for a program that has not used them yet; {3} cannot be taken away. {4}".format(
                    free, show_size(size), found.reserved[size], lost, _how_to_free(users())
                )
            )


def _how_to_free(users: Sequence[str]) -> str:
    return "Nothing was changed. {0}Stop what uses them first, or set shrink_in_use: true to have the kernel take each page when it is freed.".format(
        "In use by: {0}. ".format("; ".join(users)) if users else ""
    )


def _check_memory(steps: Sequence[Step], found: Found) -> None:
    for node, memory in sorted(found.memory.items()):
        here = [step for step in steps if step.place.node == node]
        more = sum(max(step.after - step.before, -found.pools[step.place].free) * step.place.size_kib for step in here)
        if any(step.after > step.before for step in here) and memory.total_kib and more > memory.available_kib:
            asked = ", ".join("{0} of {1}".format(step.after, show_size(step.place.size_kib)) for step in here)
            raise FleetError(
                "Node {0} is to have {1}: that takes {2} more of its {3}, but only {4} are free or hold cached files. Nothing was changed. "
                "Ask for fewer pages, or stop what uses the memory of this node (numastat -m shows it).".format(
                    node, asked, amount(more), amount(memory.total_kib), amount(memory.available_kib)
                )
            )


def at_boot(size: int) -> str:
    """The way that is left where the running kernel has no more pages of a size."""
    return (
        "Set the pages aside at boot, while memory is in one piece: dgxops.fleet.kernel_cmdline with the parameters hugepagesz={0} and "
        "hugepages=COUNT (for all nodes together), then a reboot.".format(show_size(size))
    )


def too_few(step: Step, got: int, left: Sequence[Step]) -> str:
    """What to tell where the kernel did not do what it was asked; ``left`` are the steps that could not be taken back."""
    name = "pages of {0}".format(show_size(step.place.size_kib))
    if step.after < step.before:
        return "Node {0} still has {1} {2} where {3} were wanted: some came into use meanwhile. {4} Stop what uses them and run the task again.".format(
            step.place.node, got, name, step.after, put_back(left)
        )
    return "Node {0} gave {1} of {2} {3}, also after compaction: its free memory is in too many pieces. {4} {5}".format(
        step.place.node, got, step.after, name, put_back(left), at_boot(step.place.size_kib)
    )


def put_back(left: Sequence[Step]) -> str:
    """How the pools were left after a failure."""
    if not left:
        return "All pools are as they were."
    return "Not all pools could be put back: {0}.".format(
        ", ".join("node {0} should have {1} of {2}".format(step.place.node, step.before, show_size(step.place.size_kib)) for step in left)
    )


def _table(counts: Mapping[Place, int]) -> str:
    rows = sorted(counts.items(), key=lambda item: (item[0].node, item[0].size_kib))
    return "".join("node {0}  {1:>4}  {2} pages\n".format(place.node, show_size(place.size_kib), count) for place, count in rows)


def show_size(kib: int) -> str:
    """A page size as people write it: ``2M``, ``1G``."""
    for letter, unit in (("G", 1048576), ("M", 1024)):
        if kib % unit == 0 and kib:
            return "{0}{1}".format(kib // unit, letter)
    return "{0}K".format(kib)


def amount(kib: int) -> str:
    """An amount of memory as people write it."""
    return "{0:.1f} GiB".format(kib / 1048576) if kib >= 1048576 else "{0} MiB".format(kib // 1024)
