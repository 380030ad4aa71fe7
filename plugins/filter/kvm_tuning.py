# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_tuning
short_description: Decide how to tune the guests of a host, and what the host needs for them
version_added: "0.1.0"
author: Contributors to dgxops.fleet (@dgxops)
description:
  - Joins what a host is, the domains that libvirt has on it and what is wanted of them, plans them all with P(dgxops.fleet.kvm_plan#filter), and
    answers with everything the role P(dgxops.fleet.kvm_tuning#role) then does. It changes nothing itself.
  - Mistakes and guests that find no place come back as sentences in C(refused), all of them at once, so that nothing is changed by halves.
options:
  _input:
    description: The facts of the host as M(dgxops.fleet.dgx_facts) returns them. A topology alone will do.
    type: dict
    required: true
  domains:
    description:
      - The domains of the host as M(dgxops.fleet.libvirt_domain_info) returns them.
      - None where there is no libvirt to ask yet. The guests in C(wanted) are then planned as they are given.
    type: list
    elements: dict
    required: true
  wanted:
    description:
      - The variables of the role P(dgxops.fleet.kvm_tuning#role) without their prefix, such as C(pinning), C(hugepages) and C(guests). What is
        left out has the role's default.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: See what the role would make of a guest, without any host
  ansible.builtin.debug:
    msg: "{{ dgx | dgxops.fleet.kvm_tuning(none, {'guests': [{'name': 'a', 'gpus': [0, 1], 'vcpus': 10, 'memory': '96G'}]}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(refused) are sentences that say what cannot be done and what would help. If there are any, the rest is not to be carried out.
    - C(warnings) are sentences too.
    - C(guests) and C(host) are the plan as P(dgxops.fleet.kvm_plan#filter) returns it.
    - C(domains) is what M(dgxops.fleet.libvirt_domain) takes, C(unsettled) whether it would have anything to do.
    - C(work) is whether there is anything to do or to say but for C(sysctl).
    - C(pending) are the settings that are configured but not in force in running guests, by guest.
    - C(pages) is what M(dgxops.fleet.hugepages) takes, C(before) the guests change (empty if there is nothing to do then) and C(after) they have
      (none where huge pages are left alone, or wait for a reboot).
    - C(boot_parameters) is what M(dgxops.fleet.kernel_cmdline) takes; an empty list takes them away, none leaves them alone.
    - C(held_back) tells that the huge pages wait for a reboot, C(host_first) that something of the host must change before its guests do.
    - C(mounts) are the mounts that libvirt needs for these pages, each with C(size), C(path) and whether it is C(there).
    - C(sysctl) is what M(dgxops.fleet.sysctl_dropin) takes, C(sysctl_settled) whether it would have nothing to do.
  type: dict
"""

from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ansible.errors import AnsibleFilterError

from ..module_utils.host.errors import FleetError
from ..module_utils.kvm.tuning import decide


def kvm_tuning(facts: Mapping[str, Any], domains: Optional[Sequence[Mapping[str, Any]]], wanted: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
    """A decision as a dictionary; see :func:`decide`."""
    try:
        return decide(facts, domains, wanted or {}).to_dict()
    except FleetError as error:
        raise AnsibleFilterError("kvm_tuning: {0}".format(error.message)) from error


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"kvm_tuning": kvm_tuning}
