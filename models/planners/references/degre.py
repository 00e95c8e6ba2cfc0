"""Decode greedily as DeGRe does, in plain code: slow, obviously right.

The list so far is read anew at every step, by the generator and by the evaluator, and MMR looks at one number at a time
(`sort_gen.Scorer`). Tests and `export/proof/verify.py` hold `graphs/degre.py` to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from models.contract.arrays import Arrays, Floats
from models.nets.generator import PointerGenerator
from models.planners.references.sort_gen import PlanStep, Scorer, rival, to_tensors

Pointer = Callable[[Sequence[int], Sequence[int]], Floats]
"""``pointer(chosen, left)``: the probability of each candidate that is left to come next, [n]."""


def plan_pointer(pointer: Pointer, scorer: Scorer, slots: Sequence[int], *, length: int) -> list[PlanStep]:
    """Decode greedily (DeGRe §4.3) with MMR inside the selection (SORT-Gen, eq. 6): λ·P − penalty.

    `slots` are the candidates. The scorer's gains value what was chosen and have no say in the choice. Returns at most
    `length` steps: fewer if the candidates run out.
    """
    left = sorted(slots)
    steps: list[PlanStep] = []
    while left and len(steps) < length:
        chosen = [step.slot for step in steps]
        penalties = scorer.penalties(chosen, left)
        scores = scorer.preferences.trade_off * pointer(chosen, left) - penalties
        by_slot = dict(zip(left, scores.tolist(), strict=True))
        slot = max(left, key=by_slot.__getitem__)  # the lowest slot on ties
        value, penalty = scorer.gains(chosen, [slot])[0], float(penalties[left.index(slot)])
        steps.append(PlanStep(slot, value, penalty, by_slot[slot], *rival(by_slot, slot), by_slot))
        left.remove(slot)
    return steps


class ModelPointer:
    """Point for one request under a generator, decoding the list so far anew each time."""

    def __init__(self, generator: PointerGenerator, request: Arrays) -> None:
        """Take a batch of one from `models.contract.features`, with its ``objective_weights``."""
        self._generator = generator
        self._batch = to_tensors(request, generator)
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
