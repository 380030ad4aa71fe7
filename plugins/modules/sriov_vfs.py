#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Virtual functions of SR-IOV adapters: made, kept over a reboot, and given back."""

DOCUMENTATION = r"""
module: sriov_vfs
short_description: Give SR-IOV adapters a number of virtual functions
version_added: 0.1.0
description:
  - Sets the number of virtual functions of any number of adapters in one call, verifies it, and keeps it over a reboot by rules of udev in
    C(/etc/udev/rules.d/80-dgxops-sriov.rules). Section 11.6 of the Best Practices for DGX.
  - The kernel changes a number only through 0, so that all virtual functions of the adapter go away for a moment. The module refuses to do that while one of
    them is in use by a guest, by another network namespace, below a bond, bridge or VLAN, or with an address of its own.
  - The numbers from before the first change are remembered below C(/var/backups/dgxops). O(state=absent) brings them back.
  - If one adapter refuses, all get back what they had.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the driver can make that many only shows when it is run.
  diff_mode:
    support: full
    description: Shows the numbers of virtual functions before and after, and the rules of udev.
options:
  functions:
    description:
      - The adapters. Those that are not named are left alone.
      - Required with O(state=present). With O(state=absent), all adapters that were ever changed by this module if left out.
    type: list
    elements: dict
    suboptions:
      device:
        description: The adapter's network interface, InfiniBand device or full PCI address, as V(enp134s0f0), V(mlx5_0) or V(0000:86:00.0).
        type: str
        required: true
      vfs:
        description:
          - How many virtual functions it is to have, or V(all) that it can have.
          - Required with O(state=present).
        type: raw
  persistent:
    description: Whether it is to be so after a reboot too.
    type: bool
    default: true
  wait:
    description: How long to wait for the virtual functions to appear, in seconds per adapter.
    type: int
    default: 30
  state:
    description:
      - V(present) gives the adapters in O(functions) their virtual functions.
      - V(absent) brings the numbers from before the first change back and forgets the adapters.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.libvirt_network
    description: A pool network that hands the virtual functions to guests.
  - name: PCI Express I/O Virtualization Howto
    description: The kernel's own words on virtual functions.
    link: https://docs.kernel.org/PCI/pci-iov-howto.html
"""

EXAMPLES = r"""
- name: Sixteen virtual functions on the first port, as many as there can be on the second
  dgxops.fleet.sriov_vfs:
    functions:
      - {device: enp134s0f0, vfs: 16}
      - {device: enp134s0f1, vfs: all}

- name: Give the adapters back as they were
  dgxops.fleet.sriov_vfs:
    state: absent
"""

RETURN = r"""
functions:
  description: The adapters concerned, as they are after the change (in check mode, as found).
  returned: success
  type: list
  elements: dict
  contains:
    pci:
      description: The full PCI address.
      returned: success
      type: str
    interfaces:
      description: The network interfaces of the physical function.
      returned: success
      type: list
      elements: str
    driver:
      description: The driver of the physical function; empty if it has none.
      returned: success
      type: str
    total:
      description: How many virtual functions it can have.
      returned: success
      type: int
    before:
      description: How many it had when the module began.
      returned: success
      type: int
    vfs:
      description: How many it has.
      returned: success
      type: int
    virtual_functions:
      description: Each virtual function with its address, driver and interfaces, and whether something uses it.
      returned: success
      type: list
      elements: dict
  sample:
    - pci: "0000:86:00.0"
      interfaces: [enp134s0f0]
      driver: mlx5_core
      total: 63
      before: 0
      vfs: 1
      virtual_functions: [{pci: "0000:86:00.2", driver: mlx5_core, interfaces: [enp134s0f2], in_use: false}]
rules_file:
  description: The file that makes them at boot; empty if there is none.
  returned: success
  type: str
  sample: /etc/udev/rules.d/80-dgxops-sriov.rules
in_use:
  description: The addresses of the virtual functions that something uses.
  returned: when the number was not changed for that reason
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.network.sriov import RULES, give_back, make, show
from ..module_utils.network.sriov_host import Host

ARGUMENTS = {
    "functions": {"type": "list", "elements": "dict", "options": {"device": {"type": "str", "required": True}, "vfs": {"type": "raw"}}},
    "persistent": {"type": "bool", "default": True},
    "wait": {"type": "int", "default": 30},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["functions"])])
    params = module.params
    with errors_reported_by(module):
        host = Host(Sysfs(params["root"]), Commands() if params["root"] == "/" else None, params["wait"])
        found = host.found()
        if params["state"] == "present":
            wishes = host.wishes(params["functions"])
            before = [wish.function for wish in wishes]
            change = make(wishes, found, params["persistent"])
        else:
            before = host.remembered(found, params["functions"])
            change = give_back(before, found, params["functions"] is None)
        if not module.check_mode:
            host.carry_out(change)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            functions=[show(host.function(function.address), len(function.virtual)) for function in before],
            rules_file="/" + RULES if change.rules_after is not None else "",
        )


if __name__ == "__main__":
    main()
