# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""libvirt_domain and libvirt_domain_info on a real libvirtd with real QEMU guests (emulated, without an operating system)."""
import json
import os
import shutil
import stat

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument
from ansible_collections.dgxops.fleet.tests.integration.private_libvirt import run_on_host

TOPOLOGY = {"sockets": 1, "cores": 2, "threads": 2}
CELLS = [{"id": 0, "vcpus": "0-1", "memory_kib": 16384, "node": 0}, {"id": 1, "vcpus": "2-3", "memory_kib": 16384, "node": 0}]
#: Everything that a definition can be given without such hardware being there.
EVERYTHING = {
    "vcpupin": {"0": "0", "1": "0-1", "2": 1, "3": "0"},
    "emulatorpin": "0",
    "iothreads": 2,
    "iothreadpin": {"1": "0", "2": "1"},
    "topology": TOPOLOGY,
    "cells": CELLS,
    "hugepages": "2M",
    "agent_channel": True,
    "disks": [{"target": "vdb", "source": "/dev/disk/by-id/nvme-A", "serial": "A", "driver": {"cache": "none", "io": "native", "queues": 2, "iothread": 2}}],
    "interfaces": [{"bridge": "br0", "queues": 4, "mtu": 9000, "bandwidth": {"inbound": {"average": 1000, "burst": 512}, "outbound": {"average": 5}}}],
    "hostdevs": [{"pci": "0000:2e:00.0"}],
}
FIRST, SECOND = (sorted(os.sched_getaffinity(0)) * 2)[:2]


class Site:
    """The host, and a directory for backups."""

    def __init__(self, host, directory):
        self.host = host
        self.backup_dir = str(directory / "backups")

    def tune(self, *domains, check=False, when_running="refuse", **options):
        return self.host.run("libvirt_domain", check, domains=list(domains), when_running=when_running, backup_dir=self.backup_dir, **options)

    def restore(self, check=False, **options):
        return self.host.run("libvirt_domain", check, state="restored", backup_dir=self.backup_dir, **options)

    def info(self, name):
        (found,) = self.host.run("libvirt_domain_info", names=[name])["domains"]
        return found


@pytest.fixture
def site(host, tmp_path):
    return Site(host, tmp_path)


def wanted(name="a", **settings):
    return dict(settings, name=name)


def test_everything_is_set_at_once_and_a_second_run_changes_nothing(site):
    site.host.add("a")
    foreseen = site.tune(wanted(**EVERYTHING), check=True)
    assert "vcpupin" not in site.host.xml("a")
    done = site.tune(wanted(**EVERYTHING))
    assert done == foreseen and done["changed"], done
    again = site.tune(wanted(**EVERYTHING))
    assert not again["changed"], again["diff"]
    xml = site.host.xml("a")
    assert "<iothreadpin iothread='2' cpuset='1'/>" in xml and "<memnode cellid='1' mode='strict' nodeset='0'/>" in xml
    assert "<!-- keep -->" in xml and "<site:owner>research</site:owner>" in xml


def test_restored_is_the_very_document_that_was_found(site):
    site.host.add("a")
    original = site.host.xml("a")
    site.tune(wanted(**EVERYTHING))
    site.tune(wanted(vcpupin={}, hugepages="none"))
    foreseen = site.restore(check=True)
    done = site.restore()
    assert done["changed"] and done["diff"] == foreseen["diff"]
    assert site.host.xml("a") == original
    assert not site.restore()["changed"]


def test_what_was_edited_by_hand_meanwhile_survives_the_restore(site):
    site.host.add("a")
    original = site.host.xml("a")
    site.tune(wanted(vcpupin={"0": 0}, topology=TOPOLOGY))
    site.host.virsh("desc", "a", "--config", "--title", "edited by hand")
    site.restore()
    assert DomainDocument(site.host.xml("a").replace("  <title>edited by hand</title>\n", "")).digest() == DomainDocument(original).digest()
    assert "edited by hand" in site.host.xml("a")


