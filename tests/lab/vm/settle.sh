# shellcheck shell=sh
# Runs in the machine after its first boot and before it is saved: what every test would otherwise wait for happens here, once.
# Input: OS_DRIVES, NESTED_KVM.
timeout 600 systemctl is-system-running --wait || systemctl --failed
if [ "$OS_DRIVES" = 1 ]; then
  sed -i '/^ARRAY/d' /etc/mdadm/mdadm.conf
fi
# The menu that GRUB's own tools make of /etc/default/grub, instead of the image's provisional one.
update-grub
if [ "$NESTED_KVM" = yes ]; then
  # libvirt asks every emulator for its abilities and remembers the answer.
  virsh --quiet domcapabilities --virttype kvm >/dev/null
  systemctl stop libvirtd.service
fi
# What Ansible's modules import is then in memory.
python3 -c 'import apt, ast, ctypes, datetime, hashlib, json, platform, shlex, subprocess, tempfile, xml.etree.ElementTree, zipfile'
sync
