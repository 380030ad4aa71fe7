#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells what an NFS client is doing: options in force, requests, cache, and the network to its servers."""

DOCUMENTATION = r"""
module: nfs_client_info
short_description: Tell which NFS mounts a host has, what is in force, and whether the cache serves them
version_added: 0.1.0
description:
  - Reads every NFS mount with the options that are in force, which are not always those in C(/etc/fstab), how many requests it made and how long they took.
  - Tells whether FS-Cache really serves it. The option C(fsc) is shown in C(/proc/mounts) also when no cache is there.
  - Asks the kernel for the way to each server, and on request sends packets of full size to see that they arrive.
  - Gives advice, each with its reason.
  - Changes nothing. Only the kernel is asked, so a server that does not answer holds nothing up.
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
  servers:
    description: More servers to tell the way to, besides those of the mounts. Names or addresses.
    type: list
    elements: str
    default: []
  mtu:
    description:
      - The MTU that the way to each server is to have, at least. Traffic that stays on the host is left out.
      - The Best Practices suggest V(9000) (section 2.2.1).
    type: int
  probe:
    description: Whether packets of the interface's full size are sent to each server (C(ping -M do)), to see that they arrive whole.
    type: bool
    default: false
  required:
    description:
      - What makes the task fail.
      - V(network) is any problem with the way to a server, V(cache) a mount with C(fsc) that the cache does not serve.
    type: list
    elements: str
    choices: [network, cache]
    default: []
  root:
    description:
      - The directory that C(proc) and C(sys) are read below.
      - Another than V(/) is a recorded host; no program is asked then.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.nfsd_info
  - name: nfs(5)
    description: What the options mean.
    link: https://man7.org/linux/man-pages/man5/nfs.5.html
"""

EXAMPLES = r"""
- name: What is in force, and does the cache serve it
  dgxops.fleet.nfs_client_info:
  register: nfs

- name: Fail unless jumbo frames arrive at the server, before anything is mounted from it
  dgxops.fleet.nfs_client_info:
    servers: [nfs01.example.com]
    mtu: 9000
    probe: true
    required: [network]
"""

