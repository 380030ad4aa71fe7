# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the tests on real parts share."""
import os
import shutil
import tempfile

import pytest

from ansible_collections.dgxops.fleet.tests.integration.private_libvirt import Host
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree

PROGRAMS = ("libvirtd", "virsh", "qemu-system-x86_64", "setpriv")


@pytest.fixture(scope="session")
def libvirtd():
    """The daemon, once for all tests: the first look at QEMU's abilities takes it some seconds."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if missing:
        pytest.fail("not installed: {0}. script/test integration installs it.".format(", ".join(missing)))
    directory = tempfile.mkdtemp(prefix="fleet-libvirt-")
    os.chmod(directory, 0o711)
    host = Host(directory, sysfs_tree.dgx_2())
    host.launch()
    try:
        host.wait()
        yield host
    finally:
        host.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def host(libvirtd):
    """A host without guests."""
    libvirtd.clear()
    yield libvirtd
    libvirtd.clear()
