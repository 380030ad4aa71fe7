# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Slurm's configuration of a whole cluster on paper: from descriptions of its hosts, whichever way they were got."""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ..host.errors import FleetError
from ..host.topology import Topology
from . import slurm, slurm_lines, slurm_node
from .slurm_node import AS_FOUND, Choices, SlurmNode


class SlurmPlan(NamedTuple):
    """Lines for each of the three files, what each partition needs, and what should be known."""

    nodes: List[str]
    gres: List[str]
    slurm_conf: List[str]
    cgroup_conf: List[str]
    partition_options: str
    warnings: List[str]

    def to_dict(self) -> Dict[str, Any]:
        """JSON types."""
        return dict(self._asdict())


def plan(
    hosts: Mapping[str, Any], version: str, mode: str = slurm.PER_GPU, cgroup: Any = 2, choices: Choices = AS_FOUND,
    slurm_conf: Optional[Mapping[str, Any]] = None, cgroup_conf: Optional[Mapping[str, Any]] = None,
    accounting: bool = True,
) -> SlurmPlan:
    """The configuration of these hosts.

    Each host is a node as ``slurm_node_info`` returned it (its ``node``, or its whole answer), or a topology to plan a machine that is not there.
    Raises :class:`FleetError` naming the host for what cannot be.
    """
    if not isinstance(hosts, Mapping) or not hosts:
        raise FleetError("Expected is a dictionary of hosts by name, such as {{dgx01: …}}, but found {0!r}.".format(hosts))
    warnings: List[str] = []
    nodes = {str(name): _node(str(name), described, choices, warnings) for name, described in hosts.items()}
    site = slurm.site_of(version, mode, cgroup, slurm_lines.numa_node_as_socket(nodes), accounting)
    per_gpu = mode == slurm.PER_GPU
    bare = sorted(name for name, node in nodes.items() if not node.gpus)
    if per_gpu and bare:
        warnings.append("No GPU is known on {0}; jobs that ask for GPUs will not run there.".format(", ".join(bare)))
    return SlurmPlan(
        nodes=slurm_lines.node_lines(nodes, with_gpus=per_gpu),
        gres=slurm_lines.gres_lines(nodes) if per_gpu else [],
        slurm_conf=slurm.as_lines(slurm.slurm_settings(site, _settings("slurm_conf", slurm_conf))),
        cgroup_conf=slurm.as_lines(slurm.cgroup_settings(site, _settings("cgroup_conf", cgroup_conf))),
        partition_options=slurm.partition_options(mode),
        warnings=warnings + slurm.doubts(site),
    )


def _node(name: str, described: Any, choices: Choices, warnings: List[str]) -> SlurmNode:
    """One host, in any of the shapes."""
    if not isinstance(described, Mapping):
        raise FleetError("{0} is {1!r}, but the node of slurm_node_info or the topology of dgx_facts is expected.".format(name, described))
    inner = described.get("node", described)
    if isinstance(inner, Mapping) and "cores_per_socket" in inner:
        return SlurmNode.from_dict(inner, name)
    try:
        topology = Topology.from_dict(described.get("topology", described))
        warnings.extend("{0}: {1}".format(name, doubt) for doubt in slurm_node.doubts(topology))
        return slurm_node.node_of(topology, None, choices)
    except FleetError as error:
        raise FleetError("{0}: {1}".format(name, error.message))


def _settings(option: str, given: Any) -> Optional[Mapping[str, Any]]:
    if given is not None and not isinstance(given, Mapping):
        raise FleetError("{0} is {1!r}, but a dictionary of settings is expected, such as {{SchedulerType: sched/backfill}}.".format(option, given))
    return given
