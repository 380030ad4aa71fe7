"""Mounts that are in fstab and in force, and given back; on a client that behaves as a kernel does."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_mount_record, nfs_mounts
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_mounts_host as host

from .nfs_host import build, plan, run, wish

DATA, HOME = ("/data/sets", "nfs01:/data", "ro", "nconnect=8"), ("/home2", "nfs01:/home", "nconnect=8")

#: Directories of backups, and those of the kernel.
_LEFT = ("var", "backups", "dgxops", "sys", "class", "bdi")


@pytest.fixture
def client(tmp_path):
    return build(tmp_path)


def state(client):
    """All that a user could see: files, mounts and directories; the backups that stay are left out."""
    found = {}
    for above, directories, names in os.walk(client.sysfs.root):
        if "backups" in above or "/bdi" in above:
            continue
        for name in names:
            if os.path.islink(os.path.join(above, name)):
                continue
            with open(os.path.join(above, name), "rb") as handle:
                found[os.path.relpath(os.path.join(above, name), client.sysfs.root)] = handle.read()
        found.update({os.path.relpath(os.path.join(above, name), client.sysfs.root): None for name in directories if name not in _LEFT})
    return found


def mounts(client):
    return {line.split(" ")[4]: line for line in client.commands.lines() if " - nfs" in line}


def test_mounts_are_made_and_kept_and_a_second_run_changes_nothing(client):
    wanted = wish(client, DATA, HOME)
    change, warnings = run(client, wanted)
    assert [(step.verb, step.path) for step in change.steps] == [("mount", "/home2"), ("mount", "/data/sets")] and not warnings
    assert "nconnect=8" in mounts(client)["/data/sets"] and os.path.isdir(client.path("/data/sets"))
    with open(client.path("etc/fstab")) as handle:
        assert handle.read() == (
            "UUID=1 / ext4 defaults 0 1\nnfs01:/data /data/sets nfs ro,nconnect=8 0 0\nnfs01:/home /home2 nfs nconnect=8 0 0\n")
    before = len(client.commands.asked)
    assert not run(client, wanted)[0] and len(client.commands.asked) == before


@pytest.mark.parametrize("fstab", ["UUID=1 / ext4 defaults 0 1\n", "UUID=1 / ext4 defaults 0 1", "", "nfs01:/old\t/home2   nfs4 vers=3 0 0\n# end"])
def test_everything_is_given_back_to_the_byte(tmp_path, fstab):
    client = build(tmp_path, fstab)
    before = state(client)
    run(client, wish(client, DATA, HOME, read_ahead_kib=4096))
    run(client, wish(client, HOME, ("/new", "nfs01:/new")))
    assert run(client, wish(client, state="absent"))[0]
    assert state(client) == before and not os.path.exists(records.place(nfs_mount_record.RECORD, client.root))
    assert not run(client, wish(client, state="absent"))[0]


def test_what_others_wrote_behind_our_entry_stays_to_the_byte(tmp_path):
    """The file had no end of line at its end, so one was added; the one at the end now is another's."""
    client = build(tmp_path, "UUID=a / ext4 defaults 0 1")
    run(client, wish(client, HOME))
    place = client.path("etc/fstab")
    with open(place, "a") as handle:
        handle.write("tmpfs /tmp tmpfs defaults 0 0\n")
    run(client, wish(client, state="absent"))
    with open(place) as handle:
        assert handle.read() == "UUID=a / ext4 defaults 0 1\ntmpfs /tmp tmpfs defaults 0 0\n"


def test_a_mount_that_was_there_is_mounted_again_as_it_was(tmp_path):
    client = build(tmp_path, "nfs01:/home /home2 nfs soft,vers=3 0 0\n")
    client.commands.mount("nfs01:/home", "/home2", ["rw", "soft", "vers=3", "rsize=32768"])
    change, _warnings = run(client, wish(client, HOME))
    assert {entry.key for entry in change.reasons["/home2"]} == {"soft", "nconnect", "vers"} and "hard" in mounts(client)["/home2"]
    run(client, wish(client, state="absent"))
    line = mounts(client)["/home2"]
    assert all(word in line for word in ("soft", "vers=3", "rsize=32768")) and "nconnect" not in line
    with open(client.path("etc/fstab")) as handle:
        assert handle.read() == "nfs01:/home /home2 nfs soft,vers=3 0 0\n"


