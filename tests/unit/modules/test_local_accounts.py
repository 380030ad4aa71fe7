# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules local_accounts and accounts_backup as a playbook meets them, on the files of a host that is played."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.modules import accounts_backup, local_accounts
from ansible_collections.dgxops.fleet.tests.unit.module_utils.host.lab_accounts import host_below, texts

from .run_module import run_module


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = host_below(tmp_path)
    (tmp_path / "etc/machine-id").write_text("one\n")
    for module in (local_accounts, accounts_backup):
        monkeypatch.setattr(module, "Host", lambda commands: host)
    return host


WANTED = {"groups": [{"name": "docker", "system": True}], "users": [{"name": "eve", "groups": ["docker"], "password_hash": "$6$salt$secrethash"}]}


def test_check_mode_predicts_what_the_run_then_does(host):
    before = texts(host)
    predicted = run_module(local_accounts.main, WANTED, check=True)
    assert texts(host) == before
    done = run_module(local_accounts.main, WANTED)
    assert predicted["changed"] and predicted["diff"] == done["diff"]
    assert done["users"]["eve"]["groups"] == ["docker"] and done["new_users"] == ["eve"]
    assert "secrethash" not in str(done)
    assert not run_module(local_accounts.main, WANTED)["changed"]
    assert run_module(local_accounts.main, {"state": "absent"})["changed"] and texts(host) == before


def test_a_shell_that_is_not_there_is_told_since_nobody_could_log_in_with_it(host):
    wanted = {"users": [{"name": "eve", "shell": "/usr/bin/fish"}]}
    assert "The shell /usr/bin/fish of eve is not on this host" in str(run_module(local_accounts.main, wanted)["warnings"])
    os.makedirs(host.path("usr/bin"))
    with open(host.path("usr/bin/fish"), "w"):
        pass
    assert "warnings" not in run_module(local_accounts.main, wanted)


def test_a_collision_is_an_answer_that_tells_all(host):
    answer = run_module(local_accounts.main, {"users": [{"name": "eve", "uid": 1000}]})
    assert answer["failed"] and answer["collisions"] == ["The uid 1000 of user eve belongs to user bob."]


def test_a_copy_is_made_once_and_a_missing_one_is_told(host):
    options = {"path": "/backup", "homes": False, "same_disk": True}
    predicted = run_module(accounts_backup.main, options, check=True)
    done = run_module(accounts_backup.main, options)
    assert predicted["changed"] and predicted == done and done["users"] == ["bob"]
    assert not run_module(accounts_backup.main, options)["changed"]
    assert not run_module(accounts_backup.main, dict(options, state="restored"))["changed"]
    assert "There is no copy in /elsewhere" in run_module(accounts_backup.main, dict(options, path="/elsewhere", state="restored"))["msg"]


def test_a_home_whose_disk_is_not_mounted_does_not_empty_its_copy(host, monkeypatch):
    copied = []

    def rsync(argv, _text):
        if "--dry-run" not in argv:
            copied.append(list(argv[argv.index("--") + 1:]))
        return Result(0, "".join("*deleting   0 {0}/notes\n".format(source.rpartition("/")[2]) for source in argv[argv.index("--") + 1:-1]), "")

    monkeypatch.setattr(host.commands, "rsync", rsync, raising=False)
    monkeypatch.setattr(accounts_backup, "has_rsync", lambda: True)
    run_module(local_accounts.main, WANTED)
    with open(host.path("home/eve/code"), "w"):
        pass
    answer = run_module(accounts_backup.main, {"path": "/backup", "same_disk": True})
    assert answer["homes"] == {"eve": 1} and copied == [[host.path("home/eve"), host.path("backup/homes/")]]
    assert "/home/bob is empty, but the copy is not" in str(answer["warnings"]) and "remove /backup/homes/bob" in str(answer["warnings"])


def test_a_host_that_was_set_up_anew_does_not_take_its_own_copy(host):
    options = {"path": "/backup", "homes": False, "same_disk": True}
    run_module(accounts_backup.main, options)
    with open(host.path("etc/machine-id"), "w") as handle:
        handle.write("two\n")
    assert "another installation" in run_module(accounts_backup.main, options)["msg"]


def test_a_check_on_a_fresh_host_asks_nobody_for_whom_it_needs_rsync(host, monkeypatch):
    monkeypatch.setattr(accounts_backup, "has_rsync", lambda: False)
    answer = run_module(accounts_backup.main, {"path": "keeper@store:/srv/dgx01"}, check=True)
    assert answer["changed"] and "There is no rsync on this host yet, so that keeper@store:/srv/dgx01 was not asked." in str(answer["warnings"])
    assert "A path from / is expected" in run_module(accounts_backup.main, {"path": "keeper@store:dgx01"}, check=True)["msg"]
    assert run_module(accounts_backup.main, {"path": "/backup", "same_disk": True}, check=True)["homes"] == {"bob": 1}


def test_one_key_is_enough_and_is_never_shown(host):
    answer = run_module(accounts_backup.main, {"path": "keeper@store:/srv/dgx01", "ssh": {"key": "very secret", "key_file": "/root/key"}})
    assert answer["failed"] and "mutually exclusive: key|key_file" in answer["msg"] and "very secret" not in str(answer)
