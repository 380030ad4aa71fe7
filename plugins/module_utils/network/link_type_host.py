# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The link types of this host's adapters, read and written by mlxconfig or mstconfig. See :mod:`.link_type`."""
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..host import records
from ..host.commands import Commands, program_path
from ..host.errors import FleetError
from ..host.sysfs import Sysfs
from ..host.undo import Undo
from .interfaces import DEVICES, Interfaces
from .link_type import NUMBERS, Change, Port, Step, Wish, key, layer, parse

RECORD = "ib_link_type"
#: The firmware takes some seconds to answer, and longer to write its flash.
_PATIENCE = 120.0
_MELLANOX = "0x15b3"


class Host:
    """The adapters of a host; ``tool`` is mlxconfig or what answers like it, "" to look for it."""

    def __init__(self, sysfs: Sysfs, commands: Commands, tool: str = "") -> None:
        self.sysfs = sysfs
        self.commands = commands
        self.tool = tool
        self.interfaces = Interfaces(sysfs, commands)
        self._answers: Dict[str, Mapping[int, str]] = {}

    def wishes(self, entries: Sequence[Mapping[str, Any]]) -> List[Wish]:
        """What the entries of the option ``ports`` ask for; raises :class:`FleetError` for a port that is named twice."""
        for entry in entries:
            if entry["link_type"] is None:
                raise FleetError("ports: link_type of {0} is missing. Say ib, eth or vpi.".format(entry["device"]))
        wishes = [Wish(self.port(entry["device"], entry["port"]), entry["link_type"]) for entry in entries]
        keys = [key(wish.port) for wish in wishes]
        for wish in wishes:
            if keys.count(key(wish.port)) > 1:
                raise FleetError("ports names port {0} of {1} more than once. Say once what it is to be.".format(wish.port.number, wish.port.label))
        return wishes

    def port(self, device: str, number: Optional[int] = None) -> Port:
        """A port as it is. Without a number it is that of the PCI function: function 1 of a card with two ports is port 2."""
        address = self.interfaces.adapter(device)
        configured = self._configured(address)
        wanted = number if number is not None else min(int(address[-1]) + 1, max(configured))
        if wanted not in configured:
            raise FleetError("{0} has no port {1}; it has {2}.".format(device, wanted, ", ".join(map(str, sorted(configured)))))
        if configured[wanted] not in NUMBERS:
            raise FleetError("Port {0} of {1} is of {2}, which is not known here. Use {3} itself.".format(wanted, device, configured[wanted], self._program()))
        # Each port is a PCI function of its own; port 2 of a card is seen through function 1.
        own = address[:-1] + str(wanted - 1)
        seen = own if self.sysfs.exists("{0}/{1}".format(DEVICES, own)) else address
        names = self.sysfs.entries("{0}/{1}/infiniband".format(DEVICES, seen))
        layers = [self.sysfs.read("{0}/{1}/infiniband/{2}/ports/1/link_layer".format(DEVICES, seen, name)) for name in names]
        uses = [self.interfaces.use(name) for name in self.sysfs.entries("{0}/{1}/net".format(DEVICES, seen))]
        return Port(
            address[:-1] + "0",
            wanted,
            (names or self.sysfs.entries("{0}/{1}/net".format(DEVICES, seen)) or [seen])[0],
            configured[wanted],
            layer(layers[0]) if layers else "",
            next(filter(None, uses), ""),
        )

    def ports(self, keys: Sequence[str]) -> List[Port]:
        """The ports that are remembered and still there."""
        places = [(name.split(" P")[0], int(name.split(" P")[1])) for name in sorted(keys)]
        return [self.port(address, number) for address, number in places if self.sysfs.exists("{0}/{1}".format(DEVICES, address))]

    def kept(self) -> Dict[str, str]:
        """What the ports were before the first change."""
        found = records.read(RECORD, self.sysfs.root)
        if any(str(was) not in NUMBERS or name[-3:] not in (" P1", " P2") for name, was in found.items()):
            raise records.damaged(RECORD)
        return found

    def carry_out(self, change: Change) -> None:
        """Do it, all of it or none."""
        records.write(RECORD, change.kept, self.sysfs.root)
        undo = Undo()
        with undo.on_failure(lambda: "All ports are configured as they were before."):
            for step in change.steps:
                self._set(step)
                undo.later("the link type of {0}".format(step.port.label), self._set, step._replace(before=step.after, after=step.before))
        records.write(RECORD, change.kept_after, self.sysfs.root)

    def _configured(self, address: str) -> Mapping[int, str]:
        if address not in self._answers:
            vendor = self.sysfs.read("{0}/{1}/vendor".format(DEVICES, address))
            if vendor != _MELLANOX:
                raise FleetError("{0} is no adapter of NVIDIA Networking (Mellanox), but of vendor {1}. Its ports cannot be switched.".format(address, vendor))
            result = self.commands.run([self._program(), "-d", address, "q"], timeout=_PATIENCE)
            found = parse(result.out)
            if result.rc != 0:
                said = "; ".join(line.strip() for line in (result.err + result.out).splitlines() if "-E-" in line) or (result.err or result.out).strip()
                raise FleetError("{0} could not read the firmware of {1}: {2}".format(self._program(), address, said or "it said nothing"))
            if not found:
                raise FleetError("{0} has no setting LINK_TYPE: it is not a VPI adapter, and its ports are InfiniBand or Ethernet for good.".format(address))
            self._answers[address] = found
        return self._answers[address]

    def _program(self) -> str:
        for name in [self.tool] if self.tool else ["mlxconfig", "mstconfig"]:
            if program_path(name):
                return name
        raise FleetError(
            "{0} is not installed. Install NVIDIA's firmware tools (MFT, part of MLNX_OFED) or the package mstflint, which has mstconfig.".format(
                self.tool or "Neither mlxconfig nor mstconfig"
            )
        )

    def _set(self, step: Step) -> None:
        words = [self._program(), "-y", "-d", step.port.address, "set", "LINK_TYPE_P{0}={1}".format(step.port.number, NUMBERS[step.after])]
        self.commands.output(words, timeout=_PATIENCE)
        self._answers.clear()
        got = self._configured(step.port.address).get(step.port.number)
        if got != step.after:
            raise FleetError("{0} was asked to be {1} from the next boot on, but says {2}.".format(step.port.label, step.after, got))
