#!/usr/bin/env python3
"""Kills ranks of a training run again and again; the result must be that of the run nobody touched.

A 4-rank run under torchrun is hit with SIGKILL at random moments: one rank or all of them, a third
of the times while a checkpoint is being written, a tenth wherever it is, starting included. torchrun starts the ranks again each time. At the
end weights, optimizer, running mean, random state and position in the data must be equal, bit for
bit, to those of an untouched run, and no start may have met a checkpoint that was not whole.

  kill_test.py --program build/ci/src/app/ckv --python .venv/bin/python3 --kills 100
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time

import runs


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--python", required=True, help="interpreter with torch")
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--zero", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps-per-kill", type=int, default=60)
    parser.add_argument("--limit", type=float, default=1500.0, help="seconds for all")
    return parser.parse_args()


def start(args, config, run, log):
    command = [
        args.python, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", args.ranks,
        "--max-restarts", 10 * args.kills + 10, "--monitor-interval", 0.1, "--master-port",
        runs.free_port(), args.program, "train", config, "--set", f"run.dir={run}", "--set",
        f"dist.zero={args.zero}",
    ]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


def ranks_of(launcher, program):
    """Process ids of the launcher's children that run the program."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == launcher.pid and words[0] == program.encode():
            found.append(int(entry.name))
    return found


def being_written(run):
    folder = pathlib.Path(run) / "checkpoints"
    return folder.is_dir() and any(path.name.endswith(".tmp") for path in folder.iterdir())


def kill(processes):
    """Kills them with SIGKILL; returns how many there still were."""
    killed = 0
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            pass
    return killed


def wait_for(condition, launcher, deadline, pause=0.02):
    """False if the launcher ended first."""
    while not condition():
        if launcher.poll() is not None:
            return False
        if time.monotonic() > deadline:
            launcher.kill()
            runs.fail("the time is over")
        time.sleep(pause)
    return True


def main():
    args = parse()
    if subprocess.run([args.python, "-c", "import torch.distributed.run"], capture_output=True).returncode:
        runs.skip(f"{args.python} has no torch, which brings torchrun")
    args.program = str(pathlib.Path(args.program).resolve())
    chance = random.Random(args.seed)
    begin = time.monotonic()
    deadline = begin + args.limit
    with tempfile.TemporaryDirectory(prefix="ckv-kill-") as folder:
        config = runs.prepare(args.program, folder, args.steps_per_kill * args.kills, save_every=5)
        whole, cut = pathlib.Path(folder) / "whole", pathlib.Path(folder) / "cut"
        with open(f"{folder}/whole.log", "w") as log:
            launcher = start(args, config, whole, log)
            if not wait_for(lambda: launcher.poll() is not None, launcher, deadline) or launcher.returncode:
                if launcher.returncode:
                    runs.fail("the untouched run failed: " + pathlib.Path(log.name).read_text()[-2000:])

        kills = {"one rank": 0, "all ranks": 0, "while saving": 0}
        log_path = pathlib.Path(folder) / "cut.log"
        with open(log_path, "w") as log:
            launcher = start(args, config, cut, log)
            while kills["one rank"] + kills["all ranks"] < args.kills:
                step = runs.last_step(cut)
                kind = chance.random()
                saving = kind < 1 / 3
                if kind > 0.9:
                    # Wherever the ranks are: starting, meeting each other, reading.
                    time.sleep(chance.uniform(0.0, 3.0))
                elif not wait_for(lambda: runs.last_step(cut) > step, launcher, deadline):
                    # The others get at least one checkpoint further, else the run would never end.
                    break
                elif saving:
                    if not wait_for(lambda: being_written(cut), launcher, deadline, pause=0.0005):
                        break
                else:
                    time.sleep(chance.uniform(0.0, 0.3))
                victims = ranks_of(launcher, args.program)
                every = chance.random() < 0.5
                if kill(victims if every or not victims else [chance.choice(victims)]) == 0:
                    continue
                # What is on the disk now is what the kill left.
                if saving and being_written(cut):
                    kills["while saving"] += 1
                kills["all ranks" if every else "one rank"] += 1
                if (kills["one rank"] + kills["all ranks"]) % max(1, args.kills // 10) == 0:
                    print(f"{time.monotonic() - begin:6.0f} s: {kills}, step {runs.last_step(cut)}", flush=True)
            wait_for(lambda: launcher.poll() is not None, launcher, deadline)
        text = log_path.read_text()
        if launcher.returncode != 0:
            runs.fail(f"torchrun left with {launcher.returncode}: {text[-3000:]}")
        done = kills["one rank"] + kills["all ranks"]
        if done < args.kills:
            runs.fail(f"the run ended after {done} kills: too few steps")
        for sign in ("taking the checkpoint before it", "is not a checkpoint", "checksum"):
            if sign in text:
                runs.fail("a checkpoint was not whole: " + text[-3000:])
        runs.expect_equal(cut, whole)
        print(f"{done} kills ({kills}), {runs.last_step(cut)} steps: equal bit for bit")


if __name__ == "__main__":
    main()
