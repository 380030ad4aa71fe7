# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The file system of the cache, its daemon and its watch: what is written, what is refused, and the way back."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.settings import State, Unit, check_record
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import cachefilesd, md_monitor, volume
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.blocks import Place
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import Signature
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import Mount

# The file system

FSTAB = "# by the installer\nUUID=5afe1ab0 / ext4 defaults 0 1\n"
UUID, FRESH = "826dbe2e", "0f0f0f0f"
LINE = "UUID={0} /raid ext4 nofail,discard 0 2\n"
EXT4 = Signature("ext4", UUID, "raid", "md127")
VOLUME = {"state": "mounted", "device": "/dev/md/raid", "path": "/raid", "label": "raid", "options": ["nofail"], "trim": "discard", "wipe": []}


def volume_wish(**changes):
    return volume.Wish.from_params(dict(VOLUME, **changes))


def volume_found(signatures=(), options=None, below=None, fstab=FSTAB, record=None, **changes):
    """A host; ``options`` are those that it is mounted with."""
    at = Place("9:127", "/dev/md127", Mount("/raid", "ext4", options)) if options else None
    found = volume.Found(True, tuple(signatures), (at.mount,) if at else (), at, bool(at), (524288, 8), below,
                         State({volume.FSTAB: fstab}, {volume.TRIM_TIMER: Unit("disabled", False)}), record or {})
    return found._replace(**changes)


def test_a_blank_array_gets_a_file_system_by_its_stripes_and_a_line_in_fstab():
    plan = volume.plan(volume_wish(), volume_found(), FRESH)
    assert plan.commands == (("mkfs.ext4", "-q", "-F", "-U", FRESH, "-L", "raid", "-b", "4096", "-E", "stride=128,stripe_width=1024", "/dev/md/raid"),)
    assert plan.change.after.files[volume.FSTAB] == FSTAB + LINE.format(FRESH)
    assert plan.mount == (("mount", "/raid"),) and plan.make_directory and plan.change.record["making"] == FRESH


def test_a_file_system_that_is_there_is_kept():
    plan = volume.plan(volume_wish(), volume_found([EXT4]), FRESH)
    assert not plan.commands and plan.uuid == UUID and LINE.format(UUID) in plan.change.after.files[volume.FSTAB]


def test_a_second_run_changes_nothing():
    host = volume_found([EXT4], "rw,relatime,discard,stripe=1024", fstab=FSTAB + LINE.format(UUID))
    assert not volume.plan(volume_wish(), host, FRESH)


def test_one_whose_making_was_cut_short_is_made_again_but_never_while_it_is_mounted():
    record = {"making": UUID}
    assert volume.plan(volume_wish(), volume_found([EXT4], record=record), FRESH).commands[-1][0] == "mkfs.ext4"
    assert not volume.plan(volume_wish(), volume_found([EXT4], "rw,discard", record=record), FRESH).commands


@pytest.mark.parametrize("signature, why", [
    (Signature("xfs", "77", "", "md127"), "holds a file system (xfs) (UUID 77), where an ext4 file system is expected. It was not touched."),
    (Signature("gpt", "", "", "md127"), "wipefs --all /dev/md/raid"),
    (Signature("LVM2_member", "x-y", "", "md127"), "add the UUID x-y to wipe"),
])
def test_anything_else_on_the_array_is_refused(signature, why):
    with pytest.raises(FleetError) as caught:
        volume.plan(volume_wish(), volume_found([signature]), FRESH)
    assert why in caught.value.message


def test_what_was_given_up_by_its_uuid_is_erased_first():
    plan = volume.plan(volume_wish(wipe=["77"]), volume_found([Signature("xfs", "77", "", "md127")]), FRESH)
    assert [argv[0] for argv in plan.commands] == ["wipefs", "mkfs.ext4"]


