# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes what every task did, as one JSON object a line, to the file named by DGXOPS_RECORD: for programs that run playbooks and judge them."""
from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record
type: notification
short_description: Record the results of tasks for a program
description:
  - One line per host and task with C(host), C(task), C(status), C(changed), C(msg) and C(diff).
"""


class CallbackModule(CallbackBase):
    """Only results that say something: skipped tasks are left out."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"

    def _write(self, result: Any, status: str) -> None:
        values = result._result
        entry = {
            "host": result._host.get_name(),
            "task": result._task.get_name(),
            "action": result._task.action,
            "status": status,
            "changed": bool(values.get("changed")),
            "msg": values.get("msg"),
            "diff": values.get("diff") or [item["diff"] for item in values.get("results") or [] if isinstance(item, dict) and item.get("diff")],
        }
        with open(os.environ["DGXOPS_RECORD"], "a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, "unreachable")
