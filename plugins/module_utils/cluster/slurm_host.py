# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host's own slurmd and NVIDIA's driver say of it, and whether that agrees with the description made from sysfs."""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ..host import apt
from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.sysfs import Sysfs
from .slurm_node import Gpu, SlurmNode

_GPUS = "proc/driver/nvidia/gpus"
_MINOR = re.compile(r"^Device Minor:\s*(\d{1,6})\s*$", re.MULTILINE)
_MEMORY = re.compile(r"^MemTotal:\s*(\d{1,15}) kB$", re.MULTILINE)
_GRES = re.compile(r"\bGres Name=gpu (?:Type=(?P<type>\S+) )?Count=(?P<count>\d+) ")
_WORDS = {"CPUs": "cpus", "SocketsPerBoard": "sockets", "CoresPerSocket": "cores_per_socket", "ThreadsPerCore": "threads_per_core",
          "RealMemory": "real_memory_mib"}


class Hardware(NamedTuple):
    """What ``slurmd -C`` counted."""

    cpus: int
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    real_memory_mib: int


class Slurmd(NamedTuple):
    """The slurmd of a host: what it says of its version, and of the host."""

    version: str
    hardware: Hardware

    def to_dict(self) -> Dict[str, Any]:
        """JSON types."""
        return dict(self.hardware._asdict(), version=self.version)


def read_minors(sysfs: Sysfs) -> Dict[str, int]:
    """The numbers of the GPUs' device files (``/dev/nvidia3``) by PCI address, from NVIDIA's driver; none where it is not loaded.

    They are not in PCI order on every machine: gres.conf(5), *Links*, warns of it.
    """
    found = {}
    for address in sysfs.entries(_GPUS):
        match = _MINOR.search(sysfs.read("{0}/{1}/information".format(_GPUS, address)) or "")
        if match:
            found[address.lower()] = int(match.group(1))
    return found


def read_memory(sysfs: Sysfs) -> int:
    """All memory that the kernel has, in KiB; 0 if it does not say."""
    match = _MEMORY.search(sysfs.read("proc/meminfo") or "")
    return int(match.group(1)) if match else 0


def missing_files(sysfs: Sysfs, gpus: List[Gpu]) -> List[str]:
    """The device files of GPUs that are not there: slurmd waits for them at its start, and then ends."""
    paths = ["/dev/nvidia{0}".format(gpu.minor) for gpu in gpus]
    return [path for path in paths if not sysfs.exists(path.lstrip("/"))]


def divided(sysfs: Sysfs, gpus: List[Gpu]) -> List[str]:
    """The device files of GPUs that are divided into instances: NVIDIA's MIG User Guide, *Device Nodes and Capabilities*."""
    places = {"/dev/nvidia{0}".format(gpu.minor): "proc/driver/nvidia/capabilities/gpu{0}/mig".format(gpu.minor) for gpu in gpus}
    return [path for path, place in places.items() if any(name.startswith("gi") for name in sysfs.entries(place))]


def cgroup_version(sysfs: Sysfs) -> int:
    """1 or 2: only the root of a unified hierarchy lists its controllers (the kernel's Documentation/admin-guide/cgroup-v2.rst)."""
    return 2 if sysfs.exists("sys/fs/cgroup/cgroup.controllers") else 1


def ask_slurmd(commands: Commands) -> Optional[Slurmd]:
    """What slurmd says; None if the host has none."""
    try:
        version = commands.run(["slurmd", "-V"]).out
    except FleetError:
        return None
    return Slurmd(version.strip().split(" ")[-1], hardware_of(commands.output(["slurmd", "-C"])))


def slurm_version(commands: Commands) -> str:
    """The version that is installed, or else the one that the package archives have; empty if neither is there."""
    for program in ("slurmctld", "slurmd", "sinfo"):
        try:
            return commands.output([program, "-V"]).strip().split(" ")[-1]
        except FleetError:
            continue
    try:
        return apt.candidate(commands, "slurmctld")
    except FleetError:
        return ""  # no apt here


