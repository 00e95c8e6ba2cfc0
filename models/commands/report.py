"""Show what experiments found, as one page that needs nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from models.data.outputs import require_other_output
from models.files import whole_file
from models.reporting.contents import CONTENTS_FILE, Contents
from models.reporting.page import render


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders with a report.json")
    parser.add_argument("--output", "-o", type=Path, default=Path("report.html"), metavar="FILE", help="page to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    output: Path = arguments.output
    if not output.parent.is_dir():
        raise ValueError(f"--output: there is no folder {output.parent}")
    if output.is_dir():
        raise ValueError(f"--output: {output} is a folder; name a file")
    require_other_output("--output", output, *(folder / CONTENTS_FILE for folder in arguments.runs))
    page = render(_read(arguments.runs))
    with whole_file(output) as partial:
        partial.write_text(page, "utf-8")
    print(f"{output}: {len(page.encode()) / 1024:,.0f} KiB, {len(arguments.runs)} run(s)")
    return 0


def _read(folders: Sequence[Path]) -> dict[str, Contents]:
    """Read the runs by the names that they were given."""
    places: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in places:
            raise ValueError(f"{folder}: is given twice, as {places[folder.resolve()]} too")
        places[folder.resolve()] = folder
    return {str(folder): Contents.read(folder) for folder in folders}
