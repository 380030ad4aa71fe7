# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host of the time of /etc/network/interfaces: its files are read, stanzas are taken out and come back, and a bond is written and applied with a way back."""
import json
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network import ifupdown_change, ifupdown_host, netplan_rollback
from ansible_collections.dgxops.fleet.plugins.module_utils.network.host_bond import bond_network
from ansible_collections.dgxops.fleet.plugins.module_utils.network.ifupdown import blocks, names_in, network_of, without, written
from ansible_collections.dgxops.fleet.plugins.module_utils.network.ifupdown_change import Wish, decide, flat
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_guard import confirm, look, start
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_links import Link
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_pending import alone

from .lab_netplan import LINKS, NetHost

#: As the installer of Ubuntu 16.04 leaves it, with the adapter of section 8.1.3's first step.
INTERFACES = """# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
auto enp1 mgmt0
iface enp1 inet static
    address 10.253.0.50
    netmask 255.255.255.0
    network 10.253.0.0
    gateway 10.253.0.1
    dns-nameservers 8.8.8.8

# The management port
iface mgmt0 inet static
\taddress 10.0.2.15/24
"""
MAIN = "/etc/network/interfaces"
OWN = "/etc/network/interfaces.d/dgxops"
WANTED = bond_network({"nics": ["enp1", "enp2"], "mode": 4, "vlan": 430, "addresses": ["172.16.1.11/24"], "gateways": ["172.16.1.254"],
                       "nameservers": ["172.16.1.254"], "search": ["company.net"]})
APPLIED = dict(
    LINKS, enp1=LINKS["enp1"]._replace(master="bond0"), enp2=LINKS["enp2"]._replace(master="bond0"), bond0=Link("bond0", "bond"),
    **{"bond0.430": Link("bond0.430", "vlan", addresses=("172.16.1.11/24",), lower="bond0")}
)


class OldHost(NetHost):
    """Knows ifupdown's programs, and not netplan's."""

    def run(self, argv, timeout=None, text_in=None):
        if argv[0] == "ifquery":
            self.asked.append(tuple(argv))
            return self.fails.get("ifquery", Result(0, "", ""))
        assert argv[0] != "netplan"
        return super().run(argv, timeout, text_in)


class Programs(netplan_rollback.Programs):
    """What the host's own program runs, on the same played host."""

    def __init__(self, commands):
        self.commands = commands
        self.ran = []
        self.fails = []

    def run(self, *argv):
        self.ran.append(" ".join(argv))
        if argv[0] == "ip" and "show" in argv:
            return 0, self.commands.addresses() if "address" in argv else ""
        return (1, "it did not work") if argv[-1] in self.fails and argv[0] == "ifup" else (0, "")


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(netplan_rollback, "SETTLE", 0)
    for directory in ("etc/network/interfaces.d", "etc/systemd/system", "run/network", "var/backups"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / MAIN.lstrip("/")).write_text(INTERFACES)
    (tmp_path / "run/network/ifstate").write_text("lo=lo\nenp1=enp1\n")
    links = dict(LINKS, enp1=LINKS["enp1"]._replace(addresses=("10.253.0.50/24",)))
    return Host(OldHost(links), str(tmp_path))


def wish(network=None, **options):
    return Wish.from_params(dict({"state": "present", "network": network, "file": "dgxops", "replaces": ["enp1"]}, **options))


def make(host, asked):
    found = ifupdown_host.read(asked, host)
    change = decide(asked, found)
    if change:
        ifupdown_host.try_out(change, host)
    with alone(host.place):
        return change, ifupdown_host.carry_out(change, asked, found, host)


def text_of(host, path):
    with open(host.path(path)) as handle:
        return handle.read()


def test_a_file_in_pieces_is_the_file():
    assert "".join(line for block in blocks(INTERFACES) for line in block.lines) == INTERFACES
    assert names_in(INTERFACES) == ["enp1", "mgmt0"]


def test_only_the_stanza_that_is_named_goes():
    left = without(INTERFACES, ["enp1"])
    assert "10.253" not in left and "auto mgmt0\n" in left and "# The management port\niface mgmt0" in left
    assert without(INTERFACES, ["enp9"]) == INTERFACES


