# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of shell assignments, read without a shell: the answers are the shell's, or there is none."""
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.shell_assignments import Source, evaluate


def value(text, name="A"):
    return evaluate([Source("/f", text)], frozenset([name])).value(name)


def unclear(text, name="A"):
    return evaluate([Source("/f", text)], frozenset([name])).unclear_places([name])


def shells_answer(text):
    """What a real shell makes of the variable A; None if it stops with an error, as update-grub then does."""
    command = ["sh", "-ec", '. "$0"; printf "%s." "$A"', "/dev/stdin"]
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False)
    return done.stdout.decode()[:-1] if done.returncode == 0 else None


CLEAR = [
    'A="quiet splash"',
    "A=quiet",
    "A='single $B `x` \\'",
    'A=one\nA="$A two"\nA="${A} three"',
    'B=x; A="a$B"c',
    'export A="exported"',
    "A=before#not-a-comment # a comment",
    "# A=comment\nA=real\n",
    'A="one \\\ntwo"',
    "A=one\\\ntwo",
    'A="say \\"hi\\" \\$5 \\n"',
    "A=\\ x",
    'A=""',
    "A=",
    'A="$UNSET-$"',
    'A=1 B=2\nA="$A$B"',
    'A="a"\'b\'c"$A"',
    "A=x\r",
    "A='multi\nline'",
]


@pytest.mark.parametrize("text", CLEAR)
def test_what_is_understood_is_what_the_shell_says(text):
    assert value(text) == shells_answer(text)
    assert not unclear(text)


@pytest.mark.parametrize(("text", "place"), [
    ("A=`lsb_release -i -s 2> /dev/null || echo Debian`", "/f:1"),
    ("\n\nA=$(hostname)", "/f:3"),
    ("A=${B:-x}", "/f:1"),
    ("A=${B:-{}}", "/f:1"),
    ('if [ -n "$X" ]; then\n  A=x\nfi', "/f:2"),
    ("[ -e /x ] && A=x", "/f:1"),
    ("A+=x", "/f:1"),
    (". /etc/other", "/f:1"),
    ('B=$(x)\nA="$B"', "/f:2"),
    ("unset A", "/f:1"),
    ("case x in x) A=1;; esac", "/f:1"),
    ("A=$(open", "/f:1"),
    ("A=`open", "/f:1"),
    ("A=$1x", "/f:1"),
])
def test_what_only_a_shell_can_know_is_said_to_be_unclear(text, place):
    assert unclear(text) == [place]


def test_what_a_function_would_set_is_not_taken_for_set_and_what_follows_it_is():
    text = "add() {\n  A=inside\n}\n"
    assert value("A=before\n" + text) == "before" and unclear(text) == ["/f:2"]
    assert value(text + "A=after\n") == "after"


def test_other_variables_may_be_as_unclear_as_they_like():
    text = 'GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Ubuntu} ) 2>/dev/null || echo Ubuntu`\nA="x"\n'
    assert value(text) == "x" and not unclear(text)


def test_an_assignment_that_may_not_run_does_not_count():
    assert value("A=sure\nif true; then\nA=perhaps\nfi\n") == "sure"
    assert value("if true; then\nB=1\nfi\nA=after") == "after"


def test_a_clear_assignment_ends_the_doubt():
    assert evaluate([Source("/f", "A=$(x)\nA=plain\nB=$A")], frozenset(["B"])).unclear_places(["B"]) == []


def test_files_are_read_one_after_the_other_and_each_assignment_knows_where_it_was_made():
    found = evaluate([Source("/one", "\nA=1\n"), Source("/two", 'A="$A 2"\nA="$A 3"')], frozenset(["A"]))
    assert [(setting.path, setting.line, setting.value) for setting in found.made] == [("/one", 2, "1"), ("/two", 1, "1 2"), ("/two", 2, "1 2 3")]
    assert found.value("MISSING") == ""


@settings(max_examples=100)
@given(st.text(alphabet="A=x \"'\\$#\n{}B;", max_size=24))
def test_a_file_without_doubt_has_the_shells_answer(text):
    text = "B=b\nA=a\n" + text + "\n"
    found = evaluate([Source("/f", text)], frozenset(["A"]))
    answer = shells_answer(text)
    if answer is not None and not found.unclear_places(["A"]):
        assert found.value("A") == answer


@given(st.text())
def test_no_text_raises(text):
    evaluate([Source("/f", text)], frozenset(["A"]))
