# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the collection keeps over a reboot of a host: where its own files are, and what they say.

The modules that write these files own them. Reading them all at once tells a role what it need not ask for again.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple

from .files import BACKUPS
from .sysfs import Sysfs

# Below the root of the host.
SYSCTL, SYSCTL_PREFIX = "etc/sysctl.d", "zz-dgxops-"
TMPFILES = "etc/tmpfiles.d/dgxops-hugepages.conf"
GRUB, GRUB_PREFIX = "etc/default/grub.d", "zz-"
GRUB_RECORDS = BACKUPS.lstrip("/") + "/kernel_cmdline"

_POOL = re.compile(r"^w! /sys/devices/system/node/node(\d+)/hugepages/hugepages-(\d+)kB/nr_hugepages - - - - (\d+)$", re.MULTILINE)


class Kept(NamedTuple):
    """Kernel settings by name of their file; huge pages by size in KiB and node; the names under which kernel parameters were set.

    Parameters that were taken away, but that the running kernel was still started with, count as set.
    """

    sysctl: Mapping[str, Mapping[str, str]]
    hugepages: Mapping[int, Mapping[int, int]]
    kernel_cmdline: List[str]

    def to_dict(self) -> Dict[str, Any]:
        """As JSON types."""
        return {
            "sysctl": {name: dict(values) for name, values in self.sysctl.items()},
            "hugepages": {str(size): {str(node): count for node, count in nodes.items()} for size, nodes in self.hugepages.items()},
            "kernel_cmdline": list(self.kernel_cmdline),
        }


def read_kept(sysfs: Sysfs) -> Kept:
    """Read the collection's own files below a root. What root alone may read is missing for others."""
    names = _names(sysfs, SYSCTL, SYSCTL_PREFIX, ".conf")
    settings = {name: _settings(sysfs.read("{0}/{1}{2}.conf".format(SYSCTL, SYSCTL_PREFIX, name)) or "") for name in names}
    pages: Dict[int, Dict[int, int]] = {}
    for node, size, count in _POOL.findall(sysfs.read(TMPFILES) or ""):
        pages.setdefault(int(size), {})[int(node)] = int(count)
    parameters = set(_names(sysfs, GRUB, GRUB_PREFIX, ".cfg")) | set(_names(sysfs, GRUB_RECORDS, "", ".json"))
    return Kept(settings, pages, sorted(parameters))


def _names(sysfs: Sysfs, directory: str, prefix: str, suffix: str) -> List[str]:
    return [entry[len(prefix):-len(suffix)] for entry in sysfs.entries(directory) if entry.startswith(prefix) and entry.endswith(suffix)]


def _settings(text: str) -> Dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines() if not line.startswith(("#", ";"))]
    return {key.strip(): " ".join(value.split()) for key, equals, value in lines if equals}
