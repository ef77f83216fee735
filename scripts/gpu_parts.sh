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

# beside LABEL COMMAND...: starts a command whose output comes when finish_beside collects it. Tests
# wait for their reference on the CPU most of the time, so they run at once, with few threads each:
# threads that wait in a loop for a core that another holds make it all ten times slower.
pids=()
labels=()
# shellcheck disable=SC2154  # out is set by the script
beside() {
  labels+=("$1")
  shift
  OMP_NUM_THREADS=2 "$@" >"$out/${labels[-1]}.log" 2>&1 &
  pids+=($!)
}
finish_beside() {
  local i status=0
  for i in "${!pids[@]}"; do
    local rc=0
    wait "${pids[i]}" || rc=$?
    say "${labels[i]}: exit code $rc"
    grep -E '^\[  (PASSED|FAILED) |^ERROR|ERROR SUMMARY|RACECHECK SUMMARY' "$out/${labels[i]}.log" || true
    ((rc == 0)) || {
      status=1
      tail -n 40 "$out/${labels[i]}.log" || true
    }
  done
  return $status
}
