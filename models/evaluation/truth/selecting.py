"""Plan lists from scores of single items.

An objective formula weighs the scores, and a rule selects. A scorer's ``ctr`` and ``cvr`` take the place of the ranking
stage's. A plan by a DPP, for instance, is::

    plan_by_scores(context, records, scores, dpp(theta))

Axis letters: n requests, k candidates of a request, m places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from models.baselines.selection.fast_dpp import fast_dpp
from models.baselines.selection.items import ScoredItems, sort_items
from models.baselines.selection.mmr import greedy_mmr
from models.contract.arrays import Floats, Ints
from models.contract.embeddings import unit_embeddings
from models.contract.spec import OBJECTIVES
from models.data.records import ListRecord
from models.evaluation.truth.method import PlanContext, Setting
from models.planners.objective import objective_formula
from models.planners.prepare import formula_scores

Select = Callable[[ScoredItems, int, int], Ints]
"""Select lists [n, m] of so many places from scored candidates, looking back on so many of the chosen."""

TRADE_OFFS: Final[tuple[Setting, ...]] = (0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.85, 0.97)
"""Values that are tried of MMR's λ and of the DPP's θ: the share of relevance, and the rest is diversity."""


_BATCH: Final = 50
"""Requests whose cosines are held at once."""


def sort(items: ScoredItems, length: int, window: int) -> Ints:
    """Select by relevance alone."""
    del window
    return sort_items(items, length)


def mmr(trade_off: Setting) -> Select:
    """Select by MMR with λ = `trade_off`."""
    return lambda items, length, window: greedy_mmr(items, length, _number(trade_off), window)


def dpp(theta: Setting) -> Select:
    """Select by a DPP's fast greedy inference."""
    return lambda items, length, window: fast_dpp(items, length, _number(theta), window)


def plan_by_scores(
    context: PlanContext,
    records: Sequence[ListRecord],
    scores: Sequence[Mapping[str, Floats]] | None,
    select: Select,
) -> Ints:
    """Plan lists [n, m] from each record's scores [k] by name.

    They take the place of its own scores; None leaves those.
    An item's relevance is the objective formula's value / Σ weights, in the units of a value model's step: 1 is what an
    exposed slot of the log earns. All rules look back on as many of the chosen items as the preferences say. Raises
    `ValueError` naming a list whose formula cannot be computed.
    """
    formula = objective_formula(context.bench.spec, dict(zip(OBJECTIVES, context.preferences.units, strict=True)))
    plans = []
    for start in range(0, len(records), _BATCH):
        part = slice(start, start + _BATCH)
        items = scored_items(context, records[part], formula, None if scores is None else scores[part])
        plans.append(select(items, context.bench.length, context.preferences.window))
    return np.concatenate(plans)


def scored_items(
    context: PlanContext,
    records: Sequence[ListRecord],
    formula: str,
    scores: Sequence[Mapping[str, Floats]] | None = None,
) -> ScoredItems:
    """Compute a formula's value / Σ weights for all candidates of all records, beside their embeddings."""
    weights, spec = context.preferences.weights, context.bench.spec
    own = [None] * len(records) if scores is None else scores
    relevance = [
        formula_scores(record, [formula], weights, spec, new)[0] / sum(weights)
        for record, new in zip(records, own, strict=True)
    ]
    return ScoredItems.of(relevance, [unit_embeddings([c.embedding for c in r.candidates]) for r in records])


def _number(setting: Setting) -> float:
    if not isinstance(setting, float):
        raise ValueError(f"the setting must be a number, not {setting!r}")
    return setting