def test_a_line_that_goes_on_is_no_new_stanza():
    text = "auto a \\\n    iface\niface a inet static\n    address 10.0.0.1/24\n"
    assert [block.keyword for block in blocks(text)] == ["", "auto", "iface"]


def test_what_the_document_writes_is_understood():
    """Section 8.1.3, step 7."""
    text = ("auto bond0\niface bond0 inet manual\nbond-mode 4\nbond-miimon 100\nbond-slaves em1 em2\n\nauto em1\niface em1 inet manual\nbond-master bond0\n"
            "bond-primary em1\n\nauto bond0.430\niface bond0.430 inet static\naddress 172.16.1.11\nnetmask 255.255.255.0\ngateway 172.16.1.254\n"
            "vlan-raw-device bond0\n")
    assert network_of(text) == {
        "bonds": {"bond0": {"interfaces": ["em1", "em2"]}}, "ethernets": {"em1": {}},
        "vlans": {"bond0.430": {"addresses": ["172.16.1.11/24"], "routes": [{"to": "default", "via": "172.16.1.254"}]}},
    }


def test_members_that_name_their_bond_are_its_members():
    """As Ubuntu's ifenslave wants it, so that members may come up before or after the bond."""
    text = ("auto em1\niface em1 inet manual\n  bond-master bond0\n\nauto bond0\niface bond0 inet dhcp\n  bond-mode active-backup\n  bond-slaves none\n\n"
            "auto em2\niface em2 inet manual\n  bond-master bond0\n")
    assert network_of(text) == {"bonds": {"bond0": {"interfaces": ["em1", "em2"], "dhcp4": True}}, "ethernets": {"em1": {}, "em2": {}}}


def test_a_bond_with_a_vlan_needs_no_package():
    text = written(WANTED)
    assert " || ip link set dev bond0 type bond mode 802.3ad\n" in text and "ip link set dev enp2 down && ip link set dev enp2 master bond0; }\n" in text
    assert "auto bond0.430\niface bond0.430 inet static\n    address 172.16.1.11/24\n    gateway 172.16.1.254\n" in text
    assert "type vlan id 430" in text and "bond-slaves" not in text
    assert network_of(text) == WANTED


def test_addresses_of_both_kinds_are_a_stanza_each():
    text = written({"bonds": {"bond0": {"interfaces": ["enp1"], "addresses": ["10.0.0.1/24", "fd00::1/64"], "parameters": {"mode": "802.3ad"},
                                        "routes": [{"to": "default", "via": "fd00::2"}]}}})
    assert "iface bond0 inet static\n    address 10.0.0.1/24\n" in text
    assert "iface bond0 inet6 static\n    address fd00::1/64\n    gateway fd00::2\n" in text


def test_the_files_are_written_and_a_second_run_changes_nothing(host):
    change, record = make(host, wish(WANTED))
    assert record is not None and sorted(change.files) == [MAIN, OWN]
    assert "enp1" not in text_of(host, MAIN) and "mii-monitor-interval" in text_of(host, OWN)
    assert not decide(wish(WANTED), ifupdown_host.read(wish(WANTED), host))


def test_nothing_of_netplan_is_made_on_a_host_that_has_none(host):
    make(host, wish(WANTED))
    assert not os.path.exists(host.path("/etc/netplan"))


def test_it_is_applied_confirmed_and_given_back_byte_by_byte(host):
    host.commands.links["enp2"] = LINKS["enp2"]._replace(up=False)
    make(host, wish(WANTED))
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.apply(host.place, programs)
    down = next(line for line in programs.ran if line.startswith("ifdown"))
    assert down.endswith("before.interfaces enp1")
    assert [line for line in programs.ran if line.startswith("ifup ")] == ["ifup --force bond0", "ifup --force bond0.430"]
    host.commands.links = APPLIED
    assert confirm(host, "one", []).to_dict()["created"] == ["bond0", "bond0.430"]
    make(host, wish(state="absent", replaces=[]))
    assert text_of(host, MAIN) == INTERFACES and not os.path.exists(host.path(OWN))
    assert look(host).removed == ["bond0", "bond0.430"]
    start(host, "two", 60)
    programs = Programs(host.commands)
    netplan_rollback.apply(host.place, programs)
    assert [line.split()[-1] for line in programs.ran if line.startswith("ifdown")] == ["bond0.430", "bond0", "enp1", "enp2"]
    assert "ip link delete dev bond0" in programs.ran and "ifup --force enp1" in programs.ran
    assert "ip link set dev enp2 down" in programs.ran  # of which nothing spoke before
    host.commands.links = dict(LINKS, enp1=LINKS["enp1"]._replace(addresses=("10.253.0.50/24",)))
    assert confirm(host, "two", []).state == "confirmed"
    assert not os.path.exists(host.path("/var/backups/dgxops/ifupdown"))


