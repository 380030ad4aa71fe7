# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is refused of a network, and in which words; what is accepted holds."""
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_parts import Forward, read_leases, read_ranges
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_read import host_routes
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_rules import HostNetworks, Route, check, check_neighbours, warnings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_settings import NetworkSettings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_xml import NetworkDocument

NAT = {"name": "n", "mode": "nat", "address": "192.168.122.1/24"}


def network(**wanted):
    document = NetworkDocument.empty("n")
    NetworkSettings.from_option(dict(NAT, **wanted)).apply(document)
    return document


def reason(**wanted):
    with pytest.raises(FleetError) as refusal:
        check(network(**wanted))
    return refusal.value.message


def span(start, end):
    return {"start": "192.168.122.{0}".format(start), "end": "192.168.122.{0}".format(end)}


def lease(last, mac=1, name=None):
    return {"mac": "52:54:00:00:00:{0:02x}".format(mac), "ip": "192.168.122.{0}".format(last), "name": name}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"name": ""}, "is not the name of a network"),
        ({"name": "a/b"}, "is not the name of a network"),
        ({"address": "192.168.122.1"}, "Network n: address is '192.168.122.1'. It must be an IPv4 address with the length of its prefix"),
        ({"address": "fd00::1/64"}, "It must be an IPv4 address"),
        ({"ranges": [{"start": "x", "end": "192.168.122.9"}]}, "The start of a range is 'x', which is not an IPv4 address."),
        ({"hosts": [{"mac": "52:54", "ip": "192.168.122.9"}]}, "'52:54' is not a MAC address such as"),
        ({"hosts": [{"mac": "53:54:00:00:00:01", "ip": "192.168.122.9"}]}, "is a multicast address"),
        ({"hosts": [lease(5, name="a b")]}, "'a b' is not a host name"),
        ({"mtu": 40}, "mtu is 40. It must be from 68 to 65535."),
        ({"bridge": "a-name-of-17-chars"}, "which is not the name of a network device"),
        ({"bridge": "virbr%d"}, "which is not the name of a network device"),
        ({"devices": ["eth0\n"]}, "which is not the name of a network device"),
        ({"domain": "lab example"}, "domain: 'lab example' is not a host name"),
        ({"devices": ["eth 0"]}, "'eth 0', which is not the name of a network device"),
        ({"pci": ["86:02"]}, "'86:02', which is not a PCI address"),
        ({"macvtap_mode": "vepa"}, "macvtap_mode is given, but the mode is nat"),
        ({"dns": {"forwarders": ["dns.example"]}}, "A DNS forwarder is 'dns.example', which is not an IPv4 address."),
        ({"dns": {"hosts": [{"ip": "192.168.122.1", "names": []}]}}, "has no names"),
    ],
)
def test_a_bad_value_is_named(wanted, said):
    assert said in reason(**wanted)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"ranges": [span(254, 2)]}, "The range 192.168.122.254 - 192.168.122.2 ends before it starts."),
        ({"ranges": [span(2, 255)]}, "is not among the addresses that guests can have in 192.168.122.0/24, which are 192.168.122.1 to 192.168.122.254."),
        ({"ranges": [{"start": "192.168.123.2", "end": "192.168.123.9"}]}, "is not among the addresses"),
        ({"ranges": [span(1, 9)]}, "contains 192.168.122.1, the address of the host itself"),
        ({"ranges": [span(100, 200), span(200, 220)]}, "The ranges 192.168.122.100 - 192.168.122.200 and 192.168.122.200 - 192.168.122.220 overlap."),
        ({"ranges": [span(100, 254)], "hosts": [lease(100)]}, "is in the range 192.168.122.100 - 192.168.122.254, which is leased to whoever asks"),
        ({"hosts": [lease(5, 1), lease(6, 1)]}, "Two hosts have the mac 52:54:00:00:00:01: 52:54:00:00:00:01 192.168.122.5 and"),
        ({"hosts": [lease(5, 1), lease(5, 2)]}, "Two hosts have the ip 192.168.122.5"),
        ({"hosts": [lease(5, 1, "G"), lease(6, 2, "g")]}, "Two hosts have the name g"),
        ({"hosts": [lease(1)]}, "which is the host's own on this network"),
        ({"hosts": [lease(255)]}, "is not among the addresses"),
        ({"address": "192.168.122.0/24"}, "192.168.122.0/24 is the network address of its subnet. Give the host one of those between"),
        ({"address": "192.168.122.255/24"}, "is the broadcast address of its subnet"),
        ({"address": "192.168.122.1/31", "hosts": [lease(0)]}, "leaves no room for guests"),
        ({"address": None}, "A nat network needs an address"),
        ({"address": None, "mode": "isolated", "hosts": [lease(5)]}, "It has ranges or hosts but no address"),
        ({"devices": ["eth0", "eth1"]}, "devices has eth0, eth1, but a nat network goes out by one NIC"),
        ({"pf": "eth0"}, "pf is for hostdev and macvtap networks; the mode is nat."),
        ({"pci": ["86:02.0"]}, "pci is for hostdev networks; the mode is nat."),
        ({"mode": "isolated", "devices": ["eth0"]}, "devices is for nat, route and macvtap networks; the mode is isolated."),
        ({"mode": "bridge", "bridge": "br0"}, "A bridge network has an address, but libvirt serves none of that there"),
        ({"mode": "bridge", "address": None}, "A bridge network needs the name of the host's bridge"),
        ({"mode": "bridge", "address": None, "bridge": "br0", "mtu": 9000}, "A bridge network has an mtu"),
        ({"mode": "macvtap", "address": None}, "A macvtap network needs the network device of the host"),
        ({"mode": "macvtap", "address": None, "devices": ["eth0"], "bridge": "br0"}, "A macvtap network has no bridge"),
        ({"mode": "hostdev", "address": None}, "A hostdev network needs the virtual functions"),
        ({"mode": "hostdev", "address": None, "pf": "eth0", "pci": ["86:02.0"]}, "pf and pci are both given"),
        ({"mode": "macvtap", "address": None, "pf": "eth0", "devices": ["eth1"]}, "devices and pf are both given"),
    ],
)
def test_a_network_that_contradicts_itself_is_refused(wanted, said):
    assert said in reason(**wanted)


