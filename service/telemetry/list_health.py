"""Compute the figures of a list that operators watch: diversity, displacement, sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.contract.arrays import AnyArray, Ints
from service.contract.schemas import Item
from service.telemetry.records import ListHealth


def list_health(items: Sequence[Item], queues: Ints, of: int, rows: AnyArray) -> ListHealth:
    """Compute the figures of one list.

    `queues` are the queues of the model's choices, out of `of`, and `rows` their embeddings. Rows [n, E] have length 1,
    or are zero where an item has no embedding.
    """
    moved = sum(abs(item.index + 1 - item.position) for item in items)
    return ListHealth(
        diversity=mean_distance(rows),
        displacement=moved / len(items),
        queues=tuple(np.bincount(queues, minlength=of).tolist()),
        sources=Counter(item.source for item in items),
    )


def mean_distance(rows: AnyArray) -> float | None:
    """Return the mean of 1 − cosine over all pairs of rows [n, E].

    Rows have length 1, or are zero and left out; None for fewer than two. By Σ_{i≠j} v_i·v_j = |Σ v|² − Σ |v|², so the
    cost grows with n, not n².
    """
    vectors = np.asarray(rows, np.float64)
    lengths = np.square(vectors).sum(axis=1)
    n = int(np.count_nonzero(lengths))
    if n < 2:
        return None
    total = vectors.sum(axis=0)
    return float(1 - (total @ total - lengths.sum()) / (n * (n - 1)))
