# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: storage_advice
short_description: Advise network, file system and bandwidth for a use case
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Table 1 of section 2.2.3 of the Best Practices for DGX, with the bandwidths of section 2.2 worked out for a number of GPUs.
options:
  _input:
    description: The use case.
    type: str
    choices: [analytics, hpc, dl_256, dl_1080p, dl_4k, dl_uncompressed, dl_uncached]
    required: true
  gpus:
    description: GPUs per node.
    type: int
    required: true
  nodes:
    description: Number of nodes.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: What four DGX-1 need that train on 4K images
  ansible.builtin.debug:
    msg: "{{ 'dl_4k' | dgxops.fleet.storage_advice(gpus=8, nodes=4) }}"
"""

RETURN = r"""
_value:
  description:
    - C(networks) and C(file_system) that the document recommends, C(adequate_cache), C(per_node) and C(total) bandwidth in bytes/s (lowest and
      highest; empty where the document gives none), C(links_per_node) by network, and C(advice), a list of sentences.
  type: dict
"""

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.storage import advice


def storage_advice(use_case: Any, gpus: Any, nodes: Any = 1) -> Dict[str, Any]:
    """Advice as a dictionary; see :func:`advice.storage_advice`."""
    try:
        return advice.storage_advice(use_case, gpus, nodes).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("storage_advice: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"storage_advice": storage_advice}
