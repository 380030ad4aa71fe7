# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook sees of libvirt_network, on a libvirt in memory."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import network_read
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.client import DomainEntry, NetworkEntry
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_rules import HostNetworks
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_xml import NetworkDocument
from ansible_collections.dgxops.fleet.plugins.modules import libvirt_network
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

DEFAULT = """\
<network>
  <name>default</name>
  <uuid>92d49672-3020-40a1-90f5-73fe07216122</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:40:cc:23'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
"""
GUEST = """\
<domain type='kvm'><name>1gpu-vm-1g0</name><devices><interface type='network'><mac address='52:54:00:e1:28:3e'/>
<source network='default' bridge='virbr0'/><target dev='vnet0'/></interface></devices></domain>
"""
HOSTS = [{"mac": "52:54:00:e1:28:3e", "ip": "192.168.122.45"}]
RANGES = [{"start": "192.168.122.100", "end": "192.168.122.254"}]
RECONNECT = ("ip", "link", "set", "dev", "vnet0", "mtu", "9000", "master", "virbr0", "up")


#: As libvirt 9 tells them: the guest's interface does not name the network that its virtual function is from.
POOL = """\
<network>
  <name>iovnet0</name>
  <forward mode='hostdev' managed='yes'>
    <pf dev='ens1'/>{0}
  </forward>
</network>
"""
FUNCTION = "<address type='pci' domain='0x0000' bus='0x21' slot='0x10' function='{0}'/>"
HOLDER = """\
<domain type='kvm'><name>2gpu-vm</name><devices><interface type='hostdev' managed='yes'><mac address='52:54:00:aa:00:01'/>
<source><address type='pci' domain='0x0000' bus='0x21' slot='0x10' function='0x2'/></source></interface></devices></domain>
"""


class FakeNetworks:
    """Networks in memory; ``fails`` is a call that libvirt refuses."""

    def __init__(self):
        self.configured = {"default": DEFAULT}
        self.active = {"default": DEFAULT}
        self.autostart = {"default": True}
        self.guests = [GUEST]
        self.calls = []
        self.fails = None

    def _called(self, *call):
        self.calls.append(call)
        if self.fails == call[:2]:
            self.fails = None
            raise FleetError("libvirt says no.")

    def networks(self):
        return [NetworkEntry(name, name in self.active, self.autostart.get(name, False), True) for name in self.configured]

    def network_xml(self, name, inactive=True):
        return (self.configured if inactive else self.active)[name]

    def domains(self):
        return [DomainEntry("g{0}".format(number), str(number), True, True) for number in range(len(self.guests))]

    def active_xml(self, uuid):
        return self.guests[int(uuid)]

    def define_network(self, xml):
        name = NetworkDocument(xml).name
        self._called("define", name)
        self.configured[name] = xml

    def undefine_network(self, name):
        self._called("undefine", name)
        del self.configured[name]
        self.autostart.pop(name, None)

    def start_network(self, name):
        self._called("start", name)
        self.active[name] = self.configured[name]

    def stop_network(self, name):
        self._called("stop", name)
        del self.active[name]

    def autostart_network(self, name, autostart):
        self._called("autostart", name, autostart)
        self.autostart[name] = autostart

    def update_network(self, name, section, add, parent, xml):
        self._called("update", name, section, add, parent, xml)
        document = NetworkDocument(self.active[name])
        path, tag = {"hosts": ("ip/dhcp", "host"), "ranges": ("ip/dhcp", "range"), "dns.hosts": ("dns", "host")}[section]
        entry = NetworkDocument("<network>{0}</network>".format(xml)).root.firstChild
        same = [element for element in document.find_all(path, tag) if dict(element.attributes.items()) == dict(entry.attributes.items())]
        assert bool(same) is not add
        if add:
            document.insert(document.make(path), document.adopt(entry))
        else:
            document.remove(same[0])
        self.active[name] = document.text

    def close(self):
        pass


class Site:
    def __init__(self, monkeypatch, directory):
        self.monkeypatch, self.backup_dir = monkeypatch, str(directory / "backups")
        self.libvirt = FakeNetworks()
        self.commands = Recorded({RECONNECT: Result(0, "", ""), RECONNECT[:5] + RECONNECT[7:]: Result(0, "", "")})

    def run(self, *networks, check=False, **options):
        self.monkeypatch.setattr(libvirt_network.Client, "open", lambda uri: self.libvirt)
        self.monkeypatch.setattr(libvirt_network, "Commands", lambda: self.commands)
        self.monkeypatch.setattr(libvirt_network, "read_host", HostNetworks)
        if networks:
            options["networks"] = list(networks)
        self.libvirt.calls.clear()
        return run_module(libvirt_network.main, dict(options, backup_dir=self.backup_dir), check=check)


@pytest.fixture
def site(monkeypatch, tmp_path):
    return Site(monkeypatch, tmp_path)


