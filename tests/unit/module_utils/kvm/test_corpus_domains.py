# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every domain of libvirt's own tests: reading changes nothing, any edit can be undone, nothing raises but a refusal.

`script/corpus` fetches them from the source package of the distribution; script/test does that by itself.
"""
import glob
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_rules import disagreements
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_settings import Settings, View, not_in_force, read_settings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.xml_tree import serialize

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))))
CORPUS = os.path.join(os.environ.get("DGXOPS_CORPUS") or os.path.join(CHECKOUT, ".cache", "corpus"), "libvirt")
#: What users write, some 1,100 domains; newer releases of libvirt have it in qemuxmlconfdata.
WRITTEN = ("qemuxml2argvdata", "qemuxmlconfdata", "genericxml2xmlindata")
#: What libvirt itself writes.
SHOWN = ("qemuxml2xmloutdata", "genericxml2xmloutdata")

#: An edit of every kind. It need not suit the domain: what does not agree is the business of the rules.
EVERYTHING = {
    "name": "a",
    "vcpus": 6,
    "memory_kib": 3145728,
    "vcpupin": {"0": "1", "1": "2-3", "9": "4"},
    "emulatorpin": "5-6",
    "iothreads": 3,
    "iothreadpin": {"1": "7", "3": "8"},
    "topology": {"sockets": 1, "cores": 3, "threads": 2},
    "cells": [{"id": 0, "vcpus": "0-2", "memory_kib": 1048576, "node": 0}, {"id": 1, "vcpus": "3-5", "memory_kib": 2097152, "node": 1}],
    "hugepages": "1G",
    "disks": [{"target": "vdzz", "source": "/dev/disk/by-id/x", "serial": "x", "driver": {"cache": "none", "io": "native", "queues": 2}}],
    "interfaces": [{"mac": "52:54:00:00:00:fe", "bridge": "br0", "queues": 2, "mtu": 9000, "bandwidth": {"outbound": {"average": 5}}}],
    "agent_channel": True,
    "hostdevs": [{"pci": "0000:fe:1f.7"}],
}
NOTHING = {
    "name": "a", "vcpupin": {}, "emulatorpin": "", "iothreads": 0, "iothreadpin": {}, "topology": {}, "cells": [], "hugepages": "none", "agent_channel": False,
}  # fmt: skip


#: libvirt refuses these domains, and so do we: their cells are numbered 1, 2.
REFUSED = [os.path.join(CORPUS, "qemuxml2argvdata", "cpu-numa3.xml")]


def domains(directory):
    """The texts of all domains in a directory of the corpus, by path; some files are no domains, or broken on purpose."""
    found = {}
    for path in sorted(glob.glob(os.path.join(CORPUS, directory, "*.xml"))):
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            text = handle.read()
        try:
            DomainDocument(text)
        except FleetError:
            continue
        found[path] = text
    return found


SOURCES = {directory: domains(directory) for directory in WRITTEN + SHOWN if os.path.isdir(os.path.join(CORPUS, directory))}
pytestmark = pytest.mark.skipif(not SOURCES, reason="run script/corpus to fetch the test data of libvirt")


def every_edit(document):
    """An edit of every kind, and of every device that is there already."""
    tuned = [dict(disk, serial="y", driver={"cache": "none", "io": "threads", "queues": 2, "iothread": 1, "discard": "unmap"}, bus="sata")
             for disk in read_settings(document)["disks"]]  # fmt: skip
    nets = [{"mac": net["mac"], "bridge": "br0", "model": "virtio", "queues": 3, "mtu": 9000, "bandwidth": {"inbound": {"average": 7}}}
            for net in read_settings(document)["interfaces"]]  # fmt: skip
    hostdevs = [{"pci": device["pci"], "managed": not device.get("managed")} for device in read_settings(document)["hostdevs"]]
    gone = {name: [dict(device, state="absent") for device in read_settings(document)[name]] for name in ("disks", "interfaces", "hostdevs")}
    return [EVERYTHING, NOTHING, unique({"name": "a", "disks": tuned, "interfaces": nets, "hostdevs": hostdevs}), unique(dict(gone, name="a"))]


def unique(wanted):
    """Without repeated devices, which some of the corpus have in order to be refused."""
    keys = {"disks": "target", "interfaces": "mac", "hostdevs": "pci"}
    return {name: list({device[keys[name]]: device for device in value}.values()) if name in keys else value for name, value in wanted.items()}


def twins(document):
    """Whether two devices of the domain cannot be told apart: then bringing one back brings both."""
    found = read_settings(document)
    lists = [[device[key] for device in found[name]] for name, key in (("disks", "target"), ("interfaces", "mac"), ("hostdevs", "pci"))]
    return any(len(set(keys)) < len(keys) for keys in lists)


@pytest.mark.parametrize("directory", sorted(SOURCES))
def test_reading_changes_nothing(directory):
    for path, text in SOURCES[directory].items():
        document = DomainDocument(text, path)
        found = read_settings(document)
        disagreements(document)
        view = View(document, frozenset([0, 1]))
        assert not_in_force(view.names(), view, view) == [], path
        if not twins(document) and path not in REFUSED:
            assert Settings.from_option(found).apply(document) == [], path
            assert document.text == text, path
        assert DomainDocument(serialize(document.root)).digest() == document.digest(), path


@pytest.mark.parametrize("kind", range(4), ids=["everything on", "everything off", "devices tuned", "devices removed"])
@pytest.mark.parametrize("directory", sorted(set(SOURCES) & set(WRITTEN)))
def test_an_edit_is_stable_and_is_undone(directory, kind):
    edited = 0
    for path, text in SOURCES[directory].items():
        document, original = DomainDocument(text, path), DomainDocument(text, path)
        settings = Settings.from_option(every_edit(document)[kind])
        changed = settings.apply(document)
        edited += bool(changed)
        again = DomainDocument(document.text, path)
        assert settings.apply(again) == [] or twins(original), path
        assert set(changed) <= set(settings.owned([original, document])), path
        for name in changed:
            document.bring_back(name, original)
        assert document.digest() == original.digest() or twins(original), path
    assert edited


def test_the_corpus_is_as_large_as_it_was():
    assert sum(len(texts) for texts in SOURCES.values()) > 1600
