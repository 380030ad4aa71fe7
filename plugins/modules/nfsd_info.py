#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells what the kernel's NFS server is doing: threads, exports in force, clients, and what could be better."""

DOCUMENTATION = r"""
module: nfsd_info
short_description: Tell how busy the threads of an NFS server are, and what it exports
version_added: 0.1.0
description:
  - Reads the kernel's NFS server, its threads and whether requests had to wait for one, its exports with all options in force, and its clients.
  - Gives advice, each with its reason. The Best Practices (section 2.2.1) go by the line C(th), whose histogram is zero on all kernels since 2.6.30;
    this module goes by C(/proc/fs/nfsd/pool_stats).
  - Changes nothing. A host without a server is told as one that does not run.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return the same as without.
  diff_mode:
    support: none
    description: Shows what has changed or would change.
    details: Changes nothing.
options:
  root:
    description: The directory that C(proc), C(sys) and C(var) are read below. Another than V(/) is a recorded host.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.nfs_client_info
  - name: knfsd-stats
    description: What the figures mean.
    link: https://docs.kernel.org/filesystems/nfs/knfsd-stats.html
"""

EXAMPLES = r"""
- name: Are the threads enough?
  dgxops.fleet.nfsd_info:
  register: nfsd

- name: Show what could be better
  ansible.builtin.debug:
    var: nfsd.advice
"""

RETURN = r"""
running:
  description: Whether the server runs.
  returned: always
  type: bool
threads:
  description: How many threads it has.
  returned: always
  type: int
  sample: 64
pool_threads:
  description: The threads of each pool.
  returned: always
  type: list
  elements: int
  sample: [64]
pools:
  description: For each pool, how many packets came, how often an idle thread was there for them (C(woken)), and how often they had to wait for one (C(waited)).
  returned: always
  type: list
  elements: dict
  sample: [{pool: 0, packets: 501, waited: 57, woken: 444, waited_share: 0.1138}]
counters:
  description:
    - What it did since it was started; null if the kernel does not tell.
    - C(histogram) are the last ten numbers of the line C(th), C(histogram_is_kept) is whether this kernel keeps it.
  returned: always
  type: dict
  sample: {bytes_read: 8388608, bytes_written: 0, calls: 49, bad_calls: 0, reply_cache_hits: 0, connections: 2,
           histogram: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], histogram_is_kept: false}
versions:
  description: The versions of NFS that it speaks.
  returned: always
  type: list
  elements: str
  sample: ["3", "4", "4.1", "4.2"]
listeners:
  description: The protocols and ports on which it takes requests.
  returned: always
  type: list
  elements: dict
  sample: [{protocol: rdma, port: 20049}, {protocol: tcp, port: 2049}]
max_block_size:
  description: The most bytes of one read or write; null if it does not run.
  returned: always
  type: int
  sample: 1048576
exports:
  description: What is exported to whom, with all options in force.
  returned: always
  type: list
  elements: dict
  sample: [{path: /export/data, client: 192.0.2.0/24, options: [ro, sync, wdelay, root_squash]}]
clients:
  description: Clients with NFS 4. The kernel lists them from 5.3 on, and no others.
  returned: always
  type: list
  elements: dict
  sample: [{name: "Linux NFSv4.2 dgx01", address: "192.0.2.1:931", version: "4.2"}]
advice:
  description: What could be better, as sentences.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.storage.nfsd import describe, read_server

ARGUMENTS = {"root": {"type": "path", "default": "/"}}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        found = describe(read_server(Sysfs(module.params["root"])))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
