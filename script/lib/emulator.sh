# shellcheck shell=bash
# The QEMU for machines of script/lab that have a network adapter with SR-IOV: the distribution's, or one of its backports where only that has the adapter.

EMULATOR=$CACHE/lab/emulator-$(release_codename)

# lab_emulator: the program; DGXOPS_LAB_QEMU names another build of it.
lab_emulator() {
  if [ -n "${DGXOPS_LAB_QEMU:-}" ]; then
    printf '%s\n' "$DGXOPS_LAB_QEMU"
  elif [ -x "$EMULATOR/qemu" ]; then
    printf '%s\n' "$EMULATOR/qemu"
  else
    printf 'qemu-system-x86_64\n'
  fi
}

need_emulator() {
  if has_adapter "$(lab_emulator)" || [ -n "${DGXOPS_LAB_QEMU:-}" ]; then
    return 0
  fi
  mkdir -p "$CACHE/lab"
  say "unpacking a QEMU that has a network adapter with SR-IOV"
  if ! once emulator unpack_emulator >"$LOGS/emulator.log" 2>&1; then
    tail -n 20 "$LOGS/emulator.log" >&2
    die "$(release_codename) has no QEMU with the adapter igb, and none could be taken from its backports. Name one in DGXOPS_LAB_QEMU. The log is in $LOGS/emulator.log."
  fi
}

has_adapter() {
  # Its exit status is 0 either way. All is read: it must not be ended for writing on.
  "$1" -device igb,help 2>/dev/null | grep "netdev=" >/dev/null
}

# Nothing is installed, and apt keeps its lists for it in a directory of their own, so that root is not needed. The firmware stays that of the
# distribution: the one in Debian 12's backports places virtual functions above 4 GiB, where the QEMU beside it does not find them.
unpack_emulator() {
  local work=$EMULATOR.part package source release options
  [ ! -x "$EMULATOR/qemu" ] || return 0
  release=$(release_codename)-backports
  source=$(backports_source) && [ -n "$source" ] || return 1
  rm -rf "$work" && mkdir -p "$work"/apt/{lists/partial,archives/partial} "$work"/packages || return 1
  printf '%s\n' "$source" >"$work/apt/sources.list"
  options=(-o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/apt/lists"
    -o "Dir::Cache=$work/apt" -o "APT::Sandbox::User=$(id -un)" -o APT::Update::Error-Mode=any)
  limited 300 apt-get -qq "${options[@]}" update || return 1
  (cd "$work/packages" && limited 600 apt-get -qq "${options[@]}" download "qemu-system-x86/$release" "qemu-system-data/$release") || return 1
  for package in "$work"/packages/*.deb; do
    dpkg-deb --extract "$package" "$work" || return 1
  done
  cat >"$work/qemu" <<'RUN'
#!/bin/sh
# Runs the QEMU that is unpacked beside this file.
here=$(dirname "$(readlink -f "$0")")
exec "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/qemu" "$@"
RUN
  chmod +x "$work/qemu"
  has_adapter "$work/qemu" || return 1
  rm -rf "$work/apt" "$work/packages" "$work/usr/share/doc" "$work/usr/share/man" "$EMULATOR"
  mv "$work" "$EMULATOR"
}

# The line of sources.list for the backports, from where this machine takes the release itself.
backports_source() {
  distribution_sources deb | awk -v codename="$(release_codename)" '
    { for (word = 2; word < NF; word++) if ($word == codename && !said++) { $word = codename "-backports"; print } }'
}