RETURN = r"""
mounts:
  description: The NFS mounts, in the order in which they were made.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: Where it is mounted.
      returned: always
      type: str
      sample: /data
    source:
      description: Server and export.
      returned: always
      type: str
      sample: nfs01:/export/data
    server:
      description: The server.
      returned: always
      type: str
      sample: nfs01
    type:
      description: V(nfs) or V(nfs4).
      returned: always
      type: str
      sample: nfs4
    version:
      description: The version of NFS that is spoken.
      returned: always
      type: str
      sample: "4.2"
    protocol:
      description: V(tcp), V(rdma) or V(udp); V(tcp6) and the like for IPv6.
      returned: always
      type: str
      sample: tcp
    read_only:
      description: Whether it is mounted for reading only.
      returned: always
      type: bool
    hard:
      description: Whether requests are tried until the server answers.
      returned: always
      type: bool
    sync:
      description: Whether each write waits until the server has it.
      returned: always
      type: bool
    rsize:
      description: Bytes of one read, after server and client agreed.
      returned: always
      type: int
      sample: 1048576
    wsize:
      description: Bytes of one write.
      returned: always
      type: int
      sample: 1048576
    nconnect:
      description: Connections to the server. All mounts of a server share those of the first.
      returned: always
      type: int
      sample: 8
    timeo:
      description: Tenths of a second before a request is sent again.
      returned: always
      type: int
      sample: 600
    retrans:
      description: How often that is done before the server is called dead.
      returned: always
      type: int
      sample: 2
    options:
      description: All options in force, as the kernel tells them.
      returned: always
      type: list
      elements: str
      sample: [rw, relatime, vers=4.2, rsize=1048576, hard, proto=tcp, nconnect=8, fsc]
    read_ahead_kib:
      description: How much is read ahead; null if the kernel does not tell.
      returned: always
      type: int
      sample: 15360
    cache:
      description:
        - C(asked) is whether C(fsc) is in force, C(active) whether reads go through a cache, C(reason) why not.
        - C(hits), C(misses), C(hit_rate) count pages of this mount. They are null on kernels that do not count them, 6.4 and newer.
      returned: always
      type: dict
      sample: {asked: true, active: true, reason: "", hits: 2048, misses: 2048, hit_rate: 0.5}
    rpc:
      description:
        - Requests since it was mounted; null if the kernel does not tell.
        - C(from_server) is the share of what programs read that was asked of the server; the rest was in memory or in the cache.
        - C(backlog) is how many requests on average waited for a slot at each send, C(slots) the most that a connection had.
        - C(operations) has number, average time in ms and retransmissions by kind of request, those that were made.
      returned: always
      type: dict
      sample: {age_s: 86400, connections: 8, requests: 123456, retransmitted: 0, timeouts: 0, bad_replies: 0, backlog: 0.0, slots: 64,
               bytes: {normal_read: 16777216, server_read: 8388608}, from_server: 0.5,
               operations: {READ: {requests: 16, average_ms: 6.06, retransmitted: 0}}}
    route:
      description: The way to the server, as in RV(routes).
      returned: always
      type: dict
    advice:
      description: What could be better, as sentences.
      returned: always
      type: list
      elements: str
routes:
  description:
    - The way to each server, of mounts and of O(servers).
    - C(mtu) is that of the interface or of the route. C(carries) is the largest frame that arrived whole; null if none was sent or nothing answers.
    - C(problem) says what is wrong with it.
  returned: always
  type: list
  elements: dict
  sample: [{server: nfs01, address: 192.0.2.9, interface: enp134s0f0, mtu: 9000, gateway: "", carries: 9000, problem: ""}]
cache:
  description:
    - The host's cache. C(caches) are those that the kernel knows, null before Linux 5.17. C(active) is whether one is in use.
    - C(hits), C(misses) and C(hit_rate) count C(unit)s, of all mounts. They are null where the kernel does not tell.
  returned: always
  type: dict
  sample: {caches: [{name: raid, active: true}], active: true, hits: 4096, misses: 2048, hit_rate: 0.6667, unit: pages}
client:
  description: Requests of all mounts since the client's module was loaded; null if it is not.
  returned: always
  type: dict
  sample: {calls: 123456, retransmissions: 0, auth_refreshes: 0}
parameters:
  description: Parameters in force of the modules C(sunrpc) and C(nfs), those that are loaded.
  returned: always
  type: dict
  sample: {tcp_slot_table_entries: 128, tcp_max_slot_table_entries: 65536, max_session_slots: 64}
problems:
  description: What is wrong with the network to a server, and caches that were asked for and serve nothing.
  returned: always
  type: list
  elements: str
advice:
  description: The advice of all mounts, with their paths.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands, Recorded
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.storage.nfs_client import cache_reads, describe, read_routes, read_sources, route_dict

ARGUMENTS = {
    "servers": {"type": "list", "elements": "str", "default": []},
    "mtu": {"type": "int"},
    "probe": {"type": "bool", "default": False},
    "required": {"type": "list", "elements": "str", "choices": ["network", "cache"], "default": []},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        params = module.params
        if params["mtu"] is not None and not 576 <= params["mtu"] <= 65535:
            raise FleetError("mtu is {0}, but a number from 576 to 65535 is expected, such as 9000.".format(params["mtu"]))
        sysfs = Sysfs(params["root"])
        sources = read_sources(sysfs)
        commands = Commands() if params["root"] == "/" else Recorded({})
        servers = params["servers"] if params["root"] == "/" else []
        routes = read_routes(sources, servers, sysfs, commands, params["probe"], params["mtu"]) if params["root"] == "/" else {}
        mounts = describe(sources, routes)
        found = cache_reads(sources)
        problems = {
            "network": [route.problem for route in routes.values() if route.problem],
            "cache": [
                "{0}: {1}".format(mount["path"], mount["cache"]["reason"]) for mount in mounts if mount["cache"]["asked"] and not mount["cache"]["active"]
            ],
        }
        answer = {
            "mounts": mounts,
            "routes": [route_dict(route) for route in routes.values()],
            "cache": {
                "caches": None if sources.caches is None else [cache._asdict() for cache in sources.caches],
                "active": sources.daemon if sources.caches is None else any(cache.active for cache in sources.caches),
                "hits": found.hits if found else None, "misses": found.misses if found else None,
                "hit_rate": found.rate if found else None, "unit": found.unit if found else None,
            },
            "client": sources.calls._asdict() if sources.calls else None,
            "parameters": dict(sources.parameters),
            "problems": problems["network"] + problems["cache"],
            "advice": ["{0}: {1}".format(mount["path"], text) for mount in mounts for text in mount["advice"]],
        }
        failed = [text for what in ("network", "cache") if what in params["required"] for text in problems[what]]
        if failed:
            module.fail_json(msg=" ".join(failed), **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
