# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The settings of a domain's memory: how much, in which NUMA cells, from which host nodes, in which pages."""
from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from ..host import cpuset
from ..host.errors import FleetError
from .domain_parts import Setting, count_of, cpus_of, whole
from .domain_xml import DomainDocument, kib, number
from .xml_tree import Element, attribute, child, elements, set_attribute, text_of

#: QEMU gives memory to a guest in units of this size; libvirt rounds up when it starts the guest (qemuDomainAlignMemorySizes).
MEMORY_UNIT_KIB = 1024


class Memory(Setting):
    """The memory of the guest, and how much of it is given at the start."""

    name = "memory_kib"

    def __init__(self, amount: int, current: Optional[int] = None) -> None:
        self.amount = amount
        self.current = amount if current is None else current

    @classmethod
    def from_option(cls, value: Any) -> "Memory":
        return cls(whole(value, "The memory", least=1))

    @classmethod
    def read(cls, document: DomainDocument) -> "Memory":
        amount = amount_of(document.find("memory"))
        return cls(amount or 0, amount_of(document.find("currentMemory")))

    def to_option(self) -> Optional[int]:
        return self.amount if self.amount and self.amount == self.current else None

    def write(self, document: DomainDocument) -> None:
        for path in ("memory", "currentMemory") if document.find("currentMemory") is not None else ("memory",):
            element = document.make(path)
            set_attribute(element, "unit", "KiB")
            document.set_text(element, str(self.amount))

    def value(self) -> object:
        return (self.amount, self.current)

    def in_force(self, everywhere: FrozenSet[int]) -> "Memory":
        return Memory(given(self.amount), given(self.current))


