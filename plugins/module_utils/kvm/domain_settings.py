# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a caller wants of one domain, taken from the module's options; and what a domain has, in the same shape."""
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Sequence, Type

from ..host.errors import FleetError
from .domain_cpu import EmulatorPin, GuestTopology, IoThreadPins, IoThreads, VcpuPins, Vcpus
from .domain_devices import DEVICES, Device, Disk, Image, Interface, read_disks, read_hostdevs, read_interfaces
from .domain_memory import Cells, HugePages, Memory
from .domain_parts import Part, Setting
from .domain_xml import AGENT_CHANNEL, DomainDocument, device_names, split_name


class AgentChannel(Setting):
    """The channel through which the host talks to the QEMU guest agent."""

    name = "agent_channel"
    path = "devices/channel[{0}]".format(AGENT_CHANNEL)

    def __init__(self, there: bool) -> None:
        self.there = there

    @classmethod
    def from_option(cls, value: Any) -> "AgentChannel":
        return cls(bool(value))

    @classmethod
    def read(cls, document: DomainDocument) -> "AgentChannel":
        return cls(document.find(cls.path) is not None)

    def to_option(self) -> bool:
        return self.there

    def write(self, document: DomainDocument) -> None:
        if self.there:
            channel = document.add(document.make("devices"), "channel", {"type": "unix"})
            document.add(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})
        else:
            document.drop(self.path)

    def value(self) -> object:
        return self.there


_SETTINGS: Sequence[Type[Setting]] = (Vcpus, Memory, VcpuPins, EmulatorPin, IoThreads, IoThreadPins, GuestTopology, Cells, HugePages, AgentChannel)
#: The settings of a domain as a whole, by the name of the module's option.
SETTINGS: Dict[str, Type[Setting]] = {setting.name: setting for setting in _SETTINGS}


class Settings:
    """The wanted settings of one domain."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name = name
        self.parts = list(parts)

    @classmethod
    def from_option(cls, value: Mapping[str, Any]) -> "Settings":
        """From an entry of the option ``domains``; None is a setting that is left alone. Errors name the domain and the setting."""
        domain = str(value.get("name") or "")
        if not domain:
            raise FleetError("An entry of domains has no name. Give the name of the domain that its settings are for.")
        unknown = sorted(set(value) - set(SETTINGS) - set(DEVICES) - {"name"})
        if unknown:
            raise FleetError("Domain {0}: there is no setting {1}.".format(domain, ", ".join(unknown)))
        parts: List[Part] = []
        for option, given in value.items():
            if option == "name" or given is None:
                continue
            try:
                if option in SETTINGS:
                    parts.append(SETTINGS[option].from_option(given))
                else:
                    parts.extend(DEVICES[option].from_option(entry) for entry in given)
            except FleetError as error:
                raise FleetError("Domain {0}, {1}: {2}".format(domain, option, error.message), domain=domain, setting=option)
        titles = [part.title() for part in parts if isinstance(part, Device)]
        for title in titles:
            if titles.count(title) > 1:
                raise FleetError("Domain {0}: {1} is given more than once. Give it once, with all that is wanted of it.".format(domain, title))
        return cls(domain, parts)

    def apply(self, document: DomainDocument) -> List[str]:
        """Make the document as wanted; returns the names of the settings that were not."""
        changed: List[str] = []
        for part in self.parts:
            try:
                changed.extend(part.apply(document))
            except FleetError as error:
                raise FleetError("Domain {0}: {1}".format(self.name, error.message), domain=self.name)
        return changed

    def owned(self, documents: Sequence[DomainDocument]) -> List[str]:
        """The names of all settings that something is wanted of; devices are looked for in the documents in turn."""
        return [name for part in self.parts for name in part.owned(documents)]

    def images_to_check(self, document: DomainDocument) -> List[Image]:
        """The disk images whose format matters to the change, to be looked at before it is decided."""
        images = [part.image_to_check(document) for part in self.parts if isinstance(part, Disk)]
        return [image for image in images if image is not None]

    def pins_vcpus(self) -> bool:
        """Whether the vCPUs are given host CPUs."""
        return any(isinstance(part, VcpuPins) and part.pins for part in self.parts)

    def warnings(self, document: DomainDocument) -> List[str]:
        """What is accepted but will not do what it says in that domain."""
        vcpus = Vcpus.read(document).count
        return ["Domain {0}: {1}".format(self.name, line) for part in self.parts if isinstance(part, Interface) for line in part.warnings(vcpus)]


def read_settings(document: DomainDocument) -> Dict[str, Any]:
    """All settings of a domain, in the shape of the module's option; None where the option cannot express what is there."""
    found: Dict[str, Any] = {"name": document.name}
    for name, setting in SETTINGS.items():
        found[name] = setting.read(document).to_option()
    found["disks"] = read_disks(document)
    found["interfaces"] = read_interfaces(document)
    found["hostdevs"] = read_hostdevs(document)
    return found


class View:
    """The values of a document's settings, comparable between the configuration of a domain and the XML of the running guest.

    ``everywhere`` are the CPUs that the guest's threads run on without a pin.
    """

    def __init__(self, document: DomainDocument, everywhere: FrozenSet[int]) -> None:
        self._document = document
        self._everywhere = everywhere
        self.devices: Dict[str, Dict[str, Dict[str, Any]]] = {
            "disks": {entry["target"]: entry for entry in read_disks(document)},
            "interfaces": {entry["mac"]: entry for entry in read_interfaces(document)},
            "hostdevs": {entry["pci"]: entry for entry in read_hostdevs(document)},
        }

    def value(self, name: str) -> object:
        """The value of a setting; that of a whole device is whether it is there."""
        option, key, part = split_name(name)
        if key is None:
            return SETTINGS[name].read(self._document).in_force(self._everywhere).value()
        entry = self.devices[option].get(key)
        if not part or entry is None:
            return entry is not None
        if part == "source":
            return [entry.get(field) for field in ("type", "source", "network", "bridge", "dev", "mode")]
        value: Any = entry
        for field in part.split("."):
            value = (value or {}).get(field)
        return value

    def names(self) -> List[str]:
        """The names of all settings that the document has."""
        return list(SETTINGS) + [name for option, devices in self.devices.items() for key in devices for name in device_names(option, key)]


def not_in_force(names: Iterable[str], active: View, configured: View) -> List[str]:
    """Those of the settings whose value in the running guest is not the configured one; a device that is missing stands for all of it."""
    found: List[str] = []
    for name in dict.fromkeys(names):
        option, key, part = split_name(name)
        missing = bool(part) and "{0}[{1}]".format(option, key) in found
        if not missing and active.value(name) != configured.value(name):
            found.append(name)
    return found
