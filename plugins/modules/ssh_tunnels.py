#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SSH tunnels for everybody: a port per user, and configurations for OpenSSH and PuTTY."""

DOCUMENTATION = r"""
module: ssh_tunnels
short_description: Give each user ports for his services on the nodes, and the ssh configurations to reach them
version_added: 0.1.0
description:
  - Writes for each user, below O(directory), C(USER/ssh_config) for OpenSSH, C(USER/putty.reg) with a session per node for PuTTY, and
    C(USER/putty-remove.reg), which takes these out again.
  - A user has a slot, a small number. A service of his is at its port plus that slot, on the node and on his own machine. Who has which slot is kept in
    C(ports.json) below O(directory), so that no user's ports move when another comes or goes. Former users keep theirs, too.
  - With O(install=true) the C(~/.ssh/config) of each user on this host reads his file by a line C(Include).
  - Nothing is written that the host's own ssh does not read as it is meant (C(ssh -G)).
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. An account that is not there yet is a warning.
  diff_mode:
    support: full
    description: Shows the files. Of a user's own configuration it shows the line only.
options:
  users:
    description:
      - Whose tunnels they are; names, or dictionaries with C(name), and, if they are not that name, C(login) on the nodes and C(account) on this host.
      - C(slot) gives a user a slot. Without it he keeps the one he has, or gets the lowest that is free.
    type: list
    elements: raw
    default: []
  nodes:
    description: Where the tunnels lead; names, or dictionaries with C(name), C(address) and C(port) of the ssh server.
    type: list
    elements: raw
    default: []
  services:
    description:
      - What is to be reached on the nodes, as dictionaries with C(name) and C(port).
      - C(local_port) is the port on the user's machine, if it is another one. C(address) is where the node finds the service, V(localhost) if it does not say.
      - C(per_user=false) tells that all users share this one, and its port.
    type: list
    elements: dict
    default:
      - {name: notebook, port: 5000}
      - {name: vnc, port: 5901}
      - {name: vnc-web, port: 6901}
  jump:
    description: The head node through which the nodes are reached, a dictionary with C(name), C(address) and C(port). Without it they are reached directly.
    type: dict
  prefix:
    description: What the name of a tunnel begins with, so that V(ssh dgx01) remains what it was beside V(ssh tunnel-dgx01).
    type: str
    default: tunnel-
  reserved_ports:
    description: Ports on the nodes that no user gets.
    type: list
    elements: int
    default: []
  directory:
    description: Where the files are. Users of this host read theirs, so that it is open to all; there is no secret in it.
    type: path
    default: /etc/dgxops/ssh_tunnels
  install:
    description: Whether the C(~/.ssh/config) of each user on this host reads his file.
    type: bool
    default: false
  state:
    description:
      - V(present) writes the configurations, and removes those of users who are not named any more.
      - V(absent) removes all, and gives each C(~/.ssh/config) back.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - plugin: dgxops.fleet.ssh_tunnels
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Tunnels for two users
  dgxops.fleet.ssh_tunnels:
    users: [alice, bob]
    nodes: [dgx01, dgx02]
    jump: {name: head01, address: head.example.com}

- name: Take them back
  dgxops.fleet.ssh_tunnels:
    state: absent
"""

RETURN = r"""
ports:
  description: The ports of each user on the nodes, by service.
  returned: success
  type: dict
  sample: {alice: {notebook: 5000, vnc: 5901, vnc-web: 6901}}
slots:
  description: The slot of each user.
  returned: success
  type: dict
  sample: {alice: 0}
directory:
  description: Where the files are.
  returned: success
  type: str
  sample: /etc/dgxops/ssh_tunnels
installed:
  description: The accounts on this host whose C(~/.ssh/config) reads their file.
  returned: success
  type: list
  elements: str
  sample: [alice]
validated:
  description: Whether this host's ssh has read what was written. It has not if nothing was, or if there is no ssh.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cluster import ssh_tunnel_host as host
from ..module_utils.cluster.ssh_tunnel import SERVICES, plan
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.files import read_text

ARGUMENTS = {
    "users": {"type": "list", "elements": "raw", "default": []},
    "nodes": {"type": "list", "elements": "raw", "default": []},
    "services": {"type": "list", "elements": "dict", "default": [dict(service) for service in SERVICES]},
    "jump": {"type": "dict"},
    "prefix": {"type": "str", "default": "tunnel-"},
    "reserved_ports": {"type": "list", "elements": "int", "default": []},
    "directory": {"type": "path", "default": "/etc/dgxops/ssh_tunnels"},
    "install": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        options = module.params
        directory = host.check_directory(options["directory"])
        old = host.read_ledger(directory)
        tunnels = None
        if options["state"] == "present":
            tunnels = plan(options["users"], options["nodes"], options["services"], options["jump"], old.slots, options["prefix"], options["reserved_ports"])
        change = host.decide(directory, old, tunnels, options["install"], read_text, lambda name: host.line_of(name, host.account))
        for name in host.missing(change, host.account):
            problem = "There is no account {0} with a home on this host. Make it first, name another by account, or install none.".format(name)
            if not module.check_mode:
                raise FleetError(problem)
            module.warn(problem)  # in a check, the task that makes it has not made it
        validated = tunnels is not None and host.validate(change, tunnels, Commands())
        if change and not module.check_mode:
            host.carry_out(change, host.account)
        installed = list(change.new.installed) if change.new else []
        module.exit_json(changed=bool(change), diff=[diff.to_dict() for diff in change.diffs], directory=directory, installed=installed, validated=validated,
                         **host.to_dict(tunnels))


if __name__ == "__main__":
    main()
