"""Generate lists as SORT-Gen does, in plain code: slow, obviously right.

It reads the whole list anew at every step, keeps queues as Python lists and looks at one number at a time. Tests and
`export/proof/verify.py` hold `graphs/sort_gen.py` to it; the benchmark calls it "naive sequential". Any valuation of an
appended item will do (`Gains`): a value model (`ModelGains`), or a simulator's truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from models.contract.arrays import Arrays, Floats, Floats32
from models.contract.spec import OBJECTIVES
from models.nets.value import ListValueModel
from models.planners.references.step_rules import StepRules

_PER_ITEM = ("price", "priors", "embeddings")

Gains = Callable[[Sequence[int], Sequence[int]], Floats]
"""``gains(chosen, candidates)``: what appending each candidate alone to the chosen list is worth, [n, 3], raw."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """Hold a request's α, β, γ, the objectives' units s_o, λ and the window."""

    weights: tuple[float, float, float]
    units: tuple[float, float, float] = (1.0, 1.0, 1.0)
    trade_off: float = 1.0
    window: int = 4

    def step_value(self, gains: Floats) -> Floats:
        """Compute Σ_o w_o·Δ_o/s_o / Σ_o w_o, [...] from [..., 3]."""
        weights = np.array(self.weights) / np.array(self.units) / sum(self.weights)
        value: Floats = gains @ weights
        return value


@dataclass(frozen=True, slots=True)
class PlanStep:
    """Hold one position of a plan, with the `scores` of all its proposals by slot.

    `margin` is the winner's lead over the runner-up, infinite if it had no rival. `sensitivity` is how far the score
    moves if every increment moves by 1: in rare objectives' units small errors of value are large ones of score.
    """

    slot: int
    value: Floats
    penalty: float
    score: float
    runner_up: int = -1
    margin: float = math.inf
    scores: Mapping[int, float] = field(default_factory=dict)
    sensitivity: float = 0.0


@dataclass(frozen=True, slots=True)
class Scorer:
    """Score items behind a list by their gains, less MMR's penalty (SORT-Gen, eq. 1, 6).

    `embeddings` [N, E] are unit rows, zero where there is none.
    """

    gains: Gains
    embeddings: Floats32
    preferences: Preferences

    @property
    def sensitivity(self) -> float:
        """Compute `PlanStep.sensitivity`."""
        return self.preferences.trade_off * float(self.preferences.step_value(np.ones(len(OBJECTIVES))))

    def steps(self, chosen: Sequence[int], proposals: Sequence[int], rules: StepRules | None = None) -> list[PlanStep]:
        """Make every proposal's step behind the chosen slots; its rivals are the others.

        `rules` boost the value, and have cosines for MMR; whom they bar is not asked here.
        """
        worth, penalties = self.gains(chosen, proposals), self.penalties(chosen, proposals, rules)
        boosts = np.array([1.0 if rules is None else rules.boost(slot) for slot in proposals])
        scores = boosts * self.preferences.trade_off * self.preferences.step_value(worth) - penalties
        by_slot = dict(zip(proposals, scores.tolist(), strict=True))
        steps = []
        for i, slot in enumerate(proposals):
            rest = (*rival(by_slot, slot), by_slot, float(boosts[i]) * self.sensitivity)
            steps.append(PlanStep(slot, worth[i], float(penalties[i]), by_slot[slot], *rest))
        return steps

    def penalties(self, chosen: Sequence[int], proposals: Sequence[int], rules: StepRules | None = None) -> Floats:
        """Compute (1 − λ) · max cosine to the last `window` chosen, for each proposal.

        `rules` tell the cosines to shown items, which count as those to chosen ones.
        """
        nearest = {slot: self.nearest_cosine(chosen, slot) for slot in proposals}
        if rules is not None:
            nearest = {slot: larger(own, rules.seen_cosine(len(chosen), slot)) for slot, own in nearest.items()}
        known = {slot: cosine for slot, cosine in nearest.items() if cosine is not None}
        # Charging a candidate without an embedding nothing would let it win every time.
        typical = sum(known.values()) / len(known) if known else 0.0
        return (1 - self.preferences.trade_off) * np.array([known.get(slot, typical) for slot in proposals])

    def nearest_cosine(self, chosen: Sequence[int], slot: int) -> float | None:
        """Find a slot's largest cosine to the last `window` chosen; None without embeddings."""
        window, rows = self.preferences.window, self.embeddings
        own, recent = rows[slot].astype(np.float64), chosen[-window:] if window else []
        cosines = [float(own @ rows[other].astype(np.float64)) for other in recent if rows[other].any()]
        return max(cosines) if cosines and own.any() else None


def plan_queues(
    scorer: Scorer,
    queues: Sequence[Sequence[int]],
    *,
    length: int,
    head_width: int = 1,
    rules: StepRules | None = None,
) -> list[PlanStep]:
    """Generate greedily over objective queues (SORT-Gen §3.2.2) with MMR in the selection (eq. 6).

    `queues` hold slots, best first and in priority order. Returns at most `length` steps: fewer if the queues run out,
    or if `rules` bar all that is left.
    """
    steps: list[PlanStep] = []
    while len(steps) < length:
        chosen = [step.slot for step in steps]
        proposals = queue_heads(queues, chosen, head_width, rules)
        if not proposals:
            break
        # `max` keeps the first of equals: the queue of higher priority, then the better rank.
        steps.append(max(scorer.steps(chosen, proposals, rules), key=lambda step: step.score))
    return steps


def queue_heads(
    queues: Sequence[Sequence[int]], chosen: Sequence[int], head_width: int, rules: StepRules | None
) -> list[int]:
    """List what the queues propose behind the chosen slots: their first ones that may stand there."""
    proposals: list[int] = []
    for queue in queues:
        left = [slot for slot in queue if slot not in chosen]
        allowed = [slot for slot in left if rules is None or not rules.bars(chosen, slot)]
        proposals += allowed[:head_width]
    return proposals


def larger(a: float | None, b: float | None) -> float | None:
    """Return the larger of two cosines, of which either may be missing."""
    return max((cosine for cosine in (a, b) if cosine is not None), default=None)


def rival(scores: Mapping[int, float], own: int) -> tuple[int, float]:
    """Find the best slot beside `own`, first of equals, and own's lead; (−1, ∞) if none."""
    others = [slot for slot in scores if slot != own]
    if not others:
        return -1, math.inf
    best = max(others, key=scores.__getitem__)
    return best, scores[own] - scores[best]


def to_tensors(arrays: Arrays, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copy arrays to tensors, floats in the precision of the model's weights."""
    dtype = next(model.parameters()).dtype
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


class ModelGains:
    """Compute a request's `Gains` under a value model, a full forward pass per step."""

    def __init__(self, model: ListValueModel, arrays: Arrays) -> None:
        """Take a request as `Encoder` encodes it: slots [N, …], the user's arrays [C] and [F]."""
        self._model = model
        self._tensors = to_tensors(arrays, model)

    def __call__(self, chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        """Compute increments [n, 3] of appending each of n candidates (slots) to the list."""
        lists = torch.tensor([[*chosen, candidate] for candidate in candidates])
        with torch.inference_mode():
            worth: Floats = self._model.increments(self._batch(lists))[:, -1].double().numpy()
        return worth

    def _batch(self, lists: torch.Tensor) -> dict[str, torch.Tensor]:
        items = {n: t[lists] for n, t in self._tensors.items() if n.startswith("item_") or n in _PER_ITEM}
        users = {n: t.expand(len(lists), -1) for n, t in self._tensors.items() if n.startswith("user_")}
        return items | users
