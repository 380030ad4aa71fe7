# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Virtual functions come, change, last and go, and never while somebody uses them."""
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network import sriov
from ansible_collections.dgxops.fleet.plugins.module_utils.network.sriov_host import Host

from .lab_adapters import DEVICES, Answers, LabAdapters

RECORD_FILE = "var/backups/dgxops/sriov_vfs.json"
FIRST, SECOND = "0000:86:00.0", "0000:86:00.1"
ADDRESSES = """1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
7: enp134s0f0v1    inet6 fe80::1/64 scope link \\       valid_lft forever preferred_lft forever
8: enp134s0f0v2    inet 10.0.0.7/24 brd 10.0.0.255 scope global dynamic enp134s0f0v2\\       valid_lft 3000sec preferred_lft 3000sec
"""


@pytest.fixture
def lab(tmp_path):
    return LabAdapters(tmp_path)


def host(lab, addresses=""):
    return Host(lab, Answers(addresses), wait=0.2, poll=0.01)


def ask(lab, persistent=True, addresses="", **counts):
    """What the module does for ``state: present``."""
    there = host(lab, addresses)
    change = sriov.make(there.wishes([{"device": device, "vfs": count} for device, count in counts.items()]), there.found(), persistent)
    there.carry_out(change)
    return change


def back(lab, *devices):
    there = host(lab)
    found = there.found()
    change = sriov.give_back(there.remembered(found, [{"device": device} for device in devices] or None), found, not devices)
    there.carry_out(change)
    return change


def refusal(lab, addresses="", **counts):
    lab.writes.clear()
    with pytest.raises(FleetError) as caught:
        ask(lab, addresses=addresses, **counts)
    assert lab.writes == []
    return caught.value.message


def test_an_adapter_gets_its_virtual_functions_and_a_second_run_changes_nothing(lab):
    assert ask(lab, enp134s0f0=4)
    assert lab.numbers() == {FIRST: 4, SECOND: 0}
    assert [virtual.interfaces for virtual in host(lab).function(FIRST).virtual][:2] == [("enp134s0f0v0",), ("enp134s0f0v1",)]
    lab.writes.clear()
    assert not ask(lab, enp134s0f0=4) and lab.writes == []


def test_another_number_goes_through_none(lab):
    ask(lab, enp134s0f0=2)
    lab.writes.clear()
    ask(lab, enp134s0f0=4)
    assert lab.writes == [(FIRST, 0), (FIRST, 4)]


def test_all_is_as_many_as_the_adapter_can_have(lab):
    ask(lab, enp134s0f1="all")
    assert lab.numbers()[SECOND] == 63


def test_udev_makes_them_at_boot_once_the_driver_is_bound(lab):
    ask(lab, enp134s0f0=16, enp134s0f1=8)
    rules = open(lab.path(sriov.RULES)).read().splitlines()
    assert rules[1:] == [
        'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="0000:86:00.0", DRIVER=="?*", ATTR{sriov_numvfs}="16"',
        'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="0000:86:00.1", DRIVER=="?*", ATTR{sriov_numvfs}="8"',
    ]


def test_what_is_not_to_last_is_in_no_rule(lab):
    ask(lab, enp134s0f0=4)
    assert ask(lab, persistent=False, enp134s0f0=4).rules_after is None
    assert not os.path.exists(lab.path(sriov.RULES))


def test_an_adapter_that_is_not_named_is_left_alone(lab):
    ask(lab, enp134s0f0=4)
    ask(lab, enp134s0f1=2)
    assert lab.numbers() == {FIRST: 4, SECOND: 2}
    assert open(lab.path(sriov.RULES)).read().count("sriov_numvfs") == 2


def test_everything_is_given_back(lab):
    lab.write("{0}/{1}/sriov_numvfs".format(DEVICES, SECOND), "3")
    ask(lab, enp134s0f0=4, enp134s0f1=8)
    ask(lab, enp134s0f0=5)
    assert back(lab)
    assert lab.numbers() == {FIRST: 0, SECOND: 3}
    assert not os.path.exists(lab.path(sriov.RULES)) and not os.path.exists(lab.path(RECORD_FILE))
    assert not back(lab)


def test_one_adapter_is_given_back_and_the_other_stays(lab):
    ask(lab, enp134s0f0=4, enp134s0f1=8)
    back(lab, "enp134s0f0")
    assert lab.numbers() == {FIRST: 0, SECOND: 8}
    assert FIRST not in open(lab.path(sriov.RULES)).read()


def test_an_adapter_that_was_taken_out_keeps_nothing_from_being_given_back(lab):
    ask(lab, enp134s0f0=4, enp134s0f1=8)
    os.unlink(lab.path("{0}/{1}".format(DEVICES, SECOND)))
    back(lab)
    assert lab.numbers()[FIRST] == 0 and not os.path.exists(lab.path(RECORD_FILE))


def test_a_run_that_was_cut_short_is_completed_and_remembers_the_first_number(lab):
    """Killed between taking the old ones away and making the new ones."""
    lab.write("{0}/{1}/sriov_numvfs".format(DEVICES, FIRST), "2")
    there = host(lab)
    change = sriov.make(there.wishes([{"device": "enp134s0f0", "vfs": 4}]), there.found(), True)
    there._remember(change.kept)
    lab.write("{0}/{1}/sriov_numvfs".format(DEVICES, FIRST), "0")
    ask(lab, enp134s0f0=4)
    assert lab.numbers()[FIRST] == 4
    back(lab)
    assert lab.numbers()[FIRST] == 2