def given(amount: int) -> int:
    """What a running guest gets of an amount of memory."""
    return -(-amount // MEMORY_UNIT_KIB) * MEMORY_UNIT_KIB


class Cell(NamedTuple):
    """A NUMA cell of a guest: its vCPUs, its memory, and the host nodes the memory comes from (None: any)."""

    id: int
    vcpus: FrozenSet[int]
    memory_kib: int
    nodes: Optional[FrozenSet[int]]
    mode: str


class Cells(Setting):
    """The NUMA cells of a guest together with their binding to nodes of the host (``cpu/numa`` and ``numatune/memnode``)."""

    name = "cells"

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = tuple(sorted(cells, key=lambda cell: cell.id))

    @classmethod
    def from_option(cls, value: Any) -> "Cells":
        cells = []
        for entry in value:
            id = whole(entry.get("id"), "The id of a cell")
            nodes = entry.get("node")
            cells.append(Cell(
                id, cpuset.parse(entry.get("vcpus", "")), whole(entry.get("memory_kib"), "The memory of cell {0}".format(id), least=1),
                None if nodes in (None, "") else cpuset.parse(nodes), entry.get("mode") or "strict"))
        if [cell.id for cell in sorted(cells, key=lambda cell: cell.id)] != list(range(len(cells))):
            raise FleetError("The cells are numbered {0}. Number them from 0 without gaps, each once.".format(
                ", ".join(str(cell.id) for cell in cells)))
        return cls(cells)

    @classmethod
    def read(cls, document: DomainDocument) -> "Cells":
        bindings = {count_of(attribute(element, "cellid")): element for element in document.find_all("numatune/memnode")}
        cells = []
        for id, element in cls._found(document):
            binding = bindings.get(id)
            cells.append(Cell(
                id, cpus_of(attribute(element, "cpus")), kib(attribute(element, "memory") or "0", attribute(element, "unit")) or 0,
                cpus_of(attribute(binding, "nodeset")) if binding is not None else None, attribute(binding, "mode") or "strict"))
        return cls(cells)

    @staticmethod
    def _found(document: DomainDocument) -> List[Tuple[int, Element]]:
        found = [(number(attribute(element, "id") or str(position)), element) for position, element in enumerate(document.find_all("cpu/numa/cell"))]
        return [(id, element) for id, element in found if id is not None]

    def to_option(self) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = []
        for cell in self.cells:
            entry: Dict[str, Any] = {"id": cell.id, "vcpus": cpuset.show(cell.vcpus), "memory_kib": cell.memory_kib}
            if cell.nodes is not None:
                entry["node"] = min(cell.nodes) if len(cell.nodes) == 1 else cpuset.show(cell.nodes)
                entry["mode"] = cell.mode
            found.append(entry)
        return found

    def write(self, document: DomainDocument) -> None:
        if not self.cells:
            document.drop("cpu/numa")
            document.drop("numatune/memnode")
            return
        self._write_cells(document)
        self._write_bindings(document)

    def _write_cells(self, document: DomainDocument) -> None:
        numa = document.make("cpu/numa")
        there = dict(self._found(document))
        gone = set(there) - {cell.id for cell in self.cells}
        for id in gone:
            document.remove(there[id])
        if gone:
            self._forget(document, gone)
        for cell in self.cells:
            element = there[cell.id] if cell.id in there else document.add(numa, "cell")
            set_attribute(element, "id", cell.id)
            if cpus_of(attribute(element, "cpus")) != cell.vcpus:
                set_attribute(element, "cpus", cpuset.show(cell.vcpus) or None)
            if kib(attribute(element, "memory") or "", attribute(element, "unit")) != cell.memory_kib:
                set_attribute(element, "memory", cell.memory_kib)
                set_attribute(element, "unit", "KiB")

    @staticmethod
    def _forget(document: DomainDocument, gone: Iterable[int]) -> None:
        """Distances to cells that are no more would be refused by libvirt."""
        names = {str(id) for id in gone}
        for cell in document.find_all("cpu/numa/cell"):
            distances = child(cell, "distances")
            for sibling in elements(distances, "sibling") if distances is not None else []:
                if attribute(sibling, "id") in names:
                    document.remove(sibling)
            if distances is not None and not elements(distances):
                document.remove(distances)
        document.drop("cpu/numa/interconnects")

    def _write_bindings(self, document: DomainDocument) -> None:
        wanted = {str(cell.id): cell for cell in self.cells if cell.nodes is not None}
        there = {}
        for element in document.find_all("numatune/memnode"):
            id = attribute(element, "cellid") or ""
            if id not in wanted or id in there:
                document.remove(element)
            else:
                there[id] = element
        for id, cell in wanted.items():
            element = there.get(id) or document.add(document.make("numatune"), "memnode", {"cellid": id, "mode": cell.mode})
            set_attribute(element, "mode", cell.mode)
            if cpus_of(attribute(element, "nodeset")) != cell.nodes:
                set_attribute(element, "nodeset", cpuset.show(cell.nodes or ()))
        document.tidy_at("numatune")

    def value(self) -> object:
        return [(cell.id, sorted(cell.vcpus), cell.memory_kib, sorted(cell.nodes or ()), cell.mode if cell.nodes is not None else "") for cell in self.cells]

    def in_force(self, everywhere: FrozenSet[int]) -> "Cells":
        return Cells(cell._replace(memory_kib=given(cell.memory_kib)) for cell in self.cells)


class HugePages(Setting):
    """The huge pages that back the guest's memory: None for none, else sizes in KiB with the guest cells that use them.

    No size at all is ``<hugepages/>``: the host's default size for everything.
    """

    name = "hugepages"
    SIZES = {"2M": 2048, "1G": 1048576}

    def __init__(self, pages: Optional[Iterable[Tuple[int, str]]]) -> None:
        self.pages = None if pages is None else tuple(sorted(pages))

    @classmethod
    def from_option(cls, value: Any) -> "HugePages":
        if value == "none":
            return cls(None)
        if value == "default":
            return cls(())
        if value not in cls.SIZES:
            raise FleetError("It is {0!r}. Choose none, default, 2M or 1G.".format(value))
        return cls([(cls.SIZES[value], "")])

    @classmethod
    def read(cls, document: DomainDocument) -> "HugePages":
        element = document.find("memoryBacking/hugepages")
        if element is None:
            return cls(None)
        return cls(
            (kib(attribute(page, "size") or "0", attribute(page, "unit")) or 0, cpuset.show(cpus_of(attribute(page, "nodeset"))))
            for page in elements(element, "page")
        )

    def to_option(self) -> Optional[str]:
        if not self.pages:
            return "none" if self.pages is None else "default"
        return next((name for name, size in self.SIZES.items() if self.pages == ((size, ""),)), None)

    def write(self, document: DomainDocument) -> None:
        document.drop("memoryBacking/hugepages/page")
        if self.pages is None:
            document.drop("memoryBacking/hugepages")
            return
        element = document.make("memoryBacking/hugepages")
        for size, nodeset in self.pages:
            page = document.add(element, "page", {"size": size, "unit": "KiB"})
            set_attribute(page, "nodeset", nodeset or None)

    def value(self) -> object:
        return self.pages


def amount_of(element: Optional[Element]) -> Optional[int]:
    """An amount of memory found in a document, in KiB; None if there is no such element."""
    return kib(text_of(element), attribute(element, "unit")) if element is not None else None
