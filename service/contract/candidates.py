"""Read the candidates of a request as a table, and check them beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Raw, UnsetType

from models.contract.arrays import Floats, Ints
from models.contract.candidates import CandidateTable, ObjectTable
from models.contract.column_table import ColumnData, ColumnTable
from service.contract.columns import read_columns
from service.contract.problems import invalid
from service.contract.raw_embeddings import RawEmbeddings
from service.contract.schemas import Candidate, RerankRequest


class RequestObjects(RawEmbeddings, ObjectTable):
    """Offer candidates that came as objects."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        RawEmbeddings.__init__(self)
        objects: Any = candidates  # To a table those of list records differ in their embeddings only.
        ObjectTable.__init__(self, objects)
        self._objects = candidates

    def raw(self, places: Sequence[int]) -> list[Raw | UnsetType]:
        return [self._objects[place].embedding for place in places]

    def _read(
        self,
        name: str,
        tables: Sequence[Mapping[str, float | None]],
        places: Ints | None = None,  # noqa: ARG002 - what has been decoded are numbers, so no place needs to be named
    ) -> Floats:
        return np.array([scores.get(name) for scores in tables], np.float64)


class RequestColumns(RawEmbeddings, ColumnTable):
    """Offer candidates that came as columns, with an array of embeddings."""

    def __init__(self, data: ColumnData, embeddings: Sequence[Raw]) -> None:
        RawEmbeddings.__init__(self)
        ColumnTable.__init__(self, data)
        self._embeddings = embeddings

    def raw(self, places: Sequence[int]) -> list[Raw | UnsetType]:
        return [self._embeddings[place] for place in places]


def candidate_table(request: RerankRequest) -> CandidateTable:
    """Return the request's candidates as a table. Raises `Problem` (422) naming a field."""
    candidates = request.candidates
    if isinstance(candidates, list):
        return RequestObjects(candidates)
    data = read_columns(candidates)
    embeddings = candidates.embedding
    return RequestColumns(data, embeddings) if isinstance(embeddings, list) else ColumnTable(data)


def check_ids(table: CandidateTable) -> None:
    """Raise `Problem` (422) for an id that comes twice."""
    ids = table.ids
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if (other := first.setdefault(name, i)) != i:
            raise invalid(table.path(i, "id"), f"{name!r} is also the id of {table.name(other)}")
