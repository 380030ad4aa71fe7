# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A change of a network on a host that is played: written, armed, applied, confirmed; and every way in which it is taken back."""
import errno
import json
import os
import stat
import time

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network import netplan_host, netplan_pending, netplan_rollback
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import Change, Text, decide
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_guard import confirm, look, outcome, start, wait
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import carry_out, check_ports, read, try_out
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_links import Link
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_pending import waiting

from .lab_netplan import BOND, BRIDGE, INSTALLER, LINKS, host_below, wish

NETWORK = {"bonds": {"bond0": BOND}, "bridges": {"br0": dict(BRIDGE, mtu=9000)}}
APPLIED = dict(
    LINKS, enp1=LINKS["enp1"]._replace(master="bond0", mtu=9000), enp2=LINKS["enp2"]._replace(master="bond0", mtu=9000),
    bond0=Link("bond0", "bond", mtu=9000, master="br0"), br0=Link("br0", "bridge", mtu=9000, addresses=("10.33.14.17/24",)),
)


class Programs(netplan_rollback.Programs):
    """What the host's own program runs, on the same played host."""

    def __init__(self, commands):
        self.commands = commands
        self.ran = []

    def run(self, *argv):
        self.ran.append(" ".join(argv))
        if argv[0] == "ip" and argv[1] in ("-4", "-6"):
            return 0, "default via 10.0.2.2 dev mgmt0 proto static\n10.0.2.0/24 dev mgmt0 proto kernel\n" if argv[1] == "-4" else ""
        result = self.commands.run(argv)
        return (result.rc, result.out + result.err) if result.rc != 127 else (0, "")


@pytest.fixture
def host(tmp_path, monkeypatch):
    played = host_below(tmp_path)
    monkeypatch.setattr(netplan_rollback, "SETTLE", 0)
    monkeypatch.setattr("ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_guard.Programs", lambda: Programs(played.commands))
    return played


def written(host, network=None, **options):
    asked = wish(NETWORK if network is None else network, **options)
    found = read(asked, host)
    change = decide(asked, found)
    try_out(change, host)
    check_ports(change, asked, found, host.commands)
    carry_out(change, asked, found, host)
    return change


def tree(host):
    """Every file of netplan's and systemd's, with its bytes and mode."""
    found = {}
    for top in ("etc/netplan", "etc/systemd/system"):
        for folder, _folders, names in os.walk(host.path(top)):
            for name in names:
                place = os.path.join(folder, name)
                with open(place, "rb") as handle:
                    found[place] = (handle.read(), stat.S_IMODE(os.stat(place).st_mode))
    return found


def test_the_file_is_for_root_only_and_the_way_back_is_laid_out(host):
    before = tree(host)
    written(host)
    place = host.path("/etc/netplan/60-dgxops.yaml")
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(host.place.directory).st_mode) == 0o700
    with open(host.place.unit) as handle:
        unit = handle.read()
    assert "Before=sysinit.target systemd-udev-trigger.service network-pre.target" in unit and os.path.exists(host.place.wanted)
    assert "boot" in unit and os.path.exists(os.path.join(host.place.directory, "rollback.py"))
    assert not set(before).difference(tree(host))


def test_a_second_run_changes_nothing_and_still_tells_what_waits(host):
    written(host)
    there = tree(host)
    assert not written(host)
    assert tree(host) == there and waiting(host.place, host.commands) is not None


def test_what_is_undone_before_it_is_applied_leaves_nothing(host):
    before = tree(host)
    written(host, replaces=["50-installer.yaml"])
    written(host, None, state="absent")
    assert not os.path.exists(host.path("/var/backups/dgxops/netplan"))
    assert tree(host) == before and waiting(host.place, host.commands) is None


def test_netplan_says_no_and_nothing_is_touched(host):
    before = tree(host)
    host.commands.fails["netplan", "generate"] = Result(1, "", "/etc/netplan/60-dgxops.yaml:5:7: Error in network definition: unknown key 'adresses'")
    with pytest.raises(FleetError, match="netplan does not take this, so nothing was changed: /etc/netplan/60-dgxops.yaml:5:7"):
        written(host)
    assert tree(host) == before


