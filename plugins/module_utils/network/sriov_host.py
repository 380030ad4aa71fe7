# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The virtual functions of this host: finding adapters, seeing what uses them, changing their number. See :mod:`.sriov`."""
import errno
import json
import os
import re
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import BACKUPS, read_text, remove, write_atomic
from ..host.pci import pci_path
from ..host.sysfs import Sysfs
from ..host.undo import Undo
from .sriov import RULES, Change, Found, Kept, PhysicalFunction, Step, VirtualFunction, Wish, wanted_count

#: What is remembered, below the root.
RECORD = BACKUPS.lstrip("/") + "/sriov_vfs.json"
_DEVICES = "sys/bus/pci/devices"
_ADDRESS = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
#: Drivers that hand a device to a guest or to a program instead of driving it.
_HANDED_OUT = ("vfio-pci", "vfio_pci", "mlx5_vfio_pci", "pci-stub", "pciback", "uio_pci_generic", "igb_uio")
_ETHERNET = "0x0200"
_REASONS = {
    errno.ENOENT: "its driver makes no virtual functions",
    errno.EBUSY: "somebody else is changing them at this moment",
    errno.ENOMEM: "the firmware left no room for their memory; look for SR-IOV, Above 4G Decoding or MMIO in the BIOS, or boot with pci=realloc",
    errno.ENOSPC: "the firmware left no PCI bus numbers for them; turn SR-IOV and ARI on in the BIOS, or boot with pci=assign-busses",
}


