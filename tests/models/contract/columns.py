"""Write candidates as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.contract.arrays import Floats
from models.contract.candidates import CandidateLike
from models.contract.column_table import Column, ColumnData
from models.contract.scalars import Scalar


def column_data(candidates: Sequence[CandidateLike], *, arrays: bool = False) -> ColumnData:
    """The same candidates as columns; as `arrays`, features and tags that are all floats are arrays."""
    embeddings = [candidate.embedding for candidate in candidates]
    tags = [getattr(candidate, "tags", {}) for candidate in candidates]
    return ColumnData(
        ids=[candidate.id for candidate in candidates],
        scores={name: _numbers(values) for name, values in _columns([c.scores for c in candidates]).items()},
        price=_numbers([candidate.price for candidate in candidates]),
        features={n: _column(v, arrays) for n, v in _columns([c.features for c in candidates]).items()},
        embeddings=_rows(embeddings) if any(embeddings) else None,
        tags={name: _column(values, arrays) for name, values in _columns(tags).items()},
    )


def _columns(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: [table.get(name) for table in tables] for name in names}


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array(values, np.float64)


def _column(values: list[Scalar], arrays: bool) -> Column:
    numbers = all(value is None or isinstance(value, float) for value in values)
    return np.array(values, np.float64) if arrays and numbers else values


def _rows(embeddings: Sequence[Sequence[float] | None]) -> Floats:
    width = max(len(embedding) for embedding in embeddings if embedding)
    return np.array([embedding or [np.nan] * width for embedding in embeddings], np.float64)
