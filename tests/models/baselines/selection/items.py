"""Made-up candidates for the tests of selection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.baselines.selection.items import ScoredItems
from models.contract.arrays import Floats
from models.contract.embeddings import unit_embeddings


def one_request(relevance: Sequence[float], embeddings: Sequence[Sequence[float] | None]) -> ScoredItems:
    return ScoredItems.of([np.array(relevance, np.float64)], [unit_embeddings(embeddings)])


def random_requests(counts: Sequence[int], *, width: int = 4, without: float = 0.0, seed: int = 0) -> ScoredItems:
    """Requests of so many candidates each, of which a share `without` has no embedding."""
    rng = np.random.default_rng(seed)
    relevance: list[Floats] = [rng.gamma(2.0, 0.5, count) for count in counts]
    rows = [
        unit_embeddings([None if rng.random() < without else rng.normal(size=width).tolist() for _ in range(count)])
        for count in counts
    ]
    return ScoredItems.of(relevance, rows)
