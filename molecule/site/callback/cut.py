# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kills a run of Ansible, with all processes it has, so long after it began a task: what a power failure or an impatient person does."""
from __future__ import annotations

import os
import signal
import threading
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: cut
type: notification
short_description: Kill this run at a task
description:
  - The name of the task is in the environment variable C(DGXOPS_CUT_TASK), and how many seconds after it begins in C(DGXOPS_CUT_AFTER).
"""


class CallbackModule(CallbackBase):
    """The run must lead a process group of its own."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "cut"

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if task.get_name().split(" : ")[-1] == os.environ["DGXOPS_CUT_TASK"]:
            threading.Timer(float(os.environ["DGXOPS_CUT_AFTER"]), os.killpg, (os.getpgid(0), signal.SIGKILL)).start()
