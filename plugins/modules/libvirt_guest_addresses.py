#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The addresses of running guests, as their agents, the leases and the host's neighbour table know them."""

DOCUMENTATION = r"""
module: libvirt_guest_addresses
short_description: Tell the IP addresses of running guests, and wait for them
version_added: 0.1.0
description:
  - Tells by which addresses the guests of a host can be reached (section 11.7 of the Best Practices), for one, many or all guests in a call.
  - Asks the QEMU guest agent, libvirt's DHCP leases and the host's neighbour (ARP) table, and waits until every guest has an address if told to.
  - Addresses of what a guest makes itself, such as the bridge of its docker, are listed but never taken for the guest's address.
  - It changes nothing.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.libvirt
attributes:
  check_mode:
    support: full
    description: The module changes nothing. In check mode it does not wait.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  names:
    description: Names of the guests. All that are running if it is left out.
    type: list
    elements: str
  sources:
    description:
      - Who is asked. If several know an address, the first of V(agent), V(lease), V(arp) counts.
      - V(agent) needs the agent channel and qemu-guest-agent in the guest, and is the only one that knows guests on a bridge of the host, a macvtap
        device or a virtual function. An agent can say what it likes, so trust it as far as the guest.
      - V(lease) knows guests that got an address from a network of libvirt's own.
      - V(arp) knows guests that the host has talked to.
    type: list
    elements: str
    choices: [agent, lease, arp]
    default: [agent, lease, arp]
  family:
    description: Which kind of address a guest must have.
    type: str
    choices: [ipv4, ipv6, any]
    default: ipv4
  wait:
    description: Seconds to wait until every guest has an address; the module fails if one has none then. V(0) asks once and takes what there is.
    type: int
    default: 0
seealso:
  - module: dgxops.fleet.libvirt_domain
  - module: dgxops.fleet.libvirt_network
"""

EXAMPLES = r"""
- name: Wait until the guests have addresses
  dgxops.fleet.libvirt_guest_addresses:
    names: [1gpu-vm-1g0, 1gpu-vm-1g1]
    wait: 300
  register: guests

- name: Take them into the inventory
  ansible.builtin.add_host:
    name: "{{ item.name }}"
    ansible_host: "{{ item.address }}"
    groups: guests
  loop: "{{ guests.guests }}"
"""

RETURN = r"""
guests:
  description: What is known, one entry per guest, in the order of O(names).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the guest.
      type: str
      sample: 1gpu-vm-1g0
    running:
      description: Whether it is running.
      type: bool
    address:
      description: The address to reach it by, which is the first of its first network card that has one; null if none is known.
      type: str
      sample: 192.168.122.45
    addresses:
      description: All addresses that are known.
      type: list
      elements: dict
      contains:
        address:
          description: The address.
          type: str
          sample: 192.168.122.45
        prefix:
          description: Length of its prefix; 0 if the source does not know it.
          type: int
          sample: 24
        interface:
          description: Name of the interface, in the guest if the agent tells it, else on the host.
          type: str
          sample: enp1s0
        mac:
          description: MAC address of the interface.
          type: str
          sample: "52:54:00:e1:28:3e"
        connection:
          description: The network, bridge or device that the card is connected to; null if it is none of the guest's cards.
          type: str
          sample: default
        source:
          description: Who told it.
          type: str
          sample: lease
    problems:
      description: Why a source gave no answer, by source.
      type: dict
      sample: {agent: "Domain 1gpu-vm-1g0 did not tell its addresses. libvirt says: QEMU guest agent is not configured."}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.kvm.client import Client
from ..module_utils.kvm.guest_addresses import wait_for_addresses

ARGUMENTS = {
    "uri": {"type": "str", "default": "qemu:///system"},
    "names": {"type": "list", "elements": "str"},
    "sources": {"type": "list", "elements": "str", "choices": ["agent", "lease", "arp"], "default": ["agent", "lease", "arp"]},
    "family": {"type": "str", "choices": ["ipv4", "ipv6", "any"], "default": "ipv4"},
    "wait": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    with errors_reported_by(module):
        if params["wait"] < 0:
            raise FleetError("wait is {0}. It is a number of seconds, 0 or more.".format(params["wait"]))
        if not params["sources"]:
            raise FleetError("sources is empty. Name at least one of agent, lease and arp.")
        # Without full access libvirt does not talk to agents.
        client = Client.open(params["uri"])
        timeout = 0 if module.check_mode else params["wait"]
        found = wait_for_addresses(client, params["names"], params["sources"], params["family"], timeout)
        client.close()
    module.exit_json(changed=False, guests=[answers.result(params["family"]) for answers in found])


if __name__ == "__main__":
    main()
