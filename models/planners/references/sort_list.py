"""Never worse than the sort, in plain code: the sort's list valued as a plan is, and the better of the two.

Tests and `export/proof/verify.py` hold the graph (`graphs/sort_list.py`) to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract.spec import OBJECTIVES
from models.planners.references.sort_gen import Gains, Preferences, Step, nearest_cosine


@dataclass(frozen=True, slots=True)
class Answer:
    """What a graph must answer: a `plan`, or the list of a plain sort where that is worth more.

    `listed` is the sort's, None where there is none to compare with. `cut` and `towards` are for beams: the least lead
    that a list which was kept had over one that was not, infinite where nothing was cut; and the plan if it can be a
    given list where leads below a margin are ignored (see `plan_beam.plan_among_ties`).
    """

    plan: list[Step]
    listed: list[Step] | None = None
    cut: float = math.inf
    towards: Callable[[Sequence[int], float], list[Step] | None] | None = None

    @property
    def lead(self) -> float:
        """By how much the sort's list is worth more than the plan; −∞ if there is none, or none as long."""
        if self.listed is None or len(self.listed) < len(self.plan):
            return -math.inf
        return total(self.listed) - total(self.plan)

    @property
    def kept_sort(self) -> bool:
        """Whether the sort's list is the answer: it is another one, and worth more."""
        return self.lead > 0 and not self.same

    @property
    def same(self) -> bool:
        """Whether plan and sort are the same list."""
        return self.listed is not None and [s.slot for s in self.listed] == [s.slot for s in self.plan]

    @property
    def steps(self) -> list[Step]:
        """The list that is the answer."""
        return self.listed if self.kept_sort and self.listed is not None else self.plan

    def margins(self, length: int) -> NDArray[np.float64]:
        """How nearly each place of the answer was another, [`length`]; infinite where nothing else was possible.

        Another plan might have been worth more than the sort, so where that is kept, every choice counts everywhere.
        """
        margins = np.full(length, math.inf)
        nearest = min(self.cut, math.inf if self.same else abs(self.lead))
        if self.kept_sort:
            margins[: len(self.steps)] = min(nearest, *(step.margin for step in self.plan))
        else:
            margins[: len(self.plan)] = [min(nearest, step.margin) for step in self.plan]
        return margins


def total(steps: Sequence[Step]) -> float:
    """What a list is worth in all: the sum of its scores."""
    return sum(step.score for step in steps)


def value_list(
    gains: Gains, slots: Sequence[int], embeddings: NDArray[np.float32], preferences: Preferences
) -> list[Step]:
    """A list that is there already as a plan's steps: nothing was proposed beside its items.

    The penalty is MMR's, to the list's own earlier items. An item that has no cosine with any of them is charged the
    mean of the list's items that have (0 if none has), and the first item nothing.
    """
    nearest = [nearest_cosine(slot, slots[:t], embeddings, preferences.window) for t, slot in enumerate(slots)]
    known = [cosine for cosine in nearest if cosine is not None]
    typical = sum(known) / len(known) if known else 0.0
    steps = []
    for t, slot in enumerate(slots):
        worth = gains(slots[:t], [slot])[0]
        cosine = nearest[t]
        penalty = 0.0 if t == 0 else (1 - preferences.trade_off) * (typical if cosine is None else cosine)
        score = preferences.trade_off * float(preferences.step_value(worth)) - penalty
        steps.append(
            Step(
                slot=slot,
                value=worth,
                penalty=penalty,
                score=score,
                runner_up=-1,
                margin=math.inf,
                scores={slot: score},
                sensitivity=preferences.trade_off * float(preferences.step_value(np.ones(len(OBJECTIVES)))),
            )
        )
    return steps
