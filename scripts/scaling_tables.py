#!/usr/bin/env python3
"""Prints the tables of docs/scaling.md: `scaling_tables.py [CKV]` (default build/release/src/app/ckv).

Each cell comes from `ckv inspect --gpus`; what is assumed of machines and steps stands here.
"""

import json
import subprocess
import sys

MODELS = {  # name: layers, width, heads, key/value heads, feed-forward width, vocabulary
    "1.1B": (22, 2048, 32, 4, 5632, 32000),
    "7B": (32, 4096, 32, 32, 11008, 32000),
    "70B": (80, 8192, 64, 8, 28672, 32000),
}
SHARINGS = {
    "plain": "{preset: vanilla}",
    "CLA-2": "{preset: cla, factor: 2}",
    "sandwich-top": "{pattern: sandwich, target: top, reduction: 2x}",
}
GPUS = (8, 64, 1024)
BATCH = 2048  # sequences of 2048 tokens: 4.2M tokens a step


def inspect(ckv, model, sharing, gpus):
    layers, width, heads, kv_heads, ffn, vocab = MODELS[model]
    command = [ckv, "inspect", "--sharing", SHARINGS[sharing], "--layers", layers, "--hidden-size",
               width, "--heads", heads, "--kv-heads", kv_heads, "--ffn", ffn, "--vocab", vocab,
               "--seq-len", 2048, "--gpus", gpus, "--train-batch", BATCH, "--recompute", "--json"]
    words = [str(word) for word in command]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["ranks"]


def main():
    ckv = sys.argv[1] if len(sys.argv) > 1 else "build/release/src/app/ckv"
    print("| model | kv_sharing | GPUs | GB/GPU: 0 | 1 | 2 | 3 | best stage that fits | GB sent a step | "
          "waiting | tokens/s | of peak |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for model in MODELS:
        for sharing in SHARINGS:
            for gpus in GPUS:
                stages = inspect(ckv, model, sharing, gpus)["stages"]
                memory = " | ".join(f"{row['memory'] / 1e9:.0f}" for row in stages)
                fitting = [row for row in stages if row["fits"]]
                if not fitting:
                    print(f"| {model} | {sharing} | {gpus} | {memory} | none | | | | |")
                    continue
                best = max(fitting, key=lambda row: row["tokens_per_second"])
                waiting = best["exposed_seconds"] / best["step_seconds"]
                print(f"| {model} | {sharing} | {gpus} | {memory} | {best['zero']} | "
                      f"{best['wire_bytes'] / 1e9:.1f} | {100 * waiting:.0f}% | "
                      f"{best['tokens_per_second'] / 1e3:.0f}k | {100 * best['of_peak']:.1f}% |")


if __name__ == "__main__":
    main()
