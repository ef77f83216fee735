#!/usr/bin/env bash
# Tests and measures training on the GPUs of this host, without internet and in under five minutes
# after the build.
#
# usage: scripts/gpu_check_multi.sh [--gpus N] [--quick] [--out FOLDER]
#
# Builds the preset gpu (scripts/build.sh), runs the tests of ranks over NCCL with 1 to N GPUs (all
# that nvidia-smi lists), evaluations and a sweep on all of them, and `ckv bench train` under
# torchrun with 1 and N GPUs and dist.zero 0 to 3: tokens/s, memory and bytes of each rank beside
# what the cost model says (scripts/scaling_check.py), and how much of the collectives' time passes
# beside computing (scripts/trace_overlap.py). --quick leaves out the model of 1.1B weights. --out
# keeps each part's output and the traces in FOLDER.
#
# Exit codes: those of scripts/build.sh; 1 if a part failed.
source "$(dirname "$0")/common.sh"
# shellcheck source=gpu_parts.sh
source "$ROOT/scripts/gpu_parts.sh"

quick=
gpus=
out=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
scratch=$out
while (($#)); do
  case $1 in
    -h | --help) print_help && exit 0 ;;
    --quick) quick=1 ;;
    --gpus)
      [[ ${2-} =~ ^[1-9][0-9]*$ ]] || fail 2 "--gpus needs a number"
      gpus=$2
      shift
      ;;
    --out)
      (($# > 1)) || fail 2 "--out needs a folder"
      mkdir -p "$2"
      out=$(cd "$2" && pwd)
      shift
      ;;
    *) fail 2 "unknown argument '$1'; see --help" ;;
  esac
  shift
done
here=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true)
gpus=${gpus:-$here}
((gpus > 0)) || fail 1 "no GPU is here"
((gpus <= here)) || fail 2 "--gpus $gpus, but $here are here"

scripts/build.sh gpu -- --target dist_test ckv
nvidia-smi --query-gpu=index,name --format=csv,noheader

ckv=build/gpu/src/app/ckv
python=$(<"$TORCH_PYTHON_FILE")
# Ranks share the cores of the host.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}

run_tests() {
  beside dist_test build/gpu/tests/dist/dist_test --gtest_brief=1 --gtest_filter='*GpuRankTest*'
  beside evaluation-and-sweep "$python" tests/dist/share_test.py --program "$ckv" \
    --device cuda --ranks "$gpus"
  finish_beside
}
part tests run_tests

# launch RANKS ARGUMENT...: the program on so many GPUs.
port=29600
launch() {
  local ranks=$1
  shift
  port=$((port + 1))
  "$python" -m torch.distributed.run --no-python --nproc-per-node "$ranks" \
    --master-addr 127.0.0.1 --master-port "$port" "$ckv" "$@"
}

# bench NAME CONFIG ROWS ALONE STAGES: ROWS samples a rank and step, so that ranks add work; stages
# ALONE on one GPU, from whose first the cost model takes the efficiency.
bench() {
  local name=$1 config=$2 rows=$3 alone=$4 stages=$5 ranks stage status=0
  for ranks in "${numbers[@]}"; do
    for stage in $([[ $ranks != 1 ]] && echo "$stages" || echo "$alone"); do
      say "$name, $ranks GPU(s), dist.zero $stage"
      local place=$out/$name-$ranks-gpus-zero$stage
      launch "$ranks" bench train "$config" --set "train.batch_size=$((rows * ranks))" \
        --set train.micro_batch_size=0 --set "dist.zero=$stage" --rows 2 --row-steps 5 \
        --profile "$place.json" --json --out "$place.result" || status=1
    done
  done
  return $status
}

rm -f "$out"/*-gpus-zero*.json "$out"/*-gpus-zero*.result  # of an earlier run
numbers=(1)
((gpus == 1)) || numbers+=("$gpus")
configs=(110m=configs/train/110m/vanilla.yaml
  110m-sandwich-top=configs/train/110m/sandwich-top.yaml)
part train-110m bench 110m configs/train/110m/vanilla.yaml 16 '0 1 2 3' '0 1 2 3'
part train-110m-sandwich-top bench 110m-sandwich-top configs/train/110m/sandwich-top.yaml 16 0 '0 3'
if [[ -z $quick ]]; then
  configs+=(1b=configs/train/1b/vanilla.yaml)
  part train-1b bench 1b configs/train/1b/vanilla.yaml 4 0 '0 1 3'
fi
# One rank sends nothing.
((gpus == 1)) || part overlap python3 scripts/trace_overlap.py "$out"/*-"$gpus"-gpus-*.json
part cost-model python3 scripts/scaling_check.py --ckv "$ckv" "$out" "${configs[@]}"

((failures == 0)) || fail 1 "$failures part(s) failed"
say "all parts passed"
