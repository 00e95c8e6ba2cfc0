"""What SREs watch of the lists themselves: are they diverse, how far do they stray from the input, who fills them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.contract.arrays import AnyArray, Ints
from service.contract.schemas import Item
from service.telemetry.records import ListHealth


def list_health(items: Sequence[Item], queues: Ints, of: int, rows: AnyArray) -> ListHealth:
    """Figures of one list: `queues` says in which `of` so many the model's choices stood, `rows` are their embeddings.

    Rows [n, E] have length 1, or are zero where an item has no embedding.
    """
    moved = sum(abs(item.index + 1 - item.position) for item in items)
    return ListHealth(
        diversity=mean_distance(rows),
        displacement=moved / len(items),
        queues=tuple(np.bincount(queues, minlength=of).tolist()),
        sources=Counter(item.source for item in items),
    )


def mean_distance(rows: AnyArray) -> float | None:
    """Mean of 1 − cosine over all pairs of non-zero rows [n, E] of length 1; None for fewer than two.

    By Σ_{i≠j} v_i·v_j = |Σ v|² − Σ |v|², so the cost grows with n, not n².
    """
    vectors = np.asarray(rows, np.float64)
    lengths = np.square(vectors).sum(axis=1)
    n = int(np.count_nonzero(lengths))
    if n < 2:
        return None
    total = vectors.sum(axis=0)
    return float(1 - (total @ total - lengths.sum()) / (n * (n - 1)))
