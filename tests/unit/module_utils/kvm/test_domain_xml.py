# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A domain's XML keeps what nobody meant to change, and is compared by what it means."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument, device_names, kib, paths_of, split_name
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.xml_tree import attribute, set_attribute
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm.domains import GUEST, UUID, document, guest, lines_changed


def domain(body):
    return DomainDocument("<domain type='kvm'><name>a</name>{0}</domain>".format(body))


def test_a_document_that_was_only_read_has_the_very_text_it_was_made_from():
    text = "<?xml version='1.0'?>\n<!-- by hand -->\n<domain  type = \"kvm\" ><name>a</name><vcpu></vcpu>\n</domain>\n"
    assert DomainDocument(text).text == text


def test_an_edit_that_is_taken_back_leaves_the_very_text():
    guest = document()
    set_attribute(guest.make("cputune/emulatorpin"), "cpuset", "50")
    guest.drop("cputune/emulatorpin")
    assert guest.text == GUEST


def test_an_edit_changes_its_own_lines_only():
    guest = document()
    set_attribute(guest.make("cputune/emulatorpin"), "cpuset", "50")
    set_attribute(guest.make("cpu/topology"), "sockets", "1")
    assert lines_changed(GUEST.replace('"', "'"), guest.text) == ["+<emulatorpin cpuset='50'/>", "+<topology sockets='1'/>"]


def test_metadata_comments_and_unknown_namespaces_survive_an_edit():
    guest = document()
    guest.make("cputune/emulatorpin")
    for kept in ("<!-- ask research before you touch it -->", "<site:owner project='vision'>research</site:owner>", "<qemu:arg value='-fw_cfg'/>",
                 "xmlns:site='https://example.com/site'", "Ada &amp; Bob's guest", "error_policy='stop'", "passwd='s3cret'"):
        assert kept in guest.text


@pytest.mark.parametrize(
    "path, before, after",
    [
        ("iothreads", "</vcpu>", "<cputune>"),
        ("memoryBacking", "</currentMemory>", "<vcpu"),
        ("numatune", "</cputune>", "<os>"),
        ("cpu/topology", "<cpu mode", "<feature"),
        ("cpu/numa", "<feature", "</cpu>"),
        ("cputune/emulatorpin", "<vcpupin vcpu='1'", "</cputune>"),
        ("cputune/quota", "<shares>", "<vcpupin"),
        ("devices/channel", "</interface>", "<graphics"),
    ],
)
def test_a_new_element_stands_where_libvirt_writes_it(path, before, after):
    guest = document()
    guest.make(path)
    start = guest.text.index("<" + path.rpartition("/")[2])
    assert guest.text.index(before) < start < guest.text.index(after, guest.text.index(before) + 1)


def test_new_elements_are_indented_like_their_neighbours():
    guest = document()
    guest.add(guest.make("memoryBacking/hugepages"), "page", {"size": 2048})
    assert (
        "  <memoryBacking>\n"
        "    <hugepages>\n"
        "      <page size='2048'/>\n"
        "    </hugepages>\n"
        "  </memoryBacking>\n"
    ) in guest.text  # fmt: skip


def test_a_document_without_line_breaks_gets_none():
    flat = domain("<vcpu>2</vcpu><os><type>hvm</type></os>")
    set_attribute(flat.make("cputune/emulatorpin"), "cpuset", "1")
    assert "<vcpu>2</vcpu><cputune><emulatorpin cpuset='1'/></cputune><os>" in flat.text


def test_a_container_goes_with_its_last_child_unless_it_says_something_itself():
    guest = domain("<cputune>\n <emulatorpin cpuset='1'/>\n</cputune><cpu mode='host-model'><topology sockets='1' cores='1' threads='1'/></cpu>")
    guest.drop("cputune/emulatorpin")
    guest.drop("cpu/topology")
    assert guest.find("cputune") is None
    assert guest.find("cpu") is not None


def test_a_container_with_a_comment_stays():
    guest = domain("<cputune><!-- see ticket 12 --><emulatorpin cpuset='1'/></cputune>")
    guest.drop("cputune/emulatorpin")
    assert "<cputune><!-- see ticket 12 --></cputune>" in guest.text


