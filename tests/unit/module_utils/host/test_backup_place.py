# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a copy of users is: homes go there and come back, on this host and on another."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import backup_place
from ansible_collections.dgxops.fleet.plugins.module_utils.host.backup_place import Mirror, Place
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host

MACHINE = "0123456789abcdef0123456789abcdef"
#: What rsync 3.2.7 printed in November 2026 for two homes, with --out-format=%i %l %n.
SAID = ">f+++++++++ 5000 alice/notes\n.d..t...... 4096 alice/\n*deleting   0 bob/old\nhf+++++++++ 5000 alice/the same\ncL+++++++++ 5 bob/link -> x\n\n"


class Programs(Commands):
    """Remembers what was asked; rsync and ssh answer what a test says."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)
        self.asked = []

    def run(self, argv, timeout=None, text_in=None):
        self.asked.append(tuple(argv))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def root(tmp_path):
    for place in ("etc", "home/alice", "home/bob", "raid/carol", "backup"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "etc/machine-id").write_text(MACHINE + "\n")
    return tmp_path


def host_with(root, *answers):
    return Host(Programs(*answers), str(root))


HOMES = [Mirror("alice", "/home/alice"), Mirror("bob", "/home/bob"), Mirror("carol", "/raid/projects/c")]


def test_homes_called_after_their_users_go_in_one_call_and_others_by_themselves(root):
    host = host_with(root, Result(0, SAID, ""))
    place = Place("/backup", host)
    moved = backup_place.move(place, backup_place.to_copy(place, HOMES), backup_place.MIRROR, dry=False, timeout=5)
    first, second = host.commands.asked
    assert "--delete" in first and "--dry-run" not in first
    assert first[-3:] == (host.path("home/alice"), host.path("home/bob"), host.path("backup") + "/homes/")
    assert second[-2:] == (host.path("raid/projects/c") + "/", host.path("backup") + "/homes/carol/")
    assert moved[:2] == [Mirror("alice", "/home/alice", 3, 5000), Mirror("bob", "/home/bob", 2, 0, 1)]


def test_what_comes_back_does_no_harm_to_what_is_there(root):
    host = host_with(root, Result(0, "", ""))
    place = Place("/backup", host)
    backup_place.move(place, backup_place.from_copy(place, HOMES), backup_place.KEEP, dry=True, timeout=5)
    first, second = host.commands.asked
    assert "--ignore-existing" in first and "--dry-run" in first and "--delete" not in first
    assert first[-3:] == (host.path("backup") + "/homes/alice", host.path("backup") + "/homes/bob", host.path("home") + "/")
    assert second[-2:] == (host.path("backup") + "/homes/carol/", host.path("raid/projects/c") + "/")


def test_people_may_work_while_their_homes_are_read(root):
    place = Place("/backup", host_with(root, Result(24, SAID, "file has vanished: /home/alice/.x")))
    assert backup_place.move(place, backup_place.to_copy(place, HOMES[:1]), backup_place.MIRROR, False, 5)[0].moved == 5


@pytest.mark.parametrize(("said", "told"), [
    ('rsync: [receiver] write failed on "/backup/x": No space left on device (28)', "no room left for the copy"),
    ("rsync: [sender] send_files failed to open \"/home/x\": Input/output error (5)", "rsync failed with status 23.*Input/output error"),
])
def test_what_rsync_cannot_do_is_told(root, said, told):
    place = Place("/backup", host_with(root, Result(23, "", said)))
    with pytest.raises(FleetError, match=told):
        backup_place.move(place, backup_place.to_copy(place, HOMES[:1]), backup_place.MIRROR, False, 5)


def test_a_check_on_a_fresh_host_needs_no_rsync(root):
    host = host_with(root, None)
    place = Place("/backup", host)
    os.makedirs(host.path("/backup/homes/alice/deep"))
    os.makedirs(host.path("/backup/homes/dave/deep"))
    back = backup_place.counted_without_rsync(place, [Mirror("alice", "/home/alice"), Mirror("dave", "/home/dave")], True)
    there = backup_place.counted_without_rsync(place, [Mirror("alice", "/home/alice"), Mirror("bob", "/home/bob")], False)
    assert ([mirror.moved for mirror in back], [mirror.moved for mirror in there]) == ([0, 2], [0, 1])


def test_a_disk_that_is_too_small_is_told_before_anything_is_copied():
    moved = [Mirror("alice", "/home/alice", 1, 30 * 1024 ** 3), Mirror("bob", "/home/bob", 1, 10)]
    with pytest.raises(FleetError, match="not enough space in /backup: 30 GiB are needed, and 20 GiB are free. Nothing was copied"):
        backup_place.refuse_lack_of_room(moved, 20 * 1024 ** 3, "/backup")
    backup_place.refuse_lack_of_room(moved, None, "/backup")
    backup_place.refuse_lack_of_room(moved, 31 * 1024 ** 3, "/backup")


def test_homes_that_come_back_need_room_too(root):
    host = host_with(root, None)
    with pytest.raises(FleetError, match="not enough space in /home"):
        backup_place.refuse_lack_of_room_here([Mirror("alice", "/home/alice", 1, 10 ** 18)], host)
    backup_place.refuse_lack_of_room_here([Mirror("alice", "/home/alice", 1, 10)], host)


@pytest.mark.parametrize("path", ["/home", "/home/backup", "/raid/carol/deep", "/raid", "/link/backup"])
def test_a_copy_that_would_hold_itself_is_refused(root, path):
    (root / "link").symlink_to(root / "home")
    with pytest.raises(FleetError, match="lie in one another"):
        Place(path, host_with(root, None)).refuse(["/home/alice", "/raid/carol"], [], True)


def test_a_copy_on_the_disk_it_is_to_survive_is_refused(root):
    place = Place("/backup/dgx01", host_with(root, None))
    with pytest.raises(FleetError, match="/backup/dgx01 is on the same file system as /"):
        place.refuse(["/home/alice"], ["/home/alice"], False)
    place.refuse(["/home/alice"], ["/home/alice"], True)


def test_a_directory_of_this_host_needs_no_ssh(root):
    with pytest.raises(FleetError, match="no ssh is needed. For another host say backup@store:/backup"):
        with backup_place.place_of("/backup", {"key": None, "port": 22}, host_with(root, None)):
            pass
    with backup_place.place_of("/backup/", {"key": None, "host_keys": None}, host_with(root, None)) as place:
        assert (place.shown, place.read(), place.names()) == ("/backup", None, [])


DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 1000 500 500 50% /srv\n"


def remote(root, *answers, path="keeper@store:/srv/dgx01"):
    host = host_with(root, *answers)
    return host, backup_place.place_of(path, {"host_keys": ["ssh-ed25519 AAAA lab"], "port": 2222}, host, str(root / "desk"))


def test_another_host_keeps_owners_in_attributes_and_is_reached_by_its_own_key(root):
    host, way = remote(root, Result(0, "f" * 32 + "\n" + DF, ""), Result(0, SAID, ""))
    with way as place:
        assert (place.shown, place.free()) == ("keeper@store:/srv/dgx01", 500 * 1024)
        backup_place.move(place, backup_place.to_copy(place, HOMES[:2]), backup_place.MIRROR, True, 5)
        known = (root / "desk/known_hosts").read_text()
    asked = host.commands.asked[-1]
    shell = next(word for word in asked if word.startswith("--rsh="))
    assert "--remote-option=--fake-super" in asked and asked[-1] == "keeper@store:/srv/dgx01/homes/"
    assert "StrictHostKeyChecking=yes" in shell and "BatchMode=yes" in shell and "Port=2222" in shell
    assert known == "backup ssh-ed25519 AAAA lab\n" and os.listdir(str(root / "desk")) == []


def test_a_copy_that_is_not_there_yet_has_no_accounts_and_no_homes(root):
    missing = Result(23, "", 'rsync: [sender] link_stat "/srv/dgx01/accounts.json" failed: No such file or directory (2)')
    _host, way = remote(root, Result(0, "", ""), missing, Result(23, "", 'rsync: [sender] change_dir "/srv/dgx01/homes" failed: No such file or directory (2)'))
    with way as place:
        assert (place.read(), place.names(), place.free()) == (None, [], None)


def test_homes_of_another_host_are_listed(root):
    listed = "drwx------          4,096 2026/11/23 10:00:00 .\ndrwxr-x---          4,096 2026/11/23 10:00:00 alice\ndrwx------ 40 2026/11/23 10:00:00 bob\n"
    _host, way = remote(root, Result(0, "", ""), Result(0, listed, ""))
    with way as place:
        assert place.names() == ["alice", "bob"]


def test_the_accounts_travel_from_a_directory_that_is_closed(root):
    host, way = remote(root, Result(0, "", ""))
    seen = []

    def run(argv, timeout=None, text_in=None):
        if argv[0] == "rsync":
            source = argv[-2]
            seen.extend([os.stat(source).st_mode & 0o777, os.stat(source + "accounts.json").st_mode & 0o777, argv[-1], os.listdir(source + "homes")])
        return Result(0, "", "")

    with way as place:
        host.commands.run = run
        place.write("{}")
        assert os.listdir(str(root / "desk/out")) == []
    assert seen == [0o700, 0o600, "keeper@store:/srv/dgx01/", []]


def test_this_very_host_is_no_other_one(root):
    _host, way = remote(root, Result(0, MACHINE + "\n" + DF, ""))
    with way as place:
        with pytest.raises(FleetError, match="keeper@store is this very host"):
            place.refuse([], [], False)
        place.refuse([], [], True)
    _host, way = remote(root, Result(0, MACHINE + "\n" + DF, ""), path="keeper@store:/home/copy")
    with way as place:
        with pytest.raises(FleetError, match="lie in one another"):
            place.refuse([], [], True)
    _host, way = remote(root, Result(0, "f" * 32 + "\n" + DF, ""), path="keeper@store:/home/keeper")
    with way as place:
        place.refuse(["/home/keeper"], [], False)


def test_a_copy_that_may_not_be_read_is_told(root):
    denied = Result(23, "", 'rsync: [sender] link_stat "/srv/dgx01/accounts.json" failed: Permission denied (13)')
    _host, way = remote(root, Result(0, "", ""), denied)
    with way as place:
        with pytest.raises(FleetError, match="may not write to /srv/dgx01 on keeper@store"):
            place.read()
