#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A software RAID array: made, assembled, given its name, stopped or removed, without ever taking a drive that holds something by accident."""

DOCUMENTATION = r"""
module: md_array
short_description: Make, assemble, name, stop or remove a software RAID array, never at the cost of data that was not given up
version_added: 0.1.0
description:
  - Makes an array of whole drives with C(mdadm), or assembles the one that is on them, and gives it a lasting path by one C(ARRAY) line in C(mdadm.conf), which
    replaces what was there for its name or UUID. Where the initramfs carries a copy of that file, it is made anew.
  - An array is known by its members and its UUID. One that is there already is kept with all that it holds, whatever it is called (V(md127)), also after the
    system was set up anew.
  - A drive is B(refused) if it is mounted, used as swap, a member of another array, held by LVM, LUKS, ZFS, bcache or any program, holds the operating system,
    can only be read, is smaller than O(drive_size_min), or has partitions, a file system, or any other signature. The refusal names each such drive and
    says how to consent.
  - An array with redundancy follows O(drives) and O(spares). Drives that are new in them fill free places, become spares, or make the array larger; a
    member that is no longer in them is let go when another holds what it held, and one that failed at once. What has to wait until a rebuild has ended
    is told by a warning, and done by a later run.
  - Consent is given per drive and per array in O(wipe), never for all at once. Nothing consents to taking a drive that is in use.
  - Installs C(mdadm) where it is missing.
options:
  name:
    description: The array's name. It is found as C(/dev/md/NAME).
    type: str
    required: true
  drives:
    description:
      - The drives, each by its name in C(/dev/disk/by-id), its serial number, its world wide name, or a path. Kernel names such as V(/dev/nvme3n1) are
        taken, but change from boot to boot.
      - "Without this option, the data drives of the host are meant: all built-in solid state drives that hold nothing of the operating system, if they are of
        one size and as many as the model of DGX is sold with."
    type: list
    elements: str
  spares:
    description:
      - More drives, for an array with redundancy, onto which it is rebuilt when one fails. Named as those in O(drives).
      - Which of all these drives is a spare at a time is not held against an array. After a failure, a former spare is in the place of the drive that failed.
    type: list
    elements: str
    default: []
  level:
    description: The RAID level.
    type: str
    choices: [raid0, raid1, raid5, raid6, raid10]
    default: raid0
  chunk_kib:
    description: The chunk in KiB for an array that is made. One that is there keeps its own.
    type: int
    default: 512
  drive_size_min:
    description: The least size that each drive must have, such as V(3.8TB), to notice a wrong one.
    type: str
  wipe:
    description:
      - What may be lost. A drive by one of its lasting names gives up file systems, partitions and superblocks of other arrays on this drive.
      - The UUID of this very array gives up what the array holds, to make it anew or to free its drives. It is another one afterwards, so an old consent is
        never taken for a new one.
    type: list
    elements: str
    default: []
  platform:
    description: The model by which O(drives) are found if they are not given, such as V(dgx-2) or V(generic), in place of what the firmware says.
    type: str
  state:
    description:
      - V(present) assembles the array or makes it.
      - V(assembled) assembles it, and fails if it would have to be made.
      - V(stopped) stops it; its drives keep it.
      - V(absent) stops it and frees its drives, which needs its UUID in O(wipe) if it holds anything.
      - V(restored) goes back to before the first change. An array that was there then stays; one that was made is removed if O(wipe) has its UUID or if it
        holds nothing, and otherwise stopped with a warning.
    type: str
    choices: [present, assembled, stopped, absent, restored]
    default: present
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does, and refuses what it would refuse. Reads the drives.
  diff_mode:
    support: full
    description: Shows the array with its drives, and C(mdadm.conf).
seealso:
  - module: dgxops.fleet.md_array_info
author:
  - Contributors to dgxops.fleet (@dgxops)
"""

