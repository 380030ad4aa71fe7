"""The superblocks written for the lab's operating system drives are those mdadm would have written."""
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.tests.lab.vm import raid1
from ansible_collections.dgxops.fleet.tests.lab.vm.image import DRIVE_BYTES
from ansible_collections.dgxops.fleet.tests.lab.vm.raid1 import Mirror

#: Written by mdadm 4.2 on Debian 12 (kernel 6.1) in the lab's machine, 2026-11-23, onto the first of two loop devices of 64 MiB:
#: mdadm --create /dev/md9 --level=1 --metadata=1.0 --raid-devices=2 --assume-clean --bitmap=none --name=dgx01:9
#: --uuid=00112233:44556677:8899aabb:ccddeeff. The roles behind it are 0, 1, and 0xffff to the end of 512 bytes.
BY_MDADM = bytes.fromhex(
    "fc4e2ba901000000000000000000000000112233445566778899aabbccddeeff64677830313a3900000000000000000000000000000000000000000000000000"
    "b8c2036b00000000010000000000000080ff01000000000000000000020000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000e0ff010000000000f0ff01000000000000000000000000000000000000000000ea779510462dad45537225373e42624300000800f8ffffff"
    "b8c2036b000000000000000000000000ffffffffffffffff2baddfe6800000000000000000000000000000000000000000000000000000000000000000000000"
) + struct.pack("<128H", 0, 1, *[0xFFFF] * 126)
ITS_MIRROR = Mirror(uuid=bytes.fromhex("00112233445566778899aabbccddeeff"), name="dgx01:9", member_bytes=64 * 2**20, created=0x6b03c2b8)

#: Where struct mdp_superblock_1 has what, as far as it decides how the kernel takes the array.
FIELDS = {
    "magic": (0x00, "<I"),
    "major version": (0x04, "<I"),
    "features": (0x08, "<I"),
    "array uuid": (0x10, "16s"),
    "name": (0x20, "32s"),
    "created": (0x40, "<Q"),
    "level": (0x48, "<I"),
    "chunk": (0x58, "<I"),
    "members": (0x5C, "<I"),
    "reshape position": (0x68, "<Q"),
    "data offset": (0x80, "<Q"),
    "superblock offset": (0x88 + 8, "<Q"),
    "recovery offset": (0x98, "<Q"),
    "member": (0xA0, "<I"),
    "updated": (0xC0, "<Q"),
    "in sync up to": (0xD0, "<Q"),
    "roles there is room for": (0xDC, "<I"),
    "roles": (0x100, "256s"),
}


def field(superblock, name):
    offset, form = FIELDS[name]
    return struct.unpack_from(form, superblock, offset)[0]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_what_mdadm_wrote(name):
    assert field(ITS_MIRROR.superblock(0), name) == field(BY_MDADM, name)


def test_the_checksum_is_the_one_mdadm_computes():
    unsigned = BY_MDADM[:0xD8] + bytes(4) + BY_MDADM[0xDC:]
    assert raid1._checksum(unsigned) == struct.unpack_from("<I", BY_MDADM, 0xD8)[0]


def test_the_members_differ_in_number_and_identity_only():
    first, second = (ITS_MIRROR.superblock(member) for member in (0, 1))
    differing = {offset for offset in range(512) if first[offset] != second[offset]}
    number, identity, checksum = range(0xA0, 0xA4), range(0xA8, 0xB8), range(0xD8, 0xDC)
    assert differing <= {*number, *identity, *checksum}
    assert first[0xA8:0xB8] != second[0xA8:0xB8]


@given(st.integers(min_value=2**20, max_value=2**44))
def test_the_superblock_is_at_the_end_of_the_member_whatever_its_size(size):
    mirror = ITS_MIRROR._replace(member_bytes=size)
    assert mirror.offset % 4096 == 0
    assert 8192 <= size - mirror.offset <= 8192 + 4096 + 511


def test_the_file_system_of_the_image_ends_before_the_superblock():
    assert Mirror(bytes(16), "dgx01:0", DRIVE_BYTES).offset >= DRIVE_BYTES - 2**20
