# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way to an NFS server through real networks: a client, a server, and between them a switch or a router whose MTU may be smaller.

All three are network namespaces of their own, so the machine's networks are not touched. Needs root.
"""
import os
import shutil
import subprocess
import sys

import pytest

from ansible_collections.dgxops.fleet.tests.integration.private_libvirt import run_on_host

#: A switch that is too narrow says nothing: it drops what does not fit. A router tells the sender, who then knows it (RFC 1191).
BETWEEN = {
    "switch": """
        ip -n {1} link add br0 type bridge
        ip -n {1} link set port0 master br0 up; ip -n {1} link set port1 master br0 up; ip -n {1} link set br0 up
        ip -n {0} address add 10.9.0.1/24 dev eth0; ip -n {2} address add 10.9.0.2/24 dev eth0
    """,
    "router": """
        ip netns exec {1} sysctl -qw net.ipv4.ip_forward=1
        ip -n {1} address add 10.8.0.254/24 dev port0; ip -n {1} address add 10.9.0.254/24 dev port1
        ip -n {1} link set port0 up; ip -n {1} link set port1 up
        ip -n {0} address add 10.8.0.1/24 dev eth0; ip -n {2} address add 10.9.0.2/24 dev eth0
        ip -n {0} route add default via 10.8.0.254; ip -n {2} route add default via 10.9.0.254
    """,
}
NETWORK = """
    set -e
    for name in {0} {1} {2}; do ip netns add $name; done
    ip -n {1} link add port0 type veth peer name eth0 netns {0}
    ip -n {1} link add port1 type veth peer name eth0 netns {2}
    ip -n {1} link set port0 mtu 9000; ip -n {1} link set port1 mtu {between}
    ip -n {0} link set eth0 mtu 9000 up; ip -n {2} link set eth0 mtu 9000 up
"""


@pytest.fixture
def network():
    """Makes one; returns the name of the client's namespace."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    assert shutil.which("ping"), "not installed: ping. script/test integration installs it."
    names = ["fleet{0}{1}".format(os.getpid(), end) for end in "cms"]

    def make(between, mtu):
        text = NETWORK.format(*names, between=mtu) + BETWEEN[between].format(*names)
        subprocess.run(["sh", "-c", text], check=True, timeout=60)
        return names[0]

    yield make
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=False, timeout=60)


def ask(client, **options):
    options = dict({"servers": ["10.9.0.2"], "probe": True, "mtu": 9000}, **options)
    return run_on_host("nfs_client_info", options, command=["ip", "netns", "exec", client, sys.executable])


@pytest.mark.parametrize("between", ["switch", "router"])
def test_frames_of_full_size_that_arrive_are_no_problem(network, between):
    route = ask(network(between, 9000))["routes"][0]
    assert (route["mtu"], route["carries"], route["problem"]) == (9000, 9000, "")


@pytest.mark.parametrize("between, said", [("switch", "may have 9000 bytes by the interface, but only 1500 arrive"), ("router", "1500")])
def test_a_narrow_place_between_that_both_ends_know_nothing_of_is_found(network, between, said):
    client = network(between, 1500)
    found = ask(client)
    assert said in found["routes"][0]["problem"] and found["routes"][0]["carries"] == 1500
    refused = ask(client, required=["network"])
    assert refused["failed"] and "1500" in refused["msg"]


def test_a_server_that_does_not_answer_is_told_and_so_is_an_interface_that_is_too_narrow(network):
    client = network("switch", 9000)
    assert "10.9.0.77 by eth0 does not answer ping" in ask(client, servers=["10.9.0.77"])["routes"][0]["problem"]
    subprocess.run(["ip", "-n", client, "link", "set", "eth0", "mtu", "1500"], check=True, timeout=60)
    assert "has an MTU of 1500, but 9000 is expected" in ask(client)["routes"][0]["problem"]
    assert "There is no route to 10.200.0.1" in ask(client, servers=["10.200.0.1"])["routes"][0]["problem"]
