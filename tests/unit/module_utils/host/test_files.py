# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file is replaced whole or not at all, and what was there before the first change is kept."""
import os
import stat

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import files
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError


def mode_of(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


def test_a_new_file_gets_the_mode_asked_for_and_its_directory(tmp_path):
    path = tmp_path / "sysctl.d" / "60-dgxops.conf"
    files.write_atomic(str(path), "vm.nr_hugepages = 4\n", mode=0o600)
    assert path.read_text() == "vm.nr_hugepages = 4\n"
    assert mode_of(path) == 0o600


def test_a_file_that_exists_keeps_its_mode_and_owner(tmp_path):
    path = tmp_path / "sssd.conf"
    path.write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(str(path), 65534, 65534)
    before = os.stat(str(path))
    files.write_atomic(str(path), "new", mode=0o600)
    after = os.stat(str(path))
    assert path.read_text() == "new"
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    target = tmp_path / "real.conf"
    target.write_text("old")
    link = tmp_path / "link.conf"
    link.symlink_to(target)
    files.write_atomic(str(link), "new")
    assert link.is_symlink() and target.read_text() == "new"


def test_bytes_that_are_no_utf8_survive_reading_and_writing(tmp_path):
    path = tmp_path / "old.conf"
    path.write_bytes(b"caf\xe9\n")
    files.write_atomic(str(path), (files.read_text(str(path)) or "") + "more\n")
    assert path.read_bytes() == b"caf\xe9\nmore\n"


def test_a_write_that_fails_leaves_the_old_text_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "fstab"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FleetError, match="fstab could not be written: No space left on device. It was left as it was. Free some space."):
        files.write_atomic(str(path), "new")
    assert path.read_text() == "old"
    assert os.listdir(str(tmp_path)) == ["fstab"]


def test_a_path_below_a_file_is_refused_in_words(tmp_path):
    (tmp_path / "etc").write_text("")
    with pytest.raises(FleetError, match="etc/fstab could not be written: .*Check the path and run the task with become"):
        files.write_atomic(str(tmp_path / "etc" / "fstab"), "x")


def test_reading_what_is_not_there_gives_none(tmp_path):
    (tmp_path / "file").write_text("")
    assert files.read_text(str(tmp_path / "nothing")) is None
    assert files.read_text(str(tmp_path / "file" / "below")) is None
    assert files.read_text(str(tmp_path / "file")) == ""


def test_reading_what_is_no_file_is_an_error_and_not_none(tmp_path):
    with pytest.raises(OSError):
        files.read_text(str(tmp_path))


def test_the_first_copy_is_the_one_that_is_kept(tmp_path):
    path = tmp_path / "exports"
    path.write_text("as found")
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(str(path), 65534, 65534)
    kept = files.keep_once(str(path), "nfs/exports", str(tmp_path / "backups"))
    path.write_text("changed by us")
    assert files.keep_once(str(path), "nfs/exports", str(tmp_path / "backups")) == kept
    with open(kept) as handle:
        assert handle.read() == "as found"
    assert mode_of(kept) == 0o600
    assert os.stat(kept).st_uid == os.stat(str(path)).st_uid
    assert mode_of(tmp_path / "backups" / "nfs") == 0o700, "backups may hold secrets"


def test_a_copy_that_was_interrupted_is_made_anew(tmp_path):
    path = tmp_path / "exports"
    path.write_text("as found")
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "exports.part").write_text("as fo")
    kept = files.keep_once(str(path), "exports", str(tmp_path / "backups"))
    with open(kept) as handle:
        assert handle.read() == "as found"
    assert os.listdir(str(tmp_path / "backups")) == ["exports"]


def test_removing_says_whether_there_was_something(tmp_path):
    path = tmp_path / "drop-in"
    path.write_text("")
    assert files.remove(str(path)) is True
    assert files.remove(str(path)) is False


def test_a_diff_is_what_ansible_shows():
    assert files.Diff("a\n", "b\n", "/etc/x").to_dict() == {"before": "a\n", "after": "b\n", "before_header": "/etc/x", "after_header": "/etc/x"}


def test_a_copy_that_cannot_be_made_says_so_and_changes_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.keep_once(str(tmp_path / "nothing"), "nothing", str(tmp_path / "backups"))
    assert os.listdir(str(tmp_path)) == []
