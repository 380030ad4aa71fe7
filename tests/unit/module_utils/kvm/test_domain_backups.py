# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Backups are private, kept once, and refused with a remedy when they cannot be used."""
import json
import os
import stat

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_backups import Backup, Backups, Record
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import GUEST, UUID, guest

BACKUP = Backup(GUEST, Record("2gpu-vm-2g0-1", ("vcpupin", "disks[vdb].driver.queues"), "abc", False, True))


@pytest.fixture
def backups(tmp_path):
    return Backups(str(tmp_path / "libvirt"))


def test_what_is_kept_is_read_back(backups):
    backups.write(UUID, BACKUP)
    assert backups.read(UUID) == BACKUP
    assert backups.uuids() == [UUID]


def test_only_root_can_read_it_since_it_holds_passwords(backups):
    backups.write(UUID, BACKUP)
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (backups.directory, backups.path(UUID), backups.path(UUID, "json"))]
    assert modes == [0o700, 0o600, 0o600]


def test_without_a_backup_there_is_none(backups):
    assert backups.read(UUID) is None and backups.uuids() == []


def test_a_document_without_a_record_is_of_a_run_that_changed_nothing(backups):
    backups.write(UUID, BACKUP)
    os.unlink(backups.path(UUID, "json"))
    assert backups.read(UUID).record.settings == ()


@pytest.mark.parametrize(
    "suffix, text, said",
    [
        ("xml", GUEST[:500], "not well-formed XML"),
        ("xml", "", "not well-formed XML"),
        ("xml", "<network/>", "not <domain>"),
        ("xml", guest(uuid="1" * 8), "backup of another domain .UUID 11111111"),
        ("json", "{", "cannot be used"),
        ("json", "[]", "cannot be used"),
        ("json", json.dumps({"name": "a", "settings": ["colour"]}), "'colour' is not the name of a setting"),
        ("json", json.dumps({"name": "a", "settings": [], "more": 1}), "cannot be used"),
        ("json", "\udcff", "cannot be used"),
    ],
)
def test_a_backup_that_cannot_be_used_is_refused_with_a_remedy(backups, suffix, text, said):
    backups.write(UUID, BACKUP)
    with open(backups.path(UUID, suffix), "w", errors="surrogateescape") as handle:
        handle.write(text)
    with pytest.raises(FleetError, match=said) as refusal:
        backups.read(UUID)
    assert backups.path(UUID, suffix) in str(refusal.value)
    assert "Repair it, or move it" in str(refusal.value)


def test_what_was_brought_back_moves_to_the_history(backups):
    for _time in range(3):
        backups.write(UUID, BACKUP)
        moved = backups.retire(UUID)
        assert moved.startswith(os.path.join(backups.directory, "history", UUID)) and open(moved).read() == GUEST
    assert backups.read(UUID) is None and backups.uuids() == []
    assert len(os.listdir(os.path.join(backups.directory, "history"))) == 6


def test_a_backup_is_forgotten_when_nothing_was_changed_after_all(backups):
    backups.write(UUID, BACKUP)
    backups.forget(UUID)
    assert backups.read(UUID) is None
