# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on a node before and after each job, with programs of NVIDIA that are played and a root that is not this host's."""
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "roles/slurm_gpu/files/job.py"

# dcgmi 3.x and nvidia-smi as their documentation shows them; written for this test.
STATISTICS = """Successfully retrieved statistics for job: 17.
+------------------------------------------------------------------------------+
| GPU ID: 0                                                                    |
+====================================+=========================================+
|-----  Execution Stats  ------------+-----------------------------------------|
| Start Time                         | Mon Nov 23 06:00:00 2026                |
| Energy Consumed (Joules)           | 1437                                    |
+------------------------------------+-----------------------------------------+
| GPU ID: 1                                                                    |
+====================================+=========================================+
| Energy Consumed (Joules)           | 20                                      |
"""
DIAG = """+---------------------------+------------------------------------------------+
| Diagnostic                | Result                                         |
+===========================+================================================+
| PCIe                      | {0} - All                                     |
+---------------------------+------------------------------------------------+
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The program on a host with two GPUs that the driver numbered against the PCI order."""
    specification = importlib.util.spec_from_file_location("dgxops_job", PROGRAM)
    module: Any = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    for address, minor in (("0000:07:00.0", 1), ("0000:0f:00.0", 0)):
        place = tmp_path / "proc/driver/nvidia/gpus" / address
        place.mkdir(parents=True)
        (place / "information").write_text("Model: \t\t T4\nDevice Minor: \t {0}\n".format(minor))
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev/nvidia{0}".format(minor)).write_text("")
    (tmp_path / "run").mkdir()
    module.asked = []
    module.answers = {}

    def run(argv, timeout):
        module.asked.append(" ".join(argv))
        return next((answer for start, answer in module.answers.items() if " ".join(argv).startswith(start)), (None, ""))

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.socket, "gethostname", lambda: "dgx01.example.com")
    for name, value in (("SLURM_JOB_ID", "17"), ("SLURM_JOB_USER", "alice"), ("SLURM_JOB_UID", "1000"), ("SLURM_JOB_GPUS", "0,1")):
        monkeypatch.setenv(name, value)
    module.wanted = dict(module.DEFAULTS, records="/records")
    return module


