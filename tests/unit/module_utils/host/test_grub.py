# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel parameters by way of GRUB: what reaches the boot menu and the kernel, what is refused, what an interrupted run leaves."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.grub import Wish, decide, parse_entries
from ansible_collections.dgxops.fleet.plugins.module_utils.host.grub_host import Host, carry_out, read
from ansible_collections.dgxops.fleet.tests.unit.module_utils.host.lab_grub import LabGrub

PAGES = ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=96"]
DROP_IN = "etc/default/grub.d/zz-dgxops.cfg"
RECORD = "var/backups/dgxops/kernel_cmdline/dgxops.json"


@pytest.fixture
def lab(tmp_path):
    return LabGrub(tmp_path)


def wish(*parameters, **options):
    params = {"name": "dgxops", "parameters": list(parameters), "state": "present" if parameters else "absent", "entries": "normal"}
    params.update(options)
    return Wish.from_params(params)


def look(lab, *parameters, **options):
    """What check mode says."""
    wanted = wish(*parameters, **options)
    return decide(wanted, read(wanted, Host(lab.root)))


def run(lab, *parameters, **options):
    """What the module does: read, decide, act; returns the change."""
    change = look(lab, *parameters, **options)
    carry_out(change, Host(lab.root), Commands(), lab.update_grub)
    return change


def refused(lab, *parameters, **options):
    """The words of a refusal, which must leave everything as it is."""
    runs, text = lab.runs, lab.text(DROP_IN)
    with pytest.raises(FleetError) as caught:
        run(lab, *parameters, **options)
    assert (lab.runs, lab.text(DROP_IN)) == (runs, text)
    return str(caught.value)


def test_parameters_reach_the_normal_entry_and_after_a_reboot_the_kernel(lab):
    change = run(lab, *PAGES)
    assert lab.lines() == ["quiet splash default_hugepagesz=1G hugepagesz=1G hugepages=96 $vt_handoff", "recovery nomodeset"]
    assert change.changed and change.reboot_required and [item.text for item in change.missing] == PAGES
    lab.reboot()
    again = run(lab, *PAGES)
    assert not again.changed and not again.reboot_required and not again.missing
    assert [item.text for item in again.configured] == ["quiet", "splash"] + PAGES


def test_a_second_run_does_not_run_update_grub(lab):
    run(lab, *PAGES)
    runs = lab.runs
    assert not run(lab, *PAGES).changed and lab.runs == runs


def test_check_mode_changes_nothing_and_predicts_the_line(lab):
    change = look(lab, *PAGES)
    assert change.changed and change.diff.before == "" and "hugepages=96" in change.diff.after
    assert [item.text for item in change.configured][2:] == PAGES
    assert lab.text(DROP_IN) is None and lab.text(RECORD) is None and lab.runs == 1


def test_for_all_entries_the_recovery_entry_gets_them_too(lab):
    run(lab, "cgroup_enable=memory", entries="all")
    assert lab.lines() == ["cgroup_enable=memory quiet splash $vt_handoff", "recovery nomodeset cgroup_enable=memory"]


def test_moving_from_all_entries_to_normal_ones_takes_them_off_the_recovery_entry(lab):
    run(lab, "nosmt", entries="all")
    run(lab, "nosmt")
    assert lab.lines() == ["quiet splash nosmt $vt_handoff", "recovery nomodeset"]


def test_absent_gives_the_boot_menu_back_and_asks_for_a_reboot_until_there_was_one(lab):
    before = lab.lines()
    run(lab, *PAGES)
    lab.reboot()
    assert run(lab).reboot_required
    assert lab.lines() == before and lab.text(DROP_IN) is None
    again = run(lab)
    assert not again.changed and again.reboot_required
    lab.reboot()
    assert not run(lab).reboot_required
    assert lab.text(RECORD) is None


def test_absent_before_the_reboot_needs_none(lab):
    run(lab, *PAGES)
    assert not run(lab).reboot_required


def test_a_parameter_no_longer_wanted_is_taken_off_and_asks_for_a_reboot(lab):
    run(lab, "nosmt", "intel_iommu=on")
    lab.reboot()
    change = run(lab, "intel_iommu=on")
    assert change.changed and change.reboot_required and not change.missing
    lab.reboot()
    assert not run(lab, "intel_iommu=on").reboot_required


@pytest.mark.parametrize("entries", ["normal", "all"])
def test_a_run_cut_short_before_update_grub_is_completed(lab, entries):
    change = look(lab, *PAGES, entries=entries)
    with pytest.raises(KeyboardInterrupt):
        carry_out(change, Host(lab.root), Interrupted(), lab.update_grub)
    assert lab.text(DROP_IN) and "hugepages" not in lab.lines()[0]
    assert run(lab, *PAGES, entries=entries).changed
    assert "hugepages=96" in lab.lines()[0]


