# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ways into a running machine by ssh: for a person, for the lab itself, and for Ansible (an inventory)."""
import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Union

from .programs import LabError, run

HOST = "dgx01"


class Access(NamedTuple):
    """Where the machine's sshd is reached, and the keys of both sides."""

    port: int
    login_key: Path
    known_hosts: Path

    def options(self) -> List[str]:
        """Options of ssh that hold for a person as well as for Ansible."""
        # ssh reads several file names where there are spaces, unless they are quoted.
        settings = [f'UserKnownHostsFile="{self.known_hosts}"', "HostKeyAlias=dgxops-lab", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "LogLevel=ERROR"]
        return [part for setting in settings for part in ("-o", setting)]

    def command(self, *remote: str) -> List[str]:
        """ssh to the machine, as a command line; the user's own ssh configuration has no say."""
        target = ["-F", "none", "-i", str(self.login_key), "-p", str(self.port), "-o", "ConnectTimeout=10", "root@127.0.0.1"]
        return ["ssh", *self.options(), *target, *remote]

    def run(self, script: str, timeout: float) -> str:
        """Run a shell script in the machine and return what it printed."""
        return run(self.command("sh", "-eu", "-s"), timeout=timeout, text_in=script)

    def wait(self, timeout: float) -> None:
        """Until a login works."""
        end = time.monotonic() + timeout
        while True:
            try:
                if subprocess.run(self.command("true"), timeout=20, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
                    return
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > end:
                raise LabError(f"The machine did not let anybody in by ssh within {timeout:g} s.")
            time.sleep(0.3)

    def variables(self) -> Dict[str, Union[str, int]]:
        """What Ansible has to know to reach the machine."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.login_key),
            "ansible_ssh_common_args": shlex.join(self.options()),
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def inventory(self) -> str:
        """An inventory in YAML with this machine as the one host of the group dgx."""
        lines = [f"      {name}: {json.dumps(value)}" for name, value in self.variables().items()]
        return "\n".join(["---", "# Written by script/lab up.", "dgx:", "  hosts:", f"    {HOST}:", *lines, ""])
