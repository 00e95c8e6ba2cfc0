"""Choose the share ρ of each objective's learnt correction on held-out lists.

With ρ = 0 a model is the calibrated prior, with ρ = 1 the trained model; between, logits are linear in ρ. Two steps:

1. *Likelihood.* Per objective the smallest share whose listwise likelihood on the held-out lists is within one
   standard error of the best share's.
2. *Veto.* Where the order that was shown ranks its own clicks better than every sort by the prior scores, the ranker
   that made it knew more than the scores tell. A correction then gains likelihood by guessing the logged place, which
   is worth nothing in a list that is ordered anew. On such a log the shares are lowered step by step until the served
   lists are not worse than the sort in NDCG: not in the mean, and by no more than `TOLERANCE` at the lower end of the
   difference's interval, in any mix and objective. Where the shown order knows no more than the scores (a ranker that
   sorts by them, or a random order), there is nothing to guess, while NDCG on logged lists would count every gain of
   the list as a loss: no veto.

docs/results.md has the figures behind this (log of experiments, 2026-11-28).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import AnyFloats
from models.data.batches import ListArrays, batches
from models.judging.list_orders import Orders, ndcg_of, planned_orders, shown_orders, sorted_orders
from models.nets.calibration import Offsets
from models.nets.losses import listwise_terms
from models.nets.value import COUNTED, ListValueModel
from models.planners.worth import Triple, Worth

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
TOLERANCE: Final = 0.006
"""How far below the sort's NDCG the lower end of the served lists' interval may lie."""
_MOST_LISTS: Final = 2000
"""Lists that a veto looks at: enough for an interval as narrow as the tolerance asks for, and planned in seconds."""
_ROUNDING: Final = 1e-6
"""Nats a list that may be rounding: where nothing was learnt all shares are alike but for it, and 0 is to be chosen."""
_Z: Final = 1.96
"""Standard errors from the mean to the ends of a 95% interval."""


@dataclass(frozen=True)
class HeldOut:
    """Hold a model, offsets before (`start`) and after training (`end`), and lists not seen."""

    model: ListValueModel
    start: Sequence[Offsets]
    end: Sequence[Offsets]
    lists: ListArrays

    @classmethod
    def of(cls, model: ListValueModel, start: Sequence[Offsets], lists: ListArrays) -> HeldOut:
        """Take a model straight out of training, with its whole correction (ρ = 1)."""
        end = tuple(Offsets.of(h) for h in model.hazard_heads) if model.config.head == "hazard" else ()
        return cls(model, start, end, lists)

    def set(self, shares: Sequence[float]) -> None:
        """Keep these shares of the correction, one per counted objective."""
        for head, start, end, share in zip(self.model.hazard_heads, self.start, self.end, shares, strict=True):
            start.towards(end, share).put(head)
            head.share.fill_(share)


@dataclass(frozen=True)
class Gate:
    """Hold the kept shares per counted objective, and the reasons for them.

    `by_likelihood` are the shares before any veto, `steps` the figures of the veto at each step down (plain JSON).
    """

    shares: tuple[float, ...]
    by_likelihood: tuple[float, ...]
    shown_knows_more: bool
    steps: Sequence[dict[str, Any]]


def choose_shares(held_out: Sequence[HeldOut], worths: Sequence[Worth], *, device: torch.device, seed: int = 0) -> Gate:
    """Choose the shares on all `held_out` lists pooled, and set them in every model.

    `worths`: the mixes of objectives whose served lists must not be worse than their sort. An objective that no model
    values, or with too few events, keeps nothing. Raises `ValueError` if there are no lists.
    """
    if not any(len(part.lists) for part in held_out):
        raise ValueError("there are no held-out lists to choose shares on")
    likely = tuple(map(_likeliest, _losses(held_out, device)))
    sample = _sample(held_out, seed)
    knows_more = _shown_knows_more(sample, worths)
    shares = list(likely)
    steps = _veto(sample, shares, worths, device) if knows_more else []
    for part in held_out:
        part.set(shares)
    return Gate(tuple(shares), likely, knows_more, steps)


def _veto(
    sample: Sequence[HeldOut], shares: list[float], worths: Sequence[Worth], device: torch.device
) -> list[dict[str, Any]]:
    """Lower `shares` in place until no served lists are worse; return the steps."""
    steps: list[dict[str, Any]] = []
    known: dict[tuple[float, ...], list[dict[str, Any]]] = {}
    while any(shares):
        for part in sample:
            part.set(shares)
        figures = []
        for mix, worth in enumerate(worths):
            # A mix's lists depend on its own objectives' shares alone, so most steps plan only some mixes anew.
            key = (mix, *(shares[o] for o in weighted(worth.weights)))
            if key not in known:
                known[key] = _served_less_sorted(sample, mix, worth, device)
            figures += known[key]
        steps.append({"shares": list(shares), "figures": figures})
        failing = [f for f in figures if f["mean"] < 0 or f["low"] < -TOLERANCE]
        if not failing:
            break
        worst = min(failing, key=lambda f: f["low"])
        lowered = _to_lower(shares, worths[worst["mix"]].weights)
        shares[lowered] = SHARES[SHARES.index(shares[lowered]) - 1]
    return steps


def _likeliest(losses: AnyFloats) -> float:
    """Find the smallest share within one standard error of the best, from losses [lists, shares]."""
    if len(losses) < 2:
        return 0.0  # one list has no spread
    best = losses.mean(axis=0).argmin()
    for share, column in zip(SHARES, losses.T, strict=True):
        worse = column - losses[:, best]
        if worse.mean() <= _standard_error(worse) + _ROUNDING:
            return share
    raise AssertionError("the best share is as good as itself")


def _losses(held_out: Sequence[HeldOut], device: torch.device) -> list[AnyFloats]:
    """Compute the listwise losses [lists, shares] per objective, of parts that value it."""
    found: list[list[Tensor]] = [[torch.zeros(0, len(SHARES))] for _ in COUNTED]
    for part in held_out:
        for o, rows in _terms(part, device):
            if COUNTED[o] in part.model.valued_objectives:
                found[o].append(rows)
    return [torch.cat(rows).double().numpy() for rows in found]


@torch.no_grad()
def _terms(part: HeldOut, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Compute the listwise losses [lists, shares] per objective, batch by batch.

    Lists without an event or with a single item are left out.
    """
    part.set([1.0] * len(COUNTED))
    part.model.to(device).eval()
    for batch in batches(part.lists.tensors(device)):
        lengths = batch["lengths"]
        for o, (head, item) in enumerate(part.model.hazard_inputs(batch)):
            labels, observed = batch["labels"][:, :, o, None], batch["observed"][:, o, None]
            told = observed[:, 0] & (labels[..., 0].sum(1) > 0) & (lengths > 1)
            # A share's logits lie on the straight line from the calibrated prior to the trained model.
            start, end = part.start[o].first(item.prior, item.places), head(item)[..., 0]
            logits = (torch.lerp(start, end, share)[..., None] for share in SHARES)
            columns = [listwise_terms(x, labels, lengths, observed)[:, 0] for x in logits]
            yield o, torch.stack(columns, dim=1)[told].cpu()


