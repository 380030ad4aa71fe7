# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In a user's home, things are done with the user's rights."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.as_user import as_user


def test_root_has_a_users_rights_for_a_while_and_his_own_again_also_after_a_failure(monkeypatch):
    now = {"groups": [0, 5], "gid": 0, "uid": 0}
    seen = []
    monkeypatch.setattr(os, "geteuid", lambda: now["uid"])
    monkeypatch.setattr(os, "getegid", lambda: now["gid"])
    monkeypatch.setattr(os, "getgroups", lambda: now["groups"])
    monkeypatch.setattr(os, "seteuid", lambda uid: now.update(uid=uid))
    monkeypatch.setattr(os, "setegid", lambda gid: now.update(gid=gid))
    monkeypatch.setattr(os, "setgroups", lambda groups: now.update(groups=groups))
    try:
        with as_user(1000, 1001):
            seen.append(dict(now))
            raise OSError
    except OSError:
        pass
    assert seen == [{"groups": [1001], "gid": 1001, "uid": 1000}]
    assert now == {"groups": [0, 5], "gid": 0, "uid": 0}


def test_whoever_is_not_root_stays_who_he_is(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "setgroups", lambda groups: pytest.fail("Only root may do that."))
    with as_user(1000, 1000):
        assert os.geteuid() == 1000
