# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every refusal of a network that netplan would take and that could not work, and what is not refused."""
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan import HEADER
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import Found, decide
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import read
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_links import Link

from .lab_netplan import BOND, BRIDGE, LINKS, NetHost, host_below, wish

DEFAULT = [{"to": "default", "via": "10.33.14.1"}]


def eth(**settings):
    return {"ethernets": {"enp1": settings}}


def mode(name, **parameters):
    return {"bonds": {"bond0": dict(BOND, parameters=dict(parameters, mode=name))}, "bridges": {"br0": BRIDGE}}


def decided(tmp_path, network, files=None, links=None, **options):
    host = host_below(tmp_path, NetHost(links or LINKS), files)
    asked = wish(network, **options)
    return decide(asked, read(asked, host))


REFUSALS = [
    # names and adapters
    (eth(macaddress=5254), r"macaddress of enp1 is 5254.* in quotation marks"),
    ({"ethernets": {"x": {"match": {"macaddress": "52:54"}}}}, r"match.macaddress of x is '52:54'"),
    ({"ethernets": {"enp9": {"dhcp4": True}}}, r"No network adapter of this host is called enp9. It has enp1, enp2, mgmt0."),
    ({"ethernets": {"ports": {"match": {"name": "eno*"}, "dhcp4": True}}}, r"No network adapter of this host matches"),
    ({"ethernets": {"lan": {"match": {"macaddress": "52:54:00:d6:01:00"}, "set-name": "enp2"}}},
     r"lan \(enp1\) is to be called enp2, but this host has another interface of that name"),
    ({"ethernets": {"lan": {"match": {"name": "enp*"}, "set-name": "lan0"}}}, r"lan is to be called lan0, but enp1 and enp2 match it. Only one can"),
    ({"bridges": {"a-very-long-bridge": {}}}, r"1 to 15 characters"),
    ({"bridges": {"enp2": {"interfaces": []}}}, r"has a network adapter of that name"),
    # who is in what
    ({"bridges": {"br0": {"interfaces": ["enp7"]}}}, r"br0 has the member enp7, which is neither"),
    ({"bonds": {"bond0": {"interfaces": []}}}, r"bond0 has no interfaces"),
    ({"bonds": {"bond0": BOND}, "bridges": {"br0": {"interfaces": ["enp1"]}}}, r"enp1 is a member of bond0 \(.*\) and of br0"),
    ({"bridges": {"br0": {"interfaces": ["br1"]}, "br1": {}}}, r"br1 is a bridge and cannot be a member of the bridge br0"),
    ({"bonds": {"bond0": {"interfaces": ["bond1"]}, "bond1": {"interfaces": ["enp1"]}}}, r"cannot be a member of the bond bond0; network adapters can"),
    ({"bridges": {"br0": {"interfaces": ["v7"]}}, "vlans": {"v7": {"id": 7, "link": "br0"}}}, r"lies on itself"),
    ({"bridges": {"br0": {"interfaces": ["enp1"]}}, "ethernets": {"enp1": {"addresses": ["10.1.0.1/24"]}}},
     r"enp1 is a member of br0 and has the addresses"),
    ({"bridges": {"br0": {"interfaces": ["enp1"]}}, "ethernets": {"enp1": {"dhcp4": True}}}, r"enp1 is a member of br0 and asks for an address by DHCP"),
    ({"bonds": {"bond0": BOND}, "ethernets": {"enp1": {"routes": DEFAULT}}}, r"enp1 is a member of bond0 and has routes"),
    ({"bonds": {"bond0": BOND}, "vlans": {"v7": {"id": 7, "link": "enp1"}}}, r"Let it lie on bond0"),
    # bonds
    (mode("balance-rr"), r"bond0 has the mode balance-rr and is to carry the bridge br0. That mode cannot"),
    (mode("balance-tlb"), r"That mode cannot"),
    (mode("balance-alb"), r"That mode cannot"),
    (mode("broadcast"), r"That mode cannot"),
    ({"bonds": {"bond0": {"interfaces": ["enp1"]}}, "bridges": {"br0": BRIDGE}}, r"bond0 has the mode balance-rr"),
    ({"bonds": {"bond0": dict(BOND, parameters={"mode": "balance-alb"})}, "vlans": {"v7": {"id": 7, "link": "bond0"}},
      "bridges": {"br0": {"interfaces": ["v7"]}}}, r"to carry the bridge br0"),
    (mode("lacp"), r"bond0 has the mode 'lacp'. One of balance-rr, active-backup"),
    (mode(4), r"bond0 has the mode '4'. One of"),
    (mode("active-backup", **{"lacp-rate": "fast"}), r"lacp-rate, which is for 802.3ad only"),
    (mode("active-backup", primary="enp9"), r"primary enp9, which is not one of its members"),
    (mode("active-backup", **{"arp-interval": 100}), r"cannot be watched by ARP"),
    # VLANs
    ({"vlans": {"v0": {"id": 0, "link": "enp1"}}}, r"VLAN v0 has the id 0. A number from 1 to 4094"),
    ({"vlans": {"v0": {"id": 4095, "link": "enp1"}}}, r"from 1 to 4094"),
    ({"vlans": {"v0": {"link": "enp1"}}}, r"has the id None"),
    ({"vlans": {"v0": {"id": 5}}}, r"does not say on which interface"),
    ({"vlans": {"v0": {"id": 5, "link": "enp7"}}}, r"VLAN v0 lies on enp7, which is neither"),
    ({"vlans": {"a": {"id": 5, "link": "enp1"}, "b": {"id": 5, "link": "enp1"}}}, r"a and b are the same VLAN, 5 on enp1"),
    # MTU
    (eth(mtu="large"), r"MTU 'large'"),
    (eth(mtu=20), r"from 68 to 65535"),
    ({"ethernets": {"mgmt0": {"mtu": 9500}}}, r"the adapter mgmt0 takes 9216 at most"),
    ({"bridges": {"br0": {"interfaces": ["enp1"], "mtu": 9000}}, "ethernets": {"enp1": {"mtu": 1500}}}, r"br0 has the MTU 9000, but enp1 below it 1500"),
    ({"bridges": {"br0": {"interfaces": ["enp1"]}}, "ethernets": {"enp1": {"mtu": 9000}}},
     r"br0 has the MTU 1500 \(it says none\), but its member enp1 9000"),
    ({"bonds": {"bond0": dict(BOND, mtu=1500)}, "bridges": {"br0": dict(BRIDGE, mtu=9000)}}, r"br0 has the MTU 9000, but bond0 below it 1500"),
    ({"vlans": {"v5": {"id": 5, "link": "enp1", "mtu": 9000}}, "ethernets": {"enp1": {"mtu": 1500}}}, r"v5 has the MTU 9000, but enp1 below it 1500"),
    ({"bridges": {"br0": {"interfaces": ["enp1"], "mtu": 9999}}}, r"the adapter enp1 takes 9978 at most"),
    # virtual functions
    (eth(**{"virtual-function-count": 4}), r"the adapter enp1 has none \(no sriov_totalvfs\)"),
    (eth(**{"virtual-function-count": "many"}), r"A number is expected"),
    # addresses
    (eth(addresses=["10.33.14.17"]), r"with its prefix length is expected"),
    (eth(addresses=["10.33.14.300/24"]), r"with its prefix length is expected"),
    (eth(addresses=["10.33.14.0/24"]), r"the network address of the subnet"),
    (eth(addresses=["10.33.14.255/24"]), r"the broadcast address of the subnet"),
    (eth(addresses=["10.0.2.15/24"]), r"mgmt0 and enp1 both have the address 10.0.2.15"),
    (eth(addresses=["10.0.2.99/24"]), r"mgmt0 \(10.0.2.15/24\) and enp1 \(10.0.2.99/24\) are in the same subnet"),
    (eth(addresses=["10.0.0.1/16"]), r"are in the same subnet"),
    (eth(addresses=["10.5.0.1/24", "10.5.0.1/24"]), r"enp1 has the address 10.5.0.1 twice"),
    ({"ethernets": {"enp1": {"addresses": ["10.5.0.1/24"]}, "enp2": {"addresses": ["10.5.0.2/24"]}}}, r"are in the same subnet"),
    # routes and servers
    (eth(addresses=["10.33.14.17/24"], gateway4="10.33.14.1"), r"gateway4, which netplan has given up. Write routes: \[\{to: default, via: 10.33.14.1\}\]"),
    (eth(addresses=["10.33.14.17/24"], routes=DEFAULT), r"several default routes for IPv4 with no metric: on mgmt0 and enp1|on enp1 and mgmt0"),
    (eth(addresses=["10.33.14.17/24"], routes=[{"to": "10.8.0.0/16", "via": "10.99.0.1"}]), r"by 10.99.0.1, which is in none of its subnets"),
    (eth(routes=[{"to": "10.8.0.0/16", "via": "10.99.0.1"}]), r"it has no address"),
    (eth(addresses=["10.33.14.17/24"], routes=[{"to": "10.8.0.0/16", "via": "10.33.14.17"}]), r"its own address"),
    (eth(addresses=["10.33.14.17/24"], routes=[{"to": "somewhere", "via": "10.33.14.1"}]), r"leads to 'somewhere'"),
    (eth(addresses=["10.33.14.17/24"], routes=[{"via": "10.33.14.1"}]), r"does not say where to"),
    (eth(addresses=["10.33.14.17/24"], routes=[{"to": "10.8.0.0/16", "via": "router"}]), r"The address of a router is expected"),
    (eth(addresses=["10.33.14.17/24"], routes=[{"to": "fd00::/8", "via": "10.33.14.1"}]), r"not the same kind of IP"),
    (eth(nameservers={"addresses": ["dns.example.com"]}), r"name server 'dns.example.com'. An address is expected"),
]


