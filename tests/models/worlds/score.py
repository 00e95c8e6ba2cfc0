"""What a model's served lists are truly worth in a test world, beside random, the sort and true-value greedy.

``python -m tests.models.worlds.score saturation --data file.parquet --checkpoint runs/first/checkpoint.pt``, where the
file is one of ``python -m tests.models.worlds.write``; a bundle may stand in the checkpoint's place.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from models.contract.arrays import Floats
from models.contract.features import Encoder
from models.contract.manifest import MODEL_FILE, Manifest
from models.contract.spec import OBJECTIVES
from models.data.list_file import read_lists
from models.evaluation.planning import ServedPlanner
from models.evaluation.simulated.comparison import (
    BASELINE,
    RANDOM,
    PlannerComparison,
    Searches,
    SimulatedCase,
    in_units,
    over_all_name,
    random_values,
    true_over_all,
    true_values,
)
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.planners.prepare import Preparer
from models.planners.references.sort_gen import Preferences
from models.planners.runtime import GraphPlanner
from models.planners.worth import Triple
from tests.models.worlds.kinds import SHOPS
from tests.models.worlds.shop import SHOWN

WEIGHTS: Final[tuple[Triple, ...]] = ((5.0, 1.0, 1.0), (1.0, 0.0, 0.0))


def read_cases(name: str, data: Path, requests: int | None = None) -> list[SimulatedCase]:
    """The test requests of a world's list file, with their truth."""
    shop = SHOPS[name]()
    records = islice(read_lists(data, "test"), requests)
    return [SimulatedCase(record, SHOWN, partial(shop.true_value, record)) for record in records]


def score(
    cases: Sequence[SimulatedCase], checkpoint: Checkpoint, weights: Triple, searches: Searches
) -> dict[str, Floats]:
    """True list values [n] by row, at λ = 1, in the checkpoint's units."""
    values = PlannerComparison.of(cases, checkpoint, weights, searches).values([checkpoint])
    preferences = in_units(weights, checkpoint)
    return {name: preferences.step_value(outcome).mean(axis=0) for name, outcome in values.items()}


def served_planner(folder: Path) -> ServedPlanner:
    """The planner of a bundle of SORT-Gen. Raises `SpecError` for a manifest that is none."""
    manifest = Manifest.read(folder)
    prepare = Preparer(
        Encoder(manifest.spec), manifest.limits, manifest.queues, manifest.partition, sort=manifest.fallback
    )

    def bypassed(preferences: Preferences) -> bool:
        return manifest.bypassed(dict(zip(OBJECTIVES, preferences.weights, strict=True)))

    return ServedPlanner(prepare, GraphPlanner((folder / MODEL_FILE).read_bytes()), bypassed)


def score_bundle(cases: Sequence[SimulatedCase], folder: Path, weights: Triple) -> dict[str, Floats]:
    """True list values [n] of what a bundle of SORT-Gen serves, beside the rows that no value model has a part in."""
    manifest, served = Manifest.read(folder), served_planner(folder)
    units = manifest.units
    preferences = Preferences(weights, (units["click"], units["conversion"], units["gmv"]))
    records = [case.record for case in cases]
    lists = {
        BASELINE: served.sort(records, preferences),
        f"bundle {manifest.name} {manifest.version}": served(records, preferences),
        over_all_name("true", 1): true_over_all(1, cases, preferences),
    }
    outcomes = {RANDOM: random_values(cases)} | {name: true_values(cases, found) for name, found in lists.items()}
    return {name: preferences.step_value(outcome) for name, outcome in outcomes.items()}


def lines(worth: Mapping[str, Floats]) -> list[str]:
    """Per row the mean value, what it gains over the sort with its standard error, and the share of the gap closed."""
    base = worth[BASELINE]
    gap = (worth[over_all_name("true", 1)] - base).mean()
    rows = []
    for name, values in worth.items():
        gain = (values - base) / base.mean()
        closed = f"{(values - base).mean() / gap:7.2f}" if gap > 0 else f"{'–':>7}"
        error = gain.std(ddof=1) / len(gain) ** 0.5
        rows.append(f"{name:<34} {values.mean():9.3f} {gain.mean():+8.2%} ± {error:.2%} {closed}")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, plan, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("world", choices=SHOPS)
    add("--data", type=Path, required=True, metavar="FILE", help="the world's list file")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="value model trained on it")
    model.add_argument("--bundle", type=Path, metavar="DIR", help="bundle of SORT-Gen exported from one")
    add("--requests", type=int, help="test requests to plan for (default: all)")
    add("--head-width", type=int, nargs="+", default=[1], metavar="H", help="heads per queue (default: 1)")
    add("--beam-width", type=int, nargs="+", default=[1], metavar="W", help="lists held at each step (default: 1)")
    given = parser.parse_args(arguments)
    cases = read_cases(given.world, given.data, given.requests)
    if given.bundle is None:
        searches = Searches(given.head_width, given.beam_width)
        planned = partial(score, cases, load_checkpoint(given.checkpoint), searches=searches)
    else:
        planned = partial(score_bundle, cases, given.bundle)
    for weights in WEIGHTS:
        mix = ", ".join(f"{w:g}" for w in weights)
        print(f"{given.world} at {mix}: {len(cases)} requests; list value, over the sort, share of true greedy's gap")
        print("\n".join(lines(planned(weights=weights))), end="\n\n")


if __name__ == "__main__":
    main()
