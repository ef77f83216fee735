#!/usr/bin/env python3
"""Evaluations and sweeps on several ranks: all share the work, and the result is that of one.

`ckv eval perplexity` and `ckv eval tasks` in fp64 give the figures of a process alone to 1e-12 (sums
come in another order, requests in other batches) and, request by request, the same bits. Answers
that an interrupted evaluation's ranks have kept are used. The ranks of `ckv sweep` do each point
once, and a point may be trained by ranks of its own. `ckv bench train` measures all ranks.

  share_test.py --program build/ci/src/app/ckv --python .venv/bin/python3 [--device cuda --ranks 2]
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import runs

TASKS = {
    "quiz": "about: letters\nkind: multiple_choice\ndata: [quiz.jsonl]\nmetrics: [acc, acc_norm]\n"
    "forms:\n  - {context: 'Q: {{q}}', choices: '{{c}}', target: '{{g}}'}\n",
    "text": "about: text\nkind: rolling\ndata: [text.txt]\n"
    "metrics: [word_perplexity, byte_perplexity]\nforms:\n  - {target: '{{text}}'}\n",
    "say": "about: answers\nkind: generate\ndata: [quiz.jsonl]\ngeneration: {max_tokens: 4}\n"
    "metrics: [exact_match]\nforms:\n  - {context: 'Q: {{q}}', target: '{{c.0}}'}\n",
}


class Evaluations:
    def __init__(self, args, folder):
        self.args = args
        self.folder = folder
        config = runs.prepare(args.program, folder, 30, save_every=30)
        self.run = folder / "run"
        self.one(["train", config, "--set", f"run.dir={self.run}"])
        (folder / "tasks").mkdir()
        (folder / "data").mkdir()
        for name, text in TASKS.items():
            (folder / "tasks" / f"{name}.yaml").write_text(text)
        (folder / "data" / "quiz.jsonl").write_text("".join(
            json.dumps({"q": f"word {i * i}", "c": ["a", f"b{i}", "ccc"], "g": i % 3}) + "\n"
            for i in range(17)
        ))
        (folder / "data" / "text.txt").write_text("some words of a text\nand more\n" * 9)

    def one(self, words):
        # As many threads as a rank has: products on some CPUs add up in another order with more.
        done = subprocess.run([self.args.program, *map(str, words)], capture_output=True, text=True,
                              env=dict(os.environ, OMP_NUM_THREADS="1"))
        if done.returncode:
            runs.fail(f"{words} left with {done.returncode}: {done.stderr}")
        return done.stdout

    def ranks(self, words, world):
        """What rank 0 prints; the others must print nothing. world 0: without a launcher."""
        if world == 0:
            return self.one(words)
        processes = runs.by_hand(self.args.program, words, world, runs.free_port(), one_host=True)
        texts = [process.communicate(timeout=300) for process in processes]
        for rank, process in enumerate(processes):
            if process.returncode:
                runs.fail(f"rank {rank} of {world} left with {process.returncode}: {texts[rank][1]}")
            if rank > 0 and texts[rank][0]:
                runs.fail(f"rank {rank} printed {texts[rank][0]}")
        return texts[0][0]

    def perplexity(self, world):
        words = ["eval", "perplexity", self.run, "--device", self.args.device, "--precision", "fp64",
                 "--data", self.folder / "text.txt", "--mode", "both", "--batch-size", 3, "--json"]
        return json.loads(self.ranks(words, world))

    def tasks(self, world, more):
        out, samples = self.folder / "results.json", self.folder / "samples"
        words = ["eval", "tasks", self.run, "--device", self.args.device, "--tasks", ",".join(TASKS),
                 "--task-dir", self.folder / "tasks", "--data-dir", self.folder / "data",
                 "--out", out, "--log-samples", samples, *more]
        self.ranks(words, world)
        answers = {}
        for name in TASKS:
            lines = (samples / f"samples_{name}.jsonl").read_text().splitlines()
            answers[name] = [json.loads(line)["resps"] for line in lines]
        return json.loads(out.read_text())["results"], answers


def differing(one, other, tolerance, where=""):
    """Paths at which two JSON values differ by more than a relative tolerance, times left out."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        keys = [key for key in one if key not in ("seconds", "tokens_per_second")]
        return [x for key in keys for x in differing(one[key], other[key], tolerance, f"{where}/{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [x for i, pair in enumerate(zip(one, other)) for x in differing(*pair, tolerance, f"{where}/{i}")]
    if isinstance(one, float) and isinstance(other, float):
        scale = max(1.0, abs(one))
        return [] if math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance * scale) else [f"{where}: {one} {other}"]
    return [] if one == other else [f"{where}: {one} {other}"]


def expect_same(what, one, other, tolerance):
    found = differing(one, other, tolerance)
    if found:
        runs.fail(f"{what} differs: {found[:5]}")


def test_evaluations(args, folder):
    evaluations = Evaluations(args, folder)
    worlds = range(1, args.ranks + 1)
    alone = evaluations.perplexity(0)
    for world in worlds:
        expect_same(f"perplexity on {world} ranks", alone, evaluations.perplexity(world), 1e-12)
    for more, tolerance in ([["--no-cache", "--precision", "fp64"], 1e-12],
                            [["--no-cache", "--batch-invariant"], 0.0]):
        alone = evaluations.tasks(0, more)
        for world in worlds:
            expect_same(f"{more} on {world} ranks", alone, evaluations.tasks(world, more), tolerance)
    print(f"perplexity and tasks on 1 to {args.ranks} ranks: those of a process alone")

    # Kept answers: one file a task, and those that ranks have left are taken over.
    alone = evaluations.tasks(0, ["--no-cache", "--batch-invariant"])
    kept = evaluations.tasks(args.ranks, ["--batch-invariant"])
    expect_same("kept answers", alone, kept, 0.0)
    folder = evaluations.run / "eval" / "answers"
    files = sorted(folder.iterdir())
    if len(files) != len(TASKS):
        runs.fail(f"{files} are kept for {len(TASKS)} tasks")
    for world in (0, args.ranks):
        path = next(path for path in folder.iterdir() if path.name.startswith("quiz"))
        lines = path.read_text().splitlines(keepends=True)
        changed = json.loads(lines[4])
        changed["answers"][0][0] = -123.5  # shows that it is used
        path.write_text(lines[0] + lines[1])
        (folder / f"{path.stem}.rank2.jsonl").write_text(lines[0] + lines[2] + json.dumps(changed) + "\n" + '{"docu')
        _, answers = evaluations.tasks(world, ["--batch-invariant"])
        if "-123.5" not in json.dumps(answers["quiz"][changed["document"]]):
            runs.fail(f"an answer that a rank had kept was not used: {answers['quiz']}")
        if sorted(folder.iterdir()) != files:
            runs.fail(f"files of ranks are left: {sorted(folder.iterdir())}")
    print("answers of ranks that were interrupted are used")


def test_sweep(args, folder):
    config = runs.prepare(args.program, folder, 40, save_every=20)
    if args.device != "cpu":
        config.write_text(config.read_text().replace("device: cpu", f"device: {args.device}"))
    launcher = [args.python, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", "2",
                "--master-addr", "127.0.0.1", "--master-port", "PORT"]
    sweep = folder / "sweep.yaml"
    sweep.write_text(
        f"name: shared\ndir: {folder}/out\nconfig: {config}\naxes:\n"
        "  - {key: train.optim.lr, values: [1.0e-3, 2.0e-3, 3.0e-3, 1.0e+30, 4.0e-3]}\n"
        "stages:\n  - name: text\n    command: [eval, perplexity, '{run}', --device, "
        f"{args.device}, --data, {folder}/text.txt, --max-tokens, 100, --json, --out, '{{out}}']\n"
    )

    def points():
        found = [json.loads(path.read_text()) for path in (folder / "out" / "runs").glob("*/run.json")]
        return found, [len(run["sessions"]) for run in found]

    def run(world, more):
        words = ["sweep", sweep, "--json", *more]
        processes = runs.by_hand(args.program, words, world, runs.free_port(), one_host=True)
        texts = [process.communicate(timeout=600) for process in processes]
        for process, (_, text) in zip(processes, texts):
            if process.returncode:
                runs.fail(f"a rank of the sweep left with {process.returncode}: {text}")
        result = json.loads(texts[0][0])
        if any(out for out, _ in texts[1:]):
            runs.fail("a rank other than the first printed a result")
        started = [text.count(": train ") for _, text in texts]
        return result, started

    result, started = run(args.ranks, [])
    if (result["done"], result["failed"], result["elsewhere"]) != (4, 1, 0):
        runs.fail(f"the sweep ended with {result}")
    found, sessions = points()
    if sessions != [1] * 5 or sum(started) != 5:
        runs.fail(f"points were trained {sessions} times; by rank {started}")
    if any("ranks over" in run["sessions"][0]["device"] for run in found):
        runs.fail("a point took itself for a rank of the sweep")
    print(f"a sweep of 5 points on {args.ranks} ranks: each once, {started} by rank")

    if args.device == "cpu" or args.ranks > 1:
        text = sweep.read_text().replace("/out\n", "/launched\n")
        words = json.dumps([word.replace("PORT", str(runs.free_port())) for word in launcher])
        sweep.write_text(text + f"train_launcher: {words}\n")
        done = subprocess.run([args.program, "sweep", sweep, "--json"], capture_output=True, text=True)
        if done.returncode:
            runs.fail(f"the sweep of launched points left with {done.returncode}: {done.stderr}")
        result = json.loads(done.stdout)
        paths = list((folder / "launched" / "runs").glob("*/point.json"))
        states = [json.loads(path.read_text())["stages"][0] for path in paths]
        ends = sorted(stage["status"] for stage in states)
        if (result["done"], result["failed"]) != (4, 1) or ends != ["diverged"] + ["done"] * 4:
            runs.fail(f"the sweep of launched points ended with {result}, {states}")
        for path in paths:
            session = json.loads((path.parent / "run.json").read_text())["sessions"][0]
            if "2 ranks over" not in session["device"] or "torchrun" not in session["device"]:
                runs.fail(f"a point was trained by {session['device']}")
        print("points that torchrun trains on 2 ranks: 4 done, 1 diverged")


def test_bench(args, folder):
    config = folder / "bench.yaml"
    config.write_text(
        "model: {vocab_size: 64, num_layers: 4, kv_sharing: 0_2_2_3, hidden_size: 16,\n"
        "        intermediate_size: 24, num_attention_heads: 4}\n"
        f"data: {{train: none, seq_len: 12}}\nrun: {{device: {args.device}, threads: 1}}\n"
        f"train: {{batch_size: {2 * args.ranks}}}\n"
    )
    for stage in (0, 3):
        words = ["bench", "train", config, "--rows", 1, "--row-steps", 2, "--json", "--set",
                 f"dist.zero={stage}", "--profile", folder / f"trace{stage}.json"]
        processes = runs.by_hand(args.program, words, args.ranks, runs.free_port(), one_host=True)
        texts = [process.communicate(timeout=300) for process in processes]
        if any(process.returncode for process in processes):
            runs.fail(f"the bench failed: {texts}")
        row = json.loads(texts[0][0])[0]
        sent = row["step_bytes"]
        good = row["ranks"] == args.ranks == len(row["rank_memory_bytes"]) and row["zero"] == stage
        good = good and (sent["summed"] if stage == 0 else sent["scattered"]) >= 4 * row["parameters"]
        good = good and row["memory_bytes"] == max(row["rank_memory_bytes"])
        if not good or any(out for out, _ in texts[1:]):
            runs.fail(f"the bench of stage {stage} says {texts}")
        for rank in range(args.ranks):
            trace = folder / (f"trace{stage}.json" if rank == 0 else f"trace{stage}.rank{rank}.json")
            if not json.loads(trace.read_text())["traceEvents"]:
                runs.fail(f"{trace} is empty")
    print(f"bench train on {args.ranks} ranks: memory and a trace of each")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--python", default=sys.executable, help="interpreter with torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ranks", type=int, default=3)
    args = parser.parse_args()
    if subprocess.run([args.python, "-c", "import torch.distributed.run"], capture_output=True).returncode:
        runs.skip(f"{args.python} has no torch, which brings torchrun")
    args.program = str(pathlib.Path(args.program).resolve())
    with tempfile.TemporaryDirectory(prefix="ckv-share-") as name:
        for test in (test_evaluations, test_bench, test_sweep):
            folder = pathlib.Path(name) / test.__name__
            folder.mkdir()
            test(args, folder)


if __name__ == "__main__":
    main()
