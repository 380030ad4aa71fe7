# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: md_text
short_description: Read recorded texts about software RAID arrays
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Reads what C(/proc/mdstat), C(mdadm --detail) and C(mdadm --examine) printed, one of them or several after each other, where the host itself is not
    at hand, as in a bundle of logs.
  - On a host use M(dgxops.fleet.md_array_info), which knows more.
options:
  _input:
    description: The text. What is not of these kinds is passed over.
    type: str
    required: true
seealso:
  - plugin: dgxops.fleet.md_array_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Which arrays of a log bundle were not well?
  ansible.builtin.debug:
    msg: "{{ (lookup('ansible.builtin.file', 'bundle/mdstat.txt') | dgxops.fleet.md_text).arrays | rejectattr('verdict', 'eq', 'healthy') }}"
"""

RETURN = r"""
_value:
  description:
    - C(arrays), each with the keys that M(dgxops.fleet.md_array_info) returns, empty where the text does not tell. C(source) is V(mdstat) or V(detail).
    - The C(verdict) of a RAID-0 in C(/proc/mdstat) is V(unknown), since that file goes on showing all members when one is lost.
    - C(/proc/mdstat) does not tell slots, so that of a member that once took the place of another is a guess.
    - C(superblocks), as M(dgxops.fleet.md_array_info) returns them. C(update_time) takes the printed time for UTC.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.storage.md import array_to_dict
from ..module_utils.storage.md_text import read_text


def md_text(text: Any) -> Dict[str, Any]:
    """Arrays and superblocks as a dictionary."""
    if not isinstance(text, str):
        raise AnsibleFilterError("md_text: the text that mdadm or /proc/mdstat printed is expected, not {0!r}.".format(text))
    arrays, superblocks = read_text(text)
    return {"arrays": [array_to_dict(array) for array in arrays], "superblocks": [dict(superblock._asdict()) for superblock in superblocks]}


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"md_text": md_text}
