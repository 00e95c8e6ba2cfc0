"""Export DeGRe: a generator that points at candidates, and its evaluator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from export.families.family import ModelFamily, PerObjective, ReferencePlanner, Valuing, Wishes, asked_or, in_double
from models.contract.arrays import Arrays
from models.contract.manifest import Limits, QueueSpec, same_mix
from models.contract.spec import OBJECTIVES
from models.nets.checkpoint import GeneratorCheckpoint
from models.planners.graphs.degre import pointer_graph
from models.planners.graphs.graph import Graph
from models.planners.objective import objective_formula
from models.planners.references.degre import ModelPointer, plan_pointer
from models.planners.references.sort_list import ExpectedAnswer
from models.planners.references.step_rules import StepRules

_CANDIDATES: Final = 200
_QUEUES: Final = 4


@dataclass(frozen=True)
class Degre(ModelFamily):
    """Export a generator that decodes greedily, with its evaluator; its queues only choose its candidates."""

    checkpoint: GeneratorCheckpoint
    name = "degre"
    any_slots = True
    trade_off = 1.0  # plain greedy, as in the paper: beside a probability, cosines would decide most choices

    @property
    def sizes(self) -> Mapping[str, Any]:
        return {
            "generator": dataclasses.asdict(self.checkpoint.config),
            "evaluator": dataclasses.asdict(self.checkpoint.evaluator.config),
        }

    @property
    def shares(self) -> None:
        return None  # What a generator has learnt is all its own: nothing of it is the sort's.

    @property
    def valued(self) -> tuple[str, ...]:
        return self.checkpoint.evaluator.valued_objectives

    def graph(self, limits: Limits, *, groups: int = 0) -> Graph:
        return pointer_graph(self.checkpoint.generator, self.checkpoint.evaluator, limits, groups=groups)

    def reference(self, limits: Limits) -> ReferencePlanner:
        generator, evaluator = in_double(self.checkpoint.generator), in_double(self.checkpoint.evaluator)

        def plan(request: Arrays) -> ExpectedAnswer:
            pointer, scorer = ModelPointer(generator, request), self.scorer(evaluator, request)
            slots = np.flatnonzero(request["valid"][0]).tolist()
            rules = StepRules.of(request)
            return ExpectedAnswer(plan_pointer(pointer, scorer, slots, length=limits.list_length, rules=rules))

        return plan

    def valuing(self) -> Valuing:
        evaluator = in_double(self.checkpoint.evaluator)
        learnt = np.array([[self.checkpoint.objectives[name] for name in OBJECTIVES]])
        fixed = {} if self.checkpoint.config.conditioned else {"objective_weights": learnt}
        return lambda request, slots: self.worth(evaluator, {**request, **fixed}, slots)

    def limits(self, wishes: Wishes) -> Limits:
        if wishes.beam_width is not None:
            raise ValueError("--beam-width: a generator decodes greedily; only SORT-Gen builds several lists at once")
        candidates = asked_or(wishes.candidates, _CANDIDATES)
        if candidates < 1:
            raise ValueError(f"--candidates: must be at least 1, not {candidates}")
        queues = asked_or(wishes.most_queues, max(wishes.queues, _QUEUES))  # they cost nothing
        return Limits(
            list_length=asked_or(wishes.list_length, self.checkpoint.config.list_length),
            queues=queues,
            head_width=asked_or(wishes.head_width, 1),
            queue_length=math.ceil(candidates / queues),
        )

    def default_queues(self) -> tuple[QueueSpec, ...]:
        return (QueueSpec("formula", objective_formula(self.spec, self.units)),)

    def objectives(self, asked: PerObjective | None) -> PerObjective:
        learnt = self.checkpoint.objectives
        if asked is not None and not self.checkpoint.config.conditioned and not same_mix(asked, learnt):
            mix = ",".join(f"{learnt[name]:g}" for name in OBJECTIVES)
            raise ValueError(f"--objectives: the generator was distilled for {mix} and knows no other mix")
        return asked or learnt
