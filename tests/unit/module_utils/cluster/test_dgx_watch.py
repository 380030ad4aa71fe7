"""dgx-watch: which hosts, in which panes, by which commands of tmux; a scenario of molecule starts real ones."""
import re
import shlex

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import dgx_watch, monitoring_tools
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dgx_watch import arrange, choose, pane_command
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

LISTED = ["dgx01", "dgx02", "login"]


@pytest.mark.parametrize("patterns, hosts", [
    ([], LISTED), (["dgx0*"], ["dgx01", "dgx02"]), (["login", "dgx*", "login"], ["login", "dgx01", "dgx02"]), (["elsewhere"], ["elsewhere"])])
def test_hosts_by_name_or_pattern(patterns, hosts):
    assert choose(LISTED, patterns) == hosts


@pytest.mark.parametrize("listed, patterns", [(LISTED, ["gpu*"]), ([], []), (LISTED, ["-oProxyCommand=x"])])
def test_no_host_is_told(listed, patterns):
    with pytest.raises(ValueError, match="No host fits"):
        choose(listed, patterns)


def test_each_host_has_a_pane_and_each_nine_a_window():
    hosts = ["dgx{0:02}".format(at) for at in range(1, 21)]
    steps = arrange("s", hosts, "watch nvidia-smi")
    made = [step for step in steps if step[0] in ("new-session", "new-window", "split-window")]
    assert [step[0] for step in made].count("new-window") == 2
    assert [re.search(r"ssh -t -o ConnectTimeout=10 -- (\S+)", step[-1]).group(1) for step in made] == hosts
    assert [step[-1] for step in steps if step[0] == "select-pane"] == hosts, "the title of each pane is its host"


def test_a_command_goes_through_ssh_as_one_word_unless_it_is_for_this_host():
    shell, option, loop = shlex.split(pane_command("dgx01", "watch 'a b'", ["head"]))
    assert (shell, option) == ("sh", "-c")
    assert shlex.split(loop.split(";")[1])[1:] == ["ssh", "-t", "-o", "ConnectTimeout=10", "--", "dgx01", "watch 'a b'"]
    assert "do ctop; status" in pane_command("head", "ctop", ["head"])


def test_a_list_of_hosts_may_have_remarks(tmp_path):
    (tmp_path / "hosts").write_text("# all\ndgx01\n\n dgx02 # the old one\n")
    assert dgx_watch.read_hosts(str(tmp_path / "hosts")) == ["dgx01", "dgx02"]
    assert dgx_watch.read_hosts(str(tmp_path / "none")) == []


@pytest.mark.parametrize("arguments, status, words", [
    (["--panes", "0"], 2, "at least 1"), (["--session", "a:b"], 2, "a word"), (["--file", "/nowhere", "--session", "t-e-s-t", "x*"], 1, "No host fits")])
def test_nonsense_is_a_sentence(monkeypatch, capsys, arguments, status, words):
    monkeypatch.setattr(dgx_watch, "_tmux", lambda words: type("Done", (), {"returncode": 1, "stdout": ""}))
    assert dgx_watch.main(arguments) == status
    assert words in capsys.readouterr().err


def test_without_tmux_it_says_so(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    assert dgx_watch.main(["--detached", "x"]) == 1
    assert "tmux cannot be run" in capsys.readouterr().err


def wish(**options):
    return monitoring_tools.Wish.from_params(dict({"state": "present", "hosts": ["dgx01"], "ctop": True}, **options))


def test_the_tools_come_and_go(tmp_path, monkeypatch):
    monkeypatch.setattr(monitoring_tools.apt, "missing", lambda programs: ("ctop",) if "ctop" in programs else ())
    root, commands = str(tmp_path), Recorded({})
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / monitoring_tools.LAUNCHER).write_text("somebody's own\n")

    def play(asked):
        change = monitoring_tools.decide(asked, monitoring_tools.read(asked, commands, root))
        monitoring_tools.carry_out(asked, change, commands, root)
        return change

    first = play(wish())
    assert first.install == (), "there is no package of ctop here"
    assert (tmp_path / monitoring_tools.LAUNCHER).stat().st_mode & 0o444
    assert (tmp_path / monitoring_tools.HOSTS).read_text().splitlines()[1:] == ["dgx01"]
    assert not play(wish())
    assert play(wish(hosts=["dgx01", "dgx02", "dgx01"])).changed_files == [monitoring_tools.HOSTS]
    assert play(wish(state="absent"))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [monitoring_tools.LAUNCHER]
    assert (tmp_path / monitoring_tools.LAUNCHER).read_text() == "somebody's own\n"
    assert not play(wish(state="absent"))


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "", "dgx[01-02]"])
def test_what_ssh_would_not_take_for_a_host(host):
    with pytest.raises(FleetError, match="names or addresses are expected"):
        wish(hosts=[host])
