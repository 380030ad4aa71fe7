# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reaches a container of the test platform through ``exec`` of whichever engine started it.

The connection plugins for podman and docker each know one engine only, and that for podman learnt pipelining, which makes a task three
times faster, later than the oldest Ansible supported here.
"""

DOCUMENTATION = r"""
name: lab_container
short_description: Run tasks in a container of the test platform
description:
  - Runs commands by C(ENGINE exec). For the scenarios below C(molecule) only.
author: Contributors to dgxops.fleet
options:
  network:
    description: What the names of the scenario's containers begin with; the host's name follows.
    required: true
    vars:
      - name: lab_network
  remote_user:
    description: User to run as, if not the container's own.
    vars:
      - name: ansible_user
  engine:
    description: Program that speaks the commands of podman and docker.
    required: true
    vars:
      - name: lab_engine
  time_limit:
    description: Seconds after which a command is given up.
    type: int
    default: 1200
    vars:
      - name: lab_time_limit
"""

import os
import shlex
import subprocess
from typing import IO, Optional, Tuple, Union

from ansible.errors import AnsibleConnectionFailure, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase


class Connection(ConnectionBase):
    """One ``exec`` per command; files travel through its standard input and output."""

    transport = "lab_container"
    has_pipelining = True

    @property
    def _container(self) -> str:
        # Not inventory_hostname: in a task that is delegated to another host, that is the name of the host which delegates it.
        return "{0}-{1}".format(self.get_option("network"), self._play_context.remote_addr)

    def _connect(self) -> "Connection":
        self._connected = True
        return self

    def close(self) -> None:
        self._connected = False

    def exec_command(self, cmd: str, in_data: Optional[bytes] = None, sudoable: bool = True) -> Tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(cmd, in_data or b"")

    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, out_path)
        if not os.path.exists(in_path):
            raise AnsibleFileNotFound("There is no file {0} to copy.".format(in_path))
        with open(in_path, "rb") as source:
            self._copy("cat > {0}".format(shlex.quote(out_path)), source, subprocess.PIPE)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(in_path, out_path)
        with open(out_path, "wb") as target:
            self._copy("cat {0}".format(shlex.quote(in_path)), subprocess.DEVNULL, target)

    def _copy(self, command: str, source: Union[int, IO[bytes]], target: Union[int, IO[bytes]]) -> None:
        rc, _out, err = self._run(command, None, source, target)
        if rc:
            raise AnsibleConnectionFailure("{0} failed in {1}: {2}".format(command, self._container, err.decode("utf-8", "replace")))

    def _run(
        self,
        command: str,
        in_data: Optional[bytes],
        source: Union[None, int, IO[bytes]] = None,
        target: Union[int, IO[bytes]] = subprocess.PIPE,
    ) -> Tuple[int, bytes, bytes]:
        container, user, limit = self._container, self.get_option("remote_user"), self.get_option("time_limit")
        argv = [self.get_option("engine"), "exec", "--interactive"] + (["--user", user] if user else []) + [container, "/bin/sh", "-c", command]
        try:
            done = subprocess.run(argv, input=in_data, stdin=source, stdout=target, stderr=subprocess.PIPE, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            raise AnsibleConnectionFailure("{0} did not end within {1} s in {2}.".format(command, limit, container)) from None
        return done.returncode, done.stdout or b"", done.stderr
