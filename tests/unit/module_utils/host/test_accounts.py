# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Local accounts: made, changed, refused where they collide, and given back."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import accounts_host, records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.accounts import decide, wishes_from_params
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

from .lab_accounts import host_below, params, texts

DOCKER = {"name": "docker", "system": True}
DGXUSER = {"name": "dgxuser", "shell": "/bin/bash", "groups": ["docker"], "password_hash": "$6$salt$secrethash", "authorized_keys": ["ssh-ed25519 AAAA d@x"]}


@pytest.fixture
def host(tmp_path):
    return host_below(tmp_path)


def run(host, *users, groups=()):
    asked = params(users, groups)
    work = accounts_host.plan(wishes_from_params(asked), {user["name"]: user.get("authorized_keys", []) for user in users}, host)
    accounts_host.carry_out(work, host)
    return work


def back(host, remove_homes=False):
    work = accounts_host.plan_return(remove_homes, host)
    accounts_host.carry_out(work, host)
    return work


def keys_of(host, user):
    place = host.path("home/{0}/.ssh/authorized_keys".format(user))
    return open(place).read() if os.path.exists(place) else None


def test_a_user_who_may_run_containers_as_the_document_has_it(host):
    work = run(host, DGXUSER, groups=[DOCKER])
    now = accounts_host.read(host)
    user = now.users["dgxuser"]
    assert (user.uid, user.shell, user.home, now.group_name(user.gid)) == (1001, "/bin/bash", "/home/dgxuser", "dgxuser")
    assert now.groups_of("dgxuser") == ("docker",)
    assert now.shadow["dgxuser"].password == "$6$salt$secrethash"
    assert keys_of(host, "dgxuser") == "ssh-ed25519 AAAA d@x\n"
    assert (list(work.change.new_users), list(work.change.new_groups)) == (["dgxuser"], ["docker"])
    assert not run(host, DGXUSER, groups=[DOCKER])


def test_nobody_reads_a_password_in_the_process_list_or_the_diff(host):
    work = run(host, DGXUSER, {"name": "bob", "password_hash": "$y$j9T$secrethash"}, groups=[DOCKER])
    told = " ".join(host.commands.asked) + str(work.diffs)
    assert "secrethash" not in told and "bobshash" not in told
    assert "has a password (changed)" in told
    assert os.stat(records.place(accounts_host.RECORD, host.root)).st_mode & 0o077 == 0


def test_a_hundred_users_who_are_there_already_cost_no_command_at_all(host):
    users = [{"name": "user{0:03}".format(number), "uid": 2000 + number, "groups": ["docker"]} for number in range(100)]
    run(host, *users, groups=[DOCKER])
    del host.commands.asked[:]
    assert not run(host, *users, groups=[DOCKER]) and host.commands.asked == []


def test_what_is_not_named_stays_as_it_is(host):
    run(host, {"name": "bob", "shell": "/bin/bash"})
    user = accounts_host.read(host).users["bob"]
    assert (user.shell, user.comment, accounts_host.read(host).groups_of("bob")) == ("/bin/bash", "Bob", ("sudo",))
    assert texts(host)["passwd"].endswith("+::::::\n")


def test_a_user_is_taken_out_of_other_groups_only_if_that_is_said(host):
    run(host, {"name": "bob", "groups": ["docker"]}, groups=[DOCKER])
    assert accounts_host.read(host).groups_of("bob") == ("docker", "sudo")
    run(host, {"name": "bob", "groups": ["docker"], "only_these_groups": True}, groups=[DOCKER])
    assert accounts_host.read(host).groups_of("bob") == ("docker",)
    assert back(host)
    assert accounts_host.read(host).groups_of("bob") == ("sudo",)


def test_a_number_that_is_asked_for_is_given_before_any_free_one_is(host):
    wanted = params([{"name": "carol"}, {"name": "dave", "uid": 1001}], [{"name": "docker", "system": True}, {"name": "nvme", "gid": 999}])
    steps = accounts_host.plan(wishes_from_params(wanted), {}, host).change.steps
    assert [step.argv[-1] for step in steps] == ["nvme", "docker", "dave", "carol"]


