# shellcheck shell=bash
# Sourced by the scripts beside it: names each step, says how it ended and after how many seconds, and counts.

steps_passed=0
steps_failed=0

# step NAME COMMAND…: the command's status is the step's. A function given here runs without `set -e` (bash turns it
# off left of `||`), so it joins its commands with `&&`.
step() {
  local name=$1 started=$SECONDS status=0
  shift
  printf '==> %s\n' "$name"
  "$@" || status=$?
  if ((status == 0)); then
    steps_passed=$((steps_passed + 1))
    printf '==> %s: passed in %d s\n' "$name" $((SECONDS - started))
  else
    steps_failed=$((steps_failed + 1))
    printf '==> %s: FAILED with status %d after %d s\n' "$name" "$status" $((SECONDS - started))
  fi
  return "$status"
}

# The closing line of a script; its status is 0 when no step failed.
closing_line() {
  printf '%d passed, %d failed\n' "$steps_passed" "$steps_failed"
  ((steps_failed == 0))
}

# run COMMAND…: shows the command, then runs it.
run() {
  printf '+ %s\n' "$*"
  "$@"
}

# quietly COMMAND…: keeps the output to itself unless the command fails; for installers, whose chatter says nothing.
quietly() {
  local output status=0
  output=$("$@" 2>&1 </dev/null) || status=$?
  ((status == 0)) || printf '%s\n' "$output" >&2
  return "$status"
}

# die MESSAGE: says it on standard error and ends the script.
die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}
