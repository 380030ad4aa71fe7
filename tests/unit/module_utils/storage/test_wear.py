# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What drives tell of how much was written to them and what that has cost."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.wear import Wear, parse_ata, parse_nvme, read_wear

# As nvme-cli 2.3 printed it for the lab's drive in November 2026, shortened; the numbers are a used drive's.
NVME = {"critical_warning": 0, "temperature": 323, "avail_spare": 98, "spare_thresh": 10, "percent_used": 3, "data_units_read": "13",
        "data_units_written": "19384356", "media_errors": "1"}
# In the form of smartctl(8) 7.3, --json --log=devstat.
ATA = {"logical_block_size": 512, "ata_device_statistics": {"pages": [
    {"number": 1, "table": [{"name": "Logical Sectors Written", "value": 4000, "flags": {"valid": True}},
                            {"name": "Logical Sectors Read", "value": 9, "flags": {"valid": True}}]},
    {"number": 7, "table": [{"name": "Percentage Used Endurance Indicator", "value": 12, "flags": {"valid": True}}]}]}}


@pytest.mark.parametrize("changes, wear", [
    ({}, Wear(19384356 * 512000, 3, 98, 1)),
    ({"data_units_written": 7, "media_errors": 0}, Wear(7 * 512000, 3, 98, 0)),  # as before version 2
    ({"percent_used": 255}, Wear(19384356 * 512000, 255, 98, 1)),
    ({"data_units_written": "n/a"}, Wear(None, 3, 98, 1)),
])
def test_an_nvme_drive_tells_its_wear(changes, wear):
    assert parse_nvme(json.dumps(dict(NVME, **changes))) == wear


def test_a_sata_drive_tells_what_was_written_and_its_wear():
    assert parse_ata(json.dumps(ATA)) == Wear(4000 * 512, 12)
    unsure = json.loads(json.dumps(ATA).replace("true", "false"))
    assert parse_ata(json.dumps(unsure)) is None


def test_each_drive_is_asked_by_the_program_for_it_and_silence_is_no_error():
    commands = Recorded({("nvme", "smart-log", "/dev/nvme0n1", "--output-format=json"): Result(0, json.dumps(NVME), ""),
                         ("smartctl", "--json", "--log=devstat", "/dev/sda"): Result(4, json.dumps(ATA), ""),
                         ("smartctl", "--json", "--log=devstat", "/dev/vda"): Result(2, "", "Unable to detect device type")})
    assert [read_wear(name, commands) for name in ("nvme0n1", "sda", "vda")] == [Wear(19384356 * 512000, 3, 98, 1), Wear(4000 * 512, 12), None]


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pages", "table", "name", "value", "flags", "percent_used",
                                                                                                  "ata_device_statistics", "avail_spare"]), inner, max_size=4))


@given(st.text() | _JSON.map(json.dumps))
def test_no_text_is_too_strange(text):
    for parse in (parse_nvme, parse_ata):
        assert parse(text) is None or isinstance(parse(text), Wear)