def test_other_mounts_are_left_alone():
    at = Place("8:1", "/dev/sda1", Mount("/raid", "ext4", "rw"))
    with pytest.raises(FleetError, match="/dev/sda1 is mounted at /raid already"):
        volume.plan(volume_wish(), volume_found([EXT4], at=at), FRESH)
    with pytest.raises(FleetError, match="is mounted at /data"):
        volume.plan(volume_wish(), volume_found([EXT4], mounts=(Mount("/data", "ext4", "rw"),)), FRESH)


def test_other_options_are_really_applied_to_the_mount():
    host = volume_found([EXT4], "rw,relatime,discard", fstab=FSTAB + LINE.format(UUID))
    plan = volume.plan(volume_wish(trim="timer", options=["noatime"]), host, FRESH)
    assert plan.mount == (("mount", "-o", "remount,noatime,nodiscard", "/raid"),)
    assert plan.change.after.units[volume.TRIM_TIMER] == Unit("enabled", True)
    assert "/raid ext4 noatime 0 2" in plan.change.after.files[volume.FSTAB]


def test_the_timer_that_trims_stands_as_before_once_it_is_no_longer_asked_for():
    first = volume.plan(volume_wish(trim="timer"), volume_found([EXT4]), FRESH)
    now = State({volume.FSTAB: first.change.after.files[volume.FSTAB]}, {volume.TRIM_TIMER: Unit("enabled", True)})
    for wish in (volume_wish(), volume_wish(trim="none"), volume_wish(state="restored")):
        host = volume_found([EXT4], "rw,relatime", record=first.change.record, state=now)
        assert volume.plan(wish, host, FRESH).change.after.units == {volume.TRIM_TIMER: Unit("disabled", False)}
    enabled_by_others = volume_found([EXT4], "rw,relatime,discard", fstab=FSTAB + LINE.format(UUID), state=now)
    assert volume.TRIM_TIMER not in volume.plan(volume_wish(), enabled_by_others, FRESH).change.changed_units


def test_an_entry_whose_path_ends_with_a_slash_is_the_same_to_systemd():
    before = FSTAB + "/dev/md1 /raid/ ext4 rw 0 0"
    plan = volume.plan(volume_wish(), volume_found([EXT4], below=0, fstab=before), FRESH)
    after = plan.change.after.files[volume.FSTAB]
    assert after == FSTAB + LINE.format(UUID)
    host = volume_found([], "rw,discard", fstab=after + "tmpfs /tmp tmpfs defaults 0 0\n", record=plan.change.record)
    back = volume.plan(volume_wish(state="restored"), host, FRESH)
    assert back.change.after.files[volume.FSTAB] == before + "\ntmpfs /tmp tmpfs defaults 0 0\n"


def test_no_file_system_is_made_on_what_a_program_writes_to():
    with pytest.raises(FleetError, match=r"is open for writing by dd \(process 7\), so no file system was made"):
        volume.plan(volume_wish(), volume_found(programs=("dd (process 7)",)), FRESH)
    assert volume.plan(volume_wish(), volume_found([EXT4], programs=("dd (process 7)",)), FRESH).mount


def test_files_that_the_mount_hides_are_told():
    assert "held 3 files" in volume.plan(volume_wish(), volume_found([EXT4], below=3), FRESH).warnings[0]


@pytest.mark.parametrize("others", ["", "tmpfs /tmp tmpfs defaults 0 0\n"])
def test_fstab_is_given_back_with_what_stood_there_and_what_others_added(others):
    before = FSTAB.replace("# by", "/dev/md1 /raid ext4 rw 0 0 # factory\n# by")
    plan = volume.plan(volume_wish(), volume_found([EXT4], below=0, fstab=before), FRESH)
    after = plan.change.after.files[volume.FSTAB]
    assert after == LINE.format(UUID) + FSTAB
    host = volume_found([], "rw,discard", fstab=after + others, record=plan.change.record)
    back = volume.plan(volume_wish(state="restored"), host, FRESH)
    assert back.commands == (("umount", "/raid"),) and back.change.after.files[volume.FSTAB] == before + others and not back.remove_directory


