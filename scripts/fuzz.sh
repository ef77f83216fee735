#!/usr/bin/env bash
# Builds the libFuzzer binaries (preset fuzz) and runs each for a while, starting from its stored
# inputs in tests/testdata/fuzz. New inputs are kept in build/fuzz/corpus, so that the next call goes
# on; an input that fails is left in build/fuzz/failures.
#
# usage: scripts/fuzz.sh [SECONDS_EACH [NAME...]]
#
# SECONDS_EACH is 120 by default; NAME is a fuzzer, e.g. yaml (default: all). Needs clang with
# libFuzzer (Debian: clang, libclang-rt-dev).
#
# Exit codes: 0 nothing found; 1 a fuzzer failed; 77 clang or its libFuzzer is missing; else those of
# scripts/build.sh.
source "$(dirname "$0")/common.sh"

case ${1-} in
  -h | --help) print_help && exit 0 ;;
  '') seconds=120 ;;
  *[!0-9]*) fail 2 "SECONDS_EACH must be a number, not '$1'" ;;
  *) seconds=$1 && shift ;;
esac

probe='extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }'
if ! clang++ -x c++ -fsanitize=fuzzer,address -o /dev/null - <<<"$probe" 2>/dev/null; then
  say "skipped: clang++ or its libFuzzer is not installed"
  exit 77
fi

names=("$@")
if ((${#names[@]} == 0)); then
  for source in tests/fuzz/*_fuzz.cc; do names+=("$(basename "$source" _fuzz.cc)"); done
fi
work=$ROOT/build/fuzz
results=$work/results
rm -rf "$results"
scripts/build.sh fuzz -- --target "${names[@]/%/_fuzz}"
mkdir -p "$results" "$work/failures"

failed=no
entries=
for name in "${names[@]}"; do
  corpus=$work/corpus/$name
  mkdir -p "$corpus"
  # Long lists of names are searched up to their bound, which takes a sanitizer half a minute.
  max_len=4096
  if [[ $name == conic_statement ]]; then max_len=200; fi
  say "fuzzing $name for $seconds s"
  if "$work/tests/fuzz/${name}_fuzz" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
    -max_len="$max_len" \
    -print_final_stats=1 -artifact_prefix="$work/failures/$name-" \
    "$corpus" "tests/testdata/fuzz/$name" >"$work/$name.log" 2>&1; then
    say "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log") inputs, nothing found"
    entries+="<testcase name=\"${name}_fuzz\" status=\"run\"/>"
  else
    failed=yes
    tail -n 40 "$work/$name.log" >&2
    say "$name: failed; the input is in ${work#"$ROOT"/}/failures"
    entries+="<testcase name=\"${name}_fuzz\" status=\"fail\"/>"
  fi
done
# As ctest writes it, for scripts/sum_tests.py.
echo "<testsuite>$entries</testsuite>" >"$results/ctest.junit"
if [[ $failed == yes ]]; then exit 1; fi