def test_the_backup_is_for_root_only(site):
    site.host.add("a")
    backup = site.tune(wanted(vcpupin={"0": 0}))["domains"][0]["backup"]
    assert stat.S_IMODE(os.stat(backup).st_mode) == 0o600
    with open(backup) as handle:
        assert DomainDocument(handle.read()).name == "a"


def test_what_info_returns_can_be_given_back(site):
    site.host.add("a")
    site.tune(wanted(**EVERYTHING))
    configured = site.info("a")["configured"]
    assert not site.tune(configured)["changed"]
    assert configured["cells"] == [dict(cell, mode="strict") for cell in CELLS]
    assert configured["disks"][0]["driver"] == {"type": "raw", "cache": "none", "io": "native", "queues": 2, "iothread": 2}


def test_settings_that_libvirt_refuses_leave_all_domains_as_they_were(site):
    site.host.add("a")
    site.host.add("b")
    before = site.host.all_xml()
    answer = site.tune(wanted("a", vcpupin={"0": 0}), wanted("b", disks=[{"target": "vdb", "source": "/x", "driver": {"type": "banana"}}]))
    assert answer["failed"] and answer["msg"].startswith("Domain b: libvirt did not accept the new configuration. libvirt says: ")
    assert answer["msg"].endswith("All domains are as they were before.")
    assert site.host.all_xml() == before
    assert os.listdir(site.backup_dir) == []


def test_a_running_guest_is_not_touched_unless_told(site):
    site.host.add("a", start=True)
    before = site.host.xml("a")
    answer = site.tune(wanted(vcpupin={"0": FIRST}))
    assert answer["failed"] and answer["running"] == ["a"]
    assert site.host.xml("a") == before


def test_pins_move_the_threads_of_a_running_guest(site):
    site.host.add("a", more="<iothreads>2</iothreads>", start=True)
    pins = wanted(vcpupin={"0": FIRST, "1": SECOND}, emulatorpin=FIRST, iothreadpin={"2": SECOND}, topology=TOPOLOGY)
    foreseen = site.tune(pins, when_running="live", check=True)
    assert site.host.affinities("a")["CPU 0/TCG"] != {FIRST} or FIRST == SECOND
    done = site.tune(pins, when_running="live")
    assert done == foreseen
    assert done["domains"][0]["live"] == ["vcpupin", "emulatorpin", "iothreadpin"] and done["domains"][0]["pending"] == ["topology"]
    threads = site.host.affinities("a")
    assert (threads["CPU 0/TCG"], threads["CPU 1/TCG"]) == ({FIRST}, {SECOND})
    assert (threads["emulator"], threads["IO iothread2"]) == ({FIRST}, {SECOND})
    assert not site.tune(pins, when_running="live")["changed"]
    found = site.info("a")
    assert found["in_force"]["vcpupin"]["1"] == str(SECOND) and found["differences"] == ["topology"]


def test_pins_are_taken_from_a_running_guest(site):
    site.host.add("a", more="<cputune><vcpupin vcpu='0' cpuset='{0}'/><emulatorpin cpuset='{0}'/></cputune>".format(FIRST), start=True)
    assert site.host.affinities("a")["CPU 0/TCG"] == {FIRST}
    done = site.tune(wanted(vcpupin={}, emulatorpin=""), when_running="live")
    assert done["changed"] and done["domains"][0]["pending"] == []
    assert site.host.affinities("a")["CPU 0/TCG"] == os.sched_getaffinity(0)
    assert not site.tune(wanted(vcpupin={}, emulatorpin=""), when_running="live")["changed"]
    assert site.info("a")["differences"] == []


