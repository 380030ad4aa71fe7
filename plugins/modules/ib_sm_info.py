#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells who manages an InfiniBand subnet."""

DOCUMENTATION = r"""
module: ib_sm_info
short_description: Tell who manages an InfiniBand subnet
version_added: 0.1.0
description:
  - Tells which subnet manager is the master of the fabric that a port of this host is in, and which others stand by, with priorities. Those that run on a host
    (software) and those that run on a switch (hardware) are all seen.
  - The fabric itself is asked, by C(ibstat), C(saquery) and C(sminfo) of infiniband-diags.
  - Changes nothing.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Does the same as without.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  port:
    description: The port, by its GUID, as V(mlx5_0), or as V(mlx5_0/1). Without it the first InfiniBand port that has a link.
    type: str
    default: ""
  hosts:
    description: Whether to find all ports of hosts too, with the switch ports that they are cabled to. Takes some seconds on a large fabric.
    type: bool
    default: false
  managers:
    description: How many subnet managers must be ready, the master among them.
    type: int
    default: 0
  own:
    description: Whether one of them must run on this very port.
    type: bool
    default: false
  priority:
    description: The priority that it must have then.
    type: int
  wait:
    description: For how many seconds at most to wait until nothing is wrong. A standby takes over only after it has missed several answers of the master.
    type: float
    default: 0
  required:
    description: Whether the task fails if something is wrong. Otherwise RV(problem) tells.
    type: bool
    default: false
seealso:
  - module: dgxops.fleet.opensm
"""

EXAMPLES = r"""
- name: Fail unless the fabric has a master and one that can take over
  dgxops.fleet.ib_sm_info:
    managers: 2
    required: true
"""

RETURN = r"""
problem:
  description: What is wrong, and what to do; empty if nothing is.
  returned: always
  type: str
port:
  description: The port that was asked by.
  returned: success
  type: dict
  sample: {name: mlx5_0/1, guid: "0x0002c9030002fce9", lid: 1}
master:
  description: The master as in RV(managers); null if there is none.
  returned: success
  type: dict
managers:
  description: All subnet managers, the master first, then in the order in which they would take over.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The node's description, by default host name and HCA.
      type: str
      sample: sm01 mlx5_0
    guid:
      description: GUID of the port.
      type: str
      sample: "0x0002c9030002fce9"
    lid:
      description: Its address in the subnet.
      type: int
    kind:
      description: V(software) on a host, V(hardware) on a switch.
      type: str
    priority:
      description: From 0 to 15. The highest becomes master; of equal ones the lower GUID.
      type: int
    state:
      description: V(master), V(standby), V(discovering) or V(not_active).
      type: str
    activity:
      description: The counter by which others see that it lives.
      type: int
    here:
      description: Whether it is the one on this port.
      type: bool
state:
  description: The state of the one on this port; V(none) if there is none.
  returned: success
  type: str
  sample: master
hosts:
  description: With O(hosts), the ports of hosts by name, with their GUID, LID and the switch port that they are cabled to.
  returned: success
  type: list
  elements: dict
  sample: [{name: dgx01 mlx5_0, guid: "0x0002c90300a1b2c3", lid: 4, switch: leaf01, switch_port: 3}]
lost:
  description: Those of them that no subnet manager has given an address, which so cannot be reached.
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.network.subnet_manager import Asked, watch

ARGUMENTS = {
    "port": {"type": "str", "default": ""},
    "hosts": {"type": "bool", "default": False},
    "managers": {"type": "int", "default": 0},
    "own": {"type": "bool", "default": False},
    "priority": {"type": "int"},
    "wait": {"type": "float", "default": 0},
    "required": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    with errors_reported_by(module):
        asked = Asked(given["managers"], given["own"], given["priority"], given["hosts"])
        subnet, problem = watch(given["port"], asked, Commands(), Sysfs("/"), given["wait"])
        if problem and given["required"]:
            module.fail_json(msg=problem, problem=problem, **subnet.to_dict())
        module.exit_json(changed=False, problem=problem, **subnet.to_dict())


if __name__ == "__main__":
    main()
