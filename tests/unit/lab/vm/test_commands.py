"""What a person sees who types a command of script/lab that cannot be done now."""
import shlex

import pytest
import yaml

from ansible_collections.dgxops.fleet.tests.lab.vm import __main__ as lab
from ansible_collections.dgxops.fleet.tests.lab.vm.access import Access


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DGXOPS_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "argv, words",
    [
        (["up", "dgx9"], "There is no platform 'dgx9'"),
        (["up", "dgx1", "--memory", "lots"], "'lots' is not a size"),
        (["reset"], "Start one: script/lab up"),
        (["ssh"], "Start one: script/lab up"),
        (["run", "true"], "Start one: script/lab up"),
        (["pull-drive", "3"], "Start one: script/lab up"),
        (["inventory"], "Start one: script/lab up"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(capsys, argv, words):
    assert lab.main(argv) == 1
    assert words in capsys.readouterr().err


def test_down_is_no_error_when_nothing_is_up(capsys):
    assert lab.main(["down"]) == 0
    assert capsys.readouterr().out == "nothing was up\n"


def test_status_tells_a_script_that_nothing_is_up(capsys):
    assert lab.main(["status"]) == 1
    assert capsys.readouterr().out == "nothing is up\n"


def test_the_platforms_are_listed_with_what_they_are_for(capsys):
    assert lab.main(["platforms"]) == 0
    listed = capsys.readouterr().out
    assert "dgx2-small (default)   a DGX-2 that can start KVM guests" in listed
    assert "station" in listed


def test_the_inventory_is_one_ansible_can_read_also_below_a_directory_with_spaces(tmp_path):
    place = tmp_path / "my fleet"
    hosts = yaml.safe_load(Access(2222, place / "login", place / "known_hosts").inventory())
    variables = hosts["dgx"]["hosts"]["dgx01"]
    assert variables["ansible_port"] == 2222
    assert f'UserKnownHostsFile="{place}/known_hosts"' in shlex.split(variables["ansible_ssh_common_args"])


def test_nobody_is_asked_to_trust_an_unknown_host(tmp_path):
    command = Access(2222, tmp_path / "login", tmp_path / "known_hosts").command("true")
    assert "StrictHostKeyChecking=yes" in command and "HostKeyAlias=dgxops-lab" in command
    assert command[-2:] == ["root@127.0.0.1", "true"]
