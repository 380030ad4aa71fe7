# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The boot menu of this host: reading what GRUB is told and what it made of it, and changing that. See :mod:`.grub`."""
import os
import re
from typing import List, NamedTuple, Optional, Sequence, Tuple

from . import records
from .commands import Commands
from .errors import FleetError
from .files import read_text, remove, write_atomic
from .grub import DEFAULTS, DROP_INS, GRUB_CFG, VARIABLES, Change, Entry, Found, Wish, parse_entries, show
from .kernel import huge_pages, in_force, parse_line
from .shell_assignments import Source


class Host(NamedTuple):
    """The files of a host below a root."""

    root: str = "/"

    def path(self, name: str) -> str:
        return os.path.join(self.root, name.lstrip("/"))

    def text(self, name: str) -> Optional[str]:
        return read_text(self.path(name))


def read(wish: Wish, host: Host) -> Found:
    """Read what GRUB is told, what it made of it, and how the kernel was started."""
    names = [DEFAULTS] + ["{0}/{1}".format(DROP_INS, name) for name in _names(host.path(DROP_INS)) if re.match(r"[^.].*\.cfg\Z", name)]
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB$", host.text("/proc/meminfo") or "", re.MULTILINE))
    entries = parse_entries(host.text(GRUB_CFG))
    running = parse_line(host.text("/proc/cmdline") or "")
    return Found(
        sources=tuple(Source(name, host.text(name) or "") for name in names if name != wish.path and os.path.isfile(host.path(name))),
        drop_in=host.text(wish.path),
        entries=entries,
        running=running,
        record=_read_record(wish, host),
        memory_kib=int(memory.get("MemTotal", 0)),
        # Hugepagesize is the architecture's own default size unless the running kernel was told another.
        usual_page_kib=2048 if huge_pages(running).default_kib else int(memory.get("Hugepagesize", 2048)),
        page_sizes=tuple(sorted(int(name[10:-2]) for name in _names(host.path("/sys/kernel/mm/hugepages")) if name.startswith("hugepages-"))),
        release=_release(entries or (), host.text("/proc/sys/kernel/osrelease") or ""),
        problem=_not_ours(host),
    )


def _names(directory: str) -> List[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


def _release(entries: Sequence[Entry], running: str) -> Tuple[int, int]:
    """Version and patch level of the kernel that boots next, by the name of its image; else of the running one; (0, 0) if neither tells."""
    for name in [os.path.basename(entry.image) for entry in entries if not entry.recovery][:1] + [running]:
        version = re.search(r"(\d+)\.(\d+)", name)
        if version:
            return int(version.group(1)), int(version.group(2))
    return 0, 0


def _not_ours(host: Host) -> str:
    """Why this host's kernel command line cannot be set here; nothing if it can."""
    if os.path.exists(host.path("/etc/redhat-release")) or os.path.exists(host.path("/usr/sbin/grubby")):
        return "The Red Hat family does not read {0}. Set the parameters with grubby --update-kernel=ALL --args=....".format(DROP_INS)
    if os.path.isfile(host.path(DEFAULTS)):
        return ""
    if os.path.exists(host.path("/boot/loader/loader.conf")) or os.path.exists(host.path("/boot/efi/loader/loader.conf")):
        return "{0} is not there: this host boots by systemd-boot. Put the parameters in /etc/kernel/cmdline and run kernel-install.".format(DEFAULTS)
    return "{0} is not there, so this host does not boot by GRUB. On Debian, Ubuntu and DGX OS the package grub2-common brings it.".format(DEFAULTS)


def carry_out(change: Change, host: Host, commands: Commands, update_grub: Sequence[str]) -> None:
    """Write the drop-in and run update-grub. A run that is cut short anywhere is completed by the next one."""
    if change.record_differs:
        # First, so that whatever happens next the following run still knows which parameters to look for in grub.cfg.
        _write_record(change.wish, host, change.record)
    if not change.changed:
        return
    place = host.path(change.wish.path)
    _put(place, change.after)
    try:
        commands.output(update_grub, timeout=300)
    except FleetError as error:
        _put(place, change.before)
        raise FleetError(
            "{0} The boot menu is as it was, and so is {1}. Settle what update-grub complains about and run the task again.".format(
                error.message, change.wish.path
            )
        )
    _verify(change.wish, parse_entries(host.text(GRUB_CFG)) or ())


def _verify(wish: Wish, entries: Sequence[Entry]) -> None:
    for entry in entries:
        lost = [] if entry.recovery else [found for found in wish.parameters if not in_force(found, wish.parameters, entry.line)]
        if lost:
            raise FleetError(
                "update-grub ended well, but the entry {0} of {1} boots without {2}. Look for a script in /etc/grub.d that does not use {3}.".format(
                    entry.id, GRUB_CFG, show(lost), VARIABLES[wish.entries]
                )
            )


def record_of(wish: Wish) -> str:
    """Under which name is remembered which parameters are still to be seen in the boot menu or the running kernel."""
    return "kernel_cmdline/{0}".format(wish.name)


def _read_record(wish: Wish, host: Host) -> Tuple[str, ...]:
    found = records.read(record_of(wish), host.root)
    try:
        return tuple(str(item) for item in found["parameters"]) if found else ()
    except (KeyError, TypeError):
        raise records.damaged(record_of(wish))


def _write_record(wish: Wish, host: Host, record: Sequence[str]) -> None:
    records.write(record_of(wish), {"parameters": list(record)} if record else {}, host.root)


def _put(place: str, text: Optional[str]) -> None:
    if text is None:
        remove(place)
    else:
        write_atomic(place, text)
