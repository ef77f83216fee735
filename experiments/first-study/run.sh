#!/usr/bin/env bash
# The first study: makes tokenizer and data of the corpus, trains and evaluates 22 layouts
# (sweep.yaml), then seven of them with two seeds (seeds.yaml), and writes report.html, report.md
# and results.csv beside this file and into seeds/.
#
# usage: experiments/first-study/run.sh CORPUS_FOLDER [CKV [SWEEP_ARGUMENT...]]
#
# CORPUS_FOLDER holds train-*.txt.zst, valid.txt.zst and test.txt.zst; the tasks' data are looked for
# as `ckv eval tasks` does. CKV is the program (default: that of scripts/build.sh). Repeatable: what
# is done is kept. Further arguments go to `ckv sweep`, e.g. --point 3, of sweep.yaml alone.
set -euo pipefail
corpus=$(realpath "${1:?usage: run.sh CORPUS_FOLDER [CKV [SWEEP_ARGUMENT...]]}")
CKV=$(realpath "${2:-$(dirname "$0")/../../build/release/src/app/ckv}")
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")/../.."
DATA=data/generated/corpus
STUDY=experiments/first-study

mkdir -p "$DATA"
if [[ ! -f $DATA/tokenizer.model ]]; then
  "$CKV" data tokenizer "$corpus/train-00.txt.zst" --vocab-size 8000 --out "$DATA/tokenizer.model"
fi
if [[ ! -d $DATA/train.tokens ]]; then
  "$CKV" data prepare "$corpus"/train-*.txt.zst --tokenizer "$DATA/tokenizer.model" \
    --out "$DATA/train.tokens"
fi
for split in valid test; do
  if [[ ! -d $DATA/$split.tokens ]]; then
    "$CKV" data prepare "$corpus/$split.txt.zst" --tokenizer "$DATA/tokenizer.model" \
      --out "$DATA/$split.tokens"
  fi
done

"$CKV" sweep "$STUDY/sweep.yaml" "$@"
"$CKV" report "$STUDY"
if (($# == 0)); then
  "$CKV" sweep "$STUDY/seeds.yaml"
  "$CKV" report "$STUDY/seeds"
fi
