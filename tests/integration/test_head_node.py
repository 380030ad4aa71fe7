# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role head_node as a person runs it, on machines that are played: files as the kernel shows them, and an ipmitool that answers."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

PLAYBOOK = """
- hosts: head_node
  gather_facts: false
  roles:
    - role: dgxops.fleet.head_node
      head_node_compose: []
  tasks:
    - ansible.builtin.copy:
        dest: "{{ answer }}"
        content: "{{ dgxops_report.head_node | to_json }}"
        mode: "0600"
      check_mode: false
"""

#: In the form of "ipmitool sdr type 'Power Supply'".
SUPPLIES = """PSU0 Status      | C8h | ok  | 10.1 | Presence detected
PSU1 Status      | C9h | ok  | 10.2 | Presence detected{0}
"""


class Machine:
    """A head node whose / is on /dev/md0, and which has a management controller."""

    def __init__(self, place):
        self.place = place
        self.write("proc/self/mountinfo", "22 1 9:0 / / rw,relatime shared:1 - ext4 /dev/md0 rw\n")
        self.array(degraded=0)
        for name in ("sys/class/block/md0", "sys/dev/block/9:0"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(str(place / "sys/devices/md0"), str(place / name))
        self.write("dev/ipmi0", "")
        self.supplies("")

    def write(self, name, text, mode=0o644):
        (self.place / name).parent.mkdir(parents=True, exist_ok=True)
        (self.place / name).write_text(text)
        (self.place / name).chmod(mode)

    def array(self, degraded, level="raid1"):
        for name, text in (("level", level), ("degraded", degraded), ("array_state", "clean"), ("raid_disks", 2)):
            self.write("sys/devices/md0/md/" + name, "{0}\n".format(text))

    def supplies(self, trouble):
        self.write("bin/ipmitool", "#!/bin/sh\n[ \"$*\" = 'sdr type Power Supply' ] || exit 1\ncat <<'END'\n" + SUPPLIES.format(trouble) + "END\n", 0o755)

    def run(self, nodes, groups=None, words=(), **variables):
        """Run the role for a cluster of so many systems. Returns the exit status, all it said, and its report."""
        members = {"head_node": ["head01"], "dgx": ["dgx{0:03}".format(number) for number in range(nodes)]}
        inventory = {name: {"hosts": dict.fromkeys(hosts, {})} for name, hosts in dict(members, **(groups or {})).items()}
        answer = self.place / "answer.json"
        said = dict(
            variables, ansible_connection="local", ansible_python_interpreter="/usr/bin/python3", head_node_root=str(self.place), answer=str(answer))
        self.write("inventory.json", json.dumps(inventory))
        self.write("play.yml", PLAYBOOK)
        answer.unlink(missing_ok=True)
        done = subprocess.run(
            [shutil.which("ansible-playbook"), "-i", "inventory.json", "play.yml", "-e", json.dumps(said), *words], cwd=self.place, text=True, timeout=120,
            env=dict(os.environ, PATH="{0}:{1}".format(self.place / "bin", os.environ["PATH"]), ANSIBLE_COLLECTIONS_PATH=str(CHECKOUT / ".collections")),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout, json.loads(answer.read_text()) if answer.exists() else None


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def here(report):
    return sorted(name for name, service in report["services"].items() if service["here"])


def test_four_systems_are_served_by_one_machine_that_survives_a_drive_and_a_power_supply(machine):
    status, said, report = machine.run(4, head_node_required=["mirror", "power"])
    assert status == 0, said
    assert (report["size"], here(report)) == ("small", ["login", "monitoring", "nfs", "scheduler"])
    assert report["mirror"] == {"survives": True, "device": "md0", "said": "/ is on md0 (raid1, clean)."}
    assert report["power"]["survives"] and [supply["name"] for supply in report["power"]["supplies"]] == ["PSU0 Status", "PSU1 Status"]


def test_a_large_cluster_gets_machines_of_its_own_and_what_is_in_the_inventory_counts(machine):
    groups = {"slurm-login": ["login01", "login02"], "nfs-server": ["store01"], "ib_subnet_manager": ["head01", "login01"]}
    status, said, report = machine.run(140, groups, ["--check"])
    assert status == 0, said
    assert (report["size"], here(report)) == ("large", ["monitoring", "scheduler", "subnet_manager"])
    assert report["services"]["login"]["why"] == "People log in to 2 other machines."
    assert "Let the login nodes run subnet managers of lower priority (chapter 10)." in report["remarks"]


def test_what_would_not_survive_is_told_and_nothing_is_stopped_by_it(machine):
    machine.array(degraded=1)
    machine.supplies(", Power Supply AC lost")
    status, said, report = machine.run(6)
    assert status == 0 and "has lost 1 of its 2 members. Replace the drive." in said and "Power Supply AC lost" in said
    assert (report["mirror"]["survives"], report["power"]["survives"]) == (False, False)


@pytest.mark.parametrize(("broken", "required", "told"), [
    ("mirror", ["mirror"], "This machine is to survive the loss of a drive, but: / is on md0 (raid1), which has lost 1 of its 2 members."),
    ("power", ["power"], "This machine is to survive the loss of a power supply, but: 1 power supply is good: PSU0 Status."),
    ("nobody", ["mirror", "power"], "There is no management controller that Linux can ask"),
])
def test_what_must_survive_stops_the_run_otherwise(machine, broken, required, told):
    if broken == "mirror":
        machine.array(degraded=1)
    elif broken == "power":
        machine.supplies(", Failure detected")
    else:
        (machine.place / "dev/ipmi0").unlink()
    status, said, report = machine.run(2, head_node_required=required)
    assert status != 0 and report is None and told in " ".join(said.split())


def test_a_slip_in_the_services_is_answered_in_words(machine):
    status, said, _report = machine.run(2, head_node_services={"web": True})
    assert status != 0 and "'web' is not a service of a head node" in said and "Traceback" not in said
