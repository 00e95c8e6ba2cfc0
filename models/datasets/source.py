"""What every dataset adapter gives: list records, how many, and what to say about them in the file's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.data.lists import ListRecord


@dataclass(frozen=True, slots=True)
class ListSource:
    """`records` may be read once and are made on the way; `total` is their number, for a progress bar."""

    records: Iterator[ListRecord]
    total: int
    metadata: Mapping[str, Any]
