#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tune libvirt domains that exist: only what is asked for, for one or many domains in a call."""

DOCUMENTATION = r"""
module: libvirt_domain
short_description: Tune libvirt domains that exist, and give them back as they were
version_added: 0.1.0
description:
  - Sets CPU pinning, guest topology, NUMA cells, huge pages, I/O threads, disk and network tuning, the guest agent channel and passed-through
    PCI devices of libvirt domains that exist already. It does not create domains.
  - Only the settings that are given are touched. Everything else in the domain's XML stays as it is, metadata and unknown namespaces included.
  - The wanted settings are compared with the domain's configuration by meaning, so that libvirt's own rewriting of XML is no change.
  - All domains are looked at before any is touched. If one of them cannot be changed as asked, none is.
  - Before the first change the domain's XML is kept in O(backup_dir). O(state=restored) brings it back.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.libvirt
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. What only libvirt itself can refuse (a value its schema does not know) shows when it is run.
  diff_mode:
    support: full
    description: Shows each domain's XML before and after. Passwords are masked.
options:
  domains:
    description:
      - The wanted settings, one entry per domain. A setting that is left out is left alone.
      - Required with O(state=present). With O(state=restored) only the names are used, and leaving it out means every domain that has a backup.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the domain. It must exist and be persistent.
        type: str
        required: true
      vcpus:
        description: Number of vCPUs, all of them online from the start.
        type: int
      memory_kib:
        description: Memory of the guest in KiB, all of it allocated from the start.
        type: int
      vcpupin:
        description:
          - "The host CPUs of each vCPU, as V({0: 12, 1: 60}): vCPU number and CPU list. The CPU list may be a number, V(0-3,48) or a list of numbers."
          - Replaces all vCPU pins of the domain. V({}) removes them (section 12.2.2 of the Best Practices).
        type: dict
      emulatorpin:
        description: The host CPUs of the emulator threads, as a CPU list. An empty string removes the pin (section 12.5).
        type: raw
      iothreads:
        description: Number of I/O threads; they are numbered from 1. V(0) removes them (section 12.6.1.1).
        type: int
      iothreadpin:
        description: "The host CPUs of each I/O thread, as V({1: 20, 2: 21-23}): thread number and CPU list. Replaces all of them. V({}) removes them."
        type: dict
      topology:
        description:
          - The CPU topology that the guest sees. The product must be the number of vCPUs (section 12.2.3).
          - V({}) removes it.
        type: dict
        suboptions:
          sockets:
            description: Number of sockets.
            type: int
          dies:
            description: Number of dies per socket. Left out means 1.
            type: int
          clusters:
            description: Number of clusters per die. Left out means 1.
            type: int
          cores:
            description: Number of cores per cluster (per socket, where there are no dies and clusters).
            type: int
          threads:
            description: Number of threads per core.
            type: int
      cells:
        description:
          - The NUMA cells of the guest and the host nodes that their memory comes from (section 12.4.2).
          - The cells together must hold each vCPU once and all of the memory. V([]) removes the cells and their binding.
        type: list
        elements: dict
        suboptions:
          id:
            description: Number of the cell, from 0 without gaps.
            type: int
            required: true
          vcpus:
            description: The vCPUs of the cell, as a CPU list.
            type: raw
            required: true
          memory_kib:
            description: Memory of the cell in KiB.
            type: int
            required: true
          node:
            description: The host node, or nodes as a list such as V(0-1), that the memory of the cell comes from. Left out means any.
            type: raw
          mode:
            description: How strictly the memory comes from O(domains[].cells[].node). See C(numatune) in libvirt's documentation.
            type: str
            choices: [strict, preferred, interleave, restrictive]
            default: strict
      hugepages:
        description:
          - The size of the huge pages that back the guest's memory. V(default) leaves the size to the host, V(none) is no huge pages (section 12.3.1).
        type: str
        choices: [none, default, 2M, 1G]
      disks:
        description: Disks to tune, add or remove. Disks that are not named are left alone.
        type: list
        elements: dict
        suboptions:
          target:
            description: The device name in the domain's XML, such as V(vdb).
            type: str
            required: true
          state:
            description: Whether the disk is there. A disk that is missing is added if its O(domains[].disks[].source) is given.
            type: str
            choices: [present, absent]
            default: present
          type:
            description: Whether the source is a file or a block device. For a new disk it is V(block) if the source is below C(/dev).
            type: str
            choices: [file, block]
          source:
            description: Path of the image or of the block device on the host. Use a path that survives a reboot, such as C(/dev/disk/by-id/…).
            type: path
          bus:
            description: The bus in the guest. V(virtio) for a new disk.
            type: str
            choices: [virtio, sata, scsi, ide, usb]
          serial:
            description: Serial number that the guest sees. An empty string removes it.
            type: str
          driver:
            description: Tuning of the disk driver. Attributes that are not given are left alone.
            type: dict
            suboptions:
              type:
                description:
                  - Format of the image, such as V(raw) or V(qcow2).
                  - It is refused to change it against what the image's header says, since the guest would then see the container and not its contents.
                type: str
              cache:
                description: Cache mode. V(default) removes the attribute.
                type: str
                choices: [default, none, writeback, writethrough, directsync, unsafe]
              io:
                description: How the host does I/O. V(native) needs the cache mode V(none) or V(directsync). V(default) removes the attribute.
                type: str
                choices: [default, native, threads, io_uring]
              queues:
                description: Number of queues of a virtio disk, at most the number of vCPUs. V(0) removes the attribute (section 12.6.1).
                type: int
              iothread:
                description: The I/O thread that serves the disk. V(0) removes the attribute.
                type: int
              discard:
                description: Whether the guest's discard requests reach the host. V(default) removes the attribute.
                type: str
                choices: [default, unmap, ignore]
      interfaces:
        description:
          - Network interfaces to tune, add or remove. Interfaces that are not named are left alone.
          - An interface is found by its O(domains[].interfaces[].mac), or else by its network, bridge or device if only one interface has it.
        type: list
        elements: dict
        suboptions:
          mac:
            description: MAC address. For a new interface without one, an address is made from the domain's UUID, the same each time.
            type: str
          network:
            description: Name of the libvirt network to connect to.
            type: str
          bridge:
            description: Name of the host's bridge to connect to.
            type: str
          dev:
            description: Name of the host's network device to connect to by macvtap.
            type: str
          mode:
            description: Mode of the macvtap connection.
            type: str
            choices: [bridge, vepa, private, passthrough]
          model:
            description: Model of the network card in the guest. V(virtio) for a new interface.
            type: str
          queues:
            description: Number of queues of a virtio network card. From 1 to 256, best the number of vCPUs (section 11.8.2). V(0) removes the attribute.
            type: int
          mtu:
            description: MTU of the guest's interface. V(0) removes it (section 11.8.1).
            type: int
          bandwidth:
            description: Limits of the traffic (section 11.8.3), in KiB/s for average and peak and in KiB for burst.
            type: dict
            suboptions:
              inbound:
                description: Traffic to the guest. V({}) removes the limit.
                type: dict
                suboptions: &limit
                  average:
                    description: Average rate in KiB/s.
                    type: int
                  peak:
                    description: Highest rate in KiB/s. libvirt ignores it for outbound traffic; the module warns.
                    type: int
                  burst:
                    description: Amount in KiB that may go at peak rate.
                    type: int
              outbound:
                description: Traffic from the guest. V({}) removes the limit.
                type: dict
                suboptions: *limit
          state:
            description: Whether the interface is there.
            type: str
            choices: [present, absent]
            default: present
      agent_channel:
        description: Whether the domain has the channel of the QEMU guest agent (section 11.7).
        type: bool
      hostdevs:
        description: PCI devices of the host to pass through to the guest, or to take away from it. Devices that are not named are left alone.
        type: list
        elements: dict
        suboptions:
          pci:
            description: PCI address on the host, such as V(0000:2e:00.0).
            type: str
            required: true
          managed:
            description: Whether libvirt takes the device from its host driver when the guest starts and gives it back. V(true) for a new device.
            type: bool
          state:
            description: Whether the device is passed through.
            type: str
            choices: [present, absent]
            default: present
  state:
    description:
      - V(present) makes the domains as O(domains) says.
      - V(restored) brings back what this module changed since its first change. What others edited elsewhere in the meantime stays.
        The backup then moves to the C(history) folder, so that the next first change makes a new one.
    type: str
    choices: [present, restored]
    default: present
  when_running:
    description:
      - What to do if the configuration of a running domain must change.
      - V(refuse) changes nothing at all and says which domains are running.
      - V(next_boot) changes the configuration. It is in force when the guest is next shut down and started.
      - V(live) changes the configuration and also the running guest where libvirt can do it without a restart, which is pins of vCPUs, emulator and
        I/O threads, bandwidth limits, and adding or removing disks, interfaces and PCI devices. The rest is in force from the next boot on.
      - V(restart) changes the configuration and then shuts the guest down cleanly and starts it. A guest that does not shut down within
        O(shutdown_timeout) gets its old configuration back, and the module fails.
    type: str
    choices: [refuse, next_boot, live, restart]
    default: refuse
  shutdown_timeout:
    description: Seconds that a guest has to shut down with O(when_running=restart).
    type: int
    default: 300
  backup_dir:
    description: Where the XML of a domain is kept before its first change, as C(UUID.xml), with the list of what was changed since, as C(UUID.json).
    type: path
    default: /var/backups/dgxops/libvirt
  validate:
    description: Let libvirt check the new XML against its schema. Turn it off only for domains whose own XML does not pass it.
    type: bool
    default: true
seealso:
  - module: dgxops.fleet.libvirt_domain_info
  - name: Domain XML format
    description: libvirt's own description of every element.
    link: https://libvirt.org/formatdomain.html
"""

