"""Hold a frozen model to real lists that were shown in random order.

Train on lists in a ranker's order only (`listwright data expedia --randomised-test`, then `listwright train`); this
command reads the test lists in random order, which the model has never seen, and tells three things: how much of the
value that it promises for them comes true; what its plan earns against the sort, by self-normalised inverse propensity
scoring; and, with `--coverage`, how often such intervals hold the truth in the simulator, on logs of as many lists.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.contract.spec import OBJECTIVES
from models.data.outputs import require_other_output
from models.data.reading.stores import source_digest
from models.evaluation.randomised.calibration import calibration
from models.evaluation.randomised.coverage import CoverageTrial, coverage
from models.evaluation.randomised.estimators import FEWEST, compare_orders
from models.evaluation.randomised.observe import LogObserver, Observed, random_lists
from models.evaluation.tables import interval_text, markdown_table
from models.files import write_json
from models.judging.metrics import mean_interval
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.options import check_at_least, parse_seed, parse_weights
from models.planners.references.sort_gen import Preferences
from models.planners.worth import triple_of

MIXES: Final = ((5.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
KAPPAS: Final = (0.0, 1.0)
MOST_LISTS: Final = 20_000
"""Lists of a simulated log at most: more would take minutes and teach nothing new."""
_MIX: Final = "mix, in units"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="list file that says which lists are in random order")
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="value model, trained without those lists")
    add(
        "--objectives",
        action="append",
        type=parse_weights,
        metavar="A,B,G",
        help="α,β,γ to plan for; repeatable (default: 5,1,1, then 1,0,0 and 0,1,0)",
    )
    add("--places", type=int, default=10, help="first places of a list that are planned (default: %(default)s)")
    add("--depths", type=int, nargs="+", default=[1, 2], metavar="D", help="places of the cascade (default: 1 2)")
    add("--head-width", type=int, default=1, metavar="H", help="heads per queue (default: %(default)s)")
    add("--beam-width", type=int, default=1, metavar="W", help="lists held at each step (default: %(default)s)")
    add("--coverage", type=int, metavar="LOGS", help="also draw so many simulated logs and tell the coverage")
    add("--seed", type=parse_seed, default=0, help="seed of the bootstrap and of simulated logs (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures here as well")


def run(arguments: argparse.Namespace) -> int:
    """Read, estimate, print the tables."""
    _check(arguments)
    require_other_output("--json", arguments.json, arguments.data, arguments.checkpoint)
    checkpoint = load_checkpoint(arguments.checkpoint)
    mixes = [Preferences(weights, triple_of(checkpoint.units)) for weights in arguments.objectives or MIXES]
    observer = LogObserver(
        checkpoint,
        mixes,
        places=arguments.places,
        head_width=arguments.head_width,
        beam_width=arguments.beam_width,
        seed=arguments.seed,
    )
    records, counts = random_lists(arguments.data)
    observed = observer.observe(records)
    report: dict[str, Any] = {
        "data": {"file": arguments.data.name, "sha256": source_digest(arguments.data), **counts},
        "lists": len(observed.sizes),
        "items": float(observed.sizes.mean()),
        "order": _order(observed, arguments.seed),
        "calibration": _calibration(observed, arguments.seed),
        "orders": [_orders(observed, i, wish, arguments) for i, wish in enumerate(mixes)],
    }
    _print(report, checkpoint)
    if arguments.coverage is not None:
        report["coverage"] = _coverage(arguments, len(observed.sizes))
        print(f"\n**Coverage in the simulator**\n\n{coverage_table(report['coverage'])}")
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` naming an option that is out of range."""
    check_at_least(arguments, places=1, head_width=1, beam_width=1, coverage=1)
    if not all(1 <= depth <= arguments.places for depth in arguments.depths):
        raise ValueError(f"--depths: must be within 1 and the {arguments.places} of --places, not {arguments.depths}")


def _order(observed: Observed, seed: int) -> dict[str, float] | None:
    """Measure the click score's agreement with the order shown: 0 if random, None if unknown."""
    known = observed.agreement_of_sort[~np.isnan(observed.agreement_of_sort)]
    return asdict(mean_interval(known, seed=seed)) if len(known) else None


def _calibration(observed: Observed, seed: int) -> dict[str, dict[str, Any] | None]:
    columns = (observed.predicted, observed.alone, observed.realised, observed.within)
    return {name: calibration(*(c[:, o] for c in columns), seed=seed) for o, name in enumerate(OBJECTIVES)}


