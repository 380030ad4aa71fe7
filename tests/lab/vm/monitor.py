# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Talking to QEMU (QMP) and to the agent inside the machine: JSON lines over a Unix socket."""
import base64
import json
import os
import secrets
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Type

from .programs import LabError


class _Lines:
    """One JSON document a line, over a socket that may lie at any depth of directories."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The address of a Unix socket holds 108 characters; a checkout's path may be longer.
            self._socket.connect(f"/proc/self/fd/{directory}/{path.name}")
        except OSError as error:
            self._socket.close()
            raise LabError(f"Nobody answers at {path}: {error.strerror}. Is the machine up? See 'script/lab status'.") from None
        finally:
            os.close(directory)
        self._stream = self._socket.makefile("rwb")

    def write(self, document: Dict[str, Any], prefix: bytes = b"") -> None:
        self._stream.write(prefix + json.dumps(document).encode() + b"\n")
        self._stream.flush()

    def read(self) -> Dict[str, Any]:
        """The next document; lines that are none (left over from a broken conversation) are passed over."""
        while True:
            try:
                line = self._stream.readline()
            except socket.timeout:
                raise LabError("The machine's monitor or agent did not answer in time.") from None
            except OSError:
                line = b""
            if not line:
                raise LabError("The machine's monitor or agent ended the conversation.")
            try:
                document = json.loads(line.lstrip(b"\xff"))
            except ValueError:
                continue
            if isinstance(document, dict):
                return document

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class Monitor:
    """QEMU's own monitor. Use it as a context manager: QEMU talks to one client at a time."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._lines = _Lines(path, timeout)
        self._events: List[Dict[str, Any]] = []
        self._lines.read()
        self.execute("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._lines.close()

    def execute(self, command: str, arguments: Optional[Mapping[str, Any]] = None) -> Any:
        """Run a command and return its answer; :class:`LabError` with QEMU's words if it refuses."""
        self._lines.write({"execute": command, "arguments": dict(arguments or {})})
        while True:
            answer = self._lines.read()
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise LabError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}")
            else:
                return answer.get("return")

    def wait_for(self, event: str, matches: Callable[[Dict[str, Any]], bool] = lambda data: True) -> None:
        """Wait until QEMU has told of an event whose data match, before or after this call."""
        pending = self._events
        self._events = []
        while True:
            for known in pending:
                if known["event"] == event and matches(known.get("data", {})):
                    return
            pending = [self._lines.read()]

    def wait_while(self, command: str, busy: Sequence[str], timeout: float) -> Dict[str, Any]:
        """Ask again until the answer's status is none of ``busy``, and return that answer."""
        end = time.monotonic() + timeout
        while True:
            answer: Dict[str, Any] = self.execute(command) or {}
            if answer.get("status") not in (None, *busy):
                return answer
            if time.monotonic() > end:
                raise LabError(f"QEMU is still {answer.get('status')!r} after {timeout:g} s.")
            time.sleep(0.1)


class Finished(NamedTuple):
    """How a program inside the machine ended."""

    status: int
    out: str
    err: str


class Agent:
    """The agent inside the machine: a way in that needs no network, for tests that take the network away."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._lines = _Lines(path, timeout)
        mark = secrets.randbelow(2**31)
        # guest-sync-delimited: an 0xFF byte ends whatever an earlier client left half said.
        self._lines.write({"execute": "guest-sync-delimited", "arguments": {"id": mark}}, prefix=b"\xff")
        while self._lines.read().get("return") != mark:
            pass

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._lines.close()

    def execute(self, command: str, arguments: Optional[Mapping[str, Any]] = None) -> Any:
        """Run a command of the agent and return its answer; :class:`LabError` with its words if it refuses."""
        self._lines.write({"execute": command, "arguments": dict(arguments or {})})
        answer = self._lines.read()
        if "error" in answer:
            raise LabError(f"The agent refused {command}: {answer['error'].get('desc', answer['error'])}")
        return answer.get("return")

    def run(self, script: str, timeout: float) -> Finished:
        """Run a shell script as root inside the machine and wait for its end."""
        process = self.execute("guest-exec", {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True})["pid"]
        end = time.monotonic() + timeout
        while True:
            state = self.execute("guest-exec-status", {"pid": process})
            if state["exited"]:
                out, err = (base64.b64decode(state.get(part, "")).decode("utf-8", "replace") for part in ("out-data", "err-data"))
                return Finished(state.get("exitcode", 128 + state.get("signal", 0)), out, err)
            if time.monotonic() > end:
                raise LabError(f"The command still runs inside the machine after {timeout:g} s.")
            time.sleep(0.2)
