"""Keep the better of plan and sort, in plain code: slow, obviously right.

Tests and `export/proof/verify.py` hold the graph (`graphs/sort_list.py`) to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.contract.arrays import Floats
from models.planners.references.sort_gen import PlanStep, Scorer, larger
from models.planners.references.step_rules import StepRules


@dataclass(frozen=True, slots=True)
class ExpectedAnswer:
    """Hold the answer that a graph must give: a `plan`, or the sort's better list.

    `listed` is the sort's, None where there is none to compare with. `cut` and `towards` are for beams: the least lead
    that a list which was kept had over one that was not, infinite where nothing was cut; and the plan if it can be a
    given list where leads below a margin are ignored (see `beam.plan_among_ties`).
    """

    plan: list[PlanStep]
    listed: list[PlanStep] | None = None
    cut: float = math.inf
    towards: Callable[[Sequence[int], float], list[PlanStep] | None] | None = None

    @property
    def lead(self) -> float:
        """Compute the lead of the sort's list over the plan; infinite if one is longer than the other."""
        if self.listed is None or len(self.listed) < len(self.plan):
            return -math.inf
        if len(self.listed) > len(self.plan):
            return math.inf
        return total(self.listed) - total(self.plan)

    @property
    def kept_sort(self) -> bool:
        """Tell whether the sort's list is the answer: it differs, and is worth more."""
        return self.lead > 0 and not self.same

    @property
    def same(self) -> bool:
        """Tell whether plan and sort are the same list."""
        return self.listed is not None and [s.slot for s in self.listed] == [s.slot for s in self.plan]

    @property
    def steps(self) -> list[PlanStep]:
        """Give the list that is the answer."""
        return self.listed if self.kept_sort and self.listed is not None else self.plan

    def margins(self, length: int) -> Floats:
        """Compute each place's margin [`length`], infinite where nothing else was possible.

        Another plan might have been worth more than the sort, so where that is kept, every choice counts everywhere.
        """
        margins = np.full(length, math.inf)
        nearest = min(self.cut, math.inf if self.same else abs(self.lead))
        if self.kept_sort:
            margins[: len(self.steps)] = min([nearest, *(step.margin for step in self.plan)])
        else:
            margins[: len(self.plan)] = [min(nearest, step.margin) for step in self.plan]
        return margins


def total(steps: Sequence[PlanStep]) -> float:
    return sum(step.score for step in steps)


def value_list(scorer: Scorer, slots: Sequence[int], rules: StepRules | None = None) -> list[PlanStep]:
    """Value a given list as a plan's steps; nothing was proposed beside its items.

    The penalty is MMR's, to the list's own earlier items. An item that has no cosine with any of them is charged the
    mean of the list's items that have (0 if none has), and the first item nothing. `rules` boost the value, and have
    cosines to shown items, which stand before the list; whom they bar is not asked here.
    """
    trade_off = scorer.preferences.trade_off
    nearest = [scorer.nearest_cosine(slots[:t], slot) for t, slot in enumerate(slots)]
    if rules is not None:
        nearest = [larger(nearest[t], rules.seen_cosine(t, slot)) for t, slot in enumerate(slots)]
    known = [cosine for cosine in nearest if cosine is not None]
    typical = sum(known) / len(known) if known else 0.0
    steps = []
    for t, (slot, cosine) in enumerate(zip(slots, nearest, strict=True)):
        worth = scorer.gains(slots[:t], [slot])[0]
        charged = 0.0 if t == 0 else typical
        penalty = (1 - trade_off) * (charged if cosine is None else cosine)
        boost = 1.0 if rules is None else rules.boost(slot)
        score = boost * trade_off * float(scorer.preferences.step_value(worth)) - penalty
        steps.append(PlanStep(slot, worth, penalty, score, sensitivity=boost * scorer.sensitivity))
    return steps