def _sample(held_out: Sequence[HeldOut], seed: int) -> list[HeldOut]:
    """Draw at most about `_MOST_LISTS` of the lists, evenly from all parts."""
    total = sum(len(part.lists) for part in held_out)
    if total <= _MOST_LISTS:
        return list(held_out)
    rng, share = np.random.default_rng(seed), _MOST_LISTS / total
    drawn = [np.sort(rng.permutation(len(p.lists))[: max(1, round(share * len(p.lists)))]) for p in held_out]
    return [replace(p, lists=p.lists.take(rows)) for p, rows in zip(held_out, drawn, strict=True)]


def _shown_knows_more(held_out: Sequence[HeldOut], worths: Sequence[Worth]) -> bool:
    """Tell whether the shown order's NDCG beats every sort's by over one standard error."""
    shown = [shown_orders(part.lists) for part in held_out]
    for worth in worths:
        lead = _leads(held_out, shown, [sorted_orders(part.lists, worth) for part in held_out], 0)
        if len(lead) < 2 or lead.mean() <= _standard_error(lead):
            return False
    return True


def _served_less_sorted(
    held_out: Sequence[HeldOut], mix: int, worth: Worth, device: torch.device
) -> list[dict[str, Any]]:
    """Compare a mix's served lists with its sort in NDCG, per weighted objective."""
    served = [planned_orders(part.model, part.lists, worth, device=device) for part in held_out]
    by_prior = [sorted_orders(part.lists, worth) for part in held_out]
    figures: list[dict[str, Any]] = []
    for o in weighted(worth.weights):
        lead = _leads(held_out, served, by_prior, o)
        mean = float(lead.mean()) if len(lead) else 0.0
        low = mean - _Z * _standard_error(lead)
        figures.append({"mix": mix, "objective": COUNTED[o], "lists": len(lead), "mean": mean, "low": low})
    return figures


def _leads(held_out: Sequence[HeldOut], ours: Sequence[Orders], theirs: Sequence[Orders], objective: int) -> AnyFloats:
    """Subtract NDCG of `theirs` from `ours` for all lists with an event in the objective."""
    rows = []
    for part, mine, other in zip(held_out, ours, theirs, strict=True):
        gains = part.lists.labels[..., objective]
        rows.append(ndcg_of(mine, gains) - ndcg_of(other, gains))
    leads = np.concatenate(rows)
    return leads[~np.isnan(leads)]


def weighted(weights: Triple) -> list[int]:
    """List the counted objectives that have a weight; GMV's goes to conversions."""
    return [o for o, weight in enumerate((weights[0], weights[1] + weights[2])) if weight > 0]


def _to_lower(shares: Sequence[float], weights: Triple) -> int:
    """Find the weighted objective with the largest share; the later on a tie."""
    return max((o for o in weighted(weights) if shares[o] > 0), key=lambda o: (shares[o], o))


def _standard_error(values: AnyFloats) -> float:
    return float(values.std() / np.sqrt(len(values))) if len(values) else 0.0
