"""What the demo says about XML and about differences is what a reader would say."""
import re

import pytest

from ansible_collections.dgxops.fleet.tests.lab import demo
from ansible_collections.dgxops.fleet.tests.lab.terminal import Terminal, difference

BEFORE = "<domain><name>a</name><cpu>\n<model/>\n</cpu>\n<os/>\n<x/>\n<y/>\n<z/></domain>"


def test_a_difference_shows_what_went_and_came_and_one_line_around():
    before = "1\n2\n3\n4\n5\n6\n7\n8\n9"
    after = "1\n2\n3\nnew\n4\n5\n6\n7\n9"
    assert difference(before, after) == [" 3", "+new", " 4", "...", " 7", "-8", " 9"]
    assert difference(before, before) == []


def test_a_long_difference_is_cut_and_says_so(capsys):
    Terminal(80, False, True).difference("", "\n".join(str(number) for number in range(30)), 10)
    assert capsys.readouterr().out.splitlines()[-2:] == ["   +9", "   … and 20 lines more"]


@pytest.mark.parametrize("unicode, mark", [(True, "…"), (False, "...")])
def test_a_terminal_without_unicode_gets_ascii(capsys, unicode, mark):
    Terminal(80, False, unicode).line("and more…")
    assert capsys.readouterr().out == "and more" + mark + "\n"


def test_lines_keep_to_the_width_and_colours_are_only_colours(capsys):
    for colour in (False, True):
        Terminal(80, colour, True).good("word " * 40)
    plain, coloured = capsys.readouterr().out.split("   ok", 1)[1].split("\n   \033", 1)
    assert all(len(line) <= 80 for line in ("   ok" + plain).splitlines())
    assert re.sub("\033?\\[[0-9;]*m", "", coloured).replace("ok", "", 1).split() == plain.split()


def test_what_libvirt_adds_to_a_topology_is_no_difference():
    plain = "<domain><name>a</name><cpu><topology sockets='1' cores='5' threads='2'/></cpu></domain>"
    assert demo._same(plain.replace("cores", "dies='1' clusters='1' cores"), plain)
    assert not demo._same(plain.replace("cores", "dies='2' cores"), plain)
    assert not demo._same(plain.replace("'5'", "'6'"), plain)


def test_the_foretold_xml_is_found_among_other_differences():
    after = BEFORE.replace("<os/>", "<os><boot/></os>")
    results = [
        {"host": "h", "task": "pages", "status": "ok", "changed": True, "msg": None, "diff": [{"before": "0", "after": "12"}]},
        {"host": "h", "task": "tune", "status": "ok", "changed": True, "msg": None, "diff": [{"before": BEFORE, "after": after}]},
        {"host": "other", "task": "tune", "status": "failed", "changed": False, "msg": "no", "diff": {"before": BEFORE, "after": BEFORE}},
    ]
    run = demo.Run(2, results, "log")
    assert demo._predicted(run, "h") == {"a": demo.Diff(BEFORE, after)}
    assert run.changed("h") == ["pages", "tune"]
    assert run.failures("other") == ["no"]


def test_files_are_compared_as_the_kernel_shows_them(tmp_path):
    (tmp_path / "sys").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "sys" / "nr").write_text("0\n")
    (tmp_path / "var" / "backup").write_text("kept")
    assert demo._files(str(tmp_path)) == {"sys/nr": "0"}
