"""Generate lists as SORT-Gen does, in plain code: slow, obviously right.

It reads the whole list anew at every step, keeps queues as Python lists and looks at one number at a time. Tests and
`export/proof/verify.py` hold `graphs/sort_gen.py` to it; the benchmark calls it "naive sequential". Any valuation of an
appended item will do (`Gains`): a value model (`ModelGains`), or a simulator's truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.contract.arrays import Floats, Floats32
from models.contract.features import Arrays
from models.contract.spec import OBJECTIVES
from models.nets.value import ListValueModel

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
    runner_up: int
    margin: float
    scores: Mapping[int, float]
    sensitivity: float


def plan_queues(
    gains: Gains,
    queues: Sequence[Sequence[int]],
    embeddings: Floats32,
    preferences: Preferences,
    *,
    length: int,
    head_width: int = 1,
) -> list[PlanStep]:
    """Generate greedily over objective queues (SORT-Gen §3.2.2) with MMR in the selection (eq. 6).

    `queues` hold slots, best first and in priority order; `embeddings` [N, E] are unit rows, zero where there is none.
    Returns at most `length` steps: fewer if the queues run out.
    """
    waiting = [list(queue) for queue in queues]
    chosen: list[int] = []
    steps: list[PlanStep] = []
    while len(steps) < length:
        proposals = [slot for queue in waiting for slot in queue[:head_width]]
        if not proposals:
            break
        worth = gains(chosen, proposals)
        penalties = mmr_penalties(proposals, chosen, embeddings, preferences)
        scores = preferences.trade_off * preferences.step_value(worth) - penalties
        best, runner_up, margin = best_two(proposals, scores)
        steps.append(
            PlanStep(
                slot=proposals[best],
                value=worth[best],
                penalty=float(penalties[best]),
                score=float(scores[best]),
                runner_up=runner_up,
                margin=margin,
                scores=dict(zip(proposals, scores.tolist(), strict=True)),
                sensitivity=preferences.trade_off * float(preferences.step_value(np.ones(len(OBJECTIVES)))),
            )
        )
        chosen.append(proposals[best])
        for queue in waiting:
            if proposals[best] in queue:
                queue.remove(proposals[best])
    return steps


def best_two(proposals: Sequence[int], scores: Floats) -> tuple[int, int, float]:
    """Find the place of the best score, the second's slot (−1: none), and the lead.

    Ties go to the earlier place. Without a second the lead is infinite.
    """
    ranking = sorted(range(len(proposals)), key=lambda i: -scores[i])  # stable
    if len(ranking) == 1:
        return ranking[0], -1, float("inf")
    best, second = ranking[:2]
    return best, proposals[second], float(scores[best] - scores[second])


def mmr_penalties(
    proposals: Sequence[int], chosen: Sequence[int], embeddings: Floats32, preferences: Preferences
) -> Floats:
    """Compute (1 − λ) · max cosine to the last `window` chosen, for each proposal."""
    nearest = {slot: nearest_cosine(slot, chosen, embeddings, preferences.window) for slot in proposals}
    known = {slot: cosine for slot, cosine in nearest.items() if cosine is not None}
    # Charging a candidate without an embedding nothing would let it win every time.
    typical = sum(known.values()) / len(known) if known else 0.0
    return (1 - preferences.trade_off) * np.array([known.get(slot, typical) for slot in proposals])


def nearest_cosine(slot: int, chosen: Sequence[int], embeddings: Floats32, window: int) -> float | None:
    """Find the largest cosine of a slot with the last `window` chosen.

    None if it, or all of them, have no embedding.
    """
    recent = chosen[-window:] if window else []
    own = embeddings[slot].astype(np.float64)
    cosines = [float(own @ embeddings[other].astype(np.float64)) for other in recent if embeddings[other].any()]
    return max(cosines) if cosines and own.any() else None


class ModelGains:
    """Compute a request's `Gains` under a value model, a full forward pass per step."""

    def __init__(self, model: ListValueModel, arrays: Arrays) -> None:
        """Take a request as `Encoder` encodes it, without a batch axis.

        Slots are [N, …], the user's arrays [C] and [F].
        """
        self._model = model
        dtype = model.norm.weight.dtype
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        self._tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}

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


def list_value(steps: Sequence[PlanStep]) -> Floats:
    """Sum a plan's values, (click, conversion, GMV) [3] (SORT-Gen, eq. 2)."""
    return sum((step.value for step in steps), np.zeros(len(OBJECTIVES)))