def memory_cgroup(sysfs: Sysfs) -> bool:
    """Whether the kernel can limit memory by control group. Debian's and Ubuntu's kernels of old wait for ``cgroup_enable=memory`` with version 1."""
    if cgroup_version(sysfs) == 2:
        return "memory" in (sysfs.read("sys/fs/cgroup/cgroup.controllers") or "").split()
    rows = [line.split() for line in (sysfs.read("proc/cgroups") or "").splitlines()]
    return any(row[0] == "memory" and row[-1] == "1" for row in rows if row)


def gres_disagreement(node: SlurmNode, text: str) -> str:
    """Why the GPUs that ``slurmd -G`` found are not those of the description, in words; empty if they are."""
    found: Dict[str, int] = {}
    for line in text.splitlines():
        match = _GRES.search(line)
        if match:
            kind = (match.group("type") or "").replace("(null)", "")
            found[kind] = found.get(kind, 0) + int(match.group("count"))
    wanted: Dict[str, int] = {}
    for gpu in node.gpus:
        wanted[gpu.type] = wanted.get(gpu.type, 0) + 1
    if found == wanted:
        return ""
    errors = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    told = " It says: {0}".format("; ".join(errors[:3])) if errors else ""
    return "slurmd does not find the GPUs that gres.conf gives it, and Slurm would drain the node: {0} are expected, {1} are found.{2}".format(
        _counted(wanted), _counted(found), told)


def _counted(gpus: Mapping[str, int]) -> str:
    return ", ".join("{0} {1}".format(count, kind or "GPUs") for kind, count in sorted(gpus.items())) or "none"


def hardware_of(text: str) -> Hardware:
    """The numbers in the line that ``slurmd -C`` prints; raises :class:`FleetError` if they are not all there."""
    line = next((line for line in text.splitlines() if line.startswith("NodeName=")), "")
    words = dict(word.partition("=")[::2] for word in line.split())
    found = {}
    for key, field in _WORDS.items():
        if not words.get(key, "").isdigit():
            raise FleetError("slurmd -C was expected to print a line with NodeName= and {0}=, but printed: {1}".format(key, text.strip() or "nothing"))
        found[field] = int(words[key])
    boards = words.get("Boards", "1")
    return Hardware(**dict(found, sockets=found["sockets"] * (int(boards) if boards.isdigit() else 1)))


def disagreement(node: SlurmNode, hardware: Hardware) -> str:
    """Why slurmctld would drain the node with this description, in words; empty if it would not.

    ``slurmd -C`` does not read slurm.conf and so counts real sockets also where slurm.conf makes each NUMA node one, so then only cores are compared.
    """
    cores = node.sockets * node.cores_per_socket
    pairs = [
        ("CPUs", node.cpus, hardware.cpus),
        ("cores", cores, hardware.sockets * hardware.cores_per_socket),
        ("threads per core", node.threads_per_core, hardware.threads_per_core),
    ]
    if not node.numa_node_as_socket:
        pairs.insert(1, ("sockets", node.sockets, hardware.sockets))
    wrong = ["{0} {1}, slurmd counts {2}".format(what, ours, theirs) for what, ours, theirs in pairs if ours != theirs]
    if node.real_memory_mib > hardware.real_memory_mib:
        wrong.append("{0} MiB of memory, slurmd counts {1}".format(node.real_memory_mib, hardware.real_memory_mib))
    if not wrong:
        return ""
    hint = ""
    if not node.numa_node_as_socket and hardware.sockets > node.sockets and cores == hardware.sockets * hardware.cores_per_socket:
        hint = " This slurmd takes each NUMA node for a socket: set numa_node_as_socket."
    return (
        "The host's own slurmd does not agree with what the kernel shows, and Slurm would drain the node: {0}.{1} Compare 'slurmd -C' with 'lscpu'; "
        "in a container or with CPUs switched off since slurmd's start they may differ.".format("; ".join(wrong), hint)
    )
