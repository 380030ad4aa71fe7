# shellcheck shell=bash
# What every command in script/ starts with: where things are, how it speaks, what it cleans up, how long it waits.
# Source it after `set -euo pipefail`.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
CACHE=${DGXOPS_CACHE:-$ROOT/.cache}
LOGS=$CACHE/logs
export ROOT CACHE LOGS
mkdir -p "$LOGS"

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
  warn "$(basename "$0"): $*"
  exit 1
}

# at_exit COMMAND...: run a command when the script ends, however it ends; the last registered runs first.
AT_EXIT=()
at_exit() {
  AT_EXIT=("$(printf '%q ' "$@")" "${AT_EXIT[@]}")
}

# The job that is running now, if any: `limited` sets it, so that Ctrl-C reaches the whole process group.
JOB=

end_of_script() {
  local status=$? command
  trap '' INT TERM HUP
  trap - EXIT
  end_job
  for command in "${AT_EXIT[@]}"; do
    eval "$command" || true
  done
  exit "$status"
}
trap end_of_script EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

end_job() {
  [ -n "$JOB" ] || return 0
  kill -TERM -- "-$JOB" 2>/dev/null || true
  wait "$JOB" 2>/dev/null || true
  JOB=
}

# limited SECONDS COMMAND...: run a program without input and end it, children included, when its time is over (status 124).
# timeout(1) leads a process group of its own; bash waits for it in a way that a signal can interrupt.
limited() {
  local status=0
  timeout --kill-after=30 "$@" </dev/null &
  JOB=$!
  wait "$JOB" || status=$?
  JOB=
  return "$status"
}

# digest FILE...|-: a short name for the content of files, or of what comes in.
digest() {
  cat "$@" | sha256sum | cut -c 1-12
}

# once NAME COMMAND...: run a command while no other script does so under this name.
once() {
  local name=$1 lock
  shift
  exec {lock}>"$CACHE/$name.lock"
  flock --timeout 1800 "$lock" || die "another run has been busy with '$name' for half an hour; end it, then try again"
  "$@" {lock}>&-
  exec {lock}>&-
}
