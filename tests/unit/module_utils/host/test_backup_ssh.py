# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way to a host that keeps a copy: who is let in, what is refused, and that no key is left behind."""
import fcntl
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import backup_ssh
from ansible_collections.dgxops.fleet.plugins.module_utils.host.backup_ssh import Probe, Remote, explain, parse, probe, reached
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"
STORE = Remote("keeper", "store", "/srv/dgx01")


@pytest.mark.parametrize(("place", "user", "host", "path"), [
    ("keeper@store:/srv/dgx01/", "keeper", "store", "/srv/dgx01"),
    ("store.example.com:/", "", "store.example.com", "/"),
    ("root@[fe80::1%eth0]:/a//b", "root", "[fe80::1%eth0]", "/a/b"),
])
def test_another_host_is_told_as_rsync_has_it(place, user, host, path):
    assert parse(place) == Remote(user, host, path)


def test_a_directory_of_this_host_is_none_of_another():
    assert parse("/mnt/backup:/x") is None


@pytest.mark.parametrize(("place", "told"), [
    ("backup", "is no place for a copy"), ("", "is no place"), ("-oProxyCommand=x:/srv", "is no place"), ("store::module", "no directory for a copy on store"),
    ("store:srv", "A path from / is expected"), ("store:/srv/$(id)", "A path from / is expected"), ("store:/srv/a b", "A path from /"),
    ("store:/srv/../etc", "A path from /"), ("a b@store:/srv", "is no place"),
])
def test_what_is_no_place_is_told(place, told):
    with pytest.raises(FleetError, match=told):
        parse(place)


def test_a_key_that_is_handed_over_is_closed_and_gone_afterwards(tmp_path):
    desk = tmp_path / "desk"
    with reached(STORE, {"key": KEY, "host_keys": ["[store]:2222 ssh-ed25519 AAAA", "ecdsa-sha2-nistp256 BBBB= root@store"]}, str(desk)) as there:
        place = there.words[there.words.index("-i") + 1]
        assert open(place).read() == KEY + "\n"
        assert [os.stat(one).st_mode & 0o777 for one in (place, str(desk))] == [0o600, 0o700]
        assert (desk / "known_hosts").read_text() == "backup ssh-ed25519 AAAA\nbackup ecdsa-sha2-nistp256 BBBB= root@store\n"
        assert "c2VjcmV0" not in " ".join(there.words) and "IdentitiesOnly=yes" in there.words
    assert os.listdir(str(desk)) == []


def test_what_a_run_left_that_was_killed_is_removed_by_the_next(tmp_path):
    (tmp_path / "desk/in").mkdir(parents=True)
    (tmp_path / "desk/key").write_text(KEY)
    with reached(STORE, {}, str(tmp_path / "desk")) as there:
        assert os.listdir(str(tmp_path / "desk")) == [] and "-i" not in there.words


def test_two_runs_do_not_meet(tmp_path):
    (tmp_path / "desk").mkdir()
    handle = os.open(str(tmp_path / "desk"), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(FleetError, match="Another run is busy"):
            with reached(STORE, {}, str(tmp_path / "desk")):
                pass
    finally:
        os.close(handle)


def test_somebody_elses_directory_gets_no_key(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "desk").symlink_to(tmp_path / "theirs")
    with pytest.raises(FleetError, match="belongs to somebody else"):
        with reached(STORE, {"key": KEY}, str(tmp_path / "desk")):
            pass


def test_a_key_on_the_host_must_be_there_and_closed(tmp_path):
    key = tmp_path / "key"
    with pytest.raises(FleetError, match="There is no key at"):
        with reached(STORE, {"key_file": str(key)}, str(tmp_path / "desk")):
            pass
    key.write_text(KEY)
    key.chmod(0o644)
    with pytest.raises(FleetError, match="can be read by others.*mode 0600"):
        with reached(STORE, {"key_file": str(key)}, str(tmp_path / "desk")):
            pass
    key.chmod(0o600)
    with reached(STORE, {"key_file": str(key)}, str(tmp_path / "desk")) as there:
        assert str(key) in there.words


@pytest.mark.parametrize(("ssh", "told"), [({"key": "secret words"}, "key is no private key"), ({"host_keys": ["SHA256:abc"]}, "is no key of a host")])
def test_what_is_no_key_is_told_and_a_private_one_is_not_shown(tmp_path, ssh, told):
    with pytest.raises(FleetError, match=told) as caught:
        with reached(STORE, ssh, str(tmp_path / "desk")):
            pass
    assert "secret" not in caught.value.message


#: What OpenSSH 9.2 and rsync 3.2.7 said in November 2026.
@pytest.mark.parametrize(("said", "told"), [
    ("No ED25519 host key is known for backup and you have requested strict checking.\r\nHost key verification failed.", "has another host key"),
    ("@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "has another host key"),
    ("keeper@store: Permission denied (publickey,password).", "does not let this host in"),
    ("ssh: connect to host store port 22: Connection refused", "cannot be reached: ssh: connect to host store port 22: Connection refused"),
    ("ssh: Could not resolve hostname store: Name or service not known", "cannot be reached"),
    ("bash: line 1: rsync: command not found\nrsync error: remote command not found (code 127)", "no rsync on keeper@store"),
    ('rsync: [receiver] write failed on "/srv/x": No space left on device (28)', "is full. What was there of each file is still there"),
    ('rsync: [receiver] failed to write xattr user.rsync.%stat for "/srv/.x": Operation not supported (95)', "keeps no extended attributes"),
    ('rsync: [Receiver] mkdir "/srv/a/b" failed: No such file or directory (2)', "The directory above /srv/dgx01 does not exist"),
    ('rsync: [generator] recv_generator: mkdir "/srv/dgx01/homes" failed: Permission denied (13)', "may not write to /srv/dgx01"),
    ("something else\nhappened", "keeper@store failed with status 12 and said: something else; happened"),
])
def test_what_the_other_host_says_is_told_with_what_to_do(said, told):
    assert told in explain(STORE, Result(12, "", said))


ASK = ("ssh", "--", "keeper@store", "cat /etc/machine-id; df -Pk /srv/dgx01 2>/dev/null || df -Pk /srv")


@pytest.mark.parametrize(("answer", "found"), [
    (Result(0, "f" * 32 + "\nFilesystem 1024-blocks Used Available Capacity Mounted on\nstore:/big disk 1000 400 600 40% /srv\n", ""), Probe("f" * 32, 614400)),
    (Result(1, "", "rrsync: SSH_ORIGINAL_COMMAND does not run rsync."), Probe(None, None)),
])
def test_the_first_contact_tells_who_is_there_and_what_is_free(answer, found):
    assert probe(STORE._replace(words=("ssh",)), Recorded({ASK: answer})) == found


def test_who_cannot_be_reached_is_told_at_first_contact():
    with pytest.raises(FleetError, match="cannot be reached"):
        probe(STORE._replace(words=("ssh",)), Recorded({ASK: Result(255, "", "ssh: connect to host store port 22: No route to host")}))


def test_keys_lie_in_memory():
    assert backup_ssh.DESK.startswith("/run/")