def test_a_guest_that_has_one_keeps_it(lab):
    ask(lab, enp134s0f0=4)
    lab.drive(host(lab).function(FIRST).virtual[1].address, "vfio-pci")
    message = refusal(lab, enp134s0f0=8)
    assert "0000:86:03.1 is handed to a guest or a program (driver vfio-pci)" in message and "Nothing was changed" in message
    with pytest.raises(FleetError, match="handed to a guest"):
        back(lab)
    assert not ask(lab, enp134s0f0=4)  # what is as it should be disturbs nobody


def test_an_interface_that_somebody_uses_stays(lab):
    ask(lab, enp134s0f0=4)
    assert "0000:86:04.2 has the address 10.0.0.7/24 (enp134s0f0v2)" in refusal(lab, addresses=ADDRESSES, enp134s0f0=8)
    lab.link_to("enp134s0f0v0", "master", "bond0")
    lab.link_to("enp134s0f0v0", "upper_bond0", "bond0")
    lab.link_to("enp134s0f0v3", "upper_macvtap0", "macvtap0")
    message = refusal(lab, enp134s0f0=8)
    assert "0000:86:02.0 carries bond0 (by enp134s0f0v0)" in message and "carries macvtap0 (by enp134s0f0v3)" in message


def test_an_interface_in_a_container_stays(lab):
    ask(lab, enp134s0f0=1)
    os.unlink(lab.path("sys/class/net/enp134s0f0v0"))
    inner = lab.path("{0}/0000:86:02.0/net".format(DEVICES))
    os.rename(inner, inner + ".elsewhere")
    assert "another network namespace" in refusal(lab, enp134s0f0=2)


@pytest.mark.parametrize(
    "counts, said",
    [
        ({"enp134s0f0": 64}, "0000:86:00.0 (enp134s0f0) can have 63 virtual functions, but 64 are asked for. Ask for at most 63, or raise NUM_OF_VFS"),
        ({"eno1": 2}, "0000:01:00.0 (eno1) offers no virtual functions"),
        ({"eno1": "all"}, "mlxconfig -d 0000:01:00.0 set SRIOV_EN=1"),
        ({"eth7": 2}, "There is no network interface or InfiniBand device eth7 on this host, which has eno1, enp134s0f0, enp134s0f1."),
        ({"0000:99:00.0": 2}, "There is no PCI device 0000:99:00.0"),
        ({"..": 2}, "There is no network interface or InfiniBand device .."),
        ({"enp134s0f0": -1}, "vfs of enp134s0f0 is -1, but a number of virtual functions, or all, is expected"),
        ({"enp134s0f0": True}, "vfs of enp134s0f0 is True"),
        ({"enp134s0f0": None}, "vfs of enp134s0f0 is None"),
        ({"enp134s0f0": "٣"}, "vfs of enp134s0f0 is '٣'"),
        ({"enp134s0f0": 2, FIRST: 2}, "functions names 0000:86:00.0 (enp134s0f0) more than once"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(lab, counts, said):
    assert said in refusal(lab, **counts)
    assert not os.path.exists(lab.path(RECORD_FILE))


def test_a_virtual_function_has_none_of_its_own(lab):
    ask(lab, enp134s0f0=1)
    assert "0000:86:02.0 is itself a virtual function, of 0000:86:00.0" in refusal(lab, enp134s0f0v0=2)


def test_no_virtual_functions_is_no_feat_for_an_adapter_without_them(lab):
    assert not ask(lab, persistent=False, eno1=0)


@pytest.mark.parametrize("number, reason", [(errno.ENOMEM, "pci=realloc"), (errno.ENOSPC, "ARI"), (errno.EIO, "Input/output error")])
def test_if_one_adapter_refuses_all_get_back_what_they_had(lab, number, reason):
    ask(lab, enp134s0f0=2)
    lab.refuses[SECOND] = number
    with pytest.raises(FleetError) as caught:
        ask(lab, enp134s0f0=4, enp134s0f1=4)
    assert lab.numbers() == {FIRST: 2, SECOND: 0}
    assert reason in caught.value.message and "that they had before" in caught.value.message
    assert "00.1" not in open(lab.path(sriov.RULES)).read()


def test_a_driver_that_makes_fewer_is_found_out(lab, monkeypatch):
    monkeypatch.setattr(lab, "write", lab.put)
    with pytest.raises(FleetError, match="has 0 virtual functions after 0.2 s, but was asked for 4"):
        ask(lab, enp134s0f0=4)


def test_a_damaged_record_is_named(lab):
    os.makedirs(os.path.dirname(lab.path(RECORD_FILE)))
    lab.put(RECORD_FILE, '{"0000:86:00.0": 4}')
    assert RECORD_FILE + " is damaged" in refusal(lab, enp134s0f0=1)


@given(st.text(max_size=12) | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.integers(), max_size=2))
def test_anything_is_a_number_of_virtual_functions_or_refused_in_words(value):
    try:
        count = sriov.wanted_count(value, "vfs")
    except FleetError as error:
        assert "a number of virtual functions, or all, is expected" in error.message
    else:
        assert count is None or count >= 0
