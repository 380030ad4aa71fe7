# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What it costs to find that 16 domains are as wanted: libvirt_domain in one call, community.libvirt.virt in a loop, and a play of one ping.

The host is the simulated DGX-2 of the demo: a real libvirtd of its own with 16 guests of one GPU. Every run is one of ansible-playbook,
on the local connection with pipelining, in turn with the others; the best wall time of several counts.
"""
import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Sequence

from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import placement
from ansible_collections.dgxops.fleet.tests.bench import clock
from ansible_collections.dgxops.fleet.tests.lab import nvidia_vm, sysfs_tree
from ansible_collections.dgxops.fleet.tests.lab.simulated_host import SimulatedHost

Task = Dict[str, Any]

#: Seconds for a run of ansible-playbook; the slowest here takes ten on a quiet machine.
PATIENCE = 300
#: What of a plan libvirt_domain takes.
SETTINGS = ("name", "vcpupin", "topology", "cells", "emulatorpin", "iothreads", "iothreadpin", "hugepages")
NOTHING, PING, ONE_CALL, LOOP = "a play that does nothing", "ping", "libvirt_domain, one call", "community.libvirt.virt, a loop"
FIRST_RUN, ROLE = "the role kvm_tuning, first run", "the role kvm_tuning, again"


class Run(NamedTuple):
    """A run of ansible-playbook."""

    wall: float
    cpu: float
    changed: int


class Bench:
    """Playbooks for one simulated host, and where they and Ansible's own files are."""

    def __init__(self, work: str, host: SimulatedHost) -> None:
        self.work, self.host = work, host
        local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        role = {"kvm_tuning_uri": host.uri, "kvm_tuning_root": host.root, "kvm_tuning_backup_dir": os.path.join(work, "role")}
        self._write("inventory.json", {"all": {"hosts": {"simulated": dict(local, **role)}}})

    def _write(self, name: str, content: Any) -> str:
        """JSON is YAML."""
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as handle:
            json.dump(content, handle)
        return path

    def playbook(self, number: int, **content: Any) -> str:
        """A playbook of one play."""
        return self._write("play{0}.json".format(number), [dict(hosts="all", gather_facts=False, **content)])

    def run(self, playbook: str) -> Run:
        """Run it; a failure ends the benchmark and shows what Ansible said."""
        environment = dict(
            os.environ,
            ANSIBLE_CONFIG=os.path.join(self.work, "ansible.cfg"),
            ANSIBLE_PIPELINING="true",
            ANSIBLE_LOCAL_TEMP=os.path.join(self.work, "ansible"),
            ANSIBLE_REMOTE_TEMP=os.path.join(self.work, "ansible"),
            ANSIBLE_STDOUT_CALLBACK="default",
        )
        spent, started = _cpu_of_children(), time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "--inventory", os.path.join(self.work, "inventory.json"), playbook],
            cwd=self.work, env=environment, timeout=PATIENCE, text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        wall = time.monotonic() - started
        if done.returncode:
            raise SystemExit("{0} failed:\n{1}".format(playbook, done.stdout))
        return Run(wall, _cpu_of_children() - spent, sum(map(int, re.findall(r"changed=(\d+)", done.stdout))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("domains", "role"))
    parser.add_argument("--smoke", action="store_true", help="two domains, one round")
    options = parser.parse_args()
    count, rounds = (2, 1) if options.smoke else (16, 7)
    with tempfile.TemporaryDirectory(prefix="dgxops-bench.") as work:
        os.chmod(work, 0o755)  # the simulated host's libvirtd runs as nobody where this is run by root
        open(os.path.join(work, "ansible.cfg"), "w", encoding="utf-8").close()
        host = SimulatedHost(os.path.join(work, "host"), sysfs_tree.dgx_2())
        os.mkdir(host.directory, 0o755)
        host.write_tree()
        host.launch()
        try:
            host.wait()
            guests = [nvidia_vm.Guest("bench", number, 1) for number in range(count)]
            for guest, gpu in zip(guests, host.gpus()):
                host.define(nvidia_vm.domain_xml(guest, [gpu], "qemu"))
            measure = _measure_domains if options.part == "domains" else _measure_role
            measure(Bench(work, host), guests, rounds)
        finally:
            host.stop()
    return 0


def _measure_domains(bench: Bench, guests: Sequence[nvidia_vm.Guest], rounds: int) -> None:
    one_call = bench.playbook(0, tasks=[_libvirt_domain(bench, guests)])
    bench.run(one_call)
    loop = bench.playbook(1, tasks=[_define(bench)])
    bench.run(loop)
    runs = _in_turn(bench, {NOTHING: bench.playbook(2, tasks=[]), PING: _ping(bench), ONE_CALL: one_call, LOOP: loop}, rounds)
    _report("{0} domains that are as wanted".format(len(guests)), runs)
    for kind, least in (("time", _wall), ("CPU time", _cpu)):
        spent = {name: least(found) for name, found in runs.items()}
        print("  the loop takes {0:.1f} times the {1} of the one call; without the start of Ansible itself, {2:.1f} times".format(
            spent[LOOP] / spent[ONE_CALL], kind, (spent[LOOP] - spent[NOTHING]) / (spent[ONE_CALL] - spent[NOTHING])))


def _measure_role(bench: Bench, guests: Sequence[nvidia_vm.Guest], rounds: int) -> None:
    role = bench.playbook(4, roles=["dgxops.fleet.kvm_tuning"], vars={"kvm_tuning_hugepages": "2M"})
    first = bench.run(role)
    runs = _in_turn(bench, {PING: _ping(bench), ROLE: role}, rounds)
    _report("{0} guests read, planned and tuned".format(len(guests)), dict(runs, **{FIRST_RUN: [first]}))


def _ping(bench: Bench) -> str:
    return bench.playbook(3, tasks=[{"ansible.builtin.ping": {}}])


def _in_turn(bench: Bench, playbooks: Dict[str, str], rounds: int) -> Dict[str, List[Run]]:
    """Each playbook once, then all again, so that a busy spell of the machine falls on all of them."""
    runs: Dict[str, List[Run]] = {name: [] for name in playbooks}
    for _round in range(rounds):
        for name, playbook in playbooks.items():
            runs[name].append(bench.run(playbook))
    return runs


def _libvirt_domain(bench: Bench, guests: Sequence[nvidia_vm.Guest]) -> Task:
    topology = Topology.from_sysfs(bench.host.root)
    asked = [{"name": guest.name, "gpus": [guest.first], "vcpus": guest.vcpus, "memory_kib": guest.memory_kib} for guest in guests]
    plan = placement.plan(topology, asked, {"hugepages": "2M", "iothreads": 1}).to_dict()
    domains = [{key: placed[key] for key in SETTINGS} for placed in plan["guests"]]
    return {"dgxops.fleet.libvirt_domain": {"uri": bench.host.uri, "domains": domains, "backup_dir": os.path.join(bench.work, "backups")}}


def _define(bench: Bench) -> Task:
    """The domains' own XML, defined anew by the loop that the module's documentation shows."""
    names = bench.host.domains()
    for name in names:
        with open(os.path.join(bench.work, name + ".xml"), "w", encoding="utf-8") as handle:
            handle.write(bench.host.xml(name))
    xml = "{{ lookup('ansible.builtin.file', '" + bench.work + "/' ~ item ~ '.xml') }}"
    return {"community.libvirt.virt": {"command": "define", "uri": bench.host.uri, "xml": xml}, "loop": names}


def _report(title: str, runs: Dict[str, List[Run]]) -> None:
    ping = runs[PING]
    head = ("ansible-playbook, best of {0}".format(len(ping)), "seconds", "times a ping", "CPU seconds", "times a ping", "tasks changed")
    rows = [
        (
            name,
            "{0:.2f}".format(_wall(found)),
            "{0:.2f}".format(_wall(found) / _wall(ping)),
            "{0:.2f}".format(_cpu(found)),
            "{0:.2f}".format(_cpu(found) / _cpu(ping)),
            found[-1].changed,
        )
        for name, found in runs.items()
    ]
    clock.table(title, head, rows)


def _wall(runs: Sequence[Run]) -> float:
    return min(run.wall for run in runs)


def _cpu(runs: Sequence[Run]) -> float:
    """Of Ansible and of the module, not of the libvirtd that they talk to."""
    return min(run.cpu for run in runs)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
