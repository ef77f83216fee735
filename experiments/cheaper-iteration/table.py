"""Prints the table of README.md from what run.sh left in RUNS; writes results.json beside this.

Differences are paired by seed against m = 7, b = 2 from zeros of the same layout; with three seeds
or more their 95% interval is Student's.
"""
import json
import pathlib
import re
import statistics
import sys

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}  # by number of seeds

runs = pathlib.Path(sys.argv[1])
rows = []
for folder in sorted(runs.iterdir()):
    match = re.fullmatch(r"(vanilla|(top|middle)-(zeros|guess)-(\d+))-(\d+)", folder.name)
    if not match or not (folder / "converged.json").exists():
        continue
    train = json.loads((folder / "result.json").read_text())
    converged = json.loads((folder / "converged.json").read_text())
    rows.append({
        "scheme": match[1],
        "seed": int(match[5]),
        "kv_sharing": train["kv_sharing"],
        "tokens": train["tokens"],
        "valid_loss": round(train["valid_loss"], 5),
        "converged_loss": round(converged["parallel"]["nats_per_token"], 5),
    })
(pathlib.Path(__file__).parent / "results.json").write_text(json.dumps(rows, indent=1) + "\n")

loss = {(row["scheme"], row["seed"]): row["converged_loss"] for row in rows}
print("| scheme | seeds | loss, converged KVs | with the passes of training "
      "| against m = 7 from zeros |")
print("|---|---:|---:|---:|---:|")
for scheme in dict.fromkeys(row["scheme"] for row in rows):
    own = [row for row in rows if row["scheme"] == scheme]
    base = scheme.split("-")[0] + "-zeros-7"
    differences = [loss[scheme, row["seed"]] - loss[base, row["seed"]] for row in own
                   if (base, row["seed"]) in loss and scheme != base]
    text = "-"
    if differences:
        text = f"{statistics.mean(differences):+.4f}"
        if len(differences) in STUDENT:
            spread = statistics.stdev(differences) / len(differences) ** 0.5
            text += f" ± {STUDENT[len(differences)] * spread:.4f}"
    print(f"| {scheme} | {len(own)} "
          f"| {statistics.mean(row['converged_loss'] for row in own):.4f} "
          f"| {statistics.mean(row['valid_loss'] for row in own):.4f} | {text} |")