def test_an_entry_that_says_the_same_keeps_its_blanks(tmp_path):
    client = build(tmp_path, "nfs01:/home/  /home2\tnfs4\tnconnect=8,rw,defaults  0 0\n")
    assert not plan(client, wish(client, HOME))[0].fstab_after.count(" /home2 nfs ")


def test_all_mounts_of_a_server_are_gone_before_the_first_is_made_again(client):
    run(client, wish(client, DATA, HOME))
    change, _warnings = run(client, wish(client, ("/data/sets", "nfs01:/data", "ro", "nconnect=4"), ("/home2", "nfs01:/home", "nconnect=4")))
    assert [step.verb for step in change.steps] == ["unmount", "unmount", "mount", "mount"]


def test_what_a_remount_can_do_is_done_by_one(client):
    run(client, wish(client, DATA))
    change, _warnings = run(client, wish(client, ("/data/sets", "nfs01:/data", "nconnect=8", "noatime")))
    assert [(step.verb, step.words) for step in change.steps] == [("remount", ("rw", "async", "noatime"))]
    assert not run(client, wish(client, ("/data/sets", "nfs01:/data", "nconnect=8", "noatime")))[0]


def test_what_the_server_does_not_grant_is_told_once_and_not_tried_again(client):
    client.commands.most = 65536
    wanted = wish(client, HOME + ("rsize=1048576",))
    assert run(client, wanted)[1] == ["/home2: rsize is 65536 and not 1048576, which server or kernel decided."]
    assert not run(client, wanted)[0]
    assert run(client, wish(client, HOME + ("rsize=32768",)))[0]


def test_connections_that_are_shared_with_a_mount_of_somebody_else_are_told(client):
    client.commands.mount("nfs01:/other", "/other", ["nconnect=2"])
    client.commands.mount("nfs01:/home", "/home2", ["nconnect=2"])
    change, _found = plan(client, wish(client, HOME))
    assert not change.steps and "shares them with /other" in change.warnings[0]


def test_two_of_our_mounts_that_want_other_numbers_of_connections_do_not_change_on_each_run(client):
    run(client, wish(client, DATA))
    both = wish(client, DATA, HOME[:2] + ("nconnect=4",))
    client.commands.shared = "8"
    run(client, both)
    again, _warnings = run(client, both)
    assert not again and "/home2 has 8 connections and not 4: it shares them with /data/sets" in again.warnings[0]
    client.commands.shared = None
    change, _warnings = run(client, wish(client, DATA[:3] + ("nconnect=4",), HOME[:2] + ("nconnect=4",)))
    assert [step.verb for step in change.steps] == ["unmount", "unmount", "mount", "mount"]


def test_what_shares_connections_with_a_mount_in_use_waits_with_it(client):
    run(client, wish(client, DATA, HOME))
    process(client, 860, cwd="/data/sets")
    wanted = [DATA[:3] + ("nconnect=4",), HOME[:2] + ("nconnect=4", "noatime")]
    change, _warnings = run(client, wish(client, *wanted, when_busy="next_boot"))
    assert change.pending == ("/data/sets", "/home2") and [step.verb for step in change.steps] == ["remount"] and "noatime" in mounts(client)["/home2"]
    again, _warnings = run(client, wish(client, *wanted, when_busy="next_boot"))
    assert not again and again.pending == ("/data/sets", "/home2")
    os.unlink(client.path("proc/860/cwd"))
    assert len(run(client, wish(client, *wanted))[0].unmounts) == 2


def test_a_mount_that_fails_puts_all_back(client):
    run(client, wish(client, DATA))
    before, old = state(client), mounts(client)["/data/sets"].split(" - ")[1]
    client.commands.dead.add("nfs01:/nowhere")
    with pytest.raises(FleetError, match="No such file or directory. All is mounted as before"):
        run(client, wish(client, ("/data/sets", "nfs01:/data", "nconnect=2"), ("/zzz/deep/er", "nfs01:/nowhere")))
    now = state(client)
    assert now["etc/fstab"] == before["etc/fstab"] and mounts(client)["/data/sets"].split(" - ")[1] == old
    assert run(client, wish(client, DATA))[0].remove  # the directories that were made for it
    assert not os.path.exists(client.path("/zzz"))


