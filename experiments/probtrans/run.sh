#!/usr/bin/env bash
# The Probabilistic Transformer and its baselines on real data: trains configs/probtrans/NAME.yaml
# with several seeds, several runs at a time, evaluates the test sets, and writes means and
# deviations to results.json and results.md beside this file; what results.json has of other seeds and
# configs stays.
#
# usage: experiments/probtrans/run.sh DATA_FOLDER [-k CKV] [-d DEVICES] [-j JOBS] [-t SECONDS]
#            [-s "0 1 2"] [-x KEY=VALUE]... [-o FOLDER] [JOB...]
#
# DATA_FOLDER holds ud-english-ewt, cogs, sst2, sst5 and wikitext-2.
#   JOB  NAME[:SEEDS[:KEY=VALUE...]], e.g. cogs:0,1,2,3,4 or sst2:0,1,2:train.epochs=20. NAME is a
#        config without its ending; without SEEDS those of -s. Started in the order given; default:
#        all configs but NER, whose data is licensed.
#   -k   The program (default: that of scripts/build.sh).
#   -d   Devices, taken in turn, e.g. cuda:0,cuda:1 (default auto).
#   -j   Runs at a time (default 1), with one thread of the CPU each if more.
#   -t   All is over after so many seconds: runs that are not complete save a checkpoint, and their
#        best weights so far are evaluated into partial.json.
#   -x   Goes to every run as --set.
#   -o   Folder for copies of what is small: results, figures, metrics, logs.
#
# Repeatable: complete runs are kept and interrupted ones go on. Exit code 1 if a run failed.
set -euo pipefail
usage='usage: run.sh DATA_FOLDER [-k CKV] [-d DEVICES] [-j JOBS] [-t SECONDS] [-s SEEDS]
       [-x KEY=VALUE]... [-o FOLDER] [JOB...]'
folder=$(realpath "${1:?$usage}")
shift
cd "$(dirname "$0")/../.."
CKV=build/release/src/app/ckv
SEEDS="0 1 2"
DEVICES=auto
JOBS=1
LIMIT=
OUT=
SETS=()
while getopts "k:s:d:j:t:x:o:" option; do
  case $option in
    k) CKV=$OPTARG ;;
    s) SEEDS=$OPTARG ;;
    d) DEVICES=$OPTARG ;;
    j) JOBS=$OPTARG ;;
    t) LIMIT=$OPTARG ;;
    x) SETS+=(--set "$OPTARG") ;;
    o) mkdir -p "$OPTARG" && OUT=$(realpath "$OPTARG") ;;
    *) echo "$usage" >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
QUEUE=("$@")
command -v "$CKV" > /dev/null || { echo "run.sh: no program '$CKV' (-k)" >&2; exit 2; }
if [[ ${#QUEUE[@]} -eq 0 ]]; then
  for file in configs/probtrans/*.yaml; do
    name=$(basename "$file" .yaml)
    [[ $name == ner-* ]] || QUEUE+=("$name")
  done
fi
mkdir -p data/generated
ln -sfn "$folder" data/generated/sentences
RUNS=experiments/probtrans/runs
LOGS=$RUNS/logs
mkdir -p "$LOGS"
rm -f "$LOGS/failed.txt"
IFS=, read -ra devices <<< "$DEVICES"
((JOBS > 1)) && SETS+=(--set run.threads=1) && export OMP_NUM_THREADS=1
# Of the time limit, what evaluating the runs that are stopped may take.
RESERVE=45
((JOBS > 8)) && RESERVE=75

train() {  # NAME SEED DEVICE [KEY=VALUE...]
  local run=$RUNS/$1-seed$2 limit=() sets=() status=0 item
  for item in "${@:4}"; do sets+=(--set "$item"); done
  if [[ -n $LIMIT ]]; then
    local left=$((LIMIT - RESERVE - SECONDS))
    ((left > 5)) || return 0
    limit=(timeout --signal=TERM --kill-after=$RESERVE "$left")
  fi
  "${limit[@]}" "$CKV" train "configs/probtrans/$1.yaml" --set "run.seed=$2" \
    --set "run.name=$1-seed$2" --set "run.device=$3" "${SETS[@]}" "${sets[@]}" \
    > "$LOGS/$1-seed$2.out" 2>> "$LOGS/$1-seed$2.err" || status=$?
  if [[ -f $run/result.json ]]; then
    rm -f "$run/partial.json"
  elif [[ -d $run/checkpoints ]]; then
    "$CKV" eval sentences "$run" --device "$3" --json > "$run/partial.json" \
      2>> "$LOGS/$1-seed$2.err" || rm -f "$run/partial.json"
  fi
  echo "run.sh: $1-seed$2: exit $status after $SECONDS s" >&2
  # 124 and 143: stopped in time.
  if ((status != 0 && status != 124 && status != 143)); then
    echo "$1-seed$2: $(tail -n 1 "$LOGS/$1-seed$2.err")" | tee -a "$LOGS/failed.txt" >&2
  fi
}

number=0
for job in "${QUEUE[@]}"; do
  IFS=: read -ra parts <<< "$job"
  name=${parts[0]} seeds=${parts[1]-}
  [[ -f configs/probtrans/$name.yaml ]] || { echo "run.sh: no configs/probtrans/$name.yaml" >&2; exit 2; }
  [[ -n $seeds ]] && seeds=${seeds//,/ } || seeds=$SEEDS
  for seed in $seeds; do
    while (($(jobs -rp | wc -l) >= JOBS)); do wait -n || true; done
    train "$name" "$seed" "${devices[number % ${#devices[@]}]}" "${parts[@]:2}" &
    number=$((number + 1))
  done
done
wait
status=0
python3 experiments/probtrans/table.py $(ls experiments/probtrans/results.json 2> /dev/null) "$RUNS" ||
  status=$?
if [[ -n $OUT ]]; then
  cp experiments/probtrans/results.json experiments/probtrans/results.md "$OUT" 2> /dev/null || true
  for run in "$RUNS"/*-seed*; do
    mkdir -p "$OUT/runs/$(basename "$run")"
    for file in result.json partial.json metrics.csv log.txt; do
      [[ -f $run/$file ]] && cp "$run/$file" "$OUT/runs/$(basename "$run")"
    done
  done
  cp -r "$LOGS" "$OUT"
fi
[[ ! -f $LOGS/failed.txt ]] || status=1
exit "$status"