def test_check_mode_says_what_the_run_then_does_and_does_nothing(site):
    wanted = {"name": "default", "ranges": RANGES, "hosts": HOSTS}
    foreseen = site.run(wanted, check=True)
    assert site.libvirt.calls == []
    assert site.run(wanted) == foreseen
    assert foreseen["networks"][0]["settings"] == ["ranges", "hosts"] == foreseen["networks"][0]["live"]
    assert [call[0] for call in site.libvirt.calls] == ["define", "update", "update", "update"]
    again = site.run(wanted)
    assert not again["changed"] and again["diff"] == [] and site.libvirt.calls == []


def test_what_libvirt_rewrites_is_no_change(site):
    ranges = [{"start": "192.168.122.2", "end": "192.168.122.254"}]
    assert not site.run({"name": "default", "mode": "nat", "address": "192.168.122.1/24", "ranges": ranges})["changed"]


def test_a_restart_under_guests_needs_consent_and_connects_them_again(site):
    answer = site.run({"name": "default", "mtu": 9000})
    assert answer["failed"] and answer["guests"] == ["1gpu-vm-1g0"] and answer["settings"] == ["mtu"] and site.libvirt.calls == []
    answer = site.run({"name": "default", "mtu": 9000}, when_in_use="restart")
    assert answer["networks"][0]["restarted"] and [call[0] for call in site.libvirt.calls][:3] == ["stop", "define", "start"]
    assert site.commands.asked == [RECONNECT]


def test_a_pool_is_not_taken_from_under_a_guest_that_has_a_function_of_it(site):
    site.libvirt.configured["iovnet0"] = POOL.format("")
    site.libvirt.active["iovnet0"] = POOL.format(FUNCTION.format("0x0") + FUNCTION.format("0x2"))
    site.libvirt.guests = [HOLDER]
    answer = site.run({"name": "iovnet0", "state": "absent"})
    assert answer["failed"] and answer["guests"] == ["2gpu-vm"] and site.libvirt.calls == []
    site.libvirt.guests = [HOLDER.replace("0x2", "0x4")]
    assert site.run({"name": "iovnet0", "state": "absent"})["changed"]


def test_a_pool_that_is_older_than_its_functions_is_started_anew(site, monkeypatch):
    site.libvirt.configured["iovnet0"] = POOL.format("")
    site.libvirt.active["iovnet0"] = POOL.format(FUNCTION.format("0x0") + FUNCTION.format("0x2"))
    wanted = {"name": "iovnet0", "mode": "hostdev", "pf": "ens1"}
    monkeypatch.setattr(network_read, "functions_of", lambda device: ("0000:21:10.0", "0000:21:10.2"))
    assert not site.run(wanted)["changed"]
    monkeypatch.setattr(network_read, "functions_of", lambda device: ("0000:21:10.0", "0000:21:10.2", "0000:21:10.4"))
    answer = site.run(wanted)
    assert answer["networks"][0]["restarted"] and [call[0] for call in site.libvirt.calls] == ["stop", "start"]


def test_without_guests_it_is_restarted_at_once(site):
    site.libvirt.guests = []
    assert site.run({"name": "default", "mtu": 9000})["networks"][0]["restarted"]


def test_next_start_leaves_the_running_network_alone_and_says_what_is_pending(site):
    answer = site.run({"name": "default", "mtu": 9000}, when_in_use="next_start")
    assert answer["changed"] and answer["networks"][0]["pending"] == ["mtu"] and site.libvirt.active["default"] == DEFAULT
    again = site.run({"name": "default", "mtu": 9000})
    assert not again["changed"] and again["networks"][0]["pending"] == ["mtu"]


def test_a_new_network_is_started_with_the_host_and_removed_when_restored(site):
    wanted = {"name": "private-net", "mode": "isolated", "address": "192.168.10.1/24"}
    answer = site.run(wanted)
    assert answer["networks"][0]["state"] == "active" and site.libvirt.autostart["private-net"]
    assert not site.run(wanted)["changed"]
    assert site.run(state="restored")["networks"][0]["state"] == "absent"
    assert list(site.libvirt.configured) == ["default"]
    assert site.run(state="restored")["networks"] == []


def test_what_was_there_comes_back(site):
    site.libvirt.guests = []
    site.run({"name": "default", "hosts": [], "ranges": RANGES, "autostart": False, "active": False})
    assert site.libvirt.active == {}
    site.run({"name": "default", "state": "absent"})
    assert not site.run({"name": "default", "state": "absent"})["changed"]
    assert site.run(state="restored")["changed"]
    assert (site.libvirt.configured, site.libvirt.active, site.libvirt.autostart) == ({"default": DEFAULT}, {"default": DEFAULT}, {"default": True})


