# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Simulated hosts for the tests of the host package."""
import pytest

from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree


@pytest.fixture
def simulated(tmp_path):
    """Writes a machine (or the one of a name) below a fresh root and returns the root."""

    def write(machine):
        known = sysfs_tree.machines()
        return sysfs_tree.write(known[machine]() if isinstance(machine, str) else machine, str(tmp_path / "host"))

    return write
