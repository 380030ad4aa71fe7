#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""OpenSM as the subnet manager on ports of a host, and the host as it was before."""

DOCUMENTATION = r"""
module: opensm
short_description: Run an InfiniBand subnet manager on a host's ports, and give the host back as it was
version_added: 0.1.0
description:
  - Installs OpenSM where it is missing and runs one per port, as the unit C(opensm@GUID), with settings of its own in C(/etc/opensm/dgxops-GUID.conf).
  - The distribution's C(opensm.service), which starts one with default settings on every port, is masked, also while the package is installed.
  - A change of polling or partitions is taken over by the running OpenSM. Other settings need a new start, while which another one is the master.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back.
  - Whether the fabric then has a master is told by M(dgxops.fleet.ib_sm_info).
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows files and units before and after, without O(sm_key).
options:
  ports:
    description:
      - The ports, each by its GUID, as V(mlx5_0), or as V(mlx5_0/1). One per fabric is enough.
      - Without any, the first InfiniBand port that has a link. Once chosen, it stays.
    type: list
    elements: str
    default: []
  priority:
    description: From 0 to 15. The highest becomes master; of equal ones that with the lower GUID.
    type: int
    default: 0
  polling_timeout_ms:
    description: How often a standby asks whether the master lives, in milliseconds.
    type: int
    default: 10000
  polling_retries:
    description: After how many questions without an answer a standby takes over.
    type: int
    default: 4
  routing:
    description: Routing engines in the order they are tried, such as V(ftree) and V(updn). Without any, OpenSM's own default.
    type: list
    elements: str
    default: []
  roots:
    description: GUIDs of the core switches, for V(ftree) and V(updn).
    type: list
    elements: str
    default: []
  partitions:
    description:
      - The partitions. Without any, all hosts are full members of the default one.
      - All subnet managers of a fabric need the same.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      pkey:
        description: Its number, such as V(0x8001), of which the low 15 bits count. V(0x7fff) is the default partition, which must be among them.
        type: raw
        required: true
      ipoib:
        description: Whether it carries IP.
        type: bool
        default: false
      rate:
        description: Rate of the broadcast group, by the number that the InfiniBand specification has for it.
        type: int
      mtu:
        description: MTU of the broadcast group, likewise; V(5) is 4096.
        type: int
      sl:
        description: Service level of the broadcast group.
        type: int
      scope:
        description: Scope of the broadcast group.
        type: int
      members:
        description: Its members.
        type: list
        elements: dict
        required: true
        suboptions:
          port:
            description: GUID of a port, or V(ALL), V(ALL_CAS), V(ALL_SWITCHES), V(ALL_ROUTERS) or V(SELF).
            type: str
            required: true
          membership:
            description: Limited members reach full ones only.
            type: str
            choices: [full, limited, both]
            default: limited
  sm_key:
    description: The key by which subnet managers trust each other, V(0x) and up to 16 hexadecimal digits. The same on all.
    type: str
  subnet_prefix:
    description: The prefix of the subnet, if not the usual V(0xfe80000000000000).
    type: str
  settings:
    description: Further keys of opensm.conf. Those that the installed OpenSM does not know are refused.
    type: dict
    default: {}
  conflicts:
    description:
      - What happens to other subnet managers on this host.
      - V(refuse) stops before the first change if there is one.
      - V(disable) takes them out of service.
    type: str
    choices: [refuse, disable]
    default: refuse
  wait:
    description:
      - For how many seconds at most to wait, after a subnet manager was started, until it is master or stands by.
      - So tasks with C(throttle=1) never start all subnet managers of a fabric at once.
    type: float
    default: 30
  state:
    description: V(present) runs subnet managers, V(absent) gives the host back as it was.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.ib_sm_info
"""

EXAMPLES = r"""
- name: Be the master, unless another has a higher priority
  dgxops.fleet.opensm:
    priority: 14

- name: Take over within four seconds
  dgxops.fleet.opensm:
    priority: 13
    polling_timeout_ms: 1000
    polling_retries: 2

- name: Give the host back as it was
  dgxops.fleet.opensm:
    state: absent
"""

RETURN = r"""
ports:
  description: GUIDs of the ports that a subnet manager serves.
  returned: success
  type: list
  elements: str
  sample: ["0x0002c9030002fce9"]
units:
  description: Their units.
  returned: success
  type: list
  elements: str
  sample: [opensm@0x0002c9030002fce9.service]
stopped:
  description: Other subnet managers that were taken out of service.
  returned: success
  type: list
  elements: str
  sample: [opensmd.service]
installed:
  description: Packages that were missing.
  returned: success
  type: list
  elements: str
  sample: [infiniband-diags, opensm]
reloaded:
  description: Units that read new settings while they ran.
  returned: success
  type: list
  elements: str
restarted:
  description: Units that had to start again.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.network.opensm import Wish, decide, unit_of
from ..module_utils.network.opensm_host import carry_out, read

_MEMBER = {
    "port": {"type": "str", "required": True},
    "membership": {"type": "str", "choices": ["full", "limited", "both"], "default": "limited"},
}
_PARTITION = {
    "name": {"type": "str", "required": True},
    "pkey": {"type": "raw", "required": True, "no_log": False},
    "ipoib": {"type": "bool", "default": False},
    "rate": {"type": "int"},
    "mtu": {"type": "int"},
    "sl": {"type": "int"},
    "scope": {"type": "int"},
    "members": {"type": "list", "elements": "dict", "required": True, "options": _MEMBER},
}
ARGUMENTS = {
    "ports": {"type": "list", "elements": "str", "default": []},
    "priority": {"type": "int", "default": 0},
    "polling_timeout_ms": {"type": "int", "default": 10000},
    "polling_retries": {"type": "int", "default": 4},
    "routing": {"type": "list", "elements": "str", "default": []},
    "roots": {"type": "list", "elements": "str", "default": []},
    "partitions": {"type": "list", "elements": "dict", "default": [], "options": _PARTITION},
    "sm_key": {"type": "str", "no_log": True},
    "subnet_prefix": {"type": "str"},
    "settings": {"type": "dict", "default": {}},
    "conflicts": {"type": "str", "choices": ["refuse", "disable"], "default": "refuse"},
    "wait": {"type": "float", "default": 30},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        wish = Wish.from_params(module.params)
        found = read(wish, host)
        change = decide(wish, found)
        if not module.check_mode:
            carry_out(change, host, module.params["wait"])
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            ports=list(found.ports),
            units=[unit_of(port) for port in found.ports],
            stopped=change.stopped,
            installed=list(change.install),
            reloaded=sorted(name for name, way in change.touched.items() if way == "reload"),
            restarted=sorted(name for name, way in change.touched.items() if way == "restart"),
        )


if __name__ == "__main__":
    main()