def test_a_change_is_confirmed_when_it_is_in_force(host):
    written(host)
    assert look(host).created == ["bond0", "br0"]
    assert start(host, "one", 60).state == "started"
    assert host.commands.timers == {"dgxops-netplan-timer-one.timer"}
    assert wait_now(host).state == "applying"
    netplan_rollback.apply(host.place, Programs(host.commands))
    host.commands.links = dict(APPLIED, br0=APPLIED["br0"]._replace(addresses=()))
    assert "br0 does not have the address 10.33.14.17/24" in wait_now(host).reason
    assert confirm(host, "one", []).state == "applying"
    host.commands.links = dict(APPLIED)
    assert wait_now(host).state == "in_force"
    assert host.commands.timers  # which only a new connection stops
    assert confirm(host, "one", []).state == "confirmed"
    assert not host.commands.timers and waiting(host.place, host.commands) is None and not os.path.exists(host.place.unit)
    assert sorted(os.listdir(host.path("/etc/netplan"))) == ["50-installer.yaml", "60-dgxops.yaml"]
    assert start(host, "two", 60).state == "nothing"


def wait_now(host, reach=()):
    from ansible_collections.dgxops.fleet.plugins.module_utils.network import netplan_guard
    patience, netplan_guard.PATIENCE = netplan_guard.PATIENCE, 0
    try:
        return wait(host, "one", reach)
    finally:
        netplan_guard.PATIENCE = patience


def test_without_confirmation_files_and_links_are_as_before(host):
    before = tree(host)
    written(host, replaces=["50-installer.yaml"], network=dict(NETWORK, ethernets={"mgmt0": {"addresses": ["10.0.2.99/24"]}}))
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.apply(host.place, programs)
    host.commands.links = dict(APPLIED, mgmt0=LINKS["mgmt0"]._replace(addresses=("10.0.2.99/24",)))
    netplan_rollback.rollback(host.place, programs, "the change was not confirmed within 60 s")
    assert tree(host) == before and not os.path.exists(host.path("/var/backups/dgxops/netplan"))
    assert "ip link delete dev br0" in programs.ran and "ip link delete dev bond0" in programs.ran
    back = programs.ran[programs.ran.index("netplan apply") + 1:]
    assert back.index("ip link delete dev br0") < back.index("ip link delete dev bond0") < back.index("netplan apply")
    assert "ip address add 10.0.2.15/24 dev mgmt0" in programs.ran  # netplan did not bring it back
    assert "ip link set dev enp1 mtu 1500" in programs.ran and "ip link set dev enp1 nomaster" in programs.ran
    told = outcome(host, "one")
    assert (told.state, told.reason) == ("rolled_back", "the change was not confirmed within 60 s")
    assert confirm(host, "one", []).state == "rolled_back"


def test_an_old_address_that_is_still_there_proves_nothing(host):
    written(host, replaces=["50-installer.yaml"], network={"ethernets": {"mgmt0": {"addresses": ["10.0.2.99/24"]}}})
    start(host, "one", 60)
    netplan_rollback.apply(host.place, Programs(host.commands))
    host.commands.links = dict(LINKS, mgmt0=LINKS["mgmt0"]._replace(addresses=("10.0.2.99/24", "10.0.2.15/24")))
    assert "mgmt0 still has the address 10.0.2.15/24" in wait_now(host).reason


def test_netplan_fails_and_the_change_is_taken_back_at_once(host):
    before = tree(host)
    written(host)
    start(host, "one", 60)
    host.commands.fails["netplan", "apply"] = Result(1, "", "Job for systemd-networkd.service failed")
    netplan_rollback.apply(host.place, Programs(host.commands))
    told = outcome(host, "one")
    assert told.state == "rolled_back" and "Job for systemd-networkd.service failed" in told.reason and told.failed_steps
    assert tree(host) == before


def test_a_reboot_before_the_confirmation_takes_the_change_back(host):
    before = tree(host)
    written(host)
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.boot(host.place, programs)
    assert tree(host) == before and programs.ran == ["netplan generate"]
    assert "rebooted" in outcome(host, "one").reason
    assert netplan_rollback.boot(host.place, programs) == 0


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_roll_back_that_is_cut_short_is_completed_by_the_next(host, monkeypatch, cut):
    """Killed at each of the operations that change a file."""
    before = tree(host)
    written(host, replaces=["50-installer.yaml"], network=dict(NETWORK, ethernets={"mgmt0": {"dhcp4": True}}))
    left = [cut]

    class Killed(BaseException):
        pass

    def counted(function):
        def wrapper(*arguments, **options):
            if not str(arguments[0]).startswith(str(host.place.run)):
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
            return function(*arguments, **options)
        return wrapper

    with monkeypatch.context() as patch:
        for name in ("unlink", "link", "replace", "rmdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            netplan_rollback.boot(host.place, Programs(host.commands))
        except Killed:
            pass
    netplan_rollback.boot(host.place, Programs(host.commands))
    assert {path: content for path, content in tree(host).items() if path.endswith(".yaml") and ".dgxops" not in path} == before


def test_a_full_disk_is_told_and_nothing_was_changed(host, monkeypatch):
    before = tree(host)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FleetError, match="The way back could not be written to .*No space left on device. Nothing was changed. Free some space"):
        written(host)
    assert tree(host) == before


def test_a_disk_that_gets_full_after_the_way_back_was_written_changes_nothing_either(host, monkeypatch):
    before = tree(host)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "/etc/netplan/60-dgxops.yaml.new")

    monkeypatch.setattr(netplan_host, "_make_ready", full)
    with pytest.raises(FleetError, match="60-dgxops.yaml.new could not be written: No space left on device. Nothing was changed"):
        written(host)
    assert tree(host) == before


def test_a_full_disk_at_the_start_applies_nothing(host, monkeypatch):
    written(host)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_guard.save", full)
    with pytest.raises(FleetError, match="Nothing was applied"):
        start(host, "one", 60)
    assert not host.commands.timers


def test_a_timer_that_does_not_start_applies_nothing(host):
    written(host)
    host.commands.fails["systemctl", "is-active"] = Result(3, "inactive\n", "")
    with pytest.raises(FleetError, match="The roll-back could not be armed, so nothing was applied"):
        start(host, "one", 60)
    assert waiting(host.place, host.commands)["state"] == "written"
    host.commands.fails.clear()
    assert start(host, "two", 60).state == "started"


def test_a_second_run_while_one_is_being_applied_is_refused(host):
    written(host)
    start(host, "one", 60)
    for attempt in (lambda: start(host, "two", 60), lambda: waiting(host.place, host.commands)):
        with pytest.raises(FleetError, match="Another change of this host's network is being applied. It has .* more seconds"):
            attempt()


def test_a_run_beside_another_is_refused(host, monkeypatch):
    monkeypatch.setattr(netplan_pending, "locked", lambda place, patience: netplan_rollback.locked(place, 0))
    with netplan_rollback.locked(host.place, 0):
        with pytest.raises(FleetError, match="Another run is changing this host's network at this moment"):
            start(host, "one", 60)


def test_a_roll_back_that_never_ran_is_started_by_the_next_run(host, monkeypatch):
    written(host)
    start(host, "one", 60)
    later = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(FleetError, match="had not run. It was started now"):
        waiting(host.place, host.commands)
    assert any(words[0] == "systemd-run" and "rollback" in words for words in host.commands.asked)


def test_the_router_has_to_answer(host):
    written(host)
    start(host, "one", 60)
    netplan_rollback.apply(host.place, Programs(host.commands))
    host.commands.links = dict(APPLIED)
    host.commands.fails["ping",] = Result(1, "", "")
    assert wait_now(host, ["10.33.14.1"]).reason == "10.33.14.1 does not answer a ping"


def test_what_is_not_in_force_when_time_is_nearly_up_is_taken_back(host):
    written(host)
    start(host, "one", 5)
    netplan_rollback.apply(host.place, Programs(host.commands))
    answer = wait_now(host)
    assert answer.state == "rolling_back" and "bond0 does not exist" in answer.reason
    assert any("rollback" in words for words in host.commands.asked)


