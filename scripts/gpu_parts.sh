# shellcheck shell=bash
# The parts of a check on a GPU host, for the scripts that source this behind common.sh. They set $out,
# the folder of the parts' outputs, and read $failures, the number of parts that failed.

failures=0

# part NAME COMMAND...: runs a part, keeps its output, and goes on if it fails.
# shellcheck disable=SC2154  # out is set by the script
part() {
  local name=$1
  shift
  say "$name"
  local start=$SECONDS
  if "$@" 2>&1 | tee "$out/$name.txt"; then
    say "$name: done ($((SECONDS - start)) s)"
  else
    failures=$((failures + 1))
    say "$name: FAILED ($((SECONDS - start)) s)"
  fi
}