def test_the_networks_of_the_document_are_accepted():
    for wanted in (
        {"ranges": [span(100, 254)], "hosts": [lease(45)], "devices": ["enp6s0"], "mtu": 9000},
        {"mode": "isolated"},
        {"mode": "macvtap", "macvtap_mode": "vepa", "devices": ["enp1s0f0"], "address": None},
        {"mode": "hostdev", "pf": "enp134s0f0", "address": None},
        {"mode": "hostdev", "pci": ["86:02.0", "0000:86:02.1"], "address": None},
    ):
        check(network(**wanted))


def test_a_pool_of_functions_is_written_as_libvirt_has_it():
    document = network(mode="hostdev", pci=["86:02.0"], address=None)
    assert "<forward mode='hostdev' managed='yes'>" in document.text
    assert "<address type='pci' domain='0x0000' bus='0x86' slot='0x02' function='0x0'/>" in document.text
    assert Forward.read(document).pci == ("0000:86:02.0",)


def test_a_macvtap_network_goes_from_functions_to_a_device_and_back():
    document = network(mode="macvtap", pf="eth0", address=None)
    for wanted in ({"devices": ["eth1"]}, {"pf": "eth0"}):
        NetworkSettings.from_option(dict(wanted, name="n")).apply(document)
        found = Forward.read(document)
        assert (list(found.devices), found.pf) == (wanted.get("devices", []), wanted.get("pf"))


def test_a_network_is_not_made_one_of_another_nature():
    for before, after in (({}, {"mode": "bridge"}), ({"mode": "macvtap", "devices": ["eth0"], "address": None}, {"mode": "nat"})):
        with pytest.raises(FleetError, match="cannot become"):
            NetworkSettings.from_option(dict(after, name="n")).apply(network(**before))
    document = network()
    NetworkSettings.from_option({"name": "n", "mode": "isolated"}).apply(document)
    assert Forward.read(document).kind == "isolated"


@given(st.lists(st.tuples(st.integers(1, 254), st.integers(1, 254)), max_size=4), st.lists(st.integers(1, 254), max_size=6, unique=True))
def test_what_is_accepted_serves_every_address_once(spans, leases):
    document = network(ranges=[span(*entry) for entry in spans], hosts=[lease(last, number) for number, last in enumerate(leases)])
    try:
        check(document)
    except FleetError:
        return
    served = [ipaddress.IPv4Address(entry.ip) for entry in read_leases(document)]
    for entry in read_ranges(document):
        served += [ipaddress.IPv4Address(number) for number in range(int(ipaddress.IPv4Address(entry.start)), int(ipaddress.IPv4Address(entry.end)) + 1)]
    lan = ipaddress.IPv4Network("192.168.122.0/24")
    assert len(served) == len(set(served)) and ipaddress.IPv4Address("192.168.122.1") not in served
    assert set(served) <= set(lan.hosts())


HOST = HostNetworks(["br0", "eth0", "virbr0"], ["br0", "virbr0"], [Route(ipaddress.IPv4Network("10.0.0.0/8"), "eth0")])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"address": "10.1.2.1/24"}, "overlaps 10.0.0.0/8, which the host reaches through eth0"),
        ({"address": "192.168.0.1/16"}, "overlaps 192.168.122.0/24 of network default"),
        ({"address": "192.168.7.1/24", "bridge": "virbr0"}, "The bridge virbr0 is that of network default already"),
        ({"address": "192.168.7.1/24", "bridge": "br0"}, "The host has a device br0 already"),
    ],
)
def test_what_is_taken_is_refused(wanted, said):
    others = {"default": network(bridge="virbr0")}
    with pytest.raises(FleetError) as refusal:
        check_neighbours(network(**wanted), NetworkDocument.empty("n"), others, HOST)
    assert said in refusal.value.message
    # What has been so is left alone.
    check_neighbours(network(**wanted), network(**wanted), others, HOST)


def test_the_route_to_the_own_bridge_is_no_obstacle():
    host = HOST._replace(routes=[Route(ipaddress.IPv4Network("192.168.7.0/24"), "virbr0")])
    before = network(bridge="virbr0", address="192.168.7.1/24")
    check_neighbours(network(bridge="virbr0", address="192.168.7.2/24"), before, {}, host)


def test_devices_that_are_not_there_are_warned_of():
    assert "is on eth9, which this host does not have" in warnings(network(devices=["eth9"]), HOST)[0]
    assert "is on br7, which is no bridge of this host" in warnings(network(mode="bridge", bridge="br7", address=None), HOST)[0]
    assert warnings(network(devices=["eth0"]), HOST) == [] == warnings(network(devices=["eth9"]), HostNetworks())


def test_routes_are_read_as_the_kernel_writes_them():
    # /proc/net/route of a Debian 12 machine with libvirt's default network, x86_64, November 2026.
    text = "\n".join([
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
        "virbr0\t007AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
        "",
    ])  # fmt: skip
    assert host_routes(text) == [Route(ipaddress.IPv4Network("192.168.122.0/24"), "virbr0")]
