"""Measure the coverage of the estimators' 95% intervals in the simulator.

A pool of requests is the whole population; a log is drawn from it again and again, each time in random order with new
outcomes, and estimated as a real log is. The plan is the greedy list under true values, which gains from context all
that a step-wise plan can: that is what the item-and-place version leaves out, so at κ = 0 its intervals must hold, and
at κ > 0 they show by how much it falls short.

Axis letters: n lists of a log, k places, m items, d draws of a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from models.contract.arrays import Floats, Ints
from models.contract.partition import descending
from models.datasets.simulator import SimulatedRequest, Simulator, SimulatorConfig
from models.evaluation.randomised.estimators import PLAN, SORT, Shown, compare_orders, strata_of

OUTCOME: Final = "click"
_DRAWS: Final = 400


@dataclass(frozen=True)
class CoverageTrial:
    """Size a trial: logs and their lists, requests and their items, planned for k places."""

    logs: int
    lists: int
    requests: int = 400
    items: int = 20
    places: int = 10
    depths: Sequence[int] = (1, 2)
    seed: int = 0


def coverage(trial: CoverageTrial, kappa: float) -> list[dict[str, Any]]:
    """Compare per estimator the true difference of plan and sort with estimates and intervals.

    ``covered`` is a share of ``logs``, those in which the orders agreed often enough for an estimate.
    """
    simulator = Simulator(SimulatorConfig(kappa=kappa, candidates=trial.items, seed=trial.seed))
    pool = [simulator.request(trial.seed, i) for i in range(trial.requests)]
    orders = [_orders(simulator, request, trial.places) for request in pool]
    truth = np.mean([_true_difference(simulator, r, o) for r, o in zip(pool, orders, strict=True)], axis=0)
    found = [
        compare_orders(shown, [OUTCOME], trial.depths, seed=trial.seed, draws=_DRAWS)
        for shown in tqdm(_logs(simulator, trial, pool, orders), total=trial.logs, desc=f"κ={kappa:g}", disable=None)
    ]
    return [_row(list(rows), truth) for rows in zip(*found, strict=True)]


def _row(rows: Sequence[dict[str, Any]], truth: Floats) -> dict[str, Any]:
    """Summarise one estimator over all logs; `truth` [k] is the difference of the first places."""
    true = float(truth[rows[0]["places"] - 1])
    found = [row["outcomes"][OUTCOME]["difference"] for row in rows]
    known = [interval for interval in found if interval is not None]
    result: dict[str, Any] = {"estimator": rows[0]["estimator"], "places": rows[0]["places"], "true": true}
    result["logs"] = len(known)
    if known:
        result["estimate"] = float(np.mean([interval["mean"] for interval in known]))
        result["covered"] = float(np.mean([i["low"] <= true <= i["high"] for i in known]))
        result["half_width"] = float(np.mean([(i["high"] - i["low"]) / 2 for i in known]))
    return result


def _orders(simulator: Simulator, request: SimulatedRequest, places: int) -> dict[str, Ints]:
    """Return the first places of plan and sort by the click score, each [k]."""
    chosen: list[int] = []
    while len(chosen) < places:
        left = [i for i in range(len(request.items)) if i not in chosen]
        values = simulator.list_value(request, np.array([[*chosen, i] for i in left]))[:, -1, 0]
        chosen.append(left[int(values.argmax())])
    return {PLAN: np.array(chosen), SORT: descending(request.ctr)[:places]}


def _true_difference(simulator: Simulator, request: SimulatedRequest, orders: dict[str, Ints]) -> Floats:
    """Subtract the sort's true clicks from the plan's, over the first 1, 2, … k places, [k]."""
    clicks = simulator.list_value(request, np.stack([orders[PLAN], orders[SORT]]))[:, :, 0]
    difference: Floats = clicks[0] - clicks[1]
    return difference


def _logs(
    simulator: Simulator, trial: CoverageTrial, pool: Sequence[SimulatedRequest], orders: Sequence[dict[str, Ints]]
) -> Iterator[Shown]:
    """Draw logs of requests from the pool, every list in a uniformly random order."""
    rng = np.random.default_rng([trial.seed, 3])
    owner = rng.integers(trial.requests, size=(trial.logs, trial.lists))
    clicks = np.empty((trial.logs * trial.lists, trial.places))
    strata = np.empty(clicks.shape, np.int64)
    agreement = {name: np.empty(clicks.shape, bool) for name in (PLAN, SORT)}
    for i, (request, wanted) in enumerate(zip(pool, orders, strict=True)):
        rows = np.flatnonzero(owner == i)
        lists = np.argsort(rng.random((len(rows), trial.items)), axis=1)
        chances, _ = simulator.probabilities(request, lists)
        clicks[rows] = (rng.random(lists.shape) < chances)[:, : trial.places]
        ranks = np.argsort(descending(request.ctr))  # the inverse of a permutation
        strata[rows] = strata_of(ranks, np.array(trial.items))[lists[:, : trial.places]]
        for name, order in wanted.items():
            agreement[name][rows] = lists[:, : trial.places] == order
    sizes = np.full(trial.lists, trial.items, np.int64)
    for log in range(trial.logs):
        part = slice(log * trial.lists, (log + 1) * trial.lists)
        agrees = {name: rows[part] for name, rows in agreement.items()}
        yield Shown(sizes, strata[part], clicks[part, :, None], agrees)
