#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ports of VPI adapters: InfiniBand or Ethernet."""

DOCUMENTATION = r"""
module: ib_link_type
short_description: Make ports of a VPI adapter InfiniBand or Ethernet
version_added: 0.1.0
description:
  - Sets what ports of NVIDIA (Mellanox) VPI adapters are from the next boot on, in their firmware, by C(mlxconfig) or C(mstconfig). Section 8.2 of the Best
    Practices for DGX.
  - The firmware is asked first, and written only where it says otherwise. What was written is read back. If one port refuses, all are set back.
  - A port that is in use is refused. That is one with an address, or below a bond, bridge or VLAN, whose interface would be gone after the next boot.
  - What the ports were before the first change is remembered below C(/var/backups/dgxops). O(state=absent) brings that back.
  - The module does not reboot. It says whether a reboot is needed.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows the link types from the next boot on, before and after.
options:
  ports:
    description:
      - The ports. Those that are not named are left alone.
      - Required with O(state=present). With O(state=absent), all ports that were ever changed by this module if left out.
    type: list
    elements: dict
    suboptions:
      device:
        description: The adapter by InfiniBand device, network interface or full PCI address, as V(mlx5_0), V(enp134s0f0) or V(0000:86:00.0).
        type: str
        required: true
      port:
        description: The port of the card, 1 or 2. Left out, it is that of the PCI function, so that V(0000:86:00.1) is port 2.
        type: int
        choices: [1, 2]
      link_type:
        description:
          - What it is to be. V(vpi) is whatever is at the other end of the cable, for adapters that can tell.
          - Required with O(state=present).
        type: str
        choices: [ib, eth, vpi]
  disconnect:
    description: Consent to ports that are in use. The host has to be reached in another way after the next boot.
    type: bool
    default: false
  state:
    description:
      - V(present) sets the ports in O(ports).
      - V(absent) brings back what they were before the first change, and forgets them.
    type: str
    choices: [present, absent]
    default: present
  tool:
    description: The program that reads and writes the firmware. Left out, C(mlxconfig) is looked for, then C(mstconfig).
    type: str
    default: ''
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: The third and fourth adapter of a DGX-1 carry Ethernet for the file servers
  dgxops.fleet.ib_link_type:
    ports:
      - {device: mlx5_2, link_type: eth}
      - {device: mlx5_3, link_type: eth}
  register: links

- name: Both ports of a card
  dgxops.fleet.ib_link_type:
    ports:
      - {device: "0000:86:00.0", port: 1, link_type: eth}
      - {device: "0000:86:00.0", port: 2, link_type: ib}

- name: Give the ports back as they were
  dgxops.fleet.ib_link_type:
    state: absent
"""

RETURN = r"""
ports:
  description: The ports concerned, as they are after the change (in check mode, as found).
  returned: success
  type: list
  elements: dict
  contains:
    device:
      description: The InfiniBand device of the port, else its network interface, else its PCI address.
      returned: success
      type: str
    pci:
      description: The PCI address of the card's first function.
      returned: success
      type: str
    port:
      description: The port of the card.
      returned: success
      type: int
    configured:
      description: What it is from the next boot on.
      returned: success
      type: str
    in_force:
      description: What it is now; empty if that cannot be seen.
      returned: success
      type: str
  sample:
    - {device: mlx5_2, pci: "0000:84:00.0", port: 1, configured: eth, in_force: ib}
reboot_required:
  description: Whether a port becomes what it is to be only by a reboot. In check mode, whether one would be needed after the run.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.network.link_type import give_back, make, show
from ..module_utils.network.link_type_host import Host

PORT = {
    "device": {"type": "str", "required": True},
    "port": {"type": "int", "choices": [1, 2]},
    "link_type": {"type": "str", "choices": ["ib", "eth", "vpi"]},
}
ARGUMENTS = {
    "ports": {"type": "list", "elements": "dict", "options": PORT},
    "disconnect": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "tool": {"type": "str", "default": ""},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["ports"])])
    params = module.params
    with errors_reported_by(module):
        host = Host(Sysfs(params["root"]), Commands(), params["tool"])
        kept = host.kept()
        if params["state"] == "present":
            wishes = host.wishes(params["ports"])
            ports = [wish.port for wish in wishes]
            change = make(wishes, kept, params["disconnect"])
        else:
            named = params["ports"]
            ports = host.ports(list(kept)) if named is None else [host.port(entry["device"], entry["port"]) for entry in named]
            change = give_back(ports, kept, params["disconnect"])
        if not module.check_mode:
            host.carry_out(change)
            ports = [host.port(port.address, port.number) for port in ports]
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            ports=[show(port) for port in ports],
            reboot_required=change.reboot_required,
        )


if __name__ == "__main__":
    main()
