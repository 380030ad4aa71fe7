#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel's NFS server with its threads and exports, and the server as it was before."""

DOCUMENTATION = r"""
module: nfs_server
short_description: Export directories by NFS with enough threads, and give the server back as it was
version_added: 0.1.0
description:
  - Exports directories by a file of their own, C(/etc/exports.d/dgxops.exports), sees to it that the server is enabled and runs with as many threads as
    asked for, and verifies that all exports are in force with their options.
  - A server that runs is not restarted; exports, threads and a listener for RDMA change while clients go on.
  - The number of threads and the listener are kept in C(/etc/nfs.conf.d). Systems before nfs-utils 2.5 (Ubuntu 18.04, 20.04) have the number in
    C(/etc/default/nfs-kernel-server) and no setting for RDMA.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back. Clients that have one of these exports
    mounted lose it then.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether a file system can be exported only shows when it is run.
  diff_mode:
    support: full
    description: Shows service, threads and files before and after.
options:
  exports:
    description: What is exported. Exports of other files are not touched.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory. It has to be there.
        type: str
        required: true
      clients:
        description: Who may mount it.
        type: list
        elements: dict
        required: true
        suboptions:
          host:
            description: A host, an address, a network such as V(192.0.2.0/24), a wildcard, or a netgroup with an at sign.
            type: str
            required: true
          options:
            description: Options as in exports(5). They replace those of O(options) that are about the same.
            type: list
            elements: str
            default: []
  options:
    description: Options of all exports. C(no_subtree_check) is added unless something is said about it.
    type: list
    elements: str
    default: [rw, sync, root_squash]
  threads:
    description:
      - How many threads serve requests. Without this option their number is left alone.
      - M(dgxops.fleet.nfsd_info) tells whether they are enough.
    type: int
  rdma_port:
    description:
      - The port on which it takes requests over RDMA (InfiniBand or RoCE) beside TCP, V(20049) by convention, for clients that mount with C(proto=rdma).
        Without this option nothing is asked about RDMA.
      - Needs nfs-utils 2.5. The kernel can give up a listener only with all threads. One that is named no more stays until the server is started again, which
        is told; O(state=absent) restarts a server that ran before.
    type: int
  allow_async:
    description: Whether an export may be V(async), with which data that clients think safe is lost when the server goes down.
    type: bool
    default: false
  when_missing:
    description:
      - What happens if the server is not installed.
      - V(fail) says so.
      - V(tell) remembers that it was not, and returns RV(missing), so that a role can install it and call this module again.
    type: str
    choices: [fail, tell]
    default: fail
  state:
    description:
      - V(present) exports what is in O(exports).
      - V(absent) gives back exports, threads and service from before the first change. A server that was not installed then is stopped and disabled.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.nfsd_info
  - name: exports(5)
    description: What the options mean.
    link: https://man7.org/linux/man-pages/man5/exports.5.html
"""

EXAMPLES = r"""
- name: Export training data to the DGX systems
  dgxops.fleet.nfs_server:
    threads: 64
    exports:
      - path: /export/data
        clients:
          - host: 192.0.2.0/24
            options: [ro]
          - host: ingest01.example.com

- name: Give the server back as it was
  dgxops.fleet.nfs_server:
    state: absent
"""

RETURN = r"""
missing:
  description: Whether the server is not installed.
  returned: success
  type: bool
threads:
  description: How many threads run after the change (in check mode, would run).
  returned: success
  type: int
  sample: 64
rdma_ports:
  description: On which ports it takes requests over RDMA.
  returned: success
  type: list
  elements: int
  sample: [20049]
enabled:
  description: Whether the server starts at boot.
  returned: success
  type: bool
running:
  description: Whether it runs.
  returned: success
  type: bool
exports:
  description: What is in C(/etc/exports.d/dgxops.exports), by path and client.
  returned: success
  type: list
  elements: dict
  sample: [{path: /export/data, client: 192.0.2.0/24, options: [sync, root_squash, ro, no_subtree_check]}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.storage.nfs_server import Wish, decide
from ..module_utils.storage.nfs_server_host import carry_out, is_installed, read, remember_absence

ARGUMENTS = {
    "exports": {
        "type": "list", "elements": "dict", "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "clients": {
                "type": "list", "elements": "dict", "required": True,
                "options": {"host": {"type": "str", "required": True}, "options": {"type": "list", "elements": "str", "default": []}},
            },
        },
    },
    "options": {"type": "list", "elements": "str", "default": ["rw", "sync", "root_squash"]},
    "threads": {"type": "int"},
    "rdma_port": {"type": "int"},
    "allow_async": {"type": "bool", "default": False},
    "when_missing": {"type": "str", "choices": ["fail", "tell"], "default": "fail"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        wish = Wish.from_params(module.params)
        found = read(wish, host)
        change = decide(wish, found)
        missing = wish.present and not is_installed(found)
        if missing and module.params["when_missing"] == "fail" and not module.check_mode:
            raise FleetError("This host has no NFS server. Install the package nfs-kernel-server (nfs-utils on some systems).")
        now = change.after
        if not module.check_mode and missing:
            remember_absence(change, host)
        elif not module.check_mode:
            carry_out(change, wish, host)
            now = read(wish, host).state
        for port in change.left:
            module.warn("Requests over RDMA are taken on port {0} until nfs-server.service is started again.".format(port))
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            missing=missing,
            threads=now.threads,
            rdma_ports=list(now.rdma),
            enabled=now.unit is not None and now.unit.enabled,
            running=now.unit is not None and now.unit.active,
            exports=[{"path": export.path, "client": export.client, "options": list(export.options)} for export in wish.exports],
        )


if __name__ == "__main__":
    main()
