"""Write the log of a test world as a list file: ``python -m tests.models.worlds.write saturation -o file.parquet``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from models.data.list_writer import write_lists
from tests.models.worlds.kinds import SHOPS
from tests.models.worlds.shop import SHOWN


def write_world(name: str, path: Path, *, lists: int, seed: int) -> int:
    """Write the first `lists` records of log `seed`; returns how many."""
    metadata = {"source": f"test world {name}", "simulated": True, "world": name, "seed": seed, "length": SHOWN}
    return write_lists(path, SHOPS[name]().records(lists, seed), metadata)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=SHOPS)
    parser.add_argument("--lists", type=int, default=5000, help="records in all; 80%% are train (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="which log of the world (default: 0)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the Parquet file to write")
    given = parser.parse_args(arguments)
    print(f"{write_world(given.world, given.output, lists=given.lists, seed=given.seed)} lists in {given.output}")


if __name__ == "__main__":
    main()
