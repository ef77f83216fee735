#!/usr/bin/env python3
"""Says in one line what torch the interpreter that runs this has, without importing it.

Prints `VERSION KIND`, where VERSION is torch's without the "+cu..." part, or "none", and KIND is
"venv" or "system". With `--broken` it instead prints, one `name==version` a line, which of torch and
the distributions that it needs lack a file or have one of another size than their wheel recorded:
what an interrupted installation leaves behind.
"""

import importlib.metadata
import os
import re
import sys


def torch_version():
    try:
        return importlib.metadata.version("torch").split("+")[0] or "none"
    except (importlib.metadata.PackageNotFoundError, AttributeError, TypeError):
        return "none"  # the last two: metadata without a version


def with_needs(name, found=None):
    """Returns the installed distributions among `name` and all that it needs, by name.

    Needs of extras count too: torch takes the CUDA libraries through extras of cuda-toolkit.
    """
    found = {} if found is None else found
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return found
    found[key] = distribution
    for requirement in distribution.requires or []:
        with_needs(re.match(r"[A-Za-z0-9._-]+", requirement)[0], found)
    return found


def is_whole(distribution):
    if distribution.files is None:  # no RECORD: it is written last
        return False
    for file in distribution.files:
        if file.suffix == ".pyc" or ".." in file.parts:
            continue
        try:
            size = os.stat(file.locate()).st_size
        except OSError:
            return False
        if file.size is not None and size != file.size:
            return False
    return True


def main():
    if "--broken" in sys.argv[1:]:
        for name, distribution in with_needs("torch").items():
            if not is_whole(distribution):
                print(f"{name}=={distribution.version}")
        return
    print(torch_version(), "venv" if sys.prefix != sys.base_prefix else "system")


if __name__ == "__main__":
    main()
