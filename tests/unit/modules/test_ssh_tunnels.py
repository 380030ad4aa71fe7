# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ssh_tunnels as a playbook meets it, on a machine with two users whose homes are below a directory."""
import os
import shutil

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import ssh_tunnel_host
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.ssh_tunnel_host import Account
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.modules import ssh_tunnels

from .run_module import run_module


@pytest.fixture
def desk(tmp_path, monkeypatch):
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
    (tmp_path / "alice/.ssh").mkdir()
    (tmp_path / "alice/.ssh/config").write_bytes(b"Host *\r\n  User me")
    (tmp_path / "alice/.ssh/config").chmod(0o600)
    people = {name: Account(name, os.geteuid(), os.getegid(), str(tmp_path / name)) for name in ("alice", "bob")}
    monkeypatch.setattr(ssh_tunnel_host, "account", people.get)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return tmp_path


def options(desk, **more):
    return dict({"users": ["alice", "bob"], "nodes": ["dgx01"], "install": True, "directory": str(desk / "etc/tunnels")}, **more)


def tree(desk):
    return {str(place.relative_to(desk)): place.read_bytes() if place.is_file() else None for place in desk.rglob("*")}


def test_check_mode_predicts_the_run_and_a_second_run_changes_nothing(desk):
    before = tree(desk)
    predicted = run_module(ssh_tunnels.main, options(desk), check=True)
    assert tree(desk) == before
    done = run_module(ssh_tunnels.main, options(desk))
    assert predicted == done and done["changed"]
    assert done["ports"]["bob"] == {"notebook": 5001, "vnc": 5902, "vnc-web": 6902}
    assert done["installed"] == ["alice", "bob"]
    assert not run_module(ssh_tunnels.main, options(desk))["changed"]
    assert not run_module(ssh_tunnels.main, options(desk), check=True)["changed"]
    line = "Include {0}/etc/tunnels/alice/ssh_config\n".format(desk)
    assert (desk / "alice/.ssh/config").read_bytes().decode().split(".\n", 1)[1] == line + "Host *\r\n  User me"
    assert (desk / "bob/.ssh").stat().st_mode & 0o777 == 0o700
    assert (desk / "etc/tunnels/bob/ssh_config").stat().st_mode & 0o777 == 0o644


def test_everything_is_given_back_byte_by_byte(desk):
    before = tree(desk)
    run_module(ssh_tunnels.main, options(desk))
    gone = run_module(ssh_tunnels.main, {"directory": str(desk / "etc/tunnels"), "state": "absent"})
    assert gone["changed"] and tree(desk) == before
    assert not run_module(ssh_tunnels.main, {"directory": str(desk / "etc/tunnels"), "state": "absent"})["changed"]


def test_who_is_not_named_any_more_loses_his_files_but_keeps_his_ports(desk):
    run_module(ssh_tunnels.main, options(desk))
    config = (desk / "alice/.ssh/config").read_bytes()
    answer = run_module(ssh_tunnels.main, options(desk, users=["bob", "carol"], install=False))
    assert answer["slots"] == {"bob": 1, "carol": 2}
    assert not (desk / "etc/tunnels/alice").exists()
    assert config.endswith((desk / "alice/.ssh/config").read_bytes())
    assert not (desk / "bob/.ssh").exists()
    assert run_module(ssh_tunnels.main, options(desk))["slots"] == {"alice": 0, "bob": 1}


def test_a_run_that_was_cut_short_anywhere_is_completed_or_taken_back_by_the_next(desk, monkeypatch):
    before = tree(desk)
    run_module(ssh_tunnels.main, options(desk, users=["alice"]))
    one = tree(desk)
    run_module(ssh_tunnels.main, options(desk))
    both = tree(desk)
    run_module(ssh_tunnels.main, {"directory": str(desk / "etc/tunnels"), "state": "absent"})
    for end in ("completed", "taken back", "back to one"):
        for steps in range(20):
            run_module(ssh_tunnels.main, options(desk, users=["alice"]))
            with monkeypatch.context() as patch:
                left = iter(range(steps))

                def write(path, text, mode=0o644, left=left, real=ssh_tunnel_host.write_atomic):
                    if next(left, None) is None:
                        raise FleetError("killed")
                    real(path, text, mode)

                patch.setattr(ssh_tunnel_host, "write_atomic", write)
                cut = run_module(ssh_tunnels.main, options(desk))
            if end == "completed":
                run_module(ssh_tunnels.main, options(desk))
                assert tree(desk) == both
            if end == "back to one":
                run_module(ssh_tunnels.main, options(desk, users=["alice"]))
                assert set(tree(desk)) == set(one)
            run_module(ssh_tunnels.main, {"directory": str(desk / "etc/tunnels"), "state": "absent"})
            assert tree(desk) == before
            if not cut.get("failed"):
                break
        assert steps > 3


def test_what_must_be_refused(desk):
    refused = run_module(ssh_tunnels.main, options(desk, users=["alice", {"name": "zoe"}]))
    assert "no account zoe with a home" in refused["msg"] and not (desk / "etc").exists()
    assert "no account zoe" in str(run_module(ssh_tunnels.main, options(desk, users=["zoe"]), check=True)["warnings"])
    twice = run_module(ssh_tunnels.main, options(desk, users=["alice", {"name": "al", "account": "alice"}]))
    assert "Two of the users have the account alice" in twice["msg"]
    assert "an absolute path" in run_module(ssh_tunnels.main, options(desk, directory="/etc/my tunnels"))["msg"]
    (desk / "etc/tunnels").mkdir(parents=True)
    (desk / "etc/tunnels/ports.json").write_text("[]")
    assert "keeps who has which port, but it cannot be read" in run_module(ssh_tunnels.main, options(desk))["msg"]


class Ssh:
    """An ssh that answers as it likes."""

    def __init__(self, answer):
        self.answer = answer

    def output(self, argv):
        return self.answer


@pytest.mark.parametrize(("answer", "said"), [
    ("hostname other\nport 22\nuser alice\n", "does not read the tunnels of alice as they are meant: hostname dgx01, exitonforwardfailure yes"),
    ("hostname dgx01\nport 22\nuser alice\nexitonforwardfailure yes\nlocalforward x\n", "1 of 3 ports"),
])
def test_what_ssh_reads_otherwise_is_not_written(desk, monkeypatch, answer, said):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/ssh")
    monkeypatch.setattr(ssh_tunnels, "Commands", lambda: Ssh(answer))
    refused = run_module(ssh_tunnels.main, options(desk, users=["alice"]))
    assert said in refused["msg"] and not (desk / "etc").exists()
