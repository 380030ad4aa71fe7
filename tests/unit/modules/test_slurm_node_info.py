# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module slurm_node_info as a playbook meets it, and what it asks of slurmd and the driver."""
import os
from unittest import mock

import pytest
import yaml

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_host
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import AS_FOUND, node_of
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.modules import slurm_node_info
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree
from ansible_collections.dgxops.fleet.tests.unit.module_utils.kvm import hosts
from ansible_collections.dgxops.fleet.tests.unit.modules.run_module import run_module

#: In the form in which _print_config() of src/slurmd/slurmd/slurmd.c writes it.
SLURMD_C = "NodeName=dgx01 CPUs=96 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=2 RealMemory=1546569\nUpTime=3-04:05:06\n"


@pytest.fixture
def dgx_2(tmp_path):
    """A DGX-2 whose driver numbered the GPUs backwards within each half of the machine."""
    root = str(tmp_path / "dgx-2")
    minors = [7 - at if at < 8 else 23 - at for at in range(16)]
    sysfs_tree.write(sysfs_tree.dgx_2()._replace(minors=minors), root)
    os.makedirs(os.path.join(root, "dev"), exist_ok=True)
    for minor in minors:
        if minor != 15:
            open(os.path.join(root, "dev/nvidia{0}".format(minor)), "w").close()
    return root


def test_a_node_gets_its_lines(dgx_2):
    answer = run_module(slurm_node_info.main, {"root": dgx_2, "name": "dgx01"})
    assert answer["node_line"] == (
        "NodeName=dgx01 CPUs=96 Boards=1 SocketsPerBoard=2 CoresPerSocket=24 ThreadsPerCore=2 RealMemory=1545216 Gres=gpu:v100:16 State=UNKNOWN")
    assert answer["gres_lines"] == [
        "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[0-7] Cores=0-23", "NodeName=dgx01 Name=gpu Type=v100 File=/dev/nvidia[8-15] Cores=24-47"]
    assert answer["gpu_minors"]["0000:34:00.0"] == 7
    assert (answer["changed"], answer["slurmd"], answer["cgroup"]) == (False, None, 1)
    assert any("does not start without the device files /dev/nvidia15" in str(warning) for warning in answer["warnings"])


def test_check_mode_answers_the_same(dgx_2):
    assert run_module(slurm_node_info.main, {"root": dgx_2}, check=True)["node"] == run_module(slurm_node_info.main, {"root": dgx_2})["node"]


def test_the_documentation_names_all_that_is_returned(dgx_2):
    told = yaml.safe_load(slurm_node_info.RETURN)
    answer = run_module(slurm_node_info.main, {"root": dgx_2})
    assert set(told) == set(answer) - {"changed", "warnings", "invocation"}
    assert set(told["node"]["contains"]) == set(answer["node"])
    assert set(told["slurmd"]["sample"]) == set(slurm_host.Hardware._fields) | {"version"}
    assert set(yaml.safe_load(slurm_node_info.DOCUMENTATION)["options"]) == set(slurm_node_info.ARGUMENTS)


def test_a_node_that_its_slurmd_sees_otherwise_is_refused_with_both_sides():
    """On a real root, slurmd is asked: here one that says it is on a DGX-2."""
    slurmd = slurm_host.Slurmd("22.05.8", slurm_host.hardware_of(SLURMD_C.replace("CPUs=96", "CPUs=4096")))
    with mock.patch.object(slurm_host, "ask_slurmd", return_value=slurmd):
        answer = run_module(slurm_node_info.main, {"reserved_memory_mib": 1})
    assert answer["failed"] and "slurmd counts 4096" in answer["msg"] and answer["slurmd"]["version"] == "22.05.8" and answer["node"]["cpus"]


def test_a_root_without_sysfs_fails_in_words(tmp_path):
    answer = run_module(slurm_node_info.main, {"root": str(tmp_path)})
    assert answer["failed"] and "No CPU was found" in answer["msg"]


