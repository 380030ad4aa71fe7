# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All that the collection wants to know of a host before it decides anything, read in one go and without starting a program."""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from . import dgx
from .affinity import affinities
from .dgx import Dmi, Platform
from .drives import Drive, read_drives
from .hugetlbfs import read_mounts
from .kept import Kept, read_kept
from .sysfs import Sysfs
from .topology import Topology

#: Take the platform from the product name.
AUTO = "auto"


class Facts(NamedTuple):
    """A host: its model, its hardware, and the settings of its kernel that tuning looks at."""

    platform: Platform
    dmi: Dmi
    topology: Topology
    drives: List[Drive]
    kernel_release: str
    kernel_cmdline: str
    numa_balancing: Optional[int]
    transparent_hugepages: str
    hugepage_sizes_kib: List[int]
    hugetlbfs: Optional[Mapping[int, str]]
    kept: Kept
    iommu: bool

    def to_dict(self) -> Dict[str, Any]:
        """The facts as JSON types."""
        return {
            "platform": self.platform.key,
            "model": dgx.to_dict(self.platform),
            "vendor": self.dmi.vendor,
            "product": self.dmi.product,
            "serial": self.dmi.serial,
            "topology": self.topology.to_dict(),
            "affinity": [one.to_dict() for one in affinities(self.topology)],
            "drives": [dict(drive._asdict()) for drive in self.drives],
            "kernel_release": self.kernel_release,
            "kernel_cmdline": self.kernel_cmdline,
            "numa_balancing": self.numa_balancing,
            "transparent_hugepages": self.transparent_hugepages,
            "hugepage_sizes_kib": self.hugepage_sizes_kib,
            "hugetlbfs": None if self.hugetlbfs is None else {str(size): path for size, path in sorted(self.hugetlbfs.items())},
            "kept": self.kept.to_dict(),
            "iommu": self.iommu,
        }


def gather(root: str = "/", platform: str = AUTO) -> Facts:
    """The facts of the host below ``root``, taken to be of the given platform unless that is ``auto``."""
    sysfs = Sysfs(root)
    topology = Topology.from_sysfs(root)
    dmi = dgx.read_dmi(sysfs)
    balancing = sysfs.number("proc/sys/kernel/numa_balancing", -1)
    return Facts(
        platform=dgx.platform_of(dmi.product) if platform == AUTO else dgx.platform(platform),
        dmi=dmi,
        topology=topology,
        drives=read_drives(sysfs, [node.id for node in topology.nodes]),
        kernel_release=sysfs.read("proc/sys/kernel/osrelease") or "",
        kernel_cmdline=sysfs.read("proc/cmdline") or "",
        numa_balancing=None if balancing < 0 else balancing,
        transparent_hugepages=_chosen(sysfs.read("sys/kernel/mm/transparent_hugepage/enabled") or ""),
        hugepage_sizes_kib=sorted({size for node in topology.nodes for size in node.pages}),
        hugetlbfs=read_mounts(sysfs),
        kept=read_kept(sysfs),
        iommu=bool(sysfs.entries("sys/class/iommu")),
    )


def _chosen(text: str) -> str:
    """The word in brackets of a file that offers a choice: ``always [madvise] never``."""
    return text.partition("[")[2].partition("]")[0]
