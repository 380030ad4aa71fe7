# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SR-IOV: how many virtual functions a network adapter has, how it comes to have another number, and when that must not be.

Section 11.6 of the Best Practices for DGX. The rules are the kernel's (drivers/pci/iov.c, Documentation/PCI/pci-iov-howto.rst): the number can only
be changed through 0, so any change takes away all virtual functions there are, those in use included.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import Diff

#: Where udev is told the numbers, below the root. Once the driver is bound: before, there is nobody to make them.
RULES = "etc/udev/rules.d/80-dgxops-sriov.rules"
_HEADER = "# Written by dgxops.fleet.sriov_vfs: how many virtual functions these adapters have. Changes made here are lost.\n"
_RULE = 'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="{0}", DRIVER=="?*", ATTR{{sriov_numvfs}}="{1}"\n'


class VirtualFunction(NamedTuple):
    """A virtual function; ``use`` says who has it ("" if nobody), as the end of a sentence that begins with its address."""

    address: str
    driver: str
    interfaces: Tuple[str, ...]
    use: str


class PhysicalFunction(NamedTuple):
    """A PCI function that can have virtual ones. ``total`` is the most it can have; 0 where it, its firmware or the BIOS offers none."""

    address: str
    interfaces: Tuple[str, ...]
    driver: str
    total: int
    virtual: Tuple[VirtualFunction, ...]

    @property
    def label(self) -> str:
        """Its address, and what people call it."""
        return "{0} ({1})".format(self.address, ", ".join(self.interfaces)) if self.interfaces else self.address


class Kept(NamedTuple):
    """What is remembered of a physical function: the number before the first change, the number wanted, and whether it lasts."""

    before: int
    wanted: int
    persistent: bool


class Wish(NamedTuple):
    """So many virtual functions for this physical one; None are as many as it can have."""

    function: PhysicalFunction
    number: Optional[int]


class Found(NamedTuple):
    """What is remembered, by address, and the rules of udev (None: no file)."""

    kept: Mapping[str, Kept]
    rules: Optional[str]


class Step(NamedTuple):
    """The number of virtual functions of one physical function from one to another."""

    function: PhysicalFunction
    before: int
    after: int


class Change(NamedTuple):
    """What is to be done. ``kept`` is what to remember before, ``kept_after`` what is left to remember when all is done."""

    steps: Tuple[Step, ...]
    kept: Mapping[str, Kept]
    kept_after: Mapping[str, Kept]
    rules_before: Optional[str]
    rules_after: Optional[str]

    def __bool__(self) -> bool:
        return bool(self.steps) or self.rules_before != self.rules_after

    @property
    def diffs(self) -> List[Diff]:
        """What ``--diff`` shows: the numbers, and the rules of udev."""
        found = []
        if self.steps:
            before, after = ("".join("{0}: {1}\n".format(step.function.label, number) for step, number in numbers) for numbers in (
                [(step, step.before) for step in self.steps], [(step, step.after) for step in self.steps]))
            found.append(Diff(before, after, "virtual functions"))
        if self.rules_before != self.rules_after:
            found.append(Diff(self.rules_before or "", self.rules_after or "", "/" + RULES))
        return found


def wanted_count(value: Any, place: str) -> Optional[int]:
    """A number of virtual functions, or None for ``all``."""
    if isinstance(value, str) and value.strip() == "all":
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not re.match(r"^[0-9]{1,9}$", text):
        raise FleetError("{0} is {1!r}, but a number of virtual functions, or all, is expected.".format(place, value))
    return int(text)


def make(wishes: Sequence[Wish], found: Found, persistent: bool) -> Change:
    """The way to the wanted numbers. Raises :class:`FleetError` for what a function cannot have, or where one that is in use would go."""
    kept = dict(found.kept)
    steps = []
    for wish in wishes:
        function, now = wish.function, len(wish.function.virtual)
        count = _possible(function, wish.number)
        before = kept[function.address].before if function.address in kept else now
        kept[function.address] = Kept(before, count, persistent)
        if count != now:
            steps.append(Step(function, now, count))
    _refuse_in_use(steps)
    return Change(tuple(steps), kept, kept, found.rules, rules(kept))


def give_back(functions: Sequence[PhysicalFunction], found: Found, everything: bool) -> Change:
    """The way back to the numbers from before the first change. What these functions were given is forgotten; ``everything`` if these are all there are."""
    back = {function.address: found.kept[function.address].before for function in functions if function.address in found.kept}
    steps = [
        Step(function, len(function.virtual), min(back[function.address], function.total))
        for function in functions
        if function.address in back and len(function.virtual) != min(back[function.address], function.total)
    ]
    _refuse_in_use(steps)
    left = {} if everything else {address: kept for address, kept in found.kept.items() if address not in back}
    return Change(tuple(steps), found.kept, left, found.rules, rules(left))


def rules(kept: Mapping[str, Kept]) -> Optional[str]:
    """The rules of udev for what is to last; None where nothing is."""
    lines = [_RULE.format(address, entry.wanted) for address, entry in sorted(kept.items()) if entry.persistent and entry.wanted]
    return _HEADER + "".join(lines) if lines else None


def _possible(function: PhysicalFunction, count: Optional[int]) -> int:
    if not function.total and count != 0:
        raise FleetError(
            "{0} offers no virtual functions: its sriov_totalvfs is 0 or missing. Turn SR-IOV on in the BIOS, and on an NVIDIA or Mellanox adapter in its "
            "firmware too (mlxconfig -d {1} set SRIOV_EN=1 NUM_OF_VFS={2}), and reboot.".format(function.label, function.address, count or 16)
        )
    if count is not None and count > function.total:
        raise FleetError(
            "{0} can have {1} virtual functions, but {2} are asked for. Ask for at most {1}{3}.".format(
                function.label, function.total, count, ", or raise NUM_OF_VFS in its firmware by mlxconfig" if function.driver.startswith("mlx") else ""
            )
        )
    if function.driver == "" and count != 0:
        raise FleetError(
            "{0} has no driver, and only a driver can make virtual functions. Load it, or take the adapter back from a guest.".format(function.label)
        )
    return function.total if count is None else count


def _refuse_in_use(steps: Sequence[Step]) -> None:
    used = ["{0} {1}".format(virtual.address, virtual.use) for step in steps for virtual in step.function.virtual if virtual.use]
    if used:
        labels = ", ".join(step.function.label for step in steps if any(virtual.use for virtual in step.function.virtual))
        raise FleetError(
            "The number of virtual functions of {0} cannot be changed while one is in use, for the kernel takes all of them away first: {1}. Shut down the "
            "guest or container, or take the interface out of use, and run this again. Nothing was changed.".format(labels, "; ".join(used)),
            in_use=[virtual.address for step in steps for virtual in step.function.virtual if virtual.use],
        )


def show(function: PhysicalFunction, before: int) -> Dict[str, Any]:
    """A physical function as JSON types."""
    return {
        "pci": function.address,
        "interfaces": list(function.interfaces),
        "driver": function.driver,
        "total": function.total,
        "before": before,
        "vfs": len(function.virtual),
        "virtual_functions": [
            {"pci": virtual.address, "driver": virtual.driver, "interfaces": list(virtual.interfaces), "in_use": bool(virtual.use)}
            for virtual in function.virtual
        ],
    }
