# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host does not take an array back at boot, and gets its files back to the byte."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.storage import at_boot
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import Mount

UUID = "cb0e3fb8:65acc798:c37e8237:123016e3"
CONF = """# mdadm.conf
HOMEHOST <system>
ARRAY /dev/md0 metadata=1.0 UUID=5afe1ab0:00004000:80000000:00000002
array /dev/md1
   metadata=1.2 UUID=CB0E3FB8-65acc798-c37e8237-123016e3 # ours
MAILADDR root
"""
RAID = Mount("/raid", "ext4", "rw")


def test_the_line_of_the_array_is_replaced_where_it_is_and_comes_back():
    after = at_boot.ignoring(CONF, UUID)
    assert after == CONF.replace("array /dev/md1\n   metadata=1.2 UUID=CB0E3FB8-65acc798-c37e8237-123016e3 # ours\n", "ARRAY <ignore> UUID=%s\n" % UUID)
    assert at_boot.ignoring(after, UUID) == after, "a second time changes nothing"
    assert at_boot.no_longer_ignoring(after, UUID, at_boot.statements_of(CONF, UUID)) == CONF


@pytest.mark.parametrize("conf", [None, "", "HOMEHOST <system>", "HOMEHOST <system>\n"])
def test_an_array_that_the_file_does_not_name_is_ignored_too(conf):
    after = at_boot.ignoring(conf, UUID)
    assert after.endswith("ARRAY <ignore> UUID=%s\n" % UUID) and "ignore" not in at_boot.no_longer_ignoring(after, UUID, "")


FSTAB = """# /etc/fstab
UUID=0e1d6cb6-020e-47d3-80a1-d2c93b259ff7\t/raid  ext4 defaults,discard 0 2
/dev/md1 /elsewhere ext4 noauto 0 0
LABEL="our\\040data" /third ext4 defaults 0 0
UUID=other /raid2 ext4 defaults 0 0
"""


def test_all_lines_of_an_array_are_set_aside_and_put_back():
    sources = at_boot.sources_of("md1", ["/dev/md/raid"], "0e1d6cb6-020e-47d3-80a1-d2c93b259ff7", "our data")
    after = at_boot.set_aside(FSTAB, sources, [RAID])
    assert [line.startswith(at_boot.MARK) for line in after.splitlines()] == [False, True, True, True, False]
    assert at_boot.set_aside(after, sources, [RAID]) == after
    assert at_boot.put_back(after, sources, [RAID]) == FSTAB


def test_a_line_that_is_there_only_for_the_mount_point_counts_too():
    assert at_boot.set_aside("/dev/disk/by-path/x /raid ext4 defaults 0 0\n", [], [RAID]).startswith(at_boot.MARK)


@given(st.text(alphabet="ab/# \t\n=", max_size=120))
def test_whatever_is_in_fstab_comes_back_as_it_was(text):
    sources, mounts = ["/a", "b"], [Mount("/", "ext4", "rw"), Mount("/a", "ext4", "rw")]
    after = at_boot.set_aside(text, sources, mounts)
    assert at_boot.put_back(after, sources, mounts) == text
