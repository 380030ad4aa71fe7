"""Take one page of 1 GiB from the pool of the NUMA node that the process is bound to, and tell where the kernel says it lies."""
import mmap
import os
import sys

SIZE = 1 << 30
path = "/dev/hugepages/one-page"
descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
try:
    os.ftruncate(descriptor, SIZE)
    with mmap.mmap(descriptor, SIZE) as memory:
        memory[0] = 1
        with open("/proc/self/numa_maps") as maps:
            sys.stdout.writelines(line for line in maps if path in line)
finally:
    os.unlink(path)
