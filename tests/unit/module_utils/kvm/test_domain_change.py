# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what was found and what is wanted to a change or a refusal."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_backups import Backup, Record
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_change import Found, Host, decide, overlaps
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_live import AttachDevice, DetachDevice, LimitInterface, PinThread
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_settings import Settings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import GPU, GUEST, MAC, UUID, guest

NAME = "2gpu-vm-2g0-1"
HOST = Host(frozenset(range(96)), lambda path: None)
PINS = {"0": "0", "1": "48"}


def found(inactive=GUEST, **more):
    return Found(NAME, UUID, inactive, **more)


def running(inactive=GUEST, active=None):
    return found(inactive, active=active or inactive)


def change(domain, when_running="refuse", host=HOST, **wanted):
    return decide([domain], [Settings.from_option(dict(wanted, name=NAME))], host, when_running)[0]


def restore(domain, when_running="refuse"):
    return decide([domain], None, HOST, when_running)[0]


def edited(**wanted):
    """The guest after a change, and its backup."""
    made = change(found(), **wanted)
    digest = DomainDocument(made.after).digest()
    return made.after, made.keep._replace(record=made.keep.record._replace(digest=digest))


def test_a_guest_that_is_as_wanted_is_left_alone_even_while_it_runs():
    decided = change(running(), vcpupin={"0": 0, "1": "48-51,0-3"})
    assert not decided.changed and decided.pending == () and decided.keep is None


def test_a_guest_that_is_off_is_changed_and_its_xml_kept():
    decided = change(found(), vcpupin=PINS)
    assert decided.settings == ("vcpupin",)
    assert decided.keep == Backup(GUEST, Record(NAME, ("vcpupin",)))
    assert "cpuset='48'" in decided.after and not decided.start and not decided.steps


def test_running_guests_are_refused_all_at_once_with_what_would_change():
    other = Found("b", "1" * 8, guest(name="b", uuid="1" * 8), guest(name="b", uuid="1" * 8))
    wanted = [Settings.from_option({"name": name, "vcpupin": PINS, "iothreads": 1}) for name in (NAME, "b")]
    with pytest.raises(FleetError, match=r"2 domains are running.*2gpu-vm-2g0-1 \(vcpupin, iothreads\); b \(vcpupin, iothreads\).*when_running") as refusal:
        decide([running(), other], wanted, HOST, "refuse")
    assert refusal.value.details == {"running": [NAME, "b"]}


def test_the_next_boot_brings_what_is_pending():
    decided = change(running(), "next_boot", vcpupin=PINS, emulatorpin="50")
    assert decided.pending == ("vcpupin", "emulatorpin")
    assert decided.after and not decided.steps and not decided.start


def test_what_is_configured_but_not_in_force_is_pending_though_nothing_changes():
    decided = change(running(guest(("cpuset='0'", "cpuset='7'")), GUEST), vcpupin={"0": 7, "1": "0-3,48-51"})
    assert not decided.changed
    assert decided.pending == ("vcpupin",)


def test_live_moves_the_threads_and_leaves_the_rest_to_the_next_boot():
    decided = change(running(), "live", vcpupin=PINS, emulatorpin="50", topology={"sockets": 1, "cores": 5, "threads": 2})
    assert decided.steps == (
        PinThread("vcpupin", 1, frozenset([48]), frozenset([0, 1, 2, 3, 48, 49, 50, 51])),
        PinThread("emulatorpin", 0, frozenset([50]), frozenset(range(96))),
    )
    assert decided.pending == ("topology",)


def test_live_brings_a_guest_in_force_that_is_configured_already():
    decided = change(running(guest(("cpuset='0'", "cpuset='7'")), GUEST), "live", vcpupin={"0": 7, "1": "0-3,48-51"})
    assert decided.after is None and decided.changed and decided.keep is None
    assert decided.steps == (PinThread("vcpupin", 0, frozenset([7]), frozenset([0])),)


def test_a_running_thread_is_unpinned_by_giving_it_every_cpu():
    decided = change(running(), "live", vcpupin={})
    assert [step.cpus for step in decided.steps] == [HOST.cpus, HOST.cpus]
    everywhere = guest(("cpuset='0'", "cpuset='0-95'"), ("cpuset='0-3,48-51'", "cpuset='0-95'"))
    again = change(running(decided.after, everywhere), "live", vcpupin={})
    assert not again.changed and again.pending == ()


