# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of users, and the users back on another host."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import accounts_backup as backup
from ansible_collections.dgxops.fleet.plugins.module_utils.host import accounts_host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.accounts import GroupWish, wishes_from_params
from ansible_collections.dgxops.fleet.plugins.module_utils.host.backup_place import Mirror, Place
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

from .lab_accounts import host_below, params, texts

CAROL = {"name": "carol"}
ALICE = {"name": "alice", "uid": 2001, "group": "research", "groups": ["docker", "proj"], "password_hash": "$6$salt$aliceshash", "comment": "Alice"}
GROUPS = [{"name": "docker", "gid": 990}, {"name": "research", "gid": 3100}, {"name": "proj", "gid": 3101}]


@pytest.fixture
def old(tmp_path):
    (tmp_path / "old").mkdir()
    host = host_below(tmp_path / "old")
    accounts_host.carry_out(accounts_host.plan(wishes_from_params(params([ALICE, CAROL], GROUPS)), {}, host), host)
    return host


@pytest.fixture
def fresh(tmp_path):
    (tmp_path / "fresh").mkdir()
    return host_below(tmp_path / "fresh")


def saved_of(host, machine="one"):
    return backup.select(accounts_host.read(host), machine)


def restore(saved, host, names=None):
    work = accounts_host.plan(backup.wishes_of(saved, accounts_host.read(host), names), {}, host)
    accounts_host.carry_out(work, host)
    return work


def test_people_are_saved_and_users_of_the_system_are_not(old):
    saved = saved_of(old)
    assert [user.name for user in saved.users] == ["bob", "alice", "carol"]
    assert [group.name for group in saved.groups] == ["sudo", "docker", "bob", "carol", "research", "proj"]
    assert set(saved.shadow) == {"alice", "bob", "carol"}


def test_a_fresh_host_gets_the_same_numbers_groups_and_shadow_entries_and_a_second_run_changes_nothing(old, fresh):
    saved = backup.Saved.from_text(saved_of(old).to_text(), "copy")
    restore(saved, fresh)
    there, here = accounts_host.read(old), accounts_host.read(fresh)
    for name in ("alice", "bob"):
        assert here.users[name] == there.users[name] and here.shadow[name] == there.shadow[name] and here.groups_of(name) == there.groups_of(name)
    assert here.groups["research"] == there.groups["research"]
    assert not restore(saved, fresh)


def test_what_was_restored_is_given_back_too(old, fresh):
    before = texts(fresh)
    restore(saved_of(old), fresh)
    accounts_host.carry_out(accounts_host.plan_return(False, fresh), fresh)
    assert texts(fresh) == before


def test_a_group_of_the_system_is_found_by_its_name_and_gets_another_number_if_its_own_is_taken(old, fresh):
    fresh.commands.groupadd(["--gid", "980", "docker"], None)
    restore(saved_of(old), fresh)
    assert accounts_host.read(fresh).groups["docker"] == ("docker", 980, ("alice",))
    found = accounts_host.read(fresh)
    elsewhere = found._replace(groups={"systemd-thing": found.groups["docker"]._replace(name="systemd-thing", gid=990, members=())})
    assert GroupWish("docker", None, True) in backup.wishes_of(saved_of(old), elsewhere).groups


def test_a_number_that_somebody_else_has_is_refused_and_nothing_is_changed(old, fresh):
    fresh.commands.useradd(["--create-home", "--user-group", "--uid", "2001", "mallory"], None)
    before = texts(fresh)
    with pytest.raises(FleetError, match="The uid 2001 of user alice belongs to user mallory"):
        restore(saved_of(old), fresh)
    assert texts(fresh) == before


def test_single_users_come_back_with_the_groups_that_they_need(old, fresh):
    restore(saved_of(old), fresh, ["bob"])
    now = accounts_host.read(fresh)
    assert "alice" not in now.users and "research" not in now.groups
    with pytest.raises(FleetError, match="The copy has no user eve"):
        restore(saved_of(old), fresh, ["eve"])


def test_a_copy_of_another_installation_is_not_overwritten(old):
    saved = saved_of(old, "before")
    with pytest.raises(FleetError, match="of another installation.*Restore it first"):
        backup.refuse_other_machine("/backup", saved, "after")
    backup.refuse_other_machine("/backup", saved, "before")
    backup.refuse_other_machine("/backup", None, "after")


def test_only_root_reads_a_copy_and_the_diff_tells_no_secret(old):
    saved, place = saved_of(old), Place("/backup/dgx01", old)
    place.write(saved.to_text())
    top = old.path("/backup/dgx01")
    assert [os.stat(one).st_mode & 0o777 for one in (top, top + "/accounts.json", top + "/homes")] == [0o700, 0o600, 0o700]
    assert backup.read_saved(place) == saved
    told = str(backup.diff_of(None, saved, [Mirror("bob", "/home/bob", 3)], "/backup"))
    assert "aliceshash" not in told and "/home/bob: 3 entries" in told and "user alice: uid 2001" in told


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": "", "users": [["eve"]], "groups": [], "shadow": {}}',
                                  '{"machine": "", "users": [["eve", "0", 0, "", "/root", "/bin/sh"]], "groups": [], "shadow": {}}'])
def test_a_damaged_copy_is_told(text):
    with pytest.raises(FleetError, match="accounts.json is damaged or no copy"):
        backup.Saved.from_text(text, "/backup/accounts.json")


def test_homes_that_a_run_began_to_bring_back_are_completed_and_others_stay_as_they_are(old):
    mirrors = [Mirror("bob", "/home/bob"), Mirror("dave", "/home/dave")]
    assert backup.parted(mirrors, old) == (mirrors[1:], mirrors[:1])
    backup.begin(["bob", "dave"], old)
    assert backup.begun(old) == ["bob", "dave"] and backup.parted(mirrors, old) == (mirrors, [])
    assert os.stat(old.path(backup.BEGUN)).st_mode & 0o777 == 0o600
    backup.begin([], old)
    assert backup.begun(old) == [] and not os.path.exists(old.path(backup.BEGUN))
    for damaged in ("{", "3"):
        with open(old.path(backup.BEGUN), "w") as handle:
            handle.write(damaged)
        assert backup.begun(old) == []