@pytest.mark.parametrize("network, said", REFUSALS, ids=[said[:40] for _network, said in REFUSALS])
def test_is_refused(tmp_path, network, said):
    with pytest.raises(FleetError, match=said) as refusal:
        decided(tmp_path, network)
    assert "Nothing was changed" in refusal.value.message and refusal.value.details["problems"]


@pytest.mark.parametrize("network, said", [
    (None, r"network is empty. It takes what stands below"),
    ({"ethernet": {"enp1": {}}}, r"netplan calls them ethernets, with an s"),
    ({"wifis": {"wl0": {}}}, r"network has wifis"),
    ({"version": 1, "ethernets": {}}, r"only version 2"),
    ({"ethernets": ["enp1"]}, r"network.ethernets is \['enp1'\]. Names of interfaces are expected"),
    ({"ethernets": {"enp1": "dhcp"}}, r"network.ethernets.enp1 is 'dhcp'. Settings are expected"),
    ({"ethernets": {"enp1": {"addresses": "10.0.0.1/24"}}}, r"A list is expected: \[10.0.0.1/24\]"),
    ({"bridges": {"br0": {"interfaces": "enp1"}}}, r"A list is expected: \[enp1\]"),
    ({"ethernets": {"enp1": {"routes": ["default"]}}}, r"\{to: …, via: …\} is expected"),
    ({"ethernets": {"enp1": {"nameservers": ["10.0.0.1"]}}}, r"nameservers is .* Settings by name are expected"),
    ({"ethernets": {"enp1": {"nameservers": {"addresses": "10.0.0.1"}}}}, r"nameservers.addresses is '10.0.0.1'. A list is expected"),
    ({"ethernets": {"enp1": {"auth": {"password": "x"}}}}, r"enp1 has auth, which holds a password"),
])
def test_what_cannot_be_netplans_is_refused_without_a_host(network, said):
    with pytest.raises(FleetError, match=said):
        wish(network)


