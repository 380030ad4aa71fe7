# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""script/demo: three simulated DGX-2 systems are planned, tuned, found tuned, and given back. It fails if anything it says is not so.

What is true is asked of libvirt by virsh, which shares no code with the collection; what Ansible did is read from its results.
"""
import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence
from xml.etree import ElementTree

from ansible_collections.dgxops.fleet.tests.lab import nvidia_vm, sysfs_tree
from ansible_collections.dgxops.fleet.tests.lab.nvidia_vm import Guest
from ansible_collections.dgxops.fleet.tests.lab.simulated_host import SimulatedHost, SimulationError, canonical
from ansible_collections.dgxops.fleet.tests.lab.terminal import Terminal

#: The guests of each host: all GPUs for one, a mixture, and one GPU each.
FLEET = {
    "dgx2-a": [Guest("train", 0, 16)],
    "dgx2-b": [Guest("train", 0, 8), Guest("train", 8, 4), Guest("dev", 12, 2), Guest("dev", 14, 1), Guest("dev", 15, 1)],
    "dgx2-c": [Guest("dev", first, 1) for first in range(8)],
}
#: Whose XML is shown, and how many lines of it.
SHOWN_HOST, SHOWN_GUEST, SHOWN_LINES = "dgx2-b", "dev-2g12-13", 60
#: The task of playbooks/demo.yml whose message is the picture.
PICTURE_TASK = "Draw the plan"
NEXT_STEPS = (
    "Next:  docs/demo.md          what you have just seen, step by step",
    "       docs/kvm_tuning.md    the same for a DGX of your own",
    "       script/test           every check of the collection",
)
#: Seconds for a run of the playbook. It takes a few; a run that hangs must not hang the demo.
PATIENCE = 300


class NotSo(Exception):
    """Something the demo says is not so, or cannot be done; the text says what."""


class Run(NamedTuple):
    """A finished run of the playbook: its exit status and the results of its tasks."""

    status: int
    results: List[Dict[str, Any]]
    log: str

    def of(self, host: str) -> List[Dict[str, Any]]:
        return [result for result in self.results if result["host"] == host]

    def changed(self, host: str) -> List[str]:
        """The tasks that changed something."""
        return [result["task"] for result in self.of(host) if result["changed"]]

    def failures(self, host: str) -> List[str]:
        """What failed tasks said."""
        return [str(result["msg"]) for result in self.of(host) if result["status"] in ("failed", "unreachable")]


class Playbook:
    """playbooks/demo.yml on an inventory; its output goes to logs, its results come back."""

    def __init__(self, checkout: str, work: str, logs: str, terminal: Terminal) -> None:
        self.checkout, self.work, self.logs, self.terminal = checkout, work, logs, terminal
        self.inventory = os.path.join(work, "inventory.json")

    def write_inventory(self, hosts: Dict[str, SimulatedHost]) -> None:
        """Every host is this machine, with another root and another libvirtd."""
        terminal = self.terminal
        described = {
            "demo": {
                "hosts": {name: {"kvm_tuning_uri": host.uri, "kvm_tuning_root": host.root} for name, host in hosts.items()},
                "vars": {
                    "ansible_connection": "local",
                    "ansible_become": False,
                    "ansible_python_interpreter": "/usr/bin/python3",
                    "demo_width": terminal.width - terminal.margin,
                    "demo_colour": terminal.colour,
                    "demo_unicode": terminal.unicode,
                },
            }
        }
        with open(self.inventory, "w", encoding="utf-8") as handle:
            json.dump(described, handle, indent=1)

    def command(self, *arguments: str) -> str:
        """What a person would type."""
        return " ".join(["ansible-playbook playbooks/demo.yml", *arguments])

    def run(self, name: str, *arguments: str) -> Run:
        """Run it and wait for it. Its log bears ``name``."""
        log, record = os.path.join(self.logs, name + ".log"), os.path.join(self.work, name + ".jsonl")
        environment = dict(
            os.environ,
            ANSIBLE_CONFIG=os.path.join(self.work, "ansible.cfg"),
            ANSIBLE_CALLBACK_PLUGINS=os.path.join(self.checkout, "tests", "lab", "callback"),
            ANSIBLE_CALLBACKS_ENABLED="record",
            ANSIBLE_PIPELINING="true",
            ANSIBLE_LOCAL_TEMP=os.path.join(self.work, "ansible"),
            ANSIBLE_REMOTE_TEMP=os.path.join(self.work, "ansible"),
            ANSIBLE_STDOUT_CALLBACK="default",
            DGXOPS_RECORD=record,
        )
        playbook = os.path.join(self.checkout, "playbooks", "demo.yml")
        started = time.monotonic()
        with open(log, "wb") as output:
            process = subprocess.Popen(
                ["ansible-playbook", "--inventory", self.inventory, playbook, *arguments],
                cwd=self.work, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )
            try:
                while process.poll() is None:
                    if time.monotonic() > started + PATIENCE:
                        raise NotSo("the playbook did not end within {0} s; see {1}".format(PATIENCE, log))
                    if self.terminal.colour:
                        self.terminal.progress("{0:.0f} s  {1}".format(time.monotonic() - started, _last_task(record)))
                    time.sleep(0.2)
            finally:
                self.terminal.progress("")
                _end(process)
        return Run(process.returncode, _results(record), log)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End Ansible if it still runs. Its workers have sessions of their own, so it must be let to end them itself."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _results(record: str) -> List[Dict[str, Any]]:
    """The results of the tasks, from lines of JSON."""
    if not os.path.exists(record):
        return []
    with open(record, encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def _last_task(record: str) -> str:
    """What the running playbook has last done; its last line may be half written."""
    with contextlib.suppress(ValueError):
        results = _results(record)
        if results:
            return str(results[-1]["task"])
    return ""


class Demo:
    """The steps, in order."""

    def __init__(self, hosts: Dict[str, SimulatedHost], playbook: Playbook, terminal: Terminal) -> None:
        self.hosts, self.playbook, self.terminal = hosts, playbook, terminal
        self.proofs = 0

    def prove(self, true: bool, claim: str, otherwise: str) -> None:
        """Say what is so; end the demo if it is not."""
        if not true:
            raise NotSo("{0}: {1}".format(claim.rstrip("."), otherwise))
        self.proofs += 1
        self.terminal.good(claim)

    def run(self) -> None:
        before = self._hosts()
        predicted = self._plan(before)
        self._difference(predicted)
        tuned = self._apply(predicted)
        self._again(tuned)
        self._refusal(tuned)
        self._revert(before, tuned)

    # -- the steps ---------------------------------------------------------------------------------------------------------------------

    def _hosts(self) -> "State":
        terminal = self.terminal
        terminal.heading("1  Three hosts with their guests")
        terminal.text(
            "Each host has the 96 CPUs, 2 NUMA nodes, 16 GPUs and PCIe switches of a DGX-2 in a simulated /sys, and a libvirtd of its own that holds "
            "real domains, as nvidia-vm makes them: GPUs passed through, vCPUs pinned to threads, a raw data disk."
        )
        for name, host in self.hosts.items():
            gpus = host.gpus()
            for guest in FLEET[name]:
                host.define(nvidia_vm.domain_xml(guest, gpus[guest.first:guest.first + guest.gpus], "qemu"))
            terminal.line("   {0}   {1}".format(terminal.style(name, "1"), "  ".join(guest.name for guest in FLEET[name])))
        return self._state()

    def _plan(self, before: "State") -> Dict[str, Dict[str, "Diff"]]:
        """The picture of each host's plan; returns the XML that Ansible says each guest has and will have."""
        terminal = self.terminal
        terminal.heading("2  The plan, before anything is changed")
        terminal.command(self.playbook.command("--check", "--diff"))
        run = self._succeeded("plan", "--check", "--diff")
        for name in self.hosts:
            picture = [result["msg"] for result in run.of(name) if result["task"].endswith(PICTURE_TASK)]
            if not picture:
                raise NotSo("the playbook drew no picture for {0}; see {1}".format(name, run.log))
            terminal.line()
            terminal.line("   " + terminal.style(name, "1"))
            terminal.block(picture[0], terminal.margin)
        terminal.line()
        self.prove(self._state() == before, "No guest and no file of a host was changed by looking.", "--check changed something; see " + run.log)
        return {name: _predicted(run, name) for name in self.hosts}

    def _difference(self, predicted: Dict[str, Dict[str, "Diff"]]) -> None:
        terminal = self.terminal
        terminal.heading("3  What will change in the XML of {0} on {1}".format(SHOWN_GUEST, SHOWN_HOST))
        terminal.text(
            "Pairs of vCPUs move to the two threads of a core, and the guest is shown those cores. Memory, emulator and I/O threads are tied to the "
            "same node, and the data disk is tuned. All else stays, what other programs keep in the metadata too."
        )
        shown = predicted[SHOWN_HOST].get(SHOWN_GUEST)
        if shown is None:
            raise NotSo("--diff has nothing to say about {0} on {1}".format(SHOWN_GUEST, SHOWN_HOST))
        terminal.difference(shown.before, shown.after, SHOWN_LINES)

    def _apply(self, predicted: Dict[str, Dict[str, "Diff"]]) -> "State":
        terminal = self.terminal
        terminal.heading("4  Tune the guests")
        terminal.command(self.playbook.command())
        run = self._succeeded("apply")
        tuned = self._state()
        for name in self.hosts:
            wrong = [guest for guest, xml in tuned.guests[name].items() if guest not in predicted[name] or not _same(xml, predicted[name][guest].after)]
            self.prove(
                not wrong and bool(run.changed(name)),
                "{0}: virsh shows the XML that --diff foretold, for {1}.".format(name, _guests(len(tuned.guests[name]))),
                "it shows something else for {0}; see {1}".format(", ".join(wrong) or "the host", run.log),
            )
        faults = [fault for name, host in self.hosts.items() for fault in host.faults(tuned.guests[name])]
        self.prove(
            not faults,
            "Counted in that XML: every vCPU has a CPU of its own, on the NUMA node of its guest's GPUs, and no core serves two guests.",
            "; ".join(faults[:3]),
        )
        return tuned

    def _again(self, tuned: "State") -> None:
        terminal = self.terminal
        terminal.heading("5  Run it again: nothing is left to do")
        terminal.command(self.playbook.command())
        run = self._succeeded("again")
        changed = ["{0}: {1}".format(name, task) for name in self.hosts for task in run.changed(name)]
        self.prove(not changed and self._state() == tuned, "changed=0 on all three hosts.", "these tasks changed something again: " + ", ".join(changed))

    def _refusal(self, tuned: "State") -> None:
        terminal = self.terminal
        terminal.heading("6  Ask for something that cannot be")
        asked = ("--limit", "dgx2-a", "--extra-vars", "kvm_tuning_hugepages=1G")
        terminal.command(self.playbook.command(*asked))
        run = self.playbook.run("refusal", *asked)
        said = run.failures("dgx2-a")
        if said:
            terminal.text(said[0])
        self.prove(
            run.status != 0 and any("whole number" in text for text in said) and self._state() == tuned,
            "It is refused, with the reason and what would do, and nothing was changed.",
            "expected was a refusal of 1446.6 pages; see " + run.log,
        )

    def _revert(self, before: "State", tuned: "State") -> None:
        terminal = self.terminal
        terminal.heading("7  Give everything back as it was")
        asked = ("--extra-vars", "kvm_tuning_state=absent")
        terminal.command(self.playbook.command(*asked))
        run = self._succeeded("revert", *asked)
        after = self._state()
        terminal.line()
        self._table(before, tuned, after)
        terminal.line()
        otherwise = "these do not: {0}; see " + run.log
        wrong = [guest for name in self.hosts for guest, xml in before.guests[name].items() if canonical(after.guests[name][guest]) != canonical(xml)]
        self.prove(not wrong, "Every guest has the very XML that it had before.", otherwise.format(", ".join(wrong)))
        wrong = [name for name in self.hosts if after.files[name] != before.files[name]]
        self.prove(not wrong, "Every host has the huge pages and settings that it had before.", otherwise.format(", ".join(wrong)))

    def _table(self, *states: "State") -> None:
        """Checksums of every guest, and the huge pages of every host, as found, tuned and given back."""
        terminal, row = self.terminal, "   {0:<7}  {1:<16}  {2:<16}  {3:<15}  {4}"
        terminal.line(terminal.style(row.format("host", "guest", "SHA-256 as found", "tuned", "given back"), "1"))
        for name in self.hosts:
            for guest in sorted(states[0].guests[name]):
                terminal.line(row.format(name, guest, *(_digest(canonical(state.guests[name][guest])) for state in states)))
            terminal.line(row.format(name, "huge pages of 2M", *("{0} + {1}".format(*state.pages(name)) for state in states)))

    # -- what is true ------------------------------------------------------------------------------------------------------------------

    def _state(self) -> "State":
        return State({name: host.all_xml() for name, host in self.hosts.items()}, {name: _files(host.root) for name, host in self.hosts.items()})

    def _succeeded(self, name: str, *arguments: str) -> Run:
        run = self.playbook.run(name, *arguments)
        if run.status:
            said = [text for host in self.hosts for text in run.failures(host)]
            raise NotSo("the playbook failed{0}. The log is {1}".format(": " + said[0].rstrip(".") if said else "", run.log))
        return run


