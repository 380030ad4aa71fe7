# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ports become InfiniBand or Ethernet, are asked first, and nobody is cut off unawares."""
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.network import link_type
from ansible_collections.dgxops.fleet.plugins.module_utils.network.link_type_host import Host

RECORD_FILE = "var/backups/dgxops/ib_link_type.json"
# After answers that users of mlxconfig (MFT 4.18 to 4.26) posted; written anew here.
NEXT_BOOT = """
Device #1:
----------

Device type:    ConnectX6
Name:           MCX653106A-HDA_Ax
Description:    ConnectX-6 VPI adapter card; HDR IB (200Gb/s) and 200GbE; dual-port QSFP56
Device:         0000:86:00.0

Configurations:                              Next Boot
         PHY_COUNT_LINK_UP_DELAY             DELAY_NONE(0)
         LINK_TYPE_P1                        IB(1)
         LINK_TYPE_P2                        ETH(2)
         KEEP_ETH_LINK_UP_P1                 True(1)
"""
EVERYTHING = """
Configurations:                              Default         Current         Next Boot
*        LINK_TYPE_P1                        IB(1)           IB(1)           ETH(2)
         LINK_TYPE_P2                        IB(1)           ETH(2)          IB(1)
The '*' shows parameters with next value different from default/current value.
"""
INDENTED = "   Configurations:                              Next Boot       \n         LINK_TYPE_P1                        VPI(3)          \n"


@pytest.mark.parametrize(
    "text, ports",
    [(NEXT_BOOT, {1: "ib", 2: "eth"}), (EVERYTHING, {1: "eth", 2: "ib"}), (INDENTED, {1: "vpi"}), ("LINK_TYPE_P1 NEW(7)", {1: "type 7"}), ("", {})],
)
def test_every_answer_of_mlxconfig_is_read(text, ports):
    assert link_type.parse(text) == ports


@given(st.text() | st.text(alphabet="LINK_TYPE_P12 ()*\t\nABC").map(lambda text: "LINK_TYPE_P1" + text))
def test_no_answer_ends_in_a_traceback(text):
    assert set(link_type.parse(text)) <= {1, 2}


class Firmware(Commands):
    """Adapters whose firmware is asked and set by mlxconfig, and interfaces with these addresses."""

    def __init__(self):
        super().__init__()
        self.ports = {"0000:86:00.0": {1: "1", 2: "1"}, "0000:05:00.0": {1: "1"}, "0000:0b:00.0": {}}
        self.addresses = ""
        self.protected = None
        self.set = []

    def run(self, argv, timeout=None, text_in=None):
        if argv[0] == "ip":
            return Result(0, self.addresses, "")
        words = list(argv)
        device = words[words.index("-d") + 1]
        ports = self.ports[device[:-1] + "0"]
        if "set" in words:
            name, _equals, value = words[-1].partition("=")
            self.set.append((device, words[-1]))
            if device == self.protected:
                return Result(3, "", "-E- Failed to set: write protected")
            ports[int(name[-1])] = value
            return Result(0, "Applying... Done!", "")
        names = {"1": "IB(1)", "2": "ETH(2)", "3": "VPI(3)"}
        return Result(0, "".join("         LINK_TYPE_P{0}      {1}\n".format(port, names[value]) for port, value in ports.items()), "")


@pytest.fixture
def firmware():
    return Firmware()


@pytest.fixture
def root(tmp_path):
    for address, number in [("0000:86:00.0", 2), ("0000:86:00.1", 3), ("0000:05:00.0", 0), ("0000:0b:00.0", 1)]:
        name, interface = "mlx5_{0}".format(number), "ib{0}".format(number)
        own = tmp_path / "sys/bus/pci/devices" / address
        ports = own / "infiniband" / name / "ports/1"
        ports.mkdir(parents=True)
        (own / "net" / interface).mkdir(parents=True)
        (own / "vendor").write_text("0x15b3\n")
        (ports / "link_layer").write_text("InfiniBand\n")
        for kind, member in (("infiniband", name), ("net", interface)):
            place = tmp_path / "sys/class" / kind
            place.mkdir(parents=True, exist_ok=True)
            (place / member).symlink_to("../../devices/pci0000:80/{0}/{1}/{2}".format(address, kind, member))
    nvme = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    nvme.mkdir()
    (nvme / "vendor").write_text("0x144d\n")
    return tmp_path


class Installed(Host):
    """A host that has mlxconfig."""

    def _program(self):
        return "mlxconfig"


