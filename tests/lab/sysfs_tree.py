# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the /sys, /proc and /dev of a machine that is not there: a simulated DGX for tests, for the demo, and for planning.

    python3 tests/lab/sysfs_tree.py dgx-2 /tmp/dgx-2
    ansible localhost -m dgxops.fleet.dgx_facts -a root=/tmp/dgx-2

Only what the collection reads is written, in the form in which the kernel shows it. Where the facts of a machine come from is said with it
in machines(); what nobody has published (the addresses of some bridges and drives, all serial numbers) is made up.
"""
import argparse
import os
import sys
from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

GIB = 1024 * 1024


class Thread(NamedTuple):
    """A hardware thread, as the kernel numbers it."""

    id: int
    socket: int
    core: int
    node: int
    l3: Optional[int] = None
    die: int = 0
    online: bool = True


class Disk(NamedTuple):
    """A drive: an NVMe controller with one name space (nvme0) or a SCSI disk (sda)."""

    name: str
    model: str
    serial: str
    size_bytes: int


class Card(NamedTuple):
    """A PCI function below its bridges (outermost first), with what its drivers make of it."""

    bridges: Tuple[str, ...]
    address: str
    pci_class: str
    vendor: str
    device: str
    node: int
    net: Tuple[str, ...] = ()
    infiniband: str = ""
    gpu: str = ""
    disks: Tuple[Disk, ...] = ()
    virtual: Tuple[str, ...] = ()


class Machine(NamedTuple):
    """All of it. ``memory_kib`` and ``pages`` go by node, ``pages`` then by size in KiB as (total, free). ``hide`` names what this kernel does not
    show: ``smt``, ``die``, ``cache``, ``node``, ``topology``, ``lists`` (masks only, as before Linux 2.6.26), ``dmi``. ``minors`` are the numbers of the
    GPUs' device files in PCI order of the GPUs, which is also their own order unless it is given; empty without NVIDIA's driver."""

    threads: Sequence[Thread]
    memory_kib: Dict[int, int]
    cards: Sequence[Card] = ()
    product: str = ""
    vendor: str = ""
    serial: str = ""
    distances: Optional[Mapping[int, Sequence[int]]] = None
    pages: Optional[Dict[int, Dict[int, Tuple[int, int]]]] = None
    cmdline: str = "BOOT_IMAGE=/boot/vmlinuz root=UUID=00000000-0000-4000-8000-000000000001 ro quiet intel_iommu=on iommu=pt"
    numa_balancing: Optional[int] = 1
    hide: FrozenSet[str] = frozenset()
    minors: Optional[Sequence[int]] = None


# -- describing ------------------------------------------------------------------------------------------------------------------------


def processors(
    sockets: int, cores: int, threads: int = 1, nodes_per_socket: int = 1, adjacent: bool = False, cores_per_l3: int = 0, gaps: int = 0
) -> List[Thread]:
    """The threads of a regular machine of ``cores`` per socket.

    The kernel of x86 numbers the first threads of all cores before the second threads; with ``adjacent`` siblings follow each other as on
    POWER. ``gaps`` leaves two core numbers out after that many, as Intel's processors with cores switched off do.
    """
    found = []
    for core in range(sockets * cores):
        socket, inside = divmod(core, cores)
        node = core // (cores // nodes_per_socket)
        shown = inside + 2 * (inside // gaps) if gaps else inside
        for thread in range(threads):
            number = core * threads + thread if adjacent else thread * sockets * cores + core
            found.append(Thread(number, socket, shown, node, core // (cores_per_l3 or cores)))
    return sorted(found)


def offline(machine: Machine, numbers: Iterable[int]) -> Machine:
    """The machine with some CPUs switched off."""
    off = set(numbers)
    return machine._replace(threads=[thread._replace(online=thread.online and thread.id not in off) for thread in machine.threads])


def without_smt(machine: Machine) -> Machine:
    """The machine with all but the first thread of each core switched off, as ``nosmt`` does."""
    seen, off = set(), []
    for thread in machine.threads:
        core = (thread.socket, thread.die, thread.core, thread.node)
        off += [thread.id] if core in seen else []
        seen.add(core)
    return offline(machine, off)


def gpu(bridges: Sequence[str], address: str, node: int, model: str, device: str) -> Card:
    return Card(tuple(bridges), address, "030200", "10de", device, node, gpu=model)


def hca(bridges: Sequence[str], address: str, node: int, number: int, net: str, device: str = "1017", ethernet: bool = False) -> Card:
    return Card(tuple(bridges), address, "020000" if ethernet else "020700", "15b3", device, node, net=(net,), infiniband="mlx5_%d" % number)


def nic(bridges: Sequence[str], address: str, node: int, net: str, device: str = "1563") -> Card:
    return Card(tuple(bridges), address, "020000", "8086", device, node, net=(net,))


def nvme(bridges: Sequence[str], address: str, node: int, number: int, gigabytes: float, serial: str) -> Card:
    model = "Micron_9200_MTFDHAL3T8TCT" if gigabytes > 2000 else "SAMSUNG MZ1LW960HMJP-00003"
    disk = Disk("nvme%d" % number, model, serial, int(gigabytes * 10**9) // 4096 * 4096)
    return Card(tuple(bridges), address, "010802", "1344" if gigabytes > 2000 else "144d", "51b1", node, disks=(disk,))


def _full(*short: str) -> Tuple[str, ...]:
    return tuple("0000:" + address for address in short)


def dgx_2(drives: int = 8) -> Machine:
    """DGX-2. GPUs and all bridges above them: hwloc's recording of a DGX-2H (tests/hwloc/xml/nvidiaDGX2.xml). CPUs: *Best Practices* 12.2.3.
    HCAs, NICs and drives: addresses of the DGX-2 System User Guide; the bridge above drives beyond the eighth is a guess."""
    cards: List[Card] = [
        nvme(_full("00:1b.0"), "0000:01:00.0", 0, 0, 960.2, "S2XXNX0K000001"),
        nvme(_full("00:1d.0"), "0000:05:00.0", 0, 1, 960.2, "S2XXNX0K000002"),
        nic(_full("00:1d.5"), "0000:06:00.0", 0, "enp6s0", "1533"),
        hca(_full("85:00.0"), "0000:86:00.0", 1, 4, "enp134s0f0", ethernet=True),
        hca(_full("85:00.0"), "0000:86:00.1", 1, 5, "enp134s0f1", ethernet=True),
    ]
    # Root port, the upper switch (its upstream port and the two ports down), and below each a lower switch with two GPUs and an HCA.
    planes = (
        ("2b", "2c", "2d", (("32", "33", "34", "35", "36", 0), ("37", "38", "39", "3a", "3b", 1)), ("2e", "2f")),
        ("4e", "4f", "50", (("55", "56", "57", "58", "59", 2), ("5a", "5b", "5c", "5d", "5e", 3)), ("51", "52")),
        ("ae", "af", "b0", (("b5", "b6", "b7", "b8", "b9", 6), ("ba", "bb", "bc", "bd", "be", 7)), ("b1", "b2")),
        ("d7", "d8", "d9", (("de", "df", "e0", "e1", "e2", 8), ("e3", "e4", "e5", "e6", "e7", 9)), ("da", "db")),
    )
    count, ports_made = 2, 0
    for half, (root, upper, ports, pairs, drive_buses) in enumerate(planes):
        node = half // 2
        above = _full(root + ":00.0", upper + ":00.0")
        for down, (lower, lower_ports, first, fabric, second, number) in zip(("04", "0c"), pairs):
            there = above + _full("%s:%s.0" % (ports, down), lower + ":00.0")
            cards.append(gpu(there + _full(lower_ports + ":00.0"), "0000:%s:00.0" % first, node, "Tesla V100-SXM3-32GB", "1db8"))
            cards.append(hca(there + _full(lower_ports + ":08.0"), "0000:%s:00.0" % fabric, node, number, "ib%d" % ports_made))
            ports_made += 1
            cards.append(gpu(there + _full(lower_ports + ":10.0"), "0000:%s:00.0" % second, node, "Tesla V100-SXM3-32GB", "1db8"))
        more = tuple("%02x" % (int(drive_buses[1], 16) + 1 + extra) for extra in range(2)) if drives > 8 else ()
        for position, bus in enumerate(drive_buses + more):
            cards.append(nvme(above + _full("%s:%02x.0" % (ports, position)), "0000:%s:00.0" % bus, node, count, 3840.7, "18261D0%05X" % count))
            count += 1
    return Machine(
        processors(2, 24, 2, gaps=6), {0: 791061664, 1: 792625460}, cards, "NVIDIA DGX-2", "NVIDIA", "QTFCOU8000001", {0: (10, 21), 1: (21, 10)}
    )


def dgx_1() -> Machine:
    """DGX-1 with V100. CPUs and GPUs: NVIDIA/nccl issue 671; HCAs and NICs: DGX-1 User Guide; each PCIe switch has two GPUs and an HCA."""
    cards: List[Card] = [nic(_full("00:01.0"), "0000:01:00.0", 0, "enp1s0f0"), nic(_full("00:01.0"), "0000:01:00.1", 0, "enp1s0f1")]
    cards.append(
        Card(_full("80:01.0"), "0000:81:00.0", "010400", "1000", "005d", 1, disks=(
            Disk("sda", "MR9361-8i", "00a1b2c3d4e5f60718190001", 479559942144), Disk("sdb", "MR9361-8i", "00a1b2c3d4e5f60718190002", 7679439863808)))
    )
    planes = (
        ("00:02.0", "02", "03", ("06", "07"), "05", 0), ("00:03.0", "08", "09", ("0a", "0b"), "0c", 0),
        ("80:02.0", "82", "83", ("85", "86"), "84", 1), ("80:03.0", "87", "88", ("89", "8a"), "8b", 1),
    )
    for number, (root, upper, ports, gpus, fabric, node) in enumerate(planes):
        above = _full(root, upper + ":00.0")
        for position, bus in enumerate(gpus):
            cards.append(gpu(above + _full("%s:%02x.0" % (ports, 8 + 4 * position)), "0000:%s:00.0" % bus, node, "Tesla V100-SXM2-32GB", "1db5"))
        cards.append(hca(above + _full(ports + ":10.0"), "0000:%s:00.0" % fabric, node, number, "ib%d" % number, "1013"))
    return Machine(
        processors(2, 20, 2), {0: 264058336, 1: 264233196}, cards, "DGX-1 with V100", "NVIDIA", "QTFCOU7000001", {0: (10, 21), 1: (21, 10)}
    )


def dgx_a100() -> Machine:
    """DGX A100 with four NUMA nodes per socket. Nodes of the GPUs: NVIDIA/deepops nhc example and dask-cuda issue 1358; addresses of GPUs and HCAs:
    DGX A100 User Guide; one PCIe switch for two GPUs and two HCAs (NVIDIA/nccl issue 1505), its bridges made up."""
    cards: List[Card] = [
        nvme(_full("20:03.1"), "0000:22:00.0", 2, 0, 1920.4, "S436NA0N000001"), nvme(_full("20:03.2"), "0000:23:00.0", 2, 1, 1920.4, "S436NA0N000002"),
        nic(_full("e0:05.1"), "0000:e2:00.0", 4, "enp226s0", "1533"),
        hca(_full("e0:03.1"), "0000:e1:00.0", 4, 10, "ib8"), hca(_full("e0:03.1"), "0000:e1:00.1", 4, 11, "enp225s0f1np1", ethernet=True),
    ]
    planes = (
        ("00:01.1", "01", "02", ("07", "0f"), ("0c", "12"), 3), ("40:01.1", "41", "42", ("47", "4e"), ("4b", "54"), 1),
        ("80:01.1", "81", "82", ("87", "90"), ("8d", "94"), 7), ("b0:01.1", "b1", "b2", ("b7", "bd"), ("ba", "cc"), 5),
    )
    number = 0
    for root, upper, ports, gpus, fabric, node in planes:
        above = _full(root, upper + ":00.0")
        for position, bus in enumerate(gpus):
            cards.append(gpu(above + _full("%s:%02x.0" % (ports, 4 * position)), "0000:%s:00.0" % bus, node, "NVIDIA A100-SXM4-40GB", "20b0"))
        for position, bus in enumerate(fabric):
            cards.append(hca(above + _full("%s:%02x.0" % (ports, 8 + 4 * position)), "0000:%s:00.0" % bus, node, number, "ib%d" % number, "101b"))
            number += 1
    for position, bus in enumerate(("30", "31", "70", "71")):
        above = _full(("2f", "6f")[position // 2] + ":03.%d" % (1 + position % 2))
        cards.append(nvme(above, "0000:%s:00.0" % bus, (2, 0)[position // 2], 2 + position, 3840.7, "S6CKNG0R00000%d" % position))
    distances = {node: [10 if other == node else 12 if other // 4 == node // 4 else 32 for other in range(8)] for node in range(8)}
    return Machine(
        processors(2, 64, 2, 4, cores_per_l3=4), dict.fromkeys(range(8), 132000000), cards,
        "DGXA100 920-23687-2530-000", "NVIDIA", "1571620000001", distances,
    )


def dgx_h100() -> Machine:
    """DGX H100. CPUs and nodes of the GPUs: vllm issue 13855; addresses: DGX H100/H200 User Guide; each GPU shares a PCIe switch with its HCA."""
    cards: List[Card] = [
        nvme(_full("00:1a.0"), "0000:01:00.0", 0, 0, 1920.4, "S666NE0W000001"), nvme(_full("00:1b.0"), "0000:02:00.0", 0, 1, 1920.4, "S666NE0W000002"),
        hca(_full("28:01.0"), "0000:29:00.0", 0, 10, "ibp41s0f0", "1021"), hca(_full("28:01.0"), "0000:29:00.1", 0, 11, "enp41s0f1np1", "1021", True),
    ]
    pairs = (("18", "1b"), ("40", "43"), ("4f", "52"), ("5e", "61"), ("9a", "9d"), ("c0", "c3"), ("ce", "d1"), ("dc", "df"))
    for number, (fabric, bus) in enumerate(pairs):
        base, node = int(fabric, 16), number // 4
        above = _full("%02x:01.0" % (base - 3), "%02x:00.0" % (base - 2))
        cards.append(hca(above + _full("%02x:00.0" % (base - 1)), "0000:%s:00.0" % fabric, node, number, "ibp%ds0" % base, "1021"))
        cards.append(gpu(above + _full("%02x:02.0" % (base - 1)), "0000:%s:00.0" % bus, node, "NVIDIA H100 80GB HBM3", "2330"))
        drive = "0000:%02x:00.0" % (base + 1)
        cards.append(nvme(above + _full("%02x:04.0" % (base - 1)), drive, node, 2 + number, 3840.7, "S6CKNT0W00000%d" % number))
    return Machine(
        processors(2, 56, 2), {0: 1056000000, 1: 1057000000}, cards, "DGXH100", "NVIDIA", "1660223000001", {0: (10, 21), 1: (21, 10)}
    )


def power9() -> Machine:
    """A POWER9 of two sockets and SMT-4: nodes 0 and 8, and the memory of a GPU as node 255 without CPUs (as in hwloc's nvidiagpunumanodes)."""
    threads = [thread._replace(node=thread.node * 8) for thread in processors(2, 16, 4, adjacent=True, cores_per_l3=2)]
    return Machine(
        threads, {0: 129839104, 8: 133952000, 255: 15728640}, [gpu(("0004:00:00.0",), "0004:05:00.0", 0, "Tesla V100-SXM2-16GB", "1db1")],
        distances={0: (10, 40, 80), 8: (40, 10, 80), 255: (80, 80, 10)}, hide=frozenset(["die", "dmi"]),
        pages={node: {2048: (0, 0), 1048576: (0, 0)} for node in (0, 8, 255)},
    )


def small() -> Machine:
    """A machine as small as those that tests run on, so that its CPUs are there on most: two cores of one socket, and two GPUs."""
    cards = [gpu(_full("00:01.0"), "0000:01:00.0", 0, "Tesla T4", "1eb8"), gpu(_full("00:02.0"), "0000:02:00.0", 0, "Tesla T4", "1eb8")]
    return Machine(processors(1, 2), {0: 4 * GIB}, cards)


def huge() -> Machine:
    """A machine of 2,048 CPUs: 16 sockets of 64 cores with two threads."""
    return Machine(processors(16, 64, 2, cores_per_l3=8), dict.fromkeys(range(16), 1024 * GIB))


def machines() -> Dict[str, Callable[[], Machine]]:
    """The machines that have a name."""
    return {
        "dgx-1": dgx_1, "dgx-2": dgx_2, "dgx-2-16-drives": lambda: dgx_2(16), "dgx-a100": dgx_a100, "dgx-h100": dgx_h100,
        "dgx-2-nosmt": lambda: without_smt(dgx_2()), "power9": power9, "small": small, "huge": huge,
    }


# -- writing ---------------------------------------------------------------------------------------------------------------------------


class _Tree:
    """Files below a root; directories are made as needed, each once, since there are thousands of files in few of them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._made: Set[str] = set()

    def _place(self, path: str) -> str:
        directory, name = os.path.split(os.path.join(self.root, path))
        if directory not in self._made:
            os.makedirs(directory, exist_ok=True)
            self._made.add(directory)
        return os.path.join(directory, name)

    def write(self, path: str, content: object) -> None:
        descriptor = os.open(self._place(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, "{0}\n".format(content).encode("utf-8"))
        os.close(descriptor)

    def link(self, path: str, target: str) -> None:
        """A relative link at ``path`` to ``target``, both below the root, as sysfs makes them."""
        os.symlink(os.path.relpath("/" + target, "/" + os.path.dirname(path)), self._place(path))


def write(machine: Machine, root: str) -> str:
    """Write the machine's tree below ``root`` and return that."""
    tree = _Tree(root)
    _write_cpus(tree, machine)
    _write_nodes(tree, machine)
    for card in sorted(machine.cards, key=lambda card: card.address):
        _write_card(tree, card)
    _write_driver(tree, machine)
    _write_rest(tree, machine)
    return root


def _list(numbers: Iterable[int]) -> str:
    """0-3,48 in the kernel's notation."""
    spans: List[List[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join("%d" % first if first == last else "%d-%d" % (first, last) for first, last in spans)


def _mask(numbers: Iterable[int], width: int) -> str:
    """00000000,0000000f in the kernel's notation."""
    digits = "%0*x" % (-(-width // 32) * 8, sum(1 << number for number in numbers))
    return ",".join(digits[at:at + 8] for at in range(0, len(digits), 8))


def _write_set(tree: _Tree, machine: Machine, path: str, suffix: str, numbers: Sequence[int]) -> None:
    """A set of CPUs as the kernel shows it: as a mask, and as a list beside it."""
    width = len(machine.threads)
    tree.write(path + ("_map" if suffix == "_cpu" else "map" if suffix == "cpu" else ""), _mask(numbers, width))
    if "lists" not in machine.hide:
        tree.write(path + ("list" if suffix == "cpu" else "_list"), _list(numbers))


def _write_cpus(tree: _Tree, machine: Machine) -> None:
    cpus = "sys/devices/system/cpu/"
    online = [thread for thread in machine.threads if thread.online]
    tree.write(cpus + "present", _list(thread.id for thread in machine.threads))
    tree.write(cpus + "online", _list(thread.id for thread in online))
    tree.write(cpus + "cpufreq/boost", 1)
    cores: Dict[object, List[int]] = {}
    packages: Dict[int, List[int]] = {}
    caches: Dict[object, List[int]] = {}
    for thread in online:
        cores.setdefault((thread.socket, thread.die, thread.core, thread.node), []).append(thread.id)
        packages.setdefault(thread.socket, []).append(thread.id)
        caches.setdefault(thread.l3, []).append(thread.id)
    for thread in machine.threads:
        place = cpus + "cpu%d/" % thread.id
        if thread.id or not thread.online:
            tree.write(place + "online", int(thread.online))
        if "node" not in machine.hide:
            tree.link(place + "node%d" % thread.node, "sys/devices/system/node/node%d" % thread.node)
        if not thread.online or "topology" in machine.hide:
            continue
        tree.write(place + "topology/physical_package_id", thread.socket)
        tree.write(place + "topology/core_id", thread.core)
        if "die" not in machine.hide:
            tree.write(place + "topology/die_id", thread.die)
        _write_set(tree, machine, place + "topology/core_siblings", "", packages[thread.socket])
        if "smt" not in machine.hide:
            _write_set(tree, machine, place + "topology/thread_siblings", "", cores[thread.socket, thread.die, thread.core, thread.node])
        if "cache" not in machine.hide and thread.l3 is not None:
            for index, level, shared in ((0, 1, cores[thread.socket, thread.die, thread.core, thread.node]), (3, 3, caches[thread.l3])):
                tree.write(place + "cache/index%d/level" % index, level)
                # The kernel's cache ids have gaps; nobody may count on them.
                tree.write(place + "cache/index%d/id" % index, 4 * (thread.l3 if level == 3 else thread.core))
                tree.write(place + "cache/index%d/type" % index, "Unified" if level == 3 else "Data")
                _write_set(tree, machine, place + "cache/index%d/shared_cpu" % index, "_cpu", shared)


def _write_nodes(tree: _Tree, machine: Machine) -> None:
    pages = {node: (machine.pages or {}).get(node, {2048: (0, 0), 1048576: (0, 0)}) for node in machine.memory_kib}
    if "node" in machine.hide:
        for size, (total, free) in next(iter(pages.values())).items():
            _write_pool(tree, "sys/kernel/mm/hugepages/hugepages-%dkB/" % size, total, free)
        return
    numbers = sorted(machine.memory_kib)
    tree.write("sys/devices/system/node/online", _list(numbers))
    for position, node in enumerate(numbers):
        place = "sys/devices/system/node/node%d/" % node
        _write_set(tree, machine, place + "cpu", "cpu", [thread.id for thread in machine.threads if thread.online and thread.node == node])
        tree.write(place + "meminfo", "Node %d MemTotal:       %d kB\nNode %d MemFree:        %d kB" % (
            node, machine.memory_kib[node], node, machine.memory_kib[node] * 49 // 50))
        row = (machine.distances or {}).get(node, [10 if other == position else 20 for other in range(len(numbers))])
        tree.write(place + "distance", " ".join("%d" % value for value in row))
        for size, (total, free) in pages[node].items():
            _write_pool(tree, place + "hugepages/hugepages-%dkB/" % size, total, free)


def _write_pool(tree: _Tree, place: str, total: int, free: int) -> None:
    tree.write(place + "nr_hugepages", total)
    if free == total:  # nothing runs on this machine: what is set aside is free, also when the collection changes it
        tree.link(place + "free_hugepages", place + "nr_hugepages")
    else:
        tree.write(place + "free_hugepages", free)


def _write_card(tree: _Tree, card: Card) -> None:
    above = "sys/devices/pci" + (card.bridges[0] if card.bridges else card.address).rpartition(":")[0]
    for bridge in card.bridges:
        above += "/" + bridge
        if not os.path.exists(os.path.join(tree.root, above, "class")):
            _write_function(tree, above, bridge, "060400", "10b5", "9781", card.node)
    place = above + "/" + card.address
    _write_function(tree, place, card.address, card.pci_class, card.vendor, card.device, card.node)
    for name in card.net:
        tree.write(place + "/net/%s/address" % name, "02:00:00:00:00:01")
        tree.link("sys/class/net/" + name, place + "/net/" + name)
    if card.infiniband:
        tree.write(place + "/infiniband/%s/node_type" % card.infiniband, "1: CA")
        tree.link("sys/class/infiniband/" + card.infiniband, place + "/infiniband/" + card.infiniband)
    for disk in card.disks:
        _write_disk(tree, place, disk)
    for address in card.virtual:
        _write_function(tree, above + "/" + address, address, card.pci_class, card.vendor, card.device, card.node)
        tree.link(above + "/" + address + "/physfn", place)


def _write_driver(tree: _Tree, machine: Machine) -> None:
    """What NVIDIA's driver says of the GPUs that it has, and the kernel of which CPUs are next to them: from 24.11 on, slurmd -C reads that too."""
    gpus = sorted((card.address, card.gpu, card.node) for card in machine.cards if card.gpu)
    for minor, (address, model, node) in zip(range(len(gpus)) if machine.minors is None else machine.minors, gpus):
        tree.write("proc/driver/nvidia/gpus/%s/information" % address,
                   "Model: \t\t %s\nIRQ:   \t\t 42\nGPU UUID: \t GPU-00000000-0000-4000-8000-%012x\nBus Location: \t %s\nDevice Minor: \t %d" % (
                       model, int(address.replace(":", "").replace(".", ""), 16), address, minor))
        tree.link("sys/bus/pci/drivers/nvidia/" + address, "sys/bus/pci/devices/" + address)
        tree.write("sys/bus/pci/devices/%s/local_cpulist" % address, _list(
            thread.id for thread in machine.threads if thread.online and (thread.node == node or node < 0)))


def _write_function(tree: _Tree, place: str, address: str, pci_class: str, vendor: str, device: str, node: int) -> None:
    for name, value in (("class", "0x" + pci_class), ("vendor", "0x" + vendor), ("device", "0x" + device), ("numa_node", node)):
        tree.write("%s/%s" % (place, name), value)
    tree.link("sys/bus/pci/devices/" + address, place)


def _write_disk(tree: _Tree, place: str, disk: Disk) -> None:
    if disk.name.startswith("nvme"):
        device, block, known_as = place + "/nvme/" + disk.name, disk.name + "n1", "nvme-%s_%s" % (disk.model.replace(" ", "_"), disk.serial)
        tree.write(device + "/model", disk.model.ljust(40))
        tree.write(device + "/serial", disk.serial.ljust(20))
        tree.link("sys/class/nvme/" + disk.name, device)
        where = device + "/" + block
        tree.link(where + "/device", device)
    else:
        number = ord(disk.name[-1]) - ord("a")
        device, block = place + "/host0/target0:2:%d/0:2:%d:0" % (number, number), disk.name
        known_as = "scsi-3" + disk.serial
        tree.write(device + "/model", disk.model)
        tree.write(device + "/vpd_pg80", "\0\x80\0\x18" + disk.serial)
        where = device + "/block/" + block
        tree.link(where + "/device", device)
    tree.write(where + "/size", disk.size_bytes // 512)
    tree.write(where + "/queue/rotational", 0)
    tree.link("sys/block/" + block, where)
    tree.write("dev/" + block, "")
    tree.link("dev/disk/by-id/" + known_as, "dev/" + block)
    other = "nvme-eui." if disk.name.startswith("nvme") else "wwn-0x"
    tree.link("dev/disk/by-id/%s%s" % (other, disk.serial.lower().rjust(16, "0")), "dev/" + block)


def _write_rest(tree: _Tree, machine: Machine) -> None:
    tree.write("proc/meminfo", "MemTotal:       %d kB" % sum(machine.memory_kib.values()))
    tree.write("proc/cmdline", machine.cmdline)
    tree.write("proc/sys/kernel/osrelease", "5.15.0-1042-nvidia")
    if machine.numa_balancing is not None:
        tree.write("proc/sys/kernel/numa_balancing", machine.numa_balancing)
    tree.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
    if "iommu=on" in machine.cmdline:
        tree.write("sys/class/iommu/dmar0/type", "intel")
    if "dmi" not in machine.hide:
        for name, value in (("sys_vendor", machine.vendor), ("product_name", machine.product), ("product_serial", machine.serial)):
            tree.write("sys/class/dmi/id/" + name, value or "Default string")


def main(arguments: Sequence[str]) -> int:
    known = machines()
    parser = argparse.ArgumentParser(description="Write the /sys, /proc and /dev of a simulated machine.")
    parser.add_argument("machine", choices=sorted(known))
    parser.add_argument("directory", help="where to write it; must be empty or not there yet")
    parser.add_argument("--memory-gib", type=int, help="its memory in all, shared out evenly by node, where it is to pose with less than it has")
    parser.add_argument("--minors", help="the numbers of the GPUs' device files in PCI order, such as 2,3,0,1; none at all: an empty text")
    given = parser.parse_args(arguments)
    if os.path.isdir(given.directory) and os.listdir(given.directory):
        parser.error("{0} is not empty; give a directory that is empty or not there yet".format(given.directory))
    machine = known[given.machine]()
    if given.memory_gib is not None:
        machine = machine._replace(memory_kib={node: given.memory_gib * GIB // len(machine.memory_kib) for node in machine.memory_kib})
    if given.minors is not None:
        machine = machine._replace(minors=[int(minor) for minor in given.minors.split(",") if minor])
    write(machine, given.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