@pytest.mark.parametrize(
    "one, other",
    [
        ("<cputune><vcpupin vcpu='0' cpuset='0-3'/></cputune>", "<cputune>\n<vcpupin cpuset=\"0,1,2,3\" vcpu='0'/> </cputune>"),
        ("<cputune><vcpupin vcpu='0' cpuset='0-7,^5'/></cputune>", "<cputune><vcpupin vcpu='0' cpuset='0-4,6-7'/></cputune>"),
        (
            "<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='1'/></cputune>",
            "<cputune><vcpupin vcpu='1' cpuset='1'/><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='1'/></cputune>",
        ),
        ("<memory unit='GiB'>2</memory>", "<memory unit='KiB'>2097152</memory>"),
        ("<memory>2097152</memory>", "<memory unit='b'>2147483648</memory>"),
        ("<memory unit='MB'>1</memory>", "<memory>977</memory>"),
        ("<cpu><numa><cell id='0' cpus='0' memory='1' unit='M'/></numa></cpu>", "<cpu><numa><cell id='0' cpus='0' memory='1024'/></numa></cpu>"),
        ("<memoryBacking><hugepages><page size='1' unit='G'/></hugepages></memoryBacking>",
         "<memoryBacking><hugepages><page size='1048576' unit='KiB'/></hugepages></memoryBacking>"),
        ("<devices><hostdev><source><address bus='0x0a' slot='0'/></source></hostdev></devices>",
         "<devices><hostdev><source><address slot='0x00' bus='0xA'/></source></hostdev></devices>"),
        ("<cputune/><numatune></numatune><cpu> </cpu>", ""),
        ("<vcpu>2</vcpu><os/>", "<os></os><vcpu> 2 </vcpu>"),
    ],
)
def test_what_libvirt_takes_for_the_same_means_the_same(one, other):
    assert domain(one).digest() == domain(other).digest()


@pytest.mark.parametrize(
    "one, other",
    [
        ("<cputune><vcpupin vcpu='0' cpuset='0'/></cputune>", "<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>"),
        ("<memory unit='GiB'>2</memory>", "<memory unit='GB'>2</memory>"),
        ("<devices><disk><target dev='vda'/></disk><disk><target dev='vdb'/></disk></devices>",
         "<devices><disk><target dev='vdb'/></disk><disk><target dev='vda'/></disk></devices>"),
        ("<metadata><a:x xmlns:a='u'><a:c/><a:b/></a:x></metadata>", "<metadata><a:x xmlns:a='u'><a:b/><a:c/></a:x></metadata>"),
        ("<metadata><a:x xmlns:a='u' cpuset='0,1'/></metadata>", "<metadata><a:x xmlns:a='u' cpuset='0-1'/></metadata>"),
        ("<!-- one -->", "<!-- other -->"),
        ("<cpu mode='host-model'/>", ""),
    ],
)
def test_what_is_different_means_something_different(one, other):
    assert domain(one).digest() != domain(other).digest()


@pytest.mark.parametrize("amount, unit, expected", [
    ("1", "GiB", 1048576), ("1", "G", 1048576), ("1", "gb", 976563), ("7", None, 7), ("1025", "bytes", 2),
    ("x", "KiB", None), ("1", "furlong", None), ("", "", None),
])  # fmt: skip
def test_amounts_of_memory_are_read_in_libvirts_units(amount, unit, expected):
    assert kib(amount, unit) == expected


def test_a_setting_is_brought_back_to_the_last_attribute():
    original = document(
        ("<clock", "<iothreads>2</iothreads><clock"),
        ("  <cpu mode", "  <numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>\n  <cpu mode"),
        ("    <feature", "    <numa><cell id='0' cpus='0-9' memory='20' unit='GiB' memAccess='shared'/></numa>\n    <feature"),
    )
    edited = document()
    for name in ("cells", "iothreads", "vcpupin"):
        assert edited.differs(name, original) == (name != "vcpupin")
        edited.bring_back(name, original)
    assert edited.digest() == original.digest()


def test_devices_come_back_in_their_old_order():
    original, edited = document(), document()
    edited.drop("devices/disk[vda]")
    edited.bring_back("disks[vda]", original)
    assert edited.digest() == original.digest()


