# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads how many files guests may open on a host where qemu.conf does not say so."""
import re
import sys
from typing import Mapping, Optional

from ..host.host import Host
from ..host.units import Unit
from .qemu_conf import Limits

#: What the kernel gives a process (NR_OPEN in include/uapi/linux/fs.h and INR_OPEN_CUR in linux/fs.h) where nothing was said.
_MOST, _USUAL = 1024 * 1024, 1024


def read_limits(host: Host, daemons: Mapping[str, Unit]) -> Limits:
    """Of the daemons that are in use here, by what they run with, or by their units while they wait for someone to connect."""
    in_charge = [name for name, unit in daemons.items() if unit.active] or [name for name, unit in daemons.items() if unit.in_charge] or list(daemons)
    most = host.sysfs.number("proc/sys/fs/nr_open", _MOST)
    found = [limit for limit in (_limit(host, name) for name in in_charge) if limit is not None]
    return Limits(min(found + [most]) if found else _USUAL, most)


def _limit(host: Host, name: str) -> Optional[int]:
    shown = host.commands.output(("systemctl", "show", "--property=MainPID,LimitNOFILE", name))
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    running = re.search(r"^Max open files\s+([0-9]+)\s", host.text("proc/{0}/limits".format(said.get("MainPID", "0"))) or "", re.MULTILINE)
    # A daemon that systemd starts on demand is one that raises its limit to the most that its unit has.
    number = running.group(1) if running else said.get("LimitNOFILE", "").replace("infinity", str(sys.maxsize))
    return int(number) if number.isdigit() else None