def test_a_restore_moves_the_threads_back(site):
    site.host.add("a", start=True)
    original = site.host.xml("a")
    site.tune(wanted(vcpupin={"0": FIRST}), when_running="live")
    done = site.restore(when_running="live")
    assert done["domains"][0]["live"] == ["vcpupin"] and done["domains"][0]["pending"] == []
    assert site.host.affinities("a")["CPU 0/TCG"] == os.sched_getaffinity(0)
    assert site.host.xml("a") == original


def test_a_pin_that_fails_is_taken_back_with_everything_else(site):
    site.host.add("a", start=True)
    before, threads = site.host.xml("a"), site.host.affinities("a")
    answer = site.tune(wanted(vcpupin={"0": FIRST, "1": 4000}), when_running="live")
    assert answer["failed"] and "could not be pinned (vcpupin 1) while it runs" in answer["msg"]
    assert answer["msg"].endswith("All domains are as they were before.")
    assert site.host.xml("a") == before and site.host.affinities("a") == threads


def test_the_next_boot_brings_what_is_configured(site):
    site.host.add("a", start=True)
    done = site.tune(wanted(vcpupin={"0": FIRST}, topology=TOPOLOGY), when_running="next_boot")
    assert done["domains"][0]["pending"] == ["vcpupin", "topology"]
    assert site.info("a")["differences"] == ["vcpupin", "topology"]
    site.host.virsh("destroy", "a")
    site.host.virsh("start", "a")
    assert site.info("a")["differences"] == []
    assert site.host.affinities("a")["CPU 0/TCG"] == {FIRST}


def test_a_disk_is_plugged_into_a_running_guest(site, tmp_path):
    site.host.add("a", start=True)
    disk = [{"target": "vdb", "source": site.host.disk, "driver": {"cache": "none"}}]
    done = site.tune(wanted(disks=disk), when_running="live")
    assert done["domains"][0]["live"] == ["disks[vdb]"] and done["domains"][0]["pending"] == [], done
    assert "vdb" in site.host.virsh("domblklist", "a")
    assert not site.tune(wanted(disks=disk), when_running="live")["changed"]


def test_a_guest_is_restarted_cleanly_with_its_new_settings(site):
    site.host.add_obedient("a")
    site.host.add("b", start=False)
    process = site.host.process("a")
    foreseen = site.tune(wanted("a", topology=TOPOLOGY), wanted("b", topology=TOPOLOGY), when_running="restart", check=True)
    assert site.host.process("a") == process
    done = site.tune(wanted("a", topology=TOPOLOGY), wanted("b", topology=TOPOLOGY), when_running="restart", shutdown_timeout=60)
    assert done["domains"] == foreseen["domains"], done
    assert [domain["restarted"] for domain in done["domains"]] == [True, False]
    assert site.host.process("a") != process and not site.host.is_running("b")
    assert site.info("a")["differences"] == []
    assert not site.tune(wanted("a", topology=TOPOLOGY), when_running="restart")["changed"]


def test_a_guest_that_does_not_shut_down_keeps_running_as_it_was(site):
    site.host.add("a", start=True)
    before, process = site.host.xml("a"), site.host.process("a")
    answer = site.tune(wanted(topology=TOPOLOGY), when_running="restart", shutdown_timeout=2)
    assert answer["failed"] and "a did not shut down within 2 s" in answer["msg"]
    assert (site.host.xml("a"), site.host.process("a")) == (before, process)
    assert os.listdir(site.backup_dir) == []


def test_a_guest_that_does_not_start_with_its_new_settings_runs_again_with_the_old(site):
    site.host.add_obedient("a")
    before = site.host.xml("a")
    answer = site.tune(wanted(hostdevs=[{"pci": "fe:1f.7"}]), when_running="restart", shutdown_timeout=60)
    assert answer["failed"] and "could not be started" in answer["msg"]
    assert site.host.xml("a") == before and site.host.is_running("a")


