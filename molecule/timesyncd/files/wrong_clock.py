# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A time server whose clock is as many seconds ahead as its argument says (SNTP, RFC 4330)."""
import socket
import struct
import sys
import time

door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("", 123))
while True:
    asked, client = door.recvfrom(1024)
    now = time.time() + float(sys.argv[1]) + 2208988800
    stamp = struct.pack("!2I", int(now), int(now % 1 * 2**32))
    door.sendto(struct.pack("!BBbb3I", 0x24, 2, 6, -20, 0, 0, 0x7F000001) + stamp + asked[40:48] + stamp + stamp, client)