def test_an_optional_interface_may_lack_anything(host):
    written(host, {"ethernets": {"enp1": {"addresses": ["10.8.0.1/24"], "optional": True}}})
    start(host, "one", 60)
    netplan_rollback.apply(host.place, Programs(host.commands))
    assert wait_now(host).state == "in_force"


def confirmed(host, links):
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.apply(host.place, programs)
    host.commands.links = dict(links)
    assert confirm(host, "one", []).state == "confirmed"
    return programs.ran


def test_what_was_set_aside_comes_back_as_it_was_and_the_copy_goes(host):
    before = tree(host)
    written(host, replaces=["50-installer.yaml"], network={"ethernets": {"mgmt0": {"addresses": ["10.0.2.15/24"]}}})
    confirmed(host, LINKS)
    assert os.listdir(host.path("/etc/netplan")) == ["60-dgxops.yaml"]
    written(host, None, state="absent")
    confirmed(host, LINKS)
    assert tree(host) == before and not os.path.exists(host.path("/var/backups/dgxops/netplan"))


def test_a_roll_back_of_the_removal_keeps_the_copies_for_the_next_attempt(host):
    written(host, replaces=["50-installer.yaml"], network={"ethernets": {"mgmt0": {"addresses": ["10.0.2.15/24"]}}})
    confirmed(host, LINKS)
    written(host, None, state="absent")
    start(host, "two", 60)
    netplan_rollback.rollback(host.place, Programs(host.commands), "nobody came")
    change = written(host, None, state="absent")
    assert change.back == ("50-installer.yaml",)
    with open(host.path("/etc/netplan/50-installer.yaml")) as handle:
        assert handle.read() == INSTALLER


def test_adapters_that_nobody_managed_are_given_back_as_they_were(host):
    host.commands.links["enp1"] = LINKS["enp1"]._replace(up=False)
    written(host)
    confirmed(host, APPLIED)
    written(host, None, state="absent")
    start(host, "two", 60)
    programs = Programs(host.commands)
    netplan_rollback.apply(host.place, programs)
    assert "ip link delete dev br0" in programs.ran
    assert "ip link set dev enp1 down" in programs.ran and "ip link set dev enp1 mtu 1500" in programs.ran
    assert "ip link set dev enp2 down" not in programs.ran


def test_another_bond_mode_means_another_bond(host):
    written(host)
    confirmed(host, APPLIED)
    written(host, {"bonds": {"bond0": dict(BOND, parameters={"mode": "active-backup"})}, "bridges": {"br0": dict(BRIDGE, mtu=9000)}})
    assert look(host).removed == ["bond0"]
    assert "ip link delete dev bond0" in confirmed(host, APPLIED)


def test_a_bridge_may_get_another_name_and_keep_its_address(host):
    written(host)
    confirmed(host, APPLIED)
    assert written(host, {"bonds": {"bond0": BOND}, "bridges": {"br9": dict(BRIDGE, mtu=9000)}})
    assert (look(host).created, look(host).removed) == (["br9"], ["br0"])


def test_a_bridge_with_running_guests_is_not_taken_away_without_consent(host):
    written(host)
    confirmed(host, APPLIED)
    host.commands.links = dict(APPLIED, vnet3=Link("vnet3", "tun", master="br0"))
    with pytest.raises(FleetError, match="br0 would have to be removed or made anew, and vnet3 of running guests are attached to it.*detach: true"):
        written(host, None, state="absent")
    assert written(host, None, state="absent", detach=True)


def test_the_mtu_of_a_bridge_is_not_changed_under_running_guests_that_keep_theirs(host):
    written(host)
    confirmed(host, APPLIED)
    host.commands.links = dict(APPLIED, vnet3=Link("vnet3", "tun", mtu=9000, master="br0"))
    smaller = {"bonds": {"bond0": BOND}, "bridges": {"br0": dict(BRIDGE, mtu=4000)}}
    with pytest.raises(FleetError, match=r"br0 is to have the MTU 4000, but vnet3 \(9000\) of running guests on it would keep theirs.*detach: true"):
        written(host, smaller)
    assert written(host, smaller, detach=True)


