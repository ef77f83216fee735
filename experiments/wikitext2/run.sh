#!/usr/bin/env bash
# WikiText-2 on a CPU: trains the plain model, CLA-2, sandwich-top and sandwich-middle at half the KV
# layers (configs/train/wikitext2, about 5M parameters) on equally many tokens, and writes word-level
# perplexities of the whole validation and test sets to results.json beside this file.
#
# usage: experiments/wikitext2/run.sh WIKITEXT_FOLDER [CKV]
#
# WIKITEXT_FOLDER holds train, valid and test as .txt or .txt.zst. CKV is the program (default: that
# of scripts/build.sh). Repeatable: an interrupted run goes on. Takes about an hour on two cores.
set -euo pipefail
source_folder=$(realpath "${1:?usage: run.sh WIKITEXT_FOLDER [CKV]}")
cd "$(dirname "$0")/../.."
CKV=${2:-build/release/src/app/ckv}
DATA=data/generated/wikitext2
RUNS=experiments/wikitext2/runs

text_of() {
  local file
  for file in "$source_folder/$1".txt "$source_folder/$1".txt.zst; do
    if [[ -f $file ]]; then echo "$file" && return; fi
  done
  echo "run.sh: error: $source_folder has no $1.txt or $1.txt.zst" >&2
  return 1
}

mkdir -p "$DATA"
train=$(text_of train)
if [[ ! -f $DATA/tokenizer.model ]]; then
  "$CKV" data tokenizer "$train" --vocab-size 8000 --out "$DATA/tokenizer.model"
fi
for split in train valid test; do
  text=$(text_of "$split")
  if [[ ! -d $DATA/$split.tokens ]]; then
    "$CKV" data prepare "$text" --tokenizer "$DATA/tokenizer.model" --out "$DATA/$split.tokens"
  fi
done

for name in vanilla cla2 sandwich-middle sandwich-top; do
  "$CKV" train "configs/train/wikitext2/$name.yaml"
  for split in valid test; do
    # Line ends are words there, as in published figures; windows half over each other.
    "$CKV" eval perplexity "$RUNS/$name" --data "$DATA/$split.tokens" --count-line-ends \
      --stride 128 --json --out "$RUNS/$name/$split.json"
  done
done
python3 experiments/wikitext2/table.py "$RUNS"