def _orders(observed: Observed, mix: int, wish: Preferences, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare the plan for one mix of objectives with the sort."""
    names = (*OBJECTIVES, _MIX)
    rows = compare_orders(observed.shown(mix, wish), names, arguments.depths, seed=arguments.seed)
    promised = dict(zip(names, observed.promised_gain(mix, wish).tolist(), strict=True))
    return {"weights": wish.weights, "estimates": rows, "promised": promised}


def _coverage(arguments: argparse.Namespace, lists: int) -> Mapping[float, Sequence[dict[str, Any]]]:
    trial = CoverageTrial(
        logs=arguments.coverage,
        lists=min(lists, MOST_LISTS),
        places=min(arguments.places, CoverageTrial.items),
        depths=[depth for depth in arguments.depths if depth <= CoverageTrial.items],
        seed=arguments.seed,
    )
    return {kappa: coverage(trial, kappa) for kappa in KAPPAS}


def _print(report: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    agreement = interval_text(report["order"], sign="+", digits=3, missing="unknown")
    print(
        f"{report['lists']:,} test lists in random order, {report['items']:.1f} items on average, of "
        f"{report['data']['named']:,} that the file names.\n"
        f"How far the prior's ctr foretells the order shown (−1 to 1; 0 if that was quite random): {agreement}\n\n"
        f"**What is promised for the shown list, and what comes true** (the first "
        f"{checkpoint.config.list_length} places)\n\n{calibration_table(report['calibration'])}"
    )
    for part in report["orders"]:
        mix = "/".join(f"{w:g}" for w in part["weights"])
        print(f"\n**Plan against sort at {mix}**\n\n{orders_table(part['estimates'], part['promised'])}")


_CALIBRATION: Final = {
    "ratio": "realised / predicted",
    "slope": "slope between lists",
    "context_slope": "its context",
    "within_slope": "slope within lists",
    "within_context_slope": "its context",
}


def calibration_table(rows: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Show per objective the share of promised value that comes true, and the context's share."""
    cells = [[name, *(interval_text(row[key] if row else None) for key in _CALIBRATION)] for name, row in rows.items()]
    note = "A slope is that of realised on predicted value: 1 if all comes true, 0 if nothing of the differences does."
    return f"{markdown_table(['objective', *_CALIBRATION.values()], cells)}\n\n{note}"


def orders_table(rows: Sequence[Mapping[str, Any]], promised: Mapping[str, float]) -> str:
    """Show per outcome and estimator the plan against the sort, beside the `promised` gain."""
    signed = partial(interval_text, sign="+")
    cells = []
    for name, gain in promised.items():
        for row in rows:
            found = row["outcomes"][name]
            agreements = [f"{row['agreements'][o]:,} ({row['weights'][o]:.2f})" for o in ("plan", "sort")]
            values = [interval_text(found["plan"]), interval_text(found["sort"]), signed(found["difference"])]
            cells.append([name, _estimator(row), *agreements, *values])
        cells.append([name, "what the model promises", "", "", "", "", f"{gain:+.4f}"])
    heads = ["outcome a list", "estimator", "agreements (weight) of plan", "of sort", "plan", "sort", "plan less sort"]
    note = (
        f"–: fewer than {FEWEST} agreements, too few for an interval. The weights sum to 1 if chances are as assumed."
    )
    return f"{markdown_table(heads, cells, texts=2)}\n\n{note}"


def coverage_table(rows: Mapping[float, Sequence[Mapping[str, Any]]]) -> str:
    """Show per context strength κ and estimator the share of intervals that hold the truth."""
    heads = ["κ", "estimator", "true difference in clicks", "mean estimate", "mean half width"]
    heads.append("95% intervals that hold it")
    cells = []
    for kappa, found in rows.items():
        for row in found:
            values = ["–"] * 3
            if row["logs"]:
                covered = f"{row['covered']:.0%} of {row['logs']}"
                values = [f"{row['estimate']:+.3f}", f"{row['half_width']:.3f}", covered]
            cells.append([f"{kappa:g}", _estimator(row), f"{row['true']:+.3f}", *values])
    return markdown_table(heads, cells, texts=2)


def _estimator(row: Mapping[str, Any]) -> str:
    places = "first place" if row["places"] == 1 else f"first {row['places']} places"
    return f"{row['estimator']}, {places}"
