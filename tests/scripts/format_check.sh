#!/usr/bin/env bash
# Fails if clang-format 14 would change a source file; skipped (77) where it is not installed, since
# other versions disagree in details.
set -euo pipefail
cd "$(dirname "$0")/../.."

formatter=
for candidate in clang-format-14 clang-format; do
  if command -v "$candidate" >/dev/null && "$candidate" --version | grep -q 'version 14\.'; then
    formatter=$candidate
    break
  fi
done
if [[ -z $formatter ]]; then
  echo "skipped: clang-format 14 is not installed"
  exit 77
fi

find src tests -type f \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 "$formatter" --dry-run -Werror --ferror-limit=3
echo "format: nothing to change"
