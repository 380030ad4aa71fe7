#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An ext4 file system on an array or drive, made only where nothing is, and mounted by its UUID."""

DOCUMENTATION = r"""
module: cache_volume
short_description: An ext4 file system for a cache, made only where nothing is, mounted by its UUID
version_added: 0.1.0
description:
  - Makes an ext4 file system with the stride and stripe width of the array that it is on, if the device holds nothing; mounts it by one line of C(/etc/fstab)
    with its UUID, which replaces what was there for this path, and sees to TRIM.
  - An ext4 file system that is there is kept with its files. Anything else on the device is refused unless its UUID is in O(wipe).
  - A run that is cut short is completed by the next one, also in the middle of making the file system.
options:
  device:
    description: The device, by a path that lasts, such as V(/dev/md/raid). Required with O(state=mounted).
    type: path
  path:
    description: Where it is mounted.
    type: path
    required: true
  label:
    description: The label of a file system that is made.
    type: str
    default: raid
  options:
    description: Mount options. V(nofail) lets the host boot without its cache.
    type: list
    elements: str
    default: [nofail]
  trim:
    description:
      - How the drives are told what is no longer used.
      - V(discard) mounts with C(discard), so at once; V(timer) by systemd's weekly C(fstrim.timer); V(none) not at all.
    type: str
    choices: [discard, timer, none]
    default: discard
  wipe:
    description: UUIDs of other file systems or volumes on the device that may be lost.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(mounted) makes and mounts it.
      - V(restored) unmounts it unless it was mounted before the first change, and gives C(/etc/fstab), the timer and the directory back. The file system and
        its files stay on the device.
    type: str
    choices: [mounted, restored]
    default: mounted
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. The device may be one that is yet to be made.
  diff_mode:
    support: full
    description: Shows C(/etc/fstab) and the timer. A file system that has yet to be made has no UUID to show.
seealso:
  - module: dgxops.fleet.md_array
author:
  - Contributors to dgxops.fleet (@dgxops)
"""

EXAMPLES = r"""
- name: The cache's file system
  dgxops.fleet.cache_volume:
    device: /dev/md/raid
    path: /raid
"""

RETURN = r"""
uuid:
  description: The UUID of the file system; empty if it is not known, as of one that is made in check mode.
  returned: success
  type: str
  sample: 826dbe2e-06f6-4846-8093-5011cf881816
options:
  description: The mount options in C(/etc/fstab).
  returned: success
  type: list
  elements: str
  sample: [nofail, discard]
steps:
  description: What was done, in check mode what would be, in order.
  returned: success
  type: list
  elements: str
  sample: [make an ext4 file system on /dev/md/raid, mount it at /raid]
"""

import uuid

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.storage.volume import Wish, plan
from ..module_utils.storage.volume_host import carry_out, read

ARGUMENTS = {
    "device": {"type": "path"},
    "path": {"type": "path", "required": True},
    "label": {"type": "str", "default": "raid"},
    "options": {"type": "list", "elements": "str", "default": ["nofail"]},
    "trim": {"type": "str", "choices": ["discard", "timer", "none"], "default": "discard"},
    "wipe": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["mounted", "restored"], "default": "mounted"},
}

#: Seconds for a command: systemd and mdadm wait for drives and for other jobs, on a busy host for long.
_TIME_LIMIT = 300.0
_TO_COME = "(that of the file system that is made)"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "mounted", ["device"])])
    with errors_reported_by(module):
        host = Host(Commands(_TIME_LIMIT))
        wish = Wish.from_params(module.params)
        fresh = _TO_COME if module.check_mode else str(uuid.uuid4())
        planned = plan(wish, read(wish, host, module.check_mode), fresh)
        if not module.check_mode:
            carry_out(wish, planned, host)
        for warning in planned.warnings:
            module.warn(warning)
        module.exit_json(
            changed=bool(planned),
            diff=[diff.to_dict() for diff in planned.change.diffs],
            uuid="" if planned.uuid == _TO_COME else planned.uuid,
            options=wish.mount_options if wish.present else [],
            steps=list(planned.told),
        )


if __name__ == "__main__":
    main()
