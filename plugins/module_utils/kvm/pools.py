# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The huge pages a host needs for its guests: those of the plan, and those of guests that are not planned but use such pages."""
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.model import Pages as PagePool
from ..host.topology import Topology
from .guests import Domain
from .requests import HUGE_PAGES

#: Page size in KiB to NUMA node to number of pages.
Pages = Dict[int, Dict[int, int]]

#: The name under which the role has kernel_cmdline set its parameters.
PARAMETERS = "dgxops-hugepages"

_NAMES = {size: name for name, size in HUGE_PAGES.items()}

#: The kernel takes pages by node (``hugepages=0:96,1:96``) from this release on (commit b5389086ad7b).
_BY_NODE_SINCE = (5, 16)


class Host(NamedTuple):
    """What is known of a host: topology, kernel, its NUMA balancing, where huge pages are mounted by size in KiB, and what the collection
    keeps over a reboot: sysctl settings by name of the file, huge pages, and the names under which kernel parameters were set. None is unknown."""

    topology: Topology
    kernel_release: str
    numa_balancing: Optional[int]
    hugetlbfs: Optional[Mapping[Any, str]]
    sysctl: Mapping[str, Mapping[str, str]]
    pages: Optional[Pages]
    parameters: Optional[Sequence[str]]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Host":
        """From what dgx_facts returns; a topology alone does too."""
        topology = Topology.from_dict(facts.get("topology", facts) if isinstance(facts, Mapping) else facts)
        kept = facts.get("kept") or {}
        pages = kept.get("hugepages")
        return cls(
            topology=topology,
            kernel_release=str(facts.get("kernel_release") or ""),
            numa_balancing=facts.get("numa_balancing"),
            hugetlbfs=facts.get("hugetlbfs"),
            sysctl=kept.get("sysctl") or {},
            pages=None if pages is None else {int(size): {int(node): int(count) for node, count in nodes.items()} for size, nodes in pages.items()},
            parameters=kept.get("kernel_cmdline"),
        )


class Mount(NamedTuple):
    """Where pages of a size, named as ``1G``, are mounted, or are to be."""

    size: str
    path: str
    there: bool


class Supply(NamedTuple):
    """How a host comes by its huge pages. What is empty or None is left alone.

    ``before`` and ``after`` are the pools to set before the guests change (empty: nothing) and after: guests first where pages are given
    up (section 12.3.1.3), pages first where they are needed. ``boot`` are kernel parameters, ``held_back`` tells that the pages wait for a reboot.
    """

    before: Pages = {}
    after: Optional[Pages] = None
    boot: Optional[Sequence[str]] = None
    held_back: bool = False
    mounts: Sequence[Mount] = ()


