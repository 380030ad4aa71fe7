# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The simulated hosts can be written from a shell."""
import os
import subprocess
import sys

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree


def command(*arguments):
    done = subprocess.run([sys.executable, sysfs_tree.__file__, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    return done.returncode, done.stderr.decode()


def test_a_simulated_dgx_1_is_written_and_read(tmp_path):
    assert command("dgx-1", str(tmp_path / "host")) == (0, "")
    assert repr(Topology.from_sysfs(str(tmp_path / "host"))) == "<Topology: 80 CPUs online of 80, 40 cores, 2 nodes, 14 devices>"


def test_a_machine_may_pose_with_less_memory_and_with_other_numbers_of_its_gpus(tmp_path):
    root = tmp_path / "host"
    assert command("dgx-1", str(root), "--memory-gib", "16", "--minors", "7,6,5,4,3,2,1,0") == (0, "")
    assert sum(node.memory_kib for node in Topology.from_sysfs(str(root)).nodes) == 16 * sysfs_tree.GIB
    assert (root / "proc/driver/nvidia/gpus/0000:06:00.0/information").read_text().endswith("Device Minor: \t 7\n")


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "precious").write_text("mine")
    status, said = command("dgx-1", str(tmp_path))
    assert status == 2 and "is not empty" in said
    assert os.listdir(str(tmp_path)) == ["precious"]


@pytest.mark.parametrize("name", sorted(set(sysfs_tree.machines()) - {"huge"}))
def test_each_machine_has_a_distinct_place_for_each_part(name):
    machine = sysfs_tree.machines()[name]()
    for parts in (
        [thread.id for thread in machine.threads],
        [card.address for card in machine.cards],
        [net for card in machine.cards for net in card.net],
        [card.infiniband for card in machine.cards if card.infiniband],
        [disk.serial for card in machine.cards for disk in card.disks],
    ):
        assert len(parts) == len(set(parts))
    assert {thread.node for thread in machine.threads} <= set(machine.memory_kib)
    assert {card.node for card in machine.cards} <= set(machine.memory_kib)
