#!/usr/bin/env python3
"""A disk that fills up in the midst of a save: a clear error on all ranks, the old checkpoint stays.

The run folder lies on a tmpfs of a few MB, which is filled after the first checkpoint. Needs to mount
(root); says so and is skipped where that is not permitted.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile
import time

import runs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True)
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    with tempfile.TemporaryDirectory(prefix="ckv-disk-") as name:
        folder = pathlib.Path(name)
        disk = folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True
        )
        if mounted.returncode:
            runs.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
        try:
            test(args, folder, disk)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)


def test(args, folder, disk):
    config = runs.prepare(args.program, folder, 800, save_every=20)
    whole, run = folder / "whole", disk / "run"

    def train(where, world):
        if world == 1:
            return [subprocess.Popen([args.program, "train", config, "--set", f"run.dir={where}"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
        return runs.by_hand(args.program, ["train", config, "--set", f"run.dir={where}"], world,
                            runs.free_port())

    for world in (2, 1):
        reference = folder / f"whole{world}"
        run = disk / f"run{world}"
        for process in train(reference, world):
            _, text = process.communicate(timeout=300)
            if process.returncode:
                runs.fail(f"the untouched run failed: {text}")
        processes = train(run, world)
        while runs.last_step(run) < 40 and processes[0].poll() is None:
            time.sleep(0.005)
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        for rank, process in enumerate(processes):
            _, text = process.communicate(timeout=120)
            last = text.strip().split("\n")[-1]
            if process.returncode != 4 or "No space left on device" not in last:
                runs.fail(f"rank {rank} of {world} left with {process.returncode}: {text}")
            print(f"  {last}")
        before = runs.last_step(run)
        leftovers = [path.name for path in (run / "checkpoints").iterdir() if ".tmp" in path.name]
        if leftovers:
            runs.fail(f"unfinished: {leftovers}")
        subprocess.run([args.program, "eval", "perplexity", run, "--checkpoint", "latest", "--data",
                        folder / "text.txt", "--device", "cpu"], check=True, capture_output=True)
        os.remove(filler)
        for process in train(run, world):
            _, text = process.communicate(timeout=300)
            if process.returncode:
                runs.fail(f"with room again: {text}")
            if process.args and "going on from step" in text and f"step {before} " not in text:
                runs.fail(f"did not go on from step {before}: {text}")
        runs.expect_equal(run, reference)
        subprocess.run(["rm", "-rf", run], check=True)
    print("a full disk is a clear error, keeps the old checkpoint, and the run finishes equal")


if __name__ == "__main__":
    main()
