# shellcheck shell=bash
# The test platform's containers: which packages they take, which image they start from, and that none is left behind.

#: Everything this checkout starts carries this label, so that it removes its own and nobody else's.
CONTAINER_LABEL=dgxops.fleet.checkout=$(printf '%s' "$ROOT" | digest -)
IMAGE_NAME=localhost/dgxops-fleet
export CONTAINER_LABEL IMAGE_NAME

engine() { "$ROOT/script/lib/engine" "$@"; }

need_containers() {
  if [ -n "${DGXOPS_CONTAINER_ENGINE:-}" ]; then
    command -v "$DGXOPS_CONTAINER_ENGINE" >/dev/null || die "the container engine $DGXOPS_CONTAINER_ENGINE is not installed"
  elif apt-cache show netavark >/dev/null 2>&1; then
    need_packages podman runc uidmap netavark aardvark-dns
  else
    need_packages podman runc uidmap containernetworking-plugins golang-github-containernetworking-plugin-dnsname
  fi
  [ -n "${DGXOPS_IMAGE:-}" ] || need_packages debootstrap zstd
}

# remove_containers [FILTER...]: those of this checkout, and their networks; with filters only those that fit them too.
remove_containers() {
  local found
  command -v "${DGXOPS_CONTAINER_ENGINE:-podman}" >/dev/null || return 0
  found=$(engine ps --all --quiet --filter "label=$CONTAINER_LABEL" "$@")
  # shellcheck disable=SC2086
  [ -z "$found" ] || engine rm --force --volumes $found >/dev/null
  found=$(engine network ls --quiet --filter "label=$CONTAINER_LABEL" "$@")
  # shellcheck disable=SC2086
  [ -z "$found" ] || engine network rm --force $found >/dev/null
}

remove_containers_of() {
  local scenario
  for scenario in "$@"; do
    remove_containers --filter "label=dgxops.fleet.scenario=$scenario"
  done
}
