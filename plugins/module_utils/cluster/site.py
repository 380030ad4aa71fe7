# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which role is for which host of an inventory: what the playbooks site, bootstrap and revert go by.

A host has a role because it is in a group that says so, one of ours or of DeepOps (its config.example/inventory), or because a variable without which the role
has nothing to do is defined for it. Nothing else is touched.
"""
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..host.errors import FleetError

#: The group into which the playbooks put every host that has a role; with a role's name at its end, those that have this role.
GROUP = "fleet"
#: A host's own list of roles that it is not to have.
SKIP = "fleet_skip"


class Room(NamedTuple):
    """A role of the collection, the chapter that is its tag, the groups that mean it, and the variables that do."""

    role: str
    chapter: str
    groups: Tuple[str, ...]
    variables: Tuple[str, ...]


#: In the order in which the playbook site runs them; revert goes the other way. To add a role, add it here and to the playbooks.
ROOMS = (
    Room("ib_link_type", "network", (), ("ib_link_type_ports",)),
    Room("ib_subnet_manager", "network", (), ("ib_subnet_manager_priority",)),
    Room("nic_bonding", "network", (), ("nic_bonding_nics",)),
    Room("timesyncd", "time", (), ("timesyncd_servers", "timesyncd_fallback_servers", "timesyncd_timezone")),
    Room("nfs_server", "storage", ("nfs-server",), ("nfs_server_exports",)),
    Room("raid_cache", "storage", (), ("raid_cache_drives", "raid_cache_device")),
    Room("nfs_client_tuning", "storage", (), ("nfs_client_tuning_mounts",)),
    Room("ldap_client", "users", (), ("ldap_client_servers",)),
    Room("ad_client", "users", (), ("ad_client_domain",)),
    Room("nis_client", "users", (), ("nis_client_domain",)),
    Room("local_users", "users", (), ("local_users_users", "local_users_groups", "local_users_backup")),
    Room("head_node", "head", (), ()),
    Room("dcgm", "monitoring", (), ("dcgm_schedule",)),
    Room("monitoring_tools", "monitoring", (), ("monitoring_tools_hosts",)),
    Room("kvm_netplan", "kvm", (), ("kvm_netplan_mode",)),
    Room("kvm_passthrough", "kvm", (), ("kvm_passthrough_guests",)),
    Room("kvm_tuning", "kvm", ("dgx_kvm",), ()),
    Room("slurm_gpu", "jobs", (), ()),
    Room("ssh_tunnel", "access", (), ("ssh_tunnel_users",)),
)


#: The roles that do what a head node does (chapter 10), by its services.
HEAD_NODE = {"scheduler": "slurm_gpu", "monitoring": "monitoring_tools", "login": "ssh_tunnel", "nfs": "nfs_server", "subnet_manager": "ib_subnet_manager"}


class Site(NamedTuple):
    """The roles of each host, in order; hosts without any are left out."""

    roles: Mapping[str, Sequence[str]]

    def hosts(self, role: str) -> List[str]:
        return [host for host, roles in self.roles.items() if role in roles]

    def to_dict(self) -> Dict[str, Any]:
        """As a playbook takes it: roles by host, hosts by role, and the groups to put each host into."""
        return {
            "hosts": {host: list(roles) for host, roles in self.roles.items()},
            "roles": {room.role: self.hosts(room.role) for room in ROOMS},
            "groups": {host: [GROUP] + ["{0}_{1}".format(GROUP, role) for role in roles] for host, roles in self.roles.items()},
            "help": "" if self.roles else explain(),
        }


def plan(groups: Any, hostvars: Any) -> Site:
    """Sort the hosts of an inventory. ``groups`` and ``hostvars`` are what Ansible calls so.

    Raises :class:`FleetError` if they are something else, or if a host is to be without a role that there is not.
    """
    if not isinstance(groups, Mapping) or not isinstance(hostvars, Mapping):
        raise FleetError("groups and hostvars are expected, as Ansible has them, but {0!r} was found.".format(groups))
    names = list(dict.fromkeys(host for members in groups.values() for host in members))
    sorted_hosts = {}
    for name in names:
        said = hostvars[name] if name in hostvars else {}
        skipped = _skipped(name, said)
        roles = [room.role for room in ROOMS if room.role not in skipped and (_is_member(name, room, groups) or any(key in said for key in room.variables))]
        if roles:
            sorted_hosts[name] = roles
    return Site(sorted_hosts)


def explain() -> str:
    """What a user is told whose inventory says nothing of what the hosts are for."""
    lines = ["This inventory does not say what its hosts are for, so nothing was done. Put hosts into a group, or define a variable for them:"]
    for room in ROOMS:
        variables = "; variable " + " or ".join(room.variables) if room.variables else ""
        lines.append("  {0}: group {1}{2}".format(room.role, " or ".join((room.role,) + room.groups), variables))
    return "\n".join(lines)


def _is_member(name: str, room: Room, groups: Mapping[str, Sequence[str]]) -> bool:
    return any(name in groups.get(group, ()) for group in (room.role,) + room.groups)


def _skipped(name: str, said: Mapping[str, Any]) -> Sequence[str]:
    if SKIP not in said:
        return ()
    skipped = said[SKIP]
    known = [room.role for room in ROOMS]
    if not isinstance(skipped, (list, tuple)) or any(role not in known for role in skipped):
        raise FleetError("{0} of {1} is {2!r}, but a list of roles is expected, out of {3}.".format(SKIP, name, skipped, ", ".join(known)))
    return skipped
