# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The huge pages of this host: reading the kernel's pools, changing them, and keeping them over a reboot. See :mod:`.hugepages`."""
import errno
import glob
import os
import re
from typing import Dict, List, Mapping, Sequence, Tuple

from . import records
from .errors import FleetError
from .files import read_text, remove, write_atomic
from .hugepages import (
    NODES,
    TMPFILES,
    WHOLE_HOST,
    Change,
    Found,
    Memory,
    Place,
    Pool,
    Step,
    amount,
    at_boot,
    directory_of,
    put_back,
    show_size,
    too_few,
    wanted_pages,
)
from .hugetlbfs import read_mounts
from .sysfs import Sysfs

#: The pages that pools had before they were changed first, so that they can be given back.
RECORD = "hugepages"


class Kernel(Sysfs):
    """The kernel's pools below a root."""

    def pool(self, place: Place, by_node: bool) -> Pool:
        directory = directory_of(place, by_node)
        return Pool(*(self.number("{0}/{1}_hugepages".format(directory, what), 0) for what in ("nr", "free", "surplus")))

    def compact(self, node: int) -> bool:
        """Ask the kernel to move pages together (admin-guide/sysctl/vm.rst, compact_memory); False if it cannot."""
        for name in ("{0}/node{1}/compact".format(NODES, node), "proc/sys/vm/compact_memory"):
            if os.path.exists(self.path(name)):
                self.write(name, "1")
                return True
        return False


def read(kernel: Kernel) -> Found:
    """Every pool, what is reserved, the memory of the nodes, and where huge pages are mounted."""
    nodes = sorted(int(name[4:]) for name in kernel.entries(NODES) if name.startswith("node") and name[4:].isdigit())
    pools: Dict[Place, Pool] = {}
    for node in nodes or [0]:
        above = "{0}/node{1}/hugepages".format(NODES, node) if nodes else WHOLE_HOST
        for size in (int(name[10:-2]) for name in kernel.entries(above) if name.startswith("hugepages-")):
            pools[Place(size, node)] = kernel.pool(Place(size, node), bool(nodes))
    reserved = {size: kernel.number("{0}/hugepages-{1}kB/resv_hugepages".format(WHOLE_HOST, size), 0) for size in {place.size_kib for place in pools}}
    return Found(
        pools=pools,
        reserved=reserved,
        memory={node: _memory(kernel, "{0}/node{1}/meminfo".format(NODES, node) if nodes else "proc/meminfo") for node in nodes or [0]},
        by_node=bool(nodes),
        mounts=read_mounts(kernel),
        record=_read_record(kernel),
        persisted=read_text(kernel.path(TMPFILES)),
    )


def _read_record(kernel: Kernel) -> Dict[Place, int]:
    found = records.read(RECORD, kernel.root)
    try:
        return wanted_pages(found["pages"]) if found else {}
    except (ValueError, KeyError, TypeError, FleetError):
        raise records.damaged(RECORD)


def _write_record(kernel: Kernel, record: Mapping[Place, int]) -> None:
    pages: Dict[str, Dict[str, int]] = {}
    for place, count in sorted(record.items()):
        pages.setdefault(str(place.size_kib), {})[str(place.node)] = count
    records.write(RECORD, {"pages": pages} if pages else {}, kernel.root)


def _memory(kernel: Kernel, name: str) -> Memory:
    kib = {key: int(value) for key, value in re.findall(r"^(?:Node \d+ )?(\w+(?:\(\w+\))?):\s+(\d+) kB", kernel.read(name) or "", re.MULTILINE)}
    cached = kib.get("Active(file)", 0) + kib.get("Inactive(file)", 0) + kib.get("SReclaimable", 0)
    total = kib.get("MemTotal", 0)
    return Memory(total, kib["MemFree"] + cached if "MemFree" in kib else total)


def users_of_pages(kernel: Kernel) -> List[str]:
    """Who holds huge pages, largest first, so that a refusal can name them: ``guest dgx2vm-a (process 4711, 96.0 GiB)``."""
    found: List[Tuple[int, str]] = []
    for status in glob.glob(kernel.path("proc") + "/[0-9]*/status"):
        try:
            text = read_text(status) or ""
            words = (read_text(os.path.join(os.path.dirname(status), "cmdline")) or "").split("\0")
        except OSError:
            continue  # the process ended while it was looked at
        held = re.search(r"^HugetlbPages:\s+(\d+) kB", text, re.MULTILINE)
        if held and int(held.group(1)):
            name = re.search(r"^Name:\s+(.*)", text, re.MULTILINE)
            # QEMU's -name, as libvirt writes it: guest=NAME,debug-threads=on
            guest = re.match(r"(?:guest=)?([^,]+)", words[words.index("-name") + 1]) if "-name" in words[:-1] else None
            who = "guest {0}".format(guest.group(1)) if guest else name.group(1) if name else "a process"
            number = os.path.basename(os.path.dirname(status))
            found.append((int(held.group(1)), "{0} (process {1}, {2})".format(who, number, amount(int(held.group(1))))))
    return [text for _kib, text in sorted(found, reverse=True)]


def carry_out(change: Change, kernel: Kernel, by_node: bool) -> None:
    """Do it. The record comes first and is trimmed last, so that a run cut short anywhere is completed, or taken back, by the next."""
    _write_record(kernel, change.record)
    _take(change.steps, kernel, by_node)
    if change.persist is None:
        remove(kernel.path(TMPFILES))
    elif change.persist != change.persisted:
        write_atomic(kernel.path(TMPFILES), change.persist)
    _write_record(kernel, {place: count for place, count in change.record.items() if place in change.wish.pages})


def _take(steps: Sequence[Step], kernel: Kernel, by_node: bool) -> None:
    """Take every step and verify it. If the kernel gives fewer pages than asked for, all pools go back and :class:`FleetError` says so."""
    for number, step in enumerate(steps):
        try:
            got = _set(kernel, step.place, step.after, by_node)
        except FleetError as error:
            raise FleetError("{0} {1}".format(error.message, put_back(_undo(kernel, steps[: number + 1], by_node))))
        if got != step.after:
            left = _undo(kernel, steps[: number + 1], by_node)
            raise FleetError(too_few(step, got, left), node=step.place.node, size_kib=step.place.size_kib, asked=step.after, got=got)


def _set(kernel: Kernel, place: Place, count: int, by_node: bool) -> int:
    """Ask for a count, once more after the kernel has moved its pages together if it gave fewer; returns what there is then."""
    name = directory_of(place, by_node) + "/nr_hugepages"
    try:
        kernel.write(name, str(count))
        got = kernel.pool(place, by_node).kept
        if got < count and kernel.compact(place.node):
            kernel.write(name, str(count))
            got = kernel.pool(place, by_node).kept
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise FleetError("/{0} cannot be written: {1}. Run the task with become: true, on the host and not in a container.".format(name, error.strerror))
        raise FleetError(
            "The kernel refused {0} pages of {1} on node {2}: {3}. {4}".format(
                count, show_size(place.size_kib), place.node, error.strerror, at_boot(place.size_kib)
            )
        )
    return got


def _undo(kernel: Kernel, steps: Sequence[Step], by_node: bool) -> List[Step]:
    """Put the pools back, those that grew first so that the others find the memory; returns those that would not go back."""
    left = []
    for step in sorted(steps, key=lambda step: step.after < step.before):
        try:
            _set(kernel, step.place, step.before, by_node)
        except FleetError:
            pass  # told by what the pool then holds
        if kernel.pool(step.place, by_node).kept != step.before:
            left.append(step)
    return left
