#!/usr/bin/env python3
"""Means and deviations of runs over seeds: `table.py RUNS_FOLDER`.

Reads RUNS_FOLDER/<config>-seed<N>/result.json (or, of runs that a time limit stopped, partial.json
and metrics.jsonl) and writes results.json and results.md beside this file, the published figures
beside ours.
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


def figure_of(task, figures):
    """The figure of a task's table, and its factor: per cent for shares."""
    name, share = FIGURES[task]
    return "f1" if "f1" in figures else name, 100.0 if share else 1.0


def read_complete(folder):
    result = json.loads((folder / "result.json").read_text())
    figure, scale = figure_of(result["task"], result["valid"])
    return {
        "task": result["task"],
        "figure": figure,
        "scale": scale,
        "valid": scale * result["valid"][figure],
        "test": {path: scale * figures[figure] for path, figures in result["test"].items()},
        "by_kind": list(result["test"].values())[-1].get("by_kind", {}),
        "encoder_parameters": result["encoder_parameters"],
        "epochs": result["epochs"],
        "seconds": result["seconds"],
        "sentences_per_second": result["sentences_per_second"],
        "complete": True,
    }


def read_partial(folder):
    """A run that a time limit stopped: its best weights so far on the test files."""
    items = json.loads((folder / "partial.json").read_text())
    config = json.loads((pathlib.Path(items[0]["model"]) / "config.json").read_text())
    figure, scale = figure_of(config["task"], items[0])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    valid = [row["valid_" + figure] for row in rows if "valid_" + figure in row]
    trained = [row for row in rows if "epoch" in row] or [{"epoch": 0.0, "seconds": 0.0}]
    best = min if figure == "perplexity" else max
    return {
        "task": config["task"],
        "figure": figure,
        "scale": scale,
        "valid": scale * best(valid) if valid else float("nan"),
        "test": {item["data"]: scale * item[figure] for item in items},
        "by_kind": items[-1].get("by_kind", {}),
        "encoder_parameters": config["encoder_parameters"],
        "epochs": trained[-1]["epoch"],
        "seconds": trained[-1]["seconds"],
        "sentences_per_second": None,
        "complete": False,
    }


def read_runs(runs_folder):
    runs = collections.defaultdict(dict)
    for folder in sorted(pathlib.Path(runs_folder).glob("*-seed*")):
        match = re.fullmatch(r"(.+)-seed(\d+)", folder.name)
        if match and (folder / "result.json").exists():
            runs[match[1]][int(match[2])] = read_complete(folder)
        elif match and (folder / "partial.json").exists():
            runs[match[1]][int(match[2])] = read_partial(folder)
    return runs


def main():
    runs = read_runs(sys.argv[1])
    if not runs:
        sys.exit(f"table.py: error: {sys.argv[1]} has no runs with figures")
    results, rows, kinds = {}, [], []
    for name, by_seed in sorted(runs.items()):
        all_runs = list(by_seed.values())
        first = all_runs[0]
        tests = {path: [run["test"][path] for run in all_runs] for path in first["test"]}
        stopped = sum(not run["complete"] for run in all_runs)
        speeds = [run["sentences_per_second"] for run in all_runs if run["complete"]]
        epochs = statistics.mean(run["epochs"] for run in all_runs)
        rows.append(
            f"| {name} | {first['figure']} | {len(by_seed)} "
            f"| {epochs:.0f}{f' ({stopped} stopped)' if stopped else ''} "
            f"| {spread([run['valid'] for run in all_runs])} | {spread(list(tests.values())[-1])} "
            f"| {PUBLISHED.get(name, '–')} | {first['encoder_parameters']:,} "
            f"| {f'{statistics.mean(speeds):.0f}' if speeds else '–'} |"
        )
        results[name] = {
            "figure": first["figure"],
            "seeds": sorted(by_seed),
            "complete": [by_seed[seed]["complete"] for seed in sorted(by_seed)],
            "epochs": [by_seed[seed]["epochs"] for seed in sorted(by_seed)],
            "seconds": [by_seed[seed]["seconds"] for seed in sorted(by_seed)],
            "valid": [by_seed[seed]["valid"] for seed in sorted(by_seed)],
            "test": tests,
        }
        if first["by_kind"]:
            results[name]["by_kind"] = {
                kind: [100.0 * run["by_kind"][kind] for run in all_runs] for kind in first["by_kind"]
            }
            kinds.append((name, results[name]["by_kind"]))
    text = (
        "| config | figure | seeds | epochs | valid | test | published | encoder parameters "
        "| sentences/s |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n"
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
