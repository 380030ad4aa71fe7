# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a module's main() in this process, with options as Ansible hands them over, and returns what it printed."""
import contextlib
import io
import json
from unittest import mock

from ansible.module_utils import basic
from ansible.module_utils.common import warnings

try:
    from ansible.module_utils import _internal as sides
except ImportError:  # ansible-core before 2.19 does not tell controller and node apart
    sides = mock.Mock()


def run_module(main, options, check=False):
    """The answer of a module; a failure is an answer too, with ``failed`` set."""
    arguments = dict(options, _ansible_check_mode=check, _ansible_diff=True, _ansible_remote_tmp="/tmp")
    data = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    out = io.StringIO()
    # A module is a process of its own, which has no warnings of the one before.
    warnings._global_warnings.clear()
    # _ANSIBLE_PROFILE is there since ansible-core 2.19, which will not read the arguments without it.
    with mock.patch.object(basic, "_ANSIBLE_ARGS", data), mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True):
        # A test of a filter in the same process makes it a controller, where warnings go to the terminal.
        with mock.patch.object(sides, "is_controller", False, create=True), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main()
    return json.loads(out.getvalue().strip().splitlines()[-1])
