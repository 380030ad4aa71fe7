# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A run of several steps is carried out whole or not at all, and says which."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.undo import Undo


def fails(message, **details):
    raise FleetError(message, **details)


def test_the_last_step_is_undone_first_and_the_error_says_that_all_is_back():
    undo, happened = Undo(), []
    with pytest.raises(FleetError) as caught:
        with undo.on_failure(lambda: "All is as before."):
            undo.later("one", happened.append, "one")
            undo.later("two", happened.append, "two")
            fails("The third step failed.", step=3)
    assert happened == ["two", "one"]
    assert caught.value.message == "The third step failed. All is as before."
    assert caught.value.details == {"step": 3}


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back():
    undo, happened = Undo(), []
    with pytest.raises(FleetError) as caught:
        with undo.on_failure(lambda: "All is as before."):
            undo.later("the file", happened.append, "file")
            undo.later("the network", fails, "It is in use.")
            fails("No.")
    assert happened == ["file"]
    assert caught.value.message == "No. Not everything could be put back: the network (It is in use.)."


def test_a_full_disk_is_told_with_what_came_of_it():
    def write():
        raise OSError(28, "No space left on device", "/var/backups")

    with pytest.raises(OSError) as caught:
        with Undo().on_failure(lambda: "All is as before."):
            write()
    assert caught.value.strerror == "No space left on device. All is as before."


def test_a_run_that_succeeds_undoes_nothing():
    undo, happened = Undo(), []
    with undo.on_failure(lambda: ""):
        undo.later("one", happened.append, "one")
    assert happened == []