@pytest.mark.parametrize("options, said", [
    ({"file": "../passwd"}, r"file has '../passwd'"),
    ({"file": "60-dgxops.conf"}, r"ending in .yaml"),
    ({"replaces": ["/run/netplan/a.yaml"]}, r"replaces has '/run/netplan/a.yaml'"),
    ({"replaces": ["60-dgxops.yaml"]}, r"which is the file that is written"),
])
def test_a_file_name_that_netplan_would_not_read_is_refused(options, said):
    with pytest.raises(FleetError, match=said):
        wish({"ethernets": {"enp1": {}}}, **options)


def test_all_reasons_are_told_at_once(tmp_path):
    with pytest.raises(FleetError) as refusal:
        decided(tmp_path, {"ethernets": {"enp1": {"mtu": 1, "addresses": ["10.1.1.1"]}}, "vlans": {"v": {"id": 0, "link": "enp2"}}})
    assert len(refusal.value.details["problems"]) == 3 and "(1)" in refusal.value.message and "(3)" in refusal.value.message


@pytest.mark.parametrize("name", ["active-backup", "balance-xor", "802.3ad"])
def test_these_modes_carry_a_bridge(tmp_path, name):
    assert decided(tmp_path, mode(name))


@pytest.mark.parametrize("name", ["balance-rr", "balance-tlb", "balance-alb", "broadcast"])
def test_without_a_bridge_any_mode_will_do(tmp_path, name):
    assert decided(tmp_path, {"bonds": {"bond0": dict(BOND, parameters={"mode": name}, addresses=["10.33.14.17/24"])}})


