#!/usr/bin/env bash
# From a fresh clone to a trained model: sets up, builds, makes a corpus of simple stories, trains the
# small sandwich-middle model of configs/train/quickstart.yaml on it, evaluates the model and lets it
# tell a story. Repeatable: what is done is not done again, and an interrupted training goes on.
#
# usage: scripts/quickstart.sh
#
# Data go to data/generated/stories, the run to experiments/quickstart/runs/quickstart; remove them to
# start over. After installing and building it takes less than five minutes on two cores.
#
# Exit codes: those of scripts/build.sh, then those of ckv (docs/building.md, README.md).
source "$(dirname "$0")/common.sh"

case ${1-} in
  '') ;;
  -h | --help) print_help && exit 0 ;;
  *) fail 2 "unknown argument '$1'" ;;
esac

CKV=build/release/src/app/ckv
DATA=data/generated/stories
RUN=experiments/quickstart/runs/quickstart

# step RESULT WHAT COMMAND...: runs COMMAND, which makes RESULT, unless RESULT is there.
step() {
  local result=$1 what=$2
  shift 2
  if [[ -e $result ]]; then
    say "$what: done before ($result)"
    return
  fi
  say "$what"
  printf '  %s\n' "$*"
  "$@"
}

# run WHAT COMMAND...: runs COMMAND each time.
run() {
  say "$1"
  shift
  printf '  %s\n' "$*"
  "$@"
}

scripts/build.sh release
start=$SECONDS
mkdir -p "$DATA"

step $DATA/train.txt "writing stories to train on" \
  $CKV data stories --count 12000 --seed 1 --out $DATA/train.txt
step $DATA/valid.txt "writing stories to validate on" \
  $CKV data stories --count 500 --seed 2 --out $DATA/valid.txt
step $DATA/tokenizer.model "training the tokenizer" \
  $CKV data tokenizer $DATA/train.txt --vocab-size 1024 --out $DATA/tokenizer.model
step $DATA/train.tokens "turning the stories into tokens" \
  $CKV data prepare $DATA/train.txt --tokenizer $DATA/tokenizer.model --out $DATA/train.tokens
step $DATA/valid.tokens "turning the validation stories into tokens" \
  $CKV data prepare $DATA/valid.txt --tokenizer $DATA/tokenizer.model --out $DATA/valid.tokens

# ckv itself goes on where an earlier call stopped, and ends at once if that was the end.
run "training" $CKV train configs/train/quickstart.yaml
# --reset-attention: as the stories are trained on.
run "evaluating" $CKV eval perplexity $RUN --data $DATA/valid.tokens --reset-attention
run "telling a story" $CKV generate $RUN --prompt "Once upon a time" --max-tokens 120

say "done in $((SECONDS - start)) s after building; the run is in $RUN"
