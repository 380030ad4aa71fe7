# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Domain XML of guests as nvidia-vm makes them on a DGX-2: GPUs passed through, vCPUs pinned to threads, a data disk, no further tuning.

Names, sizes, pins, disks and network are those of the listings in *Best Practices for DGX*, sections 11 and 12; the data disk is what
libvirt can use (the document's type 'vmdk' is a slip). What the document does not show is as virt-install makes it.
"""
import uuid
from typing import List, NamedTuple, Sequence
from xml.sax.saxutils import quoteattr

#: vCPUs by number of GPUs. The document shows no guest of 4 GPUs: that one lies between its neighbours.
VCPUS = {1: 5, 2: 10, 4: 22, 8: 46, 16: 92}
#: The memory of the guest of 16 GPUs, section 12.3.1; smaller guests get their share, in whole pages of 2 MiB.
MEMORY_KIB, PAGE_KIB = 1516912640, 2048
CORES_PER_NODE, CORES_PER_GPU, NODES, FIRST_SIBLING = 24, 3, 2, 48


class Guest(NamedTuple):
    """A guest of some GPUs in a row, as ``nvidia-vm create --gpu-count COUNT --gpu-index FIRST`` asks for."""

    prefix: str
    first: int
    gpus: int

    @property
    def name(self) -> str:
        """nvidia-vm appends the GPUs: ``testme-8g8-15``, ``disk-passthrough-1g8``."""
        last = "" if self.gpus == 1 else "-{0}".format(self.first + self.gpus - 1)
        return "{0}-{1}g{2}{3}".format(self.prefix, self.gpus, self.first, last)

    @property
    def vcpus(self) -> int:
        return VCPUS[self.gpus]

    @property
    def memory_kib(self) -> int:
        return MEMORY_KIB * self.gpus // 16 // PAGE_KIB * PAGE_KIB

    def pins(self) -> List[int]:
        """The CPU of each vCPU: on each node the first threads of the guest's cores, then their siblings (listings of 12.2.1 and 12.2.2)."""
        if self.gpus < 16:
            return _on_node(self.first * CORES_PER_GPU, self.vcpus)
        half = self.vcpus // NODES
        return [cpu for node in range(NODES) for cpu in _on_node(node * CORES_PER_NODE, half)]


def _on_node(core: int, vcpus: int) -> List[int]:
    firsts = -(-vcpus // 2)
    return [core + at for at in range(firsts)] + [core + FIRST_SIBLING + at for at in range(vcpus - firsts)]


def domain_xml(guest: Guest, gpus: Sequence[str], kind: str = "kvm") -> str:
    """The XML of a guest that gets the GPUs at these PCI addresses. ``kind`` is libvirt's type of domain: ``qemu`` where there is no KVM."""
    identity = uuid.uuid5(uuid.NAMESPACE_DNS, guest.name + ".dgxops.example")
    octets = identity.bytes
    pins = "\n".join("    <vcpupin vcpu='{0}' cpuset='{1}'/>".format(vcpu, cpu) for vcpu, cpu in enumerate(guest.pins()))
    return _DOMAIN.format(
        kind=kind,
        name=guest.name,
        uuid=identity,
        memory=guest.memory_kib,
        vcpus=guest.vcpus,
        pins=pins,
        mac="52:54:00:{0:02x}:{1:02x}:{2:02x}".format(*octets[:3]),
        hostdevs="\n".join(_hostdev(address) for address in gpus),
    )


def _hostdev(address: str) -> str:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    where = " ".join("{0}={1}".format(key, quoteattr("0x" + value)) for key, value in zip(("domain", "bus", "slot", "function"), (domain, bus, slot, function)))
    return _HOSTDEV.format(where)


_HOSTDEV = """\
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <driver name='vfio'/>
      <source>
        <address {0}/>
      </source>
    </hostdev>"""

_DOMAIN = """\
<domain type='{kind}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>
    <site:guest xmlns:site='https://example.com/site'>
      <site:owner project='vision'>research</site:owner>
    </site:guest>
  </metadata>
  <memory unit='KiB'>{memory}</memory>
  <currentMemory unit='KiB'>{memory}</currentMemory>
  <vcpu placement='static'>{vcpus}</vcpu>
  <cputune>
{pins}
  </cputune>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/{name}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/raid/dgx-kvm/vol-{name}'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='{mac}'/>
      <source bridge='virbr0'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'/>
    <console type='pty'/>
{hostdevs}
  </devices>
</domain>
"""
