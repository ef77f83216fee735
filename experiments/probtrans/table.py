#!/usr/bin/env python3
"""Means and deviations of runs over seeds: `table.py RUNS_FOLDER|results.json...`.

Of a RUNS_FOLDER it reads RUNS_FOLDER/<config>-seed<N>/result.json (or, of runs that a time limit
stopped, partial.json and metrics.jsonl), of results.json what an earlier call wrote, on another
machine for instance; later sources win, seed by seed. Writes results.json and results.md beside this
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
# What results.json has for each run, in the order of its seeds.
PER_RUN = ("complete", "epochs", "seconds", "sentences_per_second", "valid")


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


def read_results(path):
    """The runs behind a results.json."""
    runs = collections.defaultdict(dict)
    for name, result in json.loads(path.read_text()).items():
        for i, seed in enumerate(result["seeds"]):
            runs[name][seed] = {
                "figure": result["figure"],
                "encoder_parameters": result["encoder_parameters"],
                "test": {file: values[i] for file, values in result["test"].items()},
                "by_kind": {k: values[i] / 100.0 for k, values in result.get("by_kind", {}).items()},
                **{key: result[key][i] for key in PER_RUN},
            }
    return runs


def results_of(by_seed):
    """What results.json says of a config."""
    seeds = sorted(by_seed)
    runs = [by_seed[seed] for seed in seeds]
    result = {
        "figure": runs[0]["figure"],
        "encoder_parameters": runs[0]["encoder_parameters"],
        "seeds": seeds,
        **{key: [run[key] for run in runs] for key in PER_RUN},
        "test": {path: [run["test"][path] for run in runs] for path in runs[0]["test"]},
    }
    if runs[0]["by_kind"]:
        kinds = runs[0]["by_kind"]
        result["by_kind"] = {kind: [100.0 * run["by_kind"][kind] for run in runs] for kind in kinds}
    return result


def main():
    runs = collections.defaultdict(dict)
    for source in map(pathlib.Path, sys.argv[1:]):
        more = read_results(source) if source.suffix == ".json" else read_runs(source)
        for name, by_seed in more.items():
            runs[name].update(by_seed)
    if not runs:
        sys.exit(f"table.py: error: no runs with figures in {' '.join(sys.argv[1:]) or 'nothing'}")
    results = {name: results_of(by_seed) for name, by_seed in sorted(runs.items())}
    rows, kinds = [], ""
    for name, result in results.items():
        stopped = result["complete"].count(False)
        speeds = [speed for speed in result["sentences_per_second"] if speed]
        rows.append(
            f"| {name} | {result['figure']} | {len(result['seeds'])} "
            f"| {statistics.mean(result['epochs']):.0f}{f' ({stopped} stopped)' if stopped else ''} "
            f"| {spread(result['valid'])} | {spread(list(result['test'].values())[-1])} "
            f"| {PUBLISHED.get(name, '–')} | {result['encoder_parameters']:,} "
            f"| {f'{statistics.mean(speeds):.0f}' if speeds else '–'} |"
        )
        if "by_kind" in result:
            kinds += f"\n{name}, kinds of generalisation:\n\n| kind | right, % |\n|---|---:|\n"
            by_kind = result["by_kind"].items()
            kinds += "".join(f"| {kind} | {spread(values)} |\n" for kind, values in by_kind)
    text = (
        "| config | figure | seeds | epochs | valid | test | published | encoder parameters "
        "| sentences/s |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n"
    ) + kinds
    here = pathlib.Path(__file__).resolve().parent
    (here / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (here / "results.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
