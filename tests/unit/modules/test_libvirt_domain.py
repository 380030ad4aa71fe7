# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook sees of libvirt_domain and libvirt_domain_info."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import client
from ansible_collections.dgxops.fleet.plugins.modules import libvirt_domain, libvirt_domain_info
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import GUEST, UUID, guest
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.fake_libvirt import FakeLibvirt
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

NAME = "2gpu-vm-2g0-1"
OTHER = guest(name="other", uuid="1" * 8)
PINS = {"0": 0, "1": 48}


class Site:
    """A host with a libvirt, and the module run on it."""

    def __init__(self, monkeypatch, directory):
        self.backup_dir = str(directory / "backups")
        self.monkeypatch = monkeypatch
        self.libvirt = FakeLibvirt(GUEST, OTHER)
        self.warnings = []

    def run(self, check=False, module=libvirt_domain, **options):
        self.warnings.clear()
        self.monkeypatch.setattr(module.AnsibleModule, "warn", lambda _module, text: self.warnings.append(text))
        self.monkeypatch.setattr(module.Client, "open", lambda uri, read_only=False: self.libvirt)
        if module is libvirt_domain:
            options.setdefault("backup_dir", self.backup_dir)
        return run_module(module.main, options, check=check)

    def tune(self, check=False, name=NAME, when_running="refuse", **wanted):
        return self.run(check, domains=[dict(wanted, name=name)], when_running=when_running)


@pytest.fixture
def site(monkeypatch, tmp_path):
    return Site(monkeypatch, tmp_path)


def test_check_mode_says_what_the_run_then_does_and_does_nothing(site):
    foreseen = site.tune(check=True, vcpupin=PINS, hugepages="1G")
    assert site.libvirt.calls == [] and site.libvirt.configured[UUID] == GUEST
    done = site.tune(vcpupin=PINS, hugepages="1G")
    assert done == foreseen
    assert done["changed"] and done["domains"][0]["settings"] == ["vcpupin", "hugepages"]
    assert done["domains"][0]["backup"] == "{0}/{1}.xml".format(site.backup_dir, UUID)
    again = site.tune(vcpupin=PINS, hugepages="1G")
    assert not again["changed"] and again["diff"] == []


def test_check_mode_foresees_live_changes_and_what_they_leave_pending(site):
    site.libvirt = FakeLibvirt(GUEST, OTHER, running=[NAME])
    wanted = {"vcpupin": PINS, "topology": {"sockets": 1, "cores": 5, "threads": 2}, "hostdevs": [{"pci": "2e:00.0"}]}
    foreseen = site.tune(check=True, when_running="live", **wanted)
    assert site.tune(when_running="live", **wanted) == foreseen
    assert foreseen["domains"][0]["pending"] == ["topology"] and foreseen["domains"][0]["live"] == ["vcpupin", "hostdevs[0000:2e:00.0]"]
    again = site.tune(when_running="live", **wanted)
    assert not again["changed"] and again["domains"][0]["pending"] == ["topology"]


def test_check_mode_foresees_a_restart(site):
    site.libvirt = FakeLibvirt(GUEST, running=[NAME])
    foreseen = site.tune(check=True, when_running="restart", iothreads=2)
    assert site.tune(when_running="restart", iothreads=2) == foreseen
    assert foreseen["domains"][0]["restarted"] and foreseen["domains"][0]["pending"] == []


def test_all_guests_with_a_backup_are_restored_when_none_is_named(site):
    site.tune(vcpupin=PINS)
    site.tune(name="other", vcpupin={"0": 5, "1": 53})
    foreseen = site.run(check=True, state="restored")
    done = site.run(state="restored")
    assert [domain["name"] for domain in done["domains"]] == [NAME, "other"] == [domain["name"] for domain in foreseen["domains"]]
    assert done["diff"] == foreseen["diff"]
    assert list(site.libvirt.configured.values()) == [GUEST, OTHER]
    again = site.run(state="restored")
    assert (again["changed"], again["domains"]) == (False, [])


def test_named_guests_are_restored_alone(site):
    site.tune(vcpupin=PINS)
    site.tune(name="other", vcpupin={"0": 5, "1": 53})
    assert site.run(state="restored", domains=[{"name": "other"}])["changed"]
    assert site.libvirt.configured[UUID] != GUEST
    assert not site.run(state="restored", domains=[{"name": "other"}])["changed"]


def test_the_backup_of_a_domain_that_is_gone_is_left_and_named(site):
    site.tune(vcpupin=PINS)
    site.libvirt = FakeLibvirt(OTHER)
    assert not site.run(state="restored")["changed"]
    assert site.warnings == ["{0}/{1}.xml is the backup of a domain that does not exist any more. It was left there.".format(site.backup_dir, UUID)]