def process(client, number, **files):
    place = client.path("proc/{0}".format(number))
    os.makedirs(place + "/fd")
    os.makedirs(place + "/ns")
    os.symlink(files.get("space", "mnt:[1]"), place + "/ns/mnt")
    for name, text in dict({"comm": "python3", "mountinfo": "".join(line + "\n" for line in client.commands.lines())}, **files).items():
        if name in ("cwd", "exe"):
            os.symlink(text, os.path.join(place, name))
        elif name == "open":
            os.symlink(text, place + "/fd/3")
        else:
            with open(os.path.join(place, name), "w") as handle:
                handle.write(text)


@pytest.mark.parametrize("files, said", [
    ({"cwd": "/data/sets/deep"}, r"process 860 \(python3\) works in /data/sets/deep"),
    ({"open": "/data/sets/train"}, "has /data/sets/train open"),
    ({"exe": "/data/sets/bin/x"}, "runs the program /data/sets/bin/x"),
    ({"maps": "7f00-7f01 r--p 00000000 00:2f 123    /data/sets/lib.so\n"}, "has /data/sets/lib.so in its memory"),
])
def test_a_mount_that_is_in_use_is_refused_before_anything_is_changed(client, files, said):
    run(client, wish(client, DATA))
    process(client, 860, **files)
    process(client, 861, cwd="/data/sets2")
    before = state(client)
    with pytest.raises(FleetError, match=said) as error:
        run(client, wish(client, ("/data/sets", "nfs01:/data", "nconnect=2", "ro")))
    assert "nconnect (2 instead of 8)" in error.value.message and list(error.value.details["busy"]) == ["/data/sets"] and "861" not in error.value.message
    assert state(client) == before
    with pytest.raises(FleetError, match=said):
        plan(client, wish(client, state="absent"))


def test_a_container_that_has_it_mounted_is_in_the_way_and_one_that_follows_is_not(client):
    run(client, wish(client, DATA))
    own = "90 80 0:41 / /mnt/in ro,relatime - nfs4 nfs01:/data ro,addr=192.0.2.9\n"
    process(client, 900, space="mnt:[2]", mountinfo=own.replace("relatime -", "relatime master:9 -"), cwd="/tmp")
    change = wish(client, ("/data/sets", "nfs01:/data", "nconnect=2", "ro"))
    assert plan(client, change)[0].steps
    process(client, 901, space="mnt:[3]", mountinfo=own, cwd="/tmp")
    with pytest.raises(FleetError, match=r"process 901 \(python3\) has it mounted on /mnt/in in a mount namespace \(container\)"):
        plan(client, change)


def test_mounts_below_swap_and_loop_devices_are_in_the_way(client):
    run(client, wish(client, DATA))
    client.commands.number += 1
    client.commands.add_line("/dev/sdz", "/data/sets/scratch", ["rw"], ["rw"], "ext4")
    os.makedirs(client.path("sys/block/loop0/loop"))
    for name, text in (("sys/block/loop0/loop/backing_file", "/data/sets/image\n"), ("proc/swaps", "Filename Type\n/data/sets/swap file\n")):
        with open(client.path(name), "w") as handle:
            handle.write(text)
    with pytest.raises(FleetError) as error:
        plan(client, wish(client, state="absent"))
    for said in ("/dev/sdz is mounted on /data/sets/scratch", "loop0 is the loop device of /data/sets/image", "/data/sets/swap is used as swap"):
        assert said in error.value.message


def test_what_is_in_use_may_wait_for_the_next_boot(client):
    run(client, wish(client, DATA))
    process(client, 860, cwd="/data/sets")
    later = wish(client, ("/data/sets", "nfs01:/data", "nconnect=2", "ro"), when_busy="next_boot")
    change, _warnings = run(client, later)
    assert change and change.pending == ("/data/sets",) and "nconnect=8" in mounts(client)["/data/sets"]
    again, _warnings = run(client, later)
    assert not again and again.pending == ("/data/sets",)
    with open(client.path("etc/fstab")) as handle:
        assert "nconnect=2" in handle.read()


def dies_after(number, run_it):
    """A runner of programs whose run is killed before the one after so many."""
    left = [number]

    def dying(argv, timeout=None, text_in=None):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return run_it(argv, timeout, text_in)

    return dying


