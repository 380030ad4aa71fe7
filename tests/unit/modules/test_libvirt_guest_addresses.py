# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook sees of libvirt_guest_addresses, with guests that come up while it waits."""
from typing import Any, Dict, List

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import guest_addresses
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.client import DomainEntry, GuestAddress
from ansible_collections.dgxops.fleet.plugins.modules import libvirt_guest_addresses
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

MAC, PRIVATE = "52:54:00:b2:d9:a7", "52:54:00:b2:d9:a8"
XML = """<domain type='kvm'><name>g</name><devices>
<interface type='direct'><mac address='52:54:00:B2:D9:A7'/><source network='macvtap-net' dev='enp1s0f0' mode='bridge'/></interface>
<interface type='network'><mac address='{0}'/><source network='private-net' bridge='virbr1'/></interface>
</devices></domain>""".format(PRIVATE)
#: As `virsh domifaddr --source agent` of the document shows it (section 11.7), with the second card in front.
AGENT = [
    GuestAddress("lo", "00:00:00:00:00:00", "127.0.0.1", 8, "agent"),
    GuestAddress("enp2s0", PRIVATE, "192.168.10.7", 24, "agent"),
    GuestAddress("enp1s0", MAC, "fe80::5054:ff:feb2:d9a7", 64, "agent"),
    GuestAddress("enp1s0", MAC, "10.33.14.18", 24, "agent"),
    GuestAddress("docker0", "02:42:3e:48:87:61", "172.17.0.1", 16, "agent"),
]
LEASE = [GuestAddress("vnet1", PRIVATE, "192.168.10.7", 24, "lease")]


class Guests:
    """A libvirt whose answers change from one question to the next; the last one stays."""

    def __init__(self):
        self.answers: Dict[str, List[Any]] = {"agent": [AGENT], "lease": [LEASE], "arp": [FleetError("no table.")]}
        self.running = [True]
        self.now = 0.0

    def domains(self):
        running = self.running.pop(0) if len(self.running) > 1 else self.running[0]
        return [DomainEntry("g", "1", running, True), DomainEntry("off", "2", False, True)]

    def active_xml(self, uuid):
        return XML

    def addresses(self, uuid, source):
        entries = self.answers[source]
        answer = entries.pop(0) if len(entries) > 1 else entries[0]
        if isinstance(answer, FleetError):
            raise answer
        return answer

    def close(self):
        pass

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def guests(monkeypatch):
    guests = Guests()
    monkeypatch.setattr(libvirt_guest_addresses.Client, "open", lambda uri: guests)
    monkeypatch.setattr(guest_addresses.time, "monotonic", lambda: guests.now)
    monkeypatch.setattr(guest_addresses.time, "sleep", guests.sleep)
    return guests


def tell(check=False, **options):
    return run_module(libvirt_guest_addresses.main, options, check=check)


def test_the_address_is_that_of_the_first_card_and_never_of_docker(guests):
    (guest,) = tell()["guests"]
    assert (guest["name"], guest["running"], guest["address"]) == ("g", True, "10.33.14.18")
    assert {entry["address"]: (entry["source"], entry["connection"]) for entry in guest["addresses"]} == {
        "127.0.0.1": ("agent", None), "172.17.0.1": ("agent", None), "192.168.10.7": ("agent", "private-net"),
        "10.33.14.18": ("agent", "macvtap-net"), "fe80::5054:ff:feb2:d9a7": ("agent", "macvtap-net"),
    }  # fmt: skip
    assert guest["problems"] == {"arp": "no table."}


def test_without_an_agent_the_lease_tells(guests):
    guests.answers["agent"] = [FleetError("agent is not configured.")]
    (guest,) = tell()["guests"]
    assert guest["address"] == "192.168.10.7" and guest["addresses"][0]["source"] == "lease"
    assert guest["problems"]["agent"] == "agent is not configured."


def test_it_waits_until_a_guest_has_started_and_got_its_address(guests):
    guests.running = [False, True]
    guests.answers = {"lease": [[], [], LEASE]}
    assert tell(names=["g"], sources=["lease"], wait=60)["guests"][0]["address"] == "192.168.10.7"
    assert guests.now == 6


def test_what_never_comes_is_said_with_all_that_was_tried(guests):
    guests.answers["agent"], guests.answers["lease"] = [FleetError("agent is not connected.")], [[]]
    answer = tell(names=["g", "off"], wait=10)
    assert answer["failed"] and answer["waiting"] == ["g", "off"] and guests.now == 10
    assert answer["msg"].startswith(
        "No address within 10 s of: g (agent: agent is not connected; lease: knows none; arp: no table), off is not running. See that")


def test_a_link_local_address_is_not_enough(guests):
    assert tell(family="ipv6")["guests"][0]["address"] is None
    guests.answers["agent"] = [[GuestAddress("enp1s0", MAC, "2001:db8::7", 64, "agent")]]
    assert tell(family="ipv6", wait=5)["guests"][0]["address"] == "2001:db8::7"


def test_asked_once_a_guest_that_is_off_has_no_address_and_check_mode_does_not_wait(guests):
    for options in ({}, {"check": True, "wait": 300}):
        (guest,) = tell(names=["off"], **options)["guests"]
        assert (guest["running"], guest["address"], guest["addresses"]) == (False, None, []) and guests.now == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"names": ["nobody"]}, "There is no domain nobody. libvirt has: g, off."),
        ({"wait": -1}, "wait is -1."),
        ({"sources": []}, "sources is empty."),
    ],
)
def test_what_cannot_be_asked_is_refused(guests, options, said):
    assert said in tell(**options)["msg"]
