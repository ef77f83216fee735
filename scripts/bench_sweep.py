#!/usr/bin/env python3
"""Times `ckv sweep --dry-run` and `ckv report` on a sweep of many points: bench_sweep.py CKV [POINTS].

The points' results are made up, 200 rows of metrics each; nothing is trained. Prints one line a
measurement and exits with 1 if a 1,000-point dry run takes 2 s or its report 10 s.
"""

import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMITS = {"dry run": 2.0, "report": 10.0}  # seconds for 1,000 points


def timed(*command):
    start = time.monotonic()
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr}")
    return time.monotonic() - start, done.stdout


def write_point(folder, point, draw):
    """What a point that is done leaves in its folder."""
    folder.mkdir(parents=True)
    stages = [{"name": name, "hash": "", "status": "done", "exit_code": 0, "seconds": 60.0,
               "message": ""} for name in ("train", "tasks")]
    label, seed = point["label"], point["seed"]
    state = {key: point[key] for key in ("id", "label", "seed", "kv_sharing", "sets", "parameters",
                                         "tokens", "train_flops", "kv_resident_bytes",
                                         "kv_written_bytes", "kv_read_bytes")}
    state.update(hash=point["id"][-8:], choices=[["point", label]], stages=stages)
    (folder / "point.json").write_text(json.dumps(state))
    final = 3.0 + 0.5 * draw.random() + 2e3 / (1e3 + point["kv_resident_bytes"])
    rows = []
    for step in range(1, 201):
        row = {"step": step, "tokens": 8192 * step, "lr": 1e-3, "tokens_per_second": 1e5,
               "loss": final + 6 * math.exp(-step / 25) + 0.05 * draw.random()}
        if step % 25 == 0:
            row["valid_loss"] = row["loss"] + 0.02
        rows.append(json.dumps(row))
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "result.json").write_text(json.dumps(
        {"valid_loss": final, "valid_perplexity": math.exp(final),
         "tokens_per_second": 1e5 * (1 + draw.random()), "seconds": 60.0}))
    (folder / "tasks.json").write_text(json.dumps({"results": {"arc_easy": {
        "acc,none": 0.3 + 0.05 * draw.random(), "acc_stderr,none": 0.01}}}))


def main():
    ckv = pathlib.Path(sys.argv[1]).resolve()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        rates = [round(1e-4 * 1.03 ** i, 9) for i in range(count // 4)]
        sweep = {"name": "many", "dir": str(work / "many"),
                 "config": "configs/train/tiny/vanilla.yaml", "set": {"model.vocab_size": 8000},
                 "axes": [{"key": "model.kv_sharing",
                           "values": [{"preset": "vanilla"}, {"preset": "cla", "factor": 2}]},
                          {"key": "train.optim.lr", "values": rates}],
                 "seeds": [0, 1], "stages": [{"name": "tasks", "command": ["eval"]}]}
        (work / "sweep.yaml").write_text(json.dumps(sweep))
        seconds = {}
        seconds["dry run"], out = timed(ckv, "sweep", work / "sweep.yaml", "--dry-run", "--json")
        points = json.loads(out)["points"]
        for point in points:
            write_point(work / "many" / "runs" / point["id"], point, draw)
        seconds["report"], _ = timed(ckv, "report", work / "sweep.yaml")
        size = (work / "many" / "report.html").stat().st_size
        late = False
        for name, value in seconds.items():
            allowed = LIMITS[name] * max(1.0, count / 1000)
            late = late or value >= allowed
            print(f"{name:8} {len(points):6} points {value:7.2f} s (limit {allowed:.0f} s)")
        print(f"report.html has {size / 1e6:.1f} MB")
        sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