def test_a_thread_without_a_pin_runs_where_the_domain_as_a_whole_may():
    narrow = ("placement='static'>10", "placement='static' cpuset='0-23'>10")
    decided = change(running(guest(narrow)), "live", vcpupin={"0": 0})
    assert [step.cpus for step in decided.steps] == [frozenset(range(24))]


def test_an_iothread_that_the_running_guest_does_not_have_waits_for_the_next_boot():
    decided = change(running(), "live", iothreads=1, iothreadpin={1: 50})
    assert decided.steps == () and decided.pending == ("iothreads", "iothreadpin")


def test_devices_come_and_go_live():
    decided = change(
        running(), "live",
        hostdevs=[{"pci": GPU, "state": "absent"}, {"pci": "0000:2e:00.0"}], disks=[{"target": "vdb", "driver": {"queues": 4}}],
    )  # fmt: skip
    assert [type(step) for step in decided.steps] == [DetachDevice, AttachDevice]
    assert "bus='0x34'" in decided.steps[0].xml and "bus='0x2e'" in decided.steps[1].xml
    assert decided.pending == ("disks[vdb].driver.queues",)
    assert [diff.before for diff in decided.diffs()][1] == "hostdevs[0000:34:00.0]: present\nhostdevs[0000:2e:00.0]: absent\n"


def test_bandwidth_is_limited_live():
    limit = {"average": 1000, "peak": None, "burst": 256}
    decided = change(running(), "live", interfaces=[{"network": "default", "bandwidth": {"inbound": limit, "outbound": None}}])
    (step,) = decided.steps
    assert isinstance(step, LimitInterface) and (step.mac, step.direction, step.limit) == (MAC, "inbound", (1000, None, 256))
    assert step.undo().limit == (None, None, None)
    before, after = ("interfaces[{0}].bandwidth.inbound: {1}\n".format(MAC, limit) for limit in ("no limit", "average 1000, burst 256"))
    assert (decided.diffs()[1].before, decided.diffs()[1].after) == (before, after)
    assert decided.pending == ()


def test_an_interface_of_an_sriov_pool_is_not_taken_for_another_while_it_runs():
    pool = ("network='default'", "network='vfs'")
    device = "<source><address type='pci' bus='0x3b'/></source>"
    active = guest(("<interface type='network'>", "<interface type='hostdev'>"), ("<source network='default'/>", device))
    assert change(running(guest(pool), active), interfaces=[{"mac": MAC, "network": "vfs"}]).pending == ()


def test_restart_brings_everything_in_force():
    decided = change(running(), "restart", topology={"sockets": 1, "cores": 5, "threads": 2})
    assert decided.shutdown and decided.start and decided.pending == ()
    assert decided.keep.record.restarting


def test_restart_leaves_a_guest_alone_in_which_everything_is_in_force():
    assert not change(running(), "restart", vcpupin={"0": 0, "1": "0-3,48-51"}).changed


def test_a_restart_that_was_cut_short_is_completed():
    backup = Backup(GUEST, Record(NAME, ("vcpupin",), restarting=True))
    assert change(found(backup=backup), "restart", vcpupin={"0": 0, "1": "0-3,48-51"}).start
    assert not change(found(backup=backup), "next_boot", vcpupin={"0": 0, "1": "0-3,48-51"}).changed


def test_a_transient_domain_is_refused():
    with pytest.raises(FleetError, match="is transient: libvirt keeps no configuration.*virsh define"):
        change(found(persistent=False), vcpupin=PINS)


def test_a_saved_state_is_warned_of_because_it_starts_with_the_old_settings():
    assert "virsh managedsave-remove 2gpu-vm-2g0-1" in change(found(saved=True), vcpupin=PINS).warnings[0]
    assert change(found(saved=True), vcpupin={"0": 0, "1": "0-3,48-51"}).warnings == ()


def test_a_pin_to_a_cpu_that_the_host_does_not_have_is_warned_of():
    decided = change(found(), host=HOST._replace(cpus=frozenset(range(48))), vcpupin=PINS)
    assert decided.warnings == ("Domain {0} is pinned to host CPU 48, which this host does not have or has offline. The guest will not start.".format(NAME),)


