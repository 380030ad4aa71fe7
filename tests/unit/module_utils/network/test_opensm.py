"""OpenSM on a host: what is refused, what starts again and what need not, and the way back."""
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network import opensm_host
from ansible_collections.dgxops.fleet.plugins.module_utils.network.opensm import PARTITIONS, TEMPLATE, Wish, config_path, decide, unit_of

from .test_ib_text import IBSTAT

GUID = "0x0000000000100003"
OWN = unit_of(GUID)
DEFAULT = {"name": "Default", "pkey": "0x7fff", "ipoib": True, "members": [{"port": "ALL", "membership": "full"}]}


def wish(**options):
    params = {
        "state": "present", "ports": [], "priority": 14, "polling_timeout_ms": 10000, "polling_retries": 4, "routing": [], "roots": [], "partitions": [],
        "sm_key": None, "subnet_prefix": None, "settings": {}, "conflicts": "refuse",
    }
    return Wish.from_params(dict(params, **options))


class LabHost(Commands):
    """systemctl and apt of a host, as far as they matter: units by name, each with a way of being enabled and a process. Files are below a root."""

    def __init__(self, root, units=None, programs=True):
        super().__init__()
        self.host = opensm_host.services.Host(self, str(root))
        self.units = dict(units or {})
        self.behind_mask = {}
        self.plain = {name: unit[0] for name, unit in self.units.items() if unit[0] == "static"}
        self.programs = programs
        self.log = []
        self.fails_at = None

    def run(self, argv, timeout=None, text_in=None):
        argv = list(argv)
        if argv[0] == "env":
            return self.apt(argv)
        if argv[0] == "ibstat":
            return Result(0, IBSTAT, "")
        if argv[0] == "opensm":
            return Result(0, "# a comment\nsm_priority 0\nsweep_interval 10\n", "")
        verb, names = argv[1], [word for word in argv[2:] if not word.startswith("-")]
        if verb == "show":
            # systemd knows each instance of a template that is there.
            known = dict({name: ("disabled", False) for name in names if "@" in name and os.path.exists(self.host.path(TEMPLATE))}, **self.units)
            blocks = ["Id={0}\nLoadState=loaded\nUnitFileState={1[0]}\nActiveState={2}".format(
                name, known[name], "active" if known[name][1] else "inactive") for name in names if name in known]
            return Result(0, "\n\n".join(blocks), "")
        if verb == "list-units":
            return Result(0, "".join("{0} loaded active running x\n".format(name) for name, unit in self.units.items() if unit[1] and "@" in name), "")
        self.log.append((verb,) + tuple(names))
        if self.fails_at == self.log[-1]:
            raise KeyboardInterrupt
        for name in names:
            self.change(verb, name)
        return Result(0, "", "")

    def change(self, verb, name):
        enablement, active = self.units.get(name, ("disabled", False))
        if verb == "mask":
            self.behind_mask[name] = enablement if name in self.units else None
        if verb == "unmask":
            enablement = self.behind_mask.pop(name)
            if enablement is None:
                del self.units[name]
                return
        enablement = {"enable": "enabled", "disable": self.plain.get(name, "disabled"), "mask": "masked"}.get(verb, enablement)
        self.units[name] = (enablement, {"start": True, "restart": True, "stop": False}.get(verb, active))

    def apt(self, argv):
        if "--simulate" in argv:
            return Result(0, "Inst libopensm9 (3.3.23)\nInst opensm (3.3.23)\n", "")
        verb = "install" if "install" in argv else "purge"
        self.log.append(("apt", verb) + tuple(argv[argv.index(verb) + 1:]))
        self.programs = "install" in argv
        if self.programs:
            self.behind_mask["opensm.service"] = "enabled"
        else:
            self.units = {name: unit for name, unit in self.units.items() if "opensm" not in name}
        return Result(0, "", "")

    def play(self, asked):
        change = decide(asked, opensm_host.read(asked, self.host))
        self.log = []
        opensm_host.carry_out(change, self.host)
        return change


@pytest.fixture
def make(tmp_path, monkeypatch):
    def a_host(**how):
        lab = LabHost(tmp_path, **how)
        monkeypatch.setattr(opensm_host.apt, "missing", lambda programs: () if lab.programs else ("opensm",))
        return lab

    return a_host


def tree(root):
    return {os.path.relpath(os.path.join(place, name), root): open(os.path.join(place, name)).read() for place, _dirs, names in os.walk(root) for name in names}


