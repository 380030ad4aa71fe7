"""What is really there, by virsh, sysfs and /proc alone: a witness that shares no code with the collection.

    witness.py keep DIRECTORY [ROOT]   write the XML of all domains (and the state of a simulated host) into a directory
    witness.py digest [ROOT]           one digest of all that
    witness.py tell [ROOT]             the domains as JSON, and what is wrong with their pins
    witness.py running NAME            the CPUs that the threads of a running guest may use, by thread, and its huge pages in KiB
"""
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

#: What a role may change of a simulated host, other than by its backups.
STATE = ("etc", "boot", "proc", "sys/devices/system/node")


def virsh(*arguments):
    return subprocess.run(["virsh", "--quiet", *arguments], stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout


def xml_of_all():
    names = sorted(virsh("list", "--all", "--name").split())
    return {name: virsh("dumpxml", "--inactive", "--security-info", name) for name in names}


def state_of(root):
    found = {}
    for top in STATE:
        for above, _directories, names in os.walk(os.path.join(root, top)):
            for name in names:
                path = os.path.join(above, name)
                found[os.path.relpath(path, root)] = Path(path).read_text(errors="replace").strip() if os.path.isfile(path) else ""
    return found


def keep(directory, root=None):
    for name, text in dict(xml_of_all(), **(state_of(root) if root else {})).items():
        place = Path(directory, name.replace("/", "_"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def digest(root=None):
    everything = [xml_of_all(), state_of(root) if root else {}]
    print(hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest())


def cpus(text):
    found = []
    for part in (text or "").split(","):
        first, _dash, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1) if part else ())
    return found


class Host:
    """The CPUs and PCI devices below a root, straight from sysfs."""

    def __init__(self, root):
        self.root = Path(root)

    def core(self, cpu):
        return tuple(cpus(self._text("devices/system/cpu/cpu{0}/topology/thread_siblings_list".format(cpu))))

    def node(self, cpu):
        directory = self.root / "sys/devices/system/cpu/cpu{0}".format(cpu)
        return next(int(entry.name[4:]) for entry in directory.iterdir() if re.match(r"node\d+$", entry.name))

    def node_of_device(self, pci):
        return int(self._text("bus/pci/devices/{0}/numa_node".format(pci)))

    def _text(self, name):
        return (self.root / "sys" / name).read_text().strip()


def describe(text):
    domain = ElementTree.fromstring(text)

    def attributes(path):
        return [dict(element.attrib) for element in domain.findall(path)]

    addresses = [{key: int(value, 16) for key, value in entry.items()} for entry in attributes("devices/hostdev/source/address")]
    return {
        "vcpus": int(domain.findtext("vcpu")),
        "memory_kib": int(domain.findtext("memory")),
        "pins": {int(pin["vcpu"]): int(pin["cpuset"]) for pin in attributes("cputune/vcpupin")},
        "emulator": cpus((attributes("cputune/emulatorpin") or [{}])[0].get("cpuset")),
        "iothreads": {int(pin["iothread"]): cpus(pin["cpuset"]) for pin in attributes("cputune/iothreadpin")},
        "topology": (attributes("cpu/topology") or [None])[0],
        "cells": attributes("cpu/numa/cell"),
        "memory_nodes": {int(node["cellid"]): node["nodeset"] for node in attributes("numatune/memnode")},
        "pages": attributes("memoryBacking/hugepages/page"),
        "drivers": {disk.find("target").get("dev"): dict(disk.find("driver").attrib) for disk in domain.findall("devices/disk")},
        "gpus": ["{domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**entry) for entry in addresses],
        "metadata": ElementTree.tostring(domain.find("metadata"), encoding="unicode") if domain.find("metadata") is not None else "",
    }  # fmt: skip


def problems(guests, host):
    """What is wrong with the pins of guests that run together."""
    found, holders = [], {}
    for name, guest in guests.items():
        near = {host.node_of_device(pci) for pci in guest["gpus"]}
        for vcpu, cpu in guest["pins"].items():
            if cpu in holders:
                found.append("CPU {0} serves {1} and {2}".format(cpu, holders[cpu], name))
            holders[cpu] = name
            if near and host.node(cpu) not in near:
                found.append("vCPU {0} of {1} is not beside its GPUs".format(vcpu, name))
        for cell, node in guest["memory_nodes"].items():
            for vcpu in cpus(guest["cells"][cell]["cpus"]):
                if host.node(guest["pins"][vcpu]) != int(node):
                    found.append("vCPU {0} of {1} is away from its memory".format(vcpu, name))
        for cpu in guest["emulator"]:
            if host.node(cpu) not in near:
                found.append("the emulator of {0} may run on CPU {1}, away from its guest".format(name, cpu))
    for name, guest in guests.items():
        found.extend("the emulator of {0} shares CPU {1} with {2}".format(name, cpu, holders[cpu]) for cpu in guest["emulator"] if cpu in holders)
        if (guest["topology"] or {}).get("threads") == "2":
            pins = [guest["pins"][vcpu] for vcpu in range(guest["vcpus"])]
            pairs = [tuple(pins[at:at + 2]) for at in range(0, len(pins), 2)]
            found.extend("vCPUs {0} of {1} are no siblings".format(pair, name) for pair in pairs if pair != host.core(pair[0]))
    return found


def tell(root="/", *names):
    guests = {name: describe(text) for name, text in xml_of_all().items() if not names or name in names}
    print(json.dumps({"guests": guests, "problems": problems(guests, Host(root))}))


def running(name):
    threads, pages = {}, 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if any(word.startswith("guest={0},".format(name)) for word in words):
            for task in (process / "task").iterdir():
                allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)", (task / "status").read_text(), re.MULTILINE).group(1)
                threads.setdefault((task / "comm").read_text().strip(), []).append(allowed)
            pages += int(re.search(r"^HugetlbPages:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE).group(1))
    print(json.dumps({"threads": threads, "huge_kib": pages}))


if __name__ == "__main__":
    {"keep": keep, "digest": digest, "tell": tell, "running": running}[sys.argv[1]](*sys.argv[2:])
