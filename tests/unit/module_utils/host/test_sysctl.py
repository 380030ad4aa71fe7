"""Kernel settings that are set, kept over a reboot, and given back: on a root of files that behaves like /proc/sys."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import sysctl
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.files import read_text
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs

BALANCING = "kernel.numa_balancing"
BUFFERS = "net.ipv4.tcp_rmem"


@pytest.fixture
def host(tmp_path):
    for name, text in (("kernel/numa_balancing", "0"), ("net/ipv4/tcp_rmem", "4096\t131072\t6291456"), ("net/ipv4/conf/eth0.1/rp_filter", "2")):
        place = tmp_path / "proc" / "sys" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")
    return Sysfs(str(tmp_path))


def wish(state="present", name="kvm", **values):
    return sysctl.Wish.from_params({"name": name, "state": state, "values": {key.replace("__", "."): value for key, value in values.items()}})


def run(host, wanted):
    """What the module does: read, decide, act."""
    change = sysctl.decide(wanted, sysctl.read(wanted, host))
    sysctl.carry_out(change, host)
    return change


def files(host):
    return {
        os.path.relpath(os.path.join(above, name), host.root): read_text(os.path.join(above, name))
        for above, _directories, names in os.walk(host.root)
        for name in names
    }


def test_a_setting_is_in_force_and_stays_so_and_a_second_run_changes_nothing(host):
    change = run(host, wish(kernel__numa_balancing=1))
    assert [diff.header for diff in change.diffs] == ["kernel settings in force", "/etc/sysctl.d/zz-dgxops-kvm.conf"]
    assert host.read("proc/sys/kernel/numa_balancing") == "1"
    assert "kernel.numa_balancing = 1\n" in read_text(host.path("etc/sysctl.d/zz-dgxops-kvm.conf"))
    assert not run(host, wish(kernel__numa_balancing=1))


def test_everything_is_given_back_as_it_was(host):
    before = files(host)
    run(host, wish(kernel__numa_balancing=True, net__ipv4__tcp_rmem="4096 262144 134217728"))
    run(host, wish(kernel__numa_balancing=0, net__ipv4__tcp_rmem="4096 262144 134217728"))
    assert run(host, wish("absent"))
    assert {name: " ".join(text.split()) for name, text in files(host).items()} == {name: " ".join(text.split()) for name, text in before.items()}
    assert not run(host, wish("absent"))


def test_a_setting_that_is_no_longer_named_is_given_back_and_the_others_stay(host):
    run(host, wish(kernel__numa_balancing=1, net__ipv4__tcp_rmem="1 2 3"))
    run(host, wish(net__ipv4__tcp_rmem="1 2 3"))
    assert (host.read("proc/sys/kernel/numa_balancing"), host.read("proc/sys/net/ipv4/tcp_rmem")) == ("0", "1 2 3")


def test_blanks_and_tabs_are_no_difference(host):
    assert not sysctl.decide(wish(net__ipv4__tcp_rmem="4096  131072 6291456"), sysctl.read(wish(net__ipv4__tcp_rmem="4096 131072 6291456"), host)).steps


def test_a_setting_that_was_right_already_is_not_given_another_value_later(host):
    run(host, wish(kernel__numa_balancing=0))
    host_now = files(host)
    assert "etc/sysctl.d/zz-dgxops-kvm.conf" in host_now and not any("backups" in name for name in host_now)
    run(host, wish("absent"))
    assert host.read("proc/sys/kernel/numa_balancing") == "0"


def test_a_name_with_a_dot_in_it_is_written_with_a_slash(host):
    run(host, sysctl.Wish("kvm", {"net.ipv4.conf.eth0/1.rp_filter": "1"}))
    assert host.read("proc/sys/net/ipv4/conf/eth0.1/rp_filter") == "1"
    assert sysctl.path_of("net/ipv4/conf/eth0.1/rp_filter") == "proc/sys/net/ipv4/conf/eth0.1/rp_filter"


def test_a_run_cut_short_after_the_kernel_was_told_is_completed_by_the_next(host):
    wanted = wish(kernel__numa_balancing=1)
    change = sysctl.decide(wanted, sysctl.read(wanted, host))
    sysctl.carry_out(change._replace(text_after=change.text_before), host)  # as if killed before the file was written
    assert run(host, wanted)
    run(host, wish("absent"))
    assert host.read("proc/sys/kernel/numa_balancing") == "0"


def test_a_value_that_the_kernel_changes_is_told_and_all_are_put_back(host, monkeypatch):
    read = host.read
    monkeypatch.setattr(host, "read", lambda path: "4096 131072 6291456" if path.endswith("tcp_rmem") else read(path))
    with pytest.raises(FleetError, match="made 4096 131072 6291456 of net.ipv4.tcp_rmem = 1 2 3.*settings are as they were"):
        run(host, wish(kernel__numa_balancing=1, net__ipv4__tcp_rmem="1 2 3"))
    assert read("proc/sys/kernel/numa_balancing") == "0"


def test_a_read_only_kernel_is_told_with_the_remedy(host, monkeypatch):
    def refuse(*_arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(sysctl, "open", refuse, raising=False)
    with pytest.raises(FleetError, match="cannot be written: Read-only file system.*become: true"):
        run(host, wish(kernel__numa_balancing=1))


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("kvm", {"kernel.nonsense": 1}, "no setting kernel.nonsense: there is no /proc/sys/kernel/nonsense"),
        ("../kvm", {}, "name is '../kvm'"),
        ("kvm", {"kernel": 1}, "'kernel' is no kernel setting"),
        ("kvm", {"kernel.../../etc": 1}, "no kernel setting"),
        ("kvm", {"kernel.numa_balancing": "1\nkernel.panic = 1"}, "one line of text"),
        ("kvm", {"kernel.numa_balancing": ""}, "one line of text"),
        ("kvm", {"kernel.numa_balancing": [1]}, "one line of text"),
    ],
)
def test_bad_input_is_told(host, name, values, words):
    with pytest.raises(FleetError) as error:
        run(host, sysctl.Wish.from_params({"name": name, "state": "present", "values": values}))
    assert words in error.value.message


def test_a_damaged_record_is_told(host):
    run(host, wish(kernel__numa_balancing=1))
    with open(host.path("var/backups/dgxops/sysctl-kvm.json"), "w") as handle:
        handle.write("{")
    with pytest.raises(FleetError, match="sysctl-kvm.json is damaged"):
        run(host, wish("absent"))
