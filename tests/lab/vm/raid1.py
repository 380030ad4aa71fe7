# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An md RAID-1 of two identical drives, written without the md driver: so the operating system of the lab's DGX-2 lies on md0 as on a real one.

Superblock version 1.0 sits at the end of a member; the file system starts at its first byte, where a boot loader that knows nothing
of md still finds it. Layout: struct mdp_superblock_1 in include/uapi/linux/raid/md_p.h; place: mdadm's super1.c.
"""
import struct
from typing import NamedTuple

SECTOR = 512
_MAGIC = 0xA92B4EFC
_MAX_DEVICES = 128
_NO_DEVICE = 0xFFFF
_IN_SYNC = 2**64 - 1
_CHECKSUM_AT = 0xD8


class Mirror(NamedTuple):
    """An array of two members that hold the same bytes already."""

    uuid: bytes
    name: str
    member_bytes: int
    created: int = 1700000000

    @property
    def superblock_sector(self) -> int:
        """Version 1.0: at least 8 KiB before the end of the member, on a 4 KiB boundary."""
        return (self.member_bytes // SECTOR - 16) & ~7

    @property
    def offset(self) -> int:
        """Where the superblock lies, in bytes; the file system has to end before it."""
        return self.superblock_sector * SECTOR

    def superblock(self, member: int) -> bytes:
        """The superblock of member 0 or 1: array clean, both members active and in sync."""
        unsigned = self._fields_of(member) + struct.pack(f"<{_MAX_DEVICES}H", 0, 1, *[_NO_DEVICE] * (_MAX_DEVICES - 2))
        return unsigned[:_CHECKSUM_AT] + struct.pack("<I", _checksum(unsigned)) + unsigned[_CHECKSUM_AT + 4 :]

    def _fields_of(self, member: int) -> bytes:
        sectors = self.superblock_sector
        array = struct.pack("<4I16s32sQIIQIII", _MAGIC, 1, 0, 0, self.uuid, self.name.encode(), self.created, 1, 0, sectors, 0, 2, 0)
        no_reshape = struct.pack("<IQIIII", 0, 0, 0, 0, 0, 0)
        device_uuid = self.uuid[:15] + bytes([(self.uuid[15] + 1 + member) % 256])
        device = struct.pack("<QQQQII16sBBHI", 0, sectors, sectors, 0, member, 0, device_uuid, 0, 0, 0, 0)
        state = struct.pack("<QQQII32s", self.created, 1, _IN_SYNC, 0, _MAX_DEVICES, b"")
        return array + no_reshape + device + state


def _checksum(superblock: bytes) -> int:
    """The sum of all 32-bit words, its carry added once (calc_sb_1_csum in drivers/md/md.c); the checksum field itself counts as zero."""
    total: int = sum(struct.unpack(f"<{len(superblock) // 4}I", superblock))
    return ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF
