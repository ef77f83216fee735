#!/usr/bin/env bash
# Shell scripts parse, and shellcheck finds nothing; the second part is skipped where it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

scripts=(.ci/run scripts/*.sh tests/scripts/*.sh)
for script in "${scripts[@]}"; do bash -n "$script"; done
if ! command -v shellcheck >/dev/null; then
  echo "skipped: shellcheck is not installed"
  exit 77
fi
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
echo "shellcheck: nothing found in ${#scripts[@]} scripts"
