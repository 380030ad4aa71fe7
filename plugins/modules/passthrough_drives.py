#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drives of the host made free for guests, and taken back."""

DOCUMENTATION = r"""
module: passthrough_drives
short_description: Make drives of a KVM host free for guests, and take them back
version_added: 0.1.0
description:
  - Prepares the host for what M(dgxops.fleet.libvirt_domain) then gives to guests. Stops arrays that are in the way and keeps them from being assembled
    and mounted at boot, divides drives, and tells which devices each guest gets. Sections 12.6.2 to 12.6.4 of the Best Practices for DGX.
  - NVMe devices are known by PCI class, drives by their lasting ids, partitions by PARTUUIDs that follow from drive and guest.
  - B(Refuses) before the first change what would cost data. A drive of the operating system; a drive or array that anybody uses (with who uses it);
    a drive that holds anything without its own consent in O(wipe); an array that is not named in O(arrays); a part of an IOMMU group; a drive that
    another guest has.
  - What a guest was given once is its own. It is not examined and not written to by later runs.
  - O(state=absent) assembles and mounts the arrays again, with C(mdadm.conf) and C(fstab) as they were to the byte. Where a guest has written over a
    member, the array can only be made anew and empty, with its old UUIDs, or be rebuilt if it has redundancy; that needs consent for each such drive.
  - The role P(dgxops.fleet.kvm_passthrough#role) puts this and M(dgxops.fleet.libvirt_domain) together.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.libvirt
attributes:
  check_mode:
    support: full
    description: Predicts and refuses what the run then does and refuses. What is on drives that guests still have shows only when they are back.
  diff_mode:
    support: full
    description: Shows who has which drive, partition tables, arrays, C(mdadm.conf) and C(fstab).
options:
  guests:
    description: The guests, each with all drives of the host that it shall have. What was given before and is not named any more is to be taken away.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the domain.
        type: str
        required: true
      nvme:
        description:
          - NVMe drives to pass through as PCI devices, each by its id in C(/dev/disk/by-id), its serial number or its PCI address.
          - V(all) alone means every NVMe drive that holds no operating system and is not named elsewhere.
        type: list
        elements: str
      drives:
        description: Whole drives to give as virtio disks.
        type: list
        elements: dict
        suboptions: &disk
          drive:
            description: The drive's id in C(/dev/disk/by-id), its serial number, or the PCI address of an NVMe drive.
            type: str
            required: true
          target:
            description: The disk's name in the guest. The first that is free from V(vdb) on if not given.
            type: str
          filesystem:
            description:
              - The file system to make on it, once. For a whole drive it is made on one partition that fills the drive (section 12.6.3).
              - V(none) writes nothing. If not given, V(ext4) for whole drives and V(none) for partitions, as in the document.
            type: str
            choices: [none, ext4, xfs]
      partitions:
        description:
          - Parts of drives to give as virtio disks. The drive gets a GPT with the parts that all guests have of it, in the order of the guests.
          - A drive is divided once. Later runs only look whether each part is there.
        type: list
        elements: dict
        suboptions:
          <<: *disk
          size:
            description: The size, such as V(1.9TB) or V(500GiB). Parts without a size share what is left equally.
            type: str
  arrays:
    description: Arrays that may be unmounted and stopped if nobody uses them, by device, name or UUID.
    type: list
    elements: str
    default: []
  wipe:
    description:
      - The drives whose content may be lost, each by its id in C(/dev/disk/by-id) or its serial number, if no other drive or name space has it. There is
        no consent for all of them at once.
      - With O(state=absent) the drives on which what guests have left may be lost.
    type: list
    elements: str
    default: []
  when_running:
    description:
      - What follows for guests that run. V(refuse) refuses what one of them would need a change for.
      - V(next_boot) and V(live) are as of M(dgxops.fleet.libvirt_domain), which makes the change.
    type: str
    choices: [refuse, next_boot, live]
    default: refuse
  release_timeout:
    description: Seconds that running guests have to let go of drives with O(state=absent).
    type: int
    default: 60
  state:
    description:
      - V(present) prepares the drives.
      - V(absent) takes everything back that no guest has any more.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: dgxops.fleet.libvirt_domain
  - module: dgxops.fleet.md_array_info
"""

