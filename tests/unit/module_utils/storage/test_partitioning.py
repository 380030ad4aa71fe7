# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A drive is divided among guests so that each finds its own part again."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.partitioning import (
    LEAST_BYTES,
    MIB,
    Partition,
    Share,
    Table,
    from_sfdisk,
    partition_device,
    partition_uuid,
    plan,
    to_sfdisk,
)  # fmt: skip

TB = 10**12


def test_two_guests_share_a_drive_equally():
    table = plan("nvme-A", 3840755982336, 512, [Share("vm1", 1), Share("vm2", 1)])
    assert [part.size for part in table.partitions] == [3750735872, 3750735872]
    assert table.partitions[0].start == 2048 and table.partitions[1].start == 2048 + 3750735872
    assert [part.name for part in table.partitions] == ["vm1 1", "vm2 1"]


def test_given_sizes_are_given_and_the_rest_shares_what_is_left():
    table = plan("nvme-A", TB, 4096, [Share("vm1", 1, 100 * 2**30), Share("vm2", 1), Share("vm2", 2)])
    assert table.partitions[0].size * 4096 == 100 * 2**30
    assert table.partitions[1].size == table.partitions[2].size


def test_the_uuids_follow_from_drive_guest_and_number_and_are_told_apart():
    uuids = {partition_uuid(drive, guest, number) for drive in ("a", "b") for guest in ("vm1", "vm2") for number in (1, 2)}
    assert len(uuids) == 8
    assert partition_uuid("a", "vm1", 1) == partition_uuid("a", "vm1", 1)


@given(
    st.integers(64 * MIB, 60 * TB), st.sampled_from([512, 4096]),
    st.lists(st.one_of(st.none(), st.integers(LEAST_BYTES, 4 * TB)), min_size=1, max_size=12),
)  # fmt: skip
def test_whatever_is_asked_for_partitions_are_apart_on_the_drive_and_whole_mebibytes_or_it_is_refused(size, sector, sizes):
    try:
        table = plan("nvme-A", size, sector, [Share("vm", number, wanted) for number, wanted in enumerate(sizes)])
    except FleetError as error:
        assert "do not fit" in error.message
        return
    end = MIB // sector
    for part, wanted in zip(table.partitions, sizes):
        assert part.start == end and part.start * sector % MIB == 0 and part.size * sector % MIB == 0
        assert wanted is None or part.size * sector == wanted // MIB * MIB
        assert part.size * sector >= LEAST_BYTES
        end = part.start + part.size
    assert end * sector <= size - 128 * 128 - sector, "the copy of the table at the end has its room"


@pytest.mark.parametrize(
    "shares, says",
    [
        ([Share("vm1", 1, 2 * TB)], "do not fit: 1907348 MiB are asked for, and the drive has"),
        ([Share("vm1", 1, TB - 20 * MIB), Share("vm2", 1), Share("vm2", 2), Share("vm2", 3)], "and 3 more share the rest"),
        ([Share("vm1", 1, 500)], "shall have 500 bytes, but at least 8388608 are expected. Write a unit"),
        ([Share("vm%d" % number, 1) for number in range(129)], "shall have 129 partitions, but a GPT has room for 128"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(shares, says):
    with pytest.raises(FleetError, match=says):
        plan("nvme-A", TB, 512, shares)


def test_the_table_goes_to_sfdisk_and_comes_back():
    table = plan("nvme-A", 2**30, 512, [Share('vm"1', 1, 300 * MIB), Share("vm2", 1)])
    script = to_sfdisk(table)
    assert script.startswith("label: gpt\nlabel-id: ") and 'name="vm_1 1"' in script and "unit: sectors" in script
    parts = [
        {"node": "/dev/nvme3n1p%d" % part.number, "start": part.start, "size": part.size, "uuid": part.uuid.upper(), "name": "anything"}
        for part in table.partitions
    ]
    said = {"partitiontable": {"label": "gpt", "id": table.uuid.upper(), "device": "/dev/nvme3n1", "unit": "sectors", "partitions": parts}}
    assert table.same(from_sfdisk(json.dumps(said)))
    del parts[1]
    assert not table.same(from_sfdisk(json.dumps(said)))


def test_a_table_of_the_old_kind_and_no_table():
    text = '{"partitiontable": {"label":"dos", "id":"0x1", "partitions": [{"node": "/dev/sda1", "start": 2048, "size": 8}]}}'
    assert from_sfdisk(text) == Table("dos", "0x1", (Partition(1, 2048, 8, ""),))
    for nonsense in ("", "{}", "[]", '{"partitiontable": {}}', '{"partitiontable": {"label": "gpt", "partitions": [{"node": "x"}]}}'):
        assert from_sfdisk(nonsense) is None


def test_partitions_are_named_as_the_kernel_names_them():
    assert (partition_device("nvme0n1", 2), partition_device("sda", 1)) == ("nvme0n1p2", "sda1")
