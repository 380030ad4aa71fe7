"""What the collection keeps over a reboot is read back as its modules wrote it."""
from ansible_collections.dgxops.fleet.plugins.module_utils.host import grub, grub_host, hugepages, hugepages_host, sysctl
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands
from ansible_collections.dgxops.fleet.plugins.module_utils.host.kept import Kept, read_kept
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs

from .lab_grub import LabGrub
from .lab_kernel import LabKernel


def test_an_untouched_host_keeps_nothing(tmp_path):
    assert read_kept(Sysfs(str(tmp_path))) == Kept({}, {}, [])


def test_settings_are_kept_by_the_name_of_their_file(tmp_path):
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/numa_balancing").write_text("0\n")
    for name in ("kvm", "other"):
        wish = sysctl.Wish(name, {"kernel.numa_balancing": "1"})
        sysctl.carry_out(sysctl.decide(wish, sysctl.read(wish, Sysfs(str(tmp_path)))), Sysfs(str(tmp_path)))
    (tmp_path / "etc/sysctl.d/99-other.conf").write_text("kernel.panic = 1\n")
    assert read_kept(Sysfs(str(tmp_path))).sysctl == {"kvm": {"kernel.numa_balancing": "1"}, "other": {"kernel.numa_balancing": "1"}}


def test_pages_are_kept_by_size_and_node(tmp_path):
    kernel = LabKernel(tmp_path)
    wanted = {hugepages.Place(2048, 0): 100, hugepages.Place(2048, 1): 0}
    change = hugepages.decide(hugepages.Wish(wanted), hugepages_host.read(kernel))
    hugepages_host.carry_out(change, kernel, by_node=True)
    kept = read_kept(Sysfs(str(tmp_path)))
    assert kept.hugepages == {2048: {0: 100, 1: 0}}
    assert kept.to_dict()["hugepages"] == {"2048": {"0": 100, "1": 0}}


def test_parameters_are_kept_until_the_kernel_was_started_without_them(tmp_path):
    lab = LabGrub(tmp_path)
    host = grub_host.Host(str(tmp_path))

    def run(*parameters):
        wish = grub.Wish.from_params({"state": "present" if parameters else "absent", "name": "mine", "parameters": parameters, "entries": "normal"})
        grub_host.carry_out(grub.decide(wish, grub_host.read(wish, host)), host, Commands(), lab.update_grub)
        return read_kept(Sysfs(str(tmp_path))).kernel_cmdline

    assert run("iommu=pt") == ["mine"]
    lab.reboot()
    assert run() == ["mine"]
    lab.reboot()
    assert run() == []
