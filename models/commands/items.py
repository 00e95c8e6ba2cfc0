"""Write the items of a list file, for a catalogue to be built of."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from tqdm import tqdm

from models.data.item_table import latest_items, write_items
from models.data.list_file import read_lists
from models.data.outputs import require_other_output
from models.files import ended_by_sigterm
from models.options import LIST_FILE

DESCRIPTION: Final = "write what a list file knows of its items, as it was last seen, to build a catalogue of"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help=LIST_FILE)
    text = "the Parquet file to write, one row per item"
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", required=True, help=text)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Write the items, print how many, and return the exit status."""
    require_other_output("--output", arguments.output, arguments.file)
    with ended_by_sigterm():
        records = tqdm(read_lists(arguments.file), unit="list", disable=True if arguments.quiet else None)
        items = latest_items(records)
        write_items(arguments.output, items.values())
    print(f"{arguments.output}\n{len(items):,} items")
    return 0