def test_two_default_routes_with_metrics_are_a_choice(tmp_path):
    assert decided(tmp_path, eth(addresses=["10.33.14.17/24"], routes=[{"to": "default", "via": "10.33.14.1", "metric": 200}]))


def test_a_subnet_that_libvirt_has_is_refused(tmp_path):
    links = dict(LINKS, virbr0=Link("virbr0", kind="bridge", addresses=("192.168.122.1/24",)))
    with pytest.raises(FleetError, match=r"virbr0 \(192.168.122.1/24\) .* are in the same subnet|are in the same subnet"):
        decided(tmp_path, eth(addresses=["192.168.122.7/24"]), links=links)


KEYS = st.sampled_from(["addresses", "routes", "interfaces", "mtu", "dhcp4", "parameters", "nameservers", "match", "set-name", "link", "id", "macaddress",
                        "optional", "virtual-function-count", "gateway4"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 70000), st.sampled_from(["enp1", "bond0", "br0", "802.3ad", "10.0.2.15/24", "fe80::1/64", "", "x y"])),
    lambda deeper: st.one_of(st.lists(deeper, max_size=3), st.dictionaries(
        st.sampled_from(["mode", "to", "via", "addresses", "search", "name", "macaddress", "driver", "primary", "10.1.1.1/24"]), deeper, max_size=3)),
    max_leaves=4)
SETTINGS = st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=4))
INTERFACES = st.one_of(VALUES, st.dictionaries(st.sampled_from(["enp1", "enp2", "bond0", "br0", "v5"]), SETTINGS, max_size=3))
ANYTHING = st.dictionaries(st.sampled_from(["ethernets", "bonds", "bridges", "vlans", "version"]), INTERFACES, max_size=3)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(ANYTHING)
def test_whatever_is_written_there_is_taken_or_refused_in_words(network):
    try:
        asked = wish(network)
        decide(asked, Found({}, [], {}, [], LINKS))
    except FleetError as refusal:
        assert refusal.message


