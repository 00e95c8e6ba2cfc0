"""Judge whether a value model's lists are better than the sort they start from.

The verdict is one word and one sentence. The deciding figure depends on the log, as in `gate.py`: NDCG where the shown
order knows more than the prior scores, since there likelihood can be gained by guessing the logged place; otherwise
likelihood, since there NDCG would count every gain of the list as a loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import AnyFloats
from models.contract.spec import OBJECTIVES
from models.contract.verdict import Outcome, Verdict
from models.data.batches import Batch, batches
from models.judging.gate import TOLERANCE, HeldOut, weighted
from models.judging.list_orders import Orders, bypassed, ndcg_of, planned_orders, random_ndcg, sorted_orders
from models.judging.metrics import Interval, mean_interval, pcoc
from models.nets.heads import HazardHead, HeadInput
from models.nets.losses import listwise_terms
from models.nets.value import COUNTED, ListValueModel
from models.planners.worth import Triple, Worth

_EVENTS: Final = {"click": "clicks", "conversion": "purchases", "gmv": "GMV"}
_FEWEST: Final = 20
"""Held-out lists with an event below which a figure decides nothing: an interval of fewer means little."""

Decision = tuple[Outcome, str]


@dataclass(frozen=True)
class NdcgComparison:
    """Compare NDCG@10 of one objective in lists planned for one mix with other orders.

    `prior` is the sort by the objective's own scores, `formula` that by the mix; `difference`: served − formula.
    """

    mix: Triple
    objective: str
    served: float
    formula: float
    prior: float
    random: float
    difference: Interval


@dataclass(frozen=True)
class Likelihood:
    """Hold the likelihood of one objective's events, and the first place's calibration.

    `model`, `prior` (ρ = 0) and `random` (all items alike) are nats a list that has an event, for the item it happened
    to; `gain` is `prior` − `model`, positive when better. Heads without hazards have no prior within, so `prior`
    and `gain` are None. `pcoc` divides the model's expected events at the first place by those that happened.
    """

    objective: str
    lists: int
    model: float
    prior: float | None
    random: float
    gain: Interval | None
    pcoc: float | None


def compare(parts: Sequence[HeldOut], worth: Worth, *, device: torch.device, seed: int) -> Iterator[NdcgComparison]:
    """Compare orders of all held-out lists: a row per weighted objective with an event."""
    served = [planned_orders(part.model, part.lists, worth, device=device) for part in parts]
    formula = [sorted_orders(part.lists, worth) for part in parts]
    for o, objective in enumerate(OBJECTIVES):
        if worth.weights[o] == 0:
            continue
        alone = Worth(only(o), worth.units)
        prior = [sorted_orders(part.lists, alone) for part in parts]
        # A list without an event in the objective has no NDCG, in whatever order.
        ours, theirs, by_prior = (_ndcg(parts, orders, o) for orders in (served, formula, prior))
        chance = np.concatenate([random_ndcg(part.lists, part.lists.labels[..., o]) for part in parts])
        known = ~np.isnan(ours)
        if known.any():
            by_order = {"served": ours, "formula": theirs, "prior": by_prior, "random": chance}
            means = {name: float(ndcg[known].mean()) for name, ndcg in by_order.items()}
            difference = mean_interval(ours[known] - theirs[known], seed=seed)
            yield NdcgComparison(worth.weights, objective, **means, difference=difference)


def likelihoods(parts: Sequence[HeldOut], *, device: torch.device, seed: int) -> Iterator[Likelihood]:
    """Compute the likelihood of each counted objective with an event in a held-out list."""
    found = [_terms(part, device) for part in parts]
    for o, objective in enumerate(COUNTED):
        columns = {name: np.concatenate([terms[o][name] for terms in found]) for name in found[0][o]}
        told = columns["told"].astype(bool)
        if not told.any():
            continue
        model, prior, chance = (columns[name][told] for name in ("model", "prior", "random"))
        hazards = not np.isnan(prior).any()
        yield Likelihood(
            objective=objective,
            lists=int(told.sum()),
            model=float(model.mean()),
            prior=float(prior.mean()) if hazards else None,
            random=float(chance.mean()),
            gain=mean_interval(prior - model, seed=seed) if hazards else None,
            pcoc=pcoc(columns["expected"], columns["happened"]),
        )


def only(objective: int) -> Triple:
    """Make the weights that count one objective alone."""
    return (float(objective == 0), float(objective == 1), float(objective == 2))


def _ndcg(parts: Sequence[HeldOut], orders: Sequence[Orders], objective: int) -> AnyFloats:
    pairs = zip(parts, orders, strict=True)
    return np.concatenate([ndcg_of(order, part.lists.labels[..., objective]) for part, order in pairs])


@torch.no_grad()
def _terms(part: HeldOut, device: torch.device) -> Sequence[Mapping[str, AnyFloats]]:
    """Compute each list's losses and first-place events, per counted objective.

    The listwise losses are of ``model``, ``prior`` and ``random``; ``told`` marks the lists that count in them. The
    events are ``expected`` and as they ``happened``, 0 where nothing was observed.
    """
    model = part.model.to(device).eval()
    names = ("model", "prior", "random", "told", "expected", "happened")
    rows: list[list[AnyFloats]] = [[] for _ in COUNTED]
    for batch in batches(part.lists.tensors(device)):
        # One pass through the model gives the logits, and with them the gains and every objective's scores.
        inputs = model.head_inputs(batch)
        gains = model.gains(torch.stack([head(item) for head, item in inputs], dim=2))
        for o, (head, item) in enumerate(inputs):
            scores = (
                _hazard_scores(part, o, head, item) if isinstance(head, HazardHead) else _gain_scores(gains[..., o])
            )
            rows[o].append(_list_terms(batch, o, scores, gains[:, 0, o]))
    return [dict(zip(names, np.concatenate(found, axis=1), strict=True)) for found in rows]


def _list_terms(batch: Batch, objective: int, scores: tuple[Tensor, Tensor], first_gain: Tensor) -> AnyFloats:
    """Compute the rows [6, lists] of `_terms` from the scores [B, L] of model and prior."""
    labels, observed = batch["labels"][:, :, objective, None], batch["observed"][:, objective, None]
    outcome = (labels, batch["lengths"], observed)
    losses = [listwise_terms(x[..., None], *outcome)[:, 0] for x in (*scores, torch.zeros_like(scores[0]))]
    told = observed[:, 0] & (labels[..., 0].sum(1) > 0) & (batch["lengths"] > 1)
    seen = observed[:, 0] & (batch["lengths"] > 0)
    events = (first_gain * seen, labels[:, 0, 0] * seen)
    return torch.stack([*losses, told.float(), *events]).cpu().numpy()


def _hazard_scores(part: HeldOut, objective: int, head: HazardHead, item: HeadInput) -> tuple[Tensor, Tensor]:
    """Compute the first state's logits [B, L] of the model and of the calibrated prior.

    Both have the offsets of training, which minimised the listwise loss too. The offsets that `value_fit.settle` fits
    later are for counts alone, and with them a model would lose to the prior here whatever it learnt.
    """
    start, end = part.start[objective], part.end[objective]
    kept = start.towards(end, float(head.share)).first(item.prior, item.places)
    return kept + (head.share * head.correction(item))[..., 0], start.first(item.prior, item.places)


def _gain_scores(gains: Tensor) -> tuple[Tensor, Tensor]:
    """Compute logits [B, L] of gains, and NaN for the prior that heads without hazards lack."""
    return torch.logit(gains, eps=1e-6), torch.full_like(gains, torch.nan)


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
