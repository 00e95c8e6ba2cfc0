"""Decode greedily as DeGRe does, in plain code: slow, obviously right.

The list so far is read anew at every step, by the generator and by the evaluator, and MMR looks at one number at a time
(`sort_gen.Scorer`). Tests and `export/proof/verify.py` hold `graphs/degre.py` to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from models.contract.arrays import Arrays, Floats
from models.nets.generator import PointerGenerator
from models.planners.references.sort_gen import PlanStep, Scorer, rival, to_tensors
from models.planners.references.step_rules import StepRules

Pointer = Callable[[Sequence[int], Sequence[int]], Floats]
"""``pointer(chosen, left)``: the probability of each candidate that is left to come next, [n]."""


def plan_pointer(
    pointer: Pointer, scorer: Scorer, slots: Sequence[int], *, length: int, rules: StepRules | None = None
) -> list[PlanStep]:
    """Decode greedily (DeGRe §4.3) with MMR inside the selection (SORT-Gen, eq. 6): λ·P·boost − penalty.

    `slots` are the candidates. A candidate that `rules` bar at a step stands out of it: P is among those that are left
    and may stand there, and so is the mean that MMR charges those without a cosine. The scorer's gains value what was
    chosen and have no say in the choice. Returns at most `length` steps: fewer if no candidate is left, or none may
    stand there.
    """
    steps: list[PlanStep] = []
    while len(steps) < length:
        chosen = [step.slot for step in steps]
        left = [slot for slot in sorted(slots) if slot not in chosen]
        open_slots = [slot for slot in left if rules is None or not rules.bars(chosen, slot)]
        if not open_slots:
            break
        boosts = np.array([1.0 if rules is None else rules.boost(slot) for slot in open_slots])
        penalties = scorer.penalties(chosen, open_slots, rules)
        scores = scorer.preferences.trade_off * boosts * pointer(chosen, open_slots) - penalties
        by_slot = dict(zip(open_slots, scores.tolist(), strict=True))
        slot = max(open_slots, key=by_slot.__getitem__)  # the lowest slot on ties
        value, penalty = scorer.gains(chosen, [slot])[0], float(penalties[open_slots.index(slot)])
        steps.append(PlanStep(slot, value, penalty, by_slot[slot], *rival(by_slot, slot), by_slot))
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
