# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a slurm.conf says, and what it takes to go from one to another: nothing, a reconfiguration, a restart, or nodes without jobs.

Sources: scontrol(1) *reconfigure*, which names what a running daemon does not take up, and slurm.conf(5).
"""
from typing import Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from ..host import cpuset
from ..host.errors import FleetError

#: What daemons take up while they run. A restart is the answer to everything else: it ends no job.
_TAKEN_UP = frozenset("""
accountingstorageenforce batchstarttimeout completewait debugflags defmempercpu defmempergpu defmempernode epilog epilogslurmctld
fairsharedampeningfactor firstjobid getenvtimeout healthcheckinterval healthchecknodestate healthcheckprogram inactivelimit killonbadexit killwait
mailprog maxarraysize maxjobcount maxmempercpu maxmempernode messagetimeout minjobage overtimelimit prioritycalcperiod prioritydecayhalflife
priorityfavorsmall prioritymaxage priorityusageresetperiod priorityweightage priorityweightassoc priorityweightfairshare priorityweightjobsize
priorityweightpartition priorityweightqos priorityweighttres privatedata prolog prologepilogtimeout prologslurmctld propagateresourcelimits
propagateresourcelimitsexcept resumetimeout resvoverrun returntoservice schedulerparameters slurmctlddebug slurmctldtimeout slurmddebug slurmdtimeout
suspendtimeout taskepilog taskprolog tmpfs unkillablestepprogram unkillablesteptimeout usepam vsizefactor waittime
""".split())

#: What a node's slurmd shares out or tracks jobs by: jobs that it started under the old way may be lost or unbound under the new.
_UNDER_JOBS = frozenset("jobacctgathertype proctracktype prologflags slurmdparameters slurmdspooldir taskplugin".split())

#: What slurmctld counts jobs by: jobs of all nodes are lost if it changes (slurm.conf(5), SelectType).
_COUNTED_BY = frozenset("clustername grestypes selecttype selecttypeparameters statesavelocation".split())


class Conf(NamedTuple):
    """A slurm.conf by what it is about; keys in lower case. The words of a node are those of its ``NodeName`` line."""

    settings: Mapping[str, str]
    nodes: Mapping[str, str]
    partitions: Mapping[str, str]


class Difference(NamedTuple):
    """What is other in the new configuration."""

    keys: Tuple[str, ...]
    nodes: Tuple[str, ...]
    members: bool
    partitions: bool

    def __bool__(self) -> bool:
        return bool(self.keys or self.nodes or self.members or self.partitions)

    @property
    def needs_restart(self) -> bool:
        """Whether a daemon has to start anew to take it up."""
        return bool(self.nodes or self.members or set(self.keys) - _TAKEN_UP)

    @property
    def under_jobs(self) -> bool:
        """Whether jobs on a node may not see its slurmd take this up."""
        return bool(set(self.keys) & (_UNDER_JOBS | _COUNTED_BY))

    @property
    def counted_by(self) -> bool:
        """Whether slurmctld would lose the jobs of all nodes."""
        return bool(set(self.keys) & _COUNTED_BY)


def parse(text: Optional[str]) -> Conf:
    """What a slurm.conf says; also one that somebody else wrote, as far as it can be understood."""
    settings: Dict[str, str] = {}
    nodes: Dict[str, str] = {}
    partitions: Dict[str, str] = {}
    for line in lines_of(text):
        key, _equals, value = (part.strip() for part in line.partition("="))
        first, *rest = value.split() or [""]
        if key.lower() == "nodename":
            nodes.update({name: " ".join(rest) for name in _hosts(first)})
        elif key.lower() == "partitionname":
            partitions[first] = " ".join(rest)
        else:
            settings[key.lower()] = value
    return Conf(settings, nodes, partitions)


def lines_of(text: Optional[str]) -> List[str]:
    """The lines that say something, without comments; a backslash joins lines."""
    lines = (text or "").replace("\\\n", " ").splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def compare(before: Conf, after: Conf) -> Difference:
    """What is other. Nodes are those in both whose line is other; ``members`` says whether some are new or gone."""
    keys = {key for key in set(before.settings) | set(after.settings) if before.settings.get(key) != after.settings.get(key)}
    changed = [name for name in sorted(set(before.nodes) & set(after.nodes)) if before.nodes[name] != after.nodes[name]]
    return Difference(tuple(sorted(keys)), tuple(changed), set(before.nodes) != set(after.nodes), before.partitions != after.partitions)


def gres_by_node(text: Optional[str]) -> Dict[str, Set[str]]:
    """What a gres.conf says of each node, by node; the lines that name none are under an empty name."""
    found: Dict[str, Set[str]] = {}
    for line in lines_of(text):
        words = line.split()
        names = [word.partition("=")[2] for word in words if word.lower().startswith("nodename=")]
        rest = " ".join(word for word in words if not word.lower().startswith("nodename="))
        for name in _hosts(names[0]) if names else [""]:
            found.setdefault(name, set()).add(rest)
    return found


def other_gres(before: Optional[str], after: Optional[str]) -> List[str]:
    """The nodes that both files are about and whose lines are other."""
    old, new = gres_by_node(before), gres_by_node(after)
    return sorted(name for name in set(old) & set(new) if old[name] != new[name])


def _hosts(text: str) -> List[str]:
    try:
        return cpuset.parse_hosts(text)
    except FleetError:
        return [text]  # a list in a notation of Slurm's that nobody here writes
