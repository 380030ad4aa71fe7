# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module passthrough_drives as a playbook meets it: its answers, its check mode, its failures."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import handover_host
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover import Guest
from ansible_collections.dgxops.fleet.plugins.modules import passthrough_drives
from ansible_collections.dgxops.fleet.tests.unit.module_utils.storage.lab_handover import CONF, FSTAB, host, stopped
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

GUESTS = [{"name": "vm1", "nvme": ["S1"]}]
CONSENTED = {"guests": GUESTS, "arrays": ["md1"], "wipe": ["S1"], "when_running": "live"}


class Lab:
    """A host on paper whose files are real; programs are remembered and do what matters here."""

    def __init__(self, root):
        self.root, self.found, self.ran, self.guests = root, host(), [], dict(host().guests)

    def host(self, commands):
        return handover_host.Host(commands, str(self.root))

    def read(self, there, guests, record, wanted):
        conf, fstab = ((self.root / name).read_text() for name in ("etc/mdadm/mdadm.conf", "etc/fstab"))
        return self.found._replace(conf=conf, fstab=fstab, record=record, guests={one.name: one for one in guests})

    def output(self, argv, timeout=None, text_in=None):
        self.ran.append(" ".join(argv))
        return ""

    def run(self, steps, there):
        for step in steps:
            self.ran.append(" ".join(step.argv) or step.path)
            if step.argv[:2] == ("mdadm", "--stop"):
                self.found = stopped(self.found)
            if step.argv[:2] == ("mdadm", "--assemble"):
                self.found = host()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    there = Lab(tmp_path)
    (tmp_path / "etc" / "mdadm").mkdir(parents=True)
    (tmp_path / "etc" / "mdadm" / "mdadm.conf").write_text(CONF)
    (tmp_path / "etc" / "fstab").write_text(FSTAB)
    monkeypatch.setattr(passthrough_drives, "Host", there.host)
    monkeypatch.setattr(passthrough_drives, "read", there.read)
    monkeypatch.setattr(passthrough_drives, "read_guests", lambda uri: list(there.guests.values()))
    monkeypatch.setattr(passthrough_drives, "run_steps", there.run)
    monkeypatch.setattr(handover_host, "run_steps", there.run)
    monkeypatch.setattr(handover_host.Commands, "output", there.output)
    return there


def run(check=False, **options):
    return run_module(passthrough_drives.main, options, check)


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_check_mode_tells_what_the_run_does_and_touches_nothing(lab, tmp_path):
    before = files(tmp_path)
    predicted = run(check=True, **CONSENTED)
    assert files(tmp_path) == before and lab.ran == []
    done = run(**CONSENTED)
    assert predicted["changed"] and predicted == done
    assert done["arrays"] == ["md1"] and done["steps"][:4] == ["unmount /raid", "stop md1", "write /etc/mdadm/mdadm.conf", "write /etc/fstab"]
    assert done["domains"] == [{"name": "vm1", "hostdevs": [{"pci": "0000:21:00.0", "managed": True}], "disks": []}]
    assert done["given"] == [{"guest": "vm1", "kind": "nvme", "drive": "nvme-M_S1", "source": "0000:21:00.0", "target": ""}]


def test_a_second_run_is_unchanged_and_absent_gives_all_back_once(lab, tmp_path):
    run(**CONSENTED)
    lab.ran.clear()
    assert not run(**CONSENTED)["changed"] and lab.ran == []
    back = run(state="absent", when_running="live")
    assert back["changed"] and back["arrays"] == ["md1"] and back["steps"][-1] == "mount /raid"
    assert (tmp_path / "etc/mdadm/mdadm.conf").read_text() == CONF and (tmp_path / "etc/fstab").read_text() == FSTAB
    again = run(state="absent", when_running="live")
    assert not again["changed"] and again["diff"] == []


def test_a_guest_that_lets_go_late_is_waited_for(lab, monkeypatch):
    run(**CONSENTED)
    lab.guests["vm1"] = Guest("vm1", True, held=frozenset(["0000:21:00.0"]))
    monkeypatch.setattr(passthrough_drives.time, "sleep", lambda seconds: lab.guests.update(vm1=Guest("vm1", True)))
    assert run(state="absent", when_running="live")["changed"]


def test_a_guest_that_does_not_let_go_is_named(lab):
    run(**CONSENTED)
    lab.guests["vm1"] = Guest("vm1", True, held=frozenset(["0000:21:00.0"]))
    answer = run(state="absent", when_running="live", release_timeout=0)
    assert answer["failed"] and "Guest vm1 still has 0000:21:00.0" in answer["msg"] and answer["running"] == ["vm1"]


def test_a_refusal_names_each_drive_for_playbooks(lab):
    answer = run(guests=[{"name": "vm1", "nvme": ["S6"]}], when_running="live")
    assert answer["failed"] and [entry["id"] for entry in answer["refused"]] == ["nvme-M_S6"] and lab.ran == []


def test_a_host_that_never_had_it_needs_no_libvirt(lab, monkeypatch):
    def missing(uri):
        raise FleetError("no libvirt here")

    monkeypatch.setattr(passthrough_drives, "read_guests", missing)
    assert not run(state="absent")["changed"] and not run(guests=[])["changed"]
    assert run(guests=GUESTS)["msg"] == "no libvirt here"


@pytest.mark.parametrize(
    "options, says",
    [
        ({}, "guests"),
        ({"guests": [{"nvme": ["S1"]}]}, "name"),
        ({"guests": [{"name": "vm1", "drives": [{"drive": "S1", "filesystem": "zfs"}]}]}, "zfs"),
        ({"guests": [], "release_timeout": -1}, "release_timeout is -1"),
        ({"guests": GUESTS, "when_running": "restart"}, "restart"),
    ],
)
def test_wrong_options_are_refused_in_words(lab, options, says):
    answer = run(**options)
    assert answer["failed"] and says in answer["msg"]


def test_a_damaged_record_says_what_to_do(lab, tmp_path):
    place = tmp_path / "var/backups/dgxops/kvm_passthrough/record.json"
    place.parent.mkdir(parents=True)
    place.write_text("{")
    assert "record.json is damaged" in run(state="absent")["msg"]
