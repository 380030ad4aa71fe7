# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every network of libvirt's own tests is read, edited in every way, and brought back."""
import glob
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import network_parts as parts
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_parts import MANAGED, Forward
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_settings import NetworkSettings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.network_xml import NetworkDocument, changed_settings
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.test_corpus_domains import CORPUS

DIRECTORIES = ("networkxml2xmlin", "networkxml2xmlout", "networkxml2xmlupdatein")


def networks():
    """The texts of all networks of the corpus, by path."""
    found = {}
    for directory in DIRECTORIES:
        for path in sorted(glob.glob(os.path.join(CORPUS, directory, "*.xml"))):
            with open(path, encoding="utf-8") as handle:
                text = handle.read()
            if "<network" in text:
                found[path] = text
    return found


SOURCES = networks()
pytestmark = pytest.mark.skipif(not SOURCES, reason="run script/corpus to fetch the test data of libvirt")

SERVED = {
    "name": "x", "address": "172.31.7.1/24", "mtu": 9000, "domain": "fleet.example", "bridge": "virbr77",
    "ranges": [{"start": "172.31.7.100", "end": "172.31.7.200"}], "hosts": [{"mac": "52:54:00:00:00:fe", "ip": "172.31.7.5", "name": "g"}],
    "dns": {"enable": False, "forwarders": ["10.9.8.7"], "hosts": [{"ip": "172.31.7.5", "names": ["g", "h"]}]},
}  # fmt: skip
CLEARED = {"name": "x", "ranges": [], "hosts": [], "mtu": 0, "domain": "", "dns": {"enable": True, "forwarders": [], "hosts": []}}


def edits(document):
    """An edit of every kind that suits the network."""
    kind = Forward.read(document).kind
    if kind in MANAGED:
        return [SERVED, CLEARED] + [{"name": "x", "mode": other} for other in MANAGED] + [{"name": "x", "mode": "nat", "devices": ["eth7"]}]
    if kind == "macvtap":
        on_devices = [{"name": "x", "mode": "macvtap", "macvtap_mode": mode, "devices": ["eth7", "eth8"]} for mode in parts.MACVTAP_MODES]
        return on_devices + [{"name": "x", "pf": "eth7"}]
    if kind == "hostdev":
        return [{"name": "x", "pf": "eth7"}, {"name": "x", "pci": ["0000:86:02.0", "86:02.1"]}]
    return [{"name": "x", "bridge": "br7"}]


def as_options(document):
    """What the network has, as somebody would ask for it."""
    forward, address = Forward.read(document), parts.read_address(document)
    wanted = {"name": "x", "mode": forward.kind, "macvtap_mode": forward.macvtap_mode, "domain": parts.read_domain(document), "mtu": parts.read_mtu(document)}
    if address is not None:
        wanted["address"] = str(address)
    wanted["ranges"] = [entry._asdict() for entry in parts.read_ranges(document)]
    leases = parts.read_leases(document)
    wanted["hosts"] = [entry._asdict() for entry in leases] if all(entry.mac and entry.ip for entry in leases) else None
    wanted["dns"] = {"enable": parts.read_dns_enabled(document)}
    return wanted


def test_reading_and_asking_for_what_is_there_changes_nothing():
    for path, text in SOURCES.items():
        document = NetworkDocument(text, path)
        NetworkSettings.from_option({"name": "x"}).apply(document)
        NetworkSettings.from_option(as_options(document)).apply(document)
        assert document.text == text, path


def test_an_edit_is_stable_and_is_undone():
    edited = 0
    for path, text in SOURCES.items():
        for edit in edits(NetworkDocument(text, path)):
            original, document = NetworkDocument(text, path), NetworkDocument(text, path)
            settings = NetworkSettings.from_option(edit)
            settings.apply(document)
            changed = changed_settings(original, document)
            edited += bool(changed)
            again = NetworkDocument(document.text, path)
            settings.apply(again)
            assert again.text == document.text, (path, edit)
            for name in changed:
                document.bring_back(name, original)
            assert document.digest() == original.digest(), (path, edit, document.text)
    assert edited > 300


def test_the_corpus_is_as_large_as_it_was():
    assert len(SOURCES) >= 80
