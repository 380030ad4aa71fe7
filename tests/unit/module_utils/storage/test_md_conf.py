# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""mdadm.conf: one line for an array, in the place of the old one, and everything else byte for byte as it was."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.storage import md_conf

UUID = "0a0a0a0a:0b0b0b0b:0c0c0c0c:0d0d0d0d"
LINE = "ARRAY /dev/md/raid metadata=1.2 UUID=" + UUID + "\n"

CONF = """# mdadm.conf
  # an indented remark
HOMEHOST <system>
MAILADDR root

ARRAY /dev/md0 metadata=1.0 UUID=5afe1ab0:00004000:80000000:00000002
   name=dgx01:0
ARRAY <ignore> UUID=11111111:22222222:33333333:44444444
"""


@pytest.mark.parametrize("old", [
    "ARRAY /dev/md/raid UUID=99999999:99999999:99999999:99999999\n",
    "array raid UUID=99999999:99999999:99999999:99999999\n",
    "ARRAY /dev/md1 metadata=1.2\n\tname=dgx:1\n  UUID=0A0A0A0A0B0B0B0B0C0C0C0C0D0D0D0D\n",
    "ARRAY /dev/md127 name=dgx02:raid\n",
    "ARRAY uuid=0a0a0a0a-0b0b0b0b-0c0c0c0c-0d0d0d0d # by hand\n",
    "arr\t/dev/md/raid\tUUID=99999999:99999999:99999999:99999999 # the first three letters are enough\n",
])
def test_what_was_there_for_the_array_is_replaced_in_its_place_and_comes_back(old):
    text = CONF + old + "PROGRAM /bin/x\n"
    edit = md_conf.with_array(text, "/dev/md/raid", "1.2", UUID)
    assert edit.text == CONF + LINE + "PROGRAM /bin/x\n" and edit.replaced == (old,)
    assert md_conf.with_array(edit.text, "/dev/md/raid", "1.2", UUID) == (edit.text, ())
    assert md_conf.without_array(edit.text, "/dev/md/raid", UUID, edit.replaced) == text


def test_an_array_that_is_new_to_the_file_goes_to_its_end():
    assert md_conf.with_array(CONF, "/dev/md/raid", "1.2", UUID).text == CONF + LINE
    assert md_conf.with_array("MAILADDR root", "/dev/md/raid", "1.2", UUID).text == "MAILADDR root\n" + LINE
    assert md_conf.with_array(None, "/dev/md/raid", "1.2", UUID).text == LINE


def test_a_last_line_without_its_end_does_not_swallow_what_follows():
    """Somebody has added to the file since, or taken our line out of it."""
    old = "ARRAY /dev/md/raid UUID=99999999:99999999:99999999:99999999"
    edit = md_conf.with_array(old, "/dev/md/raid", "1.2", UUID)
    assert md_conf.without_array(edit.text + "MAILADDR root\n", "/dev/md/raid", UUID, edit.replaced) == old + "\nMAILADDR root\n"
    assert md_conf.without_array("MAILADDR root", "/dev/md/raid", UUID, edit.replaced) == "MAILADDR root\n" + old


def test_two_old_lines_become_one():
    text = "ARRAY /dev/md/raid UUID=9\nHOMEHOST x\nARRAY /dev/md127 UUID=" + UUID + "\n"
    assert md_conf.with_array(text, "/dev/md/raid", "1.2", UUID).text == LINE + "HOMEHOST x\n"


def test_a_setting_is_replaced_added_and_taken_away():
    assert md_conf.with_setting(CONF, "MAILADDR", "ops@example.com").text == CONF.replace("MAILADDR root", "MAILADDR ops@example.com")
    assert md_conf.with_setting(CONF, "PROGRAM", "/bin/x").text == CONF + "PROGRAM /bin/x\n"
    assert md_conf.with_setting(CONF, "MAILADDR", "").text == CONF.replace("MAILADDR root\n", "")


def test_whose_path_it_is():
    assert md_conf.uuids_of(CONF + LINE, "/dev/md/raid") == [md_conf.plain(UUID)]
    assert md_conf.uuids_of(CONF, "/dev/md/raid") == []


@given(st.lists(st.sampled_from(["ARRAY", "array /dev/md/raid", "  cont", "\t", "#x", "UUID=" + UUID, "name=a:raid", "MAILADDR a", "\n", "\n", " ", "é"])))
def test_no_text_is_too_odd(words):
    text = "".join(words)
    assert "".join(one.text for one in md_conf.statements(text)) == text
    edit = md_conf.with_array(text, "/dev/md/raid", "1.2", UUID)
    assert md_conf.with_array(edit.text, "/dev/md/raid", "1.2", UUID).text == edit.text
    assert edit.text.count(LINE.strip()) >= 1
