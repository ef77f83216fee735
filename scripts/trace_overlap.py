#!/usr/bin/env python3
"""How much of the collectives' time passes beside computing, from traces of `ckv bench train`.

usage: trace_overlap.py TRACE...

Reads Chrome traces of GPUs (`ckv bench train --profile`), one a rank, and prints a line for each:
milliseconds from the first to the last kernel, with a kernel of NCCL, with any other kernel, with
both at once, the share of NCCL's time that is hidden so, and what neither fills. NCCL's time
includes waiting for other ranks. Where the traces of several ranks of a run are given (NAME.json,
NAME.rank1.json, ...), GB/s is what collectives of at least a megabyte sent and received on each rank
(ring algorithms), over the shortest time that a rank was in each of them. Exit codes: 1 if a trace
has no kernel of NCCL, 3 if a file is no trace.
"""

import collections
import json
import pathlib
import re
import sys

ELEMENT_BYTES = {"BFloat16": 2, "Half": 2, "Float": 4, "Double": 8, "Long": 8}


def union(spans):
    """Spans as (begin, end), joined where they touch, ascending."""
    joined = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([begin, end])
    return joined


def length(spans):
    return sum(end - begin for begin, end in spans)


def intersection(one, other):
    """Length of what two unions have in common."""
    total, i, k = 0.0, 0, 0
    while i < len(one) and k < len(other):
        total += max(0.0, min(one[i][1], other[k][1]) - max(one[i][0], other[k][0]))
        if one[i][1] < other[k][1]:
            i += 1
        else:
            k += 1
    return total


def overlap_of(events):
    """Figures in milliseconds from the trace's events, whose times are microseconds."""
    nccl, compute = [], []
    for event in events:
        if event.get("ph") != "X" or event.get("cat") != "kernel":
            continue
        span = (event["ts"], event["ts"] + event["dur"])
        (nccl if "nccl" in event["name"].lower() else compute).append(span)
    if not nccl:
        return None
    nccl, compute = union(nccl), union(compute)
    both = intersection(nccl, compute)
    everything = union(nccl + compute)
    whole = everything[-1][1] - everything[0][0]
    return {
        "step": whole / 1e3,
        "nccl": length(nccl) / 1e3,
        "compute": length(compute) / 1e3,
        "both": both / 1e3,
        "hidden": both / length(nccl),
        "idle": (whole - length(everything)) / 1e3,
    }


def collectives_of(events):
    """(microseconds, bytes over the wire of a rank) of each kernel of NCCL, in order."""
    found = []
    for event in events:
        if event.get("ph") != "X" or event.get("cat") != "kernel":
            continue
        if "nccl" not in event["name"].lower():
            continue
        args = event.get("args", {})
        elements = max(args.get("In msg nelems", 0), args.get("Out msg nelems", 0))
        ranks = args.get("Group size", 1)
        size = elements * ELEMENT_BYTES.get(args.get("dtype"), 0) * (ranks - 1) / ranks
        twice = 2 if "AllReduce" in event["name"] else 1
        found.append((event["ts"], event["dur"], size * twice))
    return [span[1:] for span in sorted(found)]


def bandwidth(ranks):
    """Bytes a second from the collectives of all ranks of a run; None if they do not fit."""
    if len(ranks) < 2 or len({len(one) for one in ranks}) != 1:
        return None
    size = time = 0.0
    for spans in zip(*ranks):
        if min(span[1] for span in spans) >= 1e6:
            size += spans[0][1]
            time += min(span[0] for span in spans)
    return 1e6 * size / time if time else None


def main(paths):
    if not paths or paths[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if paths else 2
    found = True
    runs = collections.defaultdict(list)
    print(f"{'ms':40s} {'step':>9s} {'NCCL':>9s} {'compute':>9s} {'both':>9s} {'hidden':>8s} {'idle':>9s}")
    for path in paths:
        try:
            events = json.loads(pathlib.Path(path).read_text())["traceEvents"]
            figures = overlap_of(events)
            collectives = collectives_of(events)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"error: {path}: is no Chrome trace: {error}", file=sys.stderr)
            return 3
        if figures is None:
            found = False
            print(f"{path:40s} no kernel of NCCL")
            continue
        runs[re.sub(r"\.rank\d+(?=\.json$)", "", str(path))].append(collectives)
        print(
            f"{path:40s} {figures['step']:9.2f} {figures['nccl']:9.2f} {figures['compute']:9.2f} "
            f"{figures['both']:9.2f} {100 * figures['hidden']:7.1f}% {figures['idle']:9.2f}"
        )
    for run, ranks in runs.items():
        reached = bandwidth(ranks)
        if reached is not None:
            print(f"{run:40s} {reached / 1e9:.0f} GB/s")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