def test_a_run_cut_short_anywhere_is_completed_by_the_next(tmp_path):
    wanted = (("/data/sets", "nfs01:/data", "nconnect=2", "ro"), HOME)
    for number in range(12):
        client = build(tmp_path / str(number)) if (tmp_path / str(number)).mkdir() is None else None
        before = state(client)
        run(client, wish(client, DATA, read_ahead_kib=512))
        client.commands.run = dies_after(number, client.commands.run)
        try:
            run(client, wish(client, *wanted, read_ahead_kib=1024))
        except KeyboardInterrupt:
            pass
        del client.commands.run
        run(client, wish(client, *wanted, read_ahead_kib=1024))
        assert not run(client, wish(client, *wanted, read_ahead_kib=1024))[0]
        assert "nconnect=2" in mounts(client)["/data/sets"]
        run(client, wish(client, state="absent"))
        assert state(client) == before


def test_read_ahead_is_set_for_all_and_given_back(client):
    client.commands.mount("nfs01:/other", "/other", [])
    place = client.path("sys/class/bdi/0:{0}/read_ahead_kb".format(client.commands.number))
    with open(place, "w") as handle:
        handle.write("999\n")
    run(client, wish(client, HOME, read_ahead_kib=15360))
    assert client.sysfs.read("sys/class/bdi/0:41/read_ahead_kb") == client.sysfs.read("sys/class/bdi/0:42/read_ahead_kb") == "15360"
    assert 'ATTR{read_ahead_kb}="15360"' in client.sysfs.read(nfs_mounts.RULE)
    run(client, wish(client, HOME))
    assert client.sysfs.read("sys/class/bdi/0:41/read_ahead_kb") == "999" and client.sysfs.read("sys/class/bdi/0:42/read_ahead_kb") == "128"
    assert client.sysfs.read(nfs_mounts.RULE) is None


@pytest.mark.parametrize("entry, options, said", [
    (("data", "nfs01:/x"), {}, "an absolute path"), (("/", "nfs01:/x"), {}, "an absolute path"), (("/a/../b", "nfs01:/x"), {}, "an absolute path"),
    (("/data/", "nfs01:/x"), {}, "an absolute path"), (("/data", "/x"), {}, "a server and a path"), (("/data", "nfs01"), {}, "a server and a path"),
    (("/data", "nfs01:x"), {}, "a server and a path"), (("/data", "nfs01:/x", "async"), {}, "allow_async"),
    (HOME, {"read_ahead_kib": -1}, "read_ahead_kib is -1"),
])
def test_bad_input_is_told(client, entry, options, said):
    with pytest.raises(FleetError, match=said):
        wish(client, entry, **options)


def test_async_needs_consent(client):
    assert "async" in wish(client, HOME + ("async",), allow_async=True).mounts[0].options


def test_what_is_mounted_there_already_is_not_touched(client):
    client.commands.add_line("/dev/sdb1", "/home2", ["rw"], ["rw"], "xfs")
    with pytest.raises(FleetError, match="/home2 is mounted already: /dev/sdb1 with xfs"):
        plan(client, wish(client, HOME))


def test_an_entry_for_something_else_is_not_touched(tmp_path):
    client = build(tmp_path, "/dev/sdb1 /home2 ext4 noauto 0 0\n")
    with pytest.raises(FleetError, match="/etc/fstab mounts /dev/sdb1 with ext4 on /home2. It was not touched"):
        plan(client, wish(client, HOME))


def test_a_damaged_record_is_told(client):
    run(client, wish(client, HOME))
    for text in ("{", "[]", '{"mounts": {"/x": {}}, "read_ahead": null, "open_end": false}'):
        with open(records.place(nfs_mount_record.RECORD, client.root), "w") as handle:
            handle.write(text)
        with pytest.raises(FleetError, match="nfs_mounts.json is damaged"):
            plan(client, wish(client, state="absent"))


def test_a_host_without_the_program_is_told(client):
    os.unlink(client.path("sbin/mount.nfs"))
    change, _found = plan(client, wish(client, HOME))
    assert host.needs_helper(change, client)
    assert not host.needs_helper(plan(client, wish(client, state="absent"))[0], client)
