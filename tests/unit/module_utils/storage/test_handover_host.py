# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading a host and carrying out on it: nothing is lost if it is cut short, and files come back to the byte."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.iommu import Function
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover import Guest
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover_back import decide_back
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover_change import decide
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.handover_host import Host, carry_out, read, read_record

from .lab_handover import CONF, FSTAB, guest, host, stopped, wish
from .lab_md import host as recorded_host

MEMBERS = ["S1", "S2", "S3"]


class Programs(Commands):
    """Remembers what was run, and fails where it is told to."""

    def __init__(self, fails=""):
        super().__init__()
        self.fails, self.ran = fails, []

    def run(self, argv, timeout=None, text_in=None):
        self.ran.append(" ".join(argv))
        return Result(1, "", "cut short") if self.fails and self.fails in self.ran[-1] else Result(0, "", "")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc" / "mdadm").mkdir(parents=True)
    (tmp_path / "etc" / "mdadm" / "mdadm.conf").write_text(CONF)
    (tmp_path / "etc" / "fstab").write_text(FSTAB)
    (tmp_path / "etc" / "fstab").chmod(0o640)
    return tmp_path


ASKED = wish(guest(nvme=["S1"]), guest("vm2", drives=[{"drive": "S2"}]), arrays=["md1"], wipe=["S1", "S2"])


def test_the_array_goes_first_then_the_files_then_the_drives(root):
    programs = Programs()
    carry_out(decide(ASKED, host()), Host(programs, str(root)))
    assert [line.split()[0] for line in programs.ran] == [
        "umount", "mdadm", "systemctl", "wipefs", "udevadm", "sfdisk", "udevadm", "mkfs.ext4", "update-initramfs"
    ]  # fmt: skip
    assert "<ignore>" in (root / "etc" / "mdadm" / "mdadm.conf").read_text()
    assert "# set aside" in (root / "etc" / "fstab").read_text()


def test_files_come_back_to_the_byte_with_their_mode_and_the_record_goes(root):
    there = Host(Programs(), str(root))
    carry_out(decide(wish(guest(nvme=MEMBERS), arrays=["md1"], wipe=MEMBERS), host()), there)
    record = read_record(there)
    place = there.path("var/backups/dgxops/kvm_passthrough/record.json")
    assert os.stat(place).st_mode & 0o777 == 0o600
    now = stopped(host())._replace(
        record=record, conf=(root / "etc" / "mdadm" / "mdadm.conf").read_text(), fstab=(root / "etc" / "fstab").read_text()
    )
    carry_out(decide_back([], now, False), there)
    assert (root / "etc" / "mdadm" / "mdadm.conf").read_text() == CONF and (root / "etc" / "fstab").read_text() == FSTAB
    assert (root / "etc" / "fstab").stat().st_mode & 0o777 == 0o640
    assert read_record(there) is None


@pytest.mark.parametrize("where", ["umount", "--stop", "wipefs", "sfdisk", "mkfs", "update-initramfs"])
def test_wherever_it_is_cut_short_the_array_is_remembered_and_nothing_counts_as_given(root, where):
    there = Host(Programs(where), str(root))
    with pytest.raises(FleetError, match="cut short"):
        carry_out(decide(ASKED, host()), there)
    record = read_record(there)
    assert record.arrays[0].uuid and record.conf_before == CONF and record.fstab_before == FSTAB and record.initramfs
    assert [one.ready for one in record.given] == [False, False]
    if where == "umount":
        assert (root / "etc" / "fstab").read_text() == FSTAB, "what could not be unmounted is left as it was"


def test_a_check_leaves_no_record(root):
    assert read_record(Host(Programs(), str(root))) is None and not (root / "var").exists()


def test_a_real_host_is_read_with_its_arrays_and_who_uses_them(tmp_path):
    """As recorded in the lab's machine: md127 of four NVMe drives."""
    there = recorded_host("healthy", tmp_path)
    array_mounts = [line for line in (there.text("proc/self/mountinfo") or "").splitlines() if "/dev/md127" in line]
    where = array_mounts[0].split()[4]
    for pid, name, target in (("77", "fio", where + "/data"), ("78", "sh", "/root")):
        (tmp_path / "proc" / pid / "fd").mkdir(parents=True)
        (tmp_path / "proc" / pid / "comm").write_text(name + "\n")
        (tmp_path / "proc" / pid / "fd" / "3").symlink_to(target)
    asked = wish(guest(nvme=["S3HCNX0K400002"]), arrays=["md127"], wipe=["S3HCNX0K400002"])
    found = read(Host(Quiet(there.commands), str(tmp_path), busy=lambda device: False), [Guest("vm1")], None, asked)
    array = next(one for one in found.arrays if one.device == "md127")
    assert array.mounts[0].path == where
    assert "fio (process 77)" in found.users["md127"] and not any("process 78" in user for user in found.users["md127"])
    # The recording has no PCI functions.
    pcis = sorted({drive.pci for drive in found.drives if drive.pci})
    functions = {pci: Function(pci, "0108", str(number), "nvme") for number, pci in enumerate(pcis)}
    with pytest.raises(FleetError, match=r"is used by .*fio \(process 77\)"):
        decide(asked, found._replace(functions=functions, nvme=tuple(functions)))


class Quiet(Commands):
    """The recorded answers; whatever else is asked finds nothing."""

    def __init__(self, recorded):
        super().__init__()
        self.recorded = recorded

    def run(self, argv, timeout=None, text_in=None):
        answers = self.recorded.answers
        return answers.get(tuple(argv), Result(0, "", ""))


def test_the_other_name_space_of_an_nvme_drive_is_looked_at_too(tmp_path):
    """The guest gets both, whichever of them was named."""
    for name, serial in (("nvme4n1", "S4"), ("nvme4n2", "S4"), ("nvme5n1", "S5")):
        place = tmp_path / "sys/devices/pci0000:00/0000:00:0{0}.0/nvme/{1}/{2}".format(name[4], name[:5], name)
        place.mkdir(parents=True)
        (place / "size").write_text("8000000")
        (place.parent / "serial").write_text(serial)
        for directory, target in (("sys/block", place), ("sys/class/block", place), ("sys/class/nvme", place.parent)):
            link = tmp_path / directory / target.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(str(target), str(link.parent)))
    (tmp_path / "dev/disk/by-id").mkdir(parents=True)
    (tmp_path / "dev/disk/by-id/nvme-M_S4_1").symlink_to("../../nvme4n1")
    programs = Programs()
    found = read(Host(programs, str(tmp_path), lambda name: False), [Guest("vm1")], None, wish(guest(nvme=["nvme-M_S4_1"])))
    assert sorted(found.contents) == ["nvme4n1", "nvme4n2"]