EXAMPLES = r"""
- name: Pin a guest of two GPUs to cores of the first socket
  dgxops.fleet.libvirt_domain:
    domains:
      - name: 2gpu-vm-2g0-1
        vcpupin: {0: 0, 1: 48, 2: 1, 3: 49, 4: 2, 5: 50, 6: 3, 7: 51, 8: 4, 9: 52}
        topology: {sockets: 1, cores: 5, threads: 2}

- name: Tune the disk and the network card at the guest's next boot
  dgxops.fleet.libvirt_domain:
    when_running: next_boot
    domains:
      - name: 8gpu-vm-8g0-7
        iothreads: 1
        disks:
          - {target: vdb, driver: {cache: none, io: native, queues: 32, iothread: 1}}
        interfaces:
          - {network: default, queues: 46}

- name: Apply a plan to all guests and move the pins of the running ones at once
  dgxops.fleet.libvirt_domain:
    domains: "{{ plan.guests | map('dict2items') | map('selectattr', 'key', 'in', settings) | map('list') | map('items2dict') }}"
    when_running: live
  vars:
    settings: [name, vcpupin, topology, cells, emulatorpin]

- name: Give every guest back as it was found
  dgxops.fleet.libvirt_domain:
    state: restored
    when_running: next_boot
"""

