# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""nsswitch.conf gets a word more, and loses it again without a trace."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.identity import nsswitch

UBUNTU = "# /etc/nsswitch.conf\n\npasswd:         files systemd\ngroup:\tfiles [SUCCESS=merge] systemd\nshadow: files # local\nhosts:          files dns\n"


def test_a_word_is_added_after_all_others_and_the_rest_of_the_file_stays():
    after = nsswitch.edit(UBUNTU, "sss", ["passwd", "group", "shadow", "sudoers"]).after
    assert after == (
        "# /etc/nsswitch.conf\n\npasswd:         files systemd sss\ngroup:\tfiles [SUCCESS=merge] systemd sss\nshadow: files sss # local\n"
        "hosts:          files dns\nsudoers:        files sss\n"
    )


@pytest.mark.parametrize("line, after", [
    ("passwd: files sss", "passwd: files sss"),
    ("passwd: sss files", "passwd: sss files"),
    ("passwd: files ldap", "passwd: files sss"),
    ("passwd: files ldap [NOTFOUND=return] systemd", "passwd: files systemd sss"),
    ("passwd:files", "passwd:files sss"),
    ("passwd: files sssd", "passwd: files sssd sss"),
    ("passwd:", "passwd: sss"),
    ("  passwd: files  ", "  passwd: files sss"),
])
def test_other_directories_make_room_with_their_actions(line, after):
    assert nsswitch.edit(line + "\n", "sss", ["passwd"], ["ldap"]).after == after + "\n"


@pytest.mark.parametrize("text", [UBUNTU, UBUNTU.rstrip("\n"), "", "passwd: files\npasswd: files db\n", "passwd: files sss\n"])
def test_the_way_back_gives_the_very_file(text):
    edits = nsswitch.edit(text, "sss", ["passwd", "group", "netgroup"], ["ldap"])
    assert nsswitch.revert(edits.after, nsswitch.Edits.from_dict(edits.to_dict()), "sss") == text
    assert nsswitch.edit(edits.after, "sss", ["passwd", "group", "netgroup"], ["ldap"]).after == edits.after


def test_lines_that_somebody_has_edited_since_keep_their_edits():
    edits = nsswitch.edit(UBUNTU, "sss", ["passwd", "group", "sudoers"])
    edited = edits.after.replace("files dns", "files mdns dns").replace("files systemd sss", "files db sss")
    back = nsswitch.revert(edited, edits, "sss")
    assert back == UBUNTU.replace("files dns", "files mdns dns").replace("passwd:         files systemd", "passwd:         files db")


def test_a_second_line_that_had_the_word_before_keeps_it():
    text = "passwd: files ldap\npasswd: db sss\n"
    edits = nsswitch.edit(text, "sss", ["passwd"], ["ldap"])
    assert nsswitch.revert(edits.after + "# mine\n", edits, "sss") == text + "# mine\n"


def test_what_packages_add_of_their_own_accord_goes_too():
    before = "passwd: files\nservices: db files\nhosts: files sss\n"
    edits = nsswitch.edit(before, "sss", ["passwd"])
    added = edits.after.replace("db files", "db files sss") + "sudoers: files  sss\nautomount:  sss\n"
    assert nsswitch.revert(added, edits, "sss") == before
    assert nsswitch.revert(before.replace("passwd: files", "passwd: files sss"), edits, "sss") == before


@given(st.text(alphabet="passwdgrouhn :#[]=\n\tfilesdbsss", max_size=200))
def test_whatever_the_file_says_the_way_back_is_exact(text):
    edits = nsswitch.edit(text, "sss", ["passwd", "group"], ["nis"])
    assert nsswitch.revert(edits.after, edits, "sss") == text
    assert "sss" in nsswitch.sources(edits.after, "passwd")


def test_a_missing_file_is_an_answer():
    with pytest.raises(FleetError, match="nsswitch.conf is missing"):
        nsswitch.need_text(None)
