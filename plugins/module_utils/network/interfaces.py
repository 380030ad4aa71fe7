# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Network interfaces: whose hardware they are, and whether anybody uses them."""
import os
import re
from typing import Dict, List, Mapping, Optional

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.pci import pci_path
from ..host.sysfs import Sysfs

DEVICES = "sys/bus/pci/devices"
#: Drivers that hand a device to a guest or to a program instead of driving it.
HANDED_OUT = ("vfio-pci", "vfio_pci", "mlx5_vfio_pci", "pci-stub", "pciback", "uio_pci_generic", "igb_uio")
_ADDRESS = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")


class Interfaces:
    """The interfaces of a host. Without ``commands``, what only programs of the running host know is left out (for simulated roots)."""

    def __init__(self, sysfs: Sysfs, commands: Optional[Commands] = None) -> None:
        self.sysfs = sysfs
        self.commands = commands
        self._addresses: Optional[Mapping[str, List[str]]] = None

    def adapter(self, device: str) -> str:
        """The PCI address of an adapter named by address, network interface or InfiniBand device; raises :class:`FleetError` if there is none."""
        if _ADDRESS.match(device.lower()):
            address = device.lower()
            if not self.sysfs.exists("{0}/{1}".format(DEVICES, address)):
                raise FleetError("There is no PCI device {0} on this host. See lspci -D for those there are.".format(device))
            return address
        for kind in ("net", "infiniband"):
            place = "sys/class/{0}/{1}".format(kind, device)
            if device not in ("", ".", "..") and "/" not in device and self.sysfs.exists(place):
                path = pci_path(self.sysfs.link(place)) or pci_path(os.path.realpath(self.sysfs.path(place + "/device")))
                if path:
                    return path[-1]
                raise FleetError("{0} is no PCI device, so this cannot be asked of it. Name the adapter itself.".format(device))
        there = [name for name in self.sysfs.entries("sys/class/net") if self.sysfs.exists("sys/class/net/{0}/device".format(name))]
        there += self.sysfs.entries("sys/class/infiniband")
        raise FleetError(
            "There is no network interface or InfiniBand device {0} on this host, which has {1}. Correct the name, or give a PCI address.".format(
                device, ", ".join(there) or "none"
            )
        )

    def use(self, name: str) -> str:
        """What uses an interface, as the end of a sentence ("" for nothing): what stands on it, else its addresses."""
        place = "sys/class/net/" + name
        above = {
            os.path.basename(self.sysfs.link("{0}/{1}".format(place, entry)))
            for entry in self.sysfs.entries(place)
            if entry.startswith("upper_") or entry == "master"
        }
        if above:
            return "carries {0} (by {1})".format(", ".join(sorted(above)), name)
        addresses = self.addresses().get(name)
        return "has the address {0} ({1})".format(", ".join(addresses), name) if addresses else ""

    def addresses(self) -> Mapping[str, List[str]]:
        """The addresses of each interface that somebody gave it: those that the kernel makes of a MAC are on any that is up."""
        if self._addresses is None:
            found: Dict[str, List[str]] = {}
            for line in self.commands.output(["ip", "-oneline", "address", "show"]).splitlines() if self.commands else ():
                match = re.match(r"^\d+:\s+([^\s@]+)\S*\s+inet6?\s+(\S+)\s(.*)$", line)
                if match and "scope link" not in match.group(3):
                    found.setdefault(match.group(1), []).append(match.group(2))
            self._addresses = found
        return self._addresses
