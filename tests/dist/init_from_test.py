#!/usr/bin/env python3
"""Ranks that start from a model's weights train as one process does (fp64, to 1e-10), on pairs, too.

The weights of `init_from` are read while they are shared out: whole by stages 0 to 2, in parts by
stage 3, with tied embeddings, with rows that the vocabulary has grown by drawn alike, as the frozen
base of adapters, and with an adapter merged into them.

  init_from_test.py --program build/ci/src/app/ckv
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import runs


def train(args, world, *sets):
    words = ["train", args.config, "--set", "train.precision=fp64"]
    for item in sets:
        words += ["--set", item]
    if world == 0:
        processes = [subprocess.Popen([str(word) for word in [args.program, *words]],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
    else:
        processes = runs.by_hand(args.program, words, world, runs.free_port())
    try:
        texts = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(process.returncode for process in processes):
        runs.fail(f"{sets} on {world} ranks: {texts}")


def difference(one, other, what):
    if not one or one.keys() != other.keys():
        runs.fail(f"{what}: {sorted(other)} in place of {sorted(one)}")
    return max(abs(x - y) for name in one for x, y in zip(one[name], other[name], strict=True))


def compare(args, what, stem, worlds, *sets):
    folder = args.folder / what.replace(" ", "-")
    train(args, 0, *sets, f"run.dir={folder}-alone")
    want = runs.weights_of(runs.latest(f"{folder}-alone"), stem)
    for world, stage in worlds:
        run = f"{folder}-{world}-{stage}"
        train(args, world, *sets, f"run.dir={run}", f"dist.zero={stage}")
        worst = difference(want, runs.weights_of(runs.latest(run), stem), what)
        if not worst <= 1e-10:
            runs.fail(f"{what}: weights of {world} ranks at stage {stage} differ by {worst}")
        print(f"{what}: {world} ranks at stage {stage} differ by at most {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ckv-init-from-") as name:
        args.folder = pathlib.Path(name)
        args.config = runs.prepare(args.program, args.folder, 20, save_every=20)
        base, tied = args.folder / "base", args.folder / "tied"
        train(args, 0, f"run.dir={base}", "run.seed=5")
        train(args, 0, f"run.dir={tied}", "run.seed=6", "model.tie_word_embeddings=true")
        start = ("train.optim.lr=1e-3", "model.attention_dropout=0")

        # With steps too small to count ranks end with what they began with.
        still = args.folder / "still"
        train(args, 2, *start, f"init_from={base}", f"run.dir={still}", "dist.zero=3",
              "train.optim.lr=1e-40")
        moved = difference(runs.weights_of(runs.latest(base)), runs.weights_of(runs.latest(still)), "base")
        if not moved <= 1e-6:  # they are read in fp32
            runs.fail(f"ranks do not begin with the weights of init_from: they differ by {moved}")

        compare(args, "weights", "model", [(2, 0), (3, 1), (3, 3)], *start, f"init_from={base}")
        compare(args, "tied embeddings", "model", [(2, 3)], *start, f"init_from={tied}",
                "model.tie_word_embeddings=true")
        compare(args, "a grown vocabulary", "model", [(3, 2), (2, 3)], *start, f"init_from={base}",
                "model.vocab_size=264")
        pairs = args.folder / "pairs.jsonl"
        pairs.write_text("".join(json.dumps({"prompt": f"{i} and", "target": "x" * (1 + i % 5)}) + "\n"
                                 for i in range(30)))
        compare(args, "pairs", "model", [(1, 0), (2, 1), (3, 3)], *start, f"init_from={base}",
                "data.kind=pairs", f"data.train={pairs}", "data.valid_percent=0", "tokenizer=byte",
                "data.seq_len=16")
        lora = "train.lora={rank: 2, targets: [q_proj, v_proj, down_proj]}"
        compare(args, "adapters", "adapter_model", [(2, 0), (3, 2)], *start, f"init_from={base}", lora)
        compare(args, "a merged adapter", "model", [(2, 3)], *start,
                f"init_from={args.folder / 'adapters-alone'}")


if __name__ == "__main__":
    main()
