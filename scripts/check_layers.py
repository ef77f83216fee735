#!/usr/bin/env python3
"""Checks who includes whom under src/: `check_layers.py [SOURCE_DIR]`.

Prints one line a fault, `file:line: what is wrong`, and exits with 1 if there is any.
docs/building.md explains the rule; a new folder needs a row in ALLOWED.
"""

import pathlib
import re
import sys

# folder: the folders it may include, besides itself. None = every folder.
ALLOWED = {
    "base": [],
    "config": ["base"],
    "sharing": ["base", "config"],
    "text": ["base", "config"],
    "record": ["base", "config"],
    "sweep": ["base", "config", "record"],
    "data": ["base", "config", "text"],
    "conic": ["base", "text"],
    "tasks": ["base", "config", "text", "data"],
    "nn": ["base", "config"],
    "ckpt": ["base", "config"],
    "dist": ["base", "config"],
    "kv": ["base", "config", "sharing", "nn"],
    "model": ["base", "config", "sharing", "nn", "kv"],
    "gen": ["base", "config", "sharing", "model", "kv", "nn", "text"],
    "convert": ["base", "config", "sharing", "nn", "kv", "model", "ckpt"],
    "eval": ["base", "config", "sharing", "model", "kv", "nn", "data", "text", "gen", "tasks"],
    "train": [
        "base",
        "config",
        "data",
        "text",
        "model",
        "nn",
        "kv",
        "ckpt",
        "record",
        "sharing",
        "dist",
    ],
    "app": None,
}

# Folders that must build without LibTorch.
TORCH_FREE = {
    "base", "config", "sharing", "text", "record", "data", "tasks", "sweep", "conic"
}

GENERATED_HEADERS = {"ckv_version.h"}

SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?P<open>[<"])(?P<path>[^>"]+)[>"]')
TORCH_HEADER = re.compile(r"^(torch|ATen|c10|caffe2)/")


def find_includes(src):
    """Yields (path, line number, '<' or '"', included path) for every include under `src`."""
    for path in sorted(src.rglob("*")):
        if path.suffix not in SUFFIXES:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            match = INCLUDE.match(line)
            if match:
                yield path, number, match["open"], match["path"]


def check_include(folder, opening, included, allowed, torch_free):
    """Returns what is wrong with one include in a file of `folder`, or None."""
    if TORCH_HEADER.match(included):
        return f"'{folder}' must build without LibTorch" if folder in torch_free else None
    if opening == "<" or included in GENERATED_HEADERS:
        return None
    if "/" not in included:
        return f'write the path from src/: "{folder}/{included}"'
    target = included.split("/")[0]
    if target not in allowed:
        return f"folder '{target}' is not in the table of {pathlib.Path(__file__).name}"
    if target == folder or allowed[folder] is None or target in allowed[folder]:
        return None
    may = ", ".join(allowed[folder]) or "nothing"
    return f"'{folder}' may not include '{target}' (it may include {may})"


def find_cycles(graph):
    """Returns each cycle of `graph` (name: names it points to) once, as a list of names."""
    cycles, done = [], set()

    def visit(name, trail):
        if name in trail:
            cycles.append(trail[trail.index(name):] + [name])
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, trail + [name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return cycles


def check_tree(root, allowed=None, torch_free=None):
    """Returns the faults of the tree at `root` as printable lines."""
    allowed = ALLOWED if allowed is None else allowed
    torch_free = TORCH_FREE if torch_free is None else torch_free
    src = root / "src"
    faults, files = [], {}
    for path, number, opening, included in find_includes(src):
        where = f"{path.relative_to(root)}:{number}"
        folder = path.relative_to(src).parts[0]
        if folder not in allowed:
            faults.append(f"{where}: folder '{folder}' is not in the table")
            continue
        fault = check_include(folder, opening, included, allowed, torch_free)
        if fault:
            faults.append(f"{where}: #include {included}: {fault}")
        if opening == '"':
            files.setdefault(str(path.relative_to(src)), {})[included] = number
    for cycle in find_cycles(files):
        line = files[cycle[0]][cycle[1]]
        faults.append(f"src/{cycle[0]}:{line}: headers include each other: {' -> '.join(cycle)}")
    table = {name: targets or [] for name, targets in allowed.items()}
    for cycle in find_cycles(table):
        faults.append(f"the table itself has a cycle: {' -> '.join(cycle)}")
    return faults


def main():
    default_root = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default_root
    if not (root / "src").is_dir():
        sys.exit(f"error: {root} has no folder src")
    faults = check_tree(root)
    for fault in faults:
        print(fault)
    if not faults:
        print("layers: all includes agree with the table")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
