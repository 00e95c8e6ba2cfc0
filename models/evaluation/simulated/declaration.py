"""Measure what lists are worth in the declared world, by true values alone.

    python -m models.evaluation.simulated.declaration

Planners that know the truth, and the sort that knows only the prior scores; nothing is trained. docs/world.md holds the
table. The logs of the logging policy give the units s_o, by the expected outcomes of their lists.

Axis letters: n requests, m places.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.partition import sorted_slots
from models.data.records import ListRecord
from models.datasets.declared_world import (
    DECLARED,
    EXPLORATION,
    LENGTH,
    MEDIUM,
    STRONG,
    WEAK,
    WEIGHTS,
    declared_world,
)
from models.datasets.given_items import with_items_of
from models.datasets.simulated_logs import load
from models.datasets.simulator import Simulator, SimulatorConfig
from models.datasets.simulator_values import sigmoid
from models.evaluation.simulated.comparison import SimulatedCase, true_over_all, true_values
from models.options import check_at_least, parse_seed
from models.planners.references.sort_gen import Preferences
from models.planners.worth import Triple

BASE: Final = "sort by the formula, prior scores"
BEAM: Final = 8


@dataclass(frozen=True)
class DeclaredCases:
    """Hold requests of a world with their truth, and the units of its logs."""

    simulator: Simulator
    cases: Sequence[SimulatedCase]
    logged: Floats
    """Expected (clicks, purchases, GMV) [n, 3] of the lists that the logging policy showed."""

    @classmethod
    def draw(cls, config: SimulatorConfig, seed: int, requests: int) -> DeclaredCases:
        """Draw the first requests of log `seed`, logged as the declaration says."""
        simulator = Simulator(config)
        records = list(load(config, seed=seed, lists=requests, length=LENGTH, exploration=EXPLORATION).records)
        cases = [
            SimulatedCase(record, LENGTH, partial(simulator.list_value, simulator.find(record.request_id)))
            for record in records
        ]
        return cls(simulator, cases, true_values(cases, np.array([record.exposed for record in records])))

    @property
    def preferences(self) -> Preferences:
        """Return the declared weights, in the mean outcomes of a shown place."""
        click, conversion, gmv = (self.logged.mean(axis=0) / LENGTH).tolist()
        return Preferences(WEIGHTS, (click, conversion, gmv))

    def rows(self) -> Mapping[str, Floats]:
        """Compute true outcomes [n, 3] of every row's lists."""
        wish = self.preferences
        priors = [_prior_scores(case.record) for case in self.cases]
        truths = [self._true_scores(case.record) for case in self.cases]
        lists = {
            BASE: self._sorted(priors, wish.units),
            "the same, true scores without context": self._sorted(truths, wish.units),
            "true value, greedy": true_over_all(1, self.cases, wish),
            f"true value, beam {BEAM}": true_over_all(BEAM, self.cases, wish),
        }
        return {
            "logging policy": self.logged,
            **{name: true_values(self.cases, found) for name, found in lists.items()},
        }

    def _true_scores(self, record: ListRecord) -> Floats:
        request = self.simulator.find(record.request_id)
        return np.stack([sigmoid(request.relevance), sigmoid(request.appeal), request.price])

    def _sorted(self, scores: Sequence[Floats], units: Triple) -> Ints:
        """Sort the candidates of each request by the objective formula, lists [n, m]."""
        values = [_formula(*each, units=units) for each in scores]
        return np.array([sorted_slots(value, np.arange(len(value)), LENGTH) for value in values])


def _prior_scores(record: ListRecord) -> Floats:
    return np.array([(c.scores["ctr"], c.scores["cvr"], c.price) for c in record.candidates], np.float64).T


def _formula(ctr: Floats, cvr: Floats, price: Floats, *, units: Triple) -> Floats:
    """Compute α·ctr/s + β·ctr·cvr/s + γ·ctr·cvr·price/s, as `models.planners.objective` writes it."""
    alpha, beta, gamma = (weight / unit for weight, unit in zip(WEIGHTS, units, strict=True))
    value: Floats = ctr * (alpha + cvr * (beta + gamma * price))
    return value


def _gain(rows: Mapping[str, Floats], name: str, wish: Preferences, seed: int = 0) -> str:
    """Format a row's gain over the base, with a bootstrap over requests."""
    value, base = (wish.step_value(rows[key]) for key in (name, BASE))
    drawn = np.random.default_rng(seed).integers(len(base), size=(2000, len(base)))
    low, high = np.quantile(value[drawn].mean(axis=1) / base[drawn].mean(axis=1) - 1, [0.025, 0.975])
    return f"{value.mean() / base.mean() - 1:+.1%} ({low:+.1%} to {high:+.1%})"


def table(kappa: float, rows: Mapping[str, Floats], wish: Preferences) -> str:
    """Format one world's rows: gains over the base in list value and in each outcome."""
    lines = []
    for name, outcomes in rows.items():
        gains = " | ".join(f"{gain:+.1%}" for gain in outcomes.mean(axis=0) / rows[BASE].mean(axis=0) - 1)
        value = wish.step_value(outcomes).mean()
        lines.append(f"| {kappa:g} | {name} | {value:.3f} | {_gain(rows, name, wish)} | {gains} |")
    return "\n".join(lines)


def _knob(text: str) -> tuple[str, float]:
    """Read a number of the world and its value, as in ``"prior_noise=0"``.

    The value is whole where the declared one is. Raises `argparse.ArgumentTypeError`.
    """
    name, _, value = text.partition("=")
    declared = getattr(DECLARED, name, None)
    if not isinstance(declared, int | float):
        raise argparse.ArgumentTypeError(f"{name!r} is no number of a world")
    try:
        return name, type(declared)(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name} must be a number, not {value!r}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the context strengths asked for."""
    parser = argparse.ArgumentParser(prog="python -m models.evaluation.simulated.declaration", description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="requests to plan for (default: %(default)s)")
    parser.add_argument("--seed", type=parse_seed, default=1, help="seed of the requests (default: %(default)s)")
    parser.add_argument(
        "--world-seed", type=parse_seed, default=0, help="seed of users and items (default: %(default)s)"
    )
    parser.add_argument("--kappa", type=float, nargs="+", default=[0.0, WEAK, MEDIUM, STRONG], metavar="K")
    text = "another value than the declared one, such as prior_noise=0; may be repeated"
    parser.add_argument("--knob", type=_knob, action="append", default=[], metavar="NAME=VALUE", help=text)
    parser.add_argument("--items-from", metavar="FILE", help="draw the items from a list file")
    parser.add_argument("--category-feature", metavar="NAME", help="the feature of that file that is the category")
    chosen = parser.parse_args(arguments)
    if (chosen.items_from is None) != (chosen.category_feature is None):
        parser.error("--items-from and --category-feature go together")
    check_at_least(chosen, requests=1)
    print("| κ | lists by | list value | against the sort (95% interval) | clicks | orders | GMV |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for kappa in chosen.kappa:
        config = declared_world(**dict(chosen.knob) | {"kappa": kappa, "seed": chosen.world_seed})
        if chosen.items_from is not None:
            config = with_items_of(config, chosen.items_from, category_feature=chosen.category_feature)
        drawn = DeclaredCases.draw(config, chosen.seed, chosen.requests)
        print(table(kappa, drawn.rows(), drawn.preferences), flush=True)


if __name__ == "__main__":
    main()