def host(root, firmware):
    return Installed(Sysfs(str(root)), firmware)


def ask(root, firmware, *ports, **more):
    there = host(root, firmware)
    entries = [dict({"port": None}, device=device, link_type=wanted) for device, wanted in ports]
    change = link_type.make(there.wishes(entries), there.kept(), more.get("disconnect", False))
    there.carry_out(change)
    return change


def back(root, firmware):
    there = host(root, firmware)
    kept = there.kept()
    change = link_type.give_back(there.ports(list(kept)), kept, False)
    there.carry_out(change)
    return change


def refusal(root, firmware, *ports):
    with pytest.raises(FleetError) as caught:
        ask(root, firmware, *ports)
    assert firmware.set == []
    return caught.value.message


def test_the_second_port_of_a_card_is_set_through_its_first_function(root, firmware):
    assert ask(root, firmware, ("mlx5_3", "eth")).reboot_required
    assert firmware.set == [("0000:86:00.0", "LINK_TYPE_P2=2")]
    firmware.set.clear()
    again = ask(root, firmware, ("mlx5_3", "eth"))
    assert not again and again.reboot_required and firmware.set == []


def test_a_port_that_is_what_it_is_to_be_needs_no_reboot(root, firmware):
    change = ask(root, firmware, ("mlx5_0", "ib"))
    assert not change and not change.reboot_required and not os.path.exists(str(root / RECORD_FILE))


def test_ports_are_given_back_as_they_were_first(root, firmware):
    ask(root, firmware, ("mlx5_2", "eth"), ("ib0", "eth"))
    ask(root, firmware, ("mlx5_2", "vpi"))
    assert back(root, firmware)
    assert firmware.ports["0000:86:00.0"] == {1: "1", 2: "1"} and firmware.ports["0000:05:00.0"] == {1: "1"}
    assert not os.path.exists(str(root / RECORD_FILE)) and not back(root, firmware)


def test_a_port_with_an_address_stays_unless_that_is_consented_to(root, firmware):
    firmware.addresses = "4: ib0    inet 10.1.0.5/16 brd 10.1.255.255 scope global ib0\\       valid_lft forever"
    assert "mlx5_0 (0000:05:00.0) has the address 10.1.0.5/16 (ib0)" in refusal(root, firmware, ("mlx5_0", "eth"))
    assert ask(root, firmware, ("mlx5_0", "eth"), disconnect=True)
    assert back(root, firmware)  # to stay what it is takes nothing away


def test_if_one_port_refuses_the_others_are_set_back(root, firmware):
    firmware.protected = "0000:05:00.0"
    with pytest.raises(FleetError) as caught:
        ask(root, firmware, ("mlx5_2", "eth"), ("mlx5_0", "eth"))
    assert "write protected" in caught.value.message and "All ports are configured as they were before." in caught.value.message
    assert firmware.ports["0000:86:00.0"][1] == "1"


@pytest.mark.parametrize(
    "ports, said",
    [
        ([("mlx5_9", "eth")], "There is no network interface or InfiniBand device mlx5_9 on this host"),
        ([("mlx5_1", "eth")], "0000:0b:00.0 has no setting LINK_TYPE"),
        ([("0000:01:00.0", "eth")], "0000:01:00.0 is no adapter of NVIDIA Networking (Mellanox), but of vendor 0x144d"),
        ([("mlx5_0", "eth"), ("0000:05:00.0", "ib")], "ports names port 1 of mlx5_0 (0000:05:00.0) more than once"),
        ([("mlx5_0", None)], "link_type of mlx5_0 is missing"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(root, firmware, ports, said):
    assert said in refusal(root, firmware, *ports)


def test_a_firmware_that_does_not_keep_what_it_was_told_is_found_out(root, firmware, monkeypatch):
    answers = firmware.run
    monkeypatch.setattr(firmware, "run", lambda argv, timeout=None, text_in=None: Result(0, "Done!", "") if "set" in argv else answers(argv))
    with pytest.raises(FleetError, match="was asked to be eth from the next boot on, but says ib"):
        ask(root, firmware, ("mlx5_0", "eth"))


@pytest.mark.parametrize("text", ["{", "[]", '{"0000:05:00.0 P1": "token ring"}', '{"mlx5_0": "ib"}'])
def test_a_damaged_record_is_named(root, firmware, text):
    (root / RECORD_FILE).parent.mkdir(parents=True)
    (root / RECORD_FILE).write_text(text)
    assert RECORD_FILE + " is damaged" in refusal(root, firmware, ("mlx5_0", "eth"))
