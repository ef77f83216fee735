#!/usr/bin/env bash
# Loss at equal tokens of cheaper iterative training: what passes start from (zeros, guess) and how
# many there are (m without gradient, b with), against m = 7, b = 2 from zeros and the plain model.
# Every run is evaluated with KVs that have converged (16 passes). Writes results.json and prints the
# table of README.md.
#
# usage: experiments/cheaper-iteration/run.sh CORPUS_FOLDER [CKV] [SEEDS] [SCHEMES]
#
# CORPUS_FOLDER holds train-*.txt.zst and valid.txt.zst, or is left empty ('') where the data set is
# there already. SEEDS and SCHEMES are lists in quotes; a GPU has room for several calls at a time, one
# a seed. Repeatable: an interrupted run goes on, a complete one is not run again.
set -euo pipefail
source_folder=${1-}
cd "$(dirname "$0")/../.."
CKV=${2:-build/release/src/app/ckv}
SEEDS=${3:-0 1 2}
SCHEMES=${4:-vanilla top-zeros-7 top-guess-1 middle-zeros-7 middle-guess-1}
DATA=data/generated/cheaper-iteration
STUDY=experiments/cheaper-iteration

mkdir -p "$DATA"
if [[ ! -d $DATA/valid.tokens ]]; then
  "$CKV" data tokenizer "$source_folder/train-00.txt.zst" --vocab-size 8000 \
    --out "$DATA/tokenizer.model"
  # Five shards: more tokens than a run reads, so that none comes twice.
  "$CKV" data prepare "$source_folder"/train-0[0-4].txt.zst --tokenizer "$DATA/tokenizer.model" \
    --out "$DATA/train.tokens"
  "$CKV" data prepare "$source_folder/valid.txt.zst" --tokenizer "$DATA/tokenizer.model" \
    --out "$DATA/valid.tokens"
fi

for seed in $SEEDS; do
  for scheme in $SCHEMES; do
    IFS=- read -r layout start passes <<<"$scheme"
    case $layout in
      vanilla) sharing='{preset: vanilla}' && converged=() ;;
      top) sharing='0_10*10_11' && converged=(--passes 15,1) ;;
      middle) sharing='0_5*10_11' && converged=(--passes 15,1) ;;
      *) echo "run.sh: error: unknown layout '$layout'" >&2 && exit 2 ;;
    esac
    name=$scheme-$seed
    "$CKV" train "$STUDY/study.yaml" --set "run.name=$name" --set "run.seed=$seed" \
      --set "data.seed=$seed" --set "model.kv_sharing=$sharing" \
      --set "model.kv_start=${start:-zeros}" --set "model.forward_passes=${passes:-7}"
    "$CKV" eval perplexity "$STUDY/runs/$name" --data "$DATA/valid.tokens" --mode parallel \
      "${converged[@]}" --precision tf32 --batch-size 64 --json \
      --out "$STUDY/runs/$name/converged.json"
  done
done
python3 "$STUDY/table.py" "$STUDY/runs"
