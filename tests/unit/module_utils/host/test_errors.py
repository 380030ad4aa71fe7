# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A user gets a sentence and what he can decide on; a defect of ours stays visible."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError, errors_reported_by


class Module:
    """Remembers how it failed, as AnsibleModule would tell it."""

    def __init__(self):
        self.failed = None

    def fail_json(self, **result):
        self.failed = result


def meets(error):
    """What a module's work may end in."""
    raise error


def test_a_refusal_becomes_the_message_of_the_task_with_its_details():
    module = Module()
    with errors_reported_by(module):
        meets(FleetError("/dev/sdb holds a file system.", device="/dev/sdb"))
    assert module.failed == {"msg": "/dev/sdb holds a file system.", "device": "/dev/sdb"}


def test_what_the_system_refuses_names_the_file_and_the_reason():
    module = Module()
    with errors_reported_by(module):
        meets(PermissionError(13, "Permission denied", "/etc/fstab"))
    assert module.failed == {"msg": "The system refused an operation on /etc/fstab: Permission denied."}


def test_a_system_error_without_a_file_is_told_too():
    module = Module()
    with errors_reported_by(module):
        meets(OSError("Exec format error"))
    assert module.failed == {"msg": "The system refused an operation: Exec format error."}


def test_a_defect_is_not_dressed_up_as_the_users_mistake():
    module = Module()
    with pytest.raises(KeyError), errors_reported_by(module):
        meets(KeyError("oops"))
    assert module.failed is None
