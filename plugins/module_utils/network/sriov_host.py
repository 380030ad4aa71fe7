# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The virtual functions of this host: finding adapters, seeing what uses them, changing their number. See :mod:`.sriov`."""
import errno
import os
import re
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..host import records
from ..host.commands import Commands
from ..host.errors import FleetError
from ..host.files import read_text, remove, write_atomic
from ..host.sysfs import Sysfs
from ..host.undo import Undo
from .interfaces import DEVICES, HANDED_OUT, Interfaces
from .sriov import RULES, Change, Found, Kept, PhysicalFunction, Step, VirtualFunction, Wish, wanted_count

RECORD = "sriov_vfs"
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
        self.interfaces = Interfaces(sysfs, commands)

    # -- reading -----------------------------------------------------------------------------------------------------------------------

    def function(self, address: str) -> PhysicalFunction:
        """A physical function as it is; raises :class:`FleetError` for a virtual one."""
        place = "{0}/{1}".format(DEVICES, address)
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
        interfaces = tuple(self.sysfs.entries("{0}/{1}/net".format(DEVICES, address)))
        driver = self._driver(address)
        return VirtualFunction(address, driver, interfaces, self._use(address, driver, interfaces))

    def _use(self, address: str, driver: str, interfaces: Sequence[str]) -> str:
        place = "{0}/{1}".format(DEVICES, address)
        if driver in HANDED_OUT:
            return "is handed to a guest or a program (driver {0})".format(driver)
        is_ethernet = (self.sysfs.read(place + "/class") or "").startswith(_ETHERNET)
        if driver and is_ethernet and not interfaces and not self.sysfs.entries(place + "/infiniband"):
            return "has its interface in another network namespace, such as a container's"
        return next(filter(None, map(self.interfaces.use, interfaces)), "")

    def _driver(self, address: str) -> str:
        return os.path.basename(self.sysfs.link("{0}/{1}/driver".format(DEVICES, address)))

    def found(self) -> Found:
        """What is remembered, and the rules of udev."""
        kept: Dict[str, Kept] = {}
        try:
            for address, entry in records.read(RECORD, self.sysfs.root).items():
                kept[address] = Kept(int(entry["before"]), int(entry["wanted"]), bool(entry["persistent"]))
        except (ValueError, KeyError, TypeError):
            raise records.damaged(RECORD)
        return Found(kept, read_text(self.sysfs.path(RULES)))

    def wishes(self, entries: Sequence[Mapping[str, Any]]) -> List[Wish]:
        """What the entries of the option ``functions`` ask for; raises :class:`FleetError` for one that is named twice."""
        wishes = []
        for entry in entries:
            count = wanted_count(entry["vfs"], "functions: vfs of {0}".format(entry["device"]))
            wishes.append(Wish(self.function(self.interfaces.adapter(entry["device"])), count))
        addresses = [wish.function.address for wish in wishes]
        for wish in wishes:
            if addresses.count(wish.function.address) > 1:
                raise FleetError("functions names {0} more than once. Say once how many virtual functions it is to have.".format(wish.function.label))
        return wishes

    def remembered(self, found: Found, entries: Optional[Sequence[Mapping[str, Any]]]) -> List[PhysicalFunction]:
        """The functions to give back: those of the entries, or all that are remembered. An adapter that was taken out has nothing to give back."""
        if entries is not None:
            addresses = sorted({self.interfaces.adapter(entry["device"]) for entry in entries})
        else:
            addresses = sorted(address for address in found.kept if self.sysfs.exists("{0}/{1}".format(DEVICES, address)))
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
        place = "{0}/{1}/sriov_numvfs".format(DEVICES, step.function.address)
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
        records.write(RECORD, {address: entry._asdict() for address, entry in kept.items()}, self.sysfs.root)
