#!/usr/bin/env python3
"""`ckv slurm` on a real Slurm of one node: a job of two ranks is requeued, warned and finishes.

The batch file that the program writes is given to sbatch; in the midst of the run `scontrol requeue`
puts the job back into the queue, and later the ranks get the warning that Slurm sends before a time
limit, after which the batch file requeues the job itself. The end must equal, bit for bit, two ranks
that nobody touched.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "dist"))
import runs  # noqa: E402


def slurm(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def state_of(job):
    text = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    for word in text.split():
        if word.startswith("JobState="):
            return word.split("=")[1]
    return "GONE"


def wait_for(what, condition, job, log, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or state_of(job) in ("FAILED", "CANCELLED", "TIMEOUT"):
            text = "".join(path.read_text() for path in log.glob("slurm-*.log"))
            runs.fail(f"{what} did not come; job is {state_of(job)}: {text[-3000:]}")
        if state_of(job) == "PENDING":
            # Slurm lets a requeued job wait for minutes.
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True)
        time.sleep(0.1)


def test(args, folder):
    config = runs.prepare(args.program, folder, args.steps, save_every=20)
    whole, run = folder / "whole", folder / "run"
    words = ["train", config, "--set", f"run.dir={whole}"]
    for process in runs.by_hand(args.program, words, 2, runs.free_port()):
        _, text = process.communicate(timeout=300)
        if process.returncode:
            runs.fail(f"the untouched run failed: {text}")

    script = folder / "job.sh"
    slurm(args.program, "slurm", str(config), "--set", f"run.dir={run}", "--cpu",
          "--ranks-per-node", "2", "--program", args.program, "--out", str(script))
    run.mkdir()  # for Slurm's output
    environment = "ALL,OMP_NUM_THREADS=1"
    job = slurm("sbatch", "--parsable", f"--export={environment}", "--overcommit", str(script))
    wait_for("the first checkpoint", lambda: runs.last_step(run) >= 20, job, run)
    slurm("scontrol", "requeue", job)
    step = runs.last_step(run)
    wait_for("a step after the requeue", lambda: runs.last_step(run) > step + 20, job, run, 300)
    step = runs.last_step(run)
    slurm("scancel", "--signal=USR1", job)  # what --signal=USR1@120 sends, to the steps alone
    wait_for("a step after the warning", lambda: runs.last_step(run) > step + 20, job, run, 300)
    wait_for("the end", lambda: state_of(job) == "COMPLETED", job, run, 300)
    runs.expect_equal(run, whole)
    log = "".join(path.read_text() for path in run.glob("slurm-*.log"))
    starts = log.count("going on from step")
    if starts < 2 or "2 ranks over gloo started by Slurm" not in log:
        runs.fail(f"{starts} sessions went on: {log[-3000:]}")
    print(f"requeued and warned, {starts} times gone on, equal bit for bit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--steps", type=int, default=6000)
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    with tempfile.TemporaryDirectory(prefix="ckv-slurm-") as name:
        folder = pathlib.Path(name)
        cluster = folder / "cluster"
        try:
            started = subprocess.run([HERE / "cluster.sh", "start", cluster], capture_output=True, text=True)
            if started.returncode == runs.SKIPPED:
                runs.skip(started.stdout.strip().removeprefix("skipped: "))
            if started.returncode:
                runs.fail(f"cluster.sh: {started.stdout}{started.stderr}")
            os.environ["SLURM_CONF"] = str(cluster / "slurm.conf")
            test(args, folder)
        finally:
            subprocess.run([HERE / "cluster.sh", "stop", cluster], capture_output=True)


if __name__ == "__main__":
    main()
