# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A DGX that is not there: its /sys and /proc in a directory, and a libvirtd of its own beside them, with real libvirt and QEMU drivers.

The libvirtd is a session daemon whose directories are all in that one directory: it knows nothing of the machine's own libvirt, needs no
root, and leaves nothing behind. Guests can be defined and tuned as on a DGX; they cannot be started, for there are no such CPUs and GPUs.
"""
import os
import shutil
import signal
import subprocess
import time
from typing import Dict, List, Optional, Tuple
from xml.etree import ElementTree

from . import sysfs_tree

#: Seconds that the daemon has to answer; the first look at QEMU's abilities takes two, many more on a busy machine.
PATIENCE = 60


class SimulationError(Exception):
    """The simulated host does not come up, or virsh failed; the text says why."""


class SimulatedHost:
    """One of them, below ``directory``; its daemon runs from :meth:`start` to :meth:`stop`."""

    def __init__(self, directory: str, machine: sysfs_tree.Machine, cache: Optional[str] = None) -> None:
        self.directory = directory
        self.machine = machine
        self.root = os.path.join(directory, "root")
        self.cache = cache or os.path.join(directory, "cache")
        self.uri = "qemu+unix:///session?socket=" + os.path.join(directory, "run", "libvirt-sock")
        self._daemon: Optional[subprocess.Popen] = None

    # -- its life ----------------------------------------------------------------------------------------------------------------------

    def write_tree(self) -> None:
        """Its /sys and /proc. Nothing runs on it, so nearly all memory is free, and huge pages are free as soon as they are there."""
        sysfs_tree.write(self.machine, self.root)

    def launch(self) -> None:
        """Start the daemon and return at once; :meth:`wait` waits until it answers."""
        for name in ("run", "config", "data"):
            os.makedirs(os.path.join(self.directory, name), mode=0o700, exist_ok=True)
        os.makedirs(self.cache, mode=0o700, exist_ok=True)
        with open(self._path("libvirtd.conf"), "w", encoding="utf-8") as handle:
            handle.write('unix_sock_dir = "{0}"\nlog_outputs = "3:stderr"\n'.format(self._path("run")))
        home = {"HOME": "data", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "XDG_CACHE_HOME": self.cache}
        environment.update({name: self._path(place) for name, place in home.items()})
        with open(self._path("libvirtd.log"), "wb") as log:
            self._daemon = subprocess.Popen(
                [*self._as_nobody(), _program("libvirtd"), "--config", self._path("libvirtd.conf")],
                env=environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def _as_nobody(self) -> List[str]:
        """Run by root, libvirtd would be the system's own; as nobody it is a session daemon. It ends with this process, however that ends."""
        setpriv = [_program("setpriv"), "--pdeathsig", "TERM"]
        if os.geteuid() != 0:
            return setpriv
        for name in ("run", "config", "data"):
            shutil.chown(self._path(name), "nobody", "nogroup")
        shutil.chown(self.cache, "nobody", "nogroup")
        return setpriv + ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]

    def wait(self) -> None:
        """Until the daemon answers and knows what QEMU can do."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.virsh("domcapabilities")
                return
            except SimulationError as error:
                ended = self._daemon is None or self._daemon.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise SimulationError("The simulated host's libvirtd does not answer: {0}\n{1}".format(error, self._log())) from error
            time.sleep(0.1)

    def stop(self) -> None:
        """End the daemon. Doing it twice is no harm."""
        daemon, self._daemon = self._daemon, None
        if daemon is None or daemon.poll() is not None:
            return
        os.killpg(daemon.pid, signal.SIGTERM)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait(10)

    def _log(self) -> str:
        try:
            with open(self._path("libvirtd.log"), encoding="utf-8", errors="replace") as handle:
                return "".join(handle.readlines()[-10:])
        except OSError:
            return ""

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    # -- its guests --------------------------------------------------------------------------------------------------------------------

    def gpus(self) -> List[str]:
        """The PCI addresses of its GPUs, by index."""
        return sorted(card.address for card in self.machine.cards if card.gpu)

    def define(self, xml: str) -> None:
        """Define a domain, until libvirt's own rewriting of it has come to rest: it sorts controllers anew when it reads its own XML."""
        self.virsh("define", "--validate", "/dev/stdin", text=xml)
        name = ElementTree.fromstring(xml).findtext("name") or ""
        before, now = "", self.xml(name)
        while now != before:
            self.virsh("define", "/dev/stdin", text=now)
            before, now = now, self.xml(name)

    def domains(self) -> List[str]:
        """The names of its domains."""
        return sorted(name for name in self.virsh("list", "--all", "--name").splitlines() if name)

    def xml(self, name: str) -> str:
        """The configuration of a domain, in full."""
        return self.virsh("dumpxml", "--inactive", "--security-info", name)

    def all_xml(self) -> Dict[str, str]:
        """The configurations of all domains by name."""
        return {name: self.xml(name) for name in self.domains()}

    def virsh(self, *arguments: str, text: Optional[str] = None) -> str:
        """What virsh prints. It is a witness that shares no code with the collection."""
        command = [_program("virsh"), "--connect", self.uri, "--quiet", *arguments]
        try:
            done = subprocess.run(
                command, input=text or "", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE, universal_newlines=True, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SimulationError("virsh {0} did not end within {1} s.".format(" ".join(arguments), PATIENCE)) from error
        if done.returncode:
            raise SimulationError("virsh {0}: {1}".format(" ".join(arguments), done.stderr.strip()))
        return done.stdout

    def faults(self, configurations: Dict[str, str]) -> List[str]:
        """What is wrong with the places of these domains (XML by name), told from their XML and this machine alone."""
        threads = {thread.id: thread for thread in self.machine.threads}
        gpu_node = {card.address: card.node for card in self.machine.cards if card.gpu}
        found: List[str] = []
        core_of: Dict[Tuple[int, int], str] = {}
        cpu_of: Dict[int, str] = {}
        for name, xml in sorted(configurations.items()):
            domain = ElementTree.fromstring(xml)
            pins = [pin.get("cpuset", "") for pin in domain.iterfind("cputune/vcpupin")]
            nodes = {gpu_node.get(_pci(source)) for source in domain.iterfind("devices/hostdev/source/address")}
            if len(pins) != int(domain.findtext("vcpu") or 0) or not all(pin.isdigit() and int(pin) in threads for pin in pins):
                found.append("{0} has vCPUs without a CPU of their own".format(name))
                continue
            for cpu in map(int, pins):
                thread = threads[cpu]
                if cpu in cpu_of:
                    found.append("CPU {0} serves two vCPUs, of {1} and {2}".format(cpu, cpu_of[cpu], name))
                if core_of.setdefault((thread.socket, thread.core), name) != name:
                    found.append("the core of CPU {0} serves {1} and {2}".format(cpu, core_of[thread.socket, thread.core], name))
                if thread.node not in nodes:
                    found.append("CPU {0} of {1} is away from its GPUs".format(cpu, name))
                cpu_of[cpu] = name
        return found


def _pci(address: ElementTree.Element) -> str:
    """A PCI address as sysfs has it, from the attributes of libvirt's."""
    domain, bus, slot, function = (int(address.get(key, "0"), 16) for key in ("domain", "bus", "slot", "function"))
    return "{0:04x}:{1:02x}:{2:02x}.{3:x}".format(domain, bus, slot, function)


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        raise SimulationError("The program {0} is not installed.".format(name))
    return found


def canonical(xml: str) -> str:
    """XML in the one form that all spellings of it share (W3C Canonical XML 2.0), without the white space between elements."""
    return ElementTree.canonicalize(xml, strip_text=True)
