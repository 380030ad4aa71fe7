# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes are carried out wholly or not at all: whatever fails, the domains are as they were before."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_apply import Work
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_backups import Backups
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_change import Host, decide
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_read import pending_now, read_domains
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_settings import Settings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import guest
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.fake_libvirt import FakeLibvirt

UUIDS = {name: name * 8 + "-0000-4000-8000-000000000000" for name in "abc"}
GUESTS = [guest(name=name, uuid=uuid) for name, uuid in UUIDS.items()]
PINS = {"0": "0", "1": "48"}
TOPOLOGY = {"sockets": 1, "cores": 5, "threads": 2}


@pytest.fixture
def backups(tmp_path):
    return Backups(str(tmp_path / "libvirt"))


def carry_out(libvirt, backups, when_running="refuse", names="abc", restore=False, **wanted):
    found = read_domains(libvirt, backups, [entry for entry in libvirt.domains() if entry.name in names])
    settings = None if restore else [Settings.from_option(dict(wanted, name=domain.name)) for domain in found]
    changes = decide(found, settings, Host(libvirt.host_cpus(), lambda path: None), when_running)
    Work(libvirt, backups, shutdown_timeout=0, poll=0).carry_out(changes)
    return changes


def killed(*_arguments):
    raise KeyboardInterrupt()


def is_of(name):
    return lambda xml, *_more: DomainDocument(xml).name == name


def test_every_domain_is_defined_once_and_its_backup_kept(backups):
    libvirt = FakeLibvirt(*GUESTS)
    carry_out(libvirt, backups, vcpupin=PINS)
    assert [call[0] for call in libvirt.calls] == ["define"] * 3
    for uuid, text in zip(UUIDS.values(), GUESTS):
        backup = backups.read(uuid)
        assert backup.text == text
        assert backup.record.digest == DomainDocument(libvirt.configured[uuid]).digest()


def test_passwords_are_not_lost_by_defining(backups):
    libvirt = FakeLibvirt(*GUESTS)
    carry_out(libvirt, backups, vcpupin=PINS)
    assert all("passwd='s3cret'" in text for text in libvirt.configured.values())


def test_when_libvirt_refuses_one_domain_none_is_changed(backups):
    libvirt = FakeLibvirt(*GUESTS)
    libvirt.fails["define"] = is_of("c")
    with pytest.raises(FleetError, match="Domain c: libvirt says no to define. All domains are as they were before."):
        carry_out(libvirt, backups, vcpupin=PINS)
    assert list(libvirt.configured.values()) == GUESTS
    assert backups.uuids() == []


def test_a_document_that_fails_libvirts_schema_may_be_defined_without_it(backups):
    libvirt = FakeLibvirt(*GUESTS)
    libvirt.failure = "XML document failed to validate against schema"
    libvirt.fails["define"] = lambda xml, validate: validate
    with pytest.raises(FleetError, match="virt-xml-validate - domain.*set validate to false"):
        carry_out(libvirt, backups, vcpupin=PINS)
    libvirt.fails.clear()
    carry_out(libvirt, backups, vcpupin=PINS)
    libvirt.fails["define"] = lambda xml, validate: validate
    carry_out(libvirt, backups, restore=True)
    assert list(libvirt.configured.values()) == GUESTS


def test_what_cannot_be_put_back_is_said(backups):
    libvirt = FakeLibvirt(*GUESTS)
    libvirt.fails["define"] = lambda xml, *_more: DomainDocument(xml).name == "c" or (DomainDocument(xml).name == "a" and xml == GUESTS[0])
    with pytest.raises(FleetError, match=r"Not everything could be put back: the configuration of a \("):
        carry_out(libvirt, backups, vcpupin=PINS)


def test_a_failed_change_leaves_an_older_backup_as_it_was(backups):
    libvirt = FakeLibvirt(*GUESTS)
    carry_out(libvirt, backups, vcpupin=PINS)
    before = {uuid: backups.read(uuid) for uuid in UUIDS.values()}
    libvirt.fails["define"] = is_of("c")
    with pytest.raises(FleetError):
        carry_out(libvirt, backups, iothreads=1)
    assert {uuid: backups.read(uuid) for uuid in UUIDS.values()} == before


def test_a_pin_that_fails_takes_the_other_pins_and_definitions_back(backups):
    libvirt = FakeLibvirt(*GUESTS, running="abc")
    libvirt.fails["pin"] = lambda uuid, setting, number, cpus: uuid == UUIDS["c"]
    with pytest.raises(FleetError, match="no to pin. All domains are as they were before."):
        carry_out(libvirt, backups, "live", vcpupin=PINS)
    assert list(libvirt.configured.values()) == GUESTS
    assert [DomainDocument(text).digest() for text in libvirt.active.values()] == [DomainDocument(text).digest() for text in GUESTS]


def test_live_changes_are_in_force_at_once(backups):
    libvirt = FakeLibvirt(*GUESTS, running="a")
    changes = carry_out(
        libvirt, backups, "live", names="a", vcpupin=PINS, topology=TOPOLOGY, hostdevs=[{"pci": "2e:00.0"}],
        interfaces=[{"network": "default", "bandwidth": {"inbound": {"average": 1000}}}],
    )  # fmt: skip
    assert pending_now(libvirt, changes[0]) == list(changes[0].pending) == ["topology"]
    assert libvirt.vcpu_affinities(UUIDS["a"])[1] == frozenset([48])


