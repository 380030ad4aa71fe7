# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can be changed in a running guest: pins, bandwidth limits, and devices that come or go. Each step knows how it is undone."""
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple, Type, Union

from ..host import cpuset
from .domain_cpu import EmulatorPin, IoThreadPins, IoThreads, Pins, VcpuPins, Vcpus
from .domain_devices import DEVICES, Limit
from .domain_parts import cpus_of
from .domain_xml import DomainDocument, split_name
from .xml_tree import attribute, child, serialize, set_attribute


class PinThread(NamedTuple):
    """Put a thread of the guest on host CPUs. ``thread`` is the setting's name: vcpupin, iothreadpin or emulatorpin (``number`` is then 0)."""

    setting: str
    number: int
    cpus: FrozenSet[int]
    before: FrozenSet[int]

    def undo(self) -> "PinThread":
        return self._replace(cpus=self.before, before=self.cpus)


class LimitInterface(NamedTuple):
    """Set the bandwidth limit of an interface in one direction; a limit without an average is none."""

    setting: str
    mac: str
    direction: str
    limit: Limit
    before: Limit

    def undo(self) -> "LimitInterface":
        return self._replace(limit=self.before, before=self.limit)


class AttachDevice(NamedTuple):
    """Plug a device in."""

    setting: str
    xml: str

    def undo(self) -> "DetachDevice":
        return DetachDevice(self.setting, self.xml)


class DetachDevice(NamedTuple):
    """Ask the guest to let a device go."""

    setting: str
    xml: str

    def undo(self) -> "AttachDevice":
        return AttachDevice(self.setting, self.xml)


LiveStep = Union[PinThread, LimitInterface, AttachDevice, DetachDevice]


def live_steps(names: Iterable[str], active: DomainDocument, wanted: DomainDocument, everywhere: FrozenSet[int]) -> List[LiveStep]:
    """The steps that bring the named settings of a running guest to what is wanted, as far as that goes without a restart.

    ``everywhere`` are the CPUs that a thread without a pin runs on.
    """
    steps: List[LiveStep] = []
    for name in names:
        option, key, part = split_name(name)
        if option in _THREADS:
            steps.extend(_pin_steps(option, active, wanted, everywhere))
        elif option == "emulatorpin":
            found, cpus = EmulatorPin.read(active).cpus or everywhere, EmulatorPin.read(wanted).cpus or everywhere
            if found != cpus:
                steps.append(PinThread(name, 0, cpus, found))
        elif key is not None and not part:
            steps.extend(_device_steps(name, option, key, active, wanted))
        elif key is not None and part.startswith("bandwidth."):
            steps.extend(_limit_steps(name, key, part.partition(".")[2], active, wanted))
    return steps


def _vcpus_of(document: DomainDocument) -> FrozenSet[int]:
    return frozenset(range(Vcpus.read(document).online))


def _iothreads_of(document: DomainDocument) -> FrozenSet[int]:
    return IoThreads.read(document).ids


_PINS: Dict[str, Type[Pins]] = {"vcpupin": VcpuPins, "iothreadpin": IoThreadPins}
_THREADS = {"vcpupin": _vcpus_of, "iothreadpin": _iothreads_of}


def _pin_steps(name: str, active: DomainDocument, wanted: DomainDocument, everywhere: FrozenSet[int]) -> List[LiveStep]:
    found, pins = _PINS[name].read(active).pins, _PINS[name].read(wanted).pins
    there = _THREADS[name](active)
    moves = [(thread, pins.get(thread, everywhere), found.get(thread, everywhere)) for thread in sorted(there)]
    return [PinThread(name, thread, cpus, before) for thread, cpus, before in moves if cpus != before]


def settles(name: str, active: DomainDocument, wanted: DomainDocument) -> bool:
    """Whether the steps for a setting bring all of it in force: not if it pins a thread that the running guest does not have yet."""
    return name not in _PINS or set(_PINS[name].read(wanted).pins) <= _THREADS[name](active)


def describe(step: LiveStep) -> Tuple[str, str]:
    """A step in words, before and after."""
    what = step.setting
    if isinstance(step, PinThread):
        what += "" if what == "emulatorpin" else " {0}".format(step.number)
        before, after = cpuset.show(step.before), cpuset.show(step.cpus)
    elif isinstance(step, LimitInterface):
        before, after = str(step.before), str(step.limit)
    else:
        before, after = ("absent", "present") if isinstance(step, AttachDevice) else ("present", "absent")
    return "{0}: {1}".format(what, before), "{0}: {1}".format(what, after)


def _device_steps(name: str, option: str, key: str, active: DomainDocument, wanted: DomainDocument) -> List[LiveStep]:
    path = "devices/{0}[{1}]".format(DEVICES[option].tag, key)
    there, configured = active.find(path), wanted.find(path)
    if there is None and configured is not None:
        return [AttachDevice(name, serialize(configured))]
    if there is not None and configured is None:
        return [DetachDevice(name, serialize(there))]
    return []


def _limit_steps(name: str, mac: str, direction: str, active: DomainDocument, wanted: DomainDocument) -> List[LiveStep]:
    path = "devices/interface[{0}]".format(mac)
    there, configured = active.find(path), wanted.find(path)
    if there is None or configured is None:
        return []
    before, limit = (Limit.read(child(child(interface, "bandwidth"), direction)) for interface in (there, configured))
    return [LimitInterface(name, mac, direction, limit, before)] if limit != before else []


def as_configured(active: DomainDocument, inactive: DomainDocument) -> DomainDocument:
    """The running guest's document with interfaces called by their network where libvirt names only the PCI device behind it (SR-IOV pools)."""
    for interface in active.find_all("devices/interface"):
        mac = attribute(child(interface, "mac"), "address")
        configured = inactive.find("devices/interface[{0}]".format(mac.lower())) if mac else None
        network: Optional[str] = attribute(child(configured, "source"), "network")
        if network and attribute(interface, "type") == "hostdev":
            set_attribute(interface, "type", "network")
            source = child(interface, "source") or active.add(interface, "source")
            set_attribute(source, "network", network)
    return active


def cpus_without_pin(document: DomainDocument, host: FrozenSet[int]) -> FrozenSet[int]:
    """The CPUs that a guest's threads run on without a pin: those of ``<vcpu cpuset=…>``, else all of the host."""
    return cpus_of(attribute(document.find("vcpu"), "cpuset")) or host


def pins_of(document: DomainDocument) -> FrozenSet[int]:
    """The host CPUs that the vCPUs of a domain are pinned to, all together."""
    return frozenset(cpu for cpus in VcpuPins.read(document).pins.values() for cpu in cpus)
