# shellcheck shell=bash
# The virtual environment of the tree and the collection's place on Ansible's path.

VENV=${DGXOPS_VENV:-$ROOT/.venv}
COLLECTIONS=$ROOT/.collections

# works PROGRAM: whether a Python really runs and can make virtual environments (a shim of pyenv may do neither).
works() {
  limited 20 "$1" -c 'import ensurepip, ssl, venv' >/dev/null 2>&1
}

# find_python VERSION...: the path of the first interpreter that works, the distribution's own before others of the same version.
find_python() {
  local version candidate
  for version in "$@"; do
    for candidate in "/usr/bin/python$version" $(type -ap "python$version") "$HOME/.pyenv/versions/$version".*/bin/"python$version"; do
      if [ -x "$candidate" ] && works "$candidate"; then
        printf '%s\n' "$candidate"
        return 0
      fi
    done
  done
  return 1
}

# The newest Python the tools support. One that the user has only put aside under ~/.pyenv is not taken unasked.
choose_python() {
  if [ -n "${DGXOPS_PYTHON:-}" ]; then
    printf '%s\n' "$DGXOPS_PYTHON"
  else
    HOME=/nonexistent find_python 3.13 3.12 3.11 3.10
  fi
}

# need_venv [NAME]: an environment with requirements/NAME.txt in it, first in PATH; made or renewed only when the requirements or the Python
# changed. NAME is test where none is given, and that environment is .venv; it serves the others too once it is there.
need_venv() {
  local python marker name=${1:-test}
  python=$(choose_python) || {
    need_packages python3 python3-venv
    python=$(choose_python) || die "no Python from 3.10 to 3.13 with the venv module was found; name one in DGXOPS_PYTHON"
  }
  [ ! -e "$(venv_marker "$VENV" "$python" test)" ] || name="test"
  [ "$name" = test ] || VENV=$VENV-$name
  marker=$(venv_marker "$VENV" "$python" "$name")
  [ -e "$marker" ] || once venv make_venv "$VENV" "$python" "$ROOT/requirements/$name.txt" "$marker"
  export PATH=$VENV/bin:$PATH VIRTUAL_ENV=$VENV
  use_collection
}

# venv_marker DIRECTORY PYTHON NAME: the file that says what is in an environment.
venv_marker() {
  printf '%s/.installed-%s\n' "$1" "$("$2" --version 2>&1 | digest - "$ROOT/requirements/$3.txt")"
}

# need_libvirt_binding: libvirt can be imported in .venv. The distribution's module serves the distribution's Python; for another one it is built.
need_libvirt_binding() {
  local python=$VENV/bin/python
  ! "$python" -c 'import libvirt' 2>/dev/null || return 0
  need_packages python3-libvirt
  if [ "$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')" = "$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')" ]; then
    ln -sf /usr/lib/python3/dist-packages/libvirt*.{py,so} "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  else
    need_packages libvirt-dev pkg-config gcc libc6-dev
    limited 600 "$python" -m pip install --disable-pip-version-check --quiet libvirt-python >"$LOGS/libvirt-python.log" 2>&1 ||
      die "libvirt-python could not be built. The whole log is in $LOGS/libvirt-python.log."
  fi
  "$python" -c 'import libvirt'
}

# make_venv DIRECTORY PYTHON REQUIREMENTS MARKER
make_venv() {
  local log=$LOGS/venv.log
  [ ! -e "$4" ] || return 0
  say "making $(basename "$1") with $("$2" --version) and $(basename "$3")"
  rm -rf "$1"
  if ! { limited 120 "$2" -m venv "$1" && limited 1500 "$1/bin/python" -m pip install --disable-pip-version-check --quiet --requirement "$3"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "pip could not install $3. The whole log is in $log."
  fi
  touch "$4"
}

# Ansible finds the collection of this checkout, and no other copy of it, by a link at the place it expects.
use_collection() {
  mkdir -p "$COLLECTIONS/ansible_collections/dgxops"
  ln -sfn "$ROOT" "$COLLECTIONS/ansible_collections/dgxops/fleet"
  export ANSIBLE_COLLECTIONS_PATH=$COLLECTIONS ANSIBLE_HOME=$CACHE/ansible
  export ANSIBLE_NOCOLOR=1 NO_COLOR=1 PY_COLORS=0
}
