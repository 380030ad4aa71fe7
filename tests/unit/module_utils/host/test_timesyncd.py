# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One time service on a host: taken over, configured, and given back."""
import os
import pathlib

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import records, timesyncd, timesyncd_host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.timesyncd import PACKAGE, SERVICE

from .lab_time import TimeHost, host_below

PARAMS = {
    "state": "present", "servers": ["ntp1.example.com", "2001:db8::1"], "fallback_servers": None, "timezone": None, "conflicts": "refuse",
    "root_distance_max_s": None, "poll_interval_min_s": None, "poll_interval_max_s": None, "connection_retry_s": None, "save_interval_s": None,
}
RUNNING = {SERVICE: ["enabled", True]}
CHRONY = {"packages": ["chrony"], "units": {"chrony.service": ["enabled", True]}}


def wish(**options):
    return timesyncd.Wish.from_params(dict(PARAMS, **options))


def run(host, **options):
    """What the module does: read, decide, act."""
    wanted = wish(**options)
    change = timesyncd.decide(wanted, timesyncd_host.read(wanted, host))
    assert timesyncd_host.carry_out(change, host) == change.after or "generated" in str(host.commands.units)
    return change


def files(host):
    """All that is below /etc and /var, and where links lead."""
    found = {}
    for top in ("etc", "var"):
        for above, _directories, names in os.walk(host.path(top)):
            for name in names:
                place = os.path.join(above, name)
                with open(place, "rb") if not os.path.islink(place) else open(os.devnull, "rb") as handle:
                    found[os.path.relpath(place, host.root)] = os.readlink(place) if os.path.islink(place) else handle.read()
    return found


def test_a_host_gets_its_servers_and_a_second_run_changes_nothing(tmp_path):
    commands = TimeHost(units={SERVICE: ["disabled", False]})
    host = host_below(tmp_path, commands)
    change = run(host, fallback_servers=[], poll_interval_min_s=16, root_distance_max_s=0.5)
    assert (tmp_path / timesyncd.DROP_IN).read_text() == timesyncd.HEADER + (
        "[Time]\nNTP=\nNTP=ntp1.example.com 2001:db8::1\nFallbackNTP=\nRootDistanceMaxSec=0.5\nPollIntervalMinSec=16\n"
    )
    assert commands.units == RUNNING
    assert [diff.header for diff in change.diffs] == ["time services", "/" + timesyncd.DROP_IN]
    assert not run(host, fallback_servers=[], poll_interval_min_s=16, root_distance_max_s=0.5)


def test_a_running_service_is_restarted_only_when_its_settings_change(tmp_path):
    commands = TimeHost(units=RUNNING)
    host = host_below(tmp_path, commands)
    run(host)
    run(host)
    assert commands.asked.count("systemctl restart " + SERVICE) == 1
    run(host, servers=["ntp2.example.com"])
    assert commands.asked.count("systemctl restart " + SERVICE) == 2


@pytest.mark.parametrize("units", [{"chrony.service": ["enabled", True]}, {"ntpsec.service": ["enabled", False]}, {"ntpd.service": ["disabled", True]}])
def test_another_time_service_that_runs_or_would_after_a_boot_is_refused_and_nothing_is_changed(tmp_path, units):
    commands = TimeHost(units=dict(units, **{SERVICE: ["disabled", False]}))
    host = host_below(tmp_path, commands)
    before = files(host)
    with pytest.raises(FleetError, match="{0}.*timesyncd_conflicts in the role".format(*units)):
        run(host)
    assert files(host) == before and commands.units[SERVICE] == ["disabled", False]


def test_another_time_service_that_rests_is_in_nobodys_way(tmp_path):
    host = host_below(tmp_path, TimeHost(units=dict(RUNNING, **{"openntpd.service": ["disabled", False], "ntp.service": ["masked", False]})))
    run(host)
    assert host.commands.units["ntp.service"] == ["masked", False]