def test_a_fresh_host_gets_a_unit_of_its_own_and_nothing_starts_before_it_is_configured(make, tmp_path):
    lab = make(programs=False)
    change = lab.play(wish())
    assert change.install == ("opensm",)
    assert lab.log.index(("mask", "opensm.service")) < lab.log.index(("apt", "install", "opensm"))
    assert lab.units == {"opensm.service": ("masked", False), OWN: ("enabled", True)}
    text = (tmp_path / config_path(GUID)).read_text()
    assert "guid {0}\nsm_priority 14\nsminfo_polling_timeout 10000\n".format(GUID) in text
    assert os.stat(str(tmp_path / config_path(GUID))).st_mode & 0o77 == 0
    assert not lab.play(wish())
    assert lab.log == []


def test_a_host_is_given_back_with_what_its_package_brought(make, tmp_path):
    lab = make(programs=False)
    lab.play(wish(partitions=[DEFAULT]))
    assert lab.play(wish(state="absent"))
    assert ("apt", "purge", "libopensm9", "opensm") in lab.log
    assert (lab.units, tree(str(tmp_path))) == ({}, {})
    assert not lab.play(wish(state="absent"))


def test_another_subnet_manager_is_refused_until_it_may_be_replaced_and_comes_back(make, tmp_path):
    before = {"opensm.service": ("enabled", True), OWN: ("static", True)}
    lab = make(units=before)
    (tmp_path / TEMPLATE).parent.mkdir(parents=True)
    (tmp_path / TEMPLATE).write_text("somebody's own\n")
    with pytest.raises(FleetError) as caught:
        lab.play(wish())
    assert caught.value.details == {"conflicts": ["opensm.service", OWN]}
    assert lab.units == before
    change = lab.play(wish(conflicts="disable"))
    assert change.touched == {OWN: "restart"}
    assert lab.units == {"opensm.service": ("masked", False), OWN: ("enabled", True)}
    assert not lab.play(wish())
    lab.play(wish(state="absent"))
    assert lab.units == before
    assert ("restart", OWN) in lab.log, "it goes back to its own settings"
    assert tree(str(tmp_path)) == {TEMPLATE: "somebody's own\n"}


@pytest.mark.parametrize("later", [[], [{"priority": 3}], [{"partitions": [DEFAULT]}, {"ports": ["mlx5_1/2"]}]])
@pytest.mark.parametrize("programs", [True, False])
def test_what_changes_later_does_not_change_what_is_given_back(make, tmp_path, programs, later):
    lab = make(programs=programs)
    if programs:
        (tmp_path / "etc/opensm").mkdir(parents=True)
    for options in [{}] + later:
        assert lab.play(wish(**options))
    lab.play(wish(state="absent"))
    assert ("unmask", "opensm.service") in lab.log
    assert {name: unit for name, unit in lab.units.items() if unit != ("disabled", False)} == {}
    assert tree(str(tmp_path)) == {}
    assert (tmp_path / "etc/opensm").is_dir() is programs


@pytest.mark.parametrize("options, way", [
    ({"priority": 3}, "restart"),
    ({"polling_timeout_ms": 1000, "polling_retries": 2}, "reload"),
    ({"routing": ["ftree", "updn"]}, "restart"),
    ({"settings": {"sweep_interval": 30}}, "restart"),
    ({"partitions": [DEFAULT]}, "restart"),
    ({"roots": ["0x200000"], "routing": ["updn"]}, "restart"),
])
def test_the_master_only_starts_again_where_it_must(make, options, way):
    lab = make()
    lab.play(wish())
    assert lab.play(wish(**options)).touched == {OWN: way}
    assert (way, OWN) in lab.log
    assert not lab.play(wish(**options))
    assert lab.play(wish()).touched == {OWN: way}


def test_other_partitions_are_read_by_the_one_that_runs(make, tmp_path):
    lab = make()
    lab.play(wish(partitions=[DEFAULT]))
    storage = {"name": "storage", "pkey": 0x8001, "ipoib": True, "mtu": 5, "members": [{"port": "0x100005", "membership": "full"}, {"port": "ALL"}]}
    assert lab.play(wish(partitions=[DEFAULT, storage])).touched == {OWN: "reload"}
    assert (tmp_path / PARTITIONS).read_text().splitlines()[1:] == [
        "Default=0x7fff,ipoib : ALL=full ;", "storage=0x0001,ipoib,mtu=5 : 0x0000000000100005=full, ALL=limited ;"]


def test_a_run_cut_short_before_the_restart_is_completed_by_the_next(make):
    lab = make()
    lab.play(wish())
    lab.fails_at = ("restart", OWN)
    with pytest.raises(KeyboardInterrupt):
        lab.play(wish(routing=["updn"]))
    lab.fails_at = None
    assert lab.play(wish(routing=["updn"])).touched == {OWN: "restart"}
    assert not lab.play(wish(routing=["updn"]))


