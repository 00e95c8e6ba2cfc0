"""Export SORT-Gen: a value model behind objective queues."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from export.families.family import ModelFamily, PerObjective, ReferencePlanner, Valuing, Wishes, asked_or, in_double
from models.contract.arrays import Arrays
from models.contract.manifest import Limits, QueueSpec
from models.nets.checkpoint import Checkpoint
from models.planners.graphs.graph import Graph
from models.planners.graphs.sort_gen import queue_graph
from models.planners.objective import default_queues
from models.planners.references.beam import plan_among_ties, plan_beam
from models.planners.references.sort_gen import PlanStep, Scorer, plan_queues
from models.planners.references.sort_list import ExpectedAnswer, value_list
from models.planners.references.step_rules import StepRules

_OBJECTIVES: Final = {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
_HEADS: Final = 2
_BEAM: Final = 4
_BEAM_LENGTH: Final = 12
"""Longer lists are built greedily unless asked otherwise: a beam's cost grows with them, the budget does not."""


@dataclass(frozen=True)
class SortGen(ModelFamily):
    """Export a value model that generates lists from objective queues, greedily or by a beam."""

    checkpoint: Checkpoint
    name = "sort-gen"
    any_slots = False
    trade_off = 0.8

    @property
    def sizes(self) -> Mapping[str, Any]:
        return dataclasses.asdict(self.checkpoint.config)

    @property
    def shares(self) -> PerObjective | None:
        return self.checkpoint.model.shares

    @property
    def valued(self) -> tuple[str, ...]:
        return self.checkpoint.model.valued_objectives

    def graph(self, limits: Limits, *, groups: int = 0) -> Graph:
        return queue_graph(self.checkpoint.model, limits, self.units, groups=groups)

    def reference(self, limits: Limits) -> ReferencePlanner:
        exact = in_double(self.checkpoint.model)

        def plan(request: Arrays) -> ExpectedAnswer:
            filled = np.asarray(request["valid"][0], bool).reshape(limits.queues, limits.queue_length)
            slots = np.arange(limits.slots).reshape(filled.shape)
            queues = [row[keep].tolist() for row, keep in zip(slots, filled, strict=True)]
            scorer = self.scorer(exact, request)
            rules = StepRules.of(request)
            answer = _planned(scorer, queues, limits, rules)
            if exact.config.head != "hazard":
                return answer
            listed = [slot for slot in request["sort_slots"][0].tolist() if slot >= 0]
            return dataclasses.replace(answer, listed=value_list(scorer, listed, rules))

        return plan

    def valuing(self) -> Valuing:
        exact = in_double(self.checkpoint.model)
        return lambda request, slots: self.worth(exact, request, slots)

    def limits(self, wishes: Wishes) -> Limits:
        if wishes.candidates is not None:
            raise ValueError("--candidates: the queues of a value model say how many are looked at")
        length = asked_or(wishes.list_length, self.checkpoint.config.list_length)
        return Limits(
            list_length=length,
            queues=asked_or(wishes.most_queues, wishes.queues),
            head_width=asked_or(wishes.head_width, _HEADS),
            beam_width=asked_or(wishes.beam_width, _BEAM if length <= _BEAM_LENGTH else 1),
        )

    def default_queues(self) -> tuple[QueueSpec, ...]:
        return default_queues(self.spec, self.units)

    def objectives(self, asked: PerObjective | None) -> PerObjective:
        return asked or _OBJECTIVES


def _planned(
    scorer: Scorer, queues: Sequence[Sequence[int]], limits: Limits, rules: StepRules | None
) -> ExpectedAnswer:
    """Plan without the sort's list, greedily or by a beam."""
    sizes = {"length": limits.list_length, "head_width": limits.head_width}
    if limits.beam_width == 1:
        return ExpectedAnswer(plan_queues(scorer, queues, **sizes, rules=rules))
    sizes["beam_width"] = limits.beam_width
    steps, cut = plan_beam(scorer, queues, **sizes, rules=rules)

    def towards(wanted: Sequence[int], margin: float) -> list[PlanStep] | None:
        return plan_among_ties(scorer, queues, **sizes, wanted=wanted, margin=margin, rules=rules)

    return ExpectedAnswer(steps, cut=cut, towards=towards)
