"""Lay encoded items out as rows of one table, for trees.

A row is what an encoder knows of one item and its user, and the place where the item was shown. Embeddings are left
out, as value models read no more of them than cosines between items.

Axis letters: n lists or requests, N candidates, r rows, F columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray, Bools, Floats, Floats32
from models.contract.spec import FeatureSpec
from models.data.array_store import release
from models.data.batches import ListArrays
from models.data.records import ListRecord
from models.data.slates import encode_slates

_COLUMNS: Final = ("user_ids", "item_ids", "user_numbers", "item_numbers", "item_scores")
"""Groups of columns; those of categories come first, as `category_columns` counts them."""


def category_columns(spec: FeatureSpec) -> list[int]:
    """List the columns that hold categories."""
    return list(range(len(spec.user_categoricals) + len(spec.item_categoricals)))


def shown_rows(data: ListArrays) -> Floats32:
    """Lay out the exposed items [r, F], list after list in the order shown."""
    filled = data.filled
    arrays = {
        name: np.repeat(values, data.lengths, axis=0) if name.startswith("user") else values[filled]
        for name, values in data.features.items()
        if name in _COLUMNS
    }
    release(data.features.values())
    return _table(arrays, np.broadcast_to(np.arange(filled.shape[1]), filled.shape)[filled])


def candidate_rows(features: Mapping[str, AnyArray], valid: Bools) -> Floats32:
    """Lay out all candidates [r, F] of requests, each as if it stood at the top.

    `features` are those of `SlateArrays`, of which `valid` [n, N] marks the candidates.
    """
    counts = valid.sum(axis=1)
    arrays = {
        name: np.repeat(values, counts, axis=0) if name.startswith("user") else values[valid]
        for name, values in features.items()
        if name in _COLUMNS
    }
    return _table(arrays, np.zeros(int(counts.sum())))


def candidate_scores(
    records: Sequence[ListRecord], spec: FeatureSpec, scorers: Mapping[str, Callable[[Floats32], Floats]]
) -> list[dict[str, Floats]]:
    """Score all candidates of many requests at once: each request's scores [N] by name.

    A scorer gives a number per row. Raises `ValueError` naming the list and the field that cannot be encoded.
    """
    features = encode_slates(records, spec, 1).features
    valid = features["valid"].astype(bool)
    table, ends = candidate_rows(features, valid), valid.sum(axis=1).cumsum()[:-1]
    columns = {name: np.split(score(table), ends) for name, score in scorers.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _table(arrays: Mapping[str, AnyArray], positions: AnyArray) -> Floats32:
    # Single precision holds row numbers of embedding tables exactly, and a large log takes half the memory.
    return np.column_stack([*(arrays[name] for name in _COLUMNS), positions]).astype(np.float32)
