"""Measure a value model on held-out lists: each figure beside those of the sorts and of a random order.

NDCG@10 of the lists that would be served, and how likely the model finds what happened. What they mean is said in
`judge.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.contract.spec import OBJECTIVES
from models.data.batches import batches
from models.judging.gate import HeldOut
from models.judging.list_orders import Orders, ndcg_of, planned_orders, random_ndcg, sorted_orders
from models.judging.metrics import Floats, Interval, mean_interval, pcoc
from models.nets.losses import listwise_terms
from models.nets.value import COUNTED
from models.planners.worth import Triple, Worth

_BATCH: Final = 1024


@dataclass(frozen=True)
class Comparison:
    """Hold NDCG@10 of one objective's gains in lists planned for one mix, and of the orders beside it.

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
    """Hold how likely one objective's events were found, over lists with one, and how the first place is calibrated.

    `model`, `prior` (ρ = 0) and `random` (all items alike) are nats a list, of which item it was; `gain` is `prior` −
    `model`, positive when better. The papers' head holds no prior, so it has neither. `pcoc` is the events expected at
    the first place over those that happened, of the model.
    """

    objective: str
    lists: int
    model: float
    prior: float | None
    random: float
    gain: Interval | None
    pcoc: float | None


def compare(parts: Sequence[HeldOut], worth: Worth, *, device: torch.device, seed: int) -> Iterator[Comparison]:
    """Compare orders of the held-out lists of all `parts`, pooled: a row per objective that the mix weights.

    An objective that happened in no list has none.
    """
    served = [planned_orders(part.model, part.lists, worth, device=device) for part in parts]
    formula = [sorted_orders(part.lists, worth) for part in parts]
    for o, objective in enumerate(OBJECTIVES):
        if worth.weights[o] == 0:
            continue
        alone = Worth(only(o), worth.units)
        prior = [sorted_orders(part.lists, alone) for part in parts]
        ours, theirs, by_prior = (_ndcg(parts, orders, o) for orders in (served, formula, prior))
        chance = np.concatenate([random_ndcg(part.lists, part.lists.labels[..., o]) for part in parts])
        known = ~np.isnan(ours)
        if known.any():
            yield Comparison(
                mix=worth.weights,
                objective=objective,
                served=float(ours[known].mean()),
                formula=float(theirs[known].mean()),
                prior=float(by_prior[known].mean()),
                random=float(chance[known].mean()),
                difference=mean_interval(ours[known] - theirs[known], seed=seed),
            )


def likelihood(parts: Sequence[HeldOut], objective: int, *, device: torch.device, seed: int) -> Likelihood | None:
    """Find the figures of one counted objective; None if no held-out list has an event in it."""
    found = [_terms(part, objective, device) for part in parts]
    columns = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
    told = columns["told"].astype(bool)
    if not told.any():
        return None
    model, prior, chance = (columns[name][told] for name in ("model", "prior", "random"))
    hazards = not np.isnan(prior).any()
    return Likelihood(
        objective=COUNTED[objective],
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


def _ndcg(parts: Sequence[HeldOut], orders: Sequence[Orders], objective: int) -> Floats:
    pairs = zip(parts, orders, strict=True)
    return np.concatenate([ndcg_of(order, part.lists.labels[..., objective]) for part, order in pairs])


@torch.no_grad()
def _terms(part: HeldOut, objective: int, device: torch.device) -> Mapping[str, Floats]:
    """Find per list the listwise losses of ``model``, ``prior`` and ``random``, and whether it is ``told`` in them.

    Also the events of its first place, ``expected`` and as they ``happened``; 0 where nothing was observed.
    """
    model = part.model.to(device).eval()
    score = _hazard_scores if model.config.head == "hazard" else _gain_scores
    rows = []
    for batch in batches(part.lists.tensors(device), _BATCH):
        labels, observed = batch["labels"][:, :, objective, None], batch["observed"][:, objective, None]
        outcome = (labels, batch["lengths"], observed)
        learnt, prior = score(part, batch, objective)
        seen = observed[:, 0] & (batch["lengths"] > 0)
        expected, happened = model.gains(model(batch))[:, 0, objective] * seen, labels[:, 0, 0] * seen
        told = observed[:, 0] & (labels[..., 0].sum(1) > 0) & (batch["lengths"] > 1)
        losses = [listwise_terms(x[..., None], *outcome)[:, 0] for x in (learnt, prior, torch.zeros_like(learnt))]
        rows.append(torch.stack([*losses, told.float(), expected, happened]).cpu().numpy())
    names = ("model", "prior", "random", "told", "expected", "happened")
    return dict(zip(names, np.concatenate(rows, axis=1), strict=True))


def _hazard_scores(part: HeldOut, batch: Mapping[str, Tensor], objective: int) -> tuple[Tensor, Tensor]:
    """Find the logits [B, L] of the first state: the model's, and those of the calibrated prior.

    Both with the offsets of training, which the listwise loss had a say in: those that a model is settled with are for
    counts (`value_fit.settle`), and would lose here to the prior's whatever was learnt.
    """
    head, item = part.model.hazard_inputs(batch)[objective]
    start, end = part.start[objective], part.end[objective]
    kept = start.towards(end, float(head.share)).first(item.prior, item.places)
    return kept + (head.share * head.correction(item))[..., 0], start.first(item.prior, item.places)


def _gain_scores(part: HeldOut, batch: Mapping[str, Tensor], objective: int) -> tuple[Tensor, Tensor]:
    """Find the logits [B, L] of the papers' head's gains, and NaN, since it has no prior within."""
    gains = part.model.gains(part.model(batch))[..., objective]
    return torch.logit(gains, eps=1e-6), torch.full_like(gains, torch.nan)
