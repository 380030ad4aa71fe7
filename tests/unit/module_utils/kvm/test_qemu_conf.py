# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many files guests may open: when the file is changed, what is refused, and the file as it was."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.settings import State
from ansible_collections.dgxops.fleet.plugins.module_utils.host.units import Unit
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import qemu_conf
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.qemu_conf_host import read_limits

CONF = (
    '# VNC\n#vnc_listen = "0.0.0.0"\nuser = "root"\n\n# If max_files is set\n#max_processes = 0\n#max_files = 0\n'
    '#cgroup_device_acl = [\n#    "/dev/null"\n#]\n'
)
RUNNING = {"libvirtd.service": Unit("enabled", True)}
FEW, MANY = qemu_conf.Limits(1024, 1048576), qemu_conf.Limits(8192, 1048576)


def wish(max_files=2048, state="present"):
    return qemu_conf.Wish.from_params({"state": state, "max_files": max_files})


BACK = wish(state="absent")


def found(text=CONF, units=None):
    return State({qemu_conf.CONF: text}, RUNNING if units is None else units)


def after(change):
    return change.after.files[qemu_conf.CONF]


def kept(change):
    """What is remembered once the change is made."""
    return {key: value for key, value in change.record.items() if key not in ("restart", "reload")} if change.keep else {}


def test_it_goes_below_its_comment_and_the_daemon_reads_it():
    change = qemu_conf.plan(wish(), found(), {}, FEW)
    assert after(change) == CONF.replace("#max_files = 0\n", "#max_files = 0\nmax_files = 2048\n") and change.restart == ("libvirtd.service",)
    again = qemu_conf.plan(wish(), found(after(change)), kept(change), FEW)
    assert not again and not again.restart


@pytest.mark.parametrize("text, limits", [
    (CONF, MANY), (CONF, qemu_conf.Limits(2048, 4096)), (CONF + "max_files = 0\n", MANY), (CONF + "max_files=2048", FEW),
    ("max_files = 4096 # for the storage guests\n", FEW)])
def test_guests_that_have_as_many_are_not_cut(text, limits):
    assert not qemu_conf.plan(wish(), found(text), {}, limits)


@pytest.mark.parametrize("text, limits", [(CONF + "max_files = 1024\n", MANY), (CONF + "max_files = 0\n", FEW), ("max_files = 2047", MANY)])
def test_guests_that_have_fewer_get_more(text, limits):
    change = qemu_conf.plan(wish(), found(text), {}, limits)
    assert qemu_conf.files_of_guests(after(change), limits) == 2048 and after(change).count("max_files = 2048\n") == 1


def test_a_daemon_that_does_not_run_is_not_started():
    assert qemu_conf.plan(wish(), found(units={"libvirtd.service": Unit("enabled", False)}), {}, FEW).restart == ()


@pytest.mark.parametrize("text", [CONF, "", "max_files=512", CONF + "max_files = 1024\n", "  max_files = 7  \nuser = 1", "user = 1"])
def test_the_file_is_given_back_to_the_byte(text):
    first = qemu_conf.plan(wish(2048), found(text), {}, FEW)
    second = qemu_conf.plan(wish(4000), found(after(first)), kept(first), FEW)
    assert qemu_conf.files_of_guests(after(second), FEW) == 4000
    fewer = qemu_conf.plan(wish(3000), found(after(second)), kept(second), FEW)
    assert qemu_conf.files_of_guests(after(fewer), FEW) == 3000
    for change in (first, second, fewer):
        back = qemu_conf.plan(BACK, found(after(change)), kept(change), FEW)
        assert after(back) == text and not back.keep and back.restart == ("libvirtd.service",)


def test_a_daemon_that_has_come_to_give_enough_makes_the_setting_needless():
    change = qemu_conf.plan(wish(), found(), {}, FEW)
    back = qemu_conf.plan(wish(), found(after(change)), kept(change), MANY)
    assert after(back) == CONF and not back.keep


def test_what_others_write_meanwhile_stays():
    text = "max_files = 1024\n"
    change = qemu_conf.plan(wish(), found(text), {}, FEW)
    edited = after(change) + 'group = "kvm"\n'
    assert not qemu_conf.plan(wish(), found(edited), kept(change), FEW)
    assert after(qemu_conf.plan(BACK, found(edited), kept(change), FEW)) == text + 'group = "kvm"\n'
    theirs = "max_files = 9000\n"
    assert not qemu_conf.plan(BACK, found(theirs), kept(change), FEW) and not qemu_conf.plan(wish(), found(theirs), kept(change), FEW)
    more = qemu_conf.plan(wish(9999), found(theirs), kept(change), FEW)
    assert after(qemu_conf.plan(BACK, found(after(more)), kept(more), FEW)) == theirs


