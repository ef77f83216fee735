#!/usr/bin/env python3
"""Sums test results: `sum_tests.py RESULTS_DIR...` prints 'N passed, N failed, N skipped'.

A results folder holds ctest.junit, which ctest wrote, and one *.xml for each GoogleTest program that
came to its end. Such a program counts with its tests; any other entry of ctest counts as one. A
program that failed counts with at least one failure, whatever it reported.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def count_googletest(file):
    """Returns (passed, failed, skipped) of one GoogleTest report."""
    cases = list(ElementTree.parse(file).getroot().iter("testcase"))
    ran = [case for case in cases if case.get("status") == "run"]
    failed = sum(case.find("failure") is not None for case in ran)
    skipped = sum(case.get("result") == "skipped" for case in ran)
    return len(ran) - failed - skipped, failed, skipped


def count_entry(entry, folder):
    """Returns (passed, failed, skipped) of one entry of ctest."""
    failed = entry.find("failure") is not None or entry.get("status") == "fail"
    skipped = entry.find("skipped") is not None or entry.get("status") in ("notrun", "disabled")
    # GoogleTest numbers further reports of the same program: a_test.xml, a_test_1.xml.
    name = re.compile(re.escape(entry.get("name")) + r"(_\d+)?\.xml")
    reports = [file for file in sorted(folder.glob("*.xml")) if name.fullmatch(file.name)]
    if not reports:
        return (0, 1, 0) if failed else (0, 0, 1) if skipped else (1, 0, 0)
    sums = [sum(column) for column in zip(*map(count_googletest, reports))]
    if failed and sums[1] == 0:
        sums[1] = 1
    return tuple(sums)


def main():
    totals = (0, 0, 0)
    for folder in map(pathlib.Path, sys.argv[1:]):
        for entry in ElementTree.parse(folder / "ctest.junit").getroot().iter("testcase"):
            totals = tuple(map(sum, zip(totals, count_entry(entry, folder))))
    print("{} passed, {} failed, {} skipped".format(*totals))


if __name__ == "__main__":
    main()
