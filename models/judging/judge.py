"""Judge whether a value model's lists are better than the sort they start from.

The verdict is one word and one sentence. The deciding figure depends on the log, as in `gate.py`: NDCG where the shown
order knows more than the prior scores, since there likelihood can be gained by guessing the logged place; otherwise
likelihood, since there NDCG would count every gain of the list as a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import torch

from models.contract.spec import OBJECTIVES
from models.contract.verdict import Outcome, Verdict
from models.judging.gate import TOLERANCE, HeldOut, weighted
from models.judging.held_out import Likelihood, NdcgComparison, compare, likelihoods, only
from models.judging.list_orders import bypassed
from models.judging.metrics import Interval
from models.nets.value import COUNTED, ListValueModel
from models.planners.worth import Triple, Worth

_EVENTS: Final = {"click": "clicks", "conversion": "purchases", "gmv": "GMV"}
_FEWEST: Final = 20
"""Held-out lists with an event below which a figure decides nothing: an interval of fewer means little."""

Decision = tuple[Outcome, str]


def judge(
    parts: Sequence[HeldOut],
    worths: Sequence[Worth],
    *,
    knows_more: bool,
    has_prior: bool,
    device: torch.device,
    seed: int = 0,
) -> Verdict:
    """Judge the models of all `parts` on their held-out lists, pooled.

    `worths` are the mixes, the bundle's own first; `knows_more` is `Gate.shown_knows_more`. The outcome is
    ``unmeasured`` without `has_prior`, for there is no sort to compare with, and where too few lists have an event.
    """
    likely = list(likelihoods(parts, device=device, seed=seed))
    compared = [row for worth in worths for row in compare(parts, worth, device=device, seed=seed)] if has_prior else []
    if not has_prior:
        outcome, sentence = _WITHOUT_PRIOR
    elif all(bypassed(part.model, worths[0].weights) for part in parts):
        outcome, sentence = _SORT
    else:
        outcome, sentence = _decide(parts, worths[0].weights, compared, likely, knows_more=knows_more)
    return Verdict(outcome, sentence, (*map(asdict, compared), *map(asdict, likely)))


def mixes(model: ListValueModel, units: Triple, mix: Triple) -> list[Worth]:
    """List the mixes to judge: the bundle's own, then each valued objective alone.

    Objectives that are not valued get no weight. Raises `ValueError` if that leaves the bundle's mix without any.
    """
    valued = model.valued_objectives
    weights = [w if name in valued else 0.0 for name, w in zip(OBJECTIVES, mix, strict=True)]
    alone = [only(o) for o, name in enumerate(OBJECTIVES) if name in valued]
    if not sum(weights):
        raise ValueError(
            f"objectives: only {' and '.join(valued)} can be valued (the log or the candidates lack what others need), "
            f"and {'/'.join(f'{w:g}' for w in mix)} gives that no weight"
        )
    own = (weights[0] / sum(weights), weights[1] / sum(weights), weights[2] / sum(weights))
    return [Worth((weights[0], weights[1], weights[2]), units), *(Worth(w, units) for w in alone if w != own)]


_WITHOUT_PRIOR: Final[Decision] = (
    "unmeasured",
    "The lists carry no prior scores (ctr), so there is no sort to compare this model with.",
)
_SORT: Final[Decision] = (
    "sort",
    "Nothing that was learnt from this log proved itself on held-out lists, so the sort by the objective formula is "
    "what is served.",
)


def _decide(
    parts: Sequence[HeldOut],
    mix: Triple,
    compared: Sequence[NdcgComparison],
    likely: Sequence[Likelihood],
    *,
    knows_more: bool,
) -> Decision:
    """Decide by the figures of enough lists."""
    rows = [row for row in compared if row.difference.lists >= _FEWEST]
    if not rows:
        most = max((row.difference.lists for row in compared), default=0)
        return "unmeasured", (
            f"Only {most} held-out lists have a click or a purchase, too few to compare this model's lists with the "
            "sort they start from."
        )
    if knows_more or any(row.gain is None for row in likely):
        return _by_ndcg(rows)
    served = [COUNTED[o] for o in weighted(mix)]
    return _by_likelihood(parts, [row for row in likely if row.lists >= _FEWEST and row.objective in served])


def _by_ndcg(rows: Sequence[NdcgComparison]) -> Decision:
    """Decide by the comparison that is worst for the model."""
    worst = min(rows, key=lambda row: row.difference.high)
    if worst.difference.high < -TOLERANCE or worst.difference.mean < -3 * TOLERANCE:
        return "worse", f"The served lists are worse than the sort they start from: {_ndcg_figures(worst)}."
    best = max(rows, key=lambda row: row.difference.low)
    if best.difference.low > 0:
        return "better", (
            f"The served lists are better than the sort they start from ({_ndcg_figures(best)}) and nowhere clearly "
            f"worse; the least good: {_ndcg_figures(worst)}."
        )
    return "same", (
        f"The served lists are as good as the sort as far as this log can tell: {_ndcg_figures(worst)}. What they gain "
        "as whole lists only a test with users can show."
    )


def _by_likelihood(parts: Sequence[HeldOut], rows: Sequence[Likelihood]) -> Decision:
    """Decide by the correction's likelihood: fair where the shown order gives nothing to guess from."""
    heads = [dict(zip(COUNTED, part.model.hazard_heads, strict=True)) for part in parts]
    kept = [
        (row, row.gain)
        for row in rows
        if row.gain is not None and any(float(head[row.objective].share) > 0 for head in heads)
    ]
    if not kept:
        return "same", "No held-out list says anything about what was learnt beyond the prior scores."
    # The worst objective is asked first: no gain elsewhere makes up for a loss.
    row, gain = min(kept, key=lambda pair: pair[1].high)
    if gain.high < 0:
        return "worse", f"The model explains held-out lists less well than the prior scores do: {_nats(row, gain)}."
    row, gain = max(kept, key=lambda pair: pair[1].low)
    if gain.low > 0:
        return "better", (
            "What stands before an item changes what happens to it, and the model foresees that better than the prior "
            f"scores alone: {_nats(row, gain)}. The served lists make use of it; how much they gain only a test with "
            "users can show."
        )
    return "same", (
        f"The model explains held-out lists about as well as the prior scores do ({_nats(row, gain)}), so expect lists "
        "that are worth about as much as the sort's."
    )


def _ndcg_figures(row: NdcgComparison) -> str:
    d = row.difference
    return (
        f"NDCG@10 of {_EVENTS[row.objective]} {row.served:.4f} against {row.formula:.4f}, a difference of "
        f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f}) on {d.lists} held-out lists"
    )


def _nats(row: Likelihood, gain: Interval) -> str:
    return (
        f"{gain.mean:+.4f} nats a list ({gain.low:+.4f} to {gain.high:+.4f}) on {row.lists} held-out lists with "
        f"{_EVENTS[row.objective]}"
    )
