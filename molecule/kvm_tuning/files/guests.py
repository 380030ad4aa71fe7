"""Define guests as nvidia-vm makes them: guests.py ROOT GPUSgFIRST..., such as 8g0 for a guest of the first eight GPUs."""
import subprocess
import sys
from pathlib import Path

import nvidia_vm

NVIDIA = "0x10de"


def gpus(root):
    """The PCI addresses of the GPUs below a root, in order, straight from its sysfs."""
    found = sorted((Path(root) / "sys/bus/pci/devices").iterdir())
    return [
        device.name for device in found
        if (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith("0x0302")
    ]  # fmt: skip


def virsh(*arguments, text=None):
    return subprocess.run(["virsh", "--quiet", *arguments], input=text, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout


def define(guest, addresses):
    """Until libvirt has come to rest: it sorts controllers anew when it reads its own XML."""
    now, before = nvidia_vm.domain_xml(guest, addresses, "qemu"), ""
    while now != before:
        virsh("define", "/dev/stdin", text=now)
        before, now = now, virsh("dumpxml", "--inactive", "--security-info", guest.name)


def main(root, *wanted):
    addresses = gpus(root)
    for words in wanted:
        count, first = (int(word) for word in words.split("g"))
        define(nvidia_vm.Guest("vm", first, count), addresses[first:first + count])


if __name__ == "__main__":
    main(*sys.argv[1:])
