# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules slurm_part and slurm_nodes as a playbook meets them: what they say of a host that is not there yet, and of mistakes."""
import base64
import json
import os
import socket
import stat

import pytest
import yaml

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_host, slurm_part_host
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import Gpu, SlurmNode
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_part import RECORD, SLURMD
from ansible_collections.dgxops.fleet.plugins.module_utils.host import records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.modules import slurm_nodes, slurm_part
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

KEY = b"a secret key of more than 32 bytes, as munge wants it"
NAME = socket.gethostname().partition(".")[0]
NODE = SlurmNode(96, 2, 24, 2, 1545216, tuple(Gpu(minor, "v100", "0-23") for minor in range(16)))
SLURMD_C = "NodeName={0} CPUs=96 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=2 RealMemory=1546569\n".format(NAME)
# As slurmd 22.05.8 of Debian 12 wrote it on 2026-11-23.
SLURMD_G = "slurmd: Gres Name=gpu Type=v100 Count=8 Index=0 ID=7696487 File=/dev/nvidia[{0}] Cores=0-23 CoreCnt=96 (null)\n"
FILES = {"slurm.conf": "NodeName={0} CPUs=96\n".format(NAME), "gres.conf": "Name=gpu\n", "cgroup.conf": "ConstrainCores=yes\n", "job": "#!x\n"}
ASKED = {"parts": ["node"], "name": NAME, "files": FILES, "munge_key": base64.b64encode(KEY).decode(), "node": NODE.to_dict(), "packages": False}


class Played(Commands):
    """A host with Slurm's packages, whose systemd, slurmd and slurmctld are played."""

    def __init__(self):
        super().__init__()
        self.units = {"munge.service": ["enabled", True], SLURMD: ["disabled", False]}
        self.asked = []
        self.gres = SLURMD_G.format("0-7") + SLURMD_G.format("8-15")
        self.fail = None
        self.reads = Result(0, "", "")

    def run(self, argv, timeout=None, text_in=None):
        line = " ".join(argv)
        self.asked.append(line)
        if self.fail and self.fail in line:
            return Result(1, "", "it is not to be")
        if line.startswith("systemctl show"):
            return Result(0, "\n\n".join(self._show(name) for name in argv[3:]), "")
        if line == "systemctl daemon-reload":
            return Result(0, "", "")
        if argv[0] == "systemctl":
            unit = self.units[argv[2]]
            unit[0] = {"enable": "enabled", "disable": "disabled"}.get(argv[1], unit[0])
            unit[1] = {"restart": True, "stop": False}.get(argv[1], unit[1])
            return Result(0, "", "")
        known = {
            "scontrol": Result(0, "", ""), "slurmd -C": Result(0, SLURMD_C, ""), "slurmd -G": Result(0, "", self.gres),
            "sinfo": Result(0, "idle|none\n", ""), "squeue": Result(0, "", ""), "env SLURM_CONF": self.reads,
        }
        return next(answer for start, answer in known.items() if line.startswith(start))

    def _show(self, name):
        unit = self.units.get(name)
        return "Id={0}\nLoadState={1}\nUnitFileState={2}\nActiveState={3}".format(
            name, "loaded" if unit else "not-found", unit[0] if unit else "", "active" if unit and unit[1] else "inactive")