def test_what_others_add_between_two_runs_is_theirs_when_fstab_is_given_back():
    first = volume.plan(volume_wish(), volume_found([EXT4]), FRESH).change
    others = first.after.files[volume.FSTAB] + "tmpfs /tmp tmpfs defaults 0 0\n"
    second = volume.plan(volume_wish(), volume_found([EXT4], "rw,discard", fstab=others, record=first.record), FRESH).change
    third = volume.plan(volume_wish(options=["noatime"]), volume_found([EXT4], "rw,discard", fstab=others, record=second.record), FRESH).change
    for change in (second, third):
        host = volume_found([], "rw,discard", fstab=change.after.files[volume.FSTAB], record=change.record)
        back = volume.plan(volume_wish(state="restored"), host, FRESH)
        assert back.change.after.files[volume.FSTAB] == FSTAB + "tmpfs /tmp tmpfs defaults 0 0\n"


def test_a_mount_from_before_stays_and_gets_its_options_back():
    before = FSTAB + "UUID=826dbe2e /raid ext4 defaults 0 2\n"
    plan = volume.plan(volume_wish(), volume_found([EXT4], "rw,relatime", fstab=before), FRESH)
    assert plan.mount == (("mount", "-o", "remount,nofail,discard", "/raid"),)
    host = volume_found([], "rw,discard", fstab=plan.change.after.files[volume.FSTAB], record=plan.change.record)
    back = volume.plan(volume_wish(state="restored"), host, FRESH)
    assert not back.commands and back.mount == (("mount", "-o", "remount,defaults,nodiscard", "/raid"),)
    assert back.change.after.files[volume.FSTAB] == before


def test_where_nothing_was_done_nothing_is_undone():
    assert not volume.plan(volume_wish(state="restored"), volume_found([], "rw"), FRESH)


@pytest.mark.parametrize("options, why", [
    ({"path": "raid"}, "absolute path"), ({"path": "/"}, "absolute path"), ({"device": "md0"}, "below /dev"), ({"label": "x" * 17}, "16 bytes"),
    ({"options": ["a,b"]}, "one mount option"), ({"options": ["discard"]}, "Say it by trim"), ({"path": "/a/../etc"}, "absolute path"),
])
def test_a_mistake_about_the_file_system_is_told(options, why):
    with pytest.raises(FleetError, match=why):
        volume_wish(**options)


# cachefilesd

DAEMON = {"state": "present", "dir": "/raid", "mount": "/raid", "tag": "CacheFiles", "brun": 10, "bcull": 7, "bstop": 3, "frun": 10, "fcull": 7, "fstop": 3,
          "culltable": None, "secctx": None, "restart": False}
DEFAULT = '# remark\n#RUN=yes\n\nDAEMON_OPTS=""\n'


def daemon_state(active=False, conf="dir /var/cache/fscache\n", default=DEFAULT, drop_in=None):
    return State({cachefilesd.CONF: conf, cachefilesd.DEFAULT: default, cachefilesd.DROP_IN: drop_in},
                 {cachefilesd.SERVICE: Unit("enabled" if active else "disabled", active)})


def daemon(found, record=None, runs=True, **changes):
    return cachefilesd.plan(cachefilesd.Wish.from_params(dict(DAEMON, **changes)), found, record or {}, runs)


def test_the_daemon_is_told_its_limits_allowed_to_run_and_bound_to_its_mount():
    change = daemon(daemon_state(), runs=False)
    assert change.after.files[cachefilesd.CONF].splitlines()[1:] == [
        "dir /raid", "tag CacheFiles", "brun 10%", "bcull 7%", "bstop 3%", "frun 10%", "fcull 7%", "fstop 3%"]
    assert change.after.files[cachefilesd.DEFAULT] == DEFAULT.replace("#RUN", "RUN") + "STARTTIME=5\n"
    assert "RequiresMountsFor=/raid\nConditionPathIsMountPoint=/raid\n" in change.after.files[cachefilesd.DROP_IN]
    assert change.after.units[cachefilesd.SERVICE] == Unit("enabled", True)


