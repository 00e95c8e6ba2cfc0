"""Plan lists for many requests at once: by graph, formula sort, or search.

Axis letters: n requests, m places, N slots, W beam width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from models.baselines.scorers.pointwise import PointwiseModel
from models.contract.arrays import Ints
from models.contract.features import Encoder
from models.contract.manifest import Limits, Partition, QueueSpec
from models.contract.partition import sorted_slots
from models.contract.spec import FeatureSpec
from models.data.batches import Batch, join_chunks
from models.data.records import ListRecord
from models.data.slates import encode_slates
from models.judging.list_orders import bypassed
from models.nets.checkpoint import Checkpoint
from models.planners.graphs.sort_gen import queue_graph
from models.planners.objective import default_queues, objective_formula
from models.planners.prepare import Preparer, formula_scores
from models.planners.references.sort_gen import Preferences
from models.planners.runtime import GraphPlanner
from models.planners.search.beam import beam_search
from models.planners.search.exhaustive import all_lists
from models.planners.search.local_search import improve
from models.planners.search.prefix import all_outcomes
from models.planners.worth import Worth

_BATCH: Final = 50
"""Requests per run of a graph, or per search."""


@dataclass(frozen=True, eq=False)
class ServedPlanner:
    """Plan as a service does with a bundle, by its graph or by the sort.

    Where `bypassed` says so for a request's α, β and γ, nothing of what the model learnt is kept for them, and the list
    is that of the formula `prepare.sort` without a run of the graph.
    """

    prepare: Preparer
    graph: GraphPlanner
    bypassed: Callable[[Preferences], bool]

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        length: int,
        *,
        head_width: int = 1,
        beam_width: int = 1,
        queues: Sequence[QueueSpec] | None = None,
        partition: Partition = "bfs",
    ) -> ServedPlanner:
        """Build a bundle's planner, with the default `queues` for None.

        Raises `ValueError` for a `length` past the model's horizon.
        """
        prepare = preparer(checkpoint, length, head_width, beam_width, queues=queues, partition=partition)
        graph = queue_graph(checkpoint.model, prepare.limits, checkpoint.units)
        return cls(prepare, GraphPlanner(graph.build({})), lambda wish: bypassed(checkpoint.model, wish.weights))

    def __call__(self, records: Sequence[ListRecord], preferences: Preferences) -> Ints:
        """Plan candidate indices [n, m], −1 past the end where a request has fewer candidates than places."""
        if self.bypassed(preferences):
            return self.sort(records, preferences)
        return np.concatenate([self._plan(some, preferences) for some in _batches(records)])

    def sort(self, records: Sequence[ListRecord], preferences: Preferences) -> Ints:
        """Sort by the formula, lists [n, m] as `__call__`'s."""
        assert self.prepare.sort is not None
        length = self.prepare.limits.list_length
        return _sorted_by(self.prepare.sort, self.prepare.encoder.spec, records, preferences, length)

    def _plan(self, records: Sequence[ListRecord], preferences: Preferences) -> Ints:
        prepared = [self.prepare(record, preferences) for record in records]
        order = np.asarray(self.graph(join_chunks([batch for batch, _ in prepared]))["order"], np.int64)
        slots = np.stack([slots for _, slots in prepared])
        return np.where(order < 0, -1, np.take_along_axis(slots, order, axis=1))


def preparer(
    checkpoint: Checkpoint,
    length: int,
    head_width: int = 1,
    beam_width: int = 1,
    *,
    queues: Sequence[QueueSpec] | None = None,
    partition: Partition = "bfs",
) -> Preparer:
    """Prepare requests as a bundle with these `queues` would get them; None: the default ones."""
    dealt = default_queues(checkpoint.spec, checkpoint.units) if queues is None else tuple(queues)
    limits = Limits(length, len(dealt), head_width, beam_width=beam_width)
    formula = objective_formula(checkpoint.spec, checkpoint.units)
    return Preparer(Encoder(checkpoint.spec), limits, dealt, partition, sort=formula)