EXAMPLES = r"""
- name: Make two NVMe drives of the array free for a guest
  dgxops.fleet.passthrough_drives:
    arrays: [md1]
    wipe: [S3HCNX0K400001, S3HCNX0K400002]
    guests:
      - name: 16gpu-vm-16g0-15
        nvme: [S3HCNX0K400001, S3HCNX0K400002]
  register: drives

- name: Hand them over
  dgxops.fleet.libvirt_domain:
    domains: "{{ drives.domains }}"
    when_running: live

- name: Divide a drive between two guests
  dgxops.fleet.passthrough_drives:
    guests:
      - name: vm1
        partitions: [{drive: nvme-Micron_9200_MTFDHAL3T8TCT_18261D000002, size: 1TiB}]
      - name: vm2
        partitions: [{drive: nvme-Micron_9200_MTFDHAL3T8TCT_18261D000002}]
"""

RETURN = r"""
domains:
  description: The devices of each guest, as O(dgxops.fleet.libvirt_domain#module:domains) takes them. Devices to be taken away have RV(ignore:state) absent.
  returned: success
  type: list
  elements: dict
  sample: [{name: vm1, hostdevs: [{pci: '0000:2e:00.0', managed: true}], disks: []}]
given:
  description: What guests have, or shall have, of this host.
  returned: success
  type: list
  elements: dict
  sample: [{guest: vm1, kind: nvme, drive: nvme-Micron_9200_MTFDHAL3T8TCT_18261D000002, source: '0000:2e:00.0', target: ''}]
arrays:
  description: The arrays that are stopped for guests; with O(state=absent), those that were brought back.
  returned: success
  type: list
  elements: str
  sample: [md1]
steps:
  description: What was done, in check mode what would be, in order.
  returned: success
  type: list
  elements: str
  sample: [unmount /raid, stop md1, write /etc/mdadm/mdadm.conf]
refused:
  description: The drives that were refused, with their C(device), C(id) and the C(reason).
  returned: if drives were refused
  type: list
  elements: dict
"""

import time
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.kvm.client import Client
from ..module_utils.kvm.domain_devices import read_disks, read_hostdevs
from ..module_utils.kvm.domain_xml import DomainDocument
from ..module_utils.storage.handover import FILE_SYSTEMS, NVME, Found, Guest, Record, Wish
from ..module_utils.storage.handover_back import decide_back, refuse_held, release, still_held
from ..module_utils.storage.handover_change import Change, decide
from ..module_utils.storage.handover_host import Host, carry_out, read, read_record, run_steps

