#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""libvirt networks as they are wanted: only what is asked for, live where libvirt can, for one or many networks in a call."""

DOCUMENTATION = r"""
module: libvirt_network
short_description: Make, change and remove libvirt networks without cutting guests off
version_added: 0.1.0
description:
  - Makes libvirt networks as they are wanted (NAT, routed, isolated, bridge, macvtap, SR-IOV pool) and changes those that exist already,
    as chapter 11 of the Best Practices describes with C(virsh net-edit).
  - Only the settings that are given are touched. Everything else in the network's XML stays as it is.
  - Leases, ranges and DNS hosts of an active network are changed while it is active. The network is not restarted, and guests keep their connection.
  - What needs a restart of the network is refused while running guests are connected, unless O(when_in_use) consents. Their interfaces are
    connected again after the restart.
  - All networks are looked at before any is touched. If one of them cannot be changed as asked, none is; if a step fails, all is put back.
  - Before the first change the network is kept in O(backup_dir). O(state=restored) brings it back.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.libvirt
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. What only libvirt itself can refuse shows when it is run.
  diff_mode:
    support: full
    description: Shows each network's XML before and after, and what changes while it is active.
options:
  networks:
    description:
      - The wanted networks. A setting that is left out is left alone.
      - Required with O(state=present). With O(state=restored) only the names are used, and leaving it out means every network that has a backup.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the network, such as V(default).
        type: str
        required: true
      state:
        description: Whether the network is there. One that running guests are connected to is not removed.
        type: str
        choices: [present, absent]
        default: present
      mode:
        description:
          - Where the traffic of the guests goes. Required for a new network.
          - V(nat) goes out by the address of the host (section 11.2), V(route) is routed, V(open) is as V(route) without firewall rules of libvirt.
          - V(isolated) reaches the host and the other guests only, as C(private-net) of section 11.5.4 does.
          - V(bridge) is a bridge of the host (section 11.3), V(macvtap) a network device of it (section 11.5).
          - V(hostdev) gives each guest a virtual function of an SR-IOV device (section 11.6).
          - Networks of libvirt's own bridges (V(nat), V(route), V(open), V(isolated)) can be changed into each other, others cannot.
        type: str
        choices: [nat, route, open, isolated, bridge, macvtap, hostdev]
      macvtap_mode:
        description: How guests on one device reach each other (section 11.5.2). V(bridge) for O(networks[].mode=macvtap) without it.
        type: str
        choices: [bridge, vepa, private, passthrough]
      devices:
        description:
          - Network devices of the host. A V(nat) or V(route) network goes out by the one given only (section 11.2.3), with V([]) by any.
          - A V(macvtap) network is on them; with several, each guest gets one.
        type: list
        elements: str
      pf:
        description: The SR-IOV device (physical function) whose virtual functions a V(hostdev) or V(macvtap) network gives to guests.
        type: str
      pci:
        description: PCI addresses of the virtual functions that a V(hostdev) network gives to guests, instead of O(networks[].pf).
        type: list
        elements: str
      bridge:
        description: Name of the bridge. For V(bridge) it is the host's and required; for the others libvirt makes it, and chooses a name by itself.
        type: str
      address:
        description: Address of the host on the network, with the length of the prefix, such as V(192.168.122.1/24).
        type: str
      ranges:
        description: The addresses that are leased to whoever asks. Replaces all ranges. V([]) removes them.
        type: list
        elements: dict
        suboptions:
          start:
            description: First address.
            type: str
            required: true
          end:
            description: Last address.
            type: str
            required: true
      hosts:
        description: Addresses that are kept for guests (section 11.2.2), outside of O(networks[].ranges). Replaces all of them. V([]) removes them.
        type: list
        elements: dict
        suboptions:
          mac:
            description: MAC address of the guest's interface.
            type: str
            required: true
          ip:
            description: The address it gets.
            type: str
            required: true
          name:
            description: The host name it gets, which the network's DNS then knows.
            type: str
      mtu:
        description: MTU of the bridge and of guests that are started from now on (section 11.8.1). V(0) removes it.
        type: int
      domain:
        description: DNS domain of the network. An empty string removes it.
        type: str
      dns:
        description: The DNS server of the network.
        type: dict
        suboptions:
          enable:
            description: Whether there is one.
            type: bool
          forwarders:
            description: Servers that questions are passed on to, instead of those of the host. Replaces all of them; forwarders for one domain stay.
            type: list
            elements: str
          hosts:
            description: Names that are answered with an address. Replaces all of them.
            type: list
            elements: dict
            suboptions:
              ip:
                description: The address.
                type: str
                required: true
              names:
                description: The names.
                type: list
                elements: str
                required: true
      autostart:
        description: Whether the network starts with the host. V(true) for a new network.
        type: bool
      active:
        description: Whether the network is started now. V(true) for a new network. One that running guests are connected to is not stopped.
        type: bool
  state:
    description:
      - V(present) makes the networks as O(networks) says.
      - V(restored) brings back what this module changed since its first change, and removes networks that it made.
        What others edited elsewhere in the meantime stays. The backup then moves to the C(history) folder.
    type: str
    choices: [present, restored]
    default: present
  when_in_use:
    description:
      - What to do if a network must be restarted while running guests are connected to it.
      - V(refuse) changes nothing at all and says which guests those are.
      - V(next_start) changes the configuration. It is in force when the network is next started; what can change live does at once.
      - V(restart) restarts the network and connects the guests' interfaces again. They are cut off for about a second. Guests on
        macvtap devices and virtual functions keep the ones they have until they are next started.
    type: str
    choices: [refuse, next_start, restart]
    default: refuse
  backup_dir:
    description: Where a network is kept before its first change, as C(NAME.json), with the list of what was changed since.
    type: path
    default: /var/backups/dgxops/libvirt-networks
seealso:
  - module: dgxops.fleet.libvirt_domain
  - name: Network XML format
    description: libvirt's own description of every element.
    link: https://libvirt.org/formatnetwork.html
"""

