# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pools of huge pages below a directory that behave as the kernel's: pages need memory, pages in use stay, a write never fails."""
import os

from ansible_collections.dgxops.fleet.plugins.module_utils.host.hugepages_host import Kernel

GIB = 1048576


class LabKernel(Kernel):
    """Nodes with memory in GiB and pools of 2 MiB and 1 GiB pages.

    ``scattered`` is the number of pages that a node gives at most while its memory is in pieces; compaction adds ``compaction`` to it.
    """

    def __init__(self, root, memory=(64, 64), sizes=(2048, GIB), numa=True):
        super().__init__(str(root))
        self.numa = numa
        self.memory = {node: gib * GIB for node, gib in enumerate(memory)}
        self.pages = {(size, node): 0 for node in self.memory if self.memory[node] for size in sizes}
        self.used = dict.fromkeys(self.pages, 0)
        self.surplus = dict.fromkeys(self.pages, 0)
        self.reserved = dict.fromkeys(sizes, 0)
        self.scattered = {}
        self.compaction = 0
        self.broken = ""
        self.writes = []
        self.put("proc/sys/vm/compact_memory", "")
        self.put("proc/self/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n")
        self.show()

    def put(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as handle:
            handle.write(text)

    def directory(self, size, node):
        return "sys/devices/system/node/node%d/hugepages/hugepages-%dkB" % (node, size) if self.numa else self.whole(size)

    @staticmethod
    def whole(size):
        return "sys/kernel/mm/hugepages/hugepages-%dkB" % size

    def free_memory(self, node):
        return self.memory[node] - sum(size * count for (size, at), count in self.pages.items() if at == node)

    def show(self):
        for node, memory in self.memory.items():
            lines = "MemTotal: %d kB\nMemFree: %d kB\n" % (memory, self.free_memory(node))
            name = "sys/devices/system/node/node%d/meminfo" % node if self.numa else "proc/meminfo"
            self.put(name, "".join("Node %d %s\n" % (node, line) if self.numa else line + "\n" for line in lines.splitlines()))
        for (size, node), count in self.pages.items():
            self.put(self.directory(size, node) + "/nr_hugepages", "%d\n" % count)
            self.put(self.directory(size, node) + "/free_hugepages", "%d\n" % (count - self.used[size, node]))
            self.put(self.directory(size, node) + "/surplus_hugepages", "%d\n" % self.surplus[size, node])
            self.put(self.whole(size) + "/resv_hugepages", "%d\n" % self.reserved[size])

    def use(self, size, node, count):
        self.used[size, node] = count
        self.show()

    def write(self, name, text):
        self.writes.append((name, text))
        if self.broken and self.broken in name:
            raise OSError(22, "Invalid argument", name)
        if name.endswith(("/compact", "/compact_memory")):
            self.scattered = {pool: limit + self.compaction for pool, limit in self.scattered.items()}
            return
        for pool in self.pages:
            if name == self.directory(*pool) + "/nr_hugepages":
                size, node = pool
                most = (self.free_memory(node) + size * self.pages[pool]) // size
                count = min(int(text), most, max(self.scattered.get(pool, most), self.pages[pool]))
                self.pages[pool] = max(count, self.used[pool])
                self.surplus[pool] = self.pages[pool] - count
                self.show()
                return
        raise FileNotFoundError(2, "No such file or directory", name)
