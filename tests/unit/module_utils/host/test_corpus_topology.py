# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real machines: the sysfs trees that hwloc was recorded on, with what hwloc says of them, and the hosts of libvirt's own tests.

`script/corpus` fetches both from the source packages of the distribution; script/test does that by itself.
"""
import glob
import os
import re
from typing import Any, Dict, List
from xml.etree import ElementTree

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))))
CORPUS = os.environ.get("DGXOPS_CORPUS") or os.path.join(CHECKOUT, ".cache", "corpus")
HWLOC = os.path.join(CORPUS, "hwloc", "hwloc", "linux")
LIBVIRT = os.path.join(CORPUS, "libvirt")

EXPECTED = sorted(os.path.basename(path)[: -len(".output")] for path in glob.glob(os.path.join(HWLOC, "*.output")))
CAPABILITIES = sorted(glob.glob(os.path.join(LIBVIRT, "vircaps2xmldata", "vircaps-*.xml")) + glob.glob(os.path.join(LIBVIRT, "capabilityschemadata", "*.xml")))

needs_corpus = pytest.mark.skipif(not (EXPECTED and CAPABILITIES), reason="run script/corpus to fetch the test data of hwloc and libvirt")

#: Where we see it differently, and why.
DIFFERENT = {
    "16ia64-8n2s": {"packages": "the kernel gives two packages the same number; libvirt takes them for one as well"},
    "2ps3-2t": {"packages": "the tree tells of none; there is always one"},
    "2s390-2c": {"cores": "the tree tells of none; there is always a core"},
    "40intel64-4n10c+pci-conflicts": {"packages": "hwloc loses one to the contradictions in the PCI data that this tree is for"},
    "64amd64-4s2n4ca2co": {"cores": "hwloc splits the modules of AMD Bulldozer, whose halves the kernel shows as siblings"},
    "8em64t-2s2ca2c-buggynuma": {"memory": "hwloc drops nodes whose CPUs overlap"},
    "nvidiagpunumanodes": {"memory": "hwloc drops the memory of GPUs unless asked to keep it"},
}


def restricted(name):
    """Whether the expected output shows what a control group allows, or a part that options ask for, rather than the whole machine."""
    options = os.path.join(HWLOC, name + ".options")
    asked = open(options).read() if os.path.exists(options) else ""
    return bool(re.search(r"cgroup|cpusets$|cpusets\.xml|cpusetreorder|4fake", name) or re.search("--merge|--ignore|--filter", asked))


def tree_of(name):
    source = os.path.join(HWLOC, name + ".source")
    archive = open(source).read().strip() if os.path.exists(source) else name + ".tar.bz2"
    return os.path.join(HWLOC, archive[: -len(".tar.bz2")])


def said_by_hwloc(name: str) -> Dict[str, Any]:
    """The CPUs, the counts, and the memory by node in an output of lstopo, be it text or XML."""
    with open(os.path.join(HWLOC, name + ".output")) as handle:
        text = handle.read()
    if not text.startswith("<?xml"):
        tree = text.partition("\ndepth 0:")[0]
        return {
            "cpus": {int(number) for number in re.findall(r"\bPU L#\d+ \(P#(\d+)", tree)},
            "cores": len(re.findall(r"\bCore L#", tree)),
            "packages": len(re.findall(r"\bPackage L#", tree)),
            "memory": {int(node): int(size) for node, size in re.findall(r"NUMANode(?:\(\w+\))? L#\d+ \(P#(\d+)(?: local=(\d+)KB)", tree)},
        }
    objects: Dict[str, List[ElementTree.Element]] = {}
    for found in ElementTree.fromstring(text).iter("object"):
        objects.setdefault(found.get("type", ""), []).append(found)
    return {
        "cpus": {int(found.get("os_index", "-1")) for found in objects["PU"]},
        "cores": len(objects.get("Core", [])),
        "packages": len(objects.get("Package", [])),
        "memory": {int(found.get("os_index", "-1")): int(found.get("local_memory", "0")) // 1024 for found in objects["NUMANode"] if found.get("local_memory")},
    }


@needs_corpus
@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_machine_is_what_hwloc_says(name):
    host = Topology.from_sysfs(tree_of(name))
    assert Topology.from_dict(host.to_dict()) == host
    said = said_by_hwloc(name)
    found: Dict[str, Any] = {
        "cpus": {cpu.id for cpu in host.online},
        "cores": len(host.cores()),
        "packages": len({cpu.socket for cpu in host.online}),
        "memory": {node.id: node.memory_kib for node in host.nodes if node.memory_kib},
    }
    if restricted(name):
        assert said["cpus"] <= found["cpus"]
        assert said["memory"].items() <= found["memory"].items()
        return
    for what in DIFFERENT.get(name, {}):
        assert found.pop(what) != said.pop(what), "no longer different"
    assert found == said


@needs_corpus
def test_the_corpus_is_the_whole_one():
    assert len({tree_of(name) for name in EXPECTED}) >= 43


@needs_corpus
@pytest.mark.parametrize("path", CAPABILITIES, ids=[os.path.basename(path) for path in CAPABILITIES])
def test_the_capabilities_of_libvirts_tests_are_read_or_refused_in_words(path):
    with open(path) as handle:
        text = handle.read()
    if "<cell " not in text:
        with pytest.raises(FleetError, match="tell of no CPU"):
            Topology.from_capabilities(text)
        return
    host = Topology.from_capabilities(text)
    assert len(host.online) == len(set(re.findall(r"<cpu id='(\d+)'", text)))
    assert Topology.from_dict(host.to_dict()) == host


@needs_corpus
@pytest.mark.parametrize("name", ["basic", "basic-dies", "caches", "hmat", "resctrl", "resctrl-cdp", "resctrl-cmt", "resctrl-skx"])
def test_libvirt_and_we_read_the_same_cpus_from_the_same_tree(tmp_path, name):
    """libvirt's tests have the tree and the XML it makes of it; memory and pages are made up there."""
    (tmp_path / "sys" / "devices").mkdir(parents=True)
    (tmp_path / "sys" / "devices" / "system").symlink_to(os.path.join(LIBVIRT, "vircaps2xmldata", "linux-" + name, "system"))
    by_sysfs = Topology.from_sysfs(str(tmp_path))
    with open(os.path.join(LIBVIRT, "vircaps2xmldata", "vircaps-x86_64-{0}.xml".format(name))) as handle:
        by_libvirt = Topology.from_capabilities(handle.read())
    assert by_sysfs.online == by_libvirt.cpus
    assert [node.id for node in by_sysfs.nodes] == [node.id for node in by_libvirt.nodes]
