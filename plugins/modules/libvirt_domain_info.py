#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the tuning of libvirt domains: what is configured, what is in force, and the difference."""

DOCUMENTATION = r"""
module: libvirt_domain_info
short_description: Read the tuning of libvirt domains, as configured and as in force
version_added: 0.1.0
description:
  - Returns pins, topology, NUMA cells, huge pages, I/O threads, disks, interfaces and passed-through PCI devices of one, some or all domains in one call.
  - What is configured has the shape of the options of M(dgxops.fleet.libvirt_domain) and can be given back to it.
  - For running guests it also returns what is in force, with the CPUs that libvirt really lets each thread use (section 12.2.1 of the Best Practices),
    and which settings wait for the next boot.
  - It needs no more than read-only access to libvirt.
author:
  - Contributors to dgxops.fleet (@dgxops)
extends_documentation_fragment:
  - dgxops.fleet.libvirt
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
options:
  names:
    description: The domains to read. Left out means all of them.
    type: list
    elements: str
seealso:
  - module: dgxops.fleet.libvirt_domain
"""

EXAMPLES = r"""
- name: Read all guests of the host
  dgxops.fleet.libvirt_domain_info:
  register: guests

- name: Show which settings wait for a reboot of their guest
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.differences | join(', ') }}"
  loop: "{{ guests.domains | selectattr('differences') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Give a guest the pins of another
  dgxops.fleet.libvirt_domain:
    domains:
      - name: new
        vcpupin: "{{ (guests.domains | selectattr('name', 'eq', 'old') | first).configured.vcpupin }}"
"""

RETURN = r"""
domains:
  description: The domains, in the order of O(names), or by name.
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
    state:
      description: State in libvirt's words.
      type: str
      sample: running
    running:
      description: Whether the guest is running or paused.
      type: bool
    persistent:
      description: Whether libvirt keeps the domain when it is not running.
      type: bool
    autostart:
      description: Whether the guest is started with the host.
      type: bool
    vcpus:
      description: The highest number of vCPUs that the guest can have online.
      type: int
      sample: 10
    memory_kib:
      description: Memory of the guest in KiB.
      type: int
      sample: 189614080
    pci:
      description: The PCI addresses of the host's devices that are passed through to the guest, in the order of its XML.
      type: list
      elements: str
      sample: ["0000:34:00.0", "0000:36:00.0"]
    configured:
      description:
        - The settings as configured, as an entry of the option O(dgxops.fleet.libvirt_domain#module:domains). The keys are those of that option.
        - A setting that the option cannot express (such as huge pages of several sizes) is null, which means leave alone when it is given back.
      type: dict
      sample:
        name: 2gpu-vm-2g0-1
        vcpus: 10
        memory_kib: 189614080
        vcpupin: {"0": "0", "1": "48"}
        emulatorpin: ""
        iothreads: 0
        iothreadpin: {}
        topology: {sockets: 1, cores: 5, threads: 2}
        cells: [{id: 0, vcpus: "0-9", memory_kib: 189614080, node: 0, mode: strict}]
        hugepages: none
        agent_channel: false
        disks: [{target: vdb, type: file, source: /raid/dgx-kvm/vol-2gpu, bus: virtio, driver: {type: raw}}]
        interfaces: [{mac: "52:54:00:d8:ec:20", network: default, model: virtio}]
        hostdevs: [{pci: "0000:34:00.0", managed: true}]
    in_force:
      description:
        - The same for the running guest; null if it is not running.
        - C(vcpupin), C(iothreadpin) and C(emulatorpin) are the CPUs that the threads may really use, given for every thread.
      type: dict
    differences:
      description: The settings whose value in force is not the configured one. They are from the guest's next boot on.
      type: list
      elements: str
      sample: [topology, "disks[vdb].driver.queues"]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import errors_reported_by
from ..module_utils.kvm.client import Client
from ..module_utils.kvm.domain_info import describe, read_domain
from ..module_utils.kvm.domain_read import find_entries

ARGUMENTS = {
    "uri": {"type": "str", "default": "qemu:///system"},
    "names": {"type": "list", "elements": "str"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        client = Client.open(module.params["uri"], read_only=True)
        entries = sorted(client.domains(), key=lambda entry: entry.name)
        if module.params["names"] is not None:
            entries = find_entries(entries, module.params["names"])
        autostarting, host_cpus = client.autostarting(), client.host_cpus()
        domains = [describe(read_domain(client, entry, entry.uuid in autostarting), host_cpus) for entry in entries]
        client.close()
    module.exit_json(changed=False, domains=domains)


if __name__ == "__main__":
    main()
