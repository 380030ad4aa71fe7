# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is next to what: the CPUs of a GPU and the HCA that its traffic should take (section 8.1). Slurm's lines and the fabric's plan both come from here."""
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from . import cpuset
from .topology import Device, Topology

#: From near to far: below the same PCIe switch, at the same node's host bridge, not told by the firmware, beyond the link between the CPUs.
PLACES = ("switch", "node", "unknown", "cpu")


class Affinity(NamedTuple):
    """A GPU by index, its NUMA node, the online CPUs of that, the HCA to use (None: the host has none) and what lies between (one of PLACES)."""

    gpu: int
    node: int
    cpus: str
    hca: Optional[int]
    across: str

    def to_dict(self) -> Dict[str, Any]:
        """JSON types."""
        return dict(self._asdict())


def near_cpus(topology: Topology, device: Device) -> FrozenSet[int]:
    """The online CPUs on a device's NUMA node; none if the firmware names no node for it that has CPUs."""
    return topology.cpus_of_node(device.node)


def affinities(topology: Topology, hcas: Optional[Sequence[Device]] = None) -> List[Affinity]:
    """The affinity of each GPU, by index; ``hcas`` are those that are cabled, all of the host if it is None."""
    usable = topology.of_kind("hca") if hcas is None else list(hcas)
    return [_of_gpu(gpu, usable, topology) for gpu in topology.gpus]


def _of_gpu(gpu: Device, hcas: Sequence[Device], topology: Topology) -> Affinity:
    cpus = cpuset.show(near_cpus(topology, gpu))
    if not hcas:
        return Affinity(gpu.index, gpu.node, cpus, None, "")

    def distance(hca: Device) -> Tuple[int, int]:
        if hca.switch is not None and hca.switch == gpu.switch:
            return 0, hca.index
        if min(hca.node, gpu.node) < 0 and len(topology.nodes) > 1:
            return 2, hca.index
        return (1 if hca.node == gpu.node or len(topology.nodes) < 2 else 3), hca.index

    hca = min(hcas, key=distance)
    return Affinity(gpu.index, gpu.node, cpus, hca.index, PLACES[distance(hca)[0]])
