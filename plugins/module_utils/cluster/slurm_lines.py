# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lines of slurm.conf and gres.conf that describe nodes: one for all hosts that are the same, as host lists.

Lines depend on nothing but the descriptions, so a node that is down, or that ``--limit`` leaves out, keeps its lines as long as its
description is kept.
"""
from typing import Callable, Dict, Hashable, List, Mapping, NamedTuple, Tuple, TypeVar

from ..host import cpuset
from ..host.errors import FleetError
from .slurm_node import Gpu, SlurmNode

Kind = TypeVar("Kind", bound=Hashable)


class _Line(NamedTuple):
    """GPUs that one line of gres.conf can name together."""

    type: str
    cores: str
    minors: Tuple[int, ...]


def node_lines(nodes: Mapping[str, SlurmNode], with_gpus: bool = True) -> List[str]:
    """The ``NodeName`` lines of slurm.conf. ``with_gpus`` is off where nodes are given to one job at a time and Slurm needs not know of GPUs."""
    lines = []
    for node, hosts in _same({host: node if with_gpus else node._replace(gpus=()) for host, node in nodes.items()}, _without_cores):
        words = [
            "NodeName={0}".format(hosts),
            "CPUs={0} Boards=1 SocketsPerBoard={1} CoresPerSocket={2} ThreadsPerCore={3}".format(
                node.cpus, node.sockets, node.cores_per_socket, node.threads_per_core),
            "RealMemory={0}".format(node.real_memory_mib),
        ]
        words += ["Gres={0}".format(gres_of(node.gpus))] if node.gpus else []
        lines.append(" ".join(words + ["State=UNKNOWN"]))
    return lines


def gres_lines(nodes: Mapping[str, SlurmNode]) -> List[str]:
    """The lines of gres.conf, by device file. Hosts whose GPUs are the same share them whatever else they differ in."""
    lines = []
    for node, hosts in _same(nodes, lambda node: node.gpus):
        for line in _lines_of(node.gpus):
            words = ["NodeName={0} Name=gpu".format(hosts)]
            words += ["Type={0}".format(line.type)] if line.type else []
            words.append("File=/dev/{0}".format(cpuset.show_hosts("nvidia{0}".format(minor) for minor in line.minors)))
            words += ["Cores={0}".format(line.cores)] if line.cores else []
            lines.append(" ".join(words))
    return lines


def gres_of(gpus: Tuple[Gpu, ...]) -> str:
    """The ``Gres`` of a node: ``gpu:v100:16``, and one such word for each type."""
    counts: Dict[str, int] = {}
    for gpu in gpus:
        counts[gpu.type] = counts.get(gpu.type, 0) + 1
    return ",".join("gpu:{0}:{1}".format(kind, count) if kind else "gpu:{0}".format(count) for kind, count in sorted(counts.items()))


def numa_node_as_socket(nodes: Mapping[str, SlurmNode]) -> bool:
    """Whether these nodes count NUMA nodes as sockets, which one line of slurm.conf says for all; raises :class:`FleetError` if they disagree."""
    ways: Dict[bool, List[str]] = {}
    for host, node in nodes.items():
        ways.setdefault(node.numa_node_as_socket, []).append(host)
    if len(ways) > 1:
        raise FleetError(
            "{0} are described with a socket for each NUMA node, {1} are not, but SlurmdParameters=numa_node_as_socket holds for the whole cluster. "
            "Describe all in the same way.".format(cpuset.show_hosts(ways[True]), cpuset.show_hosts(ways[False]))
        )
    return True in ways


def _without_cores(node: SlurmNode) -> SlurmNode:
    """What of a node is in its line: the device files and their cores are in gres.conf."""
    return node._replace(gpus=tuple(sorted(Gpu(0, gpu.type, "") for gpu in node.gpus)))


def _same(nodes: Mapping[str, SlurmNode], what: Callable[[SlurmNode], Kind]) -> List[Tuple[SlurmNode, str]]:
    """One of each group of nodes that are the same in ``what``, with the host list of the group; by host list, whatever order they came in."""
    groups: Dict[Kind, List[str]] = {}
    for host in sorted(nodes):
        groups.setdefault(what(nodes[host]), []).append(host)
    return sorted(((nodes[hosts[0]], cpuset.show_hosts(hosts)) for hosts in groups.values()), key=lambda pair: pair[1])


def _lines_of(gpus: Tuple[Gpu, ...]) -> List[_Line]:
    groups: Dict[Tuple[str, str], List[int]] = {}
    for gpu in sorted(gpus):
        groups.setdefault((gpu.type, gpu.cores), []).append(gpu.minor)
    return [_Line(kind, cores, tuple(minors)) for (kind, cores), minors in groups.items()]
