# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A plan as a picture for a terminal or a log: nodes, sockets, cores and threads, and which guest has which; GPUs and memory by node.

A column is a core: its threads stand below each other, between the numbers of the first and the last of them. Every guest has a letter,
so that the picture reads without colours too.
"""
import textwrap
from typing import Any, Dict, FrozenSet, Hashable, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host import cpuset
from ..host.errors import FleetError
from ..host.model import Cpu, Device, Node
from ..host.topology import Topology

#: The narrowest and the widest picture that can be asked for, in characters.
NARROWEST, WIDEST = 60, 500
_LABEL = "{0:>7} "
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KIB_PER_GIB = 1024 ** 2
#: Backgrounds of xterm's 256 colours on which black letters are readable; neighbours differ in lightness too, for those who tell no hues apart.
_BACKGROUNDS = (117, 215, 114, 218, 183, 228, 80, 174, 153, 179, 150, 252)


class Look(NamedTuple):
    """How a thing is drawn: its sign, the sign where only ASCII can be shown, its ANSI colour codes, and what it means."""

    sign: str
    plain: str
    codes: str
    meaning: str


FREE = Look("·", ".", "2", "free")
HELPERS = Look("○", "+", "1", "no vCPU, but emulator or I/O threads")
KEPT = Look("▒", "#", "38;5;245", "kept for the host")
STRANGER = Look("×", "%", "38;5;245", "other guests, outside this plan")
CLASH = Look("!", "!", "1;97;41", "pinned by two guests")
ABSENT = Look(" ", " ", "", "")
NUMBER = Look("", "", "2", "")
HEADING = Look("", "", "1", "")


class Canvas(NamedTuple):
    """What the picture is drawn on."""

    width: int
    colour: bool
    unicode: bool

    def paint(self, text: str, look: Look) -> str:
        """The text in the colours of a look, where there are colours."""
        return "\033[{0}m{1}\033[0m".format(look.codes, text) if self.colour and look.codes and text else text

    def sign(self, look: Look) -> str:
        """The sign of a look."""
        return look.sign if self.unicode else look.plain

    def short(self, text: str, most: int) -> str:
        """The text, or its beginning if it is longer than ``most``; a list is cut behind a comma."""
        if len(text) <= most:
            return text
        dots = "…" if self.unicode else ".."
        kept = text[:most - len(dots)]
        return (kept[:kept.rindex(",") + 1] if "," in kept else kept) + dots


class Tenant(NamedTuple):
    """A guest as the picture shows it: the CPUs of its vCPUs and of its helpers, its GPUs, and its memory by node in KiB."""

    name: str
    look: Look
    cpus: FrozenSet[int]
    helpers: FrozenSet[int]
    gpus: FrozenSet[int]
    memory: Mapping[int, int]
    facts: Tuple[str, ...]


class Drawn(NamedTuple):
    """The parts of a plan that the picture shows. ``free`` is None where the plan does not say what is free."""

    tenants: List[Tenant]
    free: Optional[FrozenSet[int]]
    kept: FrozenSet[int]
    refused: List[str]
    warnings: List[str]


class Column(NamedTuple):
    """A column of a strip: a core, or a GPU. Columns of different groups (caches, PCIe switches) stand apart."""

    group: Hashable
    above: str
    looks: Tuple[Look, ...]
    below: str


def draw(topology: Topology, plan: Mapping[str, Any], width: int = 100, colour: bool = False, unicode: bool = True) -> str:
    """The picture of a plan, in the shape of :meth:`~.plan.Plan.to_dict`, on its host.

    ``colour`` adds ANSI colours, ``unicode`` allows signs beyond ASCII. Raises :class:`FleetError` for anything that is no plan.
    """
    if isinstance(width, bool) or not isinstance(width, int) or not NARROWEST <= width <= WIDEST:
        raise FleetError("The width of the picture is {0!r}, but a number of characters from {1} to {2} is expected.".format(width, NARROWEST, WIDEST))
    canvas = Canvas(width, colour, unicode)
    return "\n".join(line.rstrip() for line in _Picture(topology, _read(plan, canvas), canvas).lines())


# -- what is drawn -------------------------------------------------------------------------------------------------------------------------


def _read(plan: Mapping[str, Any], canvas: Canvas) -> Drawn:
    try:
        host = plan.get("host") or {}
        guests = sorted(plan["guests"], key=lambda guest: (min(map(int, guest.get("gpus") or [cpuset.HIGHEST_CPU])), str(guest["name"])))
        return Drawn(
            [_tenant(guest, mark, number, canvas) for number, (guest, mark) in enumerate(zip(guests, _marks(len(guests))))],
            None if host.get("free_cpus") is None else cpuset.parse(host["free_cpus"]),
            cpuset.parse(host.get("reserved_cpus") or ""),
            [_refusal(one) for one in plan.get("refused") or []],
            [str(warning) for warning in plan.get("warnings") or []],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FleetError("This is not a plan as the filter dgxops.fleet.kvm_plan makes it ({0}: {1}).".format(type(error).__name__, error))


def _tenant(guest: Mapping[str, Any], mark: str, number: int, canvas: Canvas) -> Tenant:
    memory: Dict[int, int] = {}
    for cell in guest.get("cells") or []:
        if cell.get("node") is not None:
            memory[int(cell["node"])] = memory.get(int(cell["node"]), 0) + int(cell["memory_kib"])
    name = str(guest["name"])
    return Tenant(
        name,
        Look(mark, mark, "38;5;16;48;5;{0}".format(_BACKGROUNDS[number % len(_BACKGROUNDS)]), name),
        _cpus((guest.get("vcpupin") or {}).values()),
        _cpus([guest.get("emulatorpin") or ""]) | _cpus((guest.get("iothreadpin") or {}).values()),
        frozenset(int(index) for index in guest.get("gpus") or []),
        memory,
        _facts(guest, canvas),
    )


def _facts(guest: Mapping[str, Any], canvas: Canvas) -> Tuple[str, ...]:
    """A line of the table of guests; see :data:`_HEADINGS`."""
    topology = guest.get("topology") or {}
    pages = guest.get("hugepages") or "none"
    memory = int(guest.get("memory_kib") or 0)
    pinning = {"core": " by core", "thread": " by thread", "none": " not pinned"}.get(str(guest.get("pinning")), "")
    iothreads = int(guest.get("iothreads") or 0)
    threads_on = cpuset.show(_cpus((guest.get("iothreadpin") or {}).values()))
    return (
        canvas.short(str(guest["name"]), 24),
        canvas.short(cpuset.show(int(index) for index in guest.get("gpus") or []), 11) or "-",
        "{0}{1}".format(int(guest.get("vcpus") or len(guest.get("vcpupin") or {})), pinning),
        "x".join(str(int(topology[key])) for key in ("sockets", "cores", "threads") if key in topology) or "-",
        "{0} GiB{1}".format(_gib(memory), "" if pages == "none" else " in {0}".format(pages)) if memory else "-",
        canvas.short(cpuset.show(int(node) for node in guest.get("nodes") or []), 11) or "-",
        canvas.short(cpuset.show(_cpus([guest.get("emulatorpin") or ""])), 14) or "anywhere",
        "{0} on {1}".format(iothreads, canvas.short(threads_on, 12) or "any CPU") if iothreads else "-",
    )


_HEADINGS = ("guest", "GPUs", "vCPUs", "topology", "memory", "node", "emulator", "I/O threads")


def _refusal(given: Any) -> str:
    """A refusal of the planner, or a sentence that says it all."""
    if isinstance(given, str):
        return given
    guest, message = str(given["guest"]), str(given["message"])
    return message if guest in message else "{0}: {1}".format(guest, message)


def _cpus(lists: Iterable[Any]) -> FrozenSet[int]:
    return frozenset(cpu for one in lists for cpu in cpuset.parse(one))


def _marks(count: int) -> List[str]:
    """A to Z, or two letters for each where there are more guests than letters."""
    if count <= len(_LETTERS):
        return list(_LETTERS[:count])
    both = _LETTERS + _LETTERS.lower()
    return [first + second for first in both for second in both][:count]


def _gib(kib: int) -> str:
    """GiB with one digit, whole ones without: 1446.6 and 96."""
    text = "{0:.1f}".format(kib / _KIB_PER_GIB)
    return text[:-2] if text.endswith(".0") else text


def _count(number: int, thing: str) -> str:
    return "{0} {1}{2}".format(number, thing, "" if number == 1 else "s")


# -- drawing -------------------------------------------------------------------------------------------------------------------------------


class _Picture:
    def __init__(self, topology: Topology, drawn: Drawn, canvas: Canvas) -> None:
        self.topology = topology
        self.drawn = drawn
        self.canvas = canvas
        self.cpus: Dict[int, Cpu] = {cpu.id: cpu for cpu in topology.online}
        self.cores = topology.cores()
        self.depth = max(len(core) for core in self.cores)
        self.looks = self._looks_of_cpus()
        self.gpu_looks = self._looks_of_gpus()
        texts = [str(number) for number in list(self.cpus) + list(self.gpu_looks)] + [tenant.look.sign for tenant in drawn.tenants]
        self.wide = 1 + max([2] + [len(text) for text in texts])

    def _looks_of_cpus(self) -> Dict[int, Look]:
        """Who is on each CPU that is online."""
        looks: Dict[int, Look] = {}
        for tenant in self.drawn.tenants:
            for cpu in tenant.cpus:
                looks[cpu] = CLASH if cpu in looks else tenant.look
        helpers = {cpu for tenant in self.drawn.tenants for cpu in tenant.helpers}
        for cpu in self.cpus:
            if cpu not in looks:
                unused = self.drawn.free is None or cpu in self.drawn.free
                looks[cpu] = KEPT if cpu in self.drawn.kept else HELPERS if cpu in helpers else FREE if unused else STRANGER
        return looks

    def _looks_of_gpus(self) -> Dict[int, Look]:
        looks = {gpu.index: FREE for gpu in self.topology.gpus}
        for tenant in self.drawn.tenants:
            for index in tenant.gpus:
                looks[index] = tenant.look if looks.get(index, FREE) is FREE else CLASH
        return looks

    def lines(self) -> List[str]:
        """The whole picture."""
        found = textwrap.wrap(self._summary(), self.canvas.width)
        for node in self.topology.nodes:
            found += [""] + self._place(node.id) + self._memory(node)
        places = {cpu.node for cpu in self.topology.online} | {gpu.node for gpu in self.topology.gpus}
        for number in sorted(places - {node.id for node in self.topology.nodes}):
            found += [""] + self._place(number)
        return found + [""] + self._guests() + self._key() + self._remarks()

    def _summary(self) -> str:
        topology, drawn = self.topology, self.drawn
        pinned = {cpu for tenant in drawn.tenants for cpu in tenant.cpus if cpu in self.cpus}
        cores = {self.cpus[cpu].siblings[0] for cpu in pinned}
        return "{0}, {1}, {2}, {3}. {4}{5}, pinned to {6} of {7}.".format(
            _count(len(topology.nodes), "node"),
            _count(len(self.cores), "core"),
            _count(len(self.cpus), "CPU"),
            _count(len(topology.gpus), "GPU"),
            _count(len(drawn.tenants), "guest"),
            " ({0} more refused)".format(len(drawn.refused)) if drawn.refused else "",
            _count(len(pinned), "CPU"),
            _count(len(cores), "core"),
        )

    def _place(self, node: int) -> List[str]:
        """The CPUs and GPUs of a node; those that no node has stand below node -1."""
        cores = [core for core in self.cores if self.cpus[core[0]].node == node]
        sockets = sorted({self.cpus[core[0]].socket for core in cores})
        title = "node {0}".format(node) if node >= 0 else "no node"
        if sockets:
            title += ", socket{0} {1}".format("s" if len(sockets) > 1 else "", cpuset.show(sockets))
        found = [self.canvas.paint(title, HEADING)]
        if cores:
            found += self._strip("CPU", [self._core(core) for core in cores])
        elif node >= 0:
            found.append(_LABEL.format("CPU") + " none")
        offline = [cpu.id for cpu in self.topology.cpus if not cpu.online and cpu.node == node]
        if offline:
            found.append("{0} CPU {1}".format(_LABEL.format("offline"), self.canvas.short(cpuset.show(offline), self.canvas.width - 13)))
        gpus = [gpu for gpu in self.topology.gpus if gpu.node == node]
        return found + (self._strip("GPU", [self._gpu(gpu) for gpu in gpus]) if gpus else [])

    def _core(self, core: Sequence[int]) -> Column:
        """A core some of whose threads are offline leaves their places empty."""
        first = self.cpus[core[0]]
        looks = tuple(self.looks[cpu] for cpu in core) + (ABSENT,) * (self.depth - len(core))
        return Column((first.socket, first.die, first.l3), str(core[0]), looks, str(core[-1]) if len(core) == self.depth > 1 else "")

    def _gpu(self, gpu: Device) -> Column:
        return Column(gpu.switch, str(gpu.index), (self.gpu_looks[gpu.index],), "")

    def _strip(self, label: str, columns: Sequence[Column]) -> List[str]:
        """Columns side by side, in as many rows of about the same length as the width asks for."""
        rows = 1
        while True:
            each = -(-len(columns) // rows)
            chunks = [columns[start:start + each] for start in range(0, len(columns), each)]
            if each == 1 or all(self._length(chunk) <= self.canvas.width for chunk in chunks):
                return [line for chunk in chunks for line in self._row(label, chunk)]
            rows += 1

    def _length(self, columns: Sequence[Column]) -> int:
        gaps = sum(1 for one, other in zip(columns, columns[1:]) if one.group != other.group)
        return len(_LABEL.format("")) + self.wide * len(columns) + gaps

    def _row(self, label: str, columns: Sequence[Column]) -> List[str]:
        above, below, marks = "", "", [""] * len(columns[0].looks)
        for number, column in enumerate(columns):
            gap = " " if number and column.group != columns[number - 1].group else ""
            above += gap + self._centred(column.above)
            below += gap + self._centred(column.below)
            for thread, look in enumerate(column.looks):
                marks[thread] += gap + self.canvas.paint(self._centred(self.canvas.sign(look)), look)
        indent = _LABEL.format("")
        found = [_LABEL.format(label) + self.canvas.paint(above, NUMBER)] + [indent + mark for mark in marks]
        return found + ([indent + self.canvas.paint(below, NUMBER)] if below.strip() else [])

    def _centred(self, text: str) -> str:
        return "{0:^{1}}".format(text, self.wide)

    def _memory(self, node: Node) -> List[str]:
        """A bar in proportion to the node's memory; a guest whose memory is bound to no node is not in it."""
        if not node.memory_kib:
            return [_LABEL.format("memory") + " none"]
        length = min(48, self.canvas.width - 36)
        drawing, used, drawn = "", 0, 0
        for tenant in self.drawn.tenants:
            used += tenant.memory.get(node.id, 0)
            cells = min(length, -(-used * length // node.memory_kib)) - drawn
            drawing += self.canvas.paint((tenant.look.sign * cells)[:cells], tenant.look)
            drawn += cells
        drawing += self.canvas.paint(self.canvas.sign(FREE) * (length - drawn), FREE)
        return ["{0} {1}  {2} of {3} GiB".format(_LABEL.format("memory"), drawing, _gib(used), _gib(node.memory_kib))]

    # -- what the letters and signs mean ---------------------------------------------------------------------------------------------------

    def _guests(self) -> List[str]:
        """The table of guests; where it is too wide, its last columns are left out."""
        tenants = self.drawn.tenants
        if not tenants:
            return [" no guests"]
        mark = max(len(tenant.look.sign) for tenant in tenants)
        widths = [max(map(len, texts)) for texts in zip(_HEADINGS, *(tenant.facts for tenant in tenants))]
        while len(widths) > 3 and mark + 1 + sum(widths) + 2 * len(widths) > self.canvas.width:
            widths.pop()

        def line(texts: Sequence[str]) -> str:
            return "  ".join(text.ljust(wide) for text, wide in zip(texts, widths))

        found = [self.canvas.paint(" " * (mark + 3) + line(_HEADINGS), HEADING)]
        return found + [self.canvas.paint(" {0} ".format(tenant.look.sign.ljust(mark)), tenant.look) + " " + line(tenant.facts) for tenant in tenants]

    def _key(self) -> List[str]:
        """The signs that the picture uses, and what they mean."""
        used = set(self.looks.values()) | set(self.gpu_looks.values())
        shown = [look for look in (FREE, HELPERS, KEPT, STRANGER, CLASH) if look in used]
        lines, length = [""], 0
        for look in shown:
            text = " {0} {1}  ".format(self.canvas.sign(look), look.meaning)
            if length + len(text) > self.canvas.width:
                lines, length = lines + [""], 0
            lines[-1] += text.replace(self.canvas.sign(look), self.canvas.paint(self.canvas.sign(look), look), 1)
            length += len(text)
        return [line for line in lines if line]

    def _remarks(self) -> List[str]:
        found = ["refused: " + refusal for refusal in self.drawn.refused] + ["note: " + warning for warning in self.drawn.warnings]
        for tenant in self.drawn.tenants:
            astray = tenant.cpus - set(self.cpus)
            if astray:
                found.append("note: {0} is pinned to CPU {1}, which is not online on this host.".format(tenant.name, cpuset.show(astray)))
        lines = [line for text in found for line in textwrap.wrap(text, self.canvas.width - 1, initial_indent=" ", subsequent_indent="   ")]
        return [""] + lines if lines else []
