"""Measure a value model on held-out lists: NDCG@10 and likelihood.

Each figure stands beside those of the sorts and of a random order. `judge.py` interprets them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import AnyFloats
from models.contract.spec import OBJECTIVES
from models.data.batches import Batch, batches
from models.judging.gate import HeldOut
from models.judging.list_orders import Orders, ndcg_of, planned_orders, random_ndcg, sorted_orders
from models.judging.metrics import Interval, mean_interval, pcoc
from models.nets.heads import HazardHead, HeadInput
from models.nets.losses import listwise_terms
from models.nets.value import COUNTED
from models.planners.worth import Triple, Worth


@dataclass(frozen=True)
class NdcgComparison:
    """Compare NDCG@10 of one objective in lists planned for one mix with other orders.

    `prior` is the sort by the objective's own prior scores, `formula` the sort by the mix. `difference` is the paired
    one, served minus `formula`.
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
    to; `gain` is `prior` − `model`, positive when better. The papers' head has no prior within, so `prior` and `gain`
    are None. `pcoc` divides the model's expected events at the first place by those that happened.
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
            yield NdcgComparison(
                mix=worth.weights,
                objective=objective,
                served=float(ours[known].mean()),
                formula=float(theirs[known].mean()),
                prior=float(by_prior[known].mean()),
                random=float(chance[known].mean()),
                difference=mean_interval(ours[known] - theirs[known], seed=seed),
            )


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
    """Compute logits [B, L] of the papers' head's gains, and NaN for the prior it lacks."""
    return torch.logit(gains, eps=1e-6), torch.full_like(gains, torch.nan)
