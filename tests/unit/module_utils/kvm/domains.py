# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Domain XML for the tests, written as libvirt 9.0 writes it (`virsh dumpxml --inactive`, Debian 12), with things of all owners in it."""
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument

UUID = "056f1635-d510-4d06-9e05-879e46479c08"
MAC = "52:54:00:d8:ec:20"
GPU = "0000:34:00.0"

#: A guest of two GPUs as nvidia-vm leaves it, with a site's own notes and a command line that no module knows.
GUEST = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>2gpu-vm-2g0-1</name>
  <uuid>056f1635-d510-4d06-9e05-879e46479c08</uuid>
  <title>Ada &amp; Bob's guest</title>
  <metadata>
    <site:guest xmlns:site="https://example.com/site">
      <!-- ask research before you touch it -->
      <site:owner project="vision">research</site:owner>
    </site:guest>
  </metadata>
  <memory unit='KiB'>20971520</memory>
  <currentMemory unit='KiB'>20971520</currentMemory>
  <vcpu placement='static'>10</vcpu>
  <cputune>
    <shares>2048</shares>
    <vcpupin vcpu='0' cpuset='0'/>
    <vcpupin vcpu='1' cpuset='0-3,48-51'/>
  </cputune>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <boot dev='hd'/>
  </os>
  <cpu mode='host-passthrough' check='none'>
    <feature policy='require' name='invtsc'/>
  </cpu>
  <clock offset='utc'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/2gpu.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' error_policy='stop'/>
      <source file='/raid/dgx-kvm/vol-2gpu'/>
      <target dev='vdb' bus='virtio'/>
      <serial>vol-2gpu</serial>
      <address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <interface type='network'>
      <mac address='52:54:00:d8:ec:20'/>
      <source network='default'/>
      <model type='virtio'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
    <graphics type='vnc' port='-1' autoport='yes' passwd='s3cret'>
      <listen type='address'/>
    </graphics>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source>
        <address domain='0x0000' bus='0x34' slot='0x00' function='0x0'/>
      </source>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </hostdev>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-fw_cfg'/>
  </qemu:commandline>
</domain>
"""


def guest(*changes, **names):
    """The guest, with texts replaced: pairs of (old, new), each of which must be there; ``name`` and ``uuid`` by name."""
    text = GUEST
    if "name" in names:
        changes += (("<name>2gpu-vm-2g0-1<", "<name>{0}<".format(names["name"])),)
    if "uuid" in names:
        changes += ((UUID, names["uuid"]),)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def document(*changes):
    """The guest as a document."""
    return DomainDocument(guest(*changes))


def lines_changed(before, after):
    """The lines that are only in one of two texts, marked by - and +, without their indentation."""
    old, new = before.splitlines(), after.splitlines()
    return ["-" + line.strip() for line in old if line not in new] + ["+" + line.strip() for line in new if line not in old]
