# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: cpuset
short_description: Turn CPU numbers into a CPU list and back
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - A CPU list is what the kernel, libvirt and numactl print (V(0-3,48)); see cpuset(7), Formats.
  - A list becomes a CPU list, a CPU list becomes a list.
options:
  _input:
    description: CPU numbers, or a CPU list.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Both directions
  ansible.builtin.debug:
    msg:
      - "{{ [0, 1, 2, 3, 48] | dgxops.fleet.cpuset }}"  # 0-3,48
      - "{{ '0-3,48' | dgxops.fleet.cpuset }}"  # [0, 1, 2, 3, 48]
"""

RETURN = r"""
_value:
  description: The CPU list (a string) of a list, or the list of a CPU list.
  type: raw
"""

from typing import Any, Callable, Dict, List, Union

from ansible.errors import AnsibleFilterError

from ..module_utils.host import cpuset as lists
from ..module_utils.host.errors import FleetError


def cpuset(given: Any) -> Union[str, List[int]]:
    """The other of the two notations."""
    try:
        if isinstance(given, str):
            return sorted(lists.parse(given))
        return lists.show(lists.parse(given))
    except FleetError as error:
        raise AnsibleFilterError("cpuset: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"cpuset": cpuset}
