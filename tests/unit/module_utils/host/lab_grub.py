# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that boots by GRUB, below a directory: a real shell reads its files and writes the boot menu, as grub-mkconfig and 10_linux do."""
import os
import subprocess

from ansible_collections.dgxops.fleet.plugins.module_utils.host.files import read_text

UPDATE_GRUB = """#!/bin/sh
set -e
test ! -e {root}/broken || {{ echo "the disk is on fire" >&2; exit 1; }}
. {root}/etc/default/grub
for x in {root}/etc/default/grub.d/*.cfg; do
  if [ -e "$x" ]; then . "$x"; fi
done
test ! -e {root}/hardened || GRUB_CMDLINE_LINUX_DEFAULT=
echo run >> {root}/runs
cat > {root}/boot/grub/grub.cfg <<END
### BEGIN /etc/grub.d/10_linux ###
menuentry 'DGX OS GNU/Linux' --class gnu-linux \\$menuentry_id_option 'gnulinux-simple-1234' {{
{tab}linux{tab}/boot/vmlinuz-{release} root=UUID=1234 ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT \\$vt_handoff
{tab}initrd{tab}/boot/initrd.img
}}
submenu 'Advanced options' \\$menuentry_id_option 'gnulinux-advanced-1234' {{
{tab}menuentry 'DGX OS, with Linux (recovery mode)' \\$menuentry_id_option 'gnulinux-{release}-recovery-1234' {{
{tab}{tab}linux{tab}/boot/vmlinuz-{release} root=UUID=1234 ro recovery nomodeset $GRUB_CMDLINE_LINUX
{tab}}}
}}
### BEGIN /etc/grub.d/30_os-prober ###
menuentry 'Other' --class other \\$menuentry_id_option 'osprober-gnulinux-simple-9' {{
{tab}linux{tab}/vmlinuz-4.4 root=/dev/sdz1 quiet hugepages=7
}}
END
"""


class LabGrub:
    """The files of the host; ``release`` is the kernel it boots."""

    def __init__(self, root, release="6.8.0-1013-nvidia", memory_gib=1500, line="quiet splash"):
        self.root = str(root)
        self.put("etc/default/grub", 'GRUB_DEFAULT=0\nGRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Ubuntu} ) 2>/dev/null || echo Ubuntu`\n'
                 'GRUB_CMDLINE_LINUX_DEFAULT="%s"\nGRUB_CMDLINE_LINUX=""\n' % line)
        self.put("boot/grub/grub.cfg", "")
        self.put("proc/meminfo", "MemTotal: %d kB\nHugepagesize: 2048 kB\n" % (memory_gib * 1048576))
        self.put("proc/sys/kernel/osrelease", release + "\n")
        self.put("usr/sbin/update-grub", UPDATE_GRUB.format(root=self.root, release=release, tab="\t"))
        os.chmod(self.path("usr/sbin/update-grub"), 0o755)
        for name in ("etc/default/grub.d", "sys/kernel/mm/hugepages/hugepages-2048kB", "sys/kernel/mm/hugepages/hugepages-1048576kB"):
            os.makedirs(self.path(name))
        self.update_grub = [self.path("usr/sbin/update-grub")]
        subprocess.run(self.update_grub, check=True, timeout=20)
        self.reboot()

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def put(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as handle:
            handle.write(text)

    def text(self, name):
        return read_text(self.path(name))

    @property
    def runs(self):
        """How often update-grub has done its work."""
        return (self.text("runs") or "").count("run")

    def lines(self):
        """The command lines of the boot menu: normal, recovery."""
        return [" ".join(line.split(" ro ", 1)[1].split()) for line in self.text("boot/grub/grub.cfg").splitlines() if " ro " in line]

    def reboot(self):
        """Boot the first entry."""
        self.put("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=UUID=1234 ro %s\n" % self.lines()[0].replace("$vt_handoff", "vt.handoff=7"))
