"""From a list record to what a generation graph takes: queues dealt, candidates encoded, preferences laid beside them.

The offline twin of the service's request path, over the same `formulas`, `partition` and `features`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract.features import Arrays, Encoder
from models.contract.formulas import WEIGHT_NAMES, compile_formula
from models.contract.manifest import Limits, Partition, QueueSpec
from models.contract.partition import partition, sorted_slots
from models.data.lists import Candidate, ListRecord
from models.planners.references.sort_gen import Preferences


@dataclass(frozen=True)
class Preparer:
    """Everything that does not depend on the request.

    `sort` is the formula of a plain sort, whose list the graph of a model of hazards holds its own to. Without one that
    list is empty, and the graph's own is kept.
    """

    encoder: Encoder
    limits: Limits
    queues: Sequence[QueueSpec]
    strategy: Partition = "bfs"
    sort: str | None = None

    def __call__(self, record: ListRecord, preferences: Preferences) -> tuple[Arrays, NDArray[np.int64]]:
        """The graph's inputs (a batch of one) and the candidate behind every slot [N], −1 where a slot is empty."""
        columns = score_columns(record.candidates, preferences, self.encoder)
        n = len(record.candidates)
        scores = np.stack([compile_formula(queue.score)(columns, n) for queue in self.queues])
        slots = np.full((self.limits.queues, self.limits.queue_length), -1, np.int64)
        slots[: len(scores)] = partition(scores, self.limits.queue_length, self.strategy)
        flat = slots.reshape(-1)
        arrays = self.encoder.encode_slots(record.candidates, flat)
        arrays |= self.encoder.encode_user(record.user, record.context)
        batch = {name: array[None] for name, array in arrays.items()}
        batch["objective_weights"] = np.array([preferences.weights], np.float32)
        batch["trade_off"] = np.array([preferences.trade_off], np.float32)
        batch["window"] = np.array([preferences.window], np.int64)
        batch["sort_slots"] = np.full((1, self.limits.list_length), -1, np.int64)
        if self.sort is not None:
            values = compile_formula(self.sort)(columns, n)
            batch["sort_slots"][0] = sorted_slots(values, flat, self.limits.list_length)
        return batch, flat


def score_columns(
    candidates: Sequence[Candidate], preferences: Preferences, encoder: Encoder
) -> Mapping[str, NDArray[np.float64]]:
    """What formulas may name: the spec's scores, the price, and alpha, beta and gamma, each [n].

    What a candidate lacks is the spec's default, as in the service.
    """
    n = len(candidates)
    columns = {f.name: np.array([c.scores.get(f.name, f.default) for c in candidates]) for f in encoder.spec.scores}
    columns["price"] = encoder.prices(candidates)
    for name, weight in zip(WEIGHT_NAMES, preferences.weights, strict=True):
        columns[name] = np.full(n, weight)
    return columns
