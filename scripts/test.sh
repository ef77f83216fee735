#!/usr/bin/env bash
# Sets up, builds and runs the tests: everything in the preset ci, then the folders without LibTorch
# under the address and undefined-behaviour sanitizers (preset asan).
#
# usage: scripts/test.sh [--all] [CTEST_ARGUMENT...]
#
#   --all   also the slow tests, long kill tests and those for a GPU (labels slow and gpu), and two
#           minutes with each fuzzer where clang is installed (scripts/fuzz.sh)
#
# Further arguments go to ctest, e.g. -R kv. Without --all the labels fast, dist and fuzz (the
# fuzzers' stored corpora) are run. Results are summed over both builds; a program of GoogleTest
# counts with each of its tests.
#
# Exit codes: 0 all passed or were skipped; 1 a test failed; else those of scripts/build.sh.
source "$(dirname "$0")/common.sh"

all=no
labels='^(fast|dist|fuzz)$'
ctest_arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) print_help && exit 0 ;;
    --all) all=yes && labels='.' ;;
    *) ctest_arguments+=("$argument") ;;
  esac
done

# LibTorch's threads of tests that run side by side must not spin for cores they lack.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# Runs the tests of preset $1 and leaves their results in build/$1/results.
failed=no
run_tests() {
  local preset=$1 results=$ROOT/build/$1/results start=$SECONDS
  shift
  rm -rf "$results"
  mkdir -p "$results"
  say "running the tests of preset $preset"
  GTEST_OUTPUT=xml:$results/ ctest --test-dir "build/$preset" -j "$(nproc)" -L "$labels" \
    --output-on-failure --output-junit "$results/ctest.junit" "$@" || failed=yes
  say "the tests of preset $preset took $((SECONDS - start)) s"
}

if [[ $all == yes ]]; then scripts/setup.sh --all-tests; fi
scripts/build.sh ci
run_tests ci "${ctest_arguments[@]}"
scripts/build.sh asan
run_tests asan "${ctest_arguments[@]}"
results=(build/ci/results build/asan/results)

if [[ $all == yes ]]; then
  code=0
  scripts/fuzz.sh || code=$?
  if [[ $code != 0 && $code != 77 ]]; then failed=yes; fi
  if [[ -d build/fuzz/results ]]; then results+=(build/fuzz/results); fi
fi

python3 scripts/sum_tests.py "${results[@]}"
if [[ $failed == yes ]]; then exit 1; fi
