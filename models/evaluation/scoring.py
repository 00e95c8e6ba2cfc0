"""Order logged lists, score orders by NDCG, and average over many lists, with bootstrap intervals.

Only items that were shown take part, since the others have no outcome. Requests and sorts start from one shuffle, so
neither the input order nor a tie can carry the order that was shown. There is no feature spec here, and so no default
for a missing score: a list with one raises an error.

Three objectives, each with its gains: clicks, purchases, and GMV in currency. A list without a gain in an objective
says nothing about order there and is left out of it. Clicks and purchases: the plain mean of NDCG@k over lists. GMV:
Σ DCG over Σ ideal DCG, so that a list counts by its money; in a plain mean the amount would cancel wherever a list has
one purchase, and the figure would repeat that of purchases.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from models.contract.arrays import AnyFloats, Floats, Ints
from models.contract.formulas import compile_formula
from models.contract.partition import descending
from models.contract.slots import ScoreTable
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.data.records import ListRecord
from models.judging.metrics import Interval, discounts, ndcg, ratio_interval
from models.reranking.requests import candidate_fields

Order = Ints
"""Places in the list as it was shown, best first."""

_NO_WEIGHTS: Final = (0.0, 0.0, 0.0)
LOGGED: Final = "as shown"
RANDOM: Final = "random"
ALL: Final = "all lists"
SHUFFLED: Final = "shown in random order"
RANKED: Final = "shown in a ranker's order"


@dataclass(frozen=True, slots=True)
class ListResult:
    """Hold one list: per objective its ideal DCG@k, and NDCG@k by name of the order.

    `shuffled` says whether the log showed it in random order; None if the log does not tell.
    """

    request_id: str
    shuffled: bool | None
    ideal: Mapping[str, float]
    ndcg: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class ComparedOrders:
    """Name the served orders, and per objective the prior sort that they must beat."""

    served: Sequence[str]
    priors: Mapping[str, str]


def neutral_order(record: ListRecord, *, seed: int) -> Order:
    """Shuffle by the seed and the request id alone."""
    rng = np.random.default_rng([seed, zlib.crc32(record.request_id.encode())])
    return rng.permutation(len(record.exposed))


def sorted_order(record: ListRecord, formula: str, start: Order) -> Order:
    """Sort `start` by a formula of scores and price, best first.

    Ties stay as they stand in `start`.

    Raises `ValueError` naming the list, and the score that an item lacks or the value that is not finite.
    """
    candidates = [record.candidates[record.exposed[i]] for i in start.tolist()]
    table = ScoreTable(candidates, _NO_WEIGHTS, FeatureSpec())
    for name in sorted(compile_formula(formula).names):
        missing = np.isnan(table.read(name))
        if missing.any():
            item = candidates[int(missing.argmax())].id
            raise ValueError(f"list {record.request_id!r}: item {item!r} has no {name!r}, which {formula} needs")
    values = table.score(formula, "", needed_by="the sort")
    if not np.isfinite(values).all():
        item = candidates[int(np.isfinite(values).argmin())].id
        raise ValueError(f"list {record.request_id!r}: {formula} is not finite for item {item!r}")
    return start[descending(values)]


def request_body(record: ListRecord, start: Order, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write the request for all shown items, in the order of `start`.

    `options` holds its other fields.
    """
    candidates = [candidate_fields(record.candidates[record.exposed[i]]) for i in start.tolist()]
    return {
        "request_id": record.request_id,
        "user": dict(record.user),
        "context": dict(record.context),
        "candidates": candidates,
        "top_n": len(candidates),
        **options,
    }


def score_list(record: ListRecord, orders: Mapping[str, Order], *, k: int, shuffled: bool | None) -> ListResult:
    """Score `orders`, the order shown (`LOGGED`) and the mean over all orders (`RANDOM`) by NDCG@k."""
    ideal: dict[str, float] = {}
    scores: dict[str, dict[str, float]] = {}
    for objective, gains in _gains(record).items():
        weights = discounts(min(k, len(gains)))
        best = float(np.sort(gains)[::-1][:k] @ weights)
        if best == 0:
            continue
        ideal[objective] = best
        # In a random order every rank expects the mean gain.
        row = {RANDOM: float(gains.mean() * weights.sum()) / best}
        for name, order in {LOGGED: np.arange(len(gains)), **orders}.items():
            score = ndcg(gains[order], k)
            assert score is not None
            row[name] = score
        scores[objective] = row
    return ListResult(record.request_id, shuffled, ideal, scores)


def summarise(results: Sequence[ListResult], comparison: ComparedOrders, *, seed: int) -> dict[str, Any]:
    """Summarise the measures of every group of lists and objective, as plain JSON.

    Each has ``lists``, ``ndcg`` by order, and ``differences`` of each served order.

    A difference is the paired one, served minus the other: ``prior`` (the sort named in `comparison`) and ``shown``.
    An objective that no list of a group has a gain in is left out.
    """
    groups = {ALL: list(results)}
    if any(r.shuffled is not None for r in results):
        groups[SHUFFLED] = [r for r in results if r.shuffled]
        groups[RANKED] = [r for r in results if not r.shuffled]
    return {
        group: {
            objective: _objective(objective, chosen, comparison, seed)
            for objective in OBJECTIVES
            if (chosen := [r for r in members if objective in r.ndcg])
        }
        for group, members in groups.items()
    }


def weighted_interval(values: AnyFloats, weights: AnyFloats, *, seed: int) -> Interval:
    """Compute Σ w·v / Σ w over lists with its bootstrap interval; weights must be positive.

    With equal weights this is `metrics.mean_interval`. Raises `ValueError` if there are no lists.
    """
    weighted, weights = np.asarray(values * weights, np.float64), np.asarray(weights, np.float64)
    return ratio_interval(weighted, weights, seed=seed)


def _objective(objective: str, results: Sequence[ListResult], comparison: ComparedOrders, seed: int) -> dict[str, Any]:
    rows = [r.ndcg[objective] for r in results]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    weights = np.array([r.ideal[objective] if objective == "gmv" else 1.0 for r in results])

    def interval(values: AnyFloats) -> dict[str, Any]:
        return asdict(weighted_interval(values, weights, seed=seed))

    rivals = {"prior": comparison.priors[objective], "shown": LOGGED}
    return {
        "lists": len(results),
        "ndcg": {name: interval(values) for name, values in columns.items()},
        "differences": {
            name: {rival: interval(columns[name] - columns[other]) for rival, other in rivals.items()}
            for name in comparison.served
        },
    }


def _gains(record: ListRecord) -> dict[str, Floats]:
    labels = zip(OBJECTIVES, (record.clicks, record.purchases, record.gmv), strict=True)
    return {name: np.array(values, np.float64) for name, values in labels if values is not None}