def records(tmp_path):
    return [json.loads(line) for path in sorted((tmp_path / "records").glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_a_job_on_a_host_without_nvidias_programs_leaves_a_record(job, tmp_path):
    assert job.prolog("slurm", job.wanted) == 0
    assert records(tmp_path) == [] and (tmp_path / "records/running/17.json").exists()
    assert job.epilog("slurm", job.wanted) == 0
    (record,) = records(tmp_path)
    assert (record["job"], record["user"], record["gpus"], record["node"], record["leftovers"]) == ("17", "alice", [0, 1], "dgx01", [])
    assert [check["check"] for check in record["checks"]] == ["devices"] and record["begin"] <= record["end"]
    assert not list((tmp_path / "records/running").iterdir())


def test_dcgm_counts_from_before_the_job_to_its_end(job, tmp_path):
    job.answers = {
        "nvidia-smi --query-gpu=index,pci.bus_id --": (0, "0, 00000000:07:00.0\n1, 00000000:0F:00.0"),
        "nvidia-smi": (0, "0, 00000000:07:00.0, 0, No\n1, 00000000:0F:00.0, [N/A], [N/A]"),
        "dcgmi diag": (0, DIAG.format("Pass")),
        "dcgmi group -c": (0, 'Successfully created group "job-17" with a group ID of 5'),
        "dcgmi stats -v": (0, STATISTICS),
        "dcgmi": (0, ""),
    }
    assert job.prolog("slurm", job.wanted) == 0
    # Device files 0 and 1 are the GPUs 1 and 0 of DCGM, which counts in PCI order.
    assert [line for line in job.asked if line.startswith("dcgmi")] == [
        "dcgmi diag -r 1 -i 1,0", "dcgmi group -c job-17 -a 1,0", "dcgmi stats -g 5 -e", "dcgmi stats -g 5 -s 17"]
    job.asked.clear()
    assert job.epilog("slurm", job.wanted) == 0
    assert job.asked == ["dcgmi stats -x 17", "dcgmi stats -v -j 17", "dcgmi stats -r 17", "dcgmi group -d 5"]
    (record,) = records(tmp_path)
    assert record["statistics"] == [
        {"gpu": 0, "Start Time": "Mon Nov 23 06:00:00 2026", "Energy Consumed (Joules)": "1437"}, {"gpu": 1, "Energy Consumed (Joules)": "20"}]


@pytest.mark.parametrize(("answers", "said"), [
    ({"nvidia-smi": (15, "Unable to determine the device handle for GPU 0000:07:00.0: GPU is lost.")}, "nvidia-smi: Unable to determine.*GPU is lost"),
    ({"nvidia-smi": (124, "no answer in 60 s")}, "nvidia-smi: no answer in 60 s"),
    ({"nvidia-smi": (0, "0, 00000000:07:00.0, 3, No")}, "GPU 0 .*: 3 uncorrectable ECC errors"),
    ({"nvidia-smi": (0, "0, 00000000:07:00.0, 0, Yes")}, "GPU 0 .*: memory pages wait for a reboot"),
    ({"nvidia-smi": (0, "Failed to initialize NVML")}, "nvidia-smi: Failed to initialize NVML"),
    ({"dcgmi diag": (226, DIAG.format("Fail"))}, "dcgmi diag -r 1: PCIe Fail - All"),
    ({"dcgmi diag": (0, DIAG.format("Fail"))}, "dcgmi diag -r 1: PCIe Fail - All"),
])
def test_a_sick_gpu_keeps_the_job_away_and_the_reason_is_told(job, tmp_path, answers, said, capsys):
    job.answers = answers
    assert job.prolog("slurm", job.wanted) == 1
    (record,) = records(tmp_path)
    assert job.re.search(said, record["refused"]) and job.re.search(said, capsys.readouterr().err)
    # Slurm runs the epilog all the same: no second record.
    assert job.epilog("slurm", job.wanted) == 0 and len(records(tmp_path)) == 1
    # The next look between jobs finds nothing itself, but knows what the prolog found, once.
    job.answers = {"sinfo": (0, "drained|Prolog error"), "scontrol": (0, "")}
    job.health("slurm", job.wanted)
    assert job.re.search("scontrol update NodeName=dgx01 State=DRAIN Reason=dgxops.fleet health: " + said, job.asked[-1])
    job.asked.clear()
    job.health("slurm", job.wanted)
    assert not [line for line in job.asked if line.startswith("scontrol")]


def test_what_a_prolog_found_does_not_take_out_a_node_that_was_repaired_since(job, tmp_path):
    (tmp_path / "dev/nvidia1").unlink()
    assert job.prolog("slurm", job.wanted) == 1
    (tmp_path / "dev/nvidia1").touch()
    job.answers = {"sinfo": (0, "idle|none"), "scontrol": (0, "")}
    assert job.health("slurm", job.wanted) == 0
    assert not [line for line in job.asked if line.startswith("scontrol")]


@pytest.mark.parametrize("answers", [
    {"dcgmi": (255, "Error: unable to establish a connection to the specified host: localhost")},
    {"nvidia-smi": (0, "0, 00000000:07:00.0, [N/A], [N/A]"), "dcgmi": (1, "")},
])
def test_a_dcgm_that_does_not_answer_stops_no_job(job, tmp_path, answers):
    job.answers = answers
    assert job.prolog("slurm", job.wanted) == 0 and job.epilog("slurm", job.wanted) == 0
    assert "statistics" not in records(tmp_path)[0]


def test_a_device_that_is_gone_is_found(job, tmp_path):
    (tmp_path / "dev/nvidia1").unlink()
    assert job.prolog("slurm", job.wanted) == 1 and records(tmp_path)[0]["refused"] == "there is no device /dev/nvidia1"


def test_a_job_without_gpus_is_not_stopped_by_them(job, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_GPUS")
    (tmp_path / "dev/nvidia1").unlink()
    assert job.prolog("slurm", job.wanted) == 0
    assert job.prolog("slurm", dict(job.wanted, whole_nodes=True)) == 1


def test_dcgm_does_not_count_other_jobs_gpus_for_a_job_without_any(job, monkeypatch):
    job.answers = {"dcgmi": (0, "Successfully created group with a group ID of 5")}
    monkeypatch.delenv("SLURM_JOB_GPUS")
    assert job.prolog("slurm", job.wanted) == 0
    assert not [line for line in job.asked if line.startswith("dcgmi")]
    monkeypatch.setenv("JOB_ID", "18")  # Grid Engine may share out no GPUs, and then all are everybody's
    assert job.prolog("gridengine", job.wanted) == 0
    assert "dcgmi group -c job-18 --default" in job.asked


def test_own_checks_speak_in_their_first_line(job, tmp_path):
    job.answers = {"/opt/check": (3, "\nfan 2 stands still\nmore")}
    assert job.prolog("slurm", dict(job.wanted, checks=[["/opt/check", "--all"]])) == 1
    assert records(tmp_path)[0]["refused"] == "/opt/check: fan 2 stands still"


def test_a_reason_that_is_there_is_not_written_over_and_over(job, tmp_path):
    (tmp_path / "dev/nvidia0").unlink()
    job.answers = {"sinfo": (0, "drained|dgxops.fleet health: there is no device /dev/nvidia0")}
    assert job.health("slurm", job.wanted) == 0
    assert not [line for line in job.asked if line.startswith("scontrol")]


def test_a_full_disk_stops_no_job(job, tmp_path):
    (tmp_path / "records").write_text("a file where the directory should be")
    assert job.prolog("slurm", job.wanted) == 0 and job.epilog("slurm", job.wanted) == 0


def test_records_of_old_months_go(job, tmp_path):
    (tmp_path / "records").mkdir()
    for month in range(1, 5):
        (tmp_path / "records/jobs-2020-{0:02d}.jsonl".format(month)).write_text("{}\n")
    job.epilog("slurm", dict(job.wanted, keep_months=2))
    this = "jobs-{0}.jsonl".format(time.strftime("%Y-%m", time.gmtime()))
    assert [path.name for path in sorted((tmp_path / "records").glob("*.jsonl"))] == ["jobs-2020-04.jsonl", this]


@pytest.mark.parametrize("place", [
    "sys/fs/cgroup/freezer/slurm/uid_1000/job_17/step_0", "sys/fs/cgroup/memory/slurm_dgx01/uid_1000/job_17",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_17/step_0/user/task_0", "sys/fs/cgroup/system.slice/dgx01_slurmstepd.scope/job_17",
    "sys/fs/cgroup/hpc.slice/slurmstepd.scope/job_17/step_extern",
])
def test_only_processes_in_the_jobs_own_group_are_ended(job, tmp_path, place):
    others = ["sys/fs/cgroup/freezer/slurm/uid_1000/job_170", "sys/fs/cgroup/freezer/slurm/uid_1001/job_17", "sys/fs/cgroup/memory/slurm_dgx02/uid_1000/job_17",
              "sys/fs/cgroup/system.slice/dgx02_slurmstepd.scope/job_17", "sys/fs/cgroup/freezer/user.slice/uid_1000/job_17"]
    mine, not_mine = (subprocess.Popen(["sleep", "60"]) for _time in range(2))
    try:
        for path, process in [(place, mine)] + [(other, not_mine) for other in others]:
            (tmp_path / path).mkdir(parents=True, exist_ok=True)
            (tmp_path / path / "cgroup.procs").write_text("{0}\n".format(process.pid))
            (tmp_path / "proc/{0}".format(process.pid)).mkdir(exist_ok=True)
            (tmp_path / "proc/{0}/comm".format(process.pid)).write_text("sleep\n")
        assert job.end_leftovers(job.job_of("slurm", os.environ), patience=0.2) == ["sleep"]
        assert mine.wait(5) != 0 and not_mine.poll() is None
    finally:
        for process in (mine, not_mine):
            process.kill()
            process.wait()


@pytest.mark.parametrize(("text", "said"), [
    ("", "cannot be read"), ("[]", "it holds no settings"), ("{", "cannot be read"),
    ('{"timeout": "soon", "checks": {}, "dcgm_level": 0}', "has checks, timeout wrong"),
])
def test_settings_that_somebody_broke_take_no_node_out(job, tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.setattr(job, "SETTINGS", str(tmp_path / "job.json"))
    (tmp_path / "job.json").write_text(text)
    assert (job.settings()["timeout"], job.settings()["checks"]) == (60, [])
    assert job.settings()["dcgm_level"] == (0 if "dcgm_level" in text else 1)
    assert said in capsys.readouterr().err


def test_records_that_somebody_broke_are_passed_over(job, tmp_path):
    wanted = dict(job.DEFAULTS, records="/records")
    (tmp_path / "records/running").mkdir(parents=True)
    this = tmp_path / "records" / "jobs-{0}.jsonl".format(time.strftime("%Y-%m", time.gmtime()))
    this.write_text("5\n[]\n{\n")
    assert job.epilog("slurm", wanted) == 0
    (tmp_path / "records/running/17.json").write_text("[]")
    assert job.epilog("slurm", wanted) == 0
    assert [json.loads(line)["job"] for line in this.read_text().splitlines()[3:]] == ["17", "17"]


@pytest.mark.parametrize(("owner", "ended"), [(-1, {}), (0, {1: "slurmstepd"})])
def test_slurms_own_processes_are_left_alone_and_a_users_of_that_name_are_not(job, tmp_path, monkeypatch, owner, ended):
    monkeypatch.setenv("SLURM_JOB_UID", str(os.stat(str(tmp_path)).st_uid - owner))
    place = tmp_path / "sys/fs/cgroup/freezer/slurm/uid_{0}/job_17".format(os.environ["SLURM_JOB_UID"])
    place.mkdir(parents=True)
    (place / "cgroup.procs").write_text("1\n")
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/comm").write_text("slurmstepd\n")
    assert job.left_behind(job.job_of("slurm", os.environ)) == ended


@pytest.mark.parametrize(("scheduler", "environment", "expected"), [
    ("slurm", {"SLURM_JOB_ID": "5", "SLURM_JOB_GPUS": "2,3"}, ("5", [2, 3])),
    ("gridengine", {"JOB_ID": "5", "SGE_TASK_ID": "undefined", "SGE_HGR_gpu": "0 1"}, ("5", [0, 1])),
    ("gridengine", {"JOB_ID": "5", "SGE_TASK_ID": "7"}, ("5.7", [])),
    ("pbs", {"PBS_JOBID": "5.server", "CUDA_VISIBLE_DEVICES": "1"}, ("5.server", [1])),
    ("pbs", {"PBS_JOBID": "5[3].server"}, ("5[3].server", [])),
    ("lsf", {"LSB_JOBID": "5", "LSB_JOBINDEX": "0", "CUDA_VISIBLE_DEVICES": "GPU-8f6a"}, ("5", [])),
])
def test_each_scheduler_says_which_job_it_is_in_its_own_words(job, scheduler, environment, expected):
    found = job.job_of(scheduler, environment)
    assert (found["job"], found["gpus"]) == expected


def test_a_scheduler_that_tells_no_uid_has_it_looked_up(job):
    assert job.job_of("pbs", {"PBS_JOBID": "5.server", "USER": "root"})["uid"] == "0"
    assert job.job_of("pbs", {"PBS_JOBID": "5.server", "USER": "nobody-here"})["uid"] == ""


def test_a_user_takes_no_node_out_by_asking_for_a_gpu_that_there_is_not(job, monkeypatch, tmp_path):
    for name, value in (("JOB_ID", "5"), ("USER", "alice"), ("SGE_HGR_gpu", "1 99")):
        monkeypatch.setenv(name, value)
    assert job.prolog("gridengine", job.wanted) == 0 and job.epilog("gridengine", job.wanted) == 0
    assert records(tmp_path)[0]["gpus"] == [1]


def test_programs_that_root_runs_do_not_see_what_a_user_wrote_into_his_jobs_environment(job):
    seen = job.clean({"LD_PRELOAD": "/home/alice/x.so", "PYTHONPATH": "/home/alice", "PATH": "/home/alice/bin", "HOME": "/home/alice", "BASH_ENV": "x",
                      "JOB_ID": "5", "SLURM_JOB_GPUS": "0", "USER": "alice"})
    assert "alice" not in " ".join(value for name, value in seen.items() if name != "USER")
    assert (seen["JOB_ID"], seen["SLURM_JOB_GPUS"], seen["USER"], "LD_PRELOAD" in seen, "BASH_ENV" in seen) == ("5", "0", "alice", False, False)


@pytest.mark.parametrize("number", ["", "../../etc/passwd", "5; rm"])
def test_what_is_no_job_is_said_and_passed_over(job, number, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", number)
    assert job.main(["prolog"]) == 0 and "does not say which job" in capsys.readouterr().err


def test_the_program_runs_by_itself(tmp_path):
    done = subprocess.run([sys.executable, str(PROGRAM), "prolog", "nobody"], stderr=subprocess.PIPE, universal_newlines=True, check=False)
    assert done.returncode == 0 and "expected is one of epilog, health, prolog" in done.stderr