EXAMPLES = r"""
- name: An array of all data drives
  dgxops.fleet.md_array:
    name: raid

- name: An array of these drives, one of which may lose what it holds
  dgxops.fleet.md_array:
    name: scratch
    drives: [S3HCNX0K400001, S3HCNX0K400002]
    wipe: [nvme-SAMSUNG_MZQLB3T8HALS_S3HCNX0K400002]

- name: A mirror with a spare
  dgxops.fleet.md_array:
    name: home
    level: raid1
    drives: [S3HCNX0K400001, S3HCNX0K400002]
    spares: [S3HCNX0K400003]

- name: Free the drives again
  dgxops.fleet.md_array:
    name: scratch
    state: absent
    wipe: [cb0e3fb8:65acc798:c37e8237:123016e3]
"""

RETURN = r"""
link:
  description: The lasting path of the array.
  returned: success
  type: str
  sample: /dev/md/raid
device:
  description: The kernel's name; empty if it does not run, and in check mode if it does not run yet.
  returned: success
  type: str
  sample: md127
uuid:
  description: The UUID in the form of mdadm; empty if there is no array. In check mode, one that would be made gets another.
  returned: success
  type: str
  sample: cb0e3fb8:65acc798:c37e8237:123016e3
drives:
  description: The ids of the drives.
  returned: success
  type: list
  elements: str
  sample: [nvme-SAMSUNG_MZQLB3T8HALS_S3HCNX0K400001]
spares:
  description: The ids of the drives that were asked for as spares.
  returned: success
  type: list
  elements: str
chunk_bytes:
  description: The chunk of the array that runs; in check mode of the one that would be made.
  returned: success
  type: int
  sample: 524288
steps:
  description: What was done, in check mode what would be, in order.
  returned: success
  type: list
  elements: str
  sample: ['make /dev/md/raid as raid0 of nvme0n1, nvme1n1', write /etc/mdadm/mdadm.conf]
verdict:
  description: As of M(dgxops.fleet.md_array_info); empty if the array does not run.
  returned: success
  type: str
  sample: healthy
reasons:
  description: Why it is not healthy.
  returned: success
  type: list
  elements: str
refused:
  description: The drives that were refused, with their C(id), C(device) and the C(reason).
  returned: if drives were refused
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.storage.md import judge
from ..module_utils.storage.md_apply import Host, carry_out, new_uuid, prepare, read, verify
from ..module_utils.storage.md_change import LEVELS, STATES, Wish, decide

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "drives": {"type": "list", "elements": "str"},
    "spares": {"type": "list", "elements": "str", "default": []},
    "level": {"type": "str", "choices": list(LEVELS), "default": "raid0"},
    "chunk_kib": {"type": "int", "default": 512},
    "drive_size_min": {"type": "str"},
    "wipe": {"type": "list", "elements": "str", "default": []},
    "platform": {"type": "str"},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
}


#: Seconds for a command: systemd and mdadm wait for drives and for other jobs, on a busy host for long.
_TIME_LIMIT = 300.0


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands(_TIME_LIMIT))
        wish = Wish.from_params(module.params)
        there = wish.state in ("present", "assembled")
        if there and not module.check_mode:
            prepare(host)
        found = read(wish, host, module.params["platform"] or "")
        change = decide(wish, found, new_uuid())
        array = next((one for one in found.arrays if one.uuid and one.uuid == change.uuid), None)
        if not module.check_mode:
            carry_out(change, host)
            array = verify(change, host) if there and change else array
        verdict = judge(array) if array is not None and there else None
        for warning in change.warnings:
            module.warn(warning)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            link=wish.path,
            device=array.device if array is not None and there else "",
            uuid=change.uuid,
            drives=[drive.id or drive.serial for drive in found.drives],
            spares=[drive.id or drive.serial for drive in found.spares],
            chunk_bytes=array.chunk_bytes if array is not None else wish.chunk_kib * 1024,
            steps=change.told,
            verdict=verdict.verdict if verdict else "",
            reasons=list(verdict.reasons) if verdict else [],
        )


if __name__ == "__main__":
    main()