def test_slurmd_is_asked_once_and_a_host_without_it_is_none():
    commands = Recorded({("slurmd", "-V"): Result(0, "slurm-wlm 22.05.8\n", ""), ("slurmd", "-C"): Result(0, SLURMD_C, "")})
    assert slurm_host.ask_slurmd(commands).to_dict() == {
        "version": "22.05.8", "cpus": 96, "sockets": 2, "cores_per_socket": 24, "threads_per_core": 2, "real_memory_mib": 1546569}
    assert slurm_host.ask_slurmd(Recorded({})) is None
    with pytest.raises(FleetError, match="slurmd -C failed with status 1"):
        slurm_host.ask_slurmd(Recorded({("slurmd", "-V"): Result(0, "slurm 25.11.0\n", ""), ("slurmd", "-C"): Result(1, "", "fatal: no\n")}))


def test_boards_multiply_sockets_and_half_an_answer_is_refused():
    assert slurm_host.hardware_of(SLURMD_C.replace("Boards=1", "Boards=2")).sockets == 4
    for text in ("", "slurmd: error", SLURMD_C.replace("CoresPerSocket=24", "CoresPerSocket=")):
        with pytest.raises(FleetError, match="slurmd -C was expected to print"):
            slurm_host.hardware_of(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"cpus": 48, "threads_per_core": 1}, "CPUs 96, slurmd counts 48; threads per core 2, slurmd counts 1"),
        ({"real_memory_mib": 1000}, "MiB of memory, slurmd counts 1000"),
        ({"sockets": 4, "cores_per_socket": 12}, "takes each NUMA node for a socket: set numa_node_as_socket"),
    ])
def test_what_slurm_would_drain_the_node_for(change, said):
    hardware = slurm_host.hardware_of(SLURMD_C)._replace(**change)
    assert said in slurm_host.disagreement(node_of(hosts.dgx2()), hardware)
    assert bool(said) == bool(slurm_host.disagreement(node_of(hosts.dgx2()), hardware))


def test_with_numa_nodes_as_sockets_only_cores_are_compared():
    node = node_of(hosts.dgx_a100(), None, AS_FOUND._replace(numa_node_as_socket=True))
    hardware = slurm_host.Hardware(256, 2, 64, 2, 1 << 30)
    assert slurm_host.disagreement(node, hardware) == ""
    assert "cores 128" in slurm_host.disagreement(node, hardware._replace(cores_per_socket=60))


def test_cgroup_v2_is_told_by_its_controllers(tmp_path):
    assert slurm_host.cgroup_version(Sysfs(str(tmp_path))) == 1
    os.makedirs(str(tmp_path / "sys/fs/cgroup"))
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu memory\n")
    assert slurm_host.cgroup_version(Sysfs(str(tmp_path))) == 2


def test_a_kernel_that_does_not_say_how_much_memory_it_has(tmp_path):
    assert slurm_host.read_memory(Sysfs(str(tmp_path))) == 0
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       131981020 kB\nMemFree: 1 kB\n")
    assert slurm_host.read_memory(Sysfs(str(tmp_path))) == 131981020


def test_a_gpu_that_is_divided_is_told(dgx_2):
    """NVIDIA's MIG User Guide: …/gpu3/mig/gi1/access for each instance; config and monitor are there on every GPU that could be divided."""
    for name in ("gpu3/mig/gi1/access", "gpu5/mig/config"):
        place = os.path.join(dgx_2, "proc/driver/nvidia/capabilities", name)
        os.makedirs(os.path.dirname(place))
        with open(place, "w") as handle:
            handle.write("DeviceFileMinor: 30\n")
    warnings = run_module(slurm_node_info.main, {"name": "dgx02", "root": dgx_2})["warnings"]
    assert any("these are divided (MIG), and a program uses one of the parts: /dev/nvidia3." in str(warning) for warning in warnings)


def test_a_gpu_without_a_number_has_no_device_file(tmp_path):
    for address, text in (("0000:34:00.0", "Device Minor: \t 3\n"), ("0000:36:00.0", "Model: Tesla\n")):
        os.makedirs(str(tmp_path / "proc/driver/nvidia/gpus" / address))
        (tmp_path / "proc/driver/nvidia/gpus" / address / "information").write_text(text)
    assert slurm_host.read_minors(Sysfs(str(tmp_path))) == {"0000:34:00.0": 3}
