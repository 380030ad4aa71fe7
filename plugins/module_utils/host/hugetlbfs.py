# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The file systems through which programs get huge pages: one mount for each page size."""
import re
from typing import Dict, Optional

from .kernel import size_kib
from .sysfs import Sysfs


def read_mounts(sysfs: Sysfs) -> Optional[Dict[int, str]]:
    """Where huge pages are mounted, by page size in KiB; None if the host does not tell."""
    text = sysfs.read("proc/self/mounts")
    if text is None:
        return None
    default = re.search(r"^Hugepagesize:\s+(\d+) kB", sysfs.read("proc/meminfo") or "", re.MULTILINE)
    found: Dict[int, str] = {}
    for words in (line.split() for line in text.splitlines()):
        if len(words) > 3 and words[2] == "hugetlbfs":
            named = re.search(r"(?:^|,)pagesize=(\d+[KMG]?)", words[3])
            size = size_kib(named.group(1), "The mount {0}".format(words[1])) if named else int(default.group(1)) if default else 0
            found.setdefault(size, words[1])
    return found
