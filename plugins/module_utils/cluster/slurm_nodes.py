# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The descriptions of a cluster's nodes, kept on Slurm's controller.

A node that is down, or left out by ``--limit``, keeps its lines for as long as its description is kept here and its name is in the inventory.
"""
import contextlib
import json
import os
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..host import cpuset
from ..host.errors import FleetError
from ..host.files import Diff
from .slurm_node import SlurmNode

KEPT = "var/lib/dgxops/slurm_nodes.json"
#: The cluster's key where the controller had none when the cluster was made, and where it has one from before.
OWN_KEY, MUNGE_KEY = "var/lib/dgxops/munge.key", "etc/munge/munge.key"
_KEY_BYTES = 128


class Nodes(NamedTuple):
    """The descriptions as they were kept and as they are to be; ``unknown`` are members that nobody ever described."""

    before: Mapping[str, SlurmNode]
    after: Mapping[str, SlurmNode]
    unknown: Sequence[str]

    def __bool__(self) -> bool:
        return self.before != self.after

    @property
    def diff(self) -> Diff:
        return Diff(show(self.before) if self.before else "", show(self.after), "/" + KEPT)


def decide(
    kept: Mapping[str, SlurmNode], described: Mapping[str, SlurmNode], members: Sequence[str], keep: bool, configured: Collection[str] = ()
) -> Nodes:
    """What is to be kept: what was described now, and of the other members what was.

    Members that are ``configured`` in Slurm and not described anywhere would lose their lines, and their jobs, so that is refused.
    With ``keep`` off the controller's configuration stays as it is; a node that is other than it says is then refused, since its files would not agree
    with those of the rest of the cluster.
    """
    _check_names(members)
    strangers = sorted(set(described) - set(members))
    if strangers:
        raise FleetError("{0} are described but are no nodes of the cluster: those are {1}.".format(", ".join(strangers), ", ".join(members) or "none"))
    after = {name: described.get(name) or kept[name] for name in sorted(members) if name in described or name in kept}
    lost = sorted(set(members) & set(configured) - set(after))
    if lost:
        raise FleetError(
            "{0} are nodes of this cluster, but /{1} on the controller does not describe them, and they are not a part of this run, or down. "
            "They would lose their lines, so nothing was changed. Run once with all nodes up and without --limit, or take nodes that are gone for good out "
            "of the inventory.".format(
                cpuset.show_hosts(lost), KEPT), nodes=lost)
    if not keep:
        other = sorted(name for name in described if kept.get(name) != described[name])
        if other:
            raise FleetError(
                "{0} is not what the cluster's configuration says, or new in it, and the controller is not a part of this run. Run without --limit, or name "
                "the controller in it too.".format(", ".join(other)), nodes=other)
        after = dict(kept)
    return Nodes(kept, after, sorted(set(members) - set(after)))


def _check_names(members: Sequence[str]) -> None:
    """A node is called as in the inventory up to the first dot, so what is there must tell nodes apart, and be a name."""
    twice = sorted(name for name in set(members) if list(members).count(name) > 1)
    numbers = sorted(name for name in set(members) if name.isdigit())
    if not twice and not numbers:
        return
    what = "{0} are numbers".format(", ".join(numbers)) if numbers else "several nodes are called {0}".format(", ".join(twice))
    raise FleetError("Up to the first dot of the hosts' names in the inventory, which is what Slurm calls them by, {0}. Call each by its own host name "
                     "there, and give addresses as ansible_host.".format(what))


def parse(text: Optional[str]) -> Dict[str, SlurmNode]:
    """The descriptions in the file; raises :class:`FleetError` for what is none."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise FleetError("/{0} on the controller should hold the descriptions of the nodes, but cannot be read. Remove it, and run with all nodes up.".format(
            KEPT))
    return from_dicts(found)


def from_dicts(found: Mapping[str, Any]) -> Dict[str, SlurmNode]:
    """Descriptions as ``slurm_node_info`` returns them, by name."""
    return {str(name): SlurmNode.from_dict(node if isinstance(node, Mapping) else {}, str(name)) for name, node in found.items()}


def key_file(root: str) -> str:
    """Where the cluster's key is; empty if there is none yet."""
    return next((name for name in (OWN_KEY, MUNGE_KEY) if os.path.exists(os.path.join(root, name))), "")


def make_key(root: str) -> str:
    """Make the cluster's key, readable for root alone from its first byte on; returns where it is."""
    path = os.path.join(root, OWN_KEY)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ".part")
    descriptor = os.open(path + ".part", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(os.urandom(_KEY_BYTES))
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(path + ".part", path)
    return OWN_KEY


def show(nodes: Mapping[str, SlurmNode]) -> str:
    """The file: a line for each node, so that a difference is one of lines."""
    lines: List[str] = ["  {0}: {1}".format(json.dumps(name), json.dumps(nodes[name].to_dict(), sort_keys=True)) for name in sorted(nodes)]
    return "{\n" + ",\n".join(lines) + "\n}\n"
