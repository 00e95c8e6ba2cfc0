"""Write ranked lists to Parquet: one row per request, its list or the error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from models.contract.spec import OBJECTIVES
from models.files import whole_file
from models.reranking.client import RankedList
from models.reranking.pool import Named

_METADATA_KEY: Final = b"listwright"
_ROWS: Final = 2048
_REASONS: Final = 5
_VALUES: Final = pa.struct([(name, pa.float64()) for name in OBJECTIVES])
_EXPLANATION: Final = pa.struct(
    [
        ("queue", pa.string()),
        ("parts", _VALUES),
        ("penalty", pa.float64()),
        ("score", pa.float64()),
        ("runner_up", pa.string()),
    ]
)


def ranked_schema(*, explained: bool) -> pa.Schema:
    """Return the columns; with an `explanation` of each item only where asked for."""
    item = [("id", pa.string()), ("index", pa.int32()), ("position", pa.int32()), ("source", pa.string())]
    return pa.schema(
        [
            ("request_id", pa.string()),
            ("items", pa.list_(pa.struct([*item, *([("explanation", _EXPLANATION)] if explained else [])]))),
            ("value", _VALUES),
            ("model", pa.string()),
            ("version", pa.string()),
            ("degraded", pa.string()),
            ("error", pa.string()),
        ]
    )


@dataclass
class Refused:
    """Count the requests without a list, and keep the reasons of the first."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Note a row, if it has no list."""
        if row["error"] is not None:
            self.count += 1
            if len(self.first) < _REASONS:
                self.first.append(f"list {row['request_id']!r}: {row['error']}")


def write_ranked(path: Path, outcomes: Iterable[Named], metadata: Mapping[str, Any], *, explained: bool) -> Refused:
    """Write the outcomes, whole or not at all; return what was refused."""
    note = {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()}
    schema = ranked_schema(explained=explained).with_metadata(note)
    refused = Refused()
    stream = iter(outcomes)
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        while chunk := list(islice(stream, _ROWS)):
            rows = [_row(name, outcome) for name, outcome in chunk]
            for row in rows:
                refused.add(row)
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return refused


def _row(name: str, outcome: RankedList | str) -> dict[str, Any]:
    """Make a row; what it lacks is null."""
    if isinstance(outcome, str):
        return {"request_id": name, "error": outcome}
    row: dict[str, Any] = msgspec.to_builtins(outcome)
    degraded = outcome.degraded
    return {**row, "request_id": name, "degraded": None if degraded is None else degraded["reason"], "error": None}
