#!/usr/bin/env bash
# Sets up (scripts/setup.sh), configures a preset of CMakePresets.json and builds it.
#
# usage: scripts/build.sh [PRESET] [CMAKE_ARGUMENT...] [-- BUILD_ARGUMENT...]
#
# PRESET is release (the default), dev, ci, asan, fuzz or gpu; the build is in build/PRESET. Further
# arguments go to the configuring call of cmake, e.g. -D CKV_CUDA=OFF, and those after -- to its
# building call, e.g. --target ckv. Builds with as many jobs as
# there are cores and memory for, or CMAKE_BUILD_PARALLEL_LEVEL. For gpu no optional package is
# installed: a GPU host often cannot reach any.
#
# Exit codes: those of scripts/setup.sh; 1 if configuring or building failed.
source "$(dirname "$0")/common.sh"

preset=release
case ${1-} in
  -h | --help) print_help && exit 0 ;;
  '' | -*) ;;
  *) preset=$1 && shift ;;
esac

configure_arguments=()
while (($#)) && [[ $1 != -- ]]; do
  configure_arguments+=("$1")
  shift
done
if (($#)); then shift; fi  # the rest is for building

setup_arguments=()
case $preset in
  gpu) setup_arguments=(--required-only) ;;
  ci | dev) setup_arguments=(--tests) ;;
esac
scripts/setup.sh "${setup_arguments[@]}"

# Tests that need Python packages get the interpreter that has them, or are skipped.
test_arguments=()
if [[ $preset == ci || $preset == dev ]]; then
  if [[ -f $TEST_VENV/$TEST_TOOLS_FAST ]]; then
    test_arguments+=(-D "CKV_TENSORBOARD_PYTHON=$TEST_VENV/bin/python3")
  fi
  if [[ -f $TEST_VENV/$TEST_TOOLS_SLOW ]]; then
    test_arguments+=(-D "CKV_TRANSFORMERS_PYTHON=$TEST_VENV/bin/python3")
  fi
  if [[ -f $TEST_VENV/$TEST_TOOLS_HARNESS ]]; then
    test_arguments+=(-D "CKV_HARNESS_PYTHON=$TEST_VENV/bin/python3")
  fi
fi

# Eight files that include LibTorch, compiled as one, take up to 3 GB.
jobs_for_memory=$(awk '/^MemAvailable:/ { print int($2 / 3e6) }' /proc/meminfo)
jobs=$(nproc)
if ((jobs > jobs_for_memory)); then jobs=$((jobs_for_memory > 0 ? jobs_for_memory : 1)); fi
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$jobs}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
start=$SECONDS
say "configuring preset $preset"
if ! cmake --preset "$preset" -D CKV_TORCH_PYTHON="$(<"$TORCH_PYTHON_FILE")" \
  "${test_arguments[@]}" "${configure_arguments[@]}" >"$log" 2>&1; then
  cat "$log" >&2
  fail 1 "configuring preset $preset failed"
fi
sed -n '/^-- CrossKV/,/^-- Configuring/ { /^-- Conf/! s/^-- /  /p; }' "$log"
say "building build/$preset with $jobs jobs"
cmake --build "build/$preset" -j "$jobs" "$@" || fail 1 "building preset $preset failed"
say "preset $preset is built ($((SECONDS - start)) s)"