def test_a_removal_cut_short_before_update_grub_is_completed(lab):
    run(lab, *PAGES)
    with pytest.raises(KeyboardInterrupt):
        carry_out(look(lab), Host(lab.root), Interrupted(), lab.update_grub)
    assert lab.text(DROP_IN) is None and "hugepages" in lab.lines()[0]
    assert run(lab).changed
    assert "hugepages" not in lab.lines()[0]


def test_a_change_cut_short_before_update_grub_is_completed(lab):
    run(lab, "nosmt", "intel_iommu=on")
    with pytest.raises(KeyboardInterrupt):
        carry_out(look(lab, "nosmt"), Host(lab.root), Interrupted(), lab.update_grub)
    assert run(lab, "nosmt").changed
    assert lab.lines()[0] == "quiet splash nosmt $vt_handoff"


class Interrupted(Commands):
    """A run that is killed at its first command."""

    def run(self, argv, timeout=None, text_in=None):
        raise KeyboardInterrupt


def test_when_update_grub_fails_the_file_goes_back_and_its_words_are_told(lab):
    run(lab, "nosmt")
    lab.put("broken", "")
    text = refused(lab, *PAGES)
    assert "the disk is on fire" in text and "The boot menu is as it was, and so is /etc/default/grub.d/zz-dgxops.cfg" in text
    os.unlink(lab.path("broken"))
    run(lab, *PAGES)
    assert lab.lines()[0] == "quiet splash default_hugepagesz=1G hugepagesz=1G hugepages=96 $vt_handoff"


def test_a_missing_update_grub_is_told(lab):
    lab.update_grub = ["/nowhere/update-grub"]
    assert "/nowhere/update-grub is not installed" in refused(lab, "nosmt")


def test_an_update_grub_that_drops_the_line_is_noticed(lab):
    lab.put("hardened", "")
    with pytest.raises(FleetError, match="the entry gnulinux-simple-1234 of /boot/grub/grub.cfg boots without nosmt"):
        run(lab, "nosmt")


def test_what_the_administrator_has_set_is_not_set_twice(tmp_path):
    lab = LabGrub(tmp_path, line="quiet intel_iommu=on hugepagesz=1G hugepages=96")
    change = run(lab, "intel_iommu=on", "hugepagesz=1G", "hugepages=96")
    assert not change.changed and lab.text(DROP_IN) is None and not change.reboot_required
    run(lab, "intel_iommu=on", "nosmt")
    assert lab.lines()[0] == "quiet intel_iommu=on hugepagesz=1G hugepages=96 nosmt $vt_handoff"


def test_another_value_of_the_administrator_is_overruled_with_a_warning(tmp_path):
    lab = LabGrub(tmp_path, line="quiet intel_iommu=off")
    (warning,) = run(lab, "intel-iommu=on").warnings
    assert warning == (
        "intel_iommu=off (/etc/default/grub, line 3) stays on the kernel command line; the kernel takes the last value, which is intel-iommu=on."
    )
    lab.reboot()
    assert not run(lab, "intel-iommu=on").reboot_required


def test_a_second_console_is_no_contradiction(tmp_path):
    lab = LabGrub(tmp_path, line="console=tty1")
    assert run(lab, "console=ttyS0,115200n8").warnings == ()
    assert lab.lines()[0].startswith("console=tty1 console=ttyS0,115200n8")


def test_where_the_administrators_value_comes_later_the_wish_is_refused(tmp_path):
    lab = LabGrub(tmp_path, line="quiet intel_iommu=off")
    text = refused(lab, "intel_iommu=on", entries="all")
    assert "intel_iommu=on cannot take effect, because intel_iommu=off is set already (/etc/default/grub, line 3)" in text


def test_huge_pages_set_elsewhere_are_refused_since_the_kernel_keeps_the_first(tmp_path):
    lab = LabGrub(tmp_path, line="quiet")
    lab.put("etc/default/grub.d/50-pages.cfg", '\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX hugepagesz=1G hugepages=16"\n')
    text = refused(lab, *PAGES)
    assert "hugepagesz=1G hugepages=16 is set already (/etc/default/grub.d/50-pages.cfg, line 2)" in text
    assert "the kernel keeps the first" in text


def test_huge_pages_of_another_size_may_stand_beside_ours(tmp_path):
    lab = LabGrub(tmp_path, line="hugepagesz=2M hugepages=512")
    run(lab, "hugepagesz=1G", "hugepages=96")
    lab.reboot()
    assert not run(lab, "hugepagesz=1G", "hugepages=96").reboot_required


