# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real NVIDIA GPU with its driver: what the collection reads of it, beside what nvidia-smi says. Where there is none, there is nothing to install."""
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_host
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_history import PLACE, History
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm_run import Order, Settings, examine, run_and_keep
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.gpu_checks import first_busy
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_lines import gres_lines
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import node_of, type_of
from ansible_collections.dgxops.fleet.plugins.module_utils.host.facts import gather
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs

pytestmark = pytest.mark.skipif(not (os.path.exists("/dev/nvidiactl") and shutil.which("nvidia-smi")), reason="this machine has no NVIDIA GPU with a driver")
JOB = Path(__file__).parents[2] / "roles/slurm_gpu/files/job.py"


def ask(*fields):
    """Rows of what nvidia-smi says of the GPUs, in its own order."""
    argv = ["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits"]
    said = subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout
    return [[cell.strip() for cell in row] for row in csv.reader(said.splitlines())]


def in_full(bus_id):
    """``00000000:07:00.0`` of nvidia-smi as the kernel writes it."""
    return bus_id.lower()[4:] if bus_id.startswith("0000") else bus_id.lower()


@pytest.fixture
def root(tmp_path):
    """This host's kernel, and a history of its own."""
    for name in ("proc", "sys", "dev"):
        (tmp_path / name).symlink_to("/" + name)
    return str(tmp_path)


@pytest.fixture
def job(root, tmp_path):
    """The program that schedulers run before and after a job, with records of its own; nvidia-smi is where DGX OS has it."""
    program = tmp_path / "job.py"
    program.write_text(JOB.read_text().replace('ROOT = "/"', "ROOT = {0!r}".format(root), 1))
    (tmp_path / "job.json").write_text(json.dumps({"records": "/records"}))
    (tmp_path / "run").mkdir()

    def run(act, gpus):
        variables = {"SLURM_JOB_ID": "17", "SLURM_JOB_USER": "alice", "SLURM_JOB_UID": "1000", "SLURM_JOB_GPUS": gpus}
        return subprocess.run([sys.executable, "-I", str(program), act], env=dict(os.environ, **variables), stderr=subprocess.PIPE, check=False, text=True)

    return run


def test_the_facts_have_the_gpus_that_nvidia_smi_has():
    asked = {in_full(address): name for address, name in ask("pci.bus_id", "name")}
    assert {gpu.pci: gpu.name for gpu in gather().topology.gpus} == asked


def test_the_device_files_are_those_that_slurm_is_told():
    topology, minors = gather().topology, slurm_host.read_minors(Sysfs("/"))
    node = node_of(topology, minors, memory_kib=slurm_host.read_memory(Sysfs("/")))
    assert sorted(minors) == sorted(in_full(address) for address, in ask("pci.bus_id"))
    assert all(os.path.exists("/dev/nvidia{0}".format(gpu.minor)) for gpu in node.gpus)
    assert slurm_host.missing_files(Sysfs("/"), list(node.gpus)) == []
    assert {gpu.type for gpu in node.gpus} == {type_of(name) for name, in ask("name")}
    assert [line for line in gres_lines({"here": node}) if "File=/dev/nvidia" in line]


def test_the_health_is_read_without_dcgm(root):
    run = examine(Order(backend="nvidia_smi"))
    assert run.status in ("pass", "warn"), run
    assert {result.gpu for result in run.diagnosis.results} == {str(minor) for minor in slurm_host.read_minors(Sysfs("/")).values()}
    assert run.diagnosis.driver == ask("driver_version")[0][0]


def test_the_kernel_alone_tells_of_the_same_gpus():
    run = examine(Order(backend="kernel"))
    assert run.status in ("pass", "warn"), run
    assert {result.gpu for result in run.diagnosis.results} == {in_full(address) for address, in ask("pci.bus_id")}
    assert run.diagnosis.driver == ask("driver_version")[0][0]


def test_the_history_remembers_a_run(root):
    run, told = run_and_keep(Order(backend="nvidia_smi"), Settings(), root)
    latest = History(os.path.join(root, PLACE)).latest()
    assert (told, [one["status"] for one in latest], latest[0]["backend"]) == ("", [run.status], "nvidia_smi")


def test_a_process_on_a_gpu_is_seen_while_it_is_there():
    device = "/dev/nvidia{0}".format(min(slurm_host.read_minors(Sysfs("/")).values()))
    code = "import sys; held = open({0!r}, 'rb'); print('held', flush=True); sys.stdin.read()".format(device)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        who = first_busy()
        holder.stdin.close()
    assert who and device in who
    assert "process {0} ".format(holder.pid) not in (first_busy() or "")


def test_a_job_on_a_well_gpu_starts_and_leaves_a_record(job, tmp_path):
    minor = str(min(slurm_host.read_minors(Sysfs("/")).values()))
    assert (job("prolog", minor).returncode, job("epilog", minor).returncode) == (0, 0)
    record = json.loads(next((tmp_path / "records").glob("jobs-*.jsonl")).read_text())
    assert (record["job"], record["user"], record["gpus"]) == ("17", "alice", [int(minor)])
    assert [(check["check"], check["problem"]) for check in record["checks"]][:2] == [("devices", ""), ("nvidia-smi", "")]


def test_a_job_does_not_start_on_a_gpu_that_is_not_there(job):
    done = job("prolog", "97")
    assert done.returncode == 1
    assert "there is no device /dev/nvidia97" in done.stderr
