"""Print a project's dependencies with some extras, one a line.

An image can install them before the code. ``python requirements.py pyproject.toml cpu``. Standard library only.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Final

MAIN: Final = ("cpu", "gpu", "load")
"""What an image is for: one of the two builds of ONNX Runtime, which exclude each other, or the load generator."""


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Return `project.dependencies`, then each extra's, in the file's order.

    Raises `SystemExit` for an unknown extra, and unless exactly one is of `MAIN`.
    """
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            raise SystemExit(f"EXTRA={extra}: there is no such extra; there are: {', '.join(sorted(optional))}")
    if len([extra for extra in extras if extra in MAIN]) != 1:
        raise SystemExit(f"EXTRA={','.join(extras)}: exactly one must be of {', '.join(MAIN)}, such as EXTRA=cpu,store")
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2].split(","))))