@pytest.mark.parametrize("chrony", [["enabled", True], ["disabled", True], ["enabled", False]])
def test_chrony_is_taken_over_where_both_may_be_installed_and_comes_back_as_it_was(tmp_path, chrony):
    units = {"chrony.service": chrony, SERVICE: ["masked", False]}
    commands = TimeHost(packages=["chrony"], units=units)
    host = host_below(tmp_path, commands)
    before = files(host)
    change = run(host, conflicts="disable", timezone="Europe/Berlin")
    assert change.stopped == ["chrony.service"]
    assert commands.units == {"chrony.service": ["disabled", False], SERVICE: ["enabled", True]}
    assert not run(host, conflicts="refuse", timezone="Europe/Berlin"), "it is not in the way any more"
    assert run(host, state="absent")
    assert commands.units == units and files(host) == before
    assert not run(host, state="absent")


def test_the_first_to_stop_is_the_other_so_that_never_two_set_the_clock(tmp_path):
    commands = TimeHost(packages=["chrony"], units={"chrony.service": ["enabled", True], SERVICE: ["disabled", False]})
    run(host_below(tmp_path, commands), conflicts="disable")
    steps = [asked for asked in commands.asked if "restart" in asked or "stop" in asked]
    assert steps == ["systemctl stop chrony.service", "systemctl restart " + SERVICE]


def test_where_the_packages_exclude_each_other_they_are_exchanged_and_exchanged_back(tmp_path):
    commands = TimeHost(stale=True, **CHRONY)
    host = host_below(tmp_path, commands)
    before = files(host)
    with pytest.raises(FleetError, match="the package chrony, which installing systemd-timesyncd would remove"):
        run(host)
    change = run(host, conflicts="disable")
    assert (change.install, change.remove, change.stopped) == ([PACKAGE], ["chrony"], ["chrony.service"])
    assert commands.packages == {PACKAGE}
    assert not run(host), "what chrony leaves in /etc/init.d is not taken for a time service"
    change = run(host, state="absent")
    assert (change.install, change.remove) == (["chrony"], [PACKAGE])
    assert (commands.packages, commands.units, files(host)) == ({"chrony"}, CHRONY["units"], before)


def test_a_host_without_any_time_service_is_without_one_again(tmp_path):
    commands = TimeHost(packages=[])
    host = host_below(tmp_path, commands)
    run(host)
    assert commands.units == RUNNING
    run(host, state="absent")
    assert (commands.packages, commands.units) == (set(), {})


def test_what_the_package_manager_would_remove_besides_is_kept(tmp_path):
    commands = TimeHost(packages=[])
    commands.also_removed = ("slurmd",)
    with pytest.raises(FleetError, match="would also remove slurmd. Nothing was changed"):
        run(host_below(tmp_path, commands))
    assert commands.packages == set()


def test_if_timesyncd_does_not_start_chrony_runs_again_and_the_reason_is_told(tmp_path):
    commands = TimeHost(packages=["chrony"], units={"chrony.service": ["enabled", True], SERVICE: ["disabled", False]}, broken=[SERVICE])
    with pytest.raises(FleetError, match="did not start.*ConditionVirtualization=!container.*run as before"):
        run(host_below(tmp_path, commands), conflicts="disable")
    assert commands.units == {"chrony.service": ["enabled", True], SERVICE: ["disabled", False]}