def test_the_mtu_of_an_adapter_is_not_changed_under_running_guests_on_macvtap(host):
    host.commands.links["macvtap0"] = Link("macvtap0", "macvtap", lower="enp1")
    with pytest.raises(FleetError, match=r"enp1 is to have the MTU 9000, but macvtap0 \(1500\) of running guests"):
        written(host, {"ethernets": {"enp1": {"mtu": 9000}}})
    assert written(host, {"ethernets": {"enp2": {"mtu": 9000}}})


def test_the_mtu_of_an_adapter_is_not_changed_under_guests_that_have_its_virtual_functions(host):
    function, device = os.path.join(host.sysfs, "devices/0000:21:10.0"), os.path.join(host.sysfs, "class/net/enp1/device")
    for directory in (function, device, os.path.join(host.sysfs, "drivers/vfio-pci")):
        os.makedirs(directory, exist_ok=True)
    os.symlink("../../drivers/vfio-pci", os.path.join(function, "driver"))
    os.symlink(function, os.path.join(device, "virtfn0"))
    wanted = {"ethernets": {"enp1": {"mtu": 9000}}}
    with pytest.raises(FleetError, match="enp1 is to have the MTU 9000 instead of 1500, but running guests have its virtual functions 0000:21:10.0"):
        written(host, wanted)
    assert written(host, wanted, detach=True)


def test_a_symbolic_link_is_refused(host):
    os.rename(host.path("/etc/netplan/50-installer.yaml"), host.path("/etc/real.yaml"))
    os.symlink(host.path("/etc/real.yaml"), host.path("/etc/netplan/50-installer.yaml"))
    with pytest.raises(FleetError, match="50-installer.yaml is a symbolic link"):
        written(host, {"ethernets": {"enp1": {}}}, replaces=["50-installer.yaml"])


def test_passwords_of_other_files_are_not_shown(tmp_path):
    wifi = "network:\n  wifis:\n    wl0:\n      access-points:\n        office:\n          password: \"hunter2\"\n"
    change = written(host_below(tmp_path, files={"01-wifi.yaml": wifi}), {"ethernets": {"enp1": {}}}, replaces=["01-wifi.yaml"])
    shown = json.dumps([diff.to_dict() for diff in change.diffs])
    assert "hunter2" not in shown and "office" in shown


def test_the_program_on_the_host_needs_nothing_but_python(host, tmp_path):
    """It runs when nobody is there to help it."""
    written(host)
    with open(os.path.join(host.place.directory, "rollback.py")) as handle:
        text = handle.read()
    assert "from ." not in text and "ansible" not in text.replace("pylint: disable=ansible-bad-function", "")
    status = netplan_rollback.main([os.path.join(host.place.directory, "rollback.py"), "dance"])
    assert status == 2


@pytest.mark.parametrize("said", [
    "access-points: {\"of#fice\": {password: \"hunter2\", auth: {client-key-password: \"hunter2\"}}}",
    "password: |\n        hunter2\n\n        hunter2",
    "\"password\":\n        hunter2",
    "keys:\n        private: hunter2",
    "peers:\n      - keys: {public: known, shared: hunter2}",
    "networkmanager:\n        passthrough:\n          wifi-security.psk: hunter2",
])
def test_a_secret_is_hidden_however_it_is_written(said):
    text = "network:\n  wifis:\n    wl0:\n      {0}\n      dhcp4: true\n".format(said)
    shown = Change({"/etc/netplan/01-wifi.yaml": None}, (), (), {"/etc/netplan/01-wifi.yaml": Text(text)}, ()).diffs[0].before
    assert "hunter2" not in shown and "dhcp4: true" in shown