def test_a_cloud_image_that_sets_the_line_anew_does_not_drop_ours(lab):
    lab.put("etc/default/grub.d/50-cloudimg-settings.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"\n')
    run(lab, "nosmt")
    assert lab.lines()[0] == "console=tty1 console=ttyS0 nosmt $vt_handoff"


def test_a_later_file_that_drops_ours_is_named(lab):
    lab.put("etc/default/grub.d/zzz-last.cfg", '# mine\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    text = refused(lab, "nosmt")
    assert "/etc/default/grub.d/zzz-last.cfg, line 2, is read later" in text and "${GRUB_CMDLINE_LINUX_DEFAULT}" in text


def test_roles_with_a_name_each_do_not_disturb_each_other(lab):
    run(lab, *PAGES)
    run(lab, "cgroup_enable=memory", "swapaccount=1", name="dgxops-slurm")
    assert not run(lab, *PAGES).changed
    run(lab)
    assert lab.lines()[0] == "quiet splash cgroup_enable=memory swapaccount=1 $vt_handoff"


def test_shell_code_that_touches_the_line_is_pointed_out(lab):
    lab.put("etc/default/grub.d/kdump.cfg", 'if [ -e /x ]; then\n  GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=1G"\nfi\n')
    (warning,) = run(lab, "nosmt").warnings
    assert warning.startswith("/etc/default/grub.d/kdump.cfg:2 is shell code that was not followed")


def test_the_kernels_double_dash_is_not_walked_past(tmp_path):
    lab = LabGrub(tmp_path, line="quiet -- single")
    assert "what stands behind it goes to init" in refused(lab, "nosmt")


def test_more_huge_pages_than_memory_are_refused(tmp_path):
    lab = LabGrub(tmp_path, memory_gib=64)
    assert "asks for 96.0 GiB in huge pages, but this host has 64.0 GiB" in refused(lab, *PAGES)


@pytest.mark.parametrize("parameters", [["hugepagesz=16M", "hugepages=4"], ["default_hugepagesz=16M"]])
def test_pages_that_the_kernel_does_not_have_are_refused(lab, parameters):
    assert "offers no pages of that size, but of 2048, 1048576 KiB" in refused(lab, *parameters)


@pytest.mark.parametrize(("release", "parameters", "words"), [
    ("5.15.0-1040-nvidia", ["hugepagesz=1G", "hugepages=0:48,1:40"], "read as 0 pages; this host boots 5.15. Ask for hugepages=88"),
    ("4.15.0-55-generic", ["default_hugepagesz=1G", "hugepages=96"], "gives no pages at all on kernels before 5.8, and this host boots 4.15"),
])
def test_what_an_older_kernel_would_read_otherwise_is_refused(tmp_path, release, parameters, words):
    assert words in refused(LabGrub(tmp_path / "old", release=release), *parameters)
    assert run(LabGrub(tmp_path / "new"), *parameters).changed


def test_the_kernel_that_boots_next_counts_and_not_the_one_that_runs(lab):
    lab.put("proc/sys/kernel/osrelease", "5.4.0-1-generic")
    assert run(lab, "hugepagesz=1G", "hugepages=0:48").changed


@pytest.mark.parametrize("parameter", ["root=/dev/sda1", "ro", "initrd=/x"])
def test_what_grub_sets_itself_is_refused(lab, parameter):
    assert "GRUB itself puts" in refused(lab, parameter)


def test_a_line_longer_than_the_kernel_reads_is_refused(lab):
    assert "the kernel reads 2047" in refused(lab, "isolcpus=" + ",".join(str(cpu) for cpu in range(0, 1200, 2)))


def test_a_file_that_somebody_else_wrote_is_not_overwritten(lab):
    lab.put(DROP_IN, 'GRUB_TIMEOUT=1\n')
    assert "was not written by this module" in refused(lab, "nosmt")
    assert "was not written by this module" in refused(lab)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x/y", "-x", "x.cfg", "x\n"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(FleetError, match="is no name for a file"):
        wish("nosmt", name=name)


@pytest.mark.parametrize(("present", "words"), [
    ("boot/efi/loader/loader.conf", "this host boots by systemd-boot. Put the parameters in /etc/kernel/cmdline"),
    ("etc/redhat-release", "grubby --update-kernel=ALL --args="),
    ("etc/hostname", "does not boot by GRUB. On Debian, Ubuntu and DGX OS the package grub2-common brings it"),
])
def test_hosts_that_boot_otherwise_get_the_way_told(lab, present, words):
    os.unlink(lab.path("etc/default/grub"))
    lab.put(present, "")
    assert words in refused(lab, "nosmt")
    assert not run(lab).changed


def test_a_host_without_a_boot_menu_yet_gets_one(lab):
    os.unlink(lab.path("boot/grub/grub.cfg"))
    run(lab, "nosmt")
    assert "nosmt" in lab.lines()[0]
    os.unlink(lab.path("boot/grub/grub.cfg"))
    assert run(lab, "nosmt").changed and "nosmt" in lab.lines()[0]


def test_a_damaged_record_is_told(lab):
    lab.put(RECORD, "[]")
    assert "/var/backups/dgxops/kernel_cmdline/dgxops.json is damaged" in refused(lab, "nosmt")


def test_entries_of_other_systems_are_not_ours(lab):
    entries = parse_entries(lab.text("boot/grub/grub.cfg"))
    assert [(entry.id, entry.recovery) for entry in entries] == [("gnulinux-simple-1234", False), ("gnulinux-6.8.0-1013-nvidia-recovery-1234", True)]
    assert parse_entries(None) is None
