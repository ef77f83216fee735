#!/usr/bin/env python3
"""Means and deviations of runs over seeds: `table.py RUNS_FOLDER`.

Reads RUNS_FOLDER/<config>-seed<N>/result.json and writes results.json and results.md beside this
file, the published figures beside ours.
"""

import collections
import json
import pathlib
import re
import statistics
import sys

PUBLISHED = {
    "ewt-xpos": "90.96 ± 0.10",
    "ewt-xpos-transformer": "91.17 ± 0.11",
    "ewt-upos": "91.57 ± 0.12",
    "ewt-upos-transformer": "91.96 ± 0.06",
    "cogs": "84.60 ± 2.06",
    "cogs-transformer": "82.05 ± 2.18",
    "cogs-transformer-shared": "80.50 ± 3.49",
    "sst2": "82.04 ± 0.88",
    "sst2-transformer": "82.51 ± 0.26",
    "sst5": "42.77 ± 1.18",
    "sst5-transformer": "40.13 ± 1.09",
    "ner-conll2003": "75.47 ± 0.35",
}
# The figure of a task, and whether it is a share to be shown in per cent.
FIGURES = {
    "tagging": ("accuracy", True),
    "classification": ("accuracy", True),
    "cogs": ("sentence_accuracy", True),
    "mlm": ("perplexity", False),
}


def spread(values):
    """Mean and standard deviation as text."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


def main():
    runs = collections.defaultdict(dict)
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*-seed*/result.json")):
        match = re.fullmatch(r"(.+)-seed(\d+)", path.parent.name)
        if match:
            runs[match[1]][int(match[2])] = json.loads(path.read_text())
    if not runs:
        sys.exit(f"table.py: error: {sys.argv[1]} has no complete runs")
    results, rows, kinds = {}, [], []
    for name, by_seed in sorted(runs.items()):
        first = next(iter(by_seed.values()))
        figure, share = FIGURES[first["task"]]
        if "f1" in first["valid"]:
            figure = "f1"
        scale = 100.0 if share else 1.0

        def of(split, key=figure):
            found = [r["valid"] if split == "valid" else r["test"][split] for r in by_seed.values()]
            return [scale * one[key] for one in found]

        last = list(first.get("test", {"valid": None}))[-1]
        rows.append(
            f"| {name} | {figure} | {len(by_seed)} | {spread(of('valid'))} | {spread(of(last))} "
            f"| {PUBLISHED.get(name, '–')} | {first['encoder_parameters']:,} "
            f"| {statistics.mean(r['sentences_per_second'] for r in by_seed.values()):.0f} |"
        )
        results[name] = {
            "figure": figure,
            "seeds": sorted(by_seed),
            "valid": of("valid"),
            "test": {split: of(split) for split in first.get("test", {})},
        }
        if first["task"] == "cogs":
            every = [r["test"][last]["by_kind"] for r in by_seed.values()]
            results[name]["by_kind"] = {k: [100.0 * one[k] for one in every] for k in every[0]}
            kinds.append((name, results[name]["by_kind"]))
    text = (
        "| config | figure | seeds | valid | test | published | encoder parameters "
        "| sentences/s |\n|---|---|---:|---:|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n"
    )
    for name, by_kind in kinds:
        text += f"\n{name}, kinds of generalisation:\n\n| kind | right, % |\n|---|---:|\n"
        text += "".join(f"| {kind} | {spread(values)} |\n" for kind, values in by_kind.items())
    here = pathlib.Path(__file__).resolve().parent
    (here / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (here / "results.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
