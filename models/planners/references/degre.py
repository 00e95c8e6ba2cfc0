"""Decode greedily as DeGRe does, in plain code: slow, obviously right.

The list so far is read anew at every step, by the generator and by the evaluator, and MMR looks at one number at a time
(`sort_gen.mmr_penalties`). Tests and `export/proof/verify.py` hold `graphs/degre.py` to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from models.contract.arrays import Floats, Floats32
from models.contract.features import Arrays
from models.nets.generator import PointerGenerator
from models.planners.references.sort_gen import Gains, PlanStep, Preferences, best_two, mmr_penalties

Pointer = Callable[[Sequence[int], Sequence[int]], Floats]
"""``pointer(chosen, left)``: the probability of each candidate that is left to come next, [n]."""


def plan_pointer(
    pointer: Pointer,
    gains: Gains,
    slots: Sequence[int],
    embeddings: Floats32,
    preferences: Preferences,
    *,
    length: int,
) -> list[PlanStep]:
    """Decode greedily (DeGRe §4.3) with MMR inside the selection (SORT-Gen, eq. 6): λ·P − penalty.

    `slots` are the candidates; `embeddings` [N, E] are unit rows, zero where there is none. `gains` values what was
    chosen and has no say in the choice. Returns at most `length` steps: fewer if the candidates run out.
    """
    left = sorted(slots)
    chosen: list[int] = []
    steps: list[PlanStep] = []
    while left and len(steps) < length:
        penalties = mmr_penalties(left, chosen, embeddings, preferences)
        scores = preferences.trade_off * pointer(chosen, left) - penalties
        best, runner_up, margin = best_two(left, scores)
        slot = left[best]
        steps.append(
            PlanStep(
                slot=slot,
                value=gains(chosen, [slot])[0],
                penalty=float(penalties[best]),
                score=float(scores[best]),
                runner_up=runner_up,
                margin=margin,
                scores=dict(zip(left, scores.tolist(), strict=True)),
                sensitivity=0.0,
            )
        )
        chosen.append(slot)
        left.remove(slot)
    return steps


class ModelPointer:
    """Point for one request under a generator, decoding the list so far anew each time."""

    def __init__(self, generator: PointerGenerator, request: Arrays) -> None:
        """Take a batch of one from `models.contract.features`, with its ``objective_weights``."""
        self._generator = generator
        dtype = generator.norm.weight.dtype
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in request.items()}
        self._batch = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}
        with torch.inference_mode():
            self._rows = generator.encoder(self._batch)

    def __call__(self, chosen: Sequence[int], left: Sequence[int]) -> Floats:
        """Compute probabilities [n] of the n candidates (slots) in `left`."""
        generator = self._generator
        with torch.inference_mode():
            start = generator.start_token(self._batch)[:, None]
            hidden = generator.decode(torch.cat([start, self._rows[:, list(chosen)]], dim=1))
            logits = generator.point(hidden[:, -1:], self._rows[:, list(left)])[0, 0]
            probabilities: Floats = torch.softmax(logits.double(), dim=0).numpy()
        return probabilities
