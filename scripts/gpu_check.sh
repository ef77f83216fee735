#!/usr/bin/env bash
# Builds, tests and measures on a GPU host, without internet and in under ten minutes.
#
# usage: scripts/gpu_check.sh [--quick] [--out FOLDER]
#
# Builds the preset gpu (scripts/build.sh), runs the tests that use a GPU and, beside them, the kernel
# tests under compute-sanitizer (memcheck and racecheck, where it is installed), and prints the
# tables of `ckv bench generate` and `ckv bench train`. --quick leaves the sanitizer and the
# training tables out. --out also writes each part's output to a file in FOLDER.
#
# Exit codes: those of scripts/build.sh; 1 if a test failed or the sanitizer found something.
source "$(dirname "$0")/common.sh"
# shellcheck source=gpu_parts.sh
source "$ROOT/scripts/gpu_parts.sh"

quick=
out=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
scratch=$out
while (($#)); do
  case $1 in
    -h | --help) print_help && exit 0 ;;
    --quick) quick=1 ;;
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

scripts/build.sh gpu -- --target nn_test gen_test model_test train_test dist_test probtrans_test ckv

tests=build/gpu/tests
ckv=build/gpu/src/app/ckv
config=configs/train/1b/vanilla.yaml
w2='0_20*20_21'

# Small cases: the sanitizer makes kernels some hundred times slower.
sanitize() {  # TOOL TEST FILTER
  timeout 240 compute-sanitizer --tool "$1" --error-exitcode 1 "$tests/$2" --gtest_brief=1 \
    --gtest_filter="$3"
}
small_cases='*DecodeAttentionKernelTest.SeesWhatItShouldSee/1:*DecodeAttentionKernel.Gives*:Gpu/DecodeOpsTest.*/0:Gpu/DecodeLinearTest.EveryEpilogueOnce/0:Gpu/FusedTest.Norm*/0:Gpu/FusedTest.Gated*/0:Fp8.Rows*OnAGpu'

run_tests() {
  beside nn_test "$tests/nn/nn_test" --gtest_brief=1
  beside gen_test "$tests/gen/gen_test" --gtest_brief=1
  beside model_test "$tests/model/model_test" --gtest_brief=1 \
    --gtest_filter='*Gpu*:*Fused*:*InPlace*'
  beside train_test "$tests/train/train_test" --gtest_brief=1 --gtest_filter='*AdamW*'
  beside dist_test "$tests/dist/dist_test" --gtest_brief=1 --gtest_filter='*Gpu*'
  beside probtrans_test "$tests/probtrans/probtrans_test" --gtest_brief=1 --gtest_filter='*Gpu*'
  if [[ -z $quick ]] && command -v compute-sanitizer >/dev/null; then
    beside memcheck sanitize memcheck nn/nn_test "$small_cases:Places/PrefillOpsTest.*/3"
    beside racecheck sanitize racecheck nn/nn_test "$small_cases"
    beside racecheck_prefill sanitize racecheck nn/nn_test \
      'Places/PrefillOpsTest.Norm*/3:Places/PrefillOpsTest.Gate*/3'
    beside memcheck_pairs sanitize memcheck probtrans/probtrans_test \
      'Small/PairFormsTest.*Gpu*:RecordedPassesGpu.Dropout*'
    beside racecheck_pairs sanitize racecheck probtrans/probtrans_test \
      'Small/PairFormsTest.*Gpu*'
  fi
  finish_beside
}
part tests run_tests
if [[ -z $quick ]] && ! command -v compute-sanitizer >/dev/null; then
  say "compute-sanitizer is not installed: left out"
fi

generate() { "$ckv" bench generate "$config" "$@"; }
# Time to the first token of one long prompt, where half of the layers stop before it.
first_token() {
  local prompt
  for prompt in 8192 32768; do
    generate --batch 1 --prompt "$prompt" --new 24 --sharing '{preset: vanilla}' \
      --sharing '{pattern: pizza, target: bottom, reduction: 2x}' || return 1
  done
}
# The 7B shape of the LCKV paper's tables on cards of 24 and 80 GB.
generate_7b() {
  local memory tokens
  for memory in 24 80; do
    for tokens in 512 2048; do
      generate --set model.num_layers=32 --set model.hidden_size=4096 \
        --set model.num_attention_heads=32 --set model.num_key_value_heads=32 \
        --set model.intermediate_size=11008 --batch auto --memory-gb "$memory" \
        --prompt "$tokens" --new "$tokens" --no-prefill --sharing '{preset: vanilla}' \
        --sharing '0_30*30_31' --sharing '0_1_2_3_4_26*22_27_28_29_30_31' || return 1
    done
  done
}
part generate-1 generate --batch 1 --sharing '{preset: vanilla}' --sharing "$w2"
part generate-64 generate --batch 64 --sharing '{preset: vanilla}' --sharing "$w2"
part first-token first_token
part prefill "$ckv" bench prefill "$config" --set "model.kv_sharing=$w2" --precision bf16 \
  --batch-size 64 --tokens 512 --passes 7,2 --passes 3,1 --tolerance 1 --chunk 64 --repeats 2
part generate-256 generate --batch 256 --context 2112 --no-prefill \
  --sharing '{preset: vanilla}' --sharing "$w2"
part generate-auto generate --batch auto --prompt 2048 --new 2048 --no-prefill \
  --sharing '{preset: vanilla}' --sharing "$w2"
if [[ -z $quick ]]; then
  train() {
    local config=$1 top=$2 middle=$3
    shift 3
    "$ckv" bench train "$config" --row-steps 6 --sharing '{preset: vanilla}' --sharing "$top" \
      --sharing "$middle" "$@"
    say "one pass without gradient, from a guess"
    "$ckv" bench train "$config" --row-steps 6 --sharing "$top" --sharing "$middle" \
      --set model.kv_start=guess --set model.forward_passes=1 "$@"
  }
  part train-110m train configs/train/110m/vanilla.yaml '0_10*10_11' '0_5*10_11'
  part train-1b train configs/train/1b/vanilla.yaml "$w2" '0_10*20_21' \
    --set train.batch_size=8 --set train.micro_batch_size=0
  part generate-7b generate_7b
fi

((failures == 0)) || fail 1 "$failures part(s) failed"
say "all parts passed"