class State(NamedTuple):
    """What virsh says of all guests, and what is in the files of the hosts, both by host."""

    guests: Dict[str, Dict[str, str]]
    files: Dict[str, Dict[str, str]]

    def pages(self, host: str) -> List[str]:
        """The huge pages of 2 MiB on each node."""
        return [self.files[host]["sys/devices/system/node/node{0}/hugepages/hugepages-2048kB/nr_hugepages".format(node)] for node in (0, 1)]


class Diff(NamedTuple):
    """A guest's XML as Ansible says it is and will be."""

    before: str
    after: str


def _predicted(run: Run, host: str) -> Dict[str, Diff]:
    """The change of each guest, from the differences that Ansible shows."""
    found = {}
    for result in run.of(host):
        for entry in result["diff"] if isinstance(result["diff"], list) else [result["diff"]]:
            after = entry.get("after") or ""
            if isinstance(after, str) and after.lstrip().startswith("<domain"):
                found[ElementTree.fromstring(after).findtext("name") or ""] = Diff(entry["before"], after)
    return found


def _same(shown: str, foretold: str) -> bool:
    """Whether two documents say the same; libvirt adds dies='1', and newer ones clusters='1', to a topology that does not name them."""
    documents = [ElementTree.fromstring(xml) for xml in (shown, foretold)]
    for document in documents:
        for topology in document.iterfind("cpu/topology"):
            for name in ("dies", "clusters"):
                if topology.get(name) == "1":
                    del topology.attrib[name]
    one, other = (canonical(ElementTree.tostring(document, encoding="unicode")) for document in documents)
    return one == other


