"""Deal a request's candidates to slots, and order the rest. Letters: n candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.contract.arrays import Floats, Ints
from models.contract.features import FeatureError
from models.contract.manifest import Manifest
from models.contract.partition import descending
from models.contract.slots import ScoreTable, Slots, fill_slots
from service.contract.problems import invalid
from service.contract.schemas import Candidate, Source
from service.ranking.plan import RequestPlan


def deal(candidates: Sequence[Candidate], plan: RequestPlan, manifest: Manifest) -> tuple[ScoreTable, Slots]:
    """Read the scores and fill the slots.

    Raises `Problem` (422) naming the field that is wrong.
    """
    shape = manifest.limits.queues, manifest.places(len(plan.queues))
    try:
        table = ScoreTable(candidates, plan.weights, manifest.spec)
        slots = fill_slots(table, plan.queues, plan.partition, shape, requested=plan.queues_requested)
    except FeatureError as error:
        raise invalid(error.path, error.problem) from None
    return table, slots.filled() if manifest.any_slots else slots


def rank_rest(
    table: ScoreTable, manifest: Manifest, picked: Sequence[int], n: int, count: int
) -> list[tuple[int, Source]]:
    """Order the next `count` candidates after `picked` by the fallback formula, best first.

    Candidates for which the formula cannot be computed follow in the order of the request.
    """
    rest = np.delete(np.arange(n), picked) if len(picked) else np.arange(n)
    scores = table.sort_scores(manifest.fallback)
    if scores is None:
        return [(i, "input") for i in rest[:count].tolist()]
    return rank(rest, scores[rest], count)


def rank(places: Ints, scores: Floats, count: int) -> list[tuple[int, Source]]:
    """Take the best `count` of `places`; those without a finite score come last."""
    finite = np.isfinite(scores)
    if finite.all():
        return [(i, "formula") for i in places[descending(scores)[:count]].tolist()]
    order: list[tuple[int, Source]] = [
        (i, "formula") for i in places[finite][descending(scores[finite])[:count]].tolist()
    ]
    return order + [(i, "input") for i in places[~finite][: count - len(order)].tolist()]
