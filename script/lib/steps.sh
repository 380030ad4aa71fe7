# shellcheck shell=bash
# Steps of a test run: one progress line each, a log in .cache/logs, a time limit, and a count for the summary.
# shellcheck disable=SC2030,SC2031 # what steps count in a process of their own is written down by `beside`, and `join` reads it

PASSED=0
FAILED=0
FAILED_STEPS=()
SECONDS=0

# step NAME LIMIT COMMAND...: counts as one, passed or failed.
step() {
  local name=$1 limit=$2 status=0
  shift 2
  begin "$name"
  limited "$limit" "$@" >"$(log_of "$name")" 2>&1 || status=$?
  if [ "$status" = 0 ]; then
    finish "$name" ok ""
    PASSED=$((PASSED + 1))
  else
    finish "$name" FAILED "$(reason "$status" "$limit")"
    FAILED=$((FAILED + 1))
    FAILED_STEPS+=("$name")
    show_log "$name"
  fi
}

# tests NAME LIMIT PYTEST_COMMAND...: a run of pytest, counted test by test.
tests() {
  local name=$1 limit=$2 status=0 report
  shift 2
  report=$LOGS/$(log_name "$name").xml
  begin "$name"
  rm -f "$report"
  limited "$limit" "$@" --junitxml="$report" >"$(log_of "$name")" 2>&1 || status=$?
  count_tests "$report"
  # A run that was cut short, or whose collection failed, must not look like one without failures.
  [ "$status" = 0 ] || [ "$BAD" -gt 0 ] || BAD=1
  PASSED=$((PASSED + GOOD))
  FAILED=$((FAILED + BAD))
  if [ "$BAD" = 0 ]; then
    finish "$name" ok "$GOOD tests"
  else
    FAILED_STEPS+=("$name")
    finish "$name" FAILED "$GOOD tests passed, $BAD failed$([ "$status" -lt 124 ] || reason "$status" "$limit")"
    show_log "$name"
  fi
  show_skipped "$name"
}

# show_skipped NAME: each reason for which tests were skipped, and how many.
show_skipped() {
  sed -n 's/^SKIPPED \[\([0-9]*\)\] [^ ]*: /\1 /p' "$(log_of "$1")" |
    awk '{n = $1; sub(/^[0-9]+ /, ""); count[$0] += n} END {for (why in count) printf "        | %d skipped: %s\n", count[why], why}'
}

# beside COMMAND...: take steps in a process of their own while others are taken; `join` waits for it and counts them too.
BESIDE=
beside() {
  (
    # shellcheck disable=SC2034 # common.sh reads them
    AT_EXIT=() JOB='' PASSED=0 FAILED=0 FAILED_STEPS=()
    trap end_of_script EXIT
    trap 'exit 143' INT TERM HUP
    "$@"
    printf '%s\n' "$PASSED" "$FAILED" "${FAILED_STEPS[@]}" >"$LOGS/beside.counts"
  ) &
  BESIDE=$!
  at_exit end_beside
}

join() {
  local counts
  [ -n "$BESIDE" ] || return 0
  if wait "$BESIDE"; then
    mapfile -t counts <"$LOGS/beside.counts"
    PASSED=$((PASSED + counts[0]))
    FAILED=$((FAILED + counts[1]))
    FAILED_STEPS+=("${counts[@]:2}")
  else
    FAILED=$((FAILED + 1))
    FAILED_STEPS+=("what ran beside it")
  fi
  BESIDE=
}

end_beside() {
  [ -n "$BESIDE" ] || return 0
  kill -TERM "$BESIDE" 2>/dev/null || true
  wait "$BESIDE" 2>/dev/null || true
}

# count_tests REPORT: reads pytest's JUnit report into GOOD and BAD. A skipped test is neither.
count_tests() {
  local found
  GOOD=0 BAD=0
  [ -s "$1" ] || return 0
  found=$(grep -o '<testsuite [^>]*>' "$1" | head -n 1)
  BAD=$(($(attribute errors "$found") + $(attribute failures "$found")))
  GOOD=$(($(attribute tests "$found") - BAD - $(attribute skipped "$found")))
}

attribute() {
  printf '%s\n' "$2" | sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p"
}

# note NAME TEXT: a step that has nothing to do here, and why.
note() {
  printf '%-8s%-44s %s\n' "-" "$1" "$2"
}

begin() {
  STARTED=$SECONDS
  # shellcheck disable=SC2034 # for the caller of the step
  LAST_LOG=$(log_of "$1")
  [ ! -t 1 ] || [ -n "$BESIDE" ] || printf '%-8s%-44s' "..." "$1"
}

finish() {
  [ ! -t 1 ] || [ -n "$BESIDE" ] || printf '\r'
  printf '%-8s%-44s %5d s  %s\n' "$2" "$1" "$((SECONDS - STARTED))" "$3"
}

reason() {
  case $1 in
    124 | 137) printf ' (not done after %s s)' "$2" ;;
    *) printf 'exit status %s' "$1" ;;
  esac
}

log_name() { printf '%s\n' "${1//[^a-zA-Z0-9._]/-}"; }
log_of() { printf '%s\n' "$LOGS/$(log_name "$1").log"; }

# The end of the log and, before it, the last task that failed with what it said: after it come the lines of a scenario that is taken down.
show_log() {
  {
    head -n -40 "$(log_of "$1")" | awk '
      /^TASK / {task = $0; lines = 0}
      /^(\[ERROR\]|fatal|failed): / && !lines {lines = 40; last = task}
      lines > 0 {last = last "\n" substr($0, 1, 1500); lines--}
      END {if (last) print last "\n[...]"}'
    tail -n 40 "$(log_of "$1")"
  } | sed 's/^/        | /'
  say "        the whole log: $(log_of "$1")"
}

# summary: the last words of a run; its status is that of the script.
summary() {
  say ""
  [ "${#FAILED_STEPS[@]}" = 0 ] || say "failed: ${FAILED_STEPS[*]}"
  say "after $((SECONDS / 60)) min $((SECONDS % 60)) s, with $(python3 --version) and $(ansible --version 2>/dev/null | sed -n 1p)"
  say "$PASSED passed, $FAILED failed"
  [ "$FAILED" = 0 ]
}
