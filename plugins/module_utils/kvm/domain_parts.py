# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a part of a domain is: it reads itself from a document, compares itself, and writes itself.

A part never touches what it does not own, and writing a part that is as wanted already changes nothing.
"""
import abc
from typing import Any, FrozenSet, List, Optional, Sequence, Type, TypeVar

from ..host import cpuset
from ..host.errors import FleetError
from .domain_xml import DomainDocument, number


class Part(abc.ABC):
    """Something of a domain that a caller may own."""

    @abc.abstractmethod
    def apply(self, document: DomainDocument) -> List[str]:
        """Make the document as wanted; returns the names of the settings that were not, so none means that nothing was touched."""

    @abc.abstractmethod
    def owned(self, documents: Sequence[DomainDocument]) -> List[str]:
        """The names of all settings that the caller wants something of; a device is looked for in the documents in turn."""


Self = TypeVar("Self", bound="Setting")


class Setting(Part):
    """A part that has one name and is read and written as a whole."""

    name = ""

    @classmethod
    @abc.abstractmethod
    def from_option(cls: Type[Self], value: Any) -> Self:
        """From the module's option. Raises :class:`FleetError` that says what is wrong with the value."""

    @classmethod
    @abc.abstractmethod
    def read(cls: Type[Self], document: DomainDocument) -> Self:
        """What the document says."""

    @abc.abstractmethod
    def to_option(self) -> Any:
        """The value as the module's option takes it; None if the option cannot express it."""

    @abc.abstractmethod
    def write(self, document: DomainDocument) -> None:
        """Put the setting into the document."""

    @abc.abstractmethod
    def value(self) -> object:
        """What two settings are compared by."""

    def apply(self, document: DomainDocument) -> List[str]:
        if self == type(self).read(document):
            return []
        self.write(document)
        return [self.name]

    def owned(self, documents: Sequence[DomainDocument]) -> List[str]:
        return [self.name]

    def in_force(self: Self, everywhere: FrozenSet[int]) -> Self:
        """The setting as a running guest has it; ``everywhere`` are the CPUs that its threads run on without a pin."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.value() == other.value()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return "{0}({1!r})".format(type(self).__name__, self.value())


def whole(value: Any, what: str, least: int = 0, most: Optional[int] = None) -> int:
    """An integer option, also from text, within its limits."""
    try:
        if isinstance(value, (bool, float)):
            raise ValueError
        found = int(value)
    except (TypeError, ValueError):
        raise FleetError("{0} is {1!r}, which is not a whole number.".format(what, value))
    if found < least or (most is not None and found > most):
        limits = "at least {0}".format(least) if most is None else "from {0} to {1}".format(least, most)
        raise FleetError("{0} is {1}. It must be {2}.".format(what, found, limits))
    return found


def cpus_of(text: Optional[str]) -> FrozenSet[int]:
    """A CPU or node list found in a document; one that cannot be read equals no wanted one and is replaced."""
    try:
        return cpuset.parse(text or "")
    except FleetError:
        return frozenset()


def count_of(text: Optional[str]) -> int:
    """A count found in a document; 0 if there is none."""
    return max(number(text or "") or 0, 0)
