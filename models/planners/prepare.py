"""Turn a list record into a generation graph's inputs, as the service does.

Both deal with `models/contract/slots.py`.

A record that the service would refuse as a request raises `ValueError` here; the message names list and field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from models.contract.arrays import Arrays, Floats, Ints
from models.contract.candidates import ObjectTable
from models.contract.features import Encoder, encode_preferences
from models.contract.manifest import SORT_SLOTS, Limits, Partition, QueueSpec
from models.contract.scalars import FeatureError
from models.contract.slots import ScoreTable, fill_slots, sort_slots
from models.contract.spec import FeatureSpec
from models.data.records import ListRecord
from models.planners.references.sort_gen import Preferences


@dataclass(frozen=True)
class Preparer:
    """Deal and encode records as a bundle with these queues and limits would.

    `sort` is the formula of a plain sort, whose list the graph of a model of hazards holds its own to. Without one that
    list is empty, and the graph's own is kept.
    """

    encoder: Encoder
    limits: Limits
    queues: Sequence[QueueSpec]
    strategy: Partition = "bfs"
    sort: str | None = None

    def __call__(self, record: ListRecord, preferences: Preferences) -> tuple[Arrays, Ints]:
        """Make the graph's inputs (a batch of one) and every slot's candidate [N], −1 if empty."""
        length, shape = self.limits.list_length, (self.limits.queues, self.limits.queue_length)
        with _naming(record):
            candidates = ObjectTable(record.candidates)
            table = ScoreTable(candidates, preferences.weights, self.encoder.spec)
            slots = fill_slots(table, self.queues, self.strategy, shape).candidates
            arrays = self.encoder.encode_slots(candidates, slots)
            arrays |= self.encoder.encode_user(record.user, record.context)
        arrays |= encode_preferences(preferences.weights, preferences.trade_off, preferences.window)
        none = np.full(length, -1, np.int64)
        arrays[SORT_SLOTS] = none if self.sort is None else sort_slots(table, self.sort, slots, length)
        return {name: array[None] for name, array in arrays.items()}, slots


def formula_scores(
    record: ListRecord,
    formulas: Sequence[str],
    weights: Sequence[float],
    spec: FeatureSpec,
    scores: Mapping[str, Floats] | None = None,
) -> list[Floats]:
    """Compute each formula's value [n] for every candidate of a record.

    `scores` [n] by name take the place of the record's own. Raises `ValueError` as a request with it would be refused.
    """
    candidates = record.candidates
    if scores is not None:
        rows = zip(*(column.tolist() for column in scores.values()), strict=True)
        changed = (dict(zip(scores, row, strict=True)) for row in rows)
        candidates = tuple(replace(c, scores={**c.scores, **new}) for c, new in zip(candidates, changed, strict=True))
    with _naming(record):
        table = ScoreTable(candidates, weights, spec)
        return [table.score(formula, "candidates", needed_by=f"the sort by {formula}") for formula in formulas]


@contextmanager
def _naming(record: ListRecord) -> Iterator[None]:
    """Name the list in the error for a record that the service would refuse."""
    try:
        yield
    except FeatureError as error:
        raise ValueError(f"list {record.request_id!r}: {error}") from None
