# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks that libvirt really makes, with dnsmasq and running guests; virsh, ip and DHCP are the witnesses."""
import os
import shutil
import tempfile
import time

import pytest

from ansible_collections.dgxops.fleet.tests.integration.private_networks import NetworkHost

MAC = "52:54:00:e1:28:3e"
OTHER = "52:54:00:00:00:02"
DEFAULT = {
    "name": "default", "mode": "nat", "bridge": "virbr0", "address": "192.168.122.1/24",
    "ranges": [{"start": "192.168.122.100", "end": "192.168.122.254"}],
}  # fmt: skip
OLD = """\
<network>
  <name>old</name>
  <forward mode='nat'/>
  <ip address='192.168.124.1' netmask='255.255.255.0'><dhcp><range start='192.168.124.2' end='192.168.124.254'/></dhcp></ip>
  <portgroup name='x'/>
</network>
"""
LEASE = {"mac": MAC, "ip": "192.168.122.45", "name": "1gpu-vm-1g0"}


@pytest.fixture(scope="module")
def place():
    places = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [name for name in ("libvirtd", "dnsmasq", "qemu-system-x86_64", "unshare") if not shutil.which(name, path=places)]
    if missing or os.geteuid() != 0:
        pytest.fail("needs root and {0}; script/test integration sees to both".format(", ".join(missing) or "nothing else"))
    place = NetworkHost(tempfile.mkdtemp(prefix="fleet-networks-"))
    yield place
    place.stop()


@pytest.fixture
def host(place, tmp_path):
    place.clear()
    place.backups = str(tmp_path / "backups")
    return place


def want(host, *networks, check=False, **options):
    if networks:
        options["networks"] = list(networks)
    answer = host.run(check=check, backup_dir=host.backups, **options)
    return answer


def made(host, *networks, **options):
    """Foreseen by check mode, done, and a second run changes nothing."""
    foreseen = want(host, *networks, check=True, **options)
    assert not foreseen.get("failed"), foreseen
    answer = want(host, *networks, **options)
    assert not answer.get("failed"), answer
    # Where the backup has been moved to is known only then.
    assert [dict(entry, backup="") for entry in answer["networks"]] == [dict(entry, backup="") for entry in foreseen["networks"]]
    assert answer["diff"] == foreseen["diff"]
    again = want(host, *networks, **options)
    assert again.get("changed") is False or options.get("state") == "restored", again
    return answer


def wait_for(question, expected, seconds=60):
    deadline = time.monotonic() + seconds
    while question() != expected:
        assert time.monotonic() < deadline, question()
        time.sleep(0.5)


MODES = ("vepa", "bridge", "private", "passthrough")


def test_every_kind_of_network_is_made_and_given_back(host):
    kinds = [
        DEFAULT,
        {"name": "bound", "mode": "nat", "devices": ["eth9"], "address": "192.168.123.1/24", "mtu": 9000, "domain": "lab.example"},
        {"name": "private-net", "mode": "isolated", "address": "192.168.10.1/24", "ranges": [{"start": "192.168.10.2", "end": "192.168.10.99"}],
         "dns": {"forwarders": ["10.0.0.53"], "hosts": [{"ip": "192.168.10.1", "names": ["host", "store"]}]}},
        {"name": "bridged", "mode": "bridge", "bridge": "br9"},
        {"name": "pool", "mode": "hostdev", "pf": "eth9", "active": False},
    ] + [{"name": "macvtap-" + mode, "mode": "macvtap", "macvtap_mode": mode, "devices": ["eth9"]} for mode in MODES]  # fmt: skip
    answer = made(host, *kinds)
    assert [entry["state"] for entry in answer["networks"]] == ["active"] * 4 + ["inactive"] + ["active"] * 4
    assert "mtu 9000" in host.say("ip", "link", "show", host_bridge(host, "bound"))
    assert "oif eth9" in host.say("iptables-save") or "-o eth9" in host.say("iptables-save")
    assert "<forward dev='eth9' mode='private'>" in host.xml("macvtap-private")
    # macvtap: the mode and the NIC change.
    made(host, {"name": "macvtap-private", "mode": "macvtap", "macvtap_mode": "vepa", "devices": ["eth9p"]})
    assert "<forward dev='eth9p' mode='vepa'>" in host.xml("macvtap-private", inactive=False)
    assert want(host, state="restored")["changed"]
    assert host.say("virsh", "-q", "net-list", "--all", "--name").split() == []