def test_another_port_leaves_the_first_one_alone_afterwards(make, tmp_path):
    lab = make()
    lab.play(wish())
    other = "0x0000000000100006"
    lab.play(wish(ports=["mlx5_1/2"]))
    assert lab.units[OWN] == ("disabled", False)
    assert lab.units[unit_of(other)] == ("enabled", True)
    assert not (tmp_path / config_path(GUID)).exists()
    assert not lab.play(wish(ports=["mlx5_1/2"]))
    assert not lab.play(wish()), "a port that was chosen stays"


def test_the_next_host_has_its_turn_when_what_started_has_found_its_place(make, monkeypatch):
    lab, seen = make(), []
    monkeypatch.setattr(opensm_host, "watch", lambda port, asked, commands, sysfs, seconds: seen.append((port, asked.own, seconds)))
    for options in ({}, {}, {"polling_retries": 2}, {"polling_retries": 2, "priority": 2}):
        asked = wish(**options)
        opensm_host.carry_out(decide(asked, opensm_host.read(asked, lab.host)), lab.host, 30)
    assert seen == [(GUID, True, 30)] * 2, "the first start and the one for the priority"


def test_a_unit_that_somebody_stopped_runs_again(make):
    lab = make()
    lab.play(wish())
    lab.units[OWN] = ("enabled", False)
    assert [diff.after for diff in lab.play(wish()).diffs] == ["{0}: enabled, running\n".format(OWN)]
    assert lab.units[OWN] == ("enabled", True)


def test_the_key_is_in_no_diff(make):
    lab = make()
    shown = "".join(diff.before + diff.after for diff in lab.play(wish(sm_key="0x1234567890abcdef")).diffs)
    assert "sm_key ********" in shown
    assert "1234567890abcdef" not in shown


@pytest.mark.parametrize("options, words", [
    ({"priority": 16}, "priority is 16, but a number from 0 to 15"),
    ({"priority": -1}, "from 0 to 15"),
    ({"polling_timeout_ms": 0}, "polling_timeout_ms is 0"),
    ({"polling_retries": 0}, "polling_retries is 0"),
    ({"routing": ["best"]}, "'best', which is no routing engine"),
    ({"roots": ["leaf01"]}, "is not the GUID of a port"),
    ({"sm_key": "secret"}, "sm_key is something else, but 0x"),
    ({"subnet_prefix": "fe80::"}, "subnet_prefix is 'fe80::'"),
    ({"settings": {"guid": "0x1"}}, "Use those"),
    ({"settings": {"a b": 1}}, "a key of opensm.conf"),
    ({"settings": {"sweep_interval": "1\nguid 0x1"}}, "on one line"),
    ({"partitions": [dict(DEFAULT, pkey="0x8001")]}, "leave out the default one"),
    ({"partitions": [DEFAULT, dict(DEFAULT, pkey=0xFFFF)]}, "have the pkey 0x7fff"),
    ({"partitions": [dict(DEFAULT, pkey="0x8000")]}, "pkey is '0x8000'"),
    ({"partitions": [dict(DEFAULT, pkey="0x18001")]}, "pkey is"),
    ({"partitions": [dict(DEFAULT, name="a:b")]}, "name is 'a:b'"),
    ({"partitions": [dict(DEFAULT, members=[])]}, "has no members"),
    ({"partitions": [dict(DEFAULT, members=[{"port": "dgx01"}])]}, "is not the GUID"),
    ({"partitions": [dict(DEFAULT, ipoib=False, mtu=5)]}, "Set ipoib: true"),
])
def test_what_opensm_would_not_take_or_pass_over(options, words):
    with pytest.raises(FleetError) as caught:
        wish(**options)
    assert words in caught.value.message


@pytest.mark.parametrize("options, words", [
    ({"settings": {"sweep_intervall": 5}}, "sweep_intervall, which this host's OpenSM does not know"),
    ({"ports": ["mlx5_0", "0x100003"]}, "twice"),
    ({"ports": ["mlx5_3"]}, "no InfiniBand port"),
])
def test_what_this_host_cannot_do(make, options, words):
    lab = make()
    with pytest.raises(FleetError) as caught:
        lab.play(wish(**options))
    assert words in caught.value.message
    assert lab.units == {}


@given(st.integers(0, 15), st.integers(100, 600000), st.integers(1, 100), st.booleans())
def test_the_file_is_the_same_for_the_same_wish_and_says_all_of_it(priority, timeout, retries, keyed):
    asked = wish(priority=priority, polling_timeout_ms=timeout, polling_retries=retries, sm_key="0xab" if keyed else None)
    lines = dict(line.split(" ", 1) for line in asked.config(GUID).splitlines() if not line.startswith("#"))
    assert (lines["sm_priority"], lines["sminfo_polling_timeout"], lines["polling_retry_number"]) == (str(priority), str(timeout), str(retries))
    assert lines.get("sm_key") == ("0x00000000000000ab" if keyed else None)
