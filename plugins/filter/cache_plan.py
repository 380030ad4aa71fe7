# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: cache_plan
short_description: Tell whether an NFS read cache holds a data set, and what a cold start costs
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - The arithmetic of sections 2.1.1 and 2.1.2 of the Best Practices for DGX. A RAID-0 of drives has the capacity and the throughput of all of
    them; a training reads its data once per epoch, the first time from shared storage.
options:
  _input:
    description: Size of the data set, in bytes or with a unit (V(20TB), V(900GiB)). T and TB are decimal, as on drives.
    type: raw
    required: true
  drives:
    description: The sizes of the drives, or the number of drives of size O(drive_size).
    type: raw
    required: true
  drive_size:
    description: Size of one drive, if O(drives) is a number.
    type: raw
  epochs:
    description: How many times a training reads its data.
    type: int
    default: 100
  slowdown:
    description: How many times slower than the cache shared storage is.
    type: float
    default: 5
  drive_bytes_per_s:
    description: Sequential read of one drive in bytes/s, or with a unit. The default is the document's SATA SSD.
    type: raw
    default: 550000000
"""

EXAMPLES = r"""
- name: Does a DGX-2 of eight drives cache 20 TB
  ansible.builtin.debug:
    msg: "{{ ('20TB' | dgxops.fleet.cache_plan(8, '3.84TB')).advice }}"
"""

RETURN = r"""
_value:
  description:
    - C(adequate), C(capacity_bytes), C(usable_bytes) (before the cache starts to discard), C(cached_share), C(throughput_bytes_per_s),
      C(runtime_increase) as a share (V(0.04) is 4 %), and C(advice), a sentence.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.storage import advice


def cache_plan(
    dataset: Any, drives: Any, drive_size: Any = None, epochs: Any = 100, slowdown: Any = 5, drive_bytes_per_s: Any = advice.SSD_BYTES_PER_S
) -> Dict[str, Any]:
    """A cache plan as a dictionary; see :func:`advice.cache_plan`."""
    try:
        return advice.cache_plan(dataset, drives, drive_size, epochs, slowdown, drive_bytes_per_s).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("cache_plan: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"cache_plan": cache_plan}
