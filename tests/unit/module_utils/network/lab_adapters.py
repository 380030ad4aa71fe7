# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SR-IOV adapters below a directory, with a kernel that makes and takes away virtual functions as drivers/pci/iov.c does."""
import errno
import os

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs

DEVICES = "sys/bus/pci/devices"
PORT = "0000:85:00.0"


class LabAdapters(Sysfs):
    """Two ports of a card (``enp134s0f0`` and ``enp134s0f1``, 63 virtual functions each), and a card without SR-IOV (``eno1``)."""

    def __init__(self, root):
        super().__init__(str(root))
        self.writes = []
        #: What the kernel says to a number that is not 0, by address.
        self.refuses = {}
        for at, name in enumerate(("enp134s0f0", "enp134s0f1")):
            self.card("0000:86:00.{0}".format(at), name, "mlx5_core", 63)
        self.card("0000:01:00.0", "eno1", "igb", None)

    def card(self, address, interface, driver, total):
        place = self._device(address, interface, driver)
        if total is not None:
            self.put(place + "/sriov_totalvfs", str(total))
            self.put(place + "/sriov_numvfs", "0")

    def _device(self, address, interface, driver):
        inner = "sys/devices/pci0000:85/{0}/{1}".format(PORT, address)
        os.makedirs(self.path(inner))
        os.makedirs(self.path(DEVICES), exist_ok=True)
        os.symlink("../../../devices/pci0000:85/{0}/{1}".format(PORT, address), self.path("{0}/{1}".format(DEVICES, address)))
        self.put(inner + "/class", "0x020000")
        if driver:
            self.drive(address, driver)
        if interface:
            os.makedirs(self.path("{0}/net/{1}".format(inner, interface)))
            os.makedirs(self.path("sys/class/net"), exist_ok=True)
            os.symlink("../../devices/pci0000:85/{0}/{1}/net/{2}".format(PORT, address, interface), self.path("sys/class/net/" + interface))
            os.symlink("../..", self.path("{0}/net/{1}/device".format(inner, interface)))
        return inner

    def put(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as handle:
            handle.write(text + "\n")

    def drive(self, address, driver):
        """Bind a driver, in place of the one it has."""
        link = self.path("{0}/{1}/driver".format(DEVICES, address))
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink("../../../../bus/pci/drivers/" + driver, link)

    def link_to(self, interface, name, target):
        os.symlink("../" + target, self.path("sys/class/net/{0}/{1}".format(interface, name)))

    def numbers(self):
        return {address: self.number("{0}/{1}/sriov_numvfs".format(DEVICES, address), -1) for address in ("0000:86:00.0", "0000:86:00.1")}

    def write(self, name, text):
        address = name.split("/")[-2]
        now, wanted = self.number(name, 0), int(text)
        self.writes.append((address, wanted))
        if wanted and now:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if wanted and address in self.refuses:
            raise OSError(self.refuses[address], os.strerror(self.refuses[address]))
        place = "{0}/{1}".format(DEVICES, address)
        function = int(address[-1])
        for at in range(now):
            self._forget(_virtual(function, at), "{0}v{1}".format(self.entries(place + "/net")[0], at))
            os.unlink(self.path("{0}/virtfn{1}".format(place, at)))
        for at in range(wanted):
            virtual = _virtual(function, at)
            inner = self._device(virtual, "{0}v{1}".format(self.entries(place + "/net")[0], at), "mlx5_core")
            os.symlink("../" + address, self.path(inner + "/physfn"))
            os.symlink("../" + virtual, self.path("{0}/virtfn{1}".format(place, at)))
        self.put(name, text)

    def _forget(self, address, interface):
        if os.path.lexists(self.path("sys/class/net/" + interface)):
            os.unlink(self.path("sys/class/net/" + interface))
        os.unlink(self.path("{0}/{1}".format(DEVICES, address)))
        inner = self.path("sys/devices/pci0000:85/{0}/{1}".format(PORT, address))
        for above, directories, files in os.walk(inner, topdown=False):
            for entry in files + [one for one in directories if os.path.islink(os.path.join(above, one))]:
                os.unlink(os.path.join(above, entry))
            for entry in directories:
                if os.path.isdir(os.path.join(above, entry)):
                    os.rmdir(os.path.join(above, entry))
        os.rmdir(inner)


def _virtual(function, at):
    """The address of a virtual function: each port has a bus of its own here, so that 63 of them do not meet."""
    return "0000:{0:02x}:{1:02x}.{2}".format(0x86 + function, 2 + at, at % 8)


class Answers(Recorded):
    """udevadm says yes, and ``ip`` knows these addresses."""

    def __init__(self, addresses=""):
        super().__init__({("ip", "-oneline", "address", "show"): Result(0, addresses, "")})

    def run(self, argv, timeout=None, text_in=None):
        if argv[0] == "udevadm":
            self.asked.append(tuple(argv))
            return Result(0, "", "")
        return super().run(argv, timeout, text_in)