def test_a_users_own_group_need_not_be_named_and_may_be(host):
    run(host, {"name": "carol", "groups": ["carol", "sudo"]})
    assert accounts_host.read(host).groups["sudo"].members == ("bob", "carol")
    assert not run(host, {"name": "carol", "groups": ["carol", "sudo"]})
    assert not run(host, {"name": "carol", "groups": ["carol", "sudo"], "only_these_groups": True})


def test_a_user_of_another_main_group_stays_in_his_own_if_that_is_said(host):
    run(host, {"name": "bob", "group": "proj", "groups": ["bob"]}, groups=[{"name": "proj"}])
    now = accounts_host.read(host)
    assert (now.group_name(now.users["bob"].gid), now.groups["bob"].members) == ("proj", ("bob",))
    assert not run(host, {"name": "bob", "group": "proj", "groups": ["bob"]}, groups=[{"name": "proj"}])


def test_a_main_group_that_we_made_for_a_user_of_others_goes_with_our_change(host):
    before = texts(host)
    run(host, {"name": "bob", "group": "proj"}, groups=[{"name": "proj"}])
    back(host)
    assert texts(host) == before


def test_a_users_own_keys_stay(host):
    os.makedirs(host.path("home/bob/.ssh"))
    with open(host.path("home/bob/.ssh/authorized_keys"), "w") as handle:
        handle.write("ssh-rsa OWN bob@home")
    run(host, {"name": "bob", "authorized_keys": ["ssh-ed25519 AAAA bob"]})
    assert keys_of(host, "bob") == "ssh-rsa OWN bob@home\nssh-ed25519 AAAA bob\n"
    assert not run(host, {"name": "bob", "authorized_keys": ["ssh-rsa OWN bob@home"]})
    assert back(host)
    assert keys_of(host, "bob") == "ssh-rsa OWN bob@home\n"


@pytest.mark.parametrize("users, groups, said", [
    ([{"name": "eve", "uid": 1000}], [], "The uid 1000 of user eve belongs to user bob."),
    ([{"name": "bob", "uid": 1005}], [], "User bob has the uid 1000 here, and 1005 is wanted."),
    ([], [{"name": "docker", "gid": 27}], "The gid 27 of group docker belongs to group sudo."),
    ([], [{"name": "sudo", "gid": 998}], "Group sudo has the gid 27 here, and 998 is wanted."),
    ([{"name": "eve", "groups": ["docker"]}], [], "User eve is to be in group docker, which does not exist"),
    ([{"name": "eve", "group": "staff"}], [], "User eve is to be in group staff, which does not exist"),
    ([{"name": "eve", "group": "sudo", "groups": ["eve"]}], [], "User eve is to be in group eve, which does not exist"),
    ([{"name": "eve", "home": "/home/bob"}], [], "The home /home/bob of user eve is there already"),
    ([{"name": "eve", "uid": 2000}, {"name": "ann", "uid": 2000}], [], "The uid 2000 is given to both eve and ann."),
])
def test_a_collision_is_told_and_nothing_is_changed(host, users, groups, said):
    before = texts(host)
    with pytest.raises(FleetError) as refusal:
        run(host, {"name": "fine"}, *users, groups=[{"name": "alsofine"}] + groups)
    assert said in str(refusal.value) and len(refusal.value.details["collisions"]) == 1
    assert texts(host) == before and host.commands.asked == []


def test_all_collisions_are_told_at_once(host):
    with pytest.raises(FleetError) as refusal:
        run(host, {"name": "eve", "uid": 1000}, {"name": "ann", "groups": ["docker"]})
    assert len(refusal.value.details["collisions"]) == 2


@pytest.mark.parametrize("owner, refused", [(2000, False), (2001, True)])
def test_a_home_that_survived_on_its_own_disk_is_taken_by_the_user_with_the_same_number_only(host, owner, refused):
    wishes, found = wishes_from_params(params([{"name": "eve", "uid": 2000}])), accounts_host.read(host)
    if refused:
        with pytest.raises(FleetError, match="belongs to uid 2001"):
            decide(wishes, found, {"/home/eve": owner})
    else:
        assert list(decide(wishes, found, {"/home/eve": owner}).new_users) == ["eve"]


