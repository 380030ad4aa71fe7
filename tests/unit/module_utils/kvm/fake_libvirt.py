# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A libvirt in memory: it keeps configurations and running guests, does live what libvirt does live, and can be told to fail."""
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.client import Client, DomainEntry
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_cpu import EmulatorPin, IoThreadPins, IoThreads, VcpuPins, Vcpus
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_devices import Limit
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument, device_key
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.xml_tree import child, set_attribute


class FakeLibvirt(Client):
    """Stands for a Client. ``fails`` maps the name of a method to a function of its arguments that says when it fails."""

    def __init__(self, *guests, running=(), stubborn=(), transient=(), saved=(), cpus=range(96)):
        super().__init__(None)
        self.configured = {DomainDocument(text).uuid: text for text in guests}
        self.active = {uuid: text for uuid, text in self.configured.items() if DomainDocument(text).name in running}
        self.stubborn, self.transient, self.saved, self.cpus = stubborn, transient, saved, frozenset(cpus)
        self.calls = []
        self.fails = {}
        self.failure = "libvirt says no to {0}."

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if name in ("define", "start", "shutdown", "pin", "attach", "detach", "limit_interface"):
            return lambda *arguments, **options: self._called(name, found, arguments, options)
        return found

    def _called(self, name, method, arguments, options):
        if self.fails.get(name, lambda *_: False)(*arguments):
            raise FleetError(self.failure.format(name))
        self.calls.append((name,) + arguments)
        return method(*arguments, **options)

    def name_of(self, uuid):
        return DomainDocument(self.configured[uuid]).name

    def domains(self):
        return [DomainEntry(self.name_of(uuid), uuid, uuid in self.active, self.name_of(uuid) not in self.transient) for uuid in self.configured]

    def host_cpus(self):
        return self.cpus

    def autostarting(self):
        return frozenset()

    def state(self, uuid):
        return "running" if uuid in self.active else "shutoff"

    def close(self):
        pass

    def inactive_xml(self, uuid, with_secrets=False):
        return self.configured[uuid] if with_secrets else self.configured[uuid].replace(" passwd='s3cret'", "")

    def active_xml(self, uuid):
        return self.active.get(uuid)

    def is_active(self, uuid):
        return uuid in self.active

    def has_saved_state(self, uuid):
        return self.name_of(uuid) in self.saved

    def define(self, xml, validate=True):
        self.configured[DomainDocument(xml).uuid] = xml

    def start(self, uuid):
        self.active[uuid] = self.configured[uuid]

    def shutdown(self, uuid):
        if self.name_of(uuid) not in self.stubborn:
            del self.active[uuid]

    def pin(self, uuid, setting, number, cpus):
        running = DomainDocument(self.active[uuid])
        if setting == "emulatorpin":
            EmulatorPin(cpus).write(running)
        else:
            kind = {"vcpupin": VcpuPins, "iothreadpin": IoThreadPins}[setting]
            kind({**kind.read(running).pins, number: cpus}).write(running)
        self.active[uuid] = running.text

    def attach(self, uuid, xml):
        running, device = DomainDocument(self.active[uuid]), DomainDocument("<domain>" + xml + "</domain>")
        for element in device.root.childNodes:
            running.insert(running.make("devices"), running.adopt(element))
        self.active[uuid] = running.text

    def detach(self, uuid, xml):
        running, device = DomainDocument(self.active[uuid]), DomainDocument("<domain>" + xml + "</domain>").root.firstChild
        running.drop("devices/{0}[{1}]".format(device.nodeName, device_key(device)))
        self.active[uuid] = running.text

    def limit_interface(self, uuid, mac, direction, average, peak, burst):
        running = DomainDocument(self.active[uuid])
        interface = running.find("devices/interface[{0}]".format(mac))
        bandwidth = child(interface, "bandwidth") or running.add(interface, "bandwidth")
        holder = child(bandwidth, direction) or running.add(bandwidth, direction)
        for name, value in zip(Limit._fields, (average, peak, burst)):
            set_attribute(holder, name, value or None)
        self.active[uuid] = running.text

    def vcpu_affinities(self, uuid):
        running = DomainDocument(self.active[uuid])
        return {vcpu: VcpuPins.read(running).pins.get(vcpu, self.cpus) for vcpu in range(Vcpus.read(running).count)}

    def iothread_affinities(self, uuid):
        running = DomainDocument(self.active[uuid])
        return {thread: IoThreadPins.read(running).pins.get(thread, self.cpus) for thread in IoThreads.read(running).ids}

    def emulator_affinity(self, uuid):
        return EmulatorPin.read(DomainDocument(self.active[uuid])).cpus or self.cpus
