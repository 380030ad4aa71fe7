# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The machine as QEMU's command line: which part sits on which bus, by which name the monitor knows it."""
from typing import List

from .platforms import Platform

#: Directories and files are named relative to QEMU's working directory, so a checkout's long path cannot break a socket's 108 characters.
MONITOR = "monitor.sock"
AGENT = "agent.sock"
CONSOLE = "console.log"
PID = "pid"
ADAPTER = "adapter"
MANAGEMENT_MAC = "52:54:00:d6:00:00"
ADAPTER_MAC = "52:54:00:d6:03:00"

#: Without the parts of a PC that nobody tests and every boot would have to look at.
_BOARD = "q35,sata=off,smbus=off,i8042=off,vmport=off"
#: Slots beside those of the platform's own data drives, for what a test plugs in itself.
_SPARE_SLOTS = 4
_LINKS = 2
_FIRST_LINK_ADDRESS = 0x3


def arguments(platform: Platform, boot: str, port: int) -> List[str]:
    """Everything after ``qemu-system-x86_64`` for a machine whose ssh is reached at ``port`` of the loopback address."""
    parts = [
        *("-name", f"dgxops-lab-{platform.name}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-monitor", "none"),
        *("-kernel", boot),
        *_processors_and_memory(platform),
        *_firmware_tables(platform),
        *_buses(platform),
        *_operating_system_drives(platform),
        *_networks(port),
        *_ways_in(),
    ]
    return parts


def slot_of(number: int) -> str:
    """The root port a drive is plugged into."""
    return f"slot{number}"


def hub_of(link: int) -> int:
    """The cable that joins a pair of ports; more ports than two may be on it."""
    return link + 1


def _processors_and_memory(platform: Platform) -> List[str]:
    per_node = platform.cpus // platform.sockets
    memory = platform.memory_mib // platform.sockets
    processor = "max" + (f",vendor={platform.vendor_id}" if platform.vendor_id else "")
    parts = ["-machine", _BOARD, "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", processor]
    parts += ["-smp", f"{platform.cpus},sockets={platform.sockets},cores={platform.cores},threads={platform.threads}", "-m", f"{memory * platform.sockets}M"]
    for node in range(platform.sockets):
        cpus = f"{node * per_node}-{(node + 1) * per_node - 1}"
        parts += ["-object", f"memory-backend-ram,id=memory{node},size={memory}M", "-numa", f"node,nodeid={node},memdev=memory{node},cpus={cpus}"]
    if platform.sockets == 2:
        parts += ["-numa", "dist,src=0,dst=1,val=21"]
    return parts


def _firmware_tables(platform: Platform) -> List[str]:
    return [
        *("-smbios", f"type=1,manufacturer=NVIDIA,product={platform.product},serial=LAB0000001"),
        *("-smbios", f"type=2,manufacturer=NVIDIA,product={platform.product}"),
    ]


def _buses(platform: Platform) -> List[str]:
    """A host bridge per NUMA node with half the drive slots each, hot plug by PCIe itself (ACPI's does not reach below such a bridge), an IOMMU."""
    parts = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", "-device", "intel-iommu,intremap=on,caching-mode=on"]
    for node in range(platform.sockets):
        parts += ["-device", f"pxb-pcie,id=bridge{node},bus_nr={0x20 + 0x80 * node},numa_node={node},bus=pcie.0,addr={0x10 + node:#x}"]
    for slot in range(platform.data.total + _SPARE_SLOTS):
        node = node_of_slot(platform, slot)
        parts += ["-device", f"pcie-root-port,id={slot_of(slot)},bus=bridge{node},chassis={slot + 1},slot={slot + 1},addr={slot:#x}"]
    if platform.data.bus == "scsi":
        parts += ["-device", "virtio-scsi-pci,id=scsi,bus=pcie.0,addr=0xc"]
    return parts


def node_of_slot(platform: Platform, slot: int) -> int:
    """The first half of the data drives are near the first socket, and so on; the slots left over alternate."""
    total = platform.data.total
    return slot * platform.sockets // total if slot < total else slot % platform.sockets


def _operating_system_drives(platform: Platform) -> List[str]:
    parts = []
    for number in range(platform.os_drives):
        name = f"os{number}"
        parts += ["-drive", f"if=none,id={name},file={name}.qcow2,format=qcow2,cache=unsafe,discard=unmap"]
        parts += ["-device", f"virtio-blk-pci,drive={name},serial=LABOS{number},bus=pcie.0,addr={0x8 + number:#x}"]
    return parts


def _networks(port: int) -> List[str]:
    """The way in, and pairs of ports joined by a cable each, to try bonds and LACP on."""
    parts = ["-netdev", f"user,id=management,hostfwd=tcp:127.0.0.1:{port}-:22"]
    parts += ["-device", f"virtio-net-pci,netdev=management,mac={MANAGEMENT_MAC},bus=pcie.0,addr=0x2,romfile="]
    for link in range(_LINKS):
        for end, name in enumerate(("near", "far")):
            netdev, address = f"{name}{link}", _FIRST_LINK_ADDRESS + _LINKS * end + link
            mac = f"52:54:00:d6:{end + 1:02x}:{link:02x}"
            parts += ["-netdev", f"hubport,id={netdev},hubid={hub_of(link)}"]
            parts += ["-device", f"virtio-net-pci,netdev={netdev},mac={mac},bus=pcie.0,addr={address:#x},host_mtu=9000,speed=100000,duplex=full,romfile="]
    return parts


def _ways_in() -> List[str]:
    return [
        *("-device", "virtio-rng-pci,bus=pcie.0,addr=0xb"),
        *("-device", "virtio-serial-pci,bus=pcie.0,addr=0xa"),
        *("-chardev", f"socket,id=agent,path={AGENT},server=on,wait=off", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-qmp", f"unix:{MONITOR},server=on,wait=off", "-serial", f"file:{CONSOLE}", "-pidfile", PID),
    ]
