"""Options of kernel modules that are in force, kept, and given back; on a root of files that behaves like /sys/module."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import module_options
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.files import read_text
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs

SLOTS, FIXED = "sys/module/sunrpc/parameters/tcp_slot_table_entries", "sys/module/ib_ipoib/parameters/ipoib_enhanced"
FILE = "etc/modprobe.d/zz-dgxops-nfs.conf"


@pytest.fixture
def host(tmp_path):
    for name, text, mode in ((SLOTS, "2\n", 0o644), (FIXED, "Y\n", 0o444)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    return Sysfs(str(tmp_path))


def wish(state="present", **modules):
    return module_options.Wish.from_params({"name": "nfs", "state": state, "modules": modules})


def run(host, wanted):
    change = module_options.decide(wanted, module_options.read(wanted, host, Recorded({})))
    module_options.carry_out(change, host)
    return change


def test_an_option_is_in_force_and_kept_and_a_second_run_changes_nothing(host):
    change = run(host, wish(sunrpc={"tcp_slot_table_entries": 128}))
    assert [diff.header for diff in change.diffs] == ["module options in force", "/" + FILE]
    assert host.read(SLOTS) == "128" and read_text(host.path(FILE)).endswith("options sunrpc tcp_slot_table_entries=128\n")
    assert not run(host, wish(sunrpc={"tcp_slot_table_entries": 128}))


def test_it_is_given_back_also_when_it_is_only_no_longer_named(host):
    run(host, wish(sunrpc={"tcp_slot_table_entries": 128}, nfs={"max_session_slots": 180}))
    run(host, wish(nfs={"max_session_slots": 180}))
    assert host.read(SLOTS) == "2" and "sunrpc" not in read_text(host.path(FILE))
    assert run(host, wish("absent")) and not os.path.exists(host.path(FILE))
    assert not run(host, wish("absent")) and not os.path.exists(host.path("var/backups/dgxops/module_options-nfs.json"))


def test_what_only_a_reload_changes_is_told_as_long_as_it_is_not_in_force(host):
    wanted = wish(ib_ipoib={"ipoib_enhanced": False})
    assert run(host, wanted).pending == (("ib_ipoib", "ipoib_enhanced"),)
    again = run(host, wanted)
    assert not again and again.pending
    assert not run(host, wish(ib_ipoib={"ipoib_enhanced": True})).pending


def test_a_module_that_was_not_loaded_then_is_told_when_all_is_given_back(host):
    run(host, wish(nfs={"max_session_slots": 180}))
    os.makedirs(host.path("sys/module/nfs/parameters"))
    with open(host.path("sys/module/nfs/parameters/max_session_slots"), "w") as handle:
        handle.write("180\n")
    assert run(host, wish("absent")).pending == (("nfs", "max_session_slots"),)


def test_a_run_cut_short_is_completed_by_the_next(host):
    wanted = wish(sunrpc={"tcp_slot_table_entries": 128})
    change = module_options.decide(wanted, module_options.read(wanted, host, Recorded({})))
    module_options.carry_out(change._replace(text_after=None), host)  # as if killed before the file was written
    assert run(host, wanted)
    run(host, wish("absent"))
    assert host.read(SLOTS) == "2"


def test_an_option_that_a_module_does_not_have_is_refused():
    commands = Recorded({("modinfo", "-F", "parm", "dgxops_none"): Result(0, "some:a number (int)\n", "")})
    wanted = wish(dgxops_none={"some": 1, "other": 2})
    found = module_options.read(wanted, Sysfs("/"), commands)
    with pytest.raises(FleetError, match="The kernel module dgxops_none has no option other. modinfo -p dgxops_none"):
        module_options.decide(wanted, found)


@pytest.mark.parametrize("modules", [{"sunrpc": 1}, {"sunrpc": {"a": "1 2"}}, {"sunrpc": {"a b": 1}}, {"sunrpc": {"a": [1]}}, {"../x": {"a": 1}},
                                     {"sunrpc": {"a": "1\noptions x y=1"}}, {"sunrpc": {"a": ""}}, {"sunrpc": {"a": None}}])
def test_bad_input_is_told(modules):
    with pytest.raises(FleetError, match="expected"):
        wish(**modules)


def test_a_refused_value_puts_all_back(host, monkeypatch):
    os.makedirs(host.path("sys/module/aaa/parameters"))
    with open(host.path("sys/module/aaa/parameters/x"), "w") as handle:
        handle.write("1\n")
    os.chmod(host.path(SLOTS), 0o644)
    real = open

    def refuse(place, mode="r"):
        if place.endswith("tcp_slot_table_entries") and mode == "w":
            raise OSError(22, "Invalid argument")
        return real(place, mode)

    monkeypatch.setattr(module_options, "open", refuse, raising=False)
    with pytest.raises(FleetError, match="refused tcp_slot_table_entries = 1000000 for the module sunrpc: Invalid argument.*as they were"):
        run(host, wish(sunrpc={"tcp_slot_table_entries": 1000000}, aaa={"x": 5}))
    assert host.read("sys/module/aaa/parameters/x") == "1"


def test_a_damaged_record_is_told(host):
    run(host, wish(sunrpc={"tcp_slot_table_entries": 128}))
    with open(host.path("var/backups/dgxops/module_options-nfs.json"), "w") as handle:
        handle.write("[]")
    with pytest.raises(FleetError, match="module_options-nfs.json is damaged"):
        run(host, wish("absent"))
