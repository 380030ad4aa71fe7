#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""NFS mounts that are in fstab and in force with the options asked for, and the way back."""

DOCUMENTATION = r"""
module: nfs_mounts
short_description: Mount NFS with options that are really in force, and give back what was mounted before
version_added: 0.1.0
description:
  - Sees to it that any number of NFS file systems are in C(/etc/fstab) and mounted, with the options asked for, in one call.
  - What is in force is read from the kernel. A changed option is applied to a live mount by a remount where NFS can do that (C(ro), C(noatime) and the like),
    and otherwise by unmounting and mounting again. If that fails, everything is mounted as before.
  - A mount that is in use is not touched. The task fails before its first change, and names the processes, mounts, swap files and loop devices that use it.
  - Sets how much NFS mounts read ahead, now and for every new mount by a udev rule.
  - What was there before the first change is remembered below C(/var/backups/dgxops). O(state=absent) brings it back, and so does no longer naming a mount.
    Other lines of C(/etc/fstab) stay as they are, to the byte.
  - Server and kernel may grant less than asked for, such as a smaller C(rsize). That is told once, as a warning, and is no reason to mount again on each run.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does, with the same refusals. What a server grants only shows when it is run.
  diff_mode:
    support: full
    description: Shows the mounts in force, the read-ahead, and the files before and after.
options:
  mounts:
    description: The mounts. Those that are not named any more are given back as they were; others were never touched.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where to mount it. Directories that are missing are made, and removed again with O(state=absent).
        type: str
        required: true
      src:
        description: Server and path on it, such as V(nfs01:/export/data).
        type: str
        required: true
      options:
        description: Options, as in nfs(5) and mount(8). They replace those of O(options) that are about the same.
        type: list
        elements: str
        default: []
      mounted:
        description: Whether it is mounted now. Without, it is only in C(/etc/fstab), and a mount that is there is left alone.
        type: bool
        default: true
  options:
    description:
      - Options of all mounts.
      - Options that this kernel does not know yet, such as C(nconnect) before 5.3, are left out with a warning.
    type: list
    elements: str
    default: []
  read_ahead_kib:
    description:
      - How many KiB all NFS mounts of the host read ahead. Without this option, what kernel and distribution choose; that is 128 from Linux 5.4 on.
    type: int
  allow_async:
    description: Whether a mount may have the option C(async), by which data that a program has written can be lost.
    type: bool
    default: false
  when_busy:
    description:
      - What happens to a mount that has to be unmounted and is in use.
      - V(refuse) fails before the first change.
      - V(next_boot) changes C(/etc/fstab) only. RV(pending) names it until it is so.
    type: str
    choices: [refuse, next_boot]
    default: refuse
  when_missing:
    description:
      - What happens if the host has no C(mount.nfs) and has to mount something.
      - V(fail) says so.
      - V(tell) changes nothing and returns RV(missing), so that a role can install it and call this module again.
    type: str
    choices: [fail, tell]
    default: fail
  state:
    description:
      - V(present) mounts what is in O(mounts).
      - V(absent) gives back all that this module ever changed.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.nfs_client_info
  - name: nfs(5)
    description: What the options mean.
    link: https://man7.org/linux/man-pages/man5/nfs.5.html
"""

EXAMPLES = r"""
- name: Mount the training data through the local cache, with eight connections
  dgxops.fleet.nfs_mounts:
    options: [vers=4.2, hard, nconnect=8]
    read_ahead_kib: 15360
    mounts:
      - path: /data
        src: nfs01:/export/data
        options: [ro, fsc]
      - path: /home
        src: nfs01:/export/home

- name: Give back what was mounted before
  dgxops.fleet.nfs_mounts:
    state: absent
"""

RETURN = r"""
missing:
  description: Whether C(mount.nfs) is missing and needed.
  returned: success
  type: bool
mounts:
  description: The mounts that were asked for, as they are after the change (in check mode, as found).
  returned: success
  type: list
  elements: dict
  sample: [{path: /data, src: "nfs01:/export/data", mounted: true, options: [ro, vers=4.2, rsize=1048576, nconnect=8, fsc], read_ahead_kib: 15360}]
steps:
  description: What was done, in order.
  returned: success
  type: list
  elements: str
  sample: [unmount /data, mount /data]
reasons:
  description: By path, why a mount was changed that was there, with what was asked for and what was in force.
  returned: success
  type: dict
  sample: {/data: [{option: nconnect, wanted: "8", in_force: "1"}]}
pending:
  description: Mounts that are in use and come into force when they are mounted the next time.
  returned: success
  type: list
  elements: str
  sample: []
limited:
  description: By path, options of which server or kernel granted something else.
  returned: success
  type: dict
  sample: {/data: [{option: rsize, wanted: "1048576", in_force: "524288"}]}
busy:
  description: By path, who uses a mount.
  returned: when the task is refused since a mount is in use
  type: dict
  sample: {/data: ["process 860 (python3) has /data/train.tfrecord open"]}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.host.mountinfo import seen_at
from ..module_utils.storage.nfs_mounts import Wish, decide, refuse_if_busy
from ..module_utils.storage.nfs_mounts_host import carry_out, needs_helper, read, read_busy, read_release

ARGUMENTS = {
    "mounts": {
        "type": "list", "elements": "dict", "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "src": {"type": "str", "required": True},
            "options": {"type": "list", "elements": "str", "default": []},
            "mounted": {"type": "bool", "default": True},
        },
    },
    "options": {"type": "list", "elements": "str", "default": []},
    "read_ahead_kib": {"type": "int"},
    "allow_async": {"type": "bool", "default": False},
    "when_busy": {"type": "str", "choices": ["refuse", "next_boot"], "default": "refuse"},
    "when_missing": {"type": "str", "choices": ["fail", "tell"], "default": "fail"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        wish = Wish.from_params(module.params, read_release(host.sysfs))
        found = now = read(wish, host)
        change = decide(wish, found)
        change = refuse_if_busy(change, wish, found, read_busy(change, host))
        warnings = list(change.warnings)
        missing = needs_helper(change, host)
        if missing and module.params["when_missing"] == "fail" and not module.check_mode:
            raise FleetError("This host has no mount.nfs. Install the package nfs-common (nfs-utils on some systems).")
        if not module.check_mode and not missing:
            now, more = carry_out(change, wish, found, host)
            warnings += more
        for warning in warnings:
            module.warn(warning)
        mounts = [(wanted, seen_at(now.mounts, wanted.path)) for wanted in wish.mounts]
        module.exit_json(
            changed=bool(change),
            missing=missing,
            diff=[diff.to_dict() for diff in change.diffs],
            mounts=[
                {
                    "path": wanted.path, "src": wanted.source, "mounted": seen is not None and seen.is_nfs,
                    "options": list(seen.options + seen.super_options) if seen is not None and seen.is_nfs else [],
                    "read_ahead_kib": now.read_ahead.get(wanted.path),
                }
                for wanted, seen in mounts
            ],
            steps=["{0} {1}".format(step.verb, step.path) for step in change.steps],
            reasons={
                path: [{"option": entry.key, "wanted": entry.wanted, "in_force": entry.in_force} for entry in unlike]
                for path, unlike in change.reasons.items()
            },
            pending=sorted(change.pending),
            limited={
                path: [{"option": key, "wanted": wanted, "in_force": got} for key, (wanted, got) in sorted(kept.limits.items())]
                for path, kept in now.record.mounts.items() if kept.limits
            },
        )


if __name__ == "__main__":
    main()
