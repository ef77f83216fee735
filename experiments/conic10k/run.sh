#!/usr/bin/env bash
# Conic10K on one GPU: makes pairs and a tokenizer from the release, trains the plain model, CLA-2 and
# sandwich-middle (configs/conic10k, about 30M parameters) on the semantic parsing of the train split,
# generates statements for dev and test, and scores them: all rows, and those whose text is not in
# train, by the last checkpoint and by that of the least loss. Results go to
# experiments/conic10k/results/<name>-<split>-<latest|best>.json, outputs beside them.
#
# usage: experiments/conic10k/run.sh CONIC10K_FOLDER [CKV [NAME...]]
#
# CONIC10K_FOLDER holds train.json, dev.json and test.json. CKV is the program (default: that of
# scripts/build.sh); NAME a file of configs/conic10k (default: all three). CONIC_TASK chooses another
# task: answer (train and evaluate on answers) or reasoning (trained on dev, which has the worked
# solutions, and evaluated on test alone). CONIC_SET holds further settings, e.g. "train.steps=100".
# Repeatable: an interrupted run goes on.
set -euo pipefail
source_folder=$(realpath "${1:?usage: run.sh CONIC10K_FOLDER [CKV [NAME...]]}")
cd "$(dirname "$0")/../.."
CKV=${2:-build/release/src/app/ckv}
names=("${@:3}")
if ((${#names[@]} == 0)); then names=(vanilla cla2 sandwich-middle); fi
TASK=${CONIC_TASK:-parsing}
DATA=data/generated/conic10k
RUNS=experiments/conic10k/runs
RESULTS=experiments/conic10k/results

train_split=train
valid_split=dev
if [[ $TASK == reasoning ]]; then
  train_split=dev
  valid_split="test"
fi
splits=("$valid_split")
if [[ $valid_split != test ]]; then splits+=(test); fi

mkdir -p "$DATA" "$RESULTS"
pairs=$DATA/$TASK
mkdir -p "$pairs"
# Rows of the validation split whose text is trained on would make its loss look better.
"$CKV" data conic "$source_folder/$train_split.json" --task "$TASK" --out "$pairs/train.jsonl" \
  --text "$pairs/train.txt"
"$CKV" data conic "$source_folder/$valid_split.json" --task "$TASK" --out "$pairs/valid.jsonl" \
  --without "$source_folder/$train_split.json"
if [[ ! -f $pairs/tokenizer.model ]]; then
  "$CKV" data tokenizer "$pairs/train.txt" --vocab-size 3000 --out "$pairs/tokenizer.model"
fi

sets=()
for setting in ${CONIC_SET-}; do sets+=(--set "$setting"); done
for name in "${names[@]}"; do
  run=$name
  if [[ $TASK != parsing ]]; then run=$TASK-$name; fi
  "$CKV" train "configs/conic10k/$name.yaml" --set "run.name=$run" \
    --set "tokenizer=$pairs/tokenizer.model" --set "data.train=$pairs/train.jsonl" \
    --set "data.valid=$pairs/valid.jsonl" "${sets[@]}"
  for split in "${splits[@]}"; do
    for which in latest best; do
      out=$RESULTS/$run-$split-$which
      [[ -f $out.json ]] && continue
      "$CKV" eval conic "$RUNS/$run" --checkpoint "$which" --data "$source_folder/$split.json" \
        --task "$TASK" --train "$source_folder/$train_split.json" \
        --predictions "$out.jsonl" --json --out "$out.json"
    done
  done
done