def test_an_adapter_gets_its_name_back(host):
    """netplan apply names it as set-name says, and leaves that name when the file is gone."""
    written(host, replaces=["50-installer.yaml"], network={
        "ethernets": {"mgmt": {"match": {"macaddress": LINKS["mgmt0"].mac}, "set-name": "enp2", "dhcp4": True},
                      "lan": {"match": {"macaddress": LINKS["enp2"].mac}, "set-name": "mgmt0"}}})
    start(host, "one", 60)
    programs = Programs(host.commands)
    netplan_rollback.apply(host.place, programs)
    played = host.commands.links
    host.commands.links = {"lo": played["lo"], "enp2": played["mgmt0"]._replace(name="enp2"), "enp1": played["enp1"],
                           "mgmt0": played["enp2"]._replace(name="mgmt0")}
    host.commands.indexes = {"lo": 1, "enp2": 2, "enp1": 3, "mgmt0": 4}
    programs.ran.clear()
    netplan_rollback.rollback(host.place, programs, "the change was not confirmed within 60 s")
    named = [line for line in programs.ran if " name " in line]
    assert named == ["ip link set dev mgmt0 name dgxops0", "ip link set dev enp2 name dgxops1",
                     "ip link set dev dgxops0 name enp2", "ip link set dev dgxops1 name mgmt0"]
    assert programs.ran.index("netplan generate") < programs.ran.index("ip link set dev mgmt0 down") < programs.ran.index(named[0])
    assert programs.ran.index(named[-1]) < programs.ran.index("netplan apply")


def test_a_change_that_systemd_may_have_begun_keeps_its_roll_back(host):
    written(host)
    host.commands.fails["systemd-run", "--collect", "--no-block"] = Result(1, "", "Failed to start transient service unit: Connection timed out")
    with pytest.raises(FleetError, match="systemd could not be asked to apply the change: .*timed out.* taken back in 60 s"):
        start(host, "one", 60)
    assert host.commands.timers and waiting_state(host) == "applying"


def test_a_change_that_could_not_be_armed_is_not_applied_late(host):
    written(host)
    programs = Programs(host.commands)
    assert netplan_rollback.apply(host.place, programs) == 0 and not programs.ran


def waiting_state(host):
    return netplan_rollback.load(host.place)["state"]


def test_files_that_another_run_changed_meanwhile_are_not_written_over(host):
    asked = wish(NETWORK)
    found = read(asked, host)
    change = decide(asked, found)
    written(host, {"ethernets": {"enp1": {"addresses": ["10.33.14.99/24"]}}}, file="70-other.yaml")
    before = tree(host)
    with pytest.raises(FleetError, match="changed by somebody else at this moment. Nothing was changed"):
        carry_out(change, asked, found, host)
    assert tree(host) == before


def test_what_was_kept_goes_with_a_change_for_which_there_was_no_room(host, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "/etc/netplan/60-dgxops.yaml.new")

    monkeypatch.setattr(netplan_host, "_make_ready", full)
    with pytest.raises(FleetError, match="No space left on device"):
        written(host, replaces=["50-installer.yaml"], network={"ethernets": {"mgmt0": {"dhcp4": True}}})
    assert not os.path.exists(host.path("/var/backups/dgxops/netplan/60-dgxops.yaml"))


def test_a_file_in_run_that_hides_ours_is_named(host):
    os.makedirs(host.path("/run/netplan"))
    with open(host.path("/run/netplan/60-dgxops.yaml"), "w") as handle:
        handle.write("network: {version: 2}\n")
    with pytest.raises(FleetError, match="/run/netplan/60-dgxops.yaml hides /etc/netplan/60-dgxops.yaml"):
        written(host)


def test_virtual_functions_go_with_the_change_that_made_them(host, tmp_path, monkeypatch):
    """netplan leaves them when no file speaks of them any more."""
    monkeypatch.setattr(netplan_rollback, "FUNCTIONS", str(tmp_path / "{0}.numvfs"))
    for name, number in (("enp1", "0"), ("enp2", "4")):
        (tmp_path / (name + ".numvfs")).write_text(number + "\n")
    adapter = tmp_path / "sys/class/net/enp1/device"
    adapter.mkdir(parents=True)
    (adapter / "sriov_totalvfs").write_text("16\n")
    written(host, {"ethernets": {"enp1": {"virtual-function-count": 8}}})
    start(host, "one", 60)
    (tmp_path / "enp1.numvfs").write_text("8\n")
    netplan_rollback.rollback(host.place, Programs(host.commands), "the change was not confirmed within 60 s")
    assert [(tmp_path / (name + ".numvfs")).read_text().strip() for name in ("enp1", "enp2")] == ["0", "4"]
