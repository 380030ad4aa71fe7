# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""putty_import FILE: what a double click on a registry file does on Windows; PuTTY on Unix keeps the same values in ~/.putty/sessions."""
import os
import re
import sys

with open(sys.argv[1], newline="") as handle:
    head, *lines = handle.read().split("\r\n")
assert head == "Windows Registry Editor Version 5.00", head
sessions = os.path.expanduser("~/.putty/sessions")
os.makedirs(sessions, exist_ok=True)
place = None
for line in lines:
    section = re.match(r"^\[(-?)HKEY_CURRENT_USER\\Software\\SimonTatham\\PuTTY\\Sessions\\([^\\]+)\]$", line)
    if section:
        place = os.path.join(sessions, section.group(2))
        if os.path.exists(place):
            os.unlink(place)
        continue
    if not line:
        continue
    name, number, text = re.match(r'^"(\w+)"=(?:dword:([0-9a-f]{8})|"(.*)")$', line).groups()
    with open(place, "a") as handle:
        handle.write("{0}={1}\n".format(name, int(number, 16) if number else text.replace("\\\\", "\\")))