def test_a_second_run_of_the_daemon_changes_nothing_unless_it_died_or_its_mount_is_new():
    first = daemon(daemon_state(), runs=False)
    now = State(first.after.files, first.after.units)
    assert not daemon(now, dict(first.record, restart=[], reload=False))
    assert daemon(now, dict(first.record, restart=[]))  # cut short before systemd had read the drop-in
    assert daemon(now, first.record, runs=False).restart == (cachefilesd.SERVICE,)
    assert daemon(now, {}, restart=True).restart == (cachefilesd.SERVICE,)


def test_a_run_that_was_cut_short_before_the_restart_makes_up_for_it():
    first = daemon(daemon_state(active=True))
    assert first.restart == (cachefilesd.SERVICE,)
    assert daemon(State(first.after.files, first.after.units), first.record).restart == (cachefilesd.SERVICE,)


def test_the_daemon_is_given_back():
    before = daemon_state()
    first = daemon(before, runs=False)
    back = daemon(State(first.after.files, first.after.units), first.record, state="absent")
    assert back.after == before and not back.keep
    assert not daemon(before, {}, state="absent")


def test_options_of_the_daemon_that_others_set_meanwhile_stay():
    before = daemon_state()
    first = daemon(before, runs=False)
    edited = dict(first.after.files, **{cachefilesd.DEFAULT: first.after.files[cachefilesd.DEFAULT].replace('""', '"-d"')})
    back = daemon(State(edited, first.after.units), first.record, state="absent")
    assert back.after.files[cachefilesd.DEFAULT] == DEFAULT.replace('""', '"-d"')


@pytest.mark.parametrize("text, after", [
    ("RUN=yes\n", "RUN=yes\n"), ("RUN=no\n", "RUN=yes\n"), ("# RUN=yes\n", "RUN=yes\n"), ("X=1", "X=1\nRUN=yes\n"), ("", "RUN=yes\n"),
    ("#RUN=yes\nRUN=yes\n", "#RUN=yes\nRUN=yes\n"), ("RUN=yes\nX=1", "RUN=yes\nX=1\n"),
    ("#RUN=yes\nRUN=no\n", "#RUN=yes\nRUN=yes\n"), ("RUN=yes\nRUN=no\n", "RUN=yes\nRUN=yes\n"), ("#\n\n#RUN=yes\n", "#\n\nRUN=yes\n"),
])
def test_the_script_is_allowed_to_run(text, after):
    """A shell goes by the last line that is no comment."""
    allowed = cachefilesd.enabled_default(text)
    assert allowed == after + "STARTTIME=5\n" and cachefilesd.enabled_default(allowed) == allowed


@pytest.mark.parametrize("default", ["#RUN=yes\nRUN=no  # not yet\n", "#\n\n# RUN=yes\n", "RUN=\\no\n"])
def test_the_line_comes_back_as_it_was_also_after_others_edited_the_file(default):
    before = daemon_state(default=default)
    first = daemon(before, runs=False)
    edited = dict(first.after.files, **{cachefilesd.DEFAULT: first.after.files[cachefilesd.DEFAULT] + "DAEMON_OPTS=-d\n"})
    back = daemon(State(edited, first.after.units), first.record, state="absent")
    assert back.after.files[cachefilesd.DEFAULT] == default + "DAEMON_OPTS=-d\n"


def test_a_time_to_start_that_was_set_before_stays():
    assert cachefilesd.enabled_default("STARTTIME=30\nRUN=yes\n") == "STARTTIME=30\nRUN=yes\n"


@pytest.mark.parametrize("options, why", [
    ({"bcull": 10}, "brun, bcull and bstop are 10, 10 and 3, but 0 <= bstop < bcull < brun < 100"),
    ({"bstop": 7}, "bstop < bcull"), ({"brun": 100}, "< 100"), ({"bstop": -1}, "0 <= bstop"), ({"frun": 5}, "0 <= fstop < fcull < frun"),
    ({"dir": "raid"}, "absolute path"), ({"dir": "/my raid"}, "without blanks"), ({"dir": "/x", "mount": "/raid"}, "file system mounted at /raid"),
    ({"dir": "/raided"}, "file system mounted at /raid"), ({"tag": "a b"}, "tag is 'a b'"), ({"culltable": 30}, "from 12 to 20"),
    ({"dir": None}, "dir is not given"), ({"secctx": "a b"}, "security context"), ({"dir": "/raid/../etc"}, "absolute path"),
])
def test_what_cachefilesd_would_not_take_is_told_before(options, why):
    with pytest.raises(FleetError) as caught:
        cachefilesd.Wish.from_params(dict(DAEMON, **options))
    assert why in caught.value.message


# The watch

CONF = "etc/mdadm/mdadm.conf"
WATCH = {"state": "present", "mail": None, "mail_from": None, "program": "/usr/local/sbin/on-call", "interval": "5min", "checker": "#!/bin/sh\n",
         "mounts": ["/raid"], "storcli": None}


def watch_state(conf="MAILADDR root\n", **files):
    return State({CONF: conf, md_monitor.CHECKER: None, md_monitor.SERVICE_FILE: None, md_monitor.TIMER_FILE: None, **files},
                 {md_monitor.MONITOR: Unit("static", True)})


def watch(found, record=None, **changes):
    return md_monitor.plan(md_monitor.Wish.from_params(dict(WATCH, **changes)), found, record or {}, CONF)


def test_arrays_are_watched_by_mdadm_and_by_a_timer_for_the_rest():
    change = watch(watch_state(), mail="ops@example.com")
    assert change.after.files[CONF] == "MAILADDR ops@example.com\nPROGRAM /usr/local/sbin/on-call\n"
    assert change.restart == (md_monitor.MONITOR,)
    assert "--program=/usr/local/sbin/on-call --mount=/raid\n" in change.after.files[md_monitor.SERVICE_FILE]
    assert "OnUnitInactiveSec=5min" in change.after.files[md_monitor.TIMER_FILE] and change.after.units[md_monitor.TIMER] == Unit("enabled", True)


@pytest.mark.parametrize("others", ["", "ARRAY /dev/md/x UUID=1\n"])
def test_the_watch_is_given_back_whatever_others_wrote_meanwhile(others):
    before = watch_state()
    change = watch(before, mail="ops")
    now = State(dict(change.after.files, **{CONF: change.after.files[CONF] + others}), change.after.units)
    back = watch(now, change.record, state="absent")
    assert back.after == State(dict(before.files, **{CONF: "MAILADDR root\n" + others}), before.units)


def test_what_stood_there_comes_back_with_its_comments_after_others_edited_the_file():
    conf = "MAIL\troot   # the night shift\nPROGRAM /bin/a\n   # or\nPROGRAM /bin/b\n"
    change = watch(watch_state(conf), mail="ops")
    assert change.after.files[CONF] == "MAILADDR ops\nPROGRAM /usr/local/sbin/on-call\n"
    now = State(dict(change.after.files, **{CONF: change.after.files[CONF] + "# x\n"}), change.after.units)
    assert watch(now, change.record, state="absent").after.files[CONF] == conf + "# x\n"


@pytest.mark.parametrize("options, why", [
    ({"mail": "a b"}, "one mail address"), ({"mail": "x\nPROGRAM y"}, "one mail address"), ({"program": "on-call"}, "absolute path"),
    ({"program": "/bin/sh -c x"}, "absolute path"), ({"interval": "often"}, "time span"), ({"interval": ""}, "time span"),
    ({"mounts": ["/a b"]}, "absolute path"),
])
def test_a_mistake_about_the_watch_is_told(options, why):
    with pytest.raises(FleetError, match=why):
        md_monitor.Wish.from_params(dict(WATCH, **options))


@pytest.mark.parametrize("record", [{"files": {"a": {}}}, {"files": []}, {"units": {"a": [1, 2, 3]}}, {"units": 3}])
def test_a_damaged_record_is_told(record):
    with pytest.raises(FleetError, match="/var/backups/dgxops/x.json is damaged"):
        check_record(record, "x")
