#!/usr/bin/env bash
# Configures the project in a scratch folder with nvcc hidden, builds torch_smoke there and runs it:
# a host without any part of CUDA's toolkit can build everything.
#
# usage: cpu_only_configure.sh PYTHON    (the interpreter that has torch)
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
python=$1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Folders with nvcc leave PATH; the tools that lie beside it come back as links.
mkdir "$work/bin"
for tool in cmake ninja c++ g++ gcc cc python3 ccache git; do
  place=$(command -v "$tool" || true)
  if [[ -n $place ]]; then ln -s "$place" "$work/bin/$tool"; fi
done
clean_path=$work/bin
IFS=: read -ra folders <<<"$PATH"
for folder in "${folders[@]}"; do
  if [[ ! -e $folder/nvcc ]]; then clean_path+=:$folder; fi
done
export PATH=$clean_path
unset CUDACXX CUDA_HOME CUDA_PATH CUDA_ROOT CUDAToolkit_ROOT CPATH LIBRARY_PATH LD_LIBRARY_PATH
if command -v nvcc; then
  echo "error: nvcc is still on PATH"
  exit 1
fi

cmake -S "$source_dir" -B "$work/build" -G Ninja -D CMAKE_BUILD_TYPE=Release \
  -D CKV_TORCH_PYTHON="$python" -D CMAKE_IGNORE_PREFIX_PATH=/usr/local/cuda |
  tee "$work/configure.log"
grep -q 'CUDA kernels OFF' "$work/configure.log"
cmake --build "$work/build" --target torch_smoke
if grep -E -- '-(I|isystem) ?[^ ]*(/cuda|nvidia/)' "$work/build/compile_commands.json"; then
  echo "error: a compile command names a folder of CUDA"
  exit 1
fi
"$work/build/tests/scripts/torch_smoke"
