# shellcheck shell=bash
# Test data of other projects, from the source packages of this machine's own distribution. It is never committed.

CORPUS=${DGXOPS_CORPUS:-$CACHE/corpus}
export DGXOPS_CORPUS=$CORPUS

# need_corpus PACKAGE...: the content of the package's tests/ directory in $CORPUS/PACKAGE; netplan's examples are what is wanted of netplan.io.
need_corpus() {
  local package
  need_packages bzip2 xz-utils
  for package in "$@"; do
    [ -e "$CORPUS/$package/.complete" ] || once corpus fetch_corpus "$package"
  done
}

fetch_corpus() {
  local package=$1 apt=$CACHE/apt-source work=$CACHE/apt-source/$1 folder=tests
  [ "$package" != netplan.io ] || folder=examples
  [ ! -e "$CORPUS/$package/.complete" ] || return 0
  say "fetching the test data of $package"
  rm -rf "$work" "${CORPUS:?}/$package"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$work" "$CORPUS/$package"
  distribution_sources deb-src >"$apt/sources.list"
  [ -s "$apt/sources.list" ] || die "apt knows no archive of this release; run 'apt-get update' once, or put the test data into $CORPUS by hand"
  local options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$apt/lists"
    -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o APT::Update::Post-Invoke-Success::= -o Debug::NoLocking=1)
  (
    cd "$work" &&
      apt-get "${options[@]}" update &&
      apt-get "${options[@]}" source --download-only --only-source "$package"
  ) >"$LOGS/corpus.log" 2>&1 </dev/null || {
    tail -n 20 "$LOGS/corpus.log" >&2
    die "the source package $package could not be fetched. The whole log is in $LOGS/corpus.log."
  }
  tar -x --file "$(find "$work" -name '*.orig.tar.*' ! -name '*.asc' -print -quit)" --directory "$CORPUS/$package" \
    --strip-components=2 --no-same-owner --wildcards --no-wildcards-match-slash "*/$folder"
  unpack_trees "$CORPUS/$package"
  rm -rf "$work"
  touch "$CORPUS/$package/.complete"
}

# hwloc keeps its recorded sysfs trees as archives beside the expected output: NAME.tar.bz2 becomes the directory NAME.
unpack_trees() {
  local archive
  find "$1" -name '*.tar.bz2' | while read -r archive; do
    mkdir -p "${archive%.tar.bz2}"
    tar -x --bzip2 --file "$archive" --directory "${archive%.tar.bz2}" --strip-components=1 --no-same-owner --no-same-permissions --mode=u+rwX
  done
}