RETURN = r"""
domains:
  description: What was found and done, one entry per domain, in the order of O(domains).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      sample: 2gpu-vm-2g0-1
    uuid:
      description: UUID of the domain.
      type: str
      sample: 056f1635-d510-4d06-9e05-879e46479c08
    changed:
      description: Whether this domain was changed.
      type: bool
    running:
      description: Whether the domain is running (or paused) when the module ends.
      type: bool
    settings:
      description: The settings that were not as wanted and were changed in the configuration.
      type: list
      elements: str
      sample: [vcpupin, topology, "disks[vdb].driver.queues"]
    live:
      description: The settings that were changed in the running guest.
      type: list
      elements: str
      sample: [vcpupin]
    restarted:
      description: Whether the guest was shut down and started.
      type: bool
    pending:
      description: The settings of O(domains) that are configured but not in force in the running guest. They are from its next boot on.
      type: list
      elements: str
      sample: [topology]
    backup:
      description: Path of the XML that was kept before the first change; null if there is none. With O(state=restored), where it was moved to.
      type: str
      sample: /var/backups/dgxops/libvirt/056f1635-d510-4d06-9e05-879e46479c08.xml
"""

from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import errors_reported_by
from ..module_utils.kvm.client import Client, DomainEntry
from ..module_utils.kvm.domain_apply import Work
from ..module_utils.kvm.domain_backups import Backups
from ..module_utils.kvm.domain_change import Host, decide, overlaps
from ..module_utils.kvm.domain_read import find_entries, pending_now, pins_of_all, read_domains
from ..module_utils.kvm.domain_rules import image_format
from ..module_utils.kvm.domain_settings import Settings

