"""State the properties of a model family that export needs, with shared types and steps.

The families are SORT-Gen (a value model behind objective queues) and DeGRe (a generator that points at candidates, and
the evaluator that it was distilled from). Everything else in `export` works with any of them.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import numpy as np
from torch import nn

from models.contract import manifest
from models.contract.arrays import Arrays, Floats
from models.contract.manifest import Limits, QueueSpec
from models.contract.spec import OBJECTIVES, FeatureSpec
from models.contract.verdict import UNMEASURED, Verdict
from models.nets.checkpoint import Checkpoint, GeneratorCheckpoint
from models.nets.value import ListValueModel
from models.planners.graphs.graph import Graph
from models.planners.references.sort_gen import ModelGains, Preferences, Scorer
from models.planners.references.sort_list import ExpectedAnswer
from models.planners.worth import triple_of

VERDICT: Final = "verdict"
"""Key of the verdict in a checkpoint's provenance."""

ReferencePlanner = Callable[[Arrays], ExpectedAnswer]
"""Plans the list of an encoded request (a batch of one, with preferences)."""

PerObjective = Mapping[str, float]
"""A figure for each objective by name."""


class ListWorth(NamedTuple):
    """Hold a list's worth: increments [T, 3] of its items, raw, and their weighted sum."""

    increments: Floats
    value: float


Valuing = Callable[[Arrays, Sequence[int]], ListWorth]
"""Values a list, given as slots in order, of an encoded request (as for `ReferencePlanner`)."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Wishes:
    """Hold the sizes asked for, None for the family's own; `queues` are the bundle's."""

    queues: int
    most_queues: int | None = None
    list_length: int | None = None
    head_width: int | None = None
    beam_width: int | None = None
    candidates: int | None = None


class ModelFamily(ABC):
    """Export a checkpoint with its family's graph, reference and defaults."""

    name: ClassVar[manifest.Family]
    any_slots: ClassVar[bool]
    """Whether a request may have any number of slots in a single queue."""
    trade_off: ClassVar[float]
    """λ of MMR for a bundle that is given none."""
    checkpoint: Checkpoint | GeneratorCheckpoint

    @property
    def spec(self) -> FeatureSpec:
        return self.checkpoint.spec

    @property
    def units(self) -> PerObjective:
        return self.checkpoint.units

    @property
    def verdict(self) -> Verdict:
        """Read training's verdict on the model; raises `SpecError` naming a wrong key."""
        return verdict_of(self.checkpoint.provenance)

    def scorer(self, model: ListValueModel, request: Arrays) -> Scorer:
        """Score a request's items (a batch of one) under a model and the request's preferences."""
        single = {name: array[0] for name, array in request.items()}
        alpha, beta, gamma = np.asarray(single["objective_weights"], np.float64).tolist()
        trade_off, window = float(single["trade_off"]), int(single["window"])
        preferences = Preferences((alpha, beta, gamma), triple_of(self.units), trade_off, window)
        return Scorer(ModelGains(model, single), np.asarray(single["embeddings"], np.float32), preferences)

    def worth(self, model: ListValueModel, request: Arrays, slots: Sequence[int]) -> ListWorth:
        """Value a list of slots item by item under a model and the request's preferences."""
        scorer = self.scorer(model, request)
        steps = [scorer.gains(slots[:t], slots[t : t + 1])[0] for t in range(len(slots))]
        increments = np.array(steps, np.float64).reshape(len(slots), len(OBJECTIVES))
        return ListWorth(increments, float(scorer.preferences.step_value(increments.sum(axis=0))))

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, Any]:
        """Return the sizes for the bundle's provenance."""

    @property
    @abstractmethod
    def shares(self) -> PerObjective | None:
        """Return the kept share of the learnt correction per counted objective; None if unsaid."""

    @property
    @abstractmethod
    def valued(self) -> tuple[str, ...]:
        """Return the objectives that the model has learnt to value."""

    @abstractmethod
    def graph(self, limits: Limits, *, groups: int = 0) -> Graph:
        """Build the generation graph, with `groups` the ruled one.

        Raises `ValueError` if the limits do not fit the model.
        """

    @abstractmethod
    def reference(self, limits: Limits) -> ReferencePlanner:
        """Plan in float64 as the graph must, so that margins are the model's own.

        A request with the inputs of rules is planned under them.
        """

    @abstractmethod
    def valuing(self) -> Valuing:
        """Value any list in float64, MMR aside, under the request's objectives."""

    @abstractmethod
    def limits(self, wishes: Wishes) -> Limits:
        """Choose the bundle's limits. Raises `ValueError` naming the option that the family does not have."""

    @abstractmethod
    def default_queues(self) -> tuple[QueueSpec, ...]:
        """Return the queues of a bundle that is given none."""

    @abstractmethod
    def objectives(self, asked: PerObjective | None) -> PerObjective:
        """Choose the bundle's α, β, γ. Raises `ValueError` if the model knows another mix only."""


def verdict_of(provenance: Mapping[str, Any]) -> Verdict:
    """Read training's verdict on a model, or its evaluator's; raises `SpecError` naming the key."""
    if (own := provenance.get(VERDICT)) is not None:
        return Verdict.from_json(own, "the checkpoint's verdict")
    teacher = provenance.get("evaluator")
    found = teacher.get(VERDICT) if isinstance(teacher, Mapping) else None
    if found is None:
        return UNMEASURED
    verdict = Verdict.from_json(found, "the evaluator's verdict")
    sentence = f"Of the evaluator that this generator was distilled from: {verdict.sentence}"
    return Verdict(verdict.outcome, sentence, verdict.figures)


def in_double(model: Model) -> Model:
    """Copy a model in float64."""
    return copy.deepcopy(model).double()


def asked_or(asked: int | None, default: int) -> int:
    """Return the size that is asked for, or the default."""
    return default if asked is None else asked