#: How long a drive may take to be seen by the host again.
SETTLE_SECONDS = 10
DISK = {"drive": {"type": "str", "required": True}, "target": {"type": "str"}, "filesystem": {"type": "str", "choices": list(FILE_SYSTEMS)}}
GUEST = {
    "name": {"type": "str", "required": True},
    "nvme": {"type": "list", "elements": "str"},
    "drives": {"type": "list", "elements": "dict", "options": DISK},
    "partitions": {"type": "list", "elements": "dict", "options": dict(DISK, size={"type": "str"})},
}
ARGUMENTS = {
    "uri": {"type": "str", "default": "qemu:///system"},
    "guests": {"type": "list", "elements": "dict", "options": GUEST},
    "arrays": {"type": "list", "elements": "str", "default": []},
    "wipe": {"type": "list", "elements": "str", "default": []},
    "when_running": {"type": "str", "choices": ["refuse", "next_boot", "live"], "default": "refuse"},
    "release_timeout": {"type": "int", "default": 60},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def read_guests(uri: str) -> List[Guest]:
    """Every guest with the devices of the host that it has, by its configuration and while it runs."""
    client = Client.open(uri, read_only=True)
    guests = []
    for entry in client.domains():
        configured = DomainDocument(client.inactive_xml(entry.uuid))
        active = client.active_xml(entry.uuid) if entry.running else None
        running = DomainDocument(active) if active is not None else None
        held = [disk.get("source", "") for disk in read_disks(running)] + [device["pci"] for device in read_hostdevs(running)] if running else []
        disks = {disk["target"]: disk.get("source", "") for disk in read_disks(configured)}
        hostdevs = frozenset(device["pci"] for device in read_hostdevs(configured))
        guests.append(Guest(entry.name, running is not None, hostdevs, disks, frozenset(held), entry.persistent))
    client.close()
    return guests


def present(module: Any, host: Host, record: Optional[Record]) -> Change:
    """Make the drives free that guests shall have."""
    wish = Wish.from_params(module.params)
    guests = read_guests(module.params["uri"]) if wish.wanted or record else []
    if not wish.wanted and not record:
        return Change()
    change = decide(wish, read(host, guests, record, wish))
    if not module.check_mode:
        carry_out(change, host)
    return change


def absent(module: Any, host: Host, record: Optional[Record]) -> Tuple[Change, List[str]]:
    """Take back what no guest has any more; also what was done to get there, in words."""
    if record is None:
        return Change(), []
    params = module.params
    found = read(host, read_guests(params["uri"]), record, None)
    deadline = time.monotonic() + max(params["release_timeout"], 0)
    while not module.check_mode and still_held(found) and params["when_running"] == "live" and time.monotonic() < deadline:
        time.sleep(1)
        found = read(host, read_guests(params["uri"]), record, None)
    refuse_held(found, module.check_mode, params["when_running"])
    if not module.check_mode:
        found = settled(host, found, record)
    steps = release(found)
    if steps and not module.check_mode:
        run_steps(steps, host)
        found = settled(host, found, record)
    change = decide_back(tuple(word.rpartition("/")[2] for word in params["wipe"]), found, module.check_mode)
    if not module.check_mode:
        carry_out(change, host)
    return change, [step.told for step in steps if step.told]


def settled(host: Host, found: Found, record: Record) -> Found:
    """What is found as soon as the drives are back: libvirt gives a device to the host's driver a moment after the guest has let it go."""
    for _second in range(SETTLE_SECONDS):
        if all(found.drives_at(one.pci) for one in record.given if one.kind == NVME and one.pci in found.functions):
            break
        time.sleep(1)
        found = read(host, list(found.guests.values()), record, None)
    return found


def report(change: Change, released: List[str], record: Optional[Record], is_present: bool) -> Dict[str, Any]:
    """The module's answer."""
    after = change.record if is_present else None
    stopped = after.arrays if after else record.arrays if record and not is_present else ()
    return {
        "changed": bool(change) or bool(released) or (not is_present and change.record != record),
        "diff": [diff.to_dict() for diff in change.diffs],
        "domains": list(change.domains),
        "given": [{name: getattr(one, name) for name in ("guest", "kind", "drive", "source", "target")} for one in (after.given if after else ())],
        "arrays": [one.device for one in stopped],
        "steps": released + change.told,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, required_if=[("state", "present", ["guests"])], supports_check_mode=True)
    with errors_reported_by(module):
        if module.params["release_timeout"] < 0:
            raise FleetError("release_timeout is {0}, but a number of seconds is expected.".format(module.params["release_timeout"]))
        host = Host(Commands())
        record = read_record(host)
        is_present = module.params["state"] == "present"
        change, released = (present(module, host, record), []) if is_present else absent(module, host, record)
        for warning in change.warnings:
            module.warn(warning)
        module.exit_json(**report(change, released, record, is_present))


if __name__ == "__main__":
    main()
