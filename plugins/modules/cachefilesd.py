#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The daemon of the NFS read cache: configured by checked values, running, and never without the file system it is meant for."""

DOCUMENTATION = r"""
module: cachefilesd
short_description: Keep the NFS read cache on a local file system, and give the host back as it was
version_added: 0.1.0
description:
  - Writes C(/etc/cachefilesd.conf) with values that obey the rules of cachefilesd.conf(5), allows the daemon to run where Debian's C(/etc/default/cachefilesd)
    does not, and sees to it that it is enabled and really runs with these values.
  - With O(mount) the service is made to need that mount. Otherwise it would fill the drives of the system if the cache did not come up.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back.
  - Installs C(cachefilesd) where it is missing. It is not removed again.
options:
  dir:
    description: The directory of the cache. Required with O(state=present).
    type: path
  mount:
    description: Where the file system of the cache is mounted; O(dir) is there or below.
    type: path
  tag:
    description: What the cache is called.
    type: str
    default: CacheFiles
  brun:
    description: As much space is free, in percent, as culling strives for.
    type: int
    default: 10
  bcull:
    description: Below so much free space the oldest files are thrown away.
    type: int
    default: 7
  bstop:
    description: Below so much free space nothing more is cached.
    type: int
    default: 3
  frun:
    description: As O(brun), of the number of files.
    type: int
    default: 10
  fcull:
    description: As O(bcull), of the number of files.
    type: int
    default: 7
  fstop:
    description: As O(bstop), of the number of files.
    type: int
    default: 3
  culltable:
    description: The logarithm of how many files are looked at for culling, 12 to 20.
    type: int
  secctx:
    description: The SELinux context in which the kernel keeps the files.
    type: str
  restart:
    description: Whether the daemon starts anew although its settings did not change, as after another file system was mounted at its directory.
    type: bool
    default: false
  state:
    description:
      - V(present) configures and runs it.
      - V(absent) gives back files and service as they were before the first change. Files that are in the cache stay there.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the kernel can cache only shows when it is run.
  diff_mode:
    support: full
    description: Shows the files and the service.
seealso:
  - module: dgxops.fleet.cache_volume
author:
  - Contributors to dgxops.fleet (@dgxops)
"""

EXAMPLES = r"""
- name: Cache what NFS reads on /raid
  dgxops.fleet.cachefilesd:
    dir: /raid
    mount: /raid
"""

RETURN = r"""
running:
  description: Whether the daemon runs; in check mode, whether it does now.
  returned: success
  type: bool
restarted:
  description: Whether it was started anew.
  returned: success
  type: bool
installed:
  description: Packages that were installed.
  returned: success
  type: list
  elements: str
  sample: [cachefilesd]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.apt import missing as missing_packages
from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.host.settings_host import change_files, change_units, finish, read_record, read_state, stop_units, write_record
from ..module_utils.storage.cachefilesd import CONF, DEFAULT, DROP_IN, SERVICE, Wish, plan
from ..module_utils.storage.packages import install

ARGUMENTS = {
    "dir": {"type": "path"},
    "mount": {"type": "path"},
    "tag": {"type": "str", "default": "CacheFiles"},
    "brun": {"type": "int", "default": 10},
    "bcull": {"type": "int", "default": 7},
    "bstop": {"type": "int", "default": 3},
    "frun": {"type": "int", "default": 10},
    "fcull": {"type": "int", "default": 7},
    "fstop": {"type": "int", "default": 3},
    "culltable": {"type": "int"},
    "secctx": {"type": "str"},
    "restart": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
#: Seconds for a command: systemd and mdadm wait for drives and for other jobs, on a busy host for long.
_TIME_LIMIT = 300.0
_NAME = "cachefilesd"


def runs(host: Host) -> bool:
    """Whether the daemon itself is there: Debian's script counts as active whatever became of it."""
    return any(host.sysfs.read("proc/{0}/comm".format(entry)) == "cachefilesd" for entry in host.sysfs.entries("proc") if entry.isdigit())


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands(_TIME_LIMIT))
        wish = Wish.from_params(module.params)
        missing = missing_packages({"cachefilesd": "cachefilesd"}) if wish.present else ()
        if missing and not module.check_mode:
            install(missing, host.commands)
        record = read_record(_NAME, host)
        change = plan(wish, read_state(host, [CONF, DEFAULT, DROP_IN], [SERVICE]), record, runs(host))
        if not module.check_mode:
            if change:
                write_record(_NAME, host, change.record)
                stop_units(change, host)
                change_files(change, host, {})
                change_units(change, host)
            if wish.present and not runs(host):
                raise FleetError("cachefilesd did not start. journalctl -u {0} says why; it needs the kernel module cachefiles, and a file system with "
                                 "extended attributes, such as ext4, at {1}.".format(SERVICE, wish.directory))
            finish(_NAME, change, host)
        module.exit_json(
            changed=bool(change) or bool(missing),
            diff=[diff.to_dict() for diff in change.diffs],
            running=runs(host),
            restarted=SERVICE in change.restart,
            installed=list(missing),
        )


if __name__ == "__main__":
    main()
