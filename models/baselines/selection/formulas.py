"""Search the exponents of Pareto-efficient formulas ctr^a·cvr^b·price^c on logs, by NSGA-II.

The objectives are the NDCG of clicks, of purchases and of GMV in logged lists that a formula has sorted again: the
discounted sum of an outcome over all lists, divided by that of their best orders. A mean over lists of one NDCG each
would not see the price: most lists have one purchase. Logs know the outcomes of the items shown, at the places where
they were shown, and of no others: what an exponent earns with other items, or by moving an item, is not in them. The
result is a front; a choice among its points needs a notion of value for whole lists.

Only the proportions of the exponents matter, so a box around 0 holds every formula. A price may count against an item.

Axis letters: n lists, L positions, T factors, O objectives, P formulas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.config import Config
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from models.contract.arrays import AnyArray, Bools, Floats, Floats32, Ints
from models.contract.features import known_priors
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.batches import ListArrays
from models.files import write_json
from models.judging.metrics import discounts

Config.warnings["not_compiled"] = False

_RANGES: Final = {"ctr": (0.0, 1.0), "cvr": (0.0, 1.0), "price": (-1.0, 1.0)}
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class FormulaPoint:
    """Hold a formula's exponents by factor, and its NDCG in logged lists by objective."""

    exponents: Mapping[str, float]
    ndcg: Mapping[str, float]

    @property
    def formula(self) -> str:
        """Write the formula as queues and sorts read it."""
        return "*".join(f"{name}**{exponent:.{_DIGITS}f}" for name, exponent in self.exponents.items())


@dataclass(frozen=True, slots=True)
class FormulaSearch:
    """Say how much is searched, and how many points of the front are kept.

    `population` are the formulas of a generation.
    """

    lists: int = 20_000
    population: int = 32
    generations: int = 20
    points: int = 8

    def __call__(self, data: ListArrays, spec: FeatureSpec, *, seed: int) -> list[FormulaPoint]:
        """Find points spread along the front, the best for clicks first.

        Raises `ValueError` without a score ``ctr``, and without a list that has a click beside an item without one.
        """
        names, factors = _log_factors(data, spec)
        task = _LoggedLists.of(data, factors, self.lists, seed)
        result = minimize(
            _Exponents(names, task),
            NSGA2(pop_size=self.population),
            ("n_gen", self.generations),
            seed=seed,
            verbose=False,
        )
        exponents, ndcg = _distinct(np.atleast_2d(result.X), task)
        kept = spread(ndcg, self.points)
        return [
            FormulaPoint(
                dict(zip(names, exponents[i].tolist(), strict=True)),
                dict(zip(task.objectives, ndcg[i].round(6).tolist(), strict=True)),
            )
            for i in kept
        ]


def write_front(path: Path, points: Sequence[FormulaPoint]) -> None:
    """Write the points of a front as JSON."""
    write_json(path, {"points": [asdict(point) | {"formula": point.formula} for point in points]})


def read_front(path: Path) -> list[FormulaPoint]:
    """Read what `write_front` wrote."""
    points = json.loads(path.read_text("utf-8"))["points"]
    return [FormulaPoint(point["exponents"], point["ndcg"]) for point in points]


def spread(values: Floats, count: int) -> list[int]:
    """Choose at most `count` of points [P, O] that are far from each other.

    The best for each objective are chosen first. Distances are relative to the range of each objective. Returns the
    places in order of the first objective, best first.
    """
    scaled = (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-12)
    kept = list(dict.fromkeys(values.argmax(axis=0).tolist()))[:count]
    while len(kept) < min(count, len(values)):
        apart = np.linalg.norm(scaled[:, None] - scaled[kept], axis=2).min(axis=1)
        apart[kept] = -1.0
        kept.append(int(apart.argmax()))
    return sorted(kept, key=lambda i: -values[i, 0])


@dataclass(frozen=True, eq=False)
class _LoggedLists:
    """Hold logged lists to sort: `factors` [n, L, T] (logs), `gains` [O, n, L] and `filled` [n, L].

    Gains are outcomes in units that make the best orders of all lists worth 1 together.
    """

    objectives: Sequence[str]
    factors: Floats32
    gains: Floats32
    filled: Bools

    @classmethod
    def of(cls, data: ListArrays, factors: Floats32, count: int, seed: int) -> _LoggedLists:
        clicks = (data.labels[:, :, 0] * data.filled).sum(axis=1)
        rows = np.flatnonzero((clicks > 0) & (clicks < data.lengths))
        if not len(rows):
            raise ValueError("formulas: no list has a click beside an item without one")
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:count])
        filled: Bools = data.filled[rows]
        outcomes = data.labels[rows] * filled[:, :, None]
        best = discounts(filled.shape[1]) @ -np.sort(-outcomes, axis=1).sum(axis=0, dtype=np.float64)
        known = np.flatnonzero(best)
        gains = np.moveaxis(outcomes[:, :, known] / best[known], 2, 0).astype(np.float32)
        return cls([OBJECTIVES[o] for o in known.tolist()], factors[rows], gains, filled)

    def ndcg(self, exponents: Floats) -> Floats:
        """Compute the NDCG [O] of all lists sorted by one formula [T]."""
        scores = np.where(self.filled, self.factors @ exponents.astype(np.float32), -np.inf)
        order: Ints = np.argsort(-scores, axis=1, kind="stable")
        sorted_gains = np.take_along_axis(self.gains, order[None], axis=2)
        ndcg: Floats = sorted_gains.sum(axis=1, dtype=np.float64) @ discounts(scores.shape[1])
        return ndcg


class _Exponents(Problem):  # type: ignore[misc]
    """Look for exponents with the largest NDCG by objective; pymoo minimises."""

    def __init__(self, names: Sequence[str], task: _LoggedLists) -> None:
        low, high = np.array([_RANGES[name] for name in names]).T
        super().__init__(n_var=len(names), n_obj=len(task.objectives), xl=low, xu=high)
        self._task = task

    def _evaluate(self, x: Floats, out: dict[str, AnyArray], *_: Any, **__: Any) -> None:
        out["F"] = -np.array([self._task.ndcg(row) for row in x.round(_DIGITS)])


def _log_factors(data: ListArrays, spec: FeatureSpec) -> tuple[list[str], Floats32]:
    """Name the factors that the data has, and compute their logarithms [n, L, T]."""
    has_ctr, has_cvr = known_priors(spec)
    if not has_ctr:
        raise ValueError("formulas: the data has no score 'ctr'")
    priors: Floats32 = data.features["priors"].astype(np.float32)
    ctr, both = -np.logaddexp(0.0, -np.moveaxis(priors, 2, 0))
    columns = {"ctr": ctr} | ({"cvr": both - ctr} if has_cvr else {})
    if spec.price is not None:
        columns["price"] = np.log(np.maximum(data.features["price"], np.finfo(np.float32).tiny))
    return list(columns), np.stack(list(columns.values()), axis=2).astype(np.float32)


def _distinct(exponents: Floats, task: _LoggedLists) -> tuple[Floats, Floats]:
    """Round the front's exponents [P, T], and compute the NDCG [P, O] of those that differ in it."""
    rounded = np.unique(exponents.round(_DIGITS), axis=0)
    ndcg = np.array([task.ndcg(row) for row in rounded])
    _, first = np.unique(ndcg.round(6), axis=0, return_index=True)
    return rounded[first], ndcg[first]