def test_a_run_that_was_cut_short_is_completed_on_the_way_back_too():
    change = qemu_conf.plan(wish(), found(), {}, FEW)
    back = qemu_conf.plan(BACK, found(after(change)), kept(change), FEW)
    assert qemu_conf.plan(BACK, found(CONF), back.record, FEW).restart == ("libvirtd.service",)  # the file was written, and then it ended
    # What is to be remembered was written, and the file was not: the value that is in it is still known as ours.
    more = qemu_conf.plan(wish(4000), found(after(change)), kept(change), FEW)
    assert after(qemu_conf.plan(BACK, found(after(change)), more.record, FEW)) == CONF


def test_nothing_was_set_and_there_is_nothing_to_give_back():
    assert not qemu_conf.plan(BACK, found(), {}, FEW) and not qemu_conf.plan(BACK, found(None), {}, FEW)


@pytest.mark.parametrize("number, text, said", [
    (None, CONF, "max_files is missing"), (0, CONF, "max_files is 0"), (-1, CONF, "max_files is -1"),
    (1048576, CONF, r"at most 1048576 \(fs.nr_open\), and no guest would start"),
    (2048, None, "qemu.conf is not there. Install libvirt first"), (2048, "max_files = 1\nmax_files = 2\n", "sets max_files 2 times"),
    (2048, 'max_files = "many"\n', "has max_files = \"many\", but a number is expected"),
])
def test_what_cannot_be_is_told(number, text, said):
    with pytest.raises(FleetError, match=said):
        qemu_conf.plan(wish(number), found(text), {}, FEW)


@given(st.text(alphabet="#=\n max_files019[]\"", max_size=80), st.integers(1, 5000))
def test_any_text_comes_back_or_is_refused(text, number):
    try:
        change = qemu_conf.plan(wish(number), found(text), {}, FEW)
    except FleetError:
        return
    assert qemu_conf.files_of_guests(after(change), FEW) >= number
    assert not qemu_conf.plan(wish(number), found(after(change)), kept(change), FEW)
    assert after(qemu_conf.plan(BACK, found(after(change)), kept(change), FEW)) == text


# What guests have without the setting

class Systemd(Commands):
    def __init__(self, **shown):
        super().__init__()
        self.shown = shown

    def run(self, argv, timeout=None, text_in=None):
        return Result(0, self.shown[argv[-1].split(".")[0]], "")


@pytest.mark.parametrize("shown, units, inherited", [
    ({"libvirtd": "MainPID=77\nLimitNOFILE=524288\n"}, RUNNING, 1024),  # one that does not raise its limit: it is its own that counts
    ({"libvirtd": "MainPID=0\nLimitNOFILE=524288\n"}, {"libvirtd.service": Unit("enabled", False)}, 524288),
    ({"libvirtd": "MainPID=0\nLimitNOFILE=infinity\n"}, {"libvirtd.service": Unit("enabled", False)}, 1048576),
    ({"libvirtd": "MainPID=77\nLimitNOFILE=8192\n", "virtqemud": "MainPID=0\nLimitNOFILE=99\n"},
     dict(RUNNING, **{"virtqemud.service": Unit("disabled", False)}), 1024),
    ({"libvirtd": "MainPID=0\nLimitNOFILE=99\n", "virtqemud": "MainPID=0\nLimitNOFILE=8192\n"},
     {"libvirtd.service": Unit("disabled", False), "virtqemud.service": Unit("enabled", False)}, 8192),
    ({"libvirtd": ""}, {"libvirtd.service": Unit("disabled", False)}, 1024), ({}, {}, 1024),
])
def test_guests_have_what_the_daemon_has(tmp_path, shown, units, inherited):
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/77/limits").write_text(
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 524288               files     \n")
    assert read_limits(Host(Systemd(**shown), str(tmp_path)), units) == (inherited, 1048576)


def test_the_kernel_says_what_is_the_most(tmp_path):
    (tmp_path / "proc/sys/fs").mkdir(parents=True)
    (tmp_path / "proc/sys/fs/nr_open").write_text("2000000\n")
    assert read_limits(Host(Systemd(), str(tmp_path)), {}).most == 2000000