def host_bridge(host, name):
    return host.xml(name).split("<bridge name='")[1].split("'")[0]


def test_a_lease_reaches_a_running_guest_without_a_restart(host):
    made(host, DEFAULT)
    host.add_guest("g", ("network", "default", MAC))
    wait_for(lambda: MAC in host.leases("default"), True)
    bridge, tap = host.links()["virbr0"], host.links()["vnet%d" % vnet(host)]
    answer = made(host, dict(DEFAULT, hosts=[LEASE], dns={"hosts": [{"ip": "192.168.122.1", "names": ["gateway"]}]}))
    assert answer["networks"][0]["live"] == ["hosts", "dns.hosts"] and not answer["networks"][0]["restarted"]
    answer = made(host, dict(DEFAULT, hosts=[LEASE], ranges=[{"start": "192.168.122.150", "end": "192.168.122.200"}]))
    assert answer["networks"][0]["live"] == ["ranges"]
    links = host.links()
    assert links["virbr0"]["ifindex"] == bridge["ifindex"] and links[tap["ifname"]]["master"] == "virbr0"
    assert "ip='192.168.122.45'" in host.xml("default") and "ip='192.168.122.45'" in host.xml("default", inactive=False)
    host.say("virsh", "-q", "reset", "g")
    wait_for(lambda: host.leases("default").get(MAC), "192.168.122.45")
    # Two guests change places.
    made(host, dict(DEFAULT, hosts=[dict(LEASE, mac=OTHER, name="x"), {"mac": MAC, "ip": "192.168.122.46"}]))
    made(host, dict(DEFAULT, hosts=[dict(LEASE, ip="192.168.122.46", name="x"), {"mac": OTHER, "ip": "192.168.122.45"}]))
    assert host.links()["virbr0"]["ifindex"] == bridge["ifindex"]


def vnet(host):
    return max(int(name[4:]) for name in host.links() if name.startswith("vnet"))


def test_a_restart_needs_consent_and_keeps_the_guests_connected(host):
    made(host, DEFAULT)
    host.add_guest("g", ("network", "default", MAC), ("bridge", "virbr0", OTHER))
    wait_for(lambda: MAC in host.leases("default"), True)
    before = host.xml("default")
    answer = want(host, dict(DEFAULT, mtu=1400))
    assert answer["failed"] and answer["guests"] == ["g"] and "mtu of it has to change" in answer["msg"]
    assert host.xml("default") == before
    later = made(host, dict(DEFAULT, mtu=1400, hosts=[LEASE]), when_in_use="next_start")
    assert later["networks"][0]["pending"] == ["mtu"] and later["networks"][0]["live"] == ["hosts"]
    assert host.links()["virbr0"]["mtu"] == 1500
    # Pending is no change of the configuration, and no reason to refuse.
    assert want(host, dict(DEFAULT, mtu=1400, hosts=[LEASE]))["networks"][0]["pending"] == ["mtu"]
    index = host.links()["virbr0"]["ifindex"]
    answer = made(host, dict(DEFAULT, mtu=1400, hosts=[LEASE]), when_in_use="restart")
    assert answer["networks"][0]["restarted"]
    links = host.links()
    taps = [link for name, link in links.items() if name.startswith("vnet")]
    assert [link.get("master") for link in taps] == ["virbr0"] * 2 and {link["mtu"] for link in taps} == {1400}
    assert links["virbr0"]["ifindex"] != index and links["virbr0"]["mtu"] == 1400
    host.say("virsh", "-q", "reset", "g")
    wait_for(lambda: host.leases("default").get(MAC), "192.168.122.45")