def test_sixteen_domains_are_tuned_in_one_call(site):
    names = ["guest{0}".format(number) for number in range(16)]
    for name in names:
        site.host.virsh("define", "/dev/stdin", text=template(name))
    settings = [wanted(name, vcpupin={"0": number % 2, "1": 2 + number}, topology=TOPOLOGY, iothreads=1) for number, name in enumerate(names)]
    done = site.tune(*settings)
    assert all(domain["changed"] for domain in done["domains"])
    (warning,) = [text for text in map(json.dumps, done["warnings"]) if "same host CPUs" in text]
    assert "guest0 and guest1 share" not in warning and "guest0 and guest2 share 0" in warning
    assert not site.tune(*settings)["changed"]
    assert len(site.host.run("libvirt_domain_info")["domains"]) == 16
    assert len(site.restore()["domains"]) == 16


def template(name):
    return (
        "<domain type='qemu'><name>{0}</name><memory unit='KiB'>32768</memory><vcpu>4</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    ).format(name)  # fmt: skip


def test_a_transient_domain_is_refused(site, tmp_path):
    xml = tmp_path / "transient.xml"
    xml.write_text(template("fleeting"))
    site.host.virsh("create", str(xml))
    answer = site.tune(wanted("fleeting", iothreads=1), when_running="live")
    site.host.virsh("destroy", "fleeting")
    assert answer["failed"] and "is transient" in answer["msg"]


def test_a_saved_guest_is_warned_of(site):
    site.host.add("a", start=True)
    site.host.virsh("managedsave", "a")
    answer = site.tune(wanted(iothreads=1))
    site.host.virsh("managedsave-remove", "a")
    assert "virsh managedsave-remove a" in json.dumps(answer["warnings"])


def test_a_password_survives_and_is_shown_to_nobody(site):
    site.host.add("a", devices="<graphics type='vnc' port='-1' autoport='yes' passwd='s3cret'/>")
    answer = site.tune(wanted(iothreads=1))
    assert answer["changed"] and "s3cret" not in json.dumps(answer)
    assert "passwd='s3cret'" in site.host.xml("a")
    assert "s3cret" not in json.dumps(site.info("a"))


def test_without_a_daemon_the_remedy_is_said(tmp_path):
    uri = "qemu+unix:///system?socket={0}/none".format(tmp_path)
    for module in ("libvirt_domain", "libvirt_domain_info"):
        answer = run_on_host(module, {"uri": uri, "domains": [{"name": "a"}]} if module == "libvirt_domain" else {"uri": uri})
        assert answer["failed"] and "No connection to libvirt" in answer["msg"] and "systemctl start libvirtd" in answer["msg"]


def test_without_permission_the_remedy_is_said(site):
    assert os.geteuid() == 0, "only root can be another user; script/test integration is"
    closed = os.path.join(site.host.directory, "closed")
    os.makedirs(closed, mode=0o700, exist_ok=True)
    uri = "qemu+unix:///system?socket={0}/sock".format(closed)
    nobody = [shutil.which("setpriv"), "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "/usr/bin/python3"]
    answer = run_on_host("libvirt_domain_info", {"uri": uri}, command=nobody)
    assert answer["failed"] and "Permission denied" in answer["msg"] and "become: true" in answer["msg"]


def test_the_test_driver_of_libvirt_works_too(tmp_path):
    domains = [{"name": "test", "vcpupin": {"0": 1}, "iothreads": 2}]
    answer = run_on_host("libvirt_domain", {"uri": "test:///default", "domains": domains, "when_running": "next_boot", "backup_dir": str(tmp_path)})
    (domain,) = answer["domains"]
    assert (domain["settings"], domain["pending"]) == (["vcpupin", "iothreads"], ["vcpupin", "iothreads"])
    # Its domains live as long as the process, so here is the one that it starts with again.
    (found,) = run_on_host("libvirt_domain_info", {"uri": "test:///default"})["domains"]
    assert found["running"] and found["configured"]["iothreads"] == 0
