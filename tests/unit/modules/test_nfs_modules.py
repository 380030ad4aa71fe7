# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""nfs_mounts, nfs_server, module_options and ipoib as a playbook meets them."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.modules import ipoib, module_options, nfs_mounts, nfs_server

from ..module_utils.storage import nfs_host, test_nfs_server
from .run_module import run_module

MOUNTS = {"mounts": [{"path": "/data", "src": "nfs01:/data", "options": ["ro", "rsize=1048576"]}], "options": ["nconnect=8"], "read_ahead_kib": 4096}
EXPORTS = {"exports": [{"path": "/srv/data", "clients": [{"host": "192.0.2.0/24", "options": ["ro"]}]}], "threads": 64}


@pytest.fixture
def client(tmp_path, monkeypatch):
    made = nfs_host.build(tmp_path)
    monkeypatch.setattr(nfs_mounts, "Host", lambda _commands: made)
    return made


def test_check_mode_foretells_the_mounts_and_changes_nothing(client):
    before = client.commands.lines()
    foretold = run_module(nfs_mounts.main, MOUNTS, check=True)
    assert foretold["changed"] and client.commands.lines() == before and not os.path.exists(client.path("/data")) and not foretold["mounts"][0]["mounted"]
    done = run_module(nfs_mounts.main, MOUNTS)
    assert (done["diff"], done["steps"]) == (foretold["diff"], foretold["steps"])
    (mount,) = done["mounts"]
    assert mount["mounted"] and "nconnect=8" in mount["options"] and mount["read_ahead_kib"] == 4096
    again = run_module(nfs_mounts.main, MOUNTS)
    assert not again["changed"] and again["diff"] == [] and again["limited"] == {}


def test_what_is_granted_less_is_returned_on_each_run(client):
    client.commands.most = 65536
    first, second = run_module(nfs_mounts.main, MOUNTS), run_module(nfs_mounts.main, MOUNTS)
    expected = {"/data": [{"option": "rsize", "wanted": "1048576", "in_force": "65536"}]}
    assert first["limited"] == second["limited"] == expected and not second["changed"]
    assert len(first["warnings"]) == 1


def test_without_mount_nfs_it_says_so_or_tells(client):
    os.unlink(client.path("sbin/mount.nfs"))
    assert "Install the package nfs-common" in run_module(nfs_mounts.main, MOUNTS)["msg"]
    told = run_module(nfs_mounts.main, dict(MOUNTS, when_missing="tell"))
    assert told["missing"] and told["changed"] and len(client.commands.lines()) == 1
    assert run_module(nfs_mounts.main, MOUNTS, check=True)["changed"]


def test_a_mount_that_is_given_back_is_told(client):
    run_module(nfs_mounts.main, MOUNTS)
    done = run_module(nfs_mounts.main, {"state": "absent"})
    assert done["changed"] and done["steps"] == ["unmount /data"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = test_nfs_server.build(tmp_path)
    monkeypatch.setattr(nfs_server, "Host", lambda _commands: made)
    return made


def test_check_mode_foretells_the_server_and_changes_nothing(server):
    foretold = run_module(nfs_server.main, EXPORTS, check=True)
    assert foretold["changed"] and foretold["threads"] == 64 and not os.path.exists(server.sysfs.path("etc/exports.d"))
    done = run_module(nfs_server.main, EXPORTS)
    assert done["diff"] == foretold["diff"] and (done["threads"], done["enabled"], done["running"]) == (64, True, True)
    assert done["exports"] == [{"path": "/srv/data", "client": "192.0.2.0/24", "options": ["sync", "root_squash", "ro", "no_subtree_check"]}]
    assert not run_module(nfs_server.main, EXPORTS)["changed"]
    assert run_module(nfs_server.main, {"state": "absent"})["running"] is False


def test_a_host_without_a_server_says_so_or_tells(server):
    os.unlink(server.sysfs.path("lib/systemd/system/nfs-server.service"))
    assert "Install the package nfs-kernel-server" in run_module(nfs_server.main, EXPORTS)["msg"]
    told = run_module(nfs_server.main, dict(EXPORTS, when_missing="tell"))
    assert told["missing"] and told["changed"] and not os.path.exists(server.sysfs.path("etc/exports.d"))
    assert not run_module(nfs_server.main, {"state": "absent"}, check=True)["missing"]


def test_module_options_are_set_and_given_back(tmp_path):
    place = tmp_path / "sys/module/sunrpc/parameters/tcp_slot_table_entries"
    place.parent.mkdir(parents=True)
    place.write_text("2\n")
    wanted = {"name": "nfs", "root": str(tmp_path), "modules": {"sunrpc": {"tcp_slot_table_entries": 128}}}
    foretold = run_module(module_options.main, wanted, check=True)
    assert place.read_text() == "2\n" and foretold["in_force"] == {"sunrpc": {"tcp_slot_table_entries": "2"}}
    done = run_module(module_options.main, wanted)
    assert done["diff"] == foretold["diff"] and done["in_force"] == {"sunrpc": {"tcp_slot_table_entries": "128"}} and done["pending"] == []
    assert not run_module(module_options.main, wanted)["changed"]
    assert run_module(module_options.main, {"name": "nfs", "root": str(tmp_path), "state": "absent"})["file"] == "" and place.read_text() == "2\n"


def test_ipoib_is_set_and_given_back(tmp_path):
    for name, text in (("type", "32"), ("mode", "datagram"), ("mtu", "2044")):
        (tmp_path / "sys/class/net/ib0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/class/net/ib0" / name).write_text(text + "\n")
    wanted = {"interfaces": ["ib0"], "root": str(tmp_path)}
    foretold, done = run_module(ipoib.main, wanted, check=True), run_module(ipoib.main, wanted)
    assert foretold["interfaces"] == {"ib0": {"mode": "datagram", "mtu": 2044}} and done["diff"] == foretold["diff"]
    assert done["interfaces"] == {"ib0": {"mode": "connected", "mtu": 65520}} and not run_module(ipoib.main, wanted)["changed"]
    assert run_module(ipoib.main, {"state": "absent", "root": str(tmp_path)})["file"] == ""
    assert (tmp_path / "sys/class/net/ib0/mtu").read_text() == "2044\n"