EXAMPLES = r"""
- name: The default network, with an address kept for a guest
  dgxops.fleet.libvirt_network:
    networks:
      - name: default
        mode: nat
        address: 192.168.122.1/24
        ranges: [{start: 192.168.122.100, end: 192.168.122.254}]
        hosts: [{mac: "52:54:00:e1:28:3e", ip: 192.168.122.45, name: 1gpu-vm-1g0}]

- name: Guests straight on a NIC, and a private network to reach them from the host
  dgxops.fleet.libvirt_network:
    networks:
      - {name: macvtap-net, mode: macvtap, macvtap_mode: bridge, devices: [enp134s0f0]}
      - {name: private-net, mode: isolated, address: 192.168.10.1/24, ranges: [{start: 192.168.10.2, end: 192.168.10.254}]}

- name: Jumbo frames, although guests are running
  dgxops.fleet.libvirt_network:
    when_in_use: restart
    networks:
      - {name: default, mtu: 9000}

- name: Give every network back as it was found
  dgxops.fleet.libvirt_network:
    state: restored
"""

RETURN = r"""
networks:
  description: What was found and done, one entry per network, in the order of O(networks).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the network.
      type: str
      sample: default
    changed:
      description: Whether this network was changed.
      type: bool
    state:
      description: What the network is when the module ends, V(active), V(inactive) or V(absent).
      type: str
      sample: active
    settings:
      description: The settings that were not as wanted.
      type: list
      elements: str
      sample: [hosts]
    live:
      description: The settings that were changed while the network was active.
      type: list
      elements: str
      sample: [hosts]
    restarted:
      description: Whether the network was stopped and started.
      type: bool
    guests:
      description: The running guests that are connected.
      type: list
      elements: str
      sample: [1gpu-vm-1g0]
    pending:
      description: The settings that are configured but in force only when the network is next started.
      type: list
      elements: str
      sample: [mtu]
    backup:
      description: Path of the record that was kept before the first change; null if there is none. With O(state=restored), where it was moved to.
      type: str
      sample: /var/backups/dgxops/libvirt-networks/default.json
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.kvm.client import Client
from ..module_utils.kvm.network_apply import NetworkWork
from ..module_utils.kvm.network_backups import NetworkBackups
from ..module_utils.kvm.network_change import decide
from ..module_utils.kvm.network_read import all_xml, read_host, read_networks
from ..module_utils.kvm.network_settings import NetworkSettings

RANGE = {"start": {"type": "str", "required": True}, "end": {"type": "str", "required": True}}
LEASE = {"mac": {"type": "str", "required": True}, "ip": {"type": "str", "required": True}, "name": {"type": "str"}}
DNS_HOST = {"ip": {"type": "str", "required": True}, "names": {"type": "list", "elements": "str", "required": True}}
DNS = {
    "enable": {"type": "bool"},
    "forwarders": {"type": "list", "elements": "str"},
    "hosts": {"type": "list", "elements": "dict", "options": DNS_HOST},
}
NETWORK = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "mode": {"type": "str", "choices": ["nat", "route", "open", "isolated", "bridge", "macvtap", "hostdev"]},
    "macvtap_mode": {"type": "str", "choices": ["bridge", "vepa", "private", "passthrough"]},
    "devices": {"type": "list", "elements": "str"},
    "pf": {"type": "str"},
    "pci": {"type": "list", "elements": "str"},
    "bridge": {"type": "str"},
    "address": {"type": "str"},
    "ranges": {"type": "list", "elements": "dict", "options": RANGE},
    "hosts": {"type": "list", "elements": "dict", "options": LEASE},
    "mtu": {"type": "int"},
    "domain": {"type": "str"},
    "dns": {"type": "dict", "options": DNS},
    "autostart": {"type": "bool"},
    "active": {"type": "bool"},
}
ARGUMENTS = {
    "uri": {"type": "str", "default": "qemu:///system"},
    "networks": {"type": "list", "elements": "dict", "options": NETWORK},
    "state": {"type": "str", "choices": ["present", "restored"], "default": "present"},
    "when_in_use": {"type": "str", "choices": ["refuse", "next_start", "restart"], "default": "refuse"},
    "backup_dir": {"type": "path", "default": "/var/backups/dgxops/libvirt-networks"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, required_if=[("state", "present", ["networks"])], supports_check_mode=True)
    params = module.params
    with errors_reported_by(module):
        wanted = [NetworkSettings.from_option(network) for network in params["networks"]] if params["state"] == "present" else None
        client, backups = Client.open(params["uri"]), NetworkBackups(params["backup_dir"])
        given = [network.name for network in wanted] if wanted is not None else [network["name"] for network in params["networks"] or ()]
        names = backups.names() if params["networks"] is None else given
        entries = client.networks()
        found = read_networks(client, backups, entries, names)
        changes = decide(found, wanted, all_xml(client, entries), read_host(), params["when_in_use"])
        work = NetworkWork(client, backups, Commands())
        if not module.check_mode:
            work.carry_out(changes)
        results = [change.result(backups, work.retired) for change in changes]
        client.close()
    # In check mode the bridge may be one that an earlier task of the play would have made.
    for warning in [warning for change in changes for warning in change.warnings if not module.check_mode]:
        module.warn(warning)
    diff = [entry.to_dict() for change in changes for entry in change.diffs()] if module._diff else []
    module.exit_json(changed=any(change.changed for change in changes), networks=results, diff=diff)


if __name__ == "__main__":
    main()