def test_an_unknown_domain_fails_with_those_that_there_are(site):
    answer = site.run(domains=[{"name": NAME, "vcpupin": PINS}, {"name": "dgx2vm"}])
    assert answer["failed"] and answer["unknown"] == ["dgx2vm"]
    assert answer["msg"] == "There is no domain dgx2vm. libvirt has: 2gpu-vm-2g0-1, other. Correct the name, or define the domain first."
    assert site.libvirt.configured[UUID] == GUEST


def test_a_domain_that_is_given_twice_is_refused(site):
    assert "given more than once" in site.run(domains=[{"name": NAME}, {"name": NAME}])["msg"]


def test_a_running_guest_is_refused_and_named(site):
    site.libvirt = FakeLibvirt(GUEST, running=[NAME])
    answer = site.tune(vcpupin=PINS)
    assert answer["failed"] and answer["running"] == [NAME]
    assert answer["msg"].startswith("Domain {0} is running, and its configuration has to change (vcpupin). Nothing was changed.".format(NAME))


def test_a_bad_value_fails_without_a_traceback(site):
    assert site.tune(vcpupin={"0": "x"})["msg"].startswith("Domain 2gpu-vm-2g0-1, vcpupin: 'x' in the CPU list 'x' is neither a CPU nor a range.")


def test_a_backup_that_cannot_be_read_stops_before_anything_is_changed(site):
    site.tune(vcpupin=PINS)
    with open("{0}/{1}.xml".format(site.backup_dir, UUID), "w") as handle:
        handle.write("<domain>")
    before = dict(site.libvirt.configured)
    for options in ({"state": "restored"}, {"domains": [{"name": NAME, "iothreads": 2}]}):
        assert "not well-formed" in site.run(**options)["msg"]
    assert site.libvirt.configured == before


def test_cpus_that_two_guests_share_are_warned_of(site):
    site.tune(vcpupin={"0": 2, "1": 48})
    assert site.warnings == ["Domains are pinned to the same host CPUs, and slow each other down when they run together: 2gpu-vm-2g0-1 and other share 2,48."]
    site.tune(iothreads=2)
    assert site.warnings == []


def test_present_needs_domains_and_an_empty_list_is_nothing_to_do(site):
    assert "domains" in site.run()["msg"]
    assert not site.run(domains=[])["changed"]


def test_without_the_bindings_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(client, "libvirt", None)
    for module, options in ((libvirt_domain, {"domains": []}), (libvirt_domain_info, {})):
        answer = run_module(module.main, options)
        assert answer["failed"] and "Install python3-libvirt on this host" in answer["msg"]


def test_info_tells_configured_from_in_force(site):
    site.libvirt = FakeLibvirt(GUEST, OTHER, running=[NAME], cpus=range(4))
    site.tune(when_running="next_boot", topology={"sockets": 1, "cores": 5, "threads": 2})
    answer = site.run(module=libvirt_domain_info)
    assert [domain["name"] for domain in answer["domains"]] == [NAME, "other"]
    first, second = answer["domains"]
    assert first["configured"]["topology"] == {"sockets": 1, "cores": 5, "threads": 2} and first["in_force"]["topology"] == {}
    assert first["in_force"]["vcpupin"]["0"] == "0" and first["in_force"]["vcpupin"]["9"] == "0-3" == first["in_force"]["emulatorpin"]
    assert first["differences"] == ["topology"]
    assert (first["state"], first["vcpus"], first["memory_kib"], first["pci"]) == ("running", 10, 20971520, ["0000:34:00.0"])
    assert (second["in_force"], second["differences"], second["running"]) == (None, [], False)


def test_what_info_returns_can_be_given_back(site):
    found = site.run(module=libvirt_domain_info, names=["other"])["domains"][0]["configured"]
    assert not site.run(domains=[found])["changed"]


def test_info_of_an_unknown_domain_fails(site):
    assert site.run(module=libvirt_domain_info, names=["nobody"])["unknown"] == ["nobody"]


def test_a_host_that_was_never_changed_needs_no_libvirt_to_be_given_back(site, monkeypatch):
    monkeypatch.setattr(client, "libvirt", None)
    options = {"state": "restored", "backup_dir": site.backup_dir}
    answer = run_module(libvirt_domain.main, options)
    assert (answer["changed"], answer["domains"]) == (False, [])
    assert "bindings" in run_module(libvirt_domain.main, dict(options, domains=[{"name": NAME}]))["msg"]
