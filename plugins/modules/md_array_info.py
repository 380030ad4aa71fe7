#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells which software RAID arrays a host has, and whether they are well."""
DOCUMENTATION = r"""
module: md_array_info
short_description: Tell which software RAID arrays a host has, and whether they are well
version_added: 0.1.0
description:
  - Reads the arrays of Linux software RAID (md) with their members, and gives a verdict on each with its reasons.
  - Goes by what the kernel says in sysfs. When a drive of a RAID-0 is pulled, C(/proc/mdstat) goes on showing all members, the file system stays mounted,
    and small writes seem to work.
  - Asks C(mdadm), where it is installed, for the name and the level of arrays that do not run, and for O(devices).
  - Changes nothing, and does not wake an array or write to it.
options:
  arrays:
    description:
      - The arrays to tell about, each by the kernel's name (V(md0)), its path (V(/dev/md/cache)), its name (V(cache), V(dgx01:cache)) or its UUID.
      - All arrays without this option.
      - It is an error if one is not there.
    type: list
    elements: str
  devices:
    description: Block devices to examine for what they carry of md, by their paths. Needs C(mdadm).
    type: list
    elements: str
    default: []
  wear:
    description:
      - Whether to ask the drives how much was written to them and how worn they are, which TRIM keeps low (section 2.1.4).
      - Needs C(nvme-cli) for NVMe drives and C(smartmontools) for others. A drive that does not tell is no error.
    type: bool
    default: false
  required:
    description: Whether the task fails unless all these arrays are V(healthy).
    type: bool
    default: false
  root:
    description:
      - The directory that C(sys), C(proc), C(run), C(etc) and C(dev) are read below.
      - Another than V(/) is a recorded host. No program is asked then, and O(devices) cannot be examined, nor O(wear) told.
    type: path
    default: /
attributes:
  check_mode:
    description: Can run in check mode and return the same as without.
    support: full
  diff_mode:
    description: Shows what has changed or would change.
    support: none
    details: Changes nothing.
author:
  - Contributors to dgxops.fleet (@dgxops)
seealso:
  - module: dgxops.fleet.dgx_facts
"""

EXAMPLES = r"""
- name: Fail unless every array is healthy
  dgxops.fleet.md_array_info:
    required: true

- name: See the array of the NFS cache, and what a drive carries
  dgxops.fleet.md_array_info:
    arrays: [cache]
    devices: [/dev/disk/by-id/nvme-SAMSUNG_MZQLB3T8HALS_S3HCNX0K401234]
  register: md
"""

