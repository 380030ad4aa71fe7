# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration files of a whole cluster as texts: from descriptions of its nodes and what a site wants."""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

from ..host import cpuset
from ..host.errors import FleetError
from . import slurm, slurm_plan
from .slurm_node import SlurmNode

HEADER = "# Written by dgxops.fleet.slurm_gpu, which owns this file. See {0}(5).\n"
DATABASE = "slurm_acct_db"
#: Where the role puts what Slurm runs before and after jobs.
HOOKS = "/etc/slurm/dgxops"

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_OWN = ("clustername", "slurmctldhost", "nodename", "partitionname", "accountingstoragehost")


class Cluster(NamedTuple):
    """Who is who in a cluster. ``database`` is the host of slurmdbd, empty without accounting; ``health_interval`` is in seconds, 0 for never."""

    name: str
    controller: str
    database: str
    hooks: bool
    health_interval: int


class Partition(NamedTuple):
    """Nodes that jobs ask for by one name."""

    name: str
    nodes: Sequence[str]
    default: bool
    options: Mapping[str, str]


def files(hosts: Mapping[str, Any], wanted: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Dict[str, Any]:
    """The texts by name of the file (None: there is to be none), and ``warnings``.

    ``wanted`` are the role's variables without their prefix (a ``cgroup`` of 0 is that of a host that is no node), and ``controller``, ``database`` (host
    names) and ``version``; ``groups`` the inventory's.
    Raises :class:`FleetError` for what Slurm would not take, or would take and pass over.
    """
    cluster = _cluster(wanted)
    if not str(wanted.get("version") or ""):
        raise FleetError("The controller {0} has no Slurm, and its package archives have none. Install it, or give its version as slurm_gpu_version.".format(
            cluster.controller))
    if isinstance(hosts, Mapping) and not hosts:
        raise FleetError("No node was ever described: none is known to the controller {0} from earlier, and in this run none took part, or all failed. "
                         "Run it with a node or more; what is wrong with those that failed is told above.".format(cluster.controller))
    more = wanted.get("slurm_conf") or {}
    cgroup = wanted.get("cgroup")
    if str(cgroup or 0) == "0":  # a text, from ansible-core before 2.19
        cgroup = 2 if slurm.version_of(wanted["version"]) >= slurm.Version(22, 5) else 1
    plan = slurm_plan.plan(hosts, wanted["version"], wanted.get("mode", slurm.PER_GPU), cgroup, slurm_conf=more, cgroup_conf=wanted.get("cgroup_conf") or {},
                           accounting=bool(cluster.database))
    for key in more:
        if str(key).lower() in _OWN:
            raise FleetError("{0} in slurm_gpu_slurm_conf is made by the role itself from the inventory. Leave it out.".format(key))
    if not wanted.get("memory_cgroup", True) and "ConstrainRAMSpace=yes" in plan.cgroup_conf:
        raise FleetError(
            "The kernel of this node does not limit memory by control group, and slurmd would not start. Give it cgroup_enable=memory swapaccount=1 by the "
            "module dgxops.fleet.kernel_cmdline and boot it, or set ConstrainRAMSpace: false in slurm_gpu_cgroup_conf.")
    nodes = {name: SlurmNode.from_dict(_inner(described), name) for name, described in hosts.items()}
    if not isinstance(groups, Mapping) or not _are_names(groups) or not all(_are_names(hosts) for hosts in groups.values()):
        raise FleetError("groups is expected to be the inventory's groups, a dictionary of lists of hosts, but found {0!r}.".format(groups))
    partitions = _partitions(wanted.get("partitions") or [], groups, nodes)
    own = {str(key).lower() for key in more}
    settings = [line for line in _base(cluster) if line.partition("=")[0].lower() not in own]
    lines = settings + plan.slurm_conf + plan.nodes + [_partition_line(partition, plan.partition_options, nodes) for partition in partitions]
    return {
        "slurm.conf": HEADER.format("slurm.conf") + "\n".join(lines) + "\n",
        "gres.conf": HEADER.format("gres.conf") + "\n".join(plan.gres) + "\n" if plan.gres else None,
        "cgroup.conf": HEADER.format("cgroup.conf") + "\n".join(plan.cgroup_conf) + "\n",
        "slurmdbd.conf": slurmdbd_conf(cluster) if cluster.database else None,
        "warnings": plan.warnings + _left_out(nodes, partitions),
    }


def slurmdbd_conf(cluster: Cluster) -> str:
    """slurmdbd reaches its database by a socket and as the user that it runs as, so there is no password that could become known."""
    lines = [
        "AuthType=auth/munge", "DbdHost={0}".format(cluster.database), "SlurmUser=slurm", "StorageType=accounting_storage/mysql",
        "StorageHost=localhost", "StorageUser=slurm", "StorageLoc={0}".format(DATABASE),
        "LogFile=/var/log/slurm/slurmdbd.log", "PidFile=/run/slurmdbd.pid",
    ]
    return HEADER.format("slurmdbd.conf") + "\n".join(lines) + "\n"


def _cluster(wanted: Mapping[str, Any]) -> Cluster:
    name, controller = str(wanted.get("cluster") or ""), str(wanted.get("controller") or "")
    # Slurm makes it lower case in the database and looks for it so.
    if not re.match(r"^[a-z][a-z0-9_-]{0,39}\Z", name):
        raise FleetError("slurm_gpu_cluster is {0!r}, but a name of at most 40 lower case letters, digits, - and _ is expected, such as dgx.".format(name))
    if not controller:
        raise FleetError("No host is in the group of Slurm's controller. Put one into the group that slurm_gpu_controller_group names.")
    interval = str(wanted.get("health_interval") or 0)
    if not re.match(r"^\d{1,5}\Z", interval, re.ASCII):
        raise FleetError("slurm_gpu_health_interval is {0!r}, but a number of seconds is expected, such as 300, or 0 for never.".format(interval))
    return Cluster(name, controller, str(wanted.get("database") or ""), bool(wanted.get("hooks", True)), int(interval))


def _base(cluster: Cluster) -> List[str]:
    lines = [
        "ClusterName={0}".format(cluster.name), "SlurmctldHost={0}".format(cluster.controller), "SlurmUser=slurm", "AuthType=auth/munge",
        "StateSaveLocation=/var/lib/slurm/slurmctld", "SlurmdSpoolDir=/var/lib/slurm/slurmd",
        "SlurmctldPidFile=/run/slurmctld.pid", "SlurmdPidFile=/run/slurmd.pid",
        "SlurmctldLogFile=/var/log/slurm/slurmctld.log", "SlurmdLogFile=/var/log/slurm/slurmd.log",
        # A node that was down comes back by itself if it is what its line says; a drained one never does.
        "ReturnToService=2",
    ]
    if cluster.database:
        lines += ["AccountingStorageType=accounting_storage/slurmdbd", "AccountingStorageHost={0}".format(cluster.database)]
    if cluster.hooks:
        # Contain: the prolog runs when the nodes are given out and not with the first step, and the job has its cgroup from then on.
        lines += ["Prolog={0}/prolog".format(HOOKS), "Epilog={0}/epilog".format(HOOKS), "PrologFlags=Contain", "PrologEpilogTimeout=300"]
        if cluster.health_interval:
            lines += ["HealthCheckProgram={0}/health".format(HOOKS), "HealthCheckInterval={0}".format(cluster.health_interval),
                      "HealthCheckNodeState=ANY"]
    return lines


def _partitions(given: Sequence[Any], groups: Mapping[str, Sequence[str]], nodes: Mapping[str, SlurmNode]) -> List[Partition]:
    found: List[Partition] = []
    if not isinstance(given, (list, tuple)):
        raise FleetError("slurm_gpu_partitions is {0!r}, but a list is expected, such as [{{name: batch, groups: [dgx]}}].".format(given))
    for entry in given:
        name = str(entry.get("name") or "") if isinstance(entry, Mapping) else ""
        if not _NAME.match(name) or name in [other.name for other in found]:
            raise FleetError("slurm_gpu_partitions has {0!r}: each partition needs a name of its own of letters, digits, _, . and -.".format(entry))
        members: Set[str] = set()
        if not _are_names(entry.get("groups") or []) or not isinstance(entry.get("options") or {}, Mapping):
            raise FleetError("The partition {0} is described as {1!r}, but groups is expected to be a list of names, and options a dictionary.".format(
                name, dict(entry)))
        for group in entry.get("groups") or [name]:
            if group not in groups:
                raise FleetError("The partition {0} is to have the hosts of the group {1}, which is not in the inventory. It has: {2}.".format(
                    name, group, ", ".join(sorted(other for other in groups if other not in ("all", "ungrouped")))))
            members.update(host.partition(".")[0] for host in groups[group])
        options = {str(key): str(value) for key, value in (entry.get("options") or {}).items()}
        for key, value in options.items():
            if not re.match(r"^[A-Za-z]+\Z", key) or re.search(r"[\s#]|\\\Z", value) or key.lower() in ("partitionname", "nodes", "default"):
                raise FleetError("The option {0!r}: {1!r} of the partition {2} cannot be in its line. Give a key such as MaxTime, and a value without "
                                 "spaces.".format(key, value, name))
        found.append(Partition(name, sorted(members & set(nodes)), bool(entry.get("default", len(given) == 1)), options))
    if sum(partition.default for partition in found) > 1:
        raise FleetError("Several partitions are the default: {0}. One can be.".format(", ".join(one.name for one in found if one.default)))
    return found


def _are_names(given: Any) -> bool:
    return isinstance(given, (list, tuple, Mapping)) and all(isinstance(name, str) for name in given)


def _left_out(nodes: Mapping[str, SlurmNode], partitions: Sequence[Partition]) -> List[str]:
    outside = sorted(set(nodes) - {name for partition in partitions for name in partition.nodes})
    return ["No partition has {0}, so no job begins there.".format(cpuset.show_hosts(outside))] if outside else []


def _partition_line(partition: Partition, mode_options: str, nodes: Mapping[str, SlurmNode]) -> str:
    # A partition whose nodes were never seen has none yet.
    words = ["PartitionName={0}".format(partition.name), "Nodes={0}".format(cpuset.show_hosts(partition.nodes) or '""')]
    own = {key.lower() for key in partition.options}
    words += ["Default={0}".format("YES" if partition.default else "NO")] + ([] if "state" in own else ["State=UP"])
    if mode_options and "oversubscribe" not in own:
        words.append(mode_options)
    elif not mode_options and partition.nodes and not own & {"defmempercpu", "defmempergpu", "defmempernode"}:
        # Without it a job that asks for no memory gets all of a node, and the node's other GPUs are of use to nobody.
        words.append("DefMemPerCPU={0}".format(max(1, min(nodes[name].real_memory_mib // nodes[name].cpus for name in partition.nodes))))
    return " ".join(words + ["{0}={1}".format(key, value) for key, value in partition.options.items()])


def _inner(described: Any) -> Mapping[str, Any]:
    inner: Optional[Any] = described.get("node", described)
    if not isinstance(inner, Mapping):
        raise FleetError("{0!r} is no description of a node as slurm_node_info returns it.".format(described))
    return inner
