"""Tell export what it must know of a family of models: its graph, its plain reference, its requests, and its defaults.

The families are SORT-Gen (a value model behind objective queues) and DeGRe (a generator that points at candidates, and
the evaluator that it was distilled from). Everything else in `export` works with any of them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.proof.requests import random_requests
from models.contract import manifest
from models.contract.features import Arrays
from models.contract.manifest import Limits, QueueSpec, same_mix
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.nets.checkpoint import (
    GENERATOR_KIND,
    Checkpoint,
    GeneratorCheckpoint,
    checkpoint_kind,
    load_checkpoint,
    load_generator_checkpoint,
)
from models.nets.value import ListValueModel
from models.planners.graphs.degre import pointer_graph
from models.planners.graphs.graph import Graph
from models.planners.graphs.sort_gen import queue_graph
from models.planners.objective import default_queues, objective_formula
from models.planners.references.beam import plan_among_ties, plan_beam
from models.planners.references.degre import ModelPointer, plan_pointer
from models.planners.references.sort_gen import Gains, ModelGains, PlanStep, Preferences, plan_queues
from models.planners.references.sort_list import Answer, value_list

Plan = Callable[[Arrays], Answer]
"""An encoded request (a batch of one, with preferences) to its list."""

Weights = Mapping[str, float]


class ListWorth(NamedTuple):
    """Hold the worth of a list under the exact model: increments [T, 3] of its items, raw, and their weighted sum."""

    increments: NDArray[np.float64]
    value: float


Valuing = Callable[[Arrays, Sequence[int]], ListWorth]
"""An encoded request (as for `Plan`) and the slots of a list, in order, to what that list is worth."""

_SORT_GEN_OBJECTIVES: Final = {"click": 5.0, "conversion": 1.0, "gmv": 1.0}
_SORT_GEN_HEADS: Final = 2
_SORT_GEN_BEAM: Final = 4
_SORT_GEN_BEAM_LENGTH: Final = 12
"""Longer lists are built greedily unless asked otherwise: a beam's cost grows with them, the budget does not."""
_SORT_GEN_TRADE_OFF: Final = 0.8
_DEGRE_CANDIDATES: Final = 200
_DEGRE_QUEUES: Final = 4

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Wishes:
    """Sizes that a caller asks for; None leaves them to the family. `queues` are the bundle's own."""

    queues: int
    most_queues: int | None = None
    list_length: int | None = None
    head_width: int | None = None
    beam_width: int | None = None
    candidates: int | None = None


class Family(Protocol):
    """A trained model of some family."""

    @property
    def name(self) -> manifest.Family: ...
    @property
    def spec(self) -> FeatureSpec: ...
    @property
    def units(self) -> Weights: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...
    @property
    def sizes(self) -> Mapping[str, Any]:
        """The model's configuration, for the bundle's provenance."""
        ...

    @property
    def shares(self) -> Weights | None:
        """Tell the share of the learnt correction that is kept, per counted objective; None: none is said."""
        ...

    @property
    def valued(self) -> tuple[str, ...]:
        """The objectives that the model has learnt to value."""
        ...

    def graph(self, limits: Limits) -> Graph:
        """The generation graph. Raises `ValueError` if the limits do not fit the model."""
        ...

    def reference(self, limits: Limits) -> Plan:
        """Compute what the graph must, in float64, so that margins are the model's and not the arithmetic's."""
        ...

    def valuing(self) -> Valuing:
        """Value any list, MMR aside: in float64, and under the objectives that the request may ask for."""
        ...

    def requests(self, limits: Limits, count: int, seed: int) -> Iterator[Arrays]:
        """Random and edge requests, each a batch of one."""
        ...

    def limits(self, wishes: Wishes) -> Limits:
        """The bundle's limits. Raises `ValueError` naming the option that the family does not have."""
        ...

    def default_queues(self) -> tuple[QueueSpec, ...]:
        """Queues for a bundle that is given none."""
        ...

    @property
    def trade_off(self) -> float:
        """λ of MMR for a bundle that is given none."""
        ...

    def objectives(self, asked: Weights | None) -> Weights:
        """The bundle's α, β, γ. Raises `ValueError` if the model knows another mix only."""
        ...


