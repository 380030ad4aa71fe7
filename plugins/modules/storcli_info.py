#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells what StorCLI knows of hardware RAID, as on a DGX-1: controllers, volumes, drives, and which volume is the cache."""

DOCUMENTATION = r"""
module: storcli_info
short_description: Tell the volumes and drives of hardware RAID, and whether they are well
version_added: 0.1.0
description:
  - Asks StorCLI for all controllers, their volumes and their drives, and tells what is not well. On a DGX-1 it also tells which volume is for the NFS cache.
  - Changes nothing. Volumes are made by hand with StorCLI, as section 2.1.3 of the Best Practices for DGX leaves it to NVIDIA's image to do.
options:
  program:
    description: The path of StorCLI. Without this option it is looked for where its packages put it.
    type: path
  device:
    description: The device of the cache's volume, such as V(/dev/sdb), if several volumes would do.
    type: path
  required:
    description: Whether the task fails unless all volumes and drives are well and there is a volume for the cache.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return the same as without.
    support: full
  diff_mode:
    description: Shows what has changed or would change.
    support: none
    details: Changes nothing.
seealso:
  - module: dgxops.fleet.md_array_info
author:
  - Contributors to dgxops.fleet (@dgxops)
"""

EXAMPLES = r"""
- name: See the cache volume of a DGX-1
  dgxops.fleet.storcli_info:
  register: raid
"""

RETURN = r"""
program:
  description: The path of StorCLI.
  returned: success
  type: str
  sample: /opt/MegaRAID/storcli/storcli64
healthy:
  description: Whether nothing is wrong with any volume or drive.
  returned: success
  type: bool
problems:
  description: What is wrong, as sentences.
  returned: success
  type: list
  elements: str
cache:
  description: The volume for the cache, as in RV(controllers[].volumes); null if there is none.
  returned: success
  type: dict
how_to_make:
  description: What to type to make that volume of the drives that are free; empty if there are none.
  returned: success
  type: str
  sample: storcli64 /c0 add vd type=raid0 drives=252:1,252:2,252:3,252:4 name=cache
controllers:
  description: The controllers.
  returned: success
  type: list
  elements: dict
  contains:
    number:
      description: StorCLI's number, as in C(/c0).
      returned: always
      type: int
    model:
      description: The model.
      returned: always
      type: str
      sample: AVAGO MegaRAID SAS 9361-8i
    serial:
      description: The serial number.
      returned: always
      type: str
    firmware:
      description: The version of the firmware.
      returned: always
      type: str
    state:
      description: The controller's own word for how it is.
      returned: always
      type: str
      sample: Optimal
    volumes:
      description: The volumes.
      returned: always
      type: list
      elements: dict
      sample:
        - {controller: 0, number: 1, group: '1', level: raid0, state: Optl, size_bytes: 7675000000000, name: cache, device: /dev/sdb,
           wwn: 600605b00c0de11122aab5bc0d8f0e6f, strip_bytes: 65536, drives: ['252:1', '252:2', '252:3', '252:4'], verdict: healthy}
    drives:
      description: The drives in their slots.
      returned: always
      type: list
      elements: dict
      sample:
        - {slot: '252:1', state: Onln, group: '1', size_bytes: 1918000000000, interface: SATA, medium: SSD, model: SAMSUNG MZ7LM1T9HMJP-00005}
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.storage import storcli
from ..module_utils.storage.contents import Drives

ARGUMENTS = {"program": {"type": "path"}, "device": {"type": "path"}, "required": {"type": "bool", "default": False}}


def told(controller: storcli.Controller) -> Dict[str, Any]:
    """A controller as JSON types."""
    volumes = [dict(volume._asdict(), drives=list(volume.drives), verdict=storcli.verdict(volume)) for volume in controller.volumes]
    return dict(controller._asdict(), volumes=volumes, drives=[dict(drive._asdict()) for drive in controller.drives])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        program = storcli.find_program(module.params["program"] or "")
        controllers = storcli.read(program, Commands())
        drives = Drives(Sysfs())
        system = ["/dev/" + drive.device for drive in drives.all if drives.uses(drive).system]
        cache = storcli.cache_volume(controllers, system, module.params["device"] or "")
        how = "" if cache else storcli.how_to_make(controllers)
        answer: Dict[str, Any] = {
            "program": program,
            "controllers": [told(one) for one in controllers],
            "healthy": not storcli.judge(controllers),
            "problems": storcli.judge(controllers),
            "cache": dict(cache._asdict(), drives=list(cache.drives), verdict=storcli.verdict(cache)) if cache else None,
            "how_to_make": how,
        }
        if module.params["required"] and (answer["problems"] or not cache):
            reasons = storcli.judge(controllers) + ([] if cache else ["There is no RAID-0 volume for the cache. {0}".format(
                "To make one: " + how if how else "No drive is free for one.")])
            module.fail_json(msg=" ".join(reasons), **answer)
        module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