def formula_sort(
    checkpoint: Checkpoint,
    records: Sequence[ListRecord],
    preferences: Preferences,
    length: int,
    pointwise: PointwiseModel | None = None,
) -> Ints:
    """Sort by the objective formula over prior scores, or over `pointwise`'s: the first `length` candidates [n, m].

    −1 past the end where a request has fewer.
    """
    formula = objective_formula(checkpoint.spec, checkpoint.units)
    return _sorted_by(formula, checkpoint.spec, records, preferences, length, pointwise)


def learnt_beam(
    checkpoint: Checkpoint, records: Sequence[ListRecord], preferences: Preferences, length: int, width: int
) -> Ints:
    """Find the best list [n, m] by a beam over all candidates under the learnt value."""
    worth = Worth(preferences.weights, preferences.units)
    found = [
        beam_search(checkpoint.model, _tensors(checkpoint, some), worth, length, width).lists[:, 0].numpy()
        for some in _batches(records)
    ]
    return np.concatenate(found)


def learnt_sort(checkpoint: Checkpoint, records: Sequence[ListRecord], preferences: Preferences, length: int) -> Ints:
    """Sort candidates by what each is worth alone at the first place: the first `length`, [n, m]."""
    worth = Worth(preferences.weights, preferences.units)
    # The best lists of one item each, best first.
    found = [
        beam_search(checkpoint.model, _tensors(checkpoint, some), worth, 1, length).lists[:, :, 0].numpy()
        for some in _batches(records)
    ]
    return np.concatenate(found)


def learnt_local_search(
    checkpoint: Checkpoint, records: Sequence[ListRecord], preferences: Preferences, length: int, width: int
) -> Ints:
    """Improve the best list of a beam by local search under the learnt value, [n, m]."""
    worth = Worth(preferences.weights, preferences.units)
    found = []
    for some in _batches(records):
        batch = _tensors(checkpoint, some)
        best = beam_search(checkpoint.model, batch, worth, length, width).lists[:, :1]
        found.append(improve(checkpoint.model, batch, worth, best)[:, 0].numpy())
    return np.concatenate(found)


def learnt_exhaustive(
    checkpoint: Checkpoint, records: Sequence[ListRecord], preferences: Preferences, length: int
) -> Ints:
    """Find the best list [n, m] of all under the learnt value; the first on ties."""
    lists = np.empty((len(records), length), np.int64)
    for row, record in zip(lists, records, strict=True):
        outcomes = all_outcomes(checkpoint.model, _tensors(checkpoint, [record]), length).double().numpy()
        row[:] = all_lists(len(record.candidates), length)[int(np.argmax(preferences.step_value(outcomes)))]
    return lists


def check_candidates(records: Sequence[ListRecord], length: int) -> None:
    """Raise `ValueError` naming a list that has fewer than `length` candidates."""
    for record in records:
        if len(record.candidates) < length:
            raise ValueError(
                f"list {record.request_id!r}: {length} places are more than its {len(record.candidates)} candidates"
            )


def _sorted_by(
    formula: str,
    spec: FeatureSpec,
    records: Sequence[ListRecord],
    preferences: Preferences,
    length: int,
    pointwise: PointwiseModel | None = None,
) -> Ints:
    lists = np.full((len(records), length), -1, np.int64)
    for row, record in zip(lists, records, strict=True):
        scores = None if pointwise is None else pointwise.scores(record.user, record.context, record.candidates)
        (values,) = formula_scores(record, [formula], preferences.weights, spec, scores)
        row[:] = sorted_slots(values, np.arange(len(values)), length)
    return lists


def _tensors(checkpoint: Checkpoint, records: Sequence[ListRecord]) -> Batch:
    slates = encode_slates(records, checkpoint.spec, checkpoint.config.list_length)
    return slates.tensors(torch.device("cpu"))


def _batches(records: Sequence[ListRecord]) -> Iterator[Sequence[ListRecord]]:
    return (records[i : i + _BATCH] for i in range(0, len(records), _BATCH))