class Host:
    """The adapters below a root. Without ``commands``, what only programs of the running host know is left out (for simulated roots)."""

    def __init__(self, sysfs: Sysfs, commands: Optional[Commands] = None, wait: float = 30, poll: float = 0.1) -> None:
        self.sysfs = sysfs
        self.commands = commands
        self.wait = wait
        self.poll = poll
        self._addresses: Optional[Mapping[str, List[str]]] = None

    # -- reading -----------------------------------------------------------------------------------------------------------------------

    def find(self, device: str) -> str:
        """The PCI address of an adapter named by address, network interface or InfiniBand device."""
        if _ADDRESS.match(device.lower()):
            address = device.lower()
            if not self.sysfs.exists("{0}/{1}".format(_DEVICES, address)):
                raise FleetError("There is no PCI device {0} on this host. See lspci -D for those there are.".format(device))
            return address
        for kind in ("net", "infiniband"):
            place = "sys/class/{0}/{1}".format(kind, device)
            if device not in ("", ".", "..") and "/" not in device and self.sysfs.exists(place):
                path = pci_path(self.sysfs.link(place)) or pci_path(os.path.realpath(self.sysfs.path(place + "/device")))
                if path:
                    return path[-1]
                raise FleetError("{0} is no PCI device, so it cannot have virtual functions. Name the adapter itself.".format(device))
        names = ", ".join(name for name in self.sysfs.entries("sys/class/net") if self.sysfs.exists("sys/class/net/{0}/device".format(name)))
        raise FleetError("There is no network interface or InfiniBand device {0} on this host, which has {1}. Correct the name, or give a PCI address.".format(
            device, names or "none"))

    def function(self, address: str) -> PhysicalFunction:
        """A physical function as it is; raises :class:`FleetError` for a virtual one."""
        place = "{0}/{1}".format(_DEVICES, address)
        if self.sysfs.exists(place + "/physfn"):
            above = os.path.basename(self.sysfs.link(place + "/physfn"))
            raise FleetError("{0} is itself a virtual function, of {1}. Name that one.".format(address, above))
        links = [name for name in self.sysfs.entries(place) if re.match(r"^virtfn[0-9]+$", name)]
        below = [os.path.basename(self.sysfs.link("{0}/{1}".format(place, name))) for name in sorted(links, key=lambda name: int(name[6:]))]
        return PhysicalFunction(
            address,
            tuple(self.sysfs.entries(place + "/net")),
            self._driver(address),
            max(0, self.sysfs.number(place + "/sriov_totalvfs", 0)),
            tuple(self._virtual(one) for one in below),
        )

    def _virtual(self, address: str) -> VirtualFunction:
        interfaces = tuple(self.sysfs.entries("{0}/{1}/net".format(_DEVICES, address)))
        driver = self._driver(address)
        return VirtualFunction(address, driver, interfaces, self._use(address, driver, interfaces))

    def _use(self, address: str, driver: str, interfaces: Sequence[str]) -> str:
        place = "{0}/{1}".format(_DEVICES, address)
        if driver in _HANDED_OUT:
            return "is handed to a guest or a program (driver {0})".format(driver)
        is_ethernet = (self.sysfs.read(place + "/class") or "").startswith(_ETHERNET)
        if driver and is_ethernet and not interfaces and not self.sysfs.entries(place + "/infiniband"):
            return "has its interface in another network namespace, such as a container's"
        for name in interfaces:
            above = [os.path.basename(self.sysfs.link("sys/class/net/{0}/{1}".format(name, entry)))
                     for entry in self.sysfs.entries("sys/class/net/" + name) if entry.startswith("upper_") or entry == "master"]
            if above:
                return "carries {0} (by {1})".format(", ".join(sorted(set(above))), name)
            if self.addresses().get(name):
                return "has the address {0} ({1})".format(", ".join(self.addresses()[name]), name)
        return ""

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

    def _driver(self, address: str) -> str:
        return os.path.basename(self.sysfs.link("{0}/{1}/driver".format(_DEVICES, address)))

    def found(self) -> Found:
        """What is remembered, and the rules of udev."""
        text = read_text(self.sysfs.path(RECORD))
        kept: Dict[str, Kept] = {}
        try:
            for address, entry in json.loads(text).items() if text is not None else ():
                kept[str(address)] = Kept(int(entry["before"]), int(entry["wanted"]), bool(entry["persistent"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise FleetError("/{0} is damaged; it holds the numbers from before the first change. Remove it to take those of now for these.".format(RECORD))
        return Found(kept, read_text(self.sysfs.path(RULES)))

    def wishes(self, entries: Sequence[Mapping[str, Any]]) -> List[Wish]:
        """What the entries of the option ``functions`` ask for; raises :class:`FleetError` for one that is named twice."""
        wishes = [
            Wish(self.function(self.find(entry["device"])), wanted_count(entry["vfs"], "functions: vfs of {0}".format(entry["device"]))) for entry in entries
        ]
        addresses = [wish.function.address for wish in wishes]
        for wish in wishes:
            if addresses.count(wish.function.address) > 1:
                raise FleetError("functions names {0} more than once. Say once how many virtual functions it is to have.".format(wish.function.label))
        return wishes

    def remembered(self, found: Found, entries: Optional[Sequence[Mapping[str, Any]]]) -> List[PhysicalFunction]:
        """The functions to give back: those of the entries, or all that are remembered. An adapter that was taken out has nothing to give back."""
        if entries is not None:
            addresses = sorted({self.find(entry["device"]) for entry in entries})
        else:
            addresses = sorted(address for address in found.kept if self.sysfs.exists("{0}/{1}".format(_DEVICES, address)))
        return [self.function(address) for address in addresses]

    # -- acting ------------------------------------------------------------------------------------------------------------------------

    def carry_out(self, change: Change) -> None:
        """Do it, all of it or none. What is remembered comes first and is trimmed last, so that a run cut short is completed by the next."""
        self._remember(change.kept)
        undo = Undo()
        with undo.on_failure(lambda: "All adapters have the virtual functions that they had before."):
            for step in change.steps:
                undo.later("the virtual functions of {0}".format(step.function.label), self._set, step._replace(before=step.after, after=step.before))
                self._set(step)
        if change.rules_after != change.rules_before:
            if change.rules_after is None:
                remove(self.sysfs.path(RULES))
            else:
                write_atomic(self.sysfs.path(RULES), change.rules_after)
            if self.commands:
                self.commands.run(["udevadm", "control", "--reload"])
        self._remember(change.kept_after)

    def _set(self, step: Step) -> None:
        place = "{0}/{1}/sriov_numvfs".format(_DEVICES, step.function.address)
        # The interface of a virtual function that is still being renamed would be taken away under udev's hands.
        self._settle()
        for number in (0, step.after) if self.sysfs.number(place, 0) else (step.after,):
            try:
                self.sysfs.write(place, str(number))
            except OSError as error:
                reason = _REASONS.get(error.errno or 0, error.strerror)
                raise FleetError("{0} did not take {1} virtual functions: {2}.".format(step.function.label, number, reason))
        deadline = time.monotonic() + self.wait
        while len(self.function(step.function.address).virtual) != step.after:
            if time.monotonic() > deadline:
                raise FleetError("{0} has {1} virtual functions after {2:g} s, but was asked for {3}. Look at the kernel's words: journalctl -k.".format(
                    step.function.label, len(self.function(step.function.address).virtual), self.wait, step.after))
            time.sleep(self.poll)
        self._settle()

    def _settle(self) -> None:
        if self.commands:
            self.commands.run(["udevadm", "settle", "--timeout={0:.0f}".format(self.wait)], timeout=self.wait + 10)

    def _remember(self, kept: Mapping[str, Kept]) -> None:
        if kept == self.found().kept:
            return
        place = self.sysfs.path(RECORD)
        if kept:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            write_atomic(place, json.dumps({address: entry._asdict() for address, entry in sorted(kept.items())}) + "\n", 0o600)
        else:
            remove(place)
