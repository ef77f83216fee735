#!/usr/bin/env python3
"""What training steps on several GPUs took, beside what `ckv inspect --gpus` says of them.

usage: scaling_check.py [--ckv PROGRAM] [--node-gbs N] FOLDER NAME=CONFIG...

FOLDER holds NAME-<N>-gpus-zero<STAGE>.result, the JSON of `ckv bench train` (scripts/gpu_check_multi.sh
makes them). The efficiency that the model asks for is that of NAME on one GPU at stage 0 in the same
run. Prints a Markdown table, measured and estimated: tokens/s of all, GB of the fullest rank, GB given to
collectives in a step. Where FOLDER has no result on one GPU for a NAME there are no estimates, and the
exit code is 1.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

PEAK = 989e12


def estimate(args, config, row, efficiency):
    rows = row["batch_size"] // row["ranks"]
    command = [args.ckv, "inspect", config, "--gpus", row["ranks"], "--train-batch", row["batch_size"],
               "--micro-batch", rows, "--seq-len", row["seq_len"], "--efficiency", efficiency,
               "--peak-tflops", PEAK / 1e12, "--json"]
    if args.node_gbs:
        command += ["--node-gbs", args.node_gbs]
    words = [str(word) for word in command]
    ranks = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)["ranks"]
    return next(stage for stage in ranks["stages"] if stage["zero"] == row["zero"])


def results(folder, name):
    pattern = re.compile(re.escape(name) + r"-(\d+)-gpus-zero(\d)\.result")
    found = {}
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match:
            found[int(match[1]), int(match[2])] = json.loads(path.read_text())[0]
    return found


def shown(told, key, scale, digits, unit=""):
    return f"{told[key] / scale:.{digits}f}{unit}" if told else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ckv", default="build/release/src/app/ckv")
    parser.add_argument("--node-gbs", type=float)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("configs", nargs="+", metavar="NAME=CONFIG")
    args = parser.parse_args()
    print("| model | GPUs | ZeRO | tokens/s | estimate | GB/GPU | estimate | GB sent | estimate |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    status = 0
    for item in args.configs:
        name, config = item.split("=", 1)
        rows = results(args.folder, name)
        alone = rows.get((1, 0))
        if alone is None:
            print(f"error: {args.folder}: no {name}-1-gpus-zero0.result", file=sys.stderr)
            status = 1
        for (gpus, zero), row in sorted(rows.items()):
            told = {}
            if alone is not None:
                efficiency = alone["flops_per_token"] * alone["tokens_per_second"] / PEAK
                told = estimate(args, config, row, efficiency)
                told["given"] = sum(told[f"{kind}_bytes"] for kind in row["step_bytes"])
            given = sum(row["step_bytes"].values())
            print(f"| {name} | {gpus} | {zero} | {row['tokens_per_second'] / 1e3:.0f}k | "
                  f"{shown(told, 'tokens_per_second', 1e3, 0, 'k')} | {row['memory_bytes'] / 1e9:.1f} | "
                  f"{shown(told, 'memory', 1e9, 1)} | {given / 1e9:.2f} | {shown(told, 'given', 1e9, 2)} |")
    return status


if __name__ == "__main__":
    sys.exit(main())