def test_what_guests_use_is_not_removed_or_stopped(host):
    made(host, DEFAULT)
    host.add_guest("g", ("network", "default", MAC))
    for options in ({"state": "absent"}, {"active": False}):
        answer = want(host, dict(options, name="default"), when_in_use="restart")
        assert answer["failed"] and answer["guests"] == ["g"] and "while running guests are connected" in answer["msg"]
    assert want(host, state="restored")["failed"] and host.is_active("default")


def test_a_network_that_was_there_comes_back_as_it_was(host):
    host.say("virsh", "-q", "net-define", "/dev/stdin", text=OLD)
    before = host.xml("old")
    made(host, {"name": "old", "mtu": 9000, "ranges": [{"start": "192.168.124.2", "end": "192.168.124.99"}], "active": True, "autostart": True})
    assert host.xml("old") != before and host.is_active("old")
    made(host, {"name": "old", "hosts": [{"mac": MAC, "ip": "192.168.124.200"}]})
    made(host, state="restored")
    assert host.xml("old") == before and not host.is_active("old")
    assert "no" in host.say("virsh", "net-info", "old").split("Autostart:")[1]
    # Removed, and given back.
    made(host, {"name": "old", "state": "absent"})
    assert want(host, state="restored")["networks"][0]["state"] == "inactive"
    assert host.xml("old") == before
    # Somebody else has edited it meanwhile: only what was changed by us comes back.
    made(host, {"name": "old", "mtu": 9000})
    host.say("virsh", "-q", "net-update", "old", "add", "portgroup", "<portgroup name='theirs'/>", "--config")
    made(host, state="restored")
    assert "theirs" in host.xml("old") and "mtu" not in host.xml("old")


def test_a_step_that_fails_puts_everything_back(host):
    made(host, DEFAULT)
    host.add_guest("g", ("network", "default", MAC))
    before = host.xml("default")
    # eth9 has no virtual functions, so libvirt cannot start the pool; by then the other network has been restarted.
    answer = want(host, dict(DEFAULT, mtu=1400), {"name": "pool", "mode": "hostdev", "pf": "eth9"}, when_in_use="restart")
    assert answer["failed"] and "All networks are as they were before." in answer["msg"]
    assert host.xml("default") == before and host.is_active("default")
    assert [link.get("master") for name, link in host.links().items() if name.startswith("vnet")] == ["virbr0"]
    assert host.say("virsh", "-q", "net-list", "--all", "--name").split() == ["default"]
    assert want(host, state="restored", networks=[{"name": "pool"}])["changed"] is False


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ({"mode": "nat", "address": "10.77.8.1/24"}, "overlaps 10.77.0.0/16, which the host reaches through br9"),
        ({"mode": "nat", "address": "192.168.122.129/25"}, "overlaps 192.168.122.0/24 of network default"),
        ({"mode": "isolated", "bridge": "virbr0"}, "The bridge virbr0 is that of network default already"),
        ({"mode": "isolated", "bridge": "br9"}, "The host has a device br9 already"),
    ],
)
def test_what_the_host_has_already_is_refused(host, network, reason):
    made(host, DEFAULT)
    answer = want(host, dict(network, name="new"))
    assert answer["failed"] and reason in answer["msg"]
    assert host.say("virsh", "-q", "net-list", "--all", "--name").split() == ["default"]


def test_the_address_of_a_guest_is_waited_for(host):
    made(host, dict(DEFAULT, hosts=[LEASE]))
    host.add_guest("g", ("network", "default", MAC), start=False)
    assert host.run("libvirt_guest_addresses", names=["g"])["guests"][0]["running"] is False
    host.say("virsh", "-q", "start", "g")
    (guest,) = host.run("libvirt_guest_addresses", wait=60)["guests"]
    assert (guest["name"], guest["address"]) == ("g", "192.168.122.45")
    assert [(entry["source"], entry["connection"], entry["mac"]) for entry in guest["addresses"]] == [("lease", "default", MAC)]
    assert "agent is not configured" in guest["problems"]["agent"]
    host.add_guest("lonely", ("bridge", "br9", OTHER))
    answer = host.run("libvirt_guest_addresses", names=["g", "lonely"], wait=3)
    assert answer["failed"] and answer["waiting"] == ["lonely"] and "agent channel" in answer["msg"]
