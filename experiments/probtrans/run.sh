#!/usr/bin/env bash
# The Probabilistic Transformer and its baselines on real data: trains configs/probtrans/NAME.yaml
# with several seeds, evaluates the test sets, and writes means and deviations to results.json and
# results.md beside this file.
#
# usage: experiments/probtrans/run.sh DATA_FOLDER [-k CKV] [-s "0 1 2"] [-d DEVICE] [NAME...]
#
# DATA_FOLDER holds ud-english-ewt, cogs, sst2, sst5 and wikitext-2. NAME: a config without its
# ending (default: all but NER, whose data is licensed). CKV is the program (default: that of
# scripts/build.sh). Repeatable: complete runs are kept and interrupted ones go on.
set -euo pipefail
folder=$(realpath "${1:?usage: run.sh DATA_FOLDER [-k CKV] [-s SEEDS] [-d DEVICE] [NAME...]}")
shift
cd "$(dirname "$0")/../.."
CKV=build/release/src/app/ckv
SEEDS="0 1 2"
DEVICE=auto
while getopts "k:s:d:" option; do
  case $option in
    k) CKV=$OPTARG ;;
    s) SEEDS=$OPTARG ;;
    d) DEVICE=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
NAMES=("$@")
if [[ ${#NAMES[@]} -eq 0 ]]; then
  for file in configs/probtrans/*.yaml; do
    name=$(basename "$file" .yaml)
    [[ $name == ner-* ]] || NAMES+=("$name")
  done
fi
mkdir -p data/generated
ln -sfn "$folder" data/generated/sentences
RUNS=experiments/probtrans/runs
for name in "${NAMES[@]}"; do
  for seed in $SEEDS; do
    "$CKV" train "configs/probtrans/$name.yaml" --set "run.seed=$seed" \
      --set "run.name=$name-seed$seed" --set "run.device=$DEVICE"
  done
done
python3 experiments/probtrans/table.py "$RUNS"
