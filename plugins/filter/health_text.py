# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: health_text
short_description: One report of the GPU diagnostics of all nodes
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Makes a text in Markdown of what M(dgxops.fleet.dcgm_diag) returned on many nodes. The illest come first, then follow the tests that are ill or were so of
    late, with how often and since when.
options:
  _input:
    description: What the module returned, by host.
    type: dict
    required: true
  hosts:
    description: All hosts that were asked. Those without a return are told to have given no answer.
    type: list
    elements: str
    default: []
  stale_days:
    description: After how many days without a diagnosis a node is told as stale.
    type: float
    default: 8
  now:
    description: Seconds since 1970, if not the controller's time.
    type: float
seealso:
  - plugin: dgxops.fleet.dcgm_diag
    plugin_type: module
"""

EXAMPLES = r"""
- name: Show how the fleet is
  ansible.builtin.debug:
    msg: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'diagnosis'))) | dgxops.fleet.health_text }}"
"""

RETURN = r"""
_value:
  description: The report.
  type: str
"""

import time
from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster import health
from ..module_utils.host.errors import FleetError


def health_text(nodes: Any, hosts: Any = (), stale_days: Any = 8, now: Any = None) -> str:
    """The report; see :func:`health.report`."""
    try:
        if not isinstance(nodes, dict):
            raise FleetError("{0!r} was given, but what dcgm_diag returned by host is expected.".format(nodes))
        return health.report(nodes, time.time() if now is None else float(now), float(stale_days), list(hosts))
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError("health_text: the input is not what dcgm_diag returned by host: {0!r}.".format(error)) from error
    except FleetError as error:
        raise AnsibleFilterError("health_text: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"health_text": health_text}
