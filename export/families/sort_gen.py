"""Export SORT-Gen: a value model behind objective queues."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.families.family import (
    PerObjective,
    ReferencePlanner,
    Valuing,
    Wishes,
    asked_or,
    in_double,
    list_worth,
    preferences_of,
)
from models.contract import manifest
from models.contract.features import Arrays
from models.contract.manifest import Limits, QueueSpec
from models.contract.spec import FeatureSpec
from models.nets.checkpoint import Checkpoint
from models.planners.graphs.graph import Graph
from models.planners.graphs.sort_gen import queue_graph
from models.planners.objective import default_queues
from models.planners.references.beam import plan_among_ties, plan_beam
from models.planners.references.sort_gen import Gains, ModelGains, PlanStep, Preferences, plan_queues
from models.planners.references.sort_list import ExpectedAnswer, value_list

_OBJECTIVES: Final = {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
_HEADS: Final = 2
_BEAM: Final = 4
_BEAM_LENGTH: Final = 12
"""Longer lists are built greedily unless asked otherwise: a beam's cost grows with them, the budget does not."""
_TRADE_OFF: Final = 0.8


@dataclass(frozen=True)
class SortGen:
    """Export a value model that generates lists from objective queues, greedily or by a beam."""

    checkpoint: Checkpoint
    name: manifest.Family = "sort-gen"
    any_slots: bool = False

    @property
    def spec(self) -> FeatureSpec:
        return self.checkpoint.spec

    @property
    def units(self) -> PerObjective:
        return self.checkpoint.units

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.checkpoint.provenance

    @property
    def sizes(self) -> Mapping[str, Any]:
        return dataclasses.asdict(self.checkpoint.config)

    @property
    def shares(self) -> PerObjective | None:
        return self.checkpoint.model.shares

    @property
    def valued(self) -> tuple[str, ...]:
        return self.checkpoint.model.valued_objectives

    def graph(self, limits: Limits) -> Graph:
        return queue_graph(self.checkpoint.model, limits, self.units)

    def reference(self, limits: Limits) -> ReferencePlanner:
        exact = in_double(self.checkpoint.model)

        def plan(request: Arrays) -> ExpectedAnswer:
            single = {name: array[0] for name, array in request.items()}
            filled = np.asarray(single["valid"], bool).reshape(limits.queues, limits.queue_length)
            slots = np.arange(limits.slots).reshape(filled.shape)
            queues = [row[keep].tolist() for row, keep in zip(slots, filled, strict=True)]
            embeddings = np.asarray(single["embeddings"], np.float32)
            gains, preferences = ModelGains(exact, single), preferences_of(request, self.units)
            answer = _planned(gains, queues, embeddings, preferences, limits)
            if exact.config.head != "hazard":
                return answer
            listed = [slot for slot in single["sort_slots"].tolist() if slot >= 0]
            return dataclasses.replace(answer, listed=value_list(gains, listed, embeddings, preferences))

        return plan

    def valuing(self) -> Valuing:
        exact = in_double(self.checkpoint.model)
        return lambda request, slots: list_worth(exact, request, slots, preferences_of(request, self.units))

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

    @property
    def trade_off(self) -> float:
        return _TRADE_OFF

    def objectives(self, asked: PerObjective | None) -> PerObjective:
        return asked or _OBJECTIVES


def _planned(
    gains: Gains,
    queues: Sequence[Sequence[int]],
    embeddings: NDArray[np.float32],
    preferences: Preferences,
    limits: Limits,
) -> ExpectedAnswer:
    """Plan without the sort's list, greedily or by a beam."""
    length, width, beam = limits.list_length, limits.head_width, limits.beam_width
    if beam == 1:
        return ExpectedAnswer(plan_queues(gains, queues, embeddings, preferences, length=length, head_width=width))
    asked = (gains, queues, embeddings, preferences)
    steps, cut = plan_beam(*asked, length=length, head_width=width, beam_width=beam)

    def towards(wanted: Sequence[int], margin: float) -> list[PlanStep] | None:
        return plan_among_ties(*asked, length=length, head_width=width, beam_width=beam, wanted=wanted, margin=margin)

    return ExpectedAnswer(steps, cut=cut, towards=towards)
