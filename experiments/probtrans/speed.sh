#!/usr/bin/env bash
# Sentences per second in training: our program, its baseline transformer, and a straightforward
# PyTorch version of the same equations (scripts/probtrans_baseline.py), on one device.
#
# usage: experiments/probtrans/speed.sh DATA_FOLDER [-k CKV] [-d DEVICE] [-e EPOCHS] [-p PYTHON]
#
# Prints one JSON line a measurement. Ours counts all training steps of EPOCHS epochs, the first ones
# with their warm-up included; PYTHON is an interpreter with torch.
set -euo pipefail
folder=$(realpath "${1:?usage: speed.sh DATA_FOLDER [-k CKV] [-d DEVICE] [-e EPOCHS] [-p PYTHON]}")
shift
cd "$(dirname "$0")/../.."
CKV=build/release/src/app/ckv
DEVICE=cuda
EPOCHS=3
PYTHON=python3
while getopts "k:d:e:p:" option; do
  case $option in
    k) CKV=$OPTARG ;;
    d) DEVICE=$OPTARG ;;
    e) EPOCHS=$OPTARG ;;
    p) PYTHON=$OPTARG ;;
    *) exit 2 ;;
  esac
done
mkdir -p data/generated
ln -sfn "$folder" data/generated/sentences
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
zstd -dc "$folder/ud-english-ewt/en_ewt-ud-train.conllu.zst" |
  awk -F'\t' '/^[0-9]+\t/ {printf "%s ", $2} /^$/ {print ""}' > "$work/ewt.txt"
zstd -dc "$folder/cogs/train.tsv.zst" | cut -f1 > "$work/cogs.txt"

measure() {  # CONFIG [KEY=VALUE...]
  local sets=()
  for item in "${@:2}"; do sets+=(--set "$item"); done
  "$CKV" train "configs/probtrans/$1.yaml" --set "run.dir=$work/run" --set "run.device=$DEVICE" \
    --set "train.epochs=$EPOCHS" --set train.save_every=0 --set 'data.test=[]' "${sets[@]}" \
    --json > "$work/result.json"
  "$PYTHON" - "$work/result.json" "$*" << 'PY'
import json, sys
result = json.load(open(sys.argv[1]))
print(json.dumps({"ckv": sys.argv[2], "sentences_per_second": result["sentences_per_second"]}))
PY
  rm -rf "$work/run"
}

for config in ewt-xpos ewt-upos mlm-ewt cogs; do
  measure "$config"
  measure "$config" train.precision=tf32
  measure "$config" train.precision=bf16
  measure "$config-transformer"
  text=$work/ewt.txt
  [[ $config == cogs ]] && text=$work/cogs.txt
  "$PYTHON" scripts/probtrans_baseline.py "configs/probtrans/$config.yaml" --sentences "$text" \
    --device "$DEVICE" --steps 30
done
