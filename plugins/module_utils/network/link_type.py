# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""InfiniBand or Ethernet: what the ports of a VPI adapter are, and are to be. Section 8.2 of the Best Practices for DGX.

The adapter's firmware keeps the parameters LINK_TYPE_P1 and LINK_TYPE_P2 and obeys them from its next reset on, so that what is configured and what is in
force can differ. mlxconfig of NVIDIA's firmware tools and mstconfig of mstflint read and write them alike.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import Diff

#: The numbers that mlxconfig takes (NVIDIA firmware tools, mlxconfig, *VPI settings*). VPI senses what is at the other end (ConnectX-4 and older).
NUMBERS: Mapping[str, int] = {"ib": 1, "eth": 2, "vpi": 3}
_NAMES = {number: name for name, number in NUMBERS.items()}
#: Parameter and what stands in its last column, which is the next boot's with -e and without: ``LINK_TYPE_P1  IB(1)  IB(1)  ETH(2)``.
_PARAMETER = re.compile(r"^\*?\s*LINK_TYPE_P([12])\s+(?:\S+\s+)*?\w+\((\d+)\)\s*$", re.MULTILINE)
#: As sysfs calls them (Documentation/ABI/stable/sysfs-class-infiniband, link_layer).
_LAYERS = {"InfiniBand": "ib", "Ethernet": "eth"}


class Port(NamedTuple):
    """A port of an adapter. ``configured`` is what it is from the next reset on, ``in_force`` what it is now ("" if that cannot be seen).

    ``use`` says who has it ("" if nobody), as the end of a sentence that begins with its name.
    """

    address: str
    number: int
    name: str
    configured: str
    in_force: str
    use: str

    @property
    def label(self) -> str:
        return "{0} ({1})".format(self.name, self.address) if self.name != self.address else self.address


class Wish(NamedTuple):
    """A port and what it is to be."""

    port: Port
    link_type: str


class Step(NamedTuple):
    """A parameter from one value to another."""

    port: Port
    before: str
    after: str


class Change(NamedTuple):
    """What is to be done. ``kept`` is what to remember before (what the ports were first), ``kept_after`` what is left to remember afterwards."""

    steps: Tuple[Step, ...]
    kept: Mapping[str, str]
    kept_after: Mapping[str, str]
    reboot_required: bool

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def diffs(self) -> List[Diff]:
        """What ``--diff`` shows."""
        before = "".join("{0}: {1}\n".format(step.port.label, step.before) for step in self.steps)
        after = "".join("{0}: {1}\n".format(step.port.label, step.after) for step in self.steps)
        return [Diff(before, after, "link types from the next boot on")] if self.steps else []


def parse(text: str) -> Dict[int, str]:
    """The link type of each port from the next boot on, from the answer of ``mlxconfig q``; empty for an adapter that is one or the other for good."""
    return {int(port): _NAMES.get(int(number[:9]), "type {0}".format(number)) for port, number in _PARAMETER.findall(text)}


def layer(text: Optional[str]) -> str:
    """A link type from sysfs' ``link_layer``; "" if it tells none."""
    return _LAYERS.get(text or "", "")


def key(port: Port) -> str:
    """Under which a port is remembered: by address, since names change with the link type."""
    return "{0} P{1}".format(port.address, port.number)


def make(wishes: Sequence[Wish], kept: Mapping[str, str], disconnect: bool) -> Change:
    """The way to the wanted link types. Raises :class:`FleetError` for a port that somebody uses, unless ``disconnect`` consents."""
    steps = tuple(Step(wish.port, wish.port.configured, wish.link_type) for wish in wishes if wish.port.configured != wish.link_type)
    _refuse_in_use(steps, disconnect)
    remembered = {key(step.port): step.before for step in steps}
    remembered.update(kept)
    return Change(steps, remembered, remembered, any(pending(wish.port, wish.link_type) for wish in wishes))


def give_back(ports: Sequence[Port], kept: Mapping[str, str], disconnect: bool) -> Change:
    """The way back to what the ports were before the first change."""
    wishes = [Wish(port, kept[key(port)]) for port in ports if key(port) in kept]
    steps = tuple(Step(wish.port, wish.port.configured, wish.link_type) for wish in wishes if wish.port.configured != wish.link_type)
    _refuse_in_use(steps, disconnect)
    left = {name: was for name, was in kept.items() if name not in {key(port) for port in ports}}
    return Change(steps, kept, left, any(pending(wish.port, wish.link_type) for wish in wishes))


def pending(port: Port, link_type: str) -> bool:
    """Whether a port becomes this only by a reboot."""
    return link_type != "vpi" and port.in_force not in ("", link_type)


def _refuse_in_use(steps: Sequence[Step], disconnect: bool) -> None:
    # A port that only goes back to what it still is loses nothing.
    used = ["{0} {1}".format(step.port.label, step.port.use) for step in steps if step.port.use and pending(step.port, step.after)]
    if used and not disconnect:
        raise FleetError(
            "From the next boot on, interfaces that are in use would be gone: {0}. Take them out of use first, or consent with disconnect: true if the host "
            "is reached in another way. Nothing was changed.".format("; ".join(used))
        )


def show(port: Port) -> Dict[str, Any]:
    """A port as JSON types."""
    return {"device": port.name, "pci": port.address, "port": port.number, "configured": port.configured, "in_force": port.in_force}