RETURN = r"""
healthy:
  description: Whether every array that is told about is V(healthy). True if there is none.
  returned: always
  type: bool
problems:
  description: Every reason why an array is not, as sentences that say which and what to do.
  returned: always
  type: list
  elements: str
  sample: ['md127 (dgx01:cache) is broken: It has lost slot 1 (nvme0n1), more than raid0 survives: data is missing. ...']
arrays:
  description: The arrays.
  returned: always
  type: list
  elements: dict
  contains:
    device:
      description: The kernel's name.
      returned: always
      type: str
      sample: md127
    name:
      description: The name in the superblock, with the host that made it.
      returned: always
      type: str
      sample: dgx01:cache
    uuid:
      description: The UUID in the form of mdadm.
      returned: always
      type: str
      sample: cb0e3fb8:65acc798:c37e8237:123016e3
    level:
      description: The level; V(container) for what holds arrays of firmware RAID.
      returned: always
      type: str
      sample: raid0
    state:
      description: The kernel's C(array_state), such as V(clean), V(active), V(read-auto), V(inactive) or V(broken).
      returned: always
      type: str
      sample: clean
    source:
      description: V(sysfs).
      returned: always
      type: str
    metadata:
      description: The version of the superblock.
      returned: always
      type: str
      sample: '1.2'
    chunk_bytes:
      description: The size of a chunk; 0 where the level has none.
      returned: always
      type: int
      sample: 524288
    size_bytes:
      description: The size.
      returned: always
      type: int
      sample: 4286578688
    size_gib:
      description: The size in GiB (2^30 bytes).
      returned: always
      type: float
      sample: 3.99
    size_gb:
      description: The size in GB (10^9 bytes).
      returned: always
      type: float
      sample: 4.29
    raid_disks:
      description: How many members the array is made for, spares not counted.
      returned: always
      type: int
      sample: 4
    active:
      description: How many members are there and in step.
      returned: always
      type: int
      sample: 4
    spares:
      description: How many spares there are.
      returned: always
      type: int
      sample: 0
    failed:
      description: How many members failed or are gone.
      returned: always
      type: int
      sample: 0
    missing_slots:
      description: The places without good data.
      returned: always
      type: list
      elements: int
      sample: []
    members:
      description: The members, by slot.
      returned: always
      type: list
      elements: dict
      contains:
        device:
          description: The kernel's name.
          returned: always
          type: str
          sample: nvme1n1
        drive:
          description: The lasting id in C(/dev/disk/by-id) of the drive that it is or is on.
          returned: always
          type: str
        serial:
          description: The serial number of that drive.
          returned: always
          type: str
        node:
          description: The NUMA node of that drive; -1 if unknown.
          returned: always
          type: int
        role:
          description:
            - V(active), V(rebuilding), V(spare), V(failed), V(gone) if its drive is no longer in the machine, or V(journal).
            - Members of an array that does not run are V(spare), since the kernel does not know better.
          returned: always
          type: str
          sample: active
        slot:
          description: Its place among the data, null for others.
          returned: always
          type: int
          sample: 0
        flags:
          description: The kernel's words for its state.
          returned: always
          type: list
          elements: str
          sample: [in_sync]
        errors:
          description: Read errors that were put right.
          returned: always
          type: int
        bad_blocks:
          description: Ranges of blocks that are known to be bad.
          returned: always
          type: int
        size_bytes:
          description: How much of it the array may use.
          returned: always
          type: int
        trim:
          description: Whether it can discard blocks (TRIM); null if that is not known.
          returned: always
          type: bool
        wear:
          description:
            - What its drive tells; null if it does not.
            - C(written_bytes) is what hosts wrote over its life, C(used_percent) how much of that life is spent, C(spare_percent) what is left of its reserve,
              and C(media_errors) what it could not read. Each is null if it is not told.
          returned: O(wear) is true
          type: dict
          sample: {written_bytes: 9924790272000, used_percent: 3, spare_percent: 98, media_errors: 0}
    sync:
      description: What the array does with itself.
      returned: always
      type: dict
      contains:
        action:
          description: V(idle), V(resync), V(recover), V(check), V(repair), V(reshape) or V(frozen).
          returned: always
          type: str
        percent:
          description: How much of it is done; null if nothing is.
          returned: always
          type: float
        speed_kib:
          description: KiB per second; null if nothing is done.
          returned: always
          type: int
    mismatches:
      description: Sectors that the last check found to differ.
      returned: always
      type: int
    trim:
      description: Whether the array can discard blocks.
      returned: always
      type: bool
    file_system:
      description: What it carries, with C(type), C(uuid) and C(label); empty words if nothing is known.
      returned: always
      type: dict
      sample: {type: ext4, uuid: 826dbe2e-06f6-4846-8093-5011cf881816, label: raid}
    mounts:
      description: Where it, a partition of it, or a volume made of it is mounted, with C(path), C(type) and C(options).
      returned: always
      type: list
      elements: dict
      sample: [{path: /raid, type: ext4, options: 'rw,noatime,rw,discard,stripe=512'}]
    nfs_cache:
      description:
        - C(directory) is where C(cachefilesd) keeps the NFS cache if that is on this array, otherwise empty.
        - C(active) is whether the kernel uses that cache; null before Linux 5.17, which does not tell.
      returned: always
      type: dict
      sample: {directory: /raid, active: true}
    verdict:
      description:
        - V(healthy); V(warning) if it works, but something is to be looked at; V(rebuilding) if it is being brought back to full redundancy;
          V(degraded) if it works without some of its members; V(inactive) if it does not run; V(broken) if data is lost.
      returned: always
      type: str
      sample: healthy
    reasons:
      description: Why, and what to do; empty if it is healthy.
      returned: always
      type: list
      elements: str
devices:
  description: What the O(devices) carry, in their order.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The path as given.
      returned: always
      type: str
    device:
      description: The kernel's name.
      returned: always
      type: str
    kind:
      description:
        - V(array); V(member) of an array that is there; V(former_member) if it carries a superblock, but belongs to no such array; V(none) if it
          carries nothing of md.
        - V(none) does not mean that it is free. It may carry a file system.
      returned: always
      type: str
    array:
      description: The kernel's name of that array; empty if there is none.
      returned: always
      type: str
    superblock:
      description: The superblock; null if there is none.
      returned: always
      type: dict
      sample:
        device: nvme1n1
        metadata: '1.2'
        uuid: cb0e3fb8:65acc798:c37e8237:123016e3
        name: dgx01:cache
        level: raid0
        raid_disks: 4
        role: active
        slot: 0
        device_uuid: 62267244:f1cfc9ac:0c4ec9d9:94ed8bc1
        events: 0
        update_time: 1795406728
        state: clean
        members_then: AAAA
        chunk_bytes: 524288
        data_offset_bytes: 2097152
        checksum_correct: true
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.sysfs import Sysfs
from ..module_utils.storage.blocks import whole_drive
from ..module_utils.storage.md import HEALTHY, array_to_dict
from ..module_utils.storage.md_query import asker, chosen, problems, query
from ..module_utils.storage.md_sysfs import nobody, read_arrays
from ..module_utils.storage.wear import read_wear

ARGUMENTS = {
    "arrays": {"type": "list", "elements": "str"},
    "devices": {"type": "list", "elements": "str", "default": []},
    "wear": {"type": "bool", "default": False},
    "required": {"type": "bool", "default": False},
    "root": {"type": "path", "default": "/"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted, root = module.params["arrays"], module.params["root"]
    with errors_reported_by(module):
        for option, program in (("devices", "mdadm"), ("wear", "nvme")):
            if root != "/" and module.params[option]:
                raise FleetError("{0} cannot be asked for on the recorded host {1}, since {2} would look at this one. Leave {0} out.".format(
                    option, root, program))
        sysfs, commands = Sysfs(root), Commands()
        present = read_arrays(sysfs, asker(commands) if root == "/" else nobody)
        arrays = present if wanted is None else chosen(present, wanted, sysfs)
        told = [array_to_dict(array) for array in arrays]
        for member in [member for array in told for member in array["members"]] if module.params["wear"] else []:
            wear = read_wear(whole_drive(sysfs, member["device"]), commands) if member["serial"] or member["drive"] else None
            member["wear"] = wear.to_dict() if wear else None
        devices = query(module.params["devices"], present, sysfs, commands)
        answer = {
            "arrays": told,
            "devices": [device.to_dict() for device in devices],
            "healthy": all(array["verdict"] == HEALTHY for array in told),
            "problems": problems(arrays),
        }
        if module.params["required"] and not answer["healthy"]:
            module.fail_json(msg=" ".join(problems(arrays)), **answer)
        module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