def pages_of(domain: Domain, topology: Topology) -> Pages:
    """The huge pages that a domain uses as it is configured: by its cells, else by the nodes of its pins, else spread over the nodes."""
    if not domain.page_kib:
        return {}
    bound: Dict[int, int] = {}
    for cell in domain.cells:
        if cell.node is not None:
            bound[cell.node] = bound.get(cell.node, 0) + cell.memory_kib
    if not bound:
        with_memory = [node.id for node in topology.nodes if node.memory_kib]
        pinned = {cpu.node for cpu in topology.online if any(cpu.id in cpus for cpus in domain.pins.values())}
        nodes = [node for node in with_memory if node in pinned] or with_memory
        bound = {node: -(-domain.memory_kib // len(nodes)) for node in nodes}
    return {domain.page_kib: {node: -(-memory // domain.page_kib) for node, memory in bound.items()}}


def add(*parts: Mapping[int, Mapping[int, int]]) -> Pages:
    """Pages of guests that run together."""
    total: Pages = {}
    for part in parts:
        for size, nodes in part.items():
            for node, count in nodes.items():
                pool = total.setdefault(size, {})
                pool[node] = pool.get(node, 0) + count
    return total


def at_least(*parts: Mapping[int, Mapping[int, int]]) -> Pages:
    """Pages enough for any one of sets of guests that do not run together."""
    total: Pages = {}
    for part in parts:
        for size, nodes in part.items():
            for node, count in nodes.items():
                pool = total.setdefault(size, {})
                pool[node] = max(pool.get(node, 0), count)
    return total


def wanted_pools(planned: Pages, others: Sequence[Domain], rivals: Sequence[Domain], topology: Topology) -> Pages:
    """The pages of the plan and of ``others`` beside it; enough, too, for the ``rivals`` that run in place of the planned guests."""
    beside = add(*(pages_of(domain, topology) for domain in others))
    shifts = [add(*(pages_of(domain, topology) for domain in shift)) for shift in _shifts(rivals)]
    return add(beside, at_least(planned, *shifts))


def _shifts(rivals: Iterable[Domain]) -> List[List[Domain]]:
    """Sets of rivals that can run together, no two of them with the same device."""
    shifts: List[List[Domain]] = []
    for rival in sorted(rivals, key=lambda domain: domain.name):
        for shift in shifts:
            if not any(rival.pci & member.pci for member in shift):
                shift.append(rival)
                break
        else:
            shifts.append([rival])
    return shifts


def emptied(wanted: Pages, topology: Topology) -> Pages:
    """The pages wanted, and nothing in all other pools of the host (section 12.3.1.3)."""
    nothing: Pages = {}
    for node in topology.nodes:
        for size in node.pages:
            nothing.setdefault(size, {})[node.id] = 0
    return at_least(nothing, wanted)


def supply(wanted: Optional[Pages], at_boot: bool, host: Host) -> Supply:
    """The way to the pages wanted; None leaves them alone. What is as wanted already, now and over a reboot, is not asked for again."""
    if wanted is None:
        return Supply()
    parameters: Optional[List[str]] = boot_parameters(wanted, host.topology, host.kernel_release) if at_boot else []
    if parameters and not there(wanted, host.topology):
        return Supply(boot=parameters, held_back=True)
    if not parameters and host.parameters is not None and PARAMETERS not in host.parameters:
        parameters = None
    settled = wanted == host.pages and all(pool.total == wanted.get(size, {}).get(node, pool.total) for (size, node), pool in _found(host.topology).items())
    return Supply(before(wanted, host.topology), None if settled else wanted, parameters, False, mounts_for(wanted, host.hugetlbfs))


def _found(topology: Topology) -> Dict[Tuple[int, int], PagePool]:
    return {(size, node.id): pool for node in topology.nodes for size, pool in node.pages.items()}


def before(wanted: Pages, topology: Topology) -> Pages:
    """What to set before the guests change: nothing if no pool has to grow.

    If one has to, there must be memory for that, so those that are no longer wanted shrink to the pages that are in use.
    """
    found = _found(topology)
    asked = [(size, node, count) for size, nodes in wanted.items() for node, count in nodes.items() if count]
    if not any((size, node) not in found or count > found[size, node].total for size, node, count in asked):
        return {}
    used: Pages = {}
    for (size, node), pool in found.items():
        if pool.total > pool.free:
            used.setdefault(size, {})[node] = pool.total - pool.free
    return at_least(wanted, used)


def there(wanted: Pages, topology: Topology) -> bool:
    """Whether the host holds as many pages of each size as are wanted, on whatever node."""
    for size, nodes in wanted.items():
        if sum(node.pages[size].total for node in topology.nodes if size in node.pages) < sum(nodes.values()):
            return False
    return True


def boot_parameters(wanted: Pages, topology: Topology, release: str) -> List[str]:
    """The kernel parameters that set the pages aside at boot (section 12.3.1.2), largest pages first; none if no pages are wanted.

    A kernel that cannot count by node spreads the pages evenly over all nodes with memory. It is then asked for so many that the node with most
    has enough; what the others have too many is given back when the system is up.
    """
    with_memory = [node.id for node in topology.nodes if node.memory_kib]
    sizes = sorted((size for size, nodes in wanted.items() if any(nodes.values())), reverse=True)
    # The size of /dev/hugepages, which libvirt finds by itself. With two sizes the smaller stays the default, as everything else expects.
    found = ["default_hugepagesz={0}".format(_NAMES[size]) for size in sizes] if len(sizes) == 1 else []
    for size in sizes:
        counts = {node: count for node, count in sorted(wanted[size].items()) if count}
        if len(with_memory) == 1:
            count = str(sum(counts.values()))
        elif version(release) >= _BY_NODE_SINCE:
            count = ",".join("{0}:{1}".format(*pair) for pair in counts.items())
        else:
            count = str(max(counts.values()) * len(with_memory))
        found += ["hugepagesz={0}".format(_NAMES[size]), "hugepages={0}".format(count)]
    return found


def version(release: str) -> Tuple[int, int]:
    """The version and patch level of a kernel release such as ``5.15.0-1042-nvidia``; (0, 0) if it is none."""
    words = release.replace("-", ".").split(".")
    return (int(words[0]), int(words[1])) if len(words) > 1 and words[0].isdigit() and words[1].isdigit() else (0, 0)


def mounts_for(wanted: Pages, found: Optional[Mapping[Any, str]]) -> List[Mount]:
    """The mounts that libvirt needs for these pages; none where it is not known what is mounted.

    A mount that is missing goes where systemd has that of the default size, under the name that libvirt's and Red Hat's documentation give it.
    """
    if found is None:
        return []
    known = {int(size): path for size, path in found.items()}
    sizes = [size for size in sorted(wanted) if any(wanted[size].values())]
    return [Mount(_NAMES[size], known.get(size, "/dev/hugepages" + _NAMES[size]), size in known) for size in sizes]


def to_dict(pages: Pages) -> Dict[str, Dict[int, int]]:
    """As the module hugepages takes them."""
    return {str(size): dict(sorted(nodes.items())) for size, nodes in sorted(pages.items())}
