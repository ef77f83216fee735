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

BEGIN = time.monotonic()


def slurm(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def state_of(job):
    text = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    for word in text.split():
        if word.startswith("JobState="):
            return word.split("=")[1]
    return "GONE"


OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "GONE")


def wait_for(what, condition, job, run, seconds=300):
    """Fails when the job ends or the time is over before `condition` holds."""
    deadline = time.monotonic() + seconds
    while True:
        # The state first: what is seen after the end of a job stays so.
        state = state_of(job)
        if condition():
            print(f"{time.monotonic() - BEGIN:6.1f} s: {what}, at step {runs.last_step(run)}", flush=True)
            return
        if state in OVER or time.monotonic() > deadline:
            text = "".join(path.read_text() for path in run.glob("slurm-*.log"))
            runs.fail(f"{what} did not come; the job is {state}: {text[-3000:]}")
        if state == "PENDING":
            # Slurm lets a requeued job wait for minutes.
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True)
        time.sleep(0.1)


def steps_for(args, folder, seconds):
    """Steps that two ranks take about `seconds` for on this machine."""
    folder = folder / "speed"
    folder.mkdir()
    config = runs.prepare(args.program, folder, 100000, save_every=20)
    run = folder / "run"
    processes = runs.by_hand(args.program, ["train", config, "--set", f"run.dir={run}"], 2, runs.free_port())
    deadline = time.monotonic() + 120
    while runs.last_step(run) == 0:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            runs.fail("the run that measures the speed made no checkpoint")
        time.sleep(0.05)
    first, start = runs.last_step(run), time.monotonic()
    time.sleep(5)
    rate = (runs.last_step(run) - first) / (time.monotonic() - start)
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=60)
    return max(400, int(rate * seconds) // 20 * 20)


def test(args, folder):
    # The job must still run when it is warned, however fast the machine is and slow Slurm.
    steps = args.steps or steps_for(args, folder, 45)
    config = runs.prepare(args.program, folder, steps, save_every=20)
    whole, run = folder / "whole", folder / "run"
    words = ["train", config, "--set", f"run.dir={whole}"]
    for process in runs.by_hand(args.program, words, 2, runs.free_port()):
        _, text = process.communicate(timeout=600)
        if process.returncode:
            runs.fail(f"the untouched run failed: {text}")
    print(f"{time.monotonic() - BEGIN:6.1f} s: the untouched run of {steps} steps is done", flush=True)

    script = folder / "job.sh"
    slurm(args.program, "slurm", str(config), "--set", f"run.dir={run}", "--cpu",
          "--ranks-per-node", "2", "--program", args.program, "--out", str(script))
    environment = "ALL,OMP_NUM_THREADS=1"
    job = slurm("sbatch", "--parsable", f"--export={environment}", "--overcommit", str(script))
    wait_for("the first checkpoint", lambda: runs.last_step(run) >= 20, job, run)
    slurm("scontrol", "requeue", job)
    # The ranks of the first start may still save once while they are ended.
    wait_for("the requeued job began", lambda: starts_of(run) >= 2, job, run)
    step = runs.last_step(run)
    wait_for("a checkpoint after the requeue", lambda: runs.last_step(run) > step, job, run)
    slurm("scancel", "--signal=USR1", job)  # what --signal=USR1@120 sends, to the steps alone
    wait_for("the warned job began again", lambda: starts_of(run) >= 3, job, run)
    wait_for("the end", lambda: state_of(job) == "COMPLETED", job, run, 600)
    runs.expect_equal(run, whole)
    log = "".join(path.read_text() for path in run.glob("slurm-*.log"))
    if "2 ranks over gloo started by Slurm" not in log:
        runs.fail(f"Slurm's variables were not read: {log[-3000:]}")
    if "stopped by SIGUSR1" not in log:
        runs.fail(f"the warning did not arrive: {log[-3000:]}")
    print(f"{steps} steps, requeued and warned, {starts_of(run)} starts, equal bit for bit")


def starts_of(run):
    """How often training has begun, of all jobs in their logs."""
    return sum(path.read_text().count("ranks over gloo started by") for path in run.glob("slurm-*.log"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--steps", type=int, default=0, help="0 = three quarters of a minute")
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
