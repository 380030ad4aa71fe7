# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""InfiniBand fabric arithmetic: which HCAs to cable, how many systems a switch or two tiers of switches hold, and the cables between them.

Section 8.1.1 of the Best Practices for DGX, for any number of ports, links and nodes.
"""
import itertools
import math
from fractions import Fraction
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..host.affinity import Affinity, affinities
from ..host.errors import FleetError
from ..host.topology import Device, Topology

#: The smallest InfiniBand switch, and the largest director-class one (section 8.1.1).
LEAF_PORTS, CORE_PORTS = 36, 648
#: Finer than anybody means an over-subscription: 1.4 is seven to five, and so is what a float makes of it.
_FINEST = 1000
#: Ten of twenty HCAs at two sockets have 63,504 sets that are spread evenly; a host with far more of them is not looked through to the end.
_MOST_SETS = 100000
#: A DGX-1 has four EDR HCAs (section 8.1).
LINKS = 4


class HcaChoice(NamedTuple):
    """HCAs to cable, by index; ``equivalent`` are all sets as good, the chosen one first."""

    hcas: Tuple[int, ...]
    names: Tuple[str, ...]
    equivalent: Tuple[Tuple[int, ...], ...]
    affinity: Tuple[Affinity, ...]
    warnings: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        return {
            "hcas": list(self.hcas),
            "names": list(self.names),
            "equivalent": [list(indices) for indices in self.equivalent],
            "affinity": [one.to_dict() for one in self.affinity],
            "warnings": list(self.warnings),
        }


class Cable(NamedTuple):
    """One cable; ports count from 1, as they are printed on switches."""

    source: str
    source_port: str
    target: str
    target_port: int


class Fabric(NamedTuple):
    """A fabric of one switch (tier 1) or of leaves below core switches (tier 2)."""

    tiers: int
    nodes: Tuple[str, ...]
    links_per_node: int
    leaves: int
    cores: int
    nodes_per_leaf: int
    uplinks_per_leaf: int
    most_nodes: int
    node_oversubscription: float
    leaf_oversubscription: float
    cables: Tuple[Cable, ...]
    warnings: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in self._asdict().items()}
        found["cables"] = [dict(cable._asdict()) for cable in self.cables]
        return found


def choose_hcas(topology: Topology, links: int) -> HcaChoice:
    """The HCAs to cable with this many links, so that traffic stays off the link between the CPUs.

    They are spread evenly over the NUMA nodes that have HCAs (two links of a DGX-1: IB0+IB2, IB1+IB3, IB0+IB3 or IB1+IB2), then so that
    most GPUs find one below their own PCIe switch.
    """
    hcas = topology.of_kind("hca")
    _check_number("links", links)
    if links > len(hcas):
        raise FleetError("{0} links are asked for, but this host has {1} HCA{2}.".format(links, len(hcas), "" if len(hcas) == 1 else "s"))
    ranked: Dict[Tuple[int, int], List[Tuple[int, ...]]] = {}
    for chosen in itertools.islice(_spread(hcas, links), _MOST_SETS):
        near = affinities(topology, chosen)
        badness = (sum(1 for one in near if one.across == "cpu"), -sum(1 for one in near if one.across == "switch"))
        ranked.setdefault(badness, []).append(tuple(device.index for device in chosen))
    best = sorted(ranked[min(ranked)])
    cabled = [device for device in hcas if device.index in best[0]]
    affinity = tuple(affinities(topology, cabled))
    far = [one.gpu for one in affinity if one.across == "cpu"]
    warnings = []
    if far:
        warnings.append("GPU {0} reaches its HCA across the link between the CPUs. Cable more HCAs.".format(", ".join(map(str, far))))
    return HcaChoice(best[0], tuple(device.name or device.pci for device in cabled), tuple(best), affinity, tuple(warnings))


def _spread(hcas: Sequence[Device], links: int) -> Iterator[Tuple[Device, ...]]:
    """The sets of HCAs that load the NUMA nodes as evenly as they go."""
    by_node: Dict[int, List[Device]] = {}
    for hca in hcas:
        by_node.setdefault(hca.node, []).append(hca)
    counts = dict.fromkeys(by_node, 0)
    for _link in range(links):
        node = min((one for one in by_node if counts[one] < len(by_node[one])), key=lambda one: (counts[one], one))
        counts[node] += 1
    wanted = sorted(counts.values())
    nodes = sorted(by_node)
    for shares in sorted(set(itertools.permutations(wanted)), reverse=True) if len(nodes) <= 8 else [tuple(counts[node] for node in nodes)]:
        if all(share <= len(by_node[node]) for node, share in zip(nodes, shares)):
            pools = [itertools.islice(itertools.combinations(by_node[node], share), _MOST_SETS) for node, share in zip(nodes, shares)]
            for parts in itertools.product(*pools):
                yield tuple(sorted((device for part in parts for device in part), key=lambda device: device.index))


def plan(
    nodes: Sequence[str],
    links: int = LINKS,
    leaf_ports: int = LEAF_PORTS,
    core_ports: int = CORE_PORTS,
    oversubscription: float = 1.0,
    cores: int = 1,
    hcas: Optional[Sequence[str]] = None,
) -> Fabric:
    """The smallest fabric for these nodes.

    ``oversubscription`` is the bandwidth into a leaf over that out of it towards the core; ``cores`` are core switches, over which a leaf
    spreads its uplinks. ``hcas`` name the HCAs a node has, the first ``links`` of which are cabled; with fewer links than HCAs a node is
    over-subscribed itself. Raises :class:`FleetError` for a fabric that two tiers cannot hold.
    """
    names = tuple(nodes)
    _check(names, links, leaf_ports, core_ports, oversubscription, cores)
    ports = tuple("ib{0}".format(at) for at in range(links)) if hcas is None else tuple(hcas)[:links]
    if len(set(ports)) < links:
        raise FleetError("{0} links per node are asked for, but {1} HCAs are named: {2}.".format(links, len(set(ports)), ", ".join(ports) or "none"))
    per_node = 1.0 if hcas is None else len(hcas) / float(links)
    warnings = ["With one link per node, traffic of the GPUs of the other CPU crosses the link between the CPUs."] if links == 1 else []
    if len(names) <= leaf_ports // links:
        cables = _node_cables(names, ports, leaf_ports // links)
        return Fabric(1, names, links, 1, 0, len(names), 0, leaf_ports // links, per_node, 0.0, tuple(cables), tuple(warnings))
    per_leaf, uplinks = _leaf(links, leaf_ports, oversubscription, cores)
    most_leaves = core_ports // (uplinks // cores)
    most = per_leaf * most_leaves
    leaves = -(-len(names) // per_leaf)
    if leaves > most_leaves:
        raise FleetError(
            "{0} nodes with {1} links need {2} leaf switches of {3} ports with {4} uplinks each, but {5} core switch{6} of {7} ports take{8} only {9}: "
            "{10} nodes. Use fewer links per node, more over-subscription, larger or more core switches, or ask the vendor for a third tier.".format(
                len(names), links, leaves, leaf_ports, uplinks, cores, "" if cores == 1 else "es", core_ports, "s" if cores == 1 else "", most_leaves, most
            )
        )
    cables = _node_cables(names, ports, per_leaf) + _uplink_cables(leaves, uplinks, cores, links * per_leaf)
    return Fabric(2, names, links, leaves, cores, per_leaf, uplinks, most, per_node, links * per_leaf / float(uplinks), tuple(cables), tuple(warnings))


def _check(names: Sequence[str], links: int, leaf_ports: int, core_ports: int, oversubscription: float, cores: int) -> None:
    if not names:
        raise FleetError("There are no nodes to connect. Give their names, or how many there are.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise FleetError("The node {0} is listed more than once.".format(twice[0]))
    for value, place in ((links, "links"), (leaf_ports, "leaf_ports"), (core_ports, "core_ports"), (cores, "cores")):
        _check_number(place, value)
    if isinstance(oversubscription, bool) or not isinstance(oversubscription, (int, float)) or not 1 <= oversubscription <= 100:
        raise FleetError("oversubscription is {0!r}, but a number from 1 (none) to 100 is expected; 2 is 2:1.".format(oversubscription))
    if links > leaf_ports:
        raise FleetError("A node with {0} links does not fit on a switch of {1} ports.".format(links, leaf_ports))


def _check_number(place: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FleetError("{0} is {1!r}, but a whole number of at least 1 is expected.".format(place, value))


def _leaf(links: int, leaf_ports: int, oversubscription: float, cores: int) -> Tuple[int, int]:
    """How many nodes a leaf takes and how many uplinks they need, the same number to each core switch."""
    ratio = Fraction(oversubscription).limit_denominator(_FINEST)
    for count in range(leaf_ports // links, 0, -1):
        down = count * links
        uplinks = -(-math.ceil(down / ratio) // cores) * cores
        if down + uplinks <= leaf_ports:
            return count, uplinks
    raise FleetError(
        "A leaf of {0} ports cannot take one node of {1} links and its uplinks to {2} core switches at {3:g}:1.".format(
            leaf_ports, links, cores, oversubscription
        )
    )


def _node_cables(names: Sequence[str], ports: Sequence[str], per_leaf: int) -> List[Cable]:
    cables = []
    for at, name in enumerate(names):
        leaf, seat = divmod(at, per_leaf)
        for link, port in enumerate(ports):
            cables.append(Cable(name, port, _switch("leaf", leaf), seat * len(ports) + link + 1))
    return cables


def _uplink_cables(leaves: int, uplinks: int, cores: int, first: int) -> List[Cable]:
    """Each leaf's uplinks go in turn to the core switches, and fill these leaf by leaf."""
    per_core = uplinks // cores
    return [
        Cable(_switch("leaf", leaf), str(first + at + 1), _switch("core", at % cores), leaf * per_core + at // cores + 1)
        for leaf in range(leaves)
        for at in range(uplinks)
    ]


def _switch(kind: str, at: int) -> str:
    return "{0}{1:02}".format(kind, at + 1)