def test_a_restart_shuts_down_defines_and_starts(backups):
    libvirt = FakeLibvirt(*GUESTS, running="ab")
    changes = carry_out(libvirt, backups, "restart", topology=TOPOLOGY)
    assert [call[0] for call in libvirt.calls] == ["define"] * 3 + ["shutdown"] * 2 + ["start"] * 2
    assert [pending_now(libvirt, change) for change in changes] == [[], [], []]
    assert "<topology" in libvirt.active[UUIDS["a"]] and UUIDS["c"] not in libvirt.active
    assert not any(backups.read(uuid).record.restarting for uuid in UUIDS.values())


def test_a_guest_that_does_not_shut_down_stops_the_restart_of_all(backups):
    libvirt = FakeLibvirt(*GUESTS, running="ab", stubborn="b")
    with pytest.raises(FleetError, match="b did not shut down within 0 s. Look at the guest's console.*All domains are as they were before."):
        carry_out(libvirt, backups, "restart", topology=TOPOLOGY)
    assert list(libvirt.configured.values()) == GUESTS
    assert libvirt.active == {UUIDS["a"]: GUESTS[0], UUIDS["b"]: GUESTS[1]}
    assert backups.uuids() == []


def test_a_guest_that_does_not_start_any_more_gets_its_old_configuration_back_and_runs(backups):
    libvirt = FakeLibvirt(*GUESTS, running="a")
    libvirt.fails["start"] = lambda uuid: "<topology" in libvirt.configured[uuid]
    with pytest.raises(FleetError, match="no to start. All domains are as they were before."):
        carry_out(libvirt, backups, "restart", names="a", topology=TOPOLOGY)
    assert libvirt.active == {UUIDS["a"]: GUESTS[0]}


def test_a_guest_that_was_started_before_another_failed_is_named(backups):
    libvirt = FakeLibvirt(*GUESTS, running="ab")
    libvirt.fails["start"] = lambda uuid: uuid == UUIDS["b"] and "<topology" in libvirt.configured[uuid]
    with pytest.raises(FleetError, match="All configurations are as before, but a run with the new one until the next boot."):
        carry_out(libvirt, backups, "restart", topology=TOPOLOGY)
    assert list(libvirt.configured.values()) == GUESTS


def test_a_run_that_was_killed_after_the_shutdown_is_completed_by_the_next(backups):
    libvirt = FakeLibvirt(*GUESTS, running="a")
    libvirt.fails["start"] = killed
    with pytest.raises(KeyboardInterrupt):
        carry_out(libvirt, backups, "restart", names="a", topology=TOPOLOGY)
    assert not libvirt.active and backups.read(UUIDS["a"]).record.restarting
    again = FakeLibvirt(*libvirt.configured.values())
    (change,) = carry_out(again, backups, "restart", names="a", topology=TOPOLOGY)
    assert change.changed and again.is_active(UUIDS["a"])
    assert not backups.read(UUIDS["a"]).record.restarting


def test_a_guest_that_somebody_started_meanwhile_counts_as_restarted(backups):
    libvirt = FakeLibvirt(*GUESTS)
    carry_out(libvirt, backups, names="a", topology=TOPOLOGY)
    backup = backups.read(UUIDS["a"])
    backups.write(UUIDS["a"], backup._replace(record=backup.record._replace(restarting=True)))
    libvirt.start(UUIDS["a"])
    carry_out(libvirt, backups, names="a", topology=TOPOLOGY)
    assert not backups.read(UUIDS["a"]).record.restarting


def test_a_backup_directory_that_cannot_be_written_stops_everything(tmp_path):
    (tmp_path / "file").write_text("")
    libvirt = FakeLibvirt(*GUESTS)
    with pytest.raises((FleetError, OSError), match="file"):
        carry_out(libvirt, Backups(str(tmp_path / "file" / "libvirt")), vcpupin=PINS)
    assert list(libvirt.configured.values()) == GUESTS


def test_restored_domains_are_the_very_documents_and_the_backups_history(backups):
    libvirt = FakeLibvirt(*GUESTS)
    carry_out(libvirt, backups, vcpupin=PINS, iothreads=2, hostdevs=[{"pci": "2e:00.0"}])
    carry_out(libvirt, backups, topology=TOPOLOGY)
    assert all(change.changed for change in carry_out(libvirt, backups, restore=True))
    assert list(libvirt.configured.values()) == GUESTS
    assert backups.uuids() == []
    assert not any(change.changed for change in carry_out(libvirt, backups, restore=True))


def test_the_next_first_change_after_a_restore_makes_a_new_backup(backups):
    libvirt = FakeLibvirt(*GUESTS)
    carry_out(libvirt, backups, vcpupin=PINS)
    carry_out(libvirt, backups, restore=True)
    by_hand = GUESTS[0].replace("<shares>2048", "<shares>512")
    libvirt.define(by_hand)
    carry_out(libvirt, backups, vcpupin=PINS)
    assert backups.read(UUIDS["a"]).text == by_hand
