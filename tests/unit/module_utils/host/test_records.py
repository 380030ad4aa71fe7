# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was found first is remembered for root only, and forgotten without a trace."""
import os
import stat

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError


def test_a_record_is_for_root_and_goes_without_a_trace(tmp_path):
    root = str(tmp_path)
    assert records.read("x", root) == {}
    records.write("x", {"a": 1}, root)
    assert records.read("x", root) == {"a": 1}
    assert stat.S_IMODE(os.stat(records.place("x", root)).st_mode) == 0o600
    records.write("x", {}, root)
    assert not os.path.exists(os.path.dirname(records.place("x", root)))


def test_the_directory_stays_while_others_have_records_there(tmp_path):
    root = str(tmp_path)
    records.write("x", {"a": 1}, root)
    records.write("y", {"a": 1}, root)
    records.drop("x", root)
    records.drop("x", root)
    assert records.read("y", root) == {"a": 1}


@pytest.mark.parametrize("text", ["", "[1, 2", "[]", "null", "3"])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path, text):
    root = str(tmp_path)
    records.write("x", {"a": 1}, root)
    with open(records.place("x", root), "w") as handle:
        handle.write(text)
    with pytest.raises(FleetError, match="/var/backups/dgxops/x.json is damaged.*or remove it"):
        records.read("x", root)
