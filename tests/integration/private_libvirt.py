# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A libvirtd of our own with guests that really run, and the modules as a playbook runs them on a host."""
import atexit
import contextlib
import functools
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import ansible

from ansible_collections.dgxops.fleet.tests.lab.simulated_host import SimulatedHost, SimulationError

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

#: A module's main() with the options that Ansible would send, under any Python: the host's own is the one that has libvirt's bindings.
RUNNER = """
import importlib, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module("ansible_collections.dgxops.fleet.plugins.modules." + sys.argv[1]).main()
"""

#: A boot sector that turns the machine off when the power button is pressed, by the ACPI registers that SeaBIOS puts at 0x600:
#: PM1_EN (0x602) = power button; sti, hlt, until bit 8 of PM1_STS (0x600) is set; then PM1_CNT (0x604) = sleep enable.
OBEDIENT = bytes.fromhex("ba0206 b80001 ef fb f4 ba0006 ed f6c401 74f5 ba0406 b80020 ef ebfe".replace(" ", "")).ljust(510, b"\0") + b"\x55\xaa"

GUEST = """\
<domain type='qemu'>
  <name>{name}</name>
  <metadata>
    <site:guest xmlns:site="https://example.com/site"><!-- keep --><site:owner>research</site:owner></site:guest>
  </metadata>
  <memory unit='KiB'>32768</memory>
  <vcpu placement='static'>4</vcpu>
  {more}
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
    <memballoon model='none'/>
  </devices>
</domain>
"""


class Host(SimulatedHost):
    """A libvirtd of our own on the machine as it is, whose guests can be started."""

    def launch(self):
        config = os.path.join(self.directory, "config", "libvirt")
        os.makedirs(config)
        # Logs without virtlogd, which would outlive the tests.
        with open(os.path.join(config, "qemu.conf"), "w") as handle:
            handle.write('stdio_handler = "file"\n')
        if os.geteuid() == 0:
            shutil.chown(config, "nobody", "nogroup")
        self.disk = os.path.join(self.directory, "obedient.img")
        with open(self.disk, "wb") as handle:
            handle.write(OBEDIENT.ljust(1 << 20, b"\0"))
        os.chmod(self.disk, 0o666)
        super().launch()

    def stop(self):
        with contextlib.suppress(SimulationError):
            self.clear()
        super().stop()

    def clear(self):
        """Remove all guests."""
        for name in self.domains():
            self.virsh("destroy", name) if self.is_running(name) else None
            self.virsh("undefine", name)

    def add(self, name, more="", devices="", machine="q35", start=False):
        """Define a guest, and start it."""
        self.define(GUEST.format(name=name, more=more, devices=devices, machine=machine))
        if start:
            self.virsh("start", name)

    def add_obedient(self, name, start=True):
        """A guest that shuts down when it is asked to."""
        disk = "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{0}'/><target dev='sda' bus='sata'/></disk>"
        self.add(name, devices=disk.format(self.disk), start=start)
        time.sleep(1)

    def is_running(self, name):
        return self.virsh("domstate", name).strip() == "running"

    def process(self, name):
        """The process id of a running guest."""
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as handle:
                    words = handle.read().split(b"\0")
            except OSError:
                continue
            if b"-name" in words and words[words.index(b"-name") + 1].startswith("guest={0},".format(name).encode()):
                return int(path.split("/")[2])
        raise AssertionError("{0} does not run".format(name))

    def affinities(self, name):
        """The CPUs that the kernel lets each thread of a guest run on: ``emulator`` and by name, such as ``CPU 0/TCG`` and ``IO iothread1``."""
        process = self.process(name)
        found = {"emulator": os.sched_getaffinity(process)}
        for task in glob.glob("/proc/{0}/task/*".format(process)):
            with open(task + "/comm") as handle:
                comm = handle.read().strip()
            found[comm] = os.sched_getaffinity(int(os.path.basename(task)))
        return found

    def run(self, module, check=False, **options):
        """A module's answer."""
        return run_on_host(module, dict(options, uri=options.get("uri", self.uri)), check)


def run_on_host(module, options, check=False, command=()):
    """Run a module as its own process, by ``command`` or under the Python of the host that has libvirt's bindings."""
    arguments = dict(options, _ansible_check_mode=check, _ansible_diff=True)
    done = subprocess.run(
        [*(command or [python_with_libvirt()]), "-c", RUNNER, module], input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode(),
        env=dict(os.environ, PYTHONPATH=library(), PYTHONDONTWRITEBYTECODE="1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False,
    )  # fmt: skip
    answer = done.stdout.decode()
    assert answer.startswith("\n{") or answer.startswith("{"), answer
    return json.loads(answer)


@functools.lru_cache(maxsize=None)
def python_with_libvirt():
    """This Python, or the system's, for which distributions package the bindings."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import libvirt"], stderr=subprocess.DEVNULL, timeout=60, check=False).returncode == 0:
            return python
    raise AssertionError("no Python here has libvirt's bindings: install python3-libvirt")


@functools.lru_cache(maxsize=None)
def library():
    """A directory with what the runner imports: Ansible's modules' library and the collection, and nothing else of this environment."""
    directory = tempfile.TemporaryDirectory(prefix="fleet-library-")
    os.chmod(directory.name, 0o755)
    os.makedirs(os.path.join(directory.name, "ansible_collections", "dgxops"))
    os.symlink(os.path.dirname(ansible.__file__), os.path.join(directory.name, "ansible"))
    os.symlink(CHECKOUT, os.path.join(directory.name, "ansible_collections", "dgxops", "fleet"))
    atexit.register(directory.cleanup)
    return directory.name