@pytest.mark.parametrize("user, said", [
    ({"name": "Eve"}, "users has 'Eve'"),
    ({"name": "-rf"}, "users has '-rf'"),
    ({"name": "eve", "comment": "a:b"}, "comment of user eve has a colon"),
    ({"name": "eve", "shell": "bash"}, "shell of user eve is 'bash', but an absolute path"),
    ({"name": "eve", "home": "/home/eve\nroot::0:0"}, "line break"),
    ({"name": "eve", "password_hash": "hunter2"}, "is no hash as crypt"),
    ({"name": "eve", "password_hash": ""}, "is no hash as crypt"),
    ({"name": "eve", "password_hash": "$6$a$b\nroot:$6$a$b"}, "is no hash as crypt"),
    ({"name": "eve", "groups": ["a,b"]}, "groups of eve has 'a,b'"),
])
def test_what_the_account_files_cannot_carry_is_refused_and_no_password_is_shown(host, user, said):
    with pytest.raises(FleetError) as refusal:
        run(host, user)
    assert said in str(refusal.value) and "hunter2" not in str(refusal.value)


def test_a_name_that_is_given_twice_is_refused(host):
    with pytest.raises(FleetError, match="The user eve is named twice"):
        run(host, {"name": "eve"}, {"name": "eve"})


def test_a_host_is_given_back_as_it_was_and_homes_are_kept(host):
    before = texts(host)
    run(host, DGXUSER, {"name": "bob", "comment": "Robert", "shell": "/bin/bash", "password_hash": "$6$a$b", "groups": ["docker"]}, groups=[DOCKER])
    assert back(host)
    assert texts(host) == before
    assert os.path.isdir(host.path("home/dgxuser")) and not os.path.exists(records.place(accounts_host.RECORD, host.root))
    assert not back(host)


def test_what_a_user_changed_himself_meanwhile_is_not_taken_from_him(host):
    run(host, {"name": "bob", "shell": "/bin/bash"})
    host.commands.chpasswd(["--encrypted"], "bob:$6$own$choice\n")
    back(host)
    now = accounts_host.read(host)
    assert (now.users["bob"].shell, now.shadow["bob"].password) == ("/bin/sh", "$6$own$choice")


def test_a_group_that_others_joined_meanwhile_stays(host):
    run(host, DGXUSER, groups=[DOCKER])
    host.commands.usermod(["--append", "--groups", "docker", "bob"], None)
    work = back(host)
    assert "docker" in accounts_host.read(host).groups
    assert "group docker: others use it" in work.diffs[0].after


@pytest.mark.parametrize("moment", ["groupadd", "useradd", "chpasswd", "usermod", "userdel", "groupdel"])
def test_a_run_cut_short_anywhere_is_completed_by_the_next(host, moment):
    before = texts(host)
    users = (DGXUSER, {"name": "bob", "groups": ["docker"]})
    host.commands.dies_at = moment
    for go in (lambda: run(host, *users, groups=[DOCKER]), lambda: back(host)):
        try:
            go()
        except KeyboardInterrupt:
            host.commands.dies_at = ""
            go()
    assert texts(host) == before and not back(host)


def test_a_program_that_fails_is_told_with_its_words(host):
    host.commands.run = lambda argv, timeout=None, text_in=None: Result(4, "", "useradd: UID 5 is not unique\n")
    with pytest.raises(FleetError, match="useradd .* failed with status 4 and said: useradd: UID 5 is not unique"):
        run(host, {"name": "eve"})


def test_a_damaged_record_is_told_and_not_guessed(host):
    os.makedirs(os.path.dirname(records.place(accounts_host.RECORD, host.root)))
    for text in ("{", "[1]", '{"changed": {"bob": {"shadow": [1, 2, 3, 4, 5, 6, 7, 8, 9]}}}'):
        with open(records.place(accounts_host.RECORD, host.root), "w") as handle:
            handle.write(text)
        with pytest.raises(FleetError, match="local_accounts.json is damaged"):
            run(host, {"name": "eve"})


def test_a_host_without_account_files_is_told(host):
    os.unlink(host.path("etc/passwd"))
    with pytest.raises(FleetError, match="/etc/passwd or /etc/group is missing"):
        accounts_host.read(host)