@pytest.fixture
def played(tmp_path, monkeypatch):
    commands = Played()
    monkeypatch.setattr(slurm_part, "Commands", lambda **more: commands)
    monkeypatch.setattr(slurm_part, "Host", lambda programs: Host(programs, str(tmp_path)))
    monkeypatch.setattr(slurm_part_host.shutil, "chown", lambda *words: None)  # there is no user munge here
    for name in ("etc/munge", "etc/slurm"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/munge/munge.key").write_bytes(b"the key from before")
    return commands


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_check_mode_says_what_the_run_then_does_and_a_second_run_does_nothing(played, tmp_path):
    before = tree(tmp_path)
    predicted = run_module(slurm_part.main, ASKED, check=True)
    assert tree(tmp_path) == before and played.units[SLURMD] == ["disabled", False]
    done = run_module(slurm_part.main, ASKED)
    assert done["changed"] and dict(predicted, node_state="idle") == done
    assert played.units[SLURMD] == ["enabled", True] and (tmp_path / "etc/munge/munge.key").read_bytes() == KEY
    assert stat.S_IMODE((tmp_path / "etc/munge/munge.key").stat().st_mode) == 0o400
    again = run_module(slurm_part.main, ASKED)
    assert (again["changed"], again["restarted"]) == (False, [])


def test_the_key_is_nowhere_in_the_answer(played):
    answer = json.dumps(run_module(slurm_part.main, ASKED))
    assert base64.b64encode(KEY).decode() not in answer and "secret key" not in answer


def test_a_run_that_was_cut_short_is_completed_by_the_next(played, tmp_path):
    played.fail = "restart slurmd.service"
    assert run_module(slurm_part.main, ASKED)["failed"]
    played.fail = None
    answer = run_module(slurm_part.main, ASKED)
    assert answer["changed"] and SLURMD in answer["restarted"] and played.units[SLURMD] == ["enabled", True]
    assert not run_module(slurm_part.main, ASKED)["changed"]


def test_everything_is_given_back(played, tmp_path):
    before = tree(tmp_path)
    run_module(slurm_part.main, ASKED)
    run_module(slurm_part.main, dict(ASKED, files=dict(FILES, **{"cgroup.conf": "ConstrainCores=no\n"})))
    away = {"name": NAME, "state": "absent", "packages": False}
    assert run_module(slurm_part.main, away, check=True)["changed"] and os.path.exists(records.place(RECORD, str(tmp_path)))
    assert run_module(slurm_part.main, away)["changed"]
    assert tree(tmp_path) == before and played.units == {"munge.service": ["enabled", True], SLURMD: ["disabled", False]}
    assert not run_module(slurm_part.main, away)["changed"]


@pytest.mark.parametrize(("gres", "said"), [
    (SLURMD_G.format("0-7"), "16 v100 are expected, 8 v100 are found"),
    ("slurmd: error: can't stat gres.conf file /dev/nvidia8: No such file or directory\n", "none are found.*It says: can't stat gres.conf file /dev/nvidia8"),
])
def test_a_slurmd_that_finds_other_gpus_stops_the_run_before_anything_is_changed(played, tmp_path, gres, said):
    played.gres = gres
    before = tree(tmp_path)
    answer = run_module(slurm_part.main, ASKED)
    assert answer["failed"] and slurm_host.re.search(said, answer["msg"]) and tree(tmp_path) == before
    assert played.units[SLURMD] == ["disabled", False]


def test_another_key_and_munge_that_does_not_run_are_no_matter_of_slurmd(played, tmp_path):
    """slurmd -G of 24.11 finds nothing without munge, which may not run since its key is broken."""
    played.units["munge.service"][1] = False
    assert run_module(slurm_part.main, ASKED)["changed"]
    assert played.asked.index("systemctl restart munge.service") < min(at for at, line in enumerate(played.asked) if line.startswith("slurmd -G"))
    played.asked.clear()
    assert run_module(slurm_part.main, dict(ASKED, munge_key=base64.b64encode(KEY * 2).decode()))["changed"]
    assert not [line for line in played.asked if line.startswith("slurmd")]


def test_a_slurmd_that_counts_otherwise_stops_the_run_too(played, tmp_path):
    before = tree(tmp_path)
    answer = run_module(slurm_part.main, dict(ASKED, node=NODE._replace(cpus=48, threads_per_core=1).to_dict()))
    assert answer["failed"] and "CPUs 48, slurmd counts 96" in answer["msg"] and tree(tmp_path) == before


def test_a_configuration_that_slurm_cannot_read_never_takes_the_place_of_one_that_it_can(played, tmp_path):
    """As scontrol 26.05.5 of Debian said it on 2026-11-23."""
    (tmp_path / "etc/slurm/slurm.conf").write_text("ClusterName=dgx\n")
    played.reads = Result(1, "", "scontrol: error: _parse_next_key: Parsing error at unrecognized key: FooBar\n"
                                 "scontrol: fatal: Unable to process configuration file\n")
    before = tree(tmp_path)
    answer = run_module(slurm_part.main, dict(ASKED, parts=["controller"]))
    assert answer["failed"] and tree(tmp_path) == before
    assert "It says: _parse_next_key: Parsing error at unrecognized key: FooBar. Mend it in slurm_gpu_slurm_conf" in answer["msg"]


def test_a_package_starts_no_slurmd_that_has_no_configuration(played, tmp_path):
    with slurm_part_host._not_started_without_configuration(Host(played, str(tmp_path))):
        assert "ConditionPathExists" in (tmp_path / "run/systemd/system/slurmd.service.d/60-dgxops.conf").read_text()
    assert list((tmp_path / "run/systemd/system").iterdir()) == [] and played.asked == ["systemctl daemon-reload"]


@pytest.mark.parametrize(("options", "said"), [
    ({"name": "elsewhere"}, "slurmd finds itself by the name of its host"),
    ({"parts": []}, "parts does not say which"),
    ({"munge_key": "not Base64!"}, "munge_key is not the Base64 of 32 to 1024 bytes"),
    ({"munge_key": "c2hvcnQ="}, "munge_key is not the Base64 of 32 to 1024 bytes"),
    ({"node": {"cpus": "many"}}, "node.cpus is 'many'"),
])
def test_mistakes_are_told_in_words(played, options, said):
    answer = run_module(slurm_part.main, dict(ASKED, **options))
    assert answer["failed"] and said in answer["msg"]


@pytest.mark.parametrize("module", [slurm_part, slurm_nodes])
def test_the_documentation_names_all_options(module):
    told = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert set(told) == set(module.ARGUMENTS)
    assert {name: entry.get("default") for name, entry in told.items()} == {name: entry.get("default") for name, entry in module.ARGUMENTS.items()}


def test_nodes_are_kept_and_the_version_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_nodes, "ROOT", str(tmp_path))
    monkeypatch.setattr(slurm_nodes, "Commands", lambda: Recorded({("slurmctld", "-V"): Result(0, "slurm-wlm 22.05.8\n", "")}))
    asked = {"described": {"dgx01": NODE.to_dict()}, "members": ["dgx01", "dgx02"], "key": True}
    predicted = run_module(slurm_nodes.main, asked, check=True)
    assert tree(tmp_path) == {} and predicted["changed"] and predicted["key_file"] == ""
    done = run_module(slurm_nodes.main, asked)
    assert done == dict(predicted, key_file=done["key_file"])
    assert (done["unknown"], done["version"], os.path.basename(done["key_file"])) == (["dgx02"], "22.05.8", "munge.key")
    assert not run_module(slurm_nodes.main, asked)["changed"]
    assert run_module(slurm_nodes.main, {"state": "absent"})["changed"] and tree(tmp_path) == {}
    read = run_module(slurm_nodes.main, dict(asked, write=False, key=False))
    assert (read["changed"], tree(tmp_path)) == (False, {}) and '"dgx01"' in read["text"]


def test_a_fresh_controller_tells_the_version_that_it_would_get():
    policy = Result(0, "slurmctld:\n  Installed: (none)\n  Candidate: 23.11.4-1.2ubuntu5\n", "")
    assert slurm_host.slurm_version(Recorded({("apt-cache", "policy", "slurmctld"): policy})) == "23.11.4-1.2ubuntu5"
    assert slurm_host.slurm_version(Recorded({})) == ""


def test_limits_of_memory_are_told_by_the_kernel(tmp_path):
    sysfs = Sysfs(str(tmp_path))
    assert not slurm_host.memory_cgroup(sysfs)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cgroups").write_text("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t1\t1\t1\nmemory\t0\t1\t0\n")
    assert not slurm_host.memory_cgroup(sysfs)
    (tmp_path / "proc/cgroups").write_text("memory\t4\t1\t1\n")
    assert slurm_host.memory_cgroup(sysfs)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu\n")
    assert not slurm_host.memory_cgroup(sysfs)
