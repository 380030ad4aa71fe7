"""GPUs without DCGM, and who has them. The XML is a shortened one of a DGX A100, written in November 2026 after NVIDIA's nvsmi_device_v12.dtd."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.gpu_checks import by_kernel, by_nvidia_smi, first_busy
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>535.183.01</driver_version>
  <attached_gpus>{attached}</attached_gpus>
  <gpu id="00000000:07:00.0">
    <minor_number>3</minor_number>
    <pci><pci_gpu_link_info><link_widths><max_link_width>16x</max_link_width><current_link_width>{width}</current_link_width></link_widths></pci_gpu_link_info></pci>
    <clocks_event_reasons><clocks_event_reason_hw_thermal_slowdown>{thermal}</clocks_event_reason_hw_thermal_slowdown></clocks_event_reasons>
    <ecc_errors><volatile><sram_correctable>5</sram_correctable><sram_uncorrectable>0</sram_uncorrectable><dram_uncorrectable>{ecc}</dram_uncorrectable></volatile>
      <aggregate><dram_uncorrectable>9</dram_uncorrectable></aggregate></ecc_errors>
    <retired_pages><pending_retirement>N/A</pending_retirement></retired_pages>
    <remapped_rows><remapped_row_pending>{pending}</remapped_row_pending><remapped_row_failure>{failure}</remapped_row_failure></remapped_rows>
    <fan_speed>{fan}</fan_speed>
  </gpu>
</nvidia_smi_log>
"""
WELL = {"attached": "1", "width": "16x", "thermal": "Not Active", "ecc": "0", "pending": "No", "failure": "No", "fan": "N/A"}


def test_a_gpu_that_is_well():
    found = by_nvidia_smi(XML.format(**WELL))
    assert (found.status, found.driver) == ("pass", "535.183.01")
    assert {result.gpu for result in found.results} == {"3"}


@pytest.mark.parametrize("what, test, status, words", [
    ({"ecc": "2"}, "Memory errors", "fail", "2 uncorrectable errors"),
    ({"pending": "Yes"}, "Memory repair", "warn", "waits for a reset"),
    ({"failure": "Yes"}, "Memory repair", "fail", "replace the GPU"),
    ({"width": "8x"}, "PCIe", "warn", "8 lanes of 16"),
    ({"thermal": "Active"}, "Slowdown", "warn", "hw_thermal_slowdown"),
    ({"fan": "ERR!"}, "Driver", "fail", "fan_speed = ERR!"),
    ({"attached": "2"}, "GPUs", "fail", "counts 2 GPUs, but shows 1"),
])
def test_a_gpu_that_is_ill(what, test, status, words):
    problems = by_nvidia_smi(XML.format(**dict(WELL, **what))).problems
    assert [(result.test, result.status) for result in problems] == [(test, status)]
    assert words in problems[0].messages[0]


def test_an_old_card_counts_double_bit_errors():
    text = "<nvidia_smi_log><gpu><ecc_errors><volatile><single_bit><total>4</total></single_bit><double_bit><device_memory>1</device_memory><total>1</total>" \
        "</double_bit></volatile></ecc_errors></gpu></nvidia_smi_log>"
    assert [result.messages for result in by_nvidia_smi(text).problems] == [("1 uncorrectable errors since the driver was loaded.",)]


def test_no_gpu_is_a_fault_and_no_xml_a_sentence():
    assert by_nvidia_smi("<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>").status == "fail"
    with pytest.raises(FleetError, match="couldn't communicate with the NVIDIA driver"):
        by_nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")


class Host:
    """Files of a host below a directory of the test."""

    def __init__(self, path):
        self.path = path
        self.root = str(path)

    def write(self, path, text):
        place = self.path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")

    def gpu(self, address, driver="nvidia", width="16", known=True):
        base = "sys/bus/pci/devices/" + address
        files = {"vendor": "0x10de", "class": "0x030200", "current_link_width": width, "max_link_width": "16", "aer_dev_fatal": "TOTAL_ERR_FATAL 0"}
        for name, text in files.items():
            self.write(base + "/" + name, text)
        if driver:
            (self.path / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            os.symlink(str(self.path / "sys/bus/pci/drivers" / driver), str(self.path / base / "driver"))
        if known:
            self.write("proc/driver/nvidia/gpus/{0}/information".format(address), "Model: x")

    def process(self, pid, name, target):
        self.write("proc/{0}/comm".format(pid), name)
        (self.path / "proc/{0}/fd".format(pid)).mkdir()
        os.symlink(target, str(self.path / "proc/{0}/fd/3".format(pid)))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_what_the_kernel_knows(host):
    host.gpu("0000:07:00.0")
    host.gpu("0000:0a:00.0", width="4")
    host.gpu("0000:0b:00.0", driver="", known=False)
    host.gpu("0000:85:00.0", driver="vfio-pci", known=False)
    host.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x8086")
    host.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12")
    found = by_kernel(host.root)
    assert found.driver == "535.183.01"
    assert [(result.test, result.gpu, result.status) for result in found.problems] == [("PCIe", "0000:0a:00.0", "warn"), ("Driver", "0000:0b:00.0", "fail")]
    assert not [result for result in found.results if result.gpu == "0000:85:00.0"], "a guest looks after its own"


def test_a_host_without_gpus_has_nothing_to_tell(tmp_path):
    assert by_kernel(str(tmp_path)).status == "skip"


def test_who_has_the_gpus(host):
    host.process(10, "nv-hostengine", "/dev/nvidia0")
    host.process(11, "bash", "/dev/nvidiactl")
    host.process(12, "exporter", "/dev/nvidia1")
    assert first_busy(host.root) == "process 12 (exporter), which has /dev/nvidia1 open"
    assert first_busy(host.root, ("exporter",)) is None


@pytest.mark.parametrize("group", ["system.slice/slurmstepd.scope/job_17", "system.slice/dgx01_slurmstepd.scope/job_17", "devices/slurm/uid_1000/job_17",
                                   "cpuset/slurm_dgx01/uid_1000/job_17", "hpc.slice/hpc-jobs.slice/slurmstepd.scope/job_17"])
def test_a_job_of_slurm_counts_before_it_has_opened_anything(host, group):
    (host.path / "sys/fs/cgroup" / group).mkdir(parents=True)
    assert first_busy(host.root) == "Slurm job 17"


def test_a_job_counts_by_whatever_number_slurm_26_05_names_its_group(host):
    """src/common/sluid.c: an s and 13 digits of Crockford's Base32. Below the scope there is Slurm's own group too, which is no job."""
    (host.path / "sys/fs/cgroup/system.slice/slurmstepd.scope/system").mkdir(parents=True)
    assert first_busy(host.root) is None
    (host.path / "sys/fs/cgroup/system.slice/slurmstepd.scope/s1DHN8R4ZQK0W0").mkdir(parents=True)
    assert first_busy(host.root) == "Slurm job s1DHN8R4ZQK0W0"