def test_what_fails_is_taken_back(host):
    make(host, wish(WANTED))
    start(host, "one", 60)
    programs = Programs(host.commands)
    programs.fails = ["bond0.430"]
    netplan_rollback.apply(host.place, programs)
    assert text_of(host, MAIN) == INTERFACES and not os.path.exists(host.path(OWN))
    told = json.loads((open(host.place.outcome("one")).read()))
    assert told["state"] == "rolled_back" and "ifup bond0.430 failed with status 1: it did not work" in told["reason"]
    assert programs.ran.index("ifdown --force bond0") < programs.ran.index("ifup --force enp1")
    assert not any("netplan" in line.split()[0] for line in programs.ran)


def test_only_what_was_up_is_brought_up_again(host):
    with open(host.path("/run/network/ifstate"), "w") as handle:
        handle.write("lo=lo\n")
    make(host, wish(WANTED))
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.rollback(host.place, programs, "it was asked for")
    assert "ifup --force enp1" not in programs.ran


def test_after_a_reboot_the_files_are_back(host):
    make(host, wish(WANTED))
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.boot(host.place, programs)
    assert text_of(host, MAIN) == INTERFACES and programs.ran == []


def test_another_address_keeps_what_was_taken_out(host):
    make(host, wish(WANTED))
    start(host, "one", 60)
    host.commands.links = APPLIED
    netplan_rollback.apply(host.place, Programs(host.commands))
    confirm(host, "one", [])
    other = bond_network({"nics": ["enp1", "enp2"], "addresses": ["172.16.1.12/24"]})
    change, _record = make(host, wish(other))
    assert sorted(change.files) == [OWN]
    start(host, "two", 60)
    programs = Programs(host.commands)
    netplan_rollback.rollback(host.place, programs, "it was asked for")
    assert "172.16.1.11/24" in text_of(host, OWN)
    change, _record = make(host, wish(state="absent"))
    assert text_of(host, MAIN) == INTERFACES


def test_a_file_that_was_edited_since_is_not_overwritten(host):
    make(host, wish(WANTED))
    with open(host.path(MAIN), "a") as handle:
        handle.write("# by hand\n")
    with pytest.raises(FleetError, match="/etc/network/interfaces was edited since a stanza was taken out of it"):
        make(host, wish(state="absent"))


def test_a_file_that_nothing_reads_gets_a_line_that_does(host):
    with open(host.path(MAIN), "w") as handle:
        handle.write(INTERFACES.replace("source /etc/network/interfaces.d/*\n", ""))
    make(host, wish(WANTED))
    assert text_of(host, MAIN).endswith("\nsource /etc/network/interfaces.d/dgxops\n")
    assert OWN in ifupdown_host.interfaces_files(host)


@pytest.mark.parametrize("line", ["source interfaces.d/*", "source-directory /etc/network/interfaces.d", "source-directory interfaces.d/"])
def test_a_file_that_is_read_already_needs_no_line(host, line):
    with open(host.path(MAIN), "w") as handle:
        handle.write(INTERFACES.replace("source /etc/network/interfaces.d/*", line))
    make(host, wish(WANTED))
    assert text_of(host, MAIN).count("source") == 1 and OWN in ifupdown_host.interfaces_files(host)


def test_files_as_one_need_no_other():
    assert "\n#source /etc" in flat({MAIN: INTERFACES}) and flat({MAIN: INTERFACES}).count("iface") == INTERFACES.count("iface")


