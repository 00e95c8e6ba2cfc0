"""Turn the rows of a part into lists, as Arrow columns of the list file.

Axis letters: n rows, k of them shown, R requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.contract.arrays import Bools, Floats, Ints
from models.datasets.csv_log.outcomes import Outcomes, read_outcomes, read_positions
from models.datasets.csv_log.parts import Rows
from models.datasets.csv_log.requests import Requests, group_requests, id_values
from models.datasets.csv_log.sides import SPLITS
from models.datasets.csv_log.values import Reading, feature, finite


@dataclass(frozen=True, eq=False)
class PartLists:
    """Hold the lists of one part, and in how many of them positions have gaps."""

    table: pa.Table
    outcomes: Outcomes
    gaps: int


def part_lists(rows: Rows, reading: Reading, sides: Ints) -> PartLists:
    """Make the lists of a part, checked.

    `sides` [R] are places in `SPLITS`. Candidates that were shown come first, in that order. Raises `TableError`.
    """
    request = reading.columns.roles["request"]
    position = read_positions(rows, reading)
    requests = group_requests(rows, request, whole=request in reading.whole, position=position)
    position = position[requests.order]
    items = _items(requests, reading)
    _refuse_shared_positions(requests, reading, position)
    price = _price(requests.rows, reading)
    outcomes = read_outcomes(requests.rows, reading, ~np.isnan(position), price)
    counts = requests.sums(outcomes.shown).astype(np.int64)
    table = pa.table(
        {
            "request_id": requests.ids,
            "user": _mapping(_shared(requests, reading, "user"), len(requests)),
            "context": _mapping(_shared(requests, reading, "context"), len(requests)),
            "candidates": _lists(_candidates(requests.rows, items, price, reading), np.diff(requests.starts)),
            "exposed": _lists(pa.array(_within(counts)), counts),
            "clicks": _lists(pa.array(outcomes.clicks[outcomes.shown].astype(np.int64)), counts),
            "purchases": _purchases(outcomes, counts),
            "gmv": _gmv(requests, outcomes, counts),
            "split": pa.array(np.array(SPLITS)[sides], pa.string()),
        }
    )
    return PartLists(table, outcomes, _gaps(requests, position) if reading.column("position") else 0)


def _items(requests: Requests, reading: Reading) -> pa.Array:
    column = reading.columns.roles["item"]
    items = id_values(requests.rows, column, whole=column in reading.whole)
    requests.refuse_repeated(column, items, np.ones(len(items), bool), "stands twice")
    return items


def _refuse_shared_positions(requests: Requests, reading: Reading, position: Floats) -> None:
    column = reading.column("position")
    if column is not None:
        requests.refuse_repeated(column, pa.array(position), ~np.isnan(position), "is the position of two items")


def _price(rows: Rows, reading: Reading) -> Floats | None:
    column = reading.column("price")
    return None if column is None else finite(rows, column, reading.decimal, least=0.0)


def _shared(requests: Requests, reading: Reading, group: str) -> dict[str, pa.Array]:
    """Read the features that all rows of a request share."""
    fields: Mapping[str, str] = getattr(reading.columns.fields, group)
    return {
        name: requests.agreed(column, feature(requests.rows, column, reading))
        for name, column in fields.items()
        if reading.kinds[column] != "empty"
    }


def _candidates(rows: Rows, items: pa.Array, price: Floats | None, reading: Reading) -> pa.Array:
    fields = reading.columns.fields
    scores = {n: pa.array(finite(rows, c, reading.decimal), from_pandas=True) for n, c in fields.scores.items()}
    kept = {name: column for name, column in fields.item.items() if reading.kinds[column] != "empty"}
    features = {name: feature(rows, column, reading) for name, column in kept.items()}
    prices = pa.nulls(len(rows), pa.float64()) if price is None else pa.array(price, from_pandas=True)
    embedding = pa.nulls(len(rows), pa.list_(pa.float64()))
    return pa.StructArray.from_arrays(
        [items, _mapping(scores, len(rows)), prices, _mapping(features, len(rows)), embedding],
        ["id", "scores", "price", "features", "embedding"],
    )


def _mapping(columns: Mapping[str, pa.Array], count: int) -> pa.Array:
    """Join columns to a struct; Parquet has none without fields."""
    return pa.StructArray.from_arrays(list(columns.values()), list(columns)) if columns else pa.nulls(count)


def _lists(values: pa.Array, counts: Ints, known: Bools | None = None) -> pa.Array:
    """Cut values into lists of `counts` [R].

    A list that is not `known` [R] is null and has no values.
    """
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=None if known is None else pa.array(~known))


def _within(counts: Ints) -> Ints:
    """Count from 0 in each list."""
    ends = np.cumsum(counts)
    return np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)


def _purchases(outcomes: Outcomes, counts: Ints) -> pa.Array:
    if outcomes.purchases is None:
        return pa.nulls(len(counts), pa.list_(pa.int64()))
    return _lists(pa.array(outcomes.purchases[outcomes.shown].astype(np.int64)), counts)


def _gmv(requests: Requests, outcomes: Outcomes, counts: Ints) -> pa.Array:
    """Make the lists of GMV, null where a bought item has no price."""
    if outcomes.gmv is None:
        return pa.nulls(len(counts), pa.list_(pa.float64()))
    known = requests.sums(np.isnan(outcomes.gmv)) == 0
    kept = outcomes.shown & np.repeat(known, np.diff(requests.starts))
    return _lists(pa.array(outcomes.gmv[kept]), np.where(known, counts, 0), known)


def _gaps(requests: Requests, position: Floats) -> int:
    """Count the lists whose positions leave one out."""
    shown = ~np.isnan(position)
    of_row = requests.of_row[shown]
    low, high = np.full(len(requests), np.inf), np.full(len(requests), -np.inf)
    np.minimum.at(low, of_row, position[shown])
    np.maximum.at(high, of_row, position[shown])
    return int((high - low + 1 > np.bincount(of_row, minlength=len(requests))).sum())