@pytest.mark.parametrize("moment", ["stop chrony", "disable chrony", "enable systemd-timesyncd", "restart systemd-timesyncd"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_run_cut_short_anywhere_is_completed_by_the_next(tmp_path, moment, state):
    units = {"chrony.service": ["enabled", True], SERVICE: ["disabled", False]}
    commands = TimeHost(packages=["chrony"], units=units)
    host = host_below(tmp_path, commands)
    before = files(host)
    commands.dies_at = moment
    with pytest.raises(KeyboardInterrupt):
        run(host, conflicts="disable", timezone="Europe/Berlin")
    commands.dies_at = None
    assert run(host, state=state, conflicts="disable", timezone="Europe/Berlin")
    if state == "present":
        assert commands.units == {"chrony.service": ["disabled", False], SERVICE: ["enabled", True]}
        assert "restart " + SERVICE in " ".join(commands.asked)
        assert not run(host, conflicts="disable", timezone="Europe/Berlin")
        run(host, state="absent")
    assert (commands.units, files(host)) == (units, before)


def test_a_time_zone_is_set_and_given_back_and_one_that_was_not_asked_for_is_left_alone(tmp_path):
    host = host_below(tmp_path, TimeHost(units=RUNNING))
    run(host, timezone="Europe/Berlin")
    assert os.readlink(host.path("etc/localtime")) == "/usr/share/zoneinfo/Europe/Berlin"
    assert (tmp_path / "etc/timezone").read_text() == "Europe/Berlin\n"
    run(host)
    assert os.readlink(host.path("etc/localtime")) == "/usr/share/zoneinfo/Europe/Berlin"
    run(host, state="absent")
    assert os.readlink(host.path("etc/localtime")) == "/usr/share/zoneinfo/Etc/UTC"


def test_a_time_zone_that_is_no_link_is_not_lost(tmp_path):
    host = host_below(tmp_path, TimeHost(units=RUNNING))
    os.unlink(host.path("etc/localtime"))
    (tmp_path / "etc/localtime").write_text("TZif2")
    with pytest.raises(FleetError, match="a file of its own"):
        run(host, timezone="Europe/Berlin")
    run(host)
    run(host, state="absent")
    assert (tmp_path / "etc/localtime").read_text() == "TZif2"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../../etc/timezone", "/usr/share/zoneinfo/Etc/UTC"])
def test_a_time_zone_that_is_none_is_refused(tmp_path, zone):
    with pytest.raises(FleetError, match="no such zone"):
        run(host_below(tmp_path, TimeHost(units=RUNNING)), timezone=zone)


@pytest.mark.parametrize("options, said", [
    ({"poll_interval_min_s": 8}, "poll_interval_min_s is 8, but at least 16"),
    ({"poll_interval_max_s": 32}, "poll_interval_max_s .32. must be greater than poll_interval_min_s .32."),
    ({"root_distance_max_s": 0}, "root_distance_max_s is 0"),
    ({"root_distance_max_s": float("nan")}, "root_distance_max_s is nan"),
    ({"root_distance_max_s": float("inf")}, "root_distance_max_s is inf"),
    ({"servers": ["ntp1 ntp2"]}, "servers has 'ntp1 ntp2'"),
    ({"servers": ["ntp1\nNTP=evil"]}, "one an entry"),
    ({"servers": ["cafe:123"]}, "the port is always 123"),
    ({"servers": ["2001:db8::1%eth0\nNTP=evil"]}, "one an entry"),
    ({"servers": ["192.0.2"]}, "servers has '192.0.2'"),
    ({"servers": ["300.0.2.1"]}, "servers has '300.0.2.1'"),
    ({"servers": ["ntp..example.com"]}, "one an entry"),
    ({"servers": ["-ntp.example.com"]}, "one an entry"),
    ({"servers": ["ntp1\0"]}, "one an entry"),
    ({"fallback_servers": ["-x"]}, "fallback_servers has '-x'"),
])
def test_what_timesyncd_would_pass_over_in_silence_is_refused(options, said):
    with pytest.raises(FleetError, match=said):
        wish(**options)


@pytest.mark.parametrize("systemd, warned", [(237, ["connection_retry_s", "save_interval_s"]), (249, ["save_interval_s"]), (255, [])])
def test_settings_that_an_older_systemd_does_not_know_are_left_out_with_a_warning(systemd, warned):
    asked = wish(connection_retry_s=10, save_interval_s=120)
    assert [warning.split()[0] for warning in asked.too_new(systemd)] == warned
    assert ("SaveIntervalSec" in asked.drop_in(systemd)) == (systemd >= 250)


def test_a_damaged_record_is_told_and_not_guessed(tmp_path):
    host = host_below(tmp_path, TimeHost(units=RUNNING))
    record = pathlib.Path(records.place(timesyncd.RECORD, str(tmp_path)))
    record.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"units": {"a": [1]}}', '{"zone": 3}'):
        record.write_text(text)
        with pytest.raises(FleetError, match="timesyncd.json is damaged"):
            run(host)


@pytest.mark.parametrize("version", ["249", "257.4", "258~rc1"])
def test_systemd_tells_its_version_in_more_than_one_way(tmp_path, version):
    commands = TimeHost(units=RUNNING)
    commands.systemd = version
    assert run(host_below(tmp_path, commands))


def test_a_host_without_systemd_is_told(tmp_path):
    commands = TimeHost(units=RUNNING)
    commands.systemd = "of another kind"
    with pytest.raises(FleetError, match="This host needs systemd"):
        run(host_below(tmp_path, commands))
