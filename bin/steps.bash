# shellcheck shell=bash
# Functions for the scripts in this folder. They run steps, print the result and duration of each, and count them.

steps_passed=0
steps_failed=0

# step NAME COMMAND…: runs the command and returns its status. A function as COMMAND runs without `set -e`, which bash
# turns off on the left of `||`. It must therefore join its commands with `&&`.
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

# Prints the counts as the last line of a script. Fails if a step failed.
closing_line() {
  printf '%d passed, %d failed\n' "$steps_passed" "$steps_failed"
  ((steps_failed == 0))
}

# run COMMAND…: prints the command, then runs it.
run() {
  printf '+ %s\n' "$*"
  "$@"
}

# quietly COMMAND…: prints the output only if the command fails. Used for installers and their long output.
quietly() {
  local output status=0
  output=$("$@" 2>&1 </dev/null) || status=$?
  ((status == 0)) || printf '%s\n' "$output" >&2
  return "$status"
}

# die MESSAGE: prints the message on standard error and exits with status 1.
die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}
