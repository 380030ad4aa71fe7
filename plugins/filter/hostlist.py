# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: hostlist
short_description: Turn host names into a host list and back
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - A host list is what Slurm writes for many nodes (V(dgx[01-03,05])). The width of the numbers is kept.
  - A list becomes a host list, a host list becomes a list.
options:
  _input:
    description: Host names, or a host list.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Both directions
  ansible.builtin.debug:
    msg:
      - "{{ ['dgx01', 'dgx02', 'dgx03', 'dgx05'] | dgxops.fleet.hostlist }}"  # dgx[01-03,05]
      - "{{ 'dgx[01-03,05]' | dgxops.fleet.hostlist }}"  # ['dgx01', 'dgx02', 'dgx03', 'dgx05']
"""

RETURN = r"""
_value:
  description: The host list (a string) of a list, or the list of a host list.
  type: raw
"""

from typing import Any, Callable, Dict, Iterable, List, Union

from ansible.errors import AnsibleFilterError

from ..module_utils.host import cpuset as lists
from ..module_utils.host.errors import FleetError


def hostlist(given: Any) -> Union[str, List[str]]:
    """The other of the two notations."""
    try:
        if isinstance(given, str):
            return lists.parse_hosts(given)
        return lists.show_hosts(_names(given))
    except FleetError as error:
        raise AnsibleFilterError("hostlist: {0}".format(error.message)) from error


def _names(given: Any) -> Iterable[str]:
    if isinstance(given, (list, tuple, set)) and all(isinstance(name, str) for name in given):
        return given
    raise FleetError("{0!r} is neither a host list nor a list of host names.".format(given))


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"hostlist": hostlist}