@pytest.mark.parametrize("network, options, said", [
    (WANTED, {"replaces": []}, "enp1 has a stanza in /etc/network/interfaces. To have it taken out .* name enp1 in replaces"),
    (WANTED, {"replaces": ["enp1", "em7"]}, "replaces has em7, of which no file speaks. These have a stanza: enp1, mgmt0"),
    (bond_network({"nics": ["enp1", "em9"]}), {}, "bond0 has the member em9, which is neither"),
    (bond_network({"nics": ["enp1"], "addresses": ["10.0.2.9/24"]}), {}, "are in the same subnet"),
    (bond_network({"nics": ["enp1"], "mtu": 90000}), {}, "MTU 90000"),
    (bond_network({"nics": ["enp1"], "parameters": {"lacp-rate": "fast", "color": "red"}}), {}, "bond0 has the parameter color"),
    ({"bridges": {"br0": {"interfaces": ["enp1"]}}}, {}, "br0 has a bridge, which is not written to /etc/network/interfaces here"),
    ({"ethernets": {"enp2": {"dhcp4": True, "wakeonlan": True}}}, {}, "enp2 has wakeonlan"),
    ({"ethernets": {"enp2": {"addresses": ["10.9.0.1/24"], "routes": [{"to": "10.8.0.0/16", "via": "10.9.0.2"}]}}}, {}, "Only default routes"),
    (WANTED, {"file": "dgxops.cfg"}, "others are not read"),
    ({}, {}, "network is empty"),
])
def test_what_cannot_be_is_refused(host, network, options, said):
    with pytest.raises(FleetError, match=said):
        make(host, wish(network, **options))
    assert text_of(host, MAIN) == INTERFACES and not os.path.exists(host.path(OWN))


def test_what_netplan_configures_is_left_to_it(host):
    os.makedirs(host.path("/etc/netplan"))
    with open(host.path("/etc/netplan/50-x.yaml"), "w") as handle:
        handle.write("network:\n  ethernets:\n    enp2: {dhcp4: true}\n    enp1:\n      dhcp4: true\n")
    with pytest.raises(FleetError, match="enp1 is configured by netplan too.*enp2 is configured by netplan too"):
        make(host, wish(WANTED))


def test_a_file_of_somebody_else_is_left_alone(host):
    with open(host.path(OWN), "w") as handle:
        handle.write("# mine\n")
    with pytest.raises(FleetError, match="was not written by dgxops.fleet"):
        make(host, wish(WANTED))


def test_what_ifupdown_does_not_take_is_not_written(host):
    host.commands.fails["ifquery"] = Result(1, "", "ifquery: duplicate option")
    with pytest.raises(FleetError, match="ifupdown does not take this, so nothing was changed: ifquery: duplicate option"):
        make(host, wish(WANTED))
    assert text_of(host, MAIN) == INTERFACES


def test_moves_are_from_the_top_and_from_the_bottom():
    before = ifupdown_change.definitions({MAIN: INTERFACES})
    after = ifupdown_change.definitions({MAIN: without(INTERFACES, ["enp1"]), OWN: written(WANTED)})
    moves = ifupdown_change.moves(before, after, ["mgmt0", "bond0", "bond0.430"], ["enp1"])
    assert moves == (("enp1",), ("bond0", "bond0.430"), ("bond0.430", "bond0"), ("enp1",))


def test_what_lies_on_a_bond_that_is_made_anew_is_made_anew_as_well():
    other = bond_network({"nics": ["enp1", "enp2"], "parameters": {"lacp-rate": "fast"}, "vlan": 430, "addresses": ["172.16.1.11/24"],
                          "gateways": ["172.16.1.254"], "nameservers": ["172.16.1.254"], "search": ["company.net"]})
    before, after = (ifupdown_change.definitions({OWN: written(network)}) for network in (WANTED, other))
    moves = ifupdown_change.moves(before, after, ["bond0", "bond0.430"], ["bond0", "bond0.430"])
    assert moves == (("bond0.430", "bond0"), ("bond0", "bond0.430"), ("bond0.430", "bond0"), ("bond0", "bond0.430"))
