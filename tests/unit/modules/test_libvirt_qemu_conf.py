# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module libvirt_qemu_conf as a playbook meets it, on a host whose systemd is played."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.qemu_conf import NAME
from ansible_collections.dgxops.fleet.plugins.modules import libvirt_qemu_conf

from .run_module import run_module

TEXT = '# libvirt\n#user = "root"\n#max_files = 0\n'


class Systemd(Commands):
    """libvirtd, which gives guests 1024 files and does not start while the file has a word that it does not like; ``read`` is what it started with."""

    def __init__(self, root):
        super().__init__()
        self.root, self.active, self.starts, self.read, self.dislikes = root, True, 0, TEXT, "sometimes"

    def run(self, argv, timeout=None, text_in=None):
        if argv[:2] == ("systemctl", "show"):
            state = "active" if self.active else "failed"
            if "--property=MainPID,LimitNOFILE" in argv:
                return Result(0, "MainPID=0\nLimitNOFILE=1024\n", "")
            return Result(0, "Id=libvirtd.service\nLoadState=loaded\nUnitFileState=enabled\nActiveState={0}\nSubState=running\n".format(state), "")
        if argv == ("systemctl", "restart", "libvirtd.service"):
            self.starts, self.read = self.starts + 1, (self.root / "etc/libvirt/qemu.conf").read_text()
            self.active = self.dislikes not in self.read
            return Result(0 if self.active else 1, "", "" if self.active else "Job for libvirtd.service failed.")
        if argv[0] == "journalctl":
            return Result(0, "unsupported configuration\n", "")
        raise AssertionError(argv)


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    (tmp_path / "etc/libvirt").mkdir(parents=True)
    (tmp_path / "etc/libvirt/qemu.conf").write_text(TEXT)
    os.chmod(str(tmp_path / "etc/libvirt/qemu.conf"), 0o600)
    played = Systemd(tmp_path)
    monkeypatch.setattr(libvirt_qemu_conf, "Commands", lambda: played)
    return played


def run(systemd, check=False, **options):
    return run_module(libvirt_qemu_conf.main, dict(options, root=str(systemd.root)), check)


def conf(systemd):
    return (systemd.root / "etc/libvirt/qemu.conf").read_text()


def test_check_mode_predicts_what_the_run_then_does_and_the_file_comes_back(systemd):
    predicted = run(systemd, check=True, max_files=2048)
    assert conf(systemd) == TEXT and systemd.starts == 0
    done = run(systemd, max_files=2048)
    assert predicted == done and done["restarted"] == ["libvirtd.service"] and done["max_files"] == 2048
    assert systemd.read == conf(systemd) == TEXT + "max_files = 2048\n"
    assert os.stat(str(systemd.root / "etc/libvirt/qemu.conf")).st_mode & 0o777 == 0o600
    assert not run(systemd, max_files=2048)["changed"] and systemd.starts == 1
    assert run(systemd, state="absent")["changed"] and systemd.read == conf(systemd) == TEXT
    assert not run(systemd, state="absent")["changed"] and not os.path.exists(records.place(NAME, str(systemd.root)))


def test_a_daemon_that_does_not_start_gets_its_old_file_back(systemd):
    systemd.dislikes = "4096"
    answer = run(systemd, max_files=4096)
    assert answer["failed"] and "Job for libvirtd.service failed" in answer["msg"] and "The files are as they were" in answer["msg"]
    assert systemd.active and conf(systemd) == TEXT and not os.path.exists(records.place(NAME, str(systemd.root)))
    assert run(systemd, max_files=2048)["changed"]


def test_a_run_that_was_cut_short_before_the_restart_is_completed(systemd, monkeypatch):
    def cut(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(libvirt_qemu_conf.make_or_undo.__globals__["units"], "bring", cut)
        with pytest.raises(KeyboardInterrupt):
            run(systemd, max_files=2048)
    assert "max_files = 2048" in conf(systemd) and systemd.starts == 0
    assert run(systemd, max_files=2048)["restarted"] == ["libvirtd.service"] and systemd.read == conf(systemd)
    assert not run(systemd, max_files=2048)["changed"]


def test_guests_that_have_enough_are_left_alone_and_the_answer_says_what_they_have(systemd):
    answer = run(systemd, max_files=1000)
    assert not answer["changed"] and answer["max_files"] == 1024 and systemd.starts == 0 and conf(systemd) == TEXT


def test_bad_input_is_an_answer(systemd):
    assert "max_files is -5" in run(systemd, max_files=-5)["msg"] and "max_files is missing" in run(systemd)["msg"]