def load_family(path: Path) -> Family:
    """The model in a checkpoint of either kind. Raises `CheckpointError`."""
    if checkpoint_kind(path) == GENERATOR_KIND:
        return Degre(load_generator_checkpoint(path))
    return SortGen(load_checkpoint(path))


@dataclass(frozen=True)
class SortGen:
    """A value model, and greedy generation over objective queues."""

    checkpoint: Checkpoint
    name: manifest.Family = "sort-gen"

    @property
    def spec(self) -> FeatureSpec:
        return self.checkpoint.spec

    @property
    def units(self) -> Weights:
        return self.checkpoint.units

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.checkpoint.provenance

    @property
    def sizes(self) -> Mapping[str, Any]:
        return dataclasses.asdict(self.checkpoint.config)

    @property
    def shares(self) -> Weights | None:
        return self.checkpoint.model.shares

    @property
    def valued(self) -> tuple[str, ...]:
        return self.checkpoint.model.valued_objectives

    def graph(self, limits: Limits) -> Graph:
        return queue_graph(self.checkpoint.model, limits, self.units)

    def reference(self, limits: Limits) -> Plan:
        exact = in_double(self.checkpoint.model)

        def plan(request: Arrays) -> Answer:
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
        return lambda request, slots: _worth(exact, request, slots, preferences_of(request, self.units))

    def requests(self, limits: Limits, count: int, seed: int) -> Iterator[Arrays]:
        return random_requests(self.spec, limits, count, seed)

    def limits(self, wishes: Wishes) -> Limits:
        if wishes.candidates is not None:
            raise ValueError("--candidates: the queues of a value model say how many are looked at")
        length = _or(wishes.list_length, self.checkpoint.config.list_length)
        return Limits(
            list_length=length,
            queues=_or(wishes.most_queues, wishes.queues),
            head_width=_or(wishes.head_width, _SORT_GEN_HEADS),
            beam_width=_or(wishes.beam_width, _SORT_GEN_BEAM if length <= _SORT_GEN_BEAM_LENGTH else 1),
        )

    def default_queues(self) -> tuple[QueueSpec, ...]:
        return default_queues(self.spec, self.units)

    @property
    def trade_off(self) -> float:
        return _SORT_GEN_TRADE_OFF

    def objectives(self, asked: Weights | None) -> Weights:
        return asked or _SORT_GEN_OBJECTIVES


