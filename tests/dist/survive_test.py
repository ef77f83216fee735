#!/usr/bin/env python3
"""What runs of several ranks survive, with the program itself.

1. A run goes on with another number of ranks each time it is killed: 3, 2, 1. Its weights are those
   of a run of one rank to 1e-10 (fp64), and its place in the data is the same.
2. The newest checkpoint is broken: the one before it is used, with a warning, and the end is bit for
   bit that of the run nobody touched.
3. A second start on a run's folder is refused on all of its ranks; the first goes on.
4. SIGUSR1 to one rank: all save and leave with 138, and the same command goes on.
5. Metrics have the slowest rank, and time and memory of each.
6. A master that takes connections and never answers: the rank ends with 6. Encoders are refused.

  survive_test.py --program build/ci/src/app/ckv
"""

import argparse
import json
import math
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import runs


class Runs:
    def __init__(self, args, folder):
        self.program = args.program
        self.folder = folder
        self.config = runs.prepare(args.program, folder, 400, save_every=10)

    def words(self, name, *sets):
        words = ["train", self.config, "--set", f"run.dir={self.folder / name}"]
        for item in sets:
            words += ["--set", item]
        return words

    def start(self, world, name, *sets):
        if world == 0:
            return [subprocess.Popen([str(word) for word in [self.program, *self.words(name, *sets)]],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
        return runs.by_hand(self.program, self.words(name, *sets), world, runs.free_port())

    def end(self, processes, code=0):
        """What they said; all must leave with `code`."""
        texts = [process.communicate(timeout=300)[1] for process in processes]
        codes = [process.returncode for process in processes]
        if codes != [code] * len(processes):
            runs.fail(f"exit codes {codes} in place of {code}: {texts}")
        return texts

    def reach(self, processes, name, step):
        deadline = time.monotonic() + 120
        while runs.last_step(self.folder / name) < step:
            if time.monotonic() > deadline or any(p.poll() is not None for p in processes):
                runs.fail(f"{name} did not come to step {step}: {[p.communicate()[1] for p in processes]}")
            time.sleep(0.005)


def data_of(folder):
    return json.loads((folder / "state.json").read_text())["data"]


def test_other_numbers_of_ranks(run):
    sets = ["train.precision=fp64", "model.attention_dropout=0", "dist.zero=1"]
    run.end(run.start(0, "one", *sets))
    for world, step in ((3, 50), (2, 150)):
        processes = run.start(world, "cut", *sets)
        run.reach(processes, "cut", step)
        for process in processes:
            process.kill()
        run.end(processes, -signal.SIGKILL)
    run.end(run.start(0, "cut", *sets))
    one, cut = runs.latest(run.folder / "one"), runs.latest(run.folder / "cut")
    if one.name != cut.name or data_of(one) != data_of(cut):
        runs.fail(f"{one} and {cut} stand at {data_of(one)} and {data_of(cut)}")
    want, got = runs.weights_of(one), runs.weights_of(cut)
    if not want or want.keys() != got.keys():
        runs.fail(f"weights {want.keys()} and {got.keys()}")
    worst = max(abs(x - y) for name in want for x, y in zip(want[name], got[name], strict=True))
    if not worst < 1e-10:
        runs.fail(f"weights differ by {worst}")
    print(f"3, 2 and 1 ranks one after another: weights of one rank to {worst:.1e}, the same samples")


def test_broken_newest(run):
    run.end(run.start(2, "whole", "dist.zero=2"))
    processes = run.start(2, "broken", "dist.zero=2")
    run.reach(processes, "broken", 60)
    for process in processes:
        process.kill()
    run.end(processes, -signal.SIGKILL)
    newest = runs.latest(run.folder / "broken")
    part = sorted(newest.glob("optimizer*.safetensors"))[-1]
    data = bytearray(part.read_bytes())
    data[-3] ^= 1
    part.write_bytes(data)
    texts = run.end(run.start(2, "broken", "dist.zero=2"))
    if texts[0].count("taking the checkpoint before it") != 1 or part.name not in texts[0]:
        runs.fail(f"no warning of {part}: {texts[0]}")
    before = int(newest.name.split("-")[1]) - 10
    if f"going on from step {before} of" not in texts[0]:
        runs.fail(f"it did not go on from step {before}: {texts[0]}")
    runs.expect_equal(run.folder / "broken", run.folder / "whole")
    print(f"checkpoint {newest.name} broken in {part.name}: went on from {before}, equal bit for bit")


def test_two_starts_and_signal(run):
    processes = run.start(2, "run", "train.steps=100000", "train.log_every=10")
    run.reach(processes, "run", 20)
    for text in run.end(run.start(2, "run", "train.steps=100000", "train.log_every=10"), 4):
        if "another process" not in text:
            runs.fail(f"the second start said only {text}")
    if any(process.poll() is not None for process in processes):
        runs.fail("the first start did not go on")
    processes[1].send_signal(signal.SIGUSR1)
    run.end(processes, 128 + signal.SIGUSR1)
    stopped = runs.last_step(run.folder / "run")
    again = run.start(2, "run", "train.steps=100000", "train.log_every=10")
    run.reach(again, "run", stopped + 20)
    again[0].send_signal(signal.SIGTERM)
    texts = run.end(again, 128 + signal.SIGTERM)
    if f"going on from step {stopped} of" not in texts[0]:
        runs.fail(f"it did not go on from step {stopped}: {texts[0]}")
    print(f"a second start left with 4; SIGUSR1 to rank 1 stopped both ranks after step {stopped}")

    rows = [json.loads(line) for line in (run.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    for row in rows:
        seconds = [row["rank0_seconds"], row["rank1_seconds"]]
        good = row["ranks"] == 2 and row["slowest_rank"] == seconds.index(max(seconds))
        good = good and math.isclose(row["slowest_rank_seconds"], max(seconds))
        good = good and math.isclose(row["mean_rank_seconds"], sum(seconds) / 2)
        good = good and row["memory_bytes"] == max(row["rank0_memory_bytes"], row["rank1_memory_bytes"]) > 0
        if not good:
            runs.fail(f"a row of metrics says {row}")
    if len(rows) < 4:
        runs.fail(f"only {len(rows)} rows of metrics")
    print(f"{len(rows)} rows of metrics name the slowest rank, and time and memory of each")


def test_joining(run):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        words = run.words("join", "dist.timeout_s=1")
        rank = runs.by_hand(run.program, words, 2, listener.getsockname()[1], ranks=[1])
        text = run.end(rank, 6)[0]
    if "rank 1 of 2" not in text or "joining the other processes" not in text:
        runs.fail(f"a rank whose master does not answer says {text}")
    print("a master that does not answer: exit code 6")

    encoder = run.folder / "encoder.yaml"
    (run.folder / "words.tsv").write_text("good film\t1\nbad film\t0\n")
    encoder.write_text(f"run: {{device: cpu, dir: {run.folder}/enc}}\ntask: classification\n"
                       "model: {family: transformer, width: 8, heads: 2, layers: 1, feed_forward: 8}\n"
                       f"data: {{train: [{run.folder}/words.tsv], valid: [{run.folder}/words.tsv],\n"
                       "       format: tsv}\ntrain: {epochs: 1}\n")
    processes = runs.by_hand(run.program, ["train", encoder], 2, runs.free_port())
    for text in run.end(processes, 2):
        if "encoders train in one process" not in text:
            runs.fail(f"an encoder on two ranks says {text}")
    print("an encoder on two ranks: exit code 2")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    for test in (test_other_numbers_of_ranks, test_broken_newest, test_two_starts_and_signal, test_joining):
        with tempfile.TemporaryDirectory(prefix="ckv-survive-") as folder:
            test(Runs(args, pathlib.Path(folder)))


if __name__ == "__main__":
    main()
