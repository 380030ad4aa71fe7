# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A libvirtd that really makes networks: in a network and a mount namespace of its own, so that the machine's networks and libvirt are not touched."""
import contextlib
import json
import os
import shutil
import subprocess
import time

from ansible_collections.dgxops.fleet.tests.integration.private_libvirt import GUEST, python_with_libvirt, run_on_host

#: Started by unshare: libvirtd's places are directories of ours, and the host has a NIC (eth9), a bridge (br9) and a way to a data centre (10.77/16).
#: The shell stays in front of libvirtd, so that whoever stops the daemon does not have to know its threads.
INSIDE = """
set -e
mount --make-rprivate /
mount --types sysfs sysfs /sys  # shows the devices of this namespace
for place in etc lib run log cache; do mkdir -p {0}/$place; done
mkdir -p /etc/libvirt /var/lib/libvirt /run/libvirt /var/log/libvirt /var/cache/libvirt
mount --bind {0}/etc /etc/libvirt
mount --bind {0}/lib /var/lib/libvirt
mount --bind {0}/run /run/libvirt
mount --bind {0}/log /var/log/libvirt
mount --bind {0}/cache /var/cache/libvirt
cat > /etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
remember_owner = 0
namespaces = []
cgroup_controllers = []
security_driver = "none"
stdio_handler = "file"
END
printf 'auth_unix_rw = "none"\\nauth_unix_ro = "none"\\nlog_outputs = "4:stderr"\\n' > /etc/libvirt/libvirtd.conf
ip link set lo up
ip link add eth9 type veth peer name eth9p
ip link add br9 type bridge
ip address add 10.77.0.1/16 dev br9
for device in eth9 eth9p br9; do ip link set $device up; done
exec libvirtd --config /etc/libvirt/libvirtd.conf
"""
INTERFACE = "<interface type='{kind}'><mac address='{mac}'/><source {kind}='{name}'/><model type='virtio'/></interface>"


class NetworkHost:
    """A host of virtual networks; its guests are virtual machines without a disk, which ask for an address by DHCP as soon as they start."""

    uri = "qemu:///system"

    def __init__(self, directory):
        self.directory = directory
        with open(os.path.join(directory, "daemon.log"), "wb") as log:
            self.daemon = subprocess.Popen(["unshare", "--mount", "--net", "bash", "-c", INSIDE.format(directory)], stdout=log, stderr=log,
                                           env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))  # fmt: skip
        self.inside = ["nsenter", "--target", str(self.daemon.pid), "--mount", "--net"]
        deadline = time.monotonic() + 60
        while subprocess.run([*self.inside, "virsh", "-q", "net-list"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            with open(os.path.join(directory, "daemon.log"), errors="replace") as log:
                assert self.daemon.poll() is None and time.monotonic() < deadline, log.read()
            time.sleep(0.2)

    def stop(self):
        with contextlib.suppress(AssertionError):
            self.clear()
        self.daemon.terminate()
        self.daemon.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)

    def clear(self):
        """Remove all guests and networks."""
        for name in self.say("virsh", "-q", "list", "--all", "--name").split():
            if self.say("virsh", "-q", "domstate", name).strip() == "running":
                self.say("virsh", "-q", "destroy", name)
            self.say("virsh", "-q", "undefine", name)
        for name in self.say("virsh", "-q", "net-list", "--all", "--name").split():
            if self.is_active(name):
                self.say("virsh", "-q", "net-destroy", name)
            self.say("virsh", "-q", "net-undefine", name)

    def say(self, *argv, text=""):
        """What a program says on this host."""
        command = [*self.inside, *argv]
        done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, universal_newlines=True, check=False)
        assert done.returncode == 0, "{0}: {1}".format(argv, done.stdout)
        return done.stdout

    def run(self, module="libvirt_network", check=False, **options):
        """A module's answer."""
        return run_on_host(module, dict(options, uri=self.uri), check, command=[*self.inside, python_with_libvirt()])

    def xml(self, name, inactive=True):
        return self.say("virsh", "-q", "net-dumpxml", name, *(["--inactive"] if inactive else []))

    def is_active(self, name):
        return "yes" in next(line for line in self.say("virsh", "-q", "net-info", name).splitlines() if line.startswith("Active"))

    def links(self):
        """The network devices by name, as ip shows them."""
        return {link["ifname"]: link for link in json.loads(self.say("ip", "-j", "-d", "link"))}

    def add_guest(self, name, *connections, start=True, more=""):
        """A guest with an interface for each connection, which is kind, name and MAC address."""
        devices = more + "".join(INTERFACE.format(kind=kind, name=to, mac=mac) for kind, to, mac in connections)
        self.say("virsh", "-q", "define", "/dev/stdin", text=GUEST.format(name=name, more="", devices=devices, machine="pc"))
        if start:
            self.say("virsh", "-q", "start", name)

    def leases(self, network):
        """The addresses that dnsmasq has given, by MAC."""
        rows = [line.split() for line in self.say("virsh", "-q", "net-dhcp-leases", network).splitlines() if line.strip()]
        return {row[2]: row[4].partition("/")[0] for row in rows}