def test_bringing_back_leaves_what_others_edited_meanwhile():
    edited = document(("<shares>2048<", "<shares>512<"), ("cpuset='0'", "cpuset='7'"), ("dev='hd'", "dev='network'"))
    edited.bring_back("vcpupin", document())
    assert lines_changed(GUEST.replace('"', "'"), edited.text) == [
        "-<shares>2048</shares>", "-<boot dev='hd'/>", "+<shares>512</shares>", "+<boot dev='network'/>",
    ]  # fmt: skip


def test_bringing_back_a_value_of_a_device_that_somebody_removed_brings_no_device_back():
    edited = document()
    edited.drop("devices/disk[vdb]")
    edited.bring_back("disks[vdb].driver.type", document())
    edited.bring_back("disks[vdb].serial", document())
    assert edited.find("devices/disk[vdb]") is None


def test_passwords_are_masked_for_people_only():
    cookie = "<source protocol='https' name='x'><cookies><cookie name='session'>s3cret</cookie></cookies></source>"
    guest = document(("<source file='/raid/dgx-kvm/vol-2gpu'/>", cookie))
    assert "s3cret" not in guest.shown() and "passwd='********'" in guest.shown()
    assert guest.text.count("s3cret") == 2


def test_the_text_for_people_shows_no_change_that_is_none():
    guest = document()
    guest.make("cputune/emulatorpin")
    assert lines_changed(document().shown(), guest.shown()) == ["+<emulatorpin/>"]


@pytest.mark.parametrize("path, found", [
    ("devices/disk[vdb]/source@file", "/raid/dgx-kvm/vol-2gpu"),
    ("devices/interface[52:54:00:d8:ec:20]/source@network", "default"),
    ("devices/hostdev[0000:34:00.0]@managed", "yes"),
    ("devices/disk[vdx]/source@file", None),
    ("numatune/memory@mode", None),
])  # fmt: skip
def test_paths_find_devices_by_what_tells_them_apart(path, found):
    place, _at, name = path.partition("@")
    assert attribute(document().find(place), name) == found


def test_name_and_uuid_are_those_of_the_domain():
    assert (document().name, document().uuid) == ("2gpu-vm-2g0-1", UUID)


@pytest.mark.parametrize("name, parts", [
    ("vcpupin", ("vcpupin", None, "")),
    ("disks[vdb]", ("disks", "vdb", "")),
    ("disks[vdb].driver.queues", ("disks", "vdb", "driver.queues")),
    ("interfaces[52:54:00:d8:ec:20].bandwidth.inbound", ("interfaces", "52:54:00:d8:ec:20", "bandwidth.inbound")),
    ("hostdevs[0000:34:00.0].managed", ("hostdevs", "0000:34:00.0", "managed")),
])  # fmt: skip
def test_settings_have_names(name, parts):
    assert split_name(name) == parts
    assert paths_of(name)


@pytest.mark.parametrize("name", ["", "name", "disks", "disks[]", "disks[vdb].driver.colour", "disks[a/b]", "cpus[1]", "vcpupin[0]"])
def test_other_names_are_refused(name):
    with pytest.raises(FleetError, match="not the name of a setting"):
        split_name(name)


def test_all_names_of_a_device_begin_with_the_device():
    assert device_names("hostdevs", "0000:34:00.0") == ["hostdevs[0000:34:00.0]", "hostdevs[0000:34:00.0].managed"]


@pytest.mark.parametrize("text, said", [
    (GUEST[:400], "The backup is not well-formed XML"),
    ("", "not well-formed"),
    ("<network/>", "outermost element is <network>"),
    ("<domain>\udcff</domain>", "not well-formed"),
    ("<domain><name>\x00</name></domain>", "not well-formed"),
])  # fmt: skip
def test_what_is_no_domain_is_refused_with_its_place(text, said):
    with pytest.raises(FleetError, match=said):
        DomainDocument(text, "The backup")


def test_an_error_says_where_the_text_breaks():
    with pytest.raises(FleetError, match="line 3, column 3"):
        DomainDocument("<domain>\n <a>\n </b>\n</domain>")


def test_the_guest_of_the_tests_can_be_renamed():
    assert DomainDocument(guest(name="other", uuid="1" * 8)).name == "other"