@dataclass(frozen=True)
class Degre:
    """A generator with its evaluator, and greedy decoding. Its queues only say which candidates it gets to see."""

    checkpoint: GeneratorCheckpoint
    name: manifest.Family = "degre"

    @property
    def spec(self) -> FeatureSpec:
        return self.checkpoint.spec

    @property
    def units(self) -> Weights:
        return self.checkpoint.units

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.checkpoint.provenance

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

    def graph(self, limits: Limits) -> Graph:
        return pointer_graph(self.checkpoint.generator, self.checkpoint.evaluator, limits)

    def reference(self, limits: Limits) -> Plan:
        generator, evaluator = in_double(self.checkpoint.generator), in_double(self.checkpoint.evaluator)

        def plan(request: Arrays) -> Answer:
            single = {name: array[0] for name, array in request.items()}
            planned = plan_pointer(
                ModelPointer(generator, request),
                ModelGains(evaluator, single),
                np.flatnonzero(single["valid"]).tolist(),
                np.asarray(single["embeddings"], np.float32),
                preferences_of(request, self.units),
                length=limits.list_length,
            )
            return Answer(planned)

        return plan

    def valuing(self) -> Valuing:
        evaluator = in_double(self.checkpoint.evaluator)
        learnt = np.array([[self.checkpoint.objectives[name] for name in OBJECTIVES]])
        fixed = {} if self.checkpoint.config.conditioned else {"objective_weights": learnt}
        return lambda request, slots: _worth(
            evaluator, request, slots, preferences_of({**request, **fixed}, self.units)
        )

    def requests(self, limits: Limits, count: int, seed: int) -> Iterator[Arrays]:
        return random_requests(self.spec, limits, count, seed, any_slots=True)

    def limits(self, wishes: Wishes) -> Limits:
        if wishes.beam_width is not None:
            raise ValueError("--beam-width: a generator decodes greedily; only SORT-Gen builds several lists at once")
        candidates = _or(wishes.candidates, _DEGRE_CANDIDATES)
        if candidates < 1:
            raise ValueError(f"--candidates: must be at least 1, not {candidates}")
        queues = _or(wishes.most_queues, max(wishes.queues, _DEGRE_QUEUES))  # they cost nothing
        return Limits(
            list_length=_or(wishes.list_length, self.checkpoint.config.list_length),
            queues=queues,
            head_width=_or(wishes.head_width, 1),
            queue_length=math.ceil(candidates / queues),
        )

    def default_queues(self) -> tuple[QueueSpec, ...]:
        return (QueueSpec("formula", objective_formula(self.spec, self.units)),)

    @property
    def trade_off(self) -> float:
        return 1.0  # plain greedy, as in the paper: beside a probability, cosines would decide most choices

    def objectives(self, asked: Weights | None) -> Weights:
        learnt = self.checkpoint.objectives
        if asked is not None and not self.checkpoint.config.conditioned and not same_mix(asked, learnt):
            mix = ",".join(f"{learnt[name]:g}" for name in OBJECTIVES)
            raise ValueError(f"--objectives: the generator was distilled for {mix} and knows no other mix")
        return asked or learnt


def _planned(
    gains: Gains,
    queues: Sequence[Sequence[int]],
    embeddings: NDArray[np.float32],
    preferences: Preferences,
    limits: Limits,
) -> Answer:
    """The plan alone, greedy or by a beam."""
    length, width, beam = limits.list_length, limits.head_width, limits.beam_width
    if beam == 1:
        return Answer(plan_queues(gains, queues, embeddings, preferences, length=length, head_width=width))
    asked = (gains, queues, embeddings, preferences)
    steps, cut = plan_beam(*asked, length=length, head_width=width, beam_width=beam)

    def towards(wanted: Sequence[int], margin: float) -> list[PlanStep] | None:
        return plan_among_ties(*asked, length=length, head_width=width, beam_width=beam, wanted=wanted, margin=margin)

    return Answer(steps, cut=cut, towards=towards)


def preferences_of(request: Arrays, units: Weights) -> Preferences:
    """Read the preferences of a batch of one."""
    alpha, beta, gamma = (float(w) for w in np.asarray(request["objective_weights"], np.float64)[0])
    return Preferences(
        weights=(alpha, beta, gamma),
        units=(units[OBJECTIVES[0]], units[OBJECTIVES[1]], units[OBJECTIVES[2]]),
        trade_off=float(np.asarray(request["trade_off"])[0]),
        window=int(np.asarray(request["window"])[0]),
    )


def _worth(model: ListValueModel, request: Arrays, slots: Sequence[int], preferences: Preferences) -> ListWorth:
    gains = ModelGains(model, {name: array[0] for name, array in request.items()})
    steps = [gains(slots[:t], slots[t : t + 1])[0] for t in range(len(slots))]
    increments = np.array(steps, np.float64).reshape(len(slots), len(OBJECTIVES))
    return ListWorth(increments, float(preferences.step_value(increments.sum(axis=0))))


def in_double(model: Model) -> Model:
    """A copy in float64."""
    return copy.deepcopy(model).double()


def _or(asked: int | None, default: int) -> int:
    return default if asked is None else asked