@pytest.mark.parametrize("fails", [("define", "default"), ("start", "default"), ("define", "new"), ("start", "new"), ("autostart", "new")])
def test_a_step_that_fails_puts_everything_back(site, fails):
    site.libvirt.fails = fails
    new = {"name": "new", "mode": "isolated", "address": "192.168.10.1/24"}
    answer = site.run({"name": "default", "mtu": 9000}, new, when_in_use="restart")
    assert answer["failed"] and answer["msg"].endswith("All networks are as they were before.")
    assert (site.libvirt.configured, site.libvirt.active) == ({"default": DEFAULT}, {"default": DEFAULT})
    assert site.run(state="restored")["networks"] == []


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"name": "nat2"}, "Network nat2: There is no such network. To make it, say its mode"),
        ({"name": "default", "state": "absent"}, "It cannot be removed while running guests are connected to it: 1gpu-vm-1g0"),
        ({"name": "default", "active": False}, "It cannot be stopped while running guests are connected to it"),
        ({"name": "nat2", "mode": "nat", "address": "192.168.122.1/24"}, "overlaps 192.168.122.0/24 of network default"),
        ({"name": "default", "hosts": HOSTS}, "is in the range 192.168.122.2 - 192.168.122.254"),
        ({"name": "default", "mode": "macvtap", "devices": ["eth0"]}, "Its mode is nat and cannot become macvtap"),
    ],
)
def test_refusals_change_nothing(site, network, said):
    answer = site.run({"name": "fine", "mode": "isolated"}, network)
    assert answer["failed"] and said in answer["msg"] and site.libvirt.calls == []


def test_a_network_that_is_given_twice_is_refused(site):
    assert "given more than once" in site.run({"name": "a", "mode": "isolated"}, {"name": "a"})["msg"]


def test_a_backup_that_cannot_be_used_stops_before_anything_is_changed(site):
    site.run({"name": "default", "ranges": RANGES})
    with open(site.backup_dir + "/default.json", "w") as handle:
        handle.write("{")
    for options in ({"networks": [{"name": "default", "hosts": HOSTS}]}, {"state": "restored"}):
        answer = site.run(**options)
        assert answer["failed"] and "default.json cannot be used" in answer["msg"] and site.libvirt.calls == []


def test_leases_that_libvirt_took_do_not_stand_in_the_way_of_something_else(site):
    """libvirt takes a lease inside of the range; who asks for another MTU has not asked to change that."""
    lease = "<host mac='52:54:00:e1:28:3e' ip='192.168.122.45'/>"
    site.libvirt.configured["default"] = site.libvirt.active["default"] = DEFAULT.replace("    </dhcp>", lease + "</dhcp>")
    site.libvirt.guests = []
    assert site.run({"name": "default", "mtu": 9000})["changed"] and lease in site.libvirt.configured["default"]
    assert "is in the range" in site.run({"name": "default", "ranges": [{"start": "192.168.122.3", "end": "192.168.122.254"}]})["msg"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_network_takes_the_subnet_of_another_that_moves_in_whatever_order_they_are_given(site, turned):
    site.libvirt.guests = []
    moved = [{"start": "192.168.130.2", "end": "192.168.130.254"}]
    networks = [{"name": "default", "address": "192.168.130.1/24", "ranges": moved}, {"name": "new", "mode": "nat", "address": "192.168.122.1/24"}]
    answer = site.run(*(networks[::-1] if turned else networks))
    assert not answer.get("failed") and [entry["changed"] for entry in answer["networks"]] == [True, True]


@pytest.mark.parametrize("turned", [False, True])
def test_two_new_networks_of_one_subnet_are_refused(site, turned):
    networks = [{"name": "a", "mode": "nat", "address": "192.168.10.1/24"}, {"name": "b", "mode": "isolated", "address": "192.168.10.129/25"}]
    answer = site.run(*(networks[::-1] if turned else networks))
    assert "overlaps 192.168.10." in answer["msg"] and site.libvirt.calls == []


def test_guests_follow_to_another_bridge_of_the_host(site):
    site.libvirt.configured["lan"] = site.libvirt.active["lan"] = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>"
    site.libvirt.guests = [GUEST.replace("'default'", "'lan'").replace("virbr0", "br0")]
    follow = ("ip", "link", "set", "dev", "vnet0", "master", "br1", "up")
    site.commands.answers[follow] = Result(0, "", "")
    assert site.run({"name": "lan", "bridge": "br1"})["settings"] == ["bridge"] and site.commands.asked == []
    assert site.run({"name": "lan", "bridge": "br1"}, when_in_use="restart")["changed"] and site.commands.asked == [follow]


def test_names_of_one_address_are_one_record(site):
    """libvirt adds no second record of an address to an active network."""
    wanted = {"name": "default", "dns": {"hosts": [{"ip": "192.168.122.1", "names": ["a", "b"]}, {"ip": "192.168.122.1", "names": ["b", "c"]}]}}
    answer = site.run(wanted)
    assert answer["networks"][0]["live"] == ["dns.hosts"] and len(site.libvirt.calls) == 2
    assert not site.run(wanted)["changed"]


def test_spaces_around_a_name_are_no_part_of_it(site):
    assert not site.run({"name": " default ", "mode": "nat"})["changed"]
