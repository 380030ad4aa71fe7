# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Simulated hosts for the tests of the host package."""
import pytest

from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """The named machines, each written once for all tests that only read it."""
    written = {}

    def write(name):
        if name not in written:
            written[name] = sysfs_tree.write(sysfs_tree.machines()[name](), str(tmp_path_factory.mktemp("hosts") / name))
        return written[name]

    return write


@pytest.fixture
def simulated(tmp_path, known):
    """The root of a machine: a name gives one that others read too, a description one of the test's own."""

    def write(machine):
        return known(machine) if isinstance(machine, str) else sysfs_tree.write(machine, str(tmp_path / "host"))

    return write