def test_an_image_in_another_format_is_refused():
    host = HOST._replace(image_format=lambda path: "qcow2")
    with pytest.raises(FleetError, match="holds qcow2, but would be read as raw"):
        change(found(), host=host, disks=[{"target": "vda", "driver": {"type": "raw"}}])


def test_the_first_backup_is_the_one_that_counts():
    text, backup = edited(vcpupin=PINS)
    decided = change(found(text, backup=backup), iothreads=2)
    assert decided.keep.text == GUEST
    assert decided.keep.record == Record(NAME, ("vcpupin", "iothreads"), "", True)


def test_the_record_knows_when_somebody_else_has_edited_the_domain():
    text, backup = edited(vcpupin=PINS)
    decided = change(found(text.replace("<shares>2048", "<shares>512"), backup=backup), iothreads=2)
    assert not decided.keep.record.alone


def test_a_backup_after_which_nothing_was_changed_is_made_anew():
    backup = Backup(guest(("2048", "1024")), Record(NAME))
    assert change(found(backup=backup), iothreads=2).keep.text == GUEST


def test_what_nobody_else_has_touched_comes_back_as_the_very_document():
    text, backup = edited(vcpupin=PINS, hostdevs=[{"pci": "0000:2e:00.0"}])
    decided = restore(found(text, backup=backup))
    assert decided.after == GUEST and decided.retire
    assert decided.settings == ("vcpupin", "hostdevs[0000:2e:00.0]")


def test_what_others_have_edited_since_survives_bringing_back():
    text, backup = edited(vcpupin=PINS, topology={"sockets": 1, "cores": 5, "threads": 2})
    decided = restore(found(text.replace("<shares>2048", "<shares>512"), backup=backup))
    assert DomainDocument(decided.after).digest() == DomainDocument(guest(("<shares>2048", "<shares>512"))).digest()


def test_an_interrupted_change_is_brought_back_by_its_parts():
    text, backup = edited(vcpupin=PINS)
    decided = restore(found(text, backup=backup._replace(record=backup.record._replace(digest=""))))
    assert DomainDocument(decided.after).digest() == DomainDocument(GUEST).digest()


def test_bringing_back_what_never_was_changed_only_puts_the_backup_away():
    decided = restore(found(backup=Backup(GUEST, Record(NAME, ("vcpupin",)))))
    assert decided.after is None and decided.retire and decided.settings == ()


def test_without_a_backup_there_is_nothing_to_bring_back():
    assert not restore(running()).changed


def test_a_running_guest_is_brought_back_as_when_running_says():
    text, backup = edited(vcpupin=PINS, topology={"sockets": 1, "cores": 5, "threads": 2})
    domain = found(text, active=text, backup=backup)
    with pytest.raises(FleetError, match=r"is running.*\(vcpupin, topology\)"):
        restore(domain)
    assert restore(domain, "next_boot").pending == ("vcpupin", "topology")
    live = restore(domain, "live")
    assert [step.number for step in live.steps] == [1] and live.pending == ("topology",)
    assert restore(domain, "restart").start


def test_the_diff_shows_lines_and_no_passwords():
    (diff,) = change(found(), emulatorpin="50").diffs()
    assert "<emulatorpin cpuset='50'/>" in diff.after and "emulatorpin" not in diff.before
    assert "s3cret" not in diff.before + diff.after
    assert diff.header == "domain 2gpu-vm-2g0-1"


def test_shared_cpus_are_warned_of_by_name():
    pins = {"a": frozenset([0, 1]), "b": frozenset([1, 2]), "c": frozenset([2]), "d": frozenset([9])}
    assert overlaps(["a"], pins) == ["Domains are pinned to the same host CPUs, and slow each other down when they run together: a and b share 1."]
    assert "a and b share 1; b and c share 2" in overlaps(["b"], pins)[0]
    assert overlaps(["d"], pins) == []


def test_many_shared_cpus_make_one_warning():
    pins = {"guest{0}".format(number): frozenset([0]) for number in range(16)}
    (warning,) = overlaps(list(pins), pins)
    assert warning.endswith("and 112 more pairs.")
