# shellcheck shell=bash
# Shared by the scripts beside it, which source it. Sets ROOT and goes there.
set -euo pipefail
# A relative CKV_TORCH counts from where the caller stands.
if [[ -n ${CKV_TORCH-} && $CKV_TORCH != /* ]]; then export CKV_TORCH=$PWD/$CKV_TORCH; fi
SCRIPT=$(realpath "$0")
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

# The interpreter with LibTorch that setup.sh chose; build.sh passes it to CMake.
# shellcheck disable=SC2034  # used by the scripts
TORCH_PYTHON_FILE=$ROOT/build/torch-python

# Where setup.sh puts Python packages for tests: a file of a set's name says that it is complete.
# shellcheck disable=SC2034
TEST_VENV=$ROOT/build/test-venv TEST_TOOLS_FAST=tensorboard TEST_TOOLS_SLOW=transformers
# shellcheck disable=SC2034
TEST_TOOLS_HARNESS=lm-eval

SCRIPT_NAME=$(basename "$0" .sh)

say() { printf '%s: %s\n' "$SCRIPT_NAME" "$*"; }

# fail CODE MESSAGE...
fail() {
  local code=$1
  shift
  printf '%s: error: %s\n' "$SCRIPT_NAME" "$*" >&2
  exit "$code"
}

# Prints the comment at the top of the running script: its help.
print_help() { sed -n '2,/^[^#]/ { /^#/ s/^# \{0,1\}//p; }' "$SCRIPT"; }
