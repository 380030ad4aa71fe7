# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CPUs, NUMA nodes, memory and huge pages of a host, read from libvirt's capabilities XML (``virsh capabilities``).

Format: https://libvirt.org/formatcaps.html. libvirt leaves out offline CPUs, free huge pages and PCI devices.
"""
from typing import Dict, FrozenSet, List, Optional, Tuple
from xml.etree import ElementTree

from . import cpuset
from .errors import FleetError
from .model import LOCAL_DISTANCE, REMOTE_DISTANCE, Cpu, Node, Pages
from .sysfs import Computer

#: Sizes in which a kernel hands out ordinary memory. libvirt lists them among the pages of a cell; they are no huge pages.
_ORDINARY_PAGES = (4, 8, 16, 64)
_KIB = {"b": 1.0 / 1024, "bytes": 1.0 / 1024, "KiB": 1, "k": 1, "MiB": 1024, "M": 1024, "GiB": 1024 ** 2, "G": 1024 ** 2, "TiB": 1024 ** 3, "T": 1024 ** 3}


def read_capabilities(text: str) -> Computer:
    """The CPUs and nodes that the XML tells of; raises :class:`FleetError` if it is no such XML or tells of none."""
    root = _capabilities(text)
    cells = sorted(root.findall("host/topology/cells/cell"), key=lambda cell: _number(cell, "id"))
    numbers = [_number(cell, "id") for cell in cells]
    nodes = [Node(number, _kib(cell.find("memory")), _distances(cell, number, numbers), _pools(cell)) for number, cell in zip(numbers, cells)]
    cpus = _cpus(cells)
    if not cpus:
        raise FleetError(
            "The capabilities of libvirt tell of no CPU in host/topology. Expected is the output of `virsh capabilities` of a driver that "
            "knows the host's NUMA cells (qemu does). Read the topology from sysfs instead."
        )
    if len(set(numbers)) != len(numbers) or len({cpu.id for cpu in cpus}) != len(cpus):
        raise FleetError("The capabilities of libvirt name a cell or a CPU twice. Expected is the output of `virsh capabilities`.")
    caches = _third_level_caches(root, [cpu.id for cpu in cpus])
    return Computer([cpu._replace(l3=caches.get(cpu.id)) for cpu in _in_cores(cpus)], nodes)


def _capabilities(text: str) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise FleetError("The capabilities of libvirt are not valid XML: {0}. Expected is the output of `virsh capabilities`.".format(error))
    if root.tag != "capabilities":
        raise FleetError("The XML begins with <{0}>, but <capabilities> is expected, the output of `virsh capabilities`.".format(root.tag))
    return root


def _number(element: ElementTree.Element, name: str, default: Optional[int] = None) -> int:
    """A number from 0 in an attribute; -1, libvirt's and the kernel's word for "not known", counts as the default."""
    text = element.get(name)
    if (text is None or text == "-1") and default is not None:
        return default
    if text is None or not text.isdigit():
        raise FleetError("The capabilities of libvirt have a <{0}> whose {1} is {2!r}; a number is expected.".format(element.tag, name, text))
    return int(text)


def _kib(element: Optional[ElementTree.Element]) -> int:
    """The KiB that an element with a ``unit`` holds; 0 if it is not there."""
    if element is None:
        return 0
    unit = element.get("unit", "KiB")
    text = (element.text or "").strip()
    if not text.isdigit() or unit not in _KIB:
        raise FleetError("The capabilities of libvirt have a <{0}> of {1!r} {2}; a number of KiB is expected.".format(element.tag, text, unit))
    return int(int(text) * _KIB[unit])


def _distances(cell: ElementTree.Element, number: int, numbers: List[int]) -> Tuple[int, ...]:
    given = {_number(sibling, "id"): _number(sibling, "value") for sibling in cell.findall("distances/sibling")}
    return tuple(given.get(other, LOCAL_DISTANCE if other == number else REMOTE_DISTANCE) for other in numbers)


def _pools(cell: ElementTree.Element) -> Dict[int, Pages]:
    """The pools of huge pages. How many are free is not in the XML: all are taken to be."""
    counts = {}
    for pages in cell.findall("pages"):
        text = (pages.text or "").strip()
        if not text.isdigit():
            raise FleetError("The capabilities of libvirt have <pages> whose count is {0!r}; a number is expected.".format(text))
        counts[int(_number(pages, "size") * _KIB.get(pages.get("unit", "KiB"), 1))] = int(text)
    ordinary = min([size for size in counts if size in _ORDINARY_PAGES], default=None)
    return {size: Pages(count, count) for size, count in sorted(counts.items()) if size != ordinary}


def _cpus(cells: List[ElementTree.Element]) -> List[Cpu]:
    """The CPUs of all cells, their siblings as written. A libvirt that cannot tell a CPU's place writes its id alone."""
    cpus = []
    for cell in cells:
        for found in cell.findall("cpus/cpu"):
            number = _number(found, "id")
            siblings = tuple(sorted(cpuset.parse(found.get("siblings", str(number)))))
            core = _number(found, "core_id", number)
            cpus.append(Cpu(number, _number(found, "socket_id", 0), _number(found, "die_id", 0), core, _number(cell, "id"), siblings, None, True))
    return sorted(cpus)


def _in_cores(cpus: List[Cpu]) -> List[Cpu]:
    """The CPUs with siblings that agree with each other, whatever the XML says of CPUs that are not there."""
    rest = {cpu.id for cpu in cpus}
    threads: Dict[int, Tuple[int, ...]] = {}
    for cpu in cpus:
        if cpu.id in rest:
            core = tuple(sorted((set(cpu.siblings) & rest) | {cpu.id}))
            threads.update(dict.fromkeys(core, core))
            rest -= set(core)
    return [cpu._replace(siblings=threads[cpu.id]) for cpu in cpus]


def _third_level_caches(root: ElementTree.Element, numbers: List[int]) -> Dict[int, int]:
    """The level 3 cache of each CPU, numbered by their lowest CPUs as :mod:`.sysfs` does."""
    banks: List[FrozenSet[int]] = [cpuset.parse(bank.get("cpus", "")) for bank in root.findall("host/cache/bank") if bank.get("level") == "3"]
    known = frozenset(numbers)
    shared = sorted((sorted(bank & known) for bank in banks if bank & known))
    return {cpu: rank for rank, cpus in reversed(list(enumerate(shared))) for cpu in cpus}
