#!/bin/sh
# Runs inside the new root directory, after the packages are there and before the image is made of it.
set -eu

# A fixed id keeps the first boot from being a "first boot" to systemd, which would ask and preset.
echo 5afe1ab0000040008000000000000003 >/etc/machine-id
chmod 0600 /etc/netplan/*.yaml /etc/ssh/ssh_host_ed25519_key
chmod 0700 /root/.ssh

systemctl --quiet enable ssh.service systemd-networkd.service qemu-guest-agent.service
# A role turns on what it wants; until then nothing of it runs.
systemctl --quiet disable nfs-server.service libvirtd.service cachefilesd.service
systemctl --quiet enable libvirtd.socket
# At each shutdown it would start libvirtd to look for guests, which takes a minute under emulation.
systemctl --quiet disable libvirt-guests.service
# The clock jumps when a saved machine comes back. What would then wake up and disturb a test stays off.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  man-db.timer motd-news.timer systemd-networkd-wait-online.service
# Fibre and fabric boots, logins on screens, a memory of LVM events: each costs seconds at every boot, and nobody here needs them.
systemctl --quiet mask nvmf-autoconnect.service nvmefc-boot-connections.service getty@tty1.service serial-getty@ttyS0.service lvm2-monitor.service

update-initramfs -u -k all
# GRUB starts as if it were a kernel (lnxboot), so no boot sector has to be installed; it reads the real grub.cfg of the machine.
mkdir -p /boot/grub
cp -r /usr/lib/grub/i386-pc /boot/grub/
cat >/tmp/core.cfg <<'CORE'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
search --no-floppy --fs-uuid --set=root 5afe1ab0-0000-4000-8000-000000000001
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
CORE
grub-mkimage --format=i386-pc --config=/tmp/core.cfg --prefix=/boot/grub --output=/tmp/core.img \
  biosdisk ext2 serial terminal normal configfile search search_fs_uuid linux minicmd echo test
cat /usr/lib/grub/i386-pc/lnxboot.img /tmp/core.img >/boot/grub/grub.lnx
rm /tmp/core.cfg /tmp/core.img
# The first boot's menu; update-grub replaces it as soon as the machine runs, since it must see the mounted root.
kernel=$(find /boot -name 'vmlinuz-*' -printf '%f\n' | sort -V | tail -n 1)
GRUB_CMDLINE_LINUX_DEFAULT=
. /etc/default/grub.d/00-lab.cfg
cat >/boot/grub/grub.cfg <<MENU
linux /boot/$kernel root=UUID=5afe1ab0-0000-4000-8000-000000000001 ro $GRUB_CMDLINE_LINUX_DEFAULT
initrd /boot/initrd.img-${kernel#vmlinuz-}
boot
MENU
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt/*
rm "$0"