class TestOtherFiles:
    """What other files say about the same interfaces."""

    dhcp = {"01-netcfg.yaml": "network:\n  ethernets:\n    enp1: {dhcp4: true}\n"}

    def test_dhcp_on_a_member_is_turned_off_by_a_later_file(self, tmp_path):
        change = decided(tmp_path, {"bridges": {"br0": {"interfaces": ["enp1"], "dhcp4": True}}}, self.dhcp)
        assert "dhcp4: false" in change.files["/etc/netplan/60-dgxops.yaml"].text

    def test_but_not_by_an_earlier_one(self, tmp_path):
        with pytest.raises(FleetError, match="99-late.yaml comes after our file and says that dhcp4 of enp1 is true, not False"):
            decided(tmp_path, {"bridges": {"br0": {"interfaces": ["enp1"]}}}, {"99-late.yaml": self.dhcp["01-netcfg.yaml"]})

    def test_addresses_on_a_member_would_stay(self, tmp_path):
        files = {"01-netcfg.yaml": "network: {ethernets: {enp1: {addresses: [10.7.0.1/24]}}}"}
        said = r"enp1 is a member of br0 and has the addresses 10.7.0.1/24 \(/etc/netplan/01-netcfg.yaml.*set the other file aside by replaces"
        with pytest.raises(FleetError, match=said):
            decided(tmp_path, {"bridges": {"br0": {"interfaces": ["enp1"]}}}, files)
        assert decided(tmp_path, {"bridges": {"br0": {"interfaces": ["enp1"]}}}, files, replaces=["01-netcfg.yaml"]).aside == ("01-netcfg.yaml",)

    def test_addresses_would_be_added_to_ours(self, tmp_path):
        files = {"01-netcfg.yaml": "network: {ethernets: {enp1: {addresses: [10.7.0.1/24]}}}"}
        with pytest.raises(FleetError, match="also has addresses of enp1: 10.7.0.1/24. netplan would add them to ours"):
            decided(tmp_path, eth(addresses=["10.8.0.1/24"]), files)

    def test_a_wildcard_that_takes_a_member_is_found(self, tmp_path):
        files = {"01-all.yaml": "network: {ethernets: {all-en: {match: {name: 'en*'}, dhcp4: true}}}"}
        with pytest.raises(FleetError, match="The adapter enp1 is meant by several definitions: all-en .*01-all.yaml.* and enp1"):
            decided(tmp_path, {"bridges": {"br0": {"interfaces": ["enp1"]}}}, files)

    def test_a_member_of_somebody_elses_bridge_is_found(self, tmp_path):
        files = {"01-br.yaml": "network: {ethernets: {enp1: {}}, bridges: {br9: {interfaces: [enp1]}}}"}
        with pytest.raises(FleetError, match=r"enp1 is a member of br9 \(/etc/netplan/01-br.yaml\) and of bond0|of bond0 .* and of br9"):
            decided(tmp_path, {"bonds": {"bond0": BOND}}, files)

    def test_faults_that_were_there_before_are_not_ours(self, tmp_path):
        old = "network: {ethernets: {enp2: {addresses: [10.0.2.99/24], gateway4: 10.0.2.2}, mgmt0: {addresses: [10.0.2.15/24], gateway4: 10.0.2.2}}}"
        files = {"01-old.yaml": old}
        assert decided(tmp_path, eth(addresses=["10.8.0.1/24"]), files)

    def test_a_file_that_is_not_ours_is_left_alone(self, tmp_path):
        with pytest.raises(FleetError, match="60-dgxops.yaml is there and was not written by dgxops.fleet"):
            decided(tmp_path, eth(dhcp4=True), {"60-dgxops.yaml": "network: {}\n"})
        assert not decided(tmp_path, eth(dhcp4=False), {"60-dgxops.yaml": HEADER + "network:\n  version: 2\n  ethernets:\n    enp1:\n      dhcp4: false\n"})

    def test_a_file_to_replace_that_is_not_there_is_told(self, tmp_path):
        with pytest.raises(FleetError, match="there is no /etc/netplan/50-cloud-init.yaml.* has 50-installer.yaml"):
            decided(tmp_path, eth(dhcp4=True), replaces=["50-cloud-init.yaml"])

    def test_what_ifupdown_configures_is_not_configured_twice(self, tmp_path):
        (tmp_path / "etc/network/interfaces.d").mkdir(parents=True)
        (tmp_path / "etc/network/interfaces").write_text("auto lo\niface lo inet loopback\nsource interfaces.d/*\n")
        (tmp_path / "etc/network/interfaces.d/em1").write_text("auto enp1\niface enp1 inet static\n  address 10.253.0.50\n")
        with pytest.raises(FleetError, match="enp1 is configured by ifupdown too, in /etc/network/interfaces.d/em1"):
            decided(tmp_path, {"bonds": {"bond0": BOND}})
        assert decided(tmp_path, {"ethernets": {"enp2": {"dhcp4": True}}})

    def test_cloud_init_is_warned_about(self, tmp_path):
        files = {"50-cloud-init.yaml": "network: {ethernets: {enp1: {dhcp4: true}}}"}
        change = decided(tmp_path, eth(addresses=["10.8.0.1/24"]), files, replaces=["50-cloud-init.yaml"])
        assert "config: disabled" in change.warnings[0]


def test_an_adapter_that_a_file_has_named_can_be_named_otherwise_and_keep_its_address(tmp_path):
    named = "network:\n  ethernets:\n    mgmt0:\n      match: {macaddress: '52:54:00:d6:00:00'}\n      set-name: mgmt0\n      addresses: [10.0.2.15/24]\n"
    lan = {"match": {"macaddress": "52:54:00:d6:00:00"}, "set-name": "lan0", "addresses": ["10.0.2.15/24"]}
    assert decided(tmp_path, {"ethernets": {"mgmt0": lan}}, files={"01-mgmt.yaml": named}, replaces=["01-mgmt.yaml"])