PRESENCE = {"type": "str", "choices": ["present", "absent"], "default": "present"}
LIMIT = {"type": "dict", "options": {"average": {"type": "int"}, "peak": {"type": "int"}, "burst": {"type": "int"}}}
TOPOLOGY = {name: {"type": "int"} for name in ("sockets", "dies", "clusters", "cores", "threads")}
CELL = {
    "id": {"type": "int", "required": True},
    "vcpus": {"type": "raw", "required": True},
    "memory_kib": {"type": "int", "required": True},
    "node": {"type": "raw"},
    "mode": {"type": "str", "choices": ["strict", "preferred", "interleave", "restrictive"], "default": "strict"},
}
DRIVER = {
    "type": {"type": "str"},
    "cache": {"type": "str", "choices": ["default", "none", "writeback", "writethrough", "directsync", "unsafe"]},
    "io": {"type": "str", "choices": ["default", "native", "threads", "io_uring"]},
    "queues": {"type": "int"},
    "iothread": {"type": "int"},
    "discard": {"type": "str", "choices": ["default", "unmap", "ignore"]},
}
DISK = {
    "target": {"type": "str", "required": True},
    "state": PRESENCE,
    "type": {"type": "str", "choices": ["file", "block"]},
    "source": {"type": "path"},
    "bus": {"type": "str", "choices": ["virtio", "sata", "scsi", "ide", "usb"]},
    "serial": {"type": "str"},
    "driver": {"type": "dict", "options": DRIVER},
}
INTERFACE = {
    "mac": {"type": "str"},
    "network": {"type": "str"},
    "bridge": {"type": "str"},
    "dev": {"type": "str"},
    "mode": {"type": "str", "choices": ["bridge", "vepa", "private", "passthrough"]},
    "model": {"type": "str"},
    "queues": {"type": "int"},
    "mtu": {"type": "int"},
    "bandwidth": {"type": "dict", "options": {"inbound": LIMIT, "outbound": LIMIT}},
    "state": PRESENCE,
}
HOSTDEV = {"pci": {"type": "str", "required": True}, "managed": {"type": "bool"}, "state": PRESENCE}
DOMAIN = {
    "name": {"type": "str", "required": True},
    "vcpus": {"type": "int"},
    "memory_kib": {"type": "int"},
    "vcpupin": {"type": "dict"},
    "emulatorpin": {"type": "raw"},
    "iothreads": {"type": "int"},
    "iothreadpin": {"type": "dict"},
    "topology": {"type": "dict", "options": TOPOLOGY},
    "cells": {"type": "list", "elements": "dict", "options": CELL},
    "hugepages": {"type": "str", "choices": ["none", "default", "2M", "1G"]},
    "disks": {"type": "list", "elements": "dict", "options": DISK},
    "interfaces": {"type": "list", "elements": "dict", "options": INTERFACE},
    "agent_channel": {"type": "bool"},
    "hostdevs": {"type": "list", "elements": "dict", "options": HOSTDEV},
}
ARGUMENTS = {
    "uri": {"type": "str", "default": "qemu:///system"},
    "domains": {"type": "list", "elements": "dict", "options": DOMAIN},
    "state": {"type": "str", "choices": ["present", "restored"], "default": "present"},
    "when_running": {"type": "str", "choices": ["refuse", "next_boot", "live", "restart"], "default": "refuse"},
    "shutdown_timeout": {"type": "int", "default": 300},
    "backup_dir": {"type": "path", "default": "/var/backups/dgxops/libvirt"},
    "validate": {"type": "bool", "default": True},
}


def names_to_restore(params: Dict[str, Any], entries: List[DomainEntry], backups: Backups) -> Tuple[List[str], List[str]]:
    """The domains to bring back, which are those given or all that have a backup; and warnings about backups without a domain."""
    if params["domains"] is not None:
        return [domain["name"] for domain in params["domains"]], []
    kept = backups.uuids()
    orphans = sorted(set(kept) - {entry.uuid for entry in entries})
    return [entry.name for entry in entries if entry.uuid in kept], [
        "{0} is the backup of a domain that does not exist any more. It was left there.".format(backups.path(uuid)) for uuid in orphans
    ]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, required_if=[("state", "present", ["domains"])], supports_check_mode=True)
    params = module.params
    with errors_reported_by(module):
        wanted = [Settings.from_option(domain) for domain in params["domains"]] if params["state"] == "present" else None
        backups = Backups(params["backup_dir"])
        if wanted is None and params["domains"] is None and not backups.uuids():
            module.exit_json(changed=False, domains=[], diff=[])  # a host that was never changed may have no libvirt at all
        client = Client.open(params["uri"])
        entries = client.domains()
        names, warnings = ([settings.name for settings in wanted], []) if wanted is not None else names_to_restore(params, entries, backups)
        found = read_domains(client, backups, find_entries(entries, names))
        changes = decide(found, wanted, Host(client.host_cpus(), image_format), params["when_running"])
        if wanted is not None and any(settings.pins_vcpus() for settings in wanted):
            warnings += overlaps(names, pins_of_all(client, entries, {change.found.uuid: change.pins for change in changes}))
        work = Work(client, backups, params["validate"], params["shutdown_timeout"])
        results = [change.result(backups, work.retired) for change in changes]
        if not module.check_mode:
            work.carry_out(changes)
            results = [dict(change.result(backups, work.retired), pending=pending_now(client, change)) for change in changes]
        client.close()
    for warning in warnings + [warning for change in changes for warning in change.warnings]:
        module.warn(warning)
    diff = [entry.to_dict() for change in changes for entry in change.diffs()] if module._diff else []
    module.exit_json(changed=any(change.changed for change in changes), domains=results, diff=diff)


if __name__ == "__main__":
    main()
