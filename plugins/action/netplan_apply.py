# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's side of netplan_apply: start the change, come back over a new connection, confirm; or find out what the host did instead.

The host needs nobody to take a change back, so whatever fails here, at worst nobody confirms.
"""
from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

SPEC = {
    "timeout": {"type": "int", "default": 90},
    "address": {"type": "str"},
    "reach": {"type": "list", "elements": "str", "default": []},
}
#: Below that no host could apply anything and be reached again; above it nobody waits.
LEAST, GREATEST = 20, 3600
#: Seconds after its time that a host is given to take a change back, and to be reached as before.
AFTERWARDS = 120
#: Seconds for a connection to come about.
CONNECT = 15
#: What a connection plugin calls the address of a host.
ADDRESS_OPTIONS = ("host", "remote_addr")
FAILURES = (AnsibleConnectionFailure, AnsibleError, OSError)


class ActionModule(ActionBase):
    """Start, reconnect, confirm."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _valid, options = self.validate_argument_spec(argument_spec=SPEC)
        timeout = int(options["timeout"])
        if not LEAST <= timeout <= GREATEST:
            return dict(result, failed=True, msg="timeout is {0}. A number of seconds from {1} to {2} is expected.".format(timeout, LEAST, GREATEST))
        self._change = time.strftime("%Y%m%d%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:8]
        self._home = self._addresses()
        self._seen: Dict[str, str] = {}
        answer = self._on_host("look")
        if answer.get("failed") or answer.get("state") == "nothing" or self._task.check_mode:
            return dict(result, **_told(answer))
        self._be_impatient()
        begun = time.monotonic()
        answer = self._first_step(timeout)
        if answer.get("failed") or answer.get("state") == "nothing":
            return dict(result, **_told(answer))
        links = {"created": answer.get("created", []), "removed": answer.get("removed", [])}
        try:
            last = self._come_back(options["address"], list(options["reach"] or []), begun, timeout)
        finally:
            self._go_to(None)
        told = dict(_told(last), seconds=round(time.monotonic() - begun, 1))
        if last.get("state") == "confirmed":
            if options["address"]:
                self._go_to(options["address"])
            return dict(result, **dict(told, **links))
        return dict(result, **dict(told, failed=True, changed=False, msg=self._why(last, options["address"], timeout)))

    def _first_step(self, timeout: int) -> Dict[str, Any]:
        """A connection that breaks here may have broken after the start: then the host is asked."""
        try:
            return self._on_host("start", timeout=timeout)
        except AnsibleConnectionFailure as error:
            self._note("at the start", str(error))
            return {"state": "started"}

    def _come_back(self, address: Optional[str], reach: List[str], begun: float, timeout: int) -> Dict[str, Any]:
        """Until the host has confirmed the change, or has taken it back, or time is over. Where an address was given, only that proves anything."""
        end = begun + timeout
        places = [address, None] if address else [None]
        while time.monotonic() < end + AFTERWARDS:
            over = time.monotonic() > end
            for place in [None] if over else places:
                self._go_to(place)
                try:
                    answer = self._on_host("outcome" if over else "wait", reach=reach)
                    if answer.get("state") == "in_force" and place == address:
                        self._go_to(place)
                        answer = self._on_host("confirm", reach=reach)
                except FAILURES as error:
                    self._note(place or self._home_name(), str(error))
                    continue
                if answer.get("failed") or answer.get("unreachable"):
                    self._note(place or self._home_name(), str(answer.get("msg") or answer.get("module_stderr") or "no answer"))
                    continue
                if answer.get("state") in ("confirmed", "rolled_back") or (answer.get("state") == "unknown" and over):
                    return answer
                if answer.get("reason"):
                    self._note(place or self._home_name(), str(answer["reason"]))
            time.sleep(1)
        return {"state": "unreachable", "reason": ""}

    def _on_host(self, step: str, **options: Any) -> Dict[str, Any]:
        arguments = dict(options, step=step, change=self._change)
        answer = self._execute_module(module_name="dgxops.fleet.netplan_apply", module_args=arguments, task_vars=self._variables)
        if answer.get("unreachable"):
            raise AnsibleConnectionFailure(str(answer.get("msg")))
        return dict(answer)

    def _be_impatient(self) -> None:
        """A connection whose other end is gone without a word must break, and one to nowhere be given up, in seconds; ssh would wait for many minutes."""
        with contextlib.suppress(Exception):
            said = self._connection.get_option("ssh_extra_args") or ""
            self._connection.set_option("ssh_extra_args", "{0} -o ServerAliveInterval=5 -o ServerAliveCountMax=3".format(said).strip())
        with contextlib.suppress(Exception):
            self._connection.set_option("timeout", min(int(self._connection.get_option("timeout")), CONNECT))
        self._go_to(None)

    def _go_to(self, address: Optional[str]) -> None:
        """A new connection, so that nothing of an old one is mistaken for proof; to the home address if none is given."""
        with contextlib.suppress(Exception):
            self._connection.reset()
        for name, home in self._home.items():
            with contextlib.suppress(Exception):
                self._connection.set_option(name, address or home)
        self._play_context.remote_addr = address or self._home_name()
        with contextlib.suppress(Exception):
            self._connection._play_context.remote_addr = self._play_context.remote_addr
            self._connection.reset()

    def _addresses(self) -> Dict[str, Any]:
        """How this connection knows the host."""
        known: Dict[str, Any] = {}
        for name in ADDRESS_OPTIONS:
            with contextlib.suppress(Exception):
                known[name] = self._connection.get_option(name)
        return known

    def _home_name(self) -> str:
        return str(self._home.get("host") or self._home.get("remote_addr") or self._play_context.remote_addr)

    def _note(self, where: str, text: str) -> None:
        """What was seen last at each address. Of many attempts that fail, each in words of its own, none must push out what was seen elsewhere."""
        self._seen[where] = " ".join(text.split())[:400]
        display.vvv("netplan_apply: {0}: {1}".format(where, self._seen[where]))

    def _why(self, last: Dict[str, Any], address: Optional[str], timeout: int) -> str:
        seen = " Before that: {0}".format(" | ".join("{0}: {1}".format(*seen) for seen in self._seen.items())) if self._seen else ""
        state = last.get("state")
        if state == "rolled_back":
            left = "".join(" {0}.".format(step) for step in last.get("failed_steps") or [])
            missing = " These addresses did not come back: {0}.".format(", ".join(last["missing"])) if last.get("missing") else \
                " Files, links and addresses are as before."
            return "The host took the change back, since {0}.{1}{2}{3}".format(last.get("reason"), missing, left, seen)
        if state == "unknown":
            return ("The host does not know of this change. Either it never began, or the host was rebooted more than once since; the files from before are in "
                    "force.{0}".format(seen))
        return ("The host cannot be reached at {0}, {1} s after it should have taken the change back. It takes a change back at {2} s, and at each boot. "
                "{3}".format(self._home_name() + (" nor at " + address if address else ""), AFTERWARDS, timeout, seen.strip()))


def _told(answer: Dict[str, Any]) -> Dict[str, Any]:
    """Of the module's answer what is for the user."""
    keys = ("state", "reason", "created", "removed", "missing", "failed_steps", "changed", "failed", "msg", "warnings", "exception")
    return {key: answer[key] for key in keys if key in answer}