def _files(root: str) -> Dict[str, str]:
    """The files below /etc, /proc and /sys of a simulated host. The kernel ends what it shows with a line feed, whatever was written."""
    found = {}
    for part in ("etc", "proc", "sys"):
        for directory, _directories, names in os.walk(os.path.join(root, part)):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, "rb") as handle:
                    found[os.path.relpath(path, root)] = handle.read().decode("utf-8", "replace").strip()
    return found


def _guests(number: int) -> str:
    return "its guest" if number == 1 else "all {0} guests".format(number)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


@contextlib.contextmanager
def simulated_fleet() -> Iterator[Dict[str, SimulatedHost]]:
    """The three hosts, running; gone afterwards, whatever happens."""
    work = tempfile.mkdtemp(prefix="dgxops-demo.")
    hosts: Dict[str, SimulatedHost] = {}
    try:
        os.chmod(work, 0o711)  # nobody's libvirtd has to get through, to the directories that are its own
        for name in FLEET:
            hosts[name] = SimulatedHost(os.path.join(work, name), sysfs_tree.dgx_2(), os.path.join(work, "cache"))
            hosts[name].write_tree()
        first, *others = hosts.values()
        first.launch()
        first.wait()  # it learns what QEMU can do, which the others then find in the cache
        for host in others:
            host.launch()
        for host in others:
            host.wait()
        yield hosts
    finally:
        for host in hosts.values():
            host.stop()
        shutil.rmtree(work, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="The demo of dgxops.fleet on three simulated DGX-2 systems.")
    parser.add_argument("--checkout", required=True, help="where the collection is")
    parser.add_argument("--logs", required=True, help="where to put the full logs")
    parser.add_argument("--colour", choices=["yes", "no"], default="no")
    options = parser.parse_args(arguments)
    terminal = Terminal.found(options.colour == "yes")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda _number, _frame: sys.exit(129))
    started = time.monotonic()
    try:
        with simulated_fleet() as hosts, tempfile.TemporaryDirectory(prefix="dgxops-demo.") as work:
            playbook = Playbook(options.checkout, work, options.logs, terminal)
            playbook.write_inventory(hosts)
            demo = Demo(hosts, playbook, terminal)
            demo.run()
    except (NotSo, SimulationError) as error:
        terminal.line()
        terminal.bad(str(error))
        return 1
    except KeyboardInterrupt:
        terminal.line()
        terminal.line("Interrupted. The simulated hosts are gone; the logs so far are in " + options.logs)
        return 130
    except BrokenPipeError:  # whoever read along has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    _farewell(terminal, demo.proofs, time.monotonic() - started, options.logs)
    return 0


def _farewell(terminal: Terminal, proofs: int, seconds: float, logs: str) -> None:
    terminal.heading("All of this was so: {0} checks in {1:.0f} s. Only the logs are left on this machine:".format(proofs, seconds))
    terminal.line("   " + logs)
    terminal.line()
    terminal.block(NEXT_STEPS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
