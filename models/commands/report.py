"""Show what experiments found, as one page that needs nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders with a report.json")
    parser.add_argument("--output", "-o", type=Path, default=Path("report.html"), metavar="FILE", help="page to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    raise NotImplementedError
