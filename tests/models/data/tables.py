"""List files as other programs write them, built column by column."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.records import Candidate, ListRecord

SIZES: Final = (2, 3, 2)
ITEMS: Final[dict[str, pa.Array]] = {
    "id": pa.array(["11", "12", "13", "11", "14", "15", "12"]),
    "scores": pa.array([{"ctr": 0.5, "cvr": None if i == 2 else i / 8} for i in range(7)]),
    "price": pa.array([1.0, 2.5, None, 4.0, 5.0, 6.0, 7.25]),
    "features": pa.array([{"brand": "a" if i % 2 else "b", "stars": None if i == 1 else i} for i in range(7)]),
    "embedding": pa.array([[1.0, 0.5]] * 7),
}
COLUMNS: Final[dict[str, pa.Array]] = {
    "request_id": pa.array(["1", "2", "3"]),
    "user": pa.array([{"age": "20s"}, {"age": None}, {"age": "30s"}]),
    "context": pa.array([{"hour": 3}, {"hour": 4}, {"hour": 5}]),
    "exposed": pa.array([[1, 0], [2], [0]]),
    "clicks": pa.array([[1, 0], [0], [1]]),
    "purchases": pa.array([[0, 0], [0], [1]]),
    "gmv": pa.array([[0.0, 0.0], [0.0], [6.5]]),
    "split": pa.array(["train", "valid", "test"]),
}


def table(items: dict[str, pa.Array | None] | None = None, **columns: pa.Array | None) -> pa.Table:
    """The three lists, with other columns of their candidates or of themselves; None leaves one out."""
    chosen = {name: array for name, array in {**ITEMS, **(items or {})}.items() if array is not None}
    structs = pa.StructArray.from_arrays(list(chosen.values()), list(chosen))
    candidates = pa.ListArray.from_arrays(pa.array([0, 2, 5, 7], pa.int32()), structs)
    found = {**COLUMNS, "candidates": candidates, **columns}
    return pa.table({name: array for name, array in found.items() if array is not None})


def wrong_items(name: str, at: int, value: Any) -> dict[str, pa.Array | None]:
    """One value of a candidates' column, changed."""
    values = ITEMS[name].to_pylist()
    values[at] = value
    return {name: pa.array(values, ITEMS[name].type)}


def written(folder: Path, lists: pa.Table) -> Path:
    """The path of a file that holds a table."""
    path = folder / "lists.parquet"
    pq.write_table(lists, path)
    return path


def _candidate(i: int) -> Candidate:
    parts = {name: array[i].as_py() for name, array in ITEMS.items()}
    for name in ("scores", "features"):
        parts[name] = {key: value for key, value in parts[name].items() if value is not None}
    return Candidate(**{**parts, "embedding": tuple(parts["embedding"])})


def _expected() -> list[ListRecord]:
    found, begin = [], 0
    for i, size in enumerate(SIZES):
        row = {name: array[i].as_py() for name, array in COLUMNS.items()}
        labels: dict[str, Any] = {name: tuple(row.pop(name)) for name in ("exposed", "clicks", "purchases", "gmv")}
        user = {key: value for key, value in row.pop("user").items() if value is not None}
        items = tuple(map(_candidate, range(begin, begin + size)))
        found.append(ListRecord(candidates=items, user=user, **labels, **row))
        begin += size
    return found


RECORDS: Final = _expected()
"""The right reading of `table()`."""
