# shellcheck shell=bash
# Steps of a test run: one progress line each, a log in .cache/logs, a time limit, and a count for the summary.

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
  [ ! -t 1 ] || printf '%-8s%-44s' "..." "$1"
}

finish() {
  [ ! -t 1 ] || printf '\r'
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

show_log() {
  tail -n 40 "$(log_of "$1")" | sed 's/^/        | /'
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
