# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Huge pages of the kernel this runs on: a few of 2 MiB, put back afterwards. Needs root and a kernel with huge pages; nothing else is touched.

The module sees a root whose /sys and /proc are the real ones, and whose /etc and /var are its own.
"""
import mmap
import os
import shutil
import subprocess
import sys

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.hugepages import TMPFILES, Place, Wish, decide, directory_of
from ansible_collections.dgxops.fleet.plugins.module_utils.host.hugepages_host import Kernel, carry_out, read, users_of_pages

SIZE = 2048
#: Maps the pages it is told to, uses them and waits until its input is closed.
HOLDER = """
import mmap, sys
count = int(sys.argv[1])
pages = mmap.mmap(-1, count << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)  # MAP_HUGETLB
for page in range(count):
    pages[page << 21] = 1
print("holding", flush=True)
sys.stdin.read()
"""


def obstacle():
    """Why this machine cannot run these tests; nothing if it can."""
    if os.geteuid() != 0:
        return "setting huge pages needs root"
    if mmap.PAGESIZE != 4096 or Place(SIZE, 0) not in read(Kernel()).pools:
        return "this kernel has no huge pages of 2 MiB on node 0"
    if not os.access("/sys", os.W_OK) or os.statvfs("/sys").f_flag & os.ST_RDONLY:
        return "/sys is read-only, as in a container"
    return ""


pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "none")


@pytest.fixture
def kernel(tmp_path):
    for name in ("sys", "proc"):
        (tmp_path / name).symlink_to("/" + name)
    found = Kernel(str(tmp_path))
    state = read(found)
    place = Place(SIZE, 0)
    before = state.pools[place].kept
    try:
        yield found
    finally:
        found.write(directory_of(place, state.by_node) + "/nr_hugepages", str(before))
        assert read(Kernel()).pools[place].kept == before


def run(kernel, count, **options):
    """Set the pages of node 0 (None: give back what was there); returns the change."""
    found = read(kernel)
    wish = Wish({} if count is None else {Place(SIZE, 0): count}, **options)
    change = decide(wish, found, users=lambda: users_of_pages(kernel))
    carry_out(change, kernel, found.by_node)
    return change


def pool(kernel):
    return read(kernel).pools[Place(SIZE, 0)]


def test_the_kernel_gives_the_pages_and_takes_them_back(kernel):
    before = pool(kernel).kept
    assert run(kernel, before + 8)
    assert pool(kernel).kept == before + 8
    assert not run(kernel, before + 8)
    assert run(kernel, None)
    assert pool(kernel).kept == before
    assert not run(kernel, None)


def test_pages_that_a_program_uses_stay_until_it_ends(kernel):
    before = pool(kernel)
    run(kernel, before.kept + 8)
    used = before.in_use + 4
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(before.free + 4)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"holding\n"
        with pytest.raises(FleetError, match=r"In use by: .*\(process {0}, ".format(holder.pid)):
            run(kernel, before.in_use)
        assert pool(kernel).kept == before.kept + 8
        run(kernel, before.in_use, shrink_in_use=True)
        assert pool(kernel).kept == before.in_use and pool(kernel).in_use >= used
        holder.communicate(timeout=30)
    assert pool(kernel).total == before.in_use


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="this machine boots without systemd")
def test_the_file_sets_the_same_pages_at_boot(kernel):
    before = pool(kernel).kept
    run(kernel, before + 8)
    kernel.write(directory_of(Place(SIZE, 0), read(kernel).by_node) + "/nr_hugepages", str(before))
    subprocess.run(["systemd-tmpfiles", "--create", kernel.path(TMPFILES)], check=True, timeout=60)
    assert pool(kernel).kept == before, "only a boot may change the pools"
    subprocess.run(["systemd-tmpfiles", "--create", "--boot", kernel.path(TMPFILES)], check=True, timeout=60)
    assert pool(kernel).kept == before + 8
