#!/usr/bin/env bash
# Sentences per second in training: our program, its baseline transformer of equal width and as many
# layers as iterations, and a straightforward PyTorch version of the same equations
# (scripts/probtrans_baseline.py), on one device.
#
# usage: experiments/probtrans/speed.sh DATA_FOLDER [-k CKV] [-d DEVICE] [-n STEPS] [-p PYTHON]
#            [-o FILE] [CONFIG...]
#
# CONFIG: ewt-xpos, ewt-upos, mlm-ewt, cogs (the default: all of them). Ours is the median over the
# second half of at least STEPS steps (default 400, never below 20), so that warming up and recording
# do not count; PYTHON (with torch) runs the PyTorch version. Prints one JSON line a measurement and
# a table; -o writes the lines to a file too. On a GPU recorded passes and pair kernels are measured
# as well. Exit code 1 if a measurement failed.
set -euo pipefail
usage='usage: speed.sh DATA_FOLDER [-k CKV] [-d DEVICE] [-n STEPS] [-p PYTHON] [-o FILE] [CONFIG...]'
folder=$(realpath "${1:?$usage}")
shift
cd "$(dirname "$0")/../.."
CKV=build/release/src/app/ckv
DEVICE=cuda
STEPS=400
PYTHON=python3
OUT=/dev/null
while getopts "k:d:n:p:o:" option; do
  case $option in
    k) CKV=$OPTARG ;;
    d) DEVICE=$OPTARG ;;
    n) STEPS=$OPTARG ;;
    p) PYTHON=$OPTARG ;;
    o) OUT=$OPTARG ;;
    *) echo "$usage" >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
CONFIGS=("$@")
[[ ${#CONFIGS[@]} -gt 0 ]] || CONFIGS=(ewt-xpos ewt-upos mlm-ewt cogs)
((STEPS >= 20)) || STEPS=20
command -v "$CKV" > /dev/null || { echo "speed.sh: no program '$CKV' (-k)" >&2; exit 2; }
mkdir -p data/generated
ln -sfn "$folder" data/generated/sentences
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# unpacked FILE: its text, from FILE itself or FILE.zst (zstd is not on every GPU host).
unpacked() { if [[ -f $1 ]]; then cat "$1"; else zstd -dc "$1.zst"; fi; }
unpacked "$folder/ud-english-ewt/en_ewt-ud-train.conllu" > "$work/ewt.conllu"
awk -F'\t' '/^[0-9]+\t/ {printf "%s ", $2} /^$/ {print ""}' "$work/ewt.conllu" > "$work/ewt.txt"
unpacked "$folder/cogs/train.tsv" > "$work/cogs.tsv"
cut -f1 "$work/cogs.tsv" > "$work/cogs.txt"
# Development scores are not measured: ten sentences.
awk '/^$/ {++n} {print} n == 10 {exit}' "$work/ewt.conllu" > "$work/few.conllu"
head -n 10 "$work/cogs.tsv" > "$work/few.tsv"

declare -A BATCH=([ewt-xpos]=64 [ewt-upos]=64 [mlm-ewt]=64 [cogs]=100)
declare -A WIDTH=([ewt-xpos]=128 [ewt-upos]=256 [mlm-ewt]=384 [cogs]=64)
declare -A ITERATIONS=([ewt-xpos]=2 [ewt-upos]=6 [mlm-ewt]=5 [cogs]=2)

EWT=$(wc -l < "$work/ewt.txt") COGS=$(wc -l < "$work/cogs.txt")
status=0

record() { tee -a "$work/lines" "$OUT"; }

measure() {  # LABEL CONFIG BATCH [KEY=VALUE...]
  local sets=() item few=$work/few.conllu data=$EWT
  for item in "${@:4}"; do sets+=(--set "$item"); done
  [[ $2 != cogs* ]] || { few=$work/few.tsv && data=$COGS; }
  rm -rf "$work/run"
  "$CKV" train "configs/probtrans/$2.yaml" --set "run.dir=$work/run" --set "run.device=$DEVICE" \
    --set "train.epochs=$(((STEPS * $3 + data - 1) / data))" --set "train.batch_size=$3" \
    --set train.save_every=0 --set train.log_every=10 --set "data.valid=[$few]" \
    --set 'data.test=[]' "${sets[@]}" > "$work/out" 2>&1 || {
    echo "speed.sh: $2, $1: $(tail -n 1 "$work/out")" >&2
    status=1
    return 0
  }
  "$PYTHON" - "$work/run/metrics.jsonl" "$1" "$2" "$3" << 'PY' | record
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
steps = [row["step_seconds"] for row in rows if "step_seconds" in row]
seconds = statistics.median(steps[len(steps) // 2 :])
print(json.dumps({"config": sys.argv[3], "what": sys.argv[2], "step_seconds": seconds,
                  "sentences_per_second": int(sys.argv[4]) / seconds}))
PY
}

for config in "${CONFIGS[@]}"; do
  batch=${BATCH[$config]:?no such config}
  same=("model.width=${WIDTH[$config]}" "model.layers=${ITERATIONS[$config]}")
  measure 'ours fp32' "$config" "$batch"
  measure 'ours tf32' "$config" "$batch" train.precision=tf32
  measure 'ours bf16' "$config" "$batch" train.precision=bf16
  if [[ $DEVICE == cuda* ]]; then
    measure 'ours fp32, recorded' "$config" "$batch" train.recorded=true
    measure 'ours tf32, recorded' "$config" "$batch" train.recorded=true train.precision=tf32
    measure 'ours fp32, recorded, pair kernels' "$config" "$batch" train.recorded=true \
      model.pairs=fused
  fi
  measure 'transformer fp32' "$config-transformer" "$batch" "${same[@]}"
  measure 'transformer tf32' "$config-transformer" "$batch" "${same[@]}" train.precision=tf32
  measure 'transformer bf16' "$config-transformer" "$batch" "${same[@]}" train.precision=bf16
  if [[ $DEVICE == cuda* ]]; then
    measure 'transformer fp32, recorded' "$config-transformer" "$batch" "${same[@]}" \
      train.recorded=true
  fi
  text=$work/ewt.txt
  [[ $config == cogs ]] && text=$work/cogs.txt
  "$PYTHON" scripts/probtrans_baseline.py "configs/probtrans/$config.yaml" --sentences "$text" \
    --device "$DEVICE" --steps 20 | record
done
"$PYTHON" - "$work/lines" << 'PY'
import json, pathlib, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
plain = {pathlib.Path(row["config"]).stem: row["sentences_per_second"]
         for row in rows if row["what"].startswith("PyTorch")}
print("| config | what | sentences/s | times PyTorch |\n|---|---|---:|---:|")
for row in rows:
    name = pathlib.Path(row["config"]).stem
    base = plain.get(name.removesuffix("-transformer"))
    rate = row["sentences_per_second"]
    print(f"| {name} | {row['what']} | {rate:.0f} | {f'{rate / base:.1f}' if base else '–'} |")
PY
exit "$status"
