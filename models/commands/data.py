"""Turn a source into a list file (Parquet), the one form in which training, evaluation and load tests read lists."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from models.datasets.simulated_logs import describe, simulate_lists
from models.datasets.simulator import Simulator, SimulatorConfig
from models.datasets.summary import Summary
from models.lists import ListRecord, write_lists

_WORLD: Final = {f.name: f.default for f in dataclasses.fields(SimulatorConfig)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand per source."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    _configure_simulator(sources.add_parser("simulator", help="a declared world whose truth is known in closed form"))


def run(arguments: argparse.Namespace) -> int:
    """Write the list file and print what it holds."""
    records, total, metadata = _simulator(arguments)
    summary = Summary()
    watched = summary.watch(tqdm(records, total=total, unit="list", disable=arguments.quiet))
    write_lists(arguments.output, watched, metadata)
    print(f"{arguments.output}\n{summary.text()}")
    return 0


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the Parquet file to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _configure_simulator(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("--lists", type=int, default=20_000, help="requests to log (default: %(default)s)")
    parser.add_argument("--length", type=int, default=10, help="items exposed per list (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, help="randomness of the exposed order (%(default)s)")
    parser.add_argument("--world-seed", type=int, default=_WORLD["seed"], help="seed of users and items (%(default)s)")
    for name, text in (
        ("candidates", "candidates per request"),
        ("kappa", "strength of the list context; 0: position and item alone decide"),
        ("categories", "item categories"),
        ("items", "items in the catalogue"),
        ("users", "users"),
        ("price_spread", "standard deviation of the log price within a category"),
        ("prior_noise", "noise of the prior scores, in logits, drawn per request and item"),
        ("prior_bias", "error of the prior scores, in logits, drawn once per item"),
    ):
        default = _WORLD[name]
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"{text} (default: %(default)s)"
        )


def _simulator(arguments: argparse.Namespace) -> tuple[Iterable[ListRecord], int, dict[str, Any]]:
    world = {name: getattr(arguments, name) for name in _WORLD if name != "seed" and hasattr(arguments, name)}
    simulator = Simulator(SimulatorConfig(seed=arguments.world_seed, **world))
    options = {key: getattr(arguments, key) for key in ("seed", "lists", "length", "temperature")}
    return simulate_lists(simulator, **options), arguments.lists, describe(simulator, **options)
