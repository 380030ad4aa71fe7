# shellcheck shell=bash
# What the virtual machine of script/lab and the molecule scenarios in it need.

need_lab_packages() {
  need_packages python3 qemu-system-x86 qemu-utils mmdebstrap e2fsprogs openssh-client
  # Without root, the image is made in a user namespace.
  [ "$(id -u)" = 0 ] || need_packages uidmap
}

# uses_lab SCENARIO: whether a molecule scenario runs in the machine.
uses_lab() {
  grep -q 'shared/vm/create\.yml' "$ROOT/molecule/$1/molecule.yml"
}

# need_mitogen: in .venv, beside Ansible; the marker goes with the environment when that is renewed.
need_mitogen() {
  local log=$LOGS/mitogen.log marker
  marker=$VENV/.installed-lab-$(digest "$ROOT/requirements/lab.txt")
  [ ! -e "$marker" ] || return 0
  if ! limited 600 "$VENV/bin/python" -m pip install --disable-pip-version-check --quiet --requirement "$ROOT/requirements/lab.txt" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "pip could not install requirements/lab.txt. The whole log is in $log."
  fi
  touch "$marker"
}

end_lab() { "$ROOT/script/lab" down >/dev/null; }
