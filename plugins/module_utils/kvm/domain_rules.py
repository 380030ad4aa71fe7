# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What must agree within a domain, said in sentences with a remedy.

libvirt refuses some of it with less to go by, drops some of it without a word (the pin of a vCPU that is not there), and notices the rest
only when the guest is started.
"""
import os
import stat
from typing import Callable, FrozenSet, Iterator, List, Mapping, Optional, Sequence

from ..host import cpuset
from ..host.errors import FleetError
from .domain_cpu import GuestTopology, IoThreadPins, IoThreads, VcpuPins, Vcpus
from .domain_devices import Image
from .domain_memory import Cells, HugePages, Memory, amount_of
from .domain_parts import count_of
from .domain_xml import DomainDocument, device_key
from .xml_tree import attribute, child


def check(before: DomainDocument, after: DomainDocument) -> None:
    """Raise :class:`FleetError` for what does not agree in ``after`` and did in ``before``: only what the change is to blame for."""
    found_before = set(disagreements(before))
    found = [line for line in disagreements(after) if line not in found_before]
    if found:
        raise FleetError("Domain {0}: {1}".format(after.name, " ".join(found)), domain=after.name)


def disagreements(document: DomainDocument) -> List[str]:
    """Everything that does not agree, one sentence or two each."""
    return [line for rule in RULES for line in rule(document)]


def topology_holds_all_vcpus(document: DomainDocument) -> Iterator[str]:
    """Section 12.2.3; libvirt refuses it from machine types of QEMU 2.5 on (errata: the document's own example breaks it)."""
    topology, vcpus = GuestTopology.read(document), Vcpus.read(document).count
    if topology.levels is not None and topology.product() != vcpus:
        yield "The topology {0} makes {1} vCPUs, but the domain has {2}. Change topology or vcpus so that they agree.".format(
            " x ".join("{0} {1}".format(count, level) for level, count in topology.to_option().items()), topology.product(), vcpus)


def pinned_vcpus_exist(document: DomainDocument) -> Iterator[str]:
    """libvirt drops such pins silently, so that they would be a change for ever."""
    vcpus = Vcpus.read(document).count
    missing = [vcpu for vcpu in VcpuPins.read(document).pins if vcpu >= vcpus]
    if missing:
        yield "vcpupin names vCPU {0}, but the domain has vCPUs 0 to {1}. Leave them out, or give more vcpus.".format(cpuset.show(missing), vcpus - 1)


def pinned_iothreads_exist(document: DomainDocument) -> Iterator[str]:
    """libvirt: "Cannot find 'iothread'"."""
    ids = IoThreads.read(document).ids
    missing = frozenset(IoThreadPins.read(document).pins) - ids
    if missing:
        yield "iothreadpin names I/O thread {0}, but the domain has {1}. Give more iothreads, or leave those pins out.".format(
            cpuset.show(missing), _threads(ids))


def iothreads_of_disks_exist(document: DomainDocument) -> Iterator[str]:
    """A disk that names an I/O thread that is not there keeps the guest from starting."""
    ids = IoThreads.read(document).ids
    for disk in document.find_all("devices/disk"):
        iothread = count_of(attribute(child(disk, "driver"), "iothread"))
        if iothread and iothread not in ids:
            yield "The disk {0} uses I/O thread {1}, but the domain has {2}. Give more iothreads, or change the disk's driver.iothread.".format(
                device_key(disk), iothread, _threads(ids))


def _threads(ids: FrozenSet[int]) -> str:
    return "I/O threads {0}".format(cpuset.show(ids)) if ids else "no I/O threads"


def cells_hold_all_vcpus(document: DomainDocument) -> Iterator[str]:
    """Each vCPU is in one cell; libvirt would leave the rest to QEMU, which puts them into cell 0."""
    cells, vcpus = Cells.read(document).cells, frozenset(range(Vcpus.read(document).count))
    if not cells:
        return
    held = [vcpu for cell in cells for vcpu in cell.vcpus]
    twice = {vcpu for vcpu in held if held.count(vcpu) > 1}
    if twice:
        yield "vCPU {0} is in more than one cell. Put each vCPU into one cell.".format(cpuset.show(twice))
    if vcpus - set(held):
        yield "vCPU {0} is in no cell. Put each of the {1} vCPUs into one cell.".format(cpuset.show(vcpus - set(held)), len(vcpus))
    if set(held) - vcpus:
        yield "The cells name vCPU {0}, but the domain has vCPUs 0 to {1}. Leave them out, or give more vcpus.".format(
            cpuset.show(set(held) - vcpus), len(vcpus) - 1)


def cells_hold_all_memory(document: DomainDocument) -> Iterator[str]:
    """libvirt takes the sum of the cells for the domain's memory, whatever that says."""
    cells = Cells.read(document).cells
    plugged = sum(amount_of(child(child(module, "target"), "size")) or 0 for module in document.find_all("devices/memory"))
    total, memory = sum(cell.memory_kib for cell in cells) + plugged, Memory.read(document).amount
    if cells and total != memory:
        yield "The cells hold {0} KiB{1}, but the domain has {2} KiB. Make memory_kib {0} or divide {2} KiB among the cells.".format(
            total, " with the memory modules" if plugged else "", memory)


def bindings_have_cells(document: DomainDocument) -> Iterator[str]:
    """A memnode without its cell, or beside automatic placement, is refused by libvirt."""
    ids = {cell.id for cell in Cells.read(document).cells}
    bound = {count_of(attribute(element, "cellid")) for element in document.find_all("numatune/memnode")}
    if bound - ids:
        yield "numatune binds cell {0}, which the domain does not have. Give cells with their node, or [] to remove the binding.".format(
            cpuset.show(bound - ids))
    if bound and attribute(document.find("numatune/memory"), "placement") == "auto":
        yield "numatune places the memory automatically, which excludes a node per cell. Remove placement='auto' from numatune, or leave out the nodes."


def memory_fills_huge_pages(document: DomainDocument) -> Iterator[str]:
    """QEMU refuses memory that is no multiple of the page that backs it (errata 2: 1516912640 KiB are 1446.6 pages of 1 GiB)."""
    pages = HugePages.read(document).pages
    if not pages or len(pages) > 1:
        return
    size = pages[0][0]
    cells = Cells.read(document).cells
    amounts = [("Cell {0}".format(cell.id), cell.memory_kib) for cell in cells] or [("The domain", Memory.read(document).amount)]
    for owner, amount in amounts:
        if size and amount % size:
            below = amount - amount % size
            yield "{0} has {1} KiB, which is no multiple of the huge page size of {2} KiB. Make it {3} or {4}.".format(
                owner, amount, size, below, below + size)


def disk_drivers_agree(document: DomainDocument) -> Iterator[str]:
    """Refused by libvirt or QEMU, except for more queues than vCPUs, which section 12.6.1.2 forbids."""
    vcpus = Vcpus.read(document).count
    for disk in document.find_all("devices/disk"):
        driver, bus = child(disk, "driver"), attribute(child(disk, "target"), "bus")
        queues = count_of(attribute(driver, "queues"))
        if attribute(driver, "io") == "native" and attribute(driver, "cache") not in ("none", "directsync"):
            yield "The disk {0} has io native, which needs the cache mode none or directsync. Set driver.cache too.".format(device_key(disk))
        for name in ("queues", "iothread"):
            if attribute(driver, name) is not None and bus != "virtio":
                yield "The disk {0} is on the bus {1}, but driver.{2} is for virtio disks. Set its bus to virtio, or leave driver.{2} out.".format(
                    device_key(disk), bus, name)
        if queues > vcpus:
            yield "The disk {0} has {1} queues, but the domain has {2} vCPUs. Give it at most {2}.".format(device_key(disk), queues, vcpus)


def interface_queues_need_virtio(document: DomainDocument) -> Iterator[str]:
    """For other models libvirt drops the element without a word."""
    for interface in document.find_all("devices/interface"):
        model = attribute(child(interface, "model"), "type") or ""
        if attribute(child(interface, "driver"), "queues") is not None and not model.startswith("virtio"):
            yield "The interface {0} has the model {1}, but queues are for virtio. Set its model to virtio, or leave queues out.".format(
                device_key(interface), model or "that is libvirt's default")


RULES: Sequence[Callable[[DomainDocument], Iterator[str]]] = (
    topology_holds_all_vcpus, pinned_vcpus_exist, pinned_iothreads_exist, iothreads_of_disks_exist, cells_hold_all_vcpus, cells_hold_all_memory,
    bindings_have_cells, memory_fills_huge_pages, disk_drivers_agree, interface_queues_need_virtio,
)  # fmt: skip


def check_images(domain: str, images: Sequence[Image], formats: Mapping[str, Optional[str]]) -> None:
    """Raise :class:`FleetError` if a disk would be read as what it is not: the guest would see the container, or write over it.

    ``formats`` are what the headers of the images say: ``raw`` for no known header, None for an image that could not be read.
    """
    for image in images:
        found = formats.get(image.path)
        if found == image.format or (found is None and not image.known):
            continue
        if found is None:
            raise FleetError(
                "Domain {0}: {1} would be read as {2} from now on, but it could not be read to see whether that is what it holds. "
                "Make it readable, or convert it to a new image and give that as source.".format(domain, image.path, image.format), domain=domain)
        holds = "{0} (no known header)".format(found) if found == "raw" else found
        raise FleetError(
            "Domain {0}: {1} holds {2}, but would be read as {3}. To change the format, convert the image "
            "(qemu-img convert -O {3} {1} NEW) and give the new one as source; otherwise set driver.type to {4}.".format(
                domain, image.path, holds, image.format, found), domain=domain)


#: Magic numbers at the start of an image, from QEMU's block drivers (block/*.c).
_MAGIC = ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"COWD", "vmdk"), (b"QED\x00", "qed"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc"))


def image_format(path: str) -> Optional[str]:
    """What the header of an image says; None if it cannot be read. A block device is read as well."""
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            return None
        with open(path, "rb") as handle:
            start = handle.read(72)
    except OSError:
        return None
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    # VDI has a line of text in front of its signature.
    return "vdi" if start[64:68] == b"\x7f\x10\xda\xbe" else "raw"
