"""Read a peer's candidates as the contract's table, whatever form they came in.

Columns become arrays as in the service, less its checks. A catalogue has what a request does not say of its items.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loadtest.peers.schemas import CandidateColumns, PeerRequest
from models.catalogue.versions import versions_in
from models.contract.arrays import Floats, Floats32
from models.contract.candidates import CandidateTable, ObjectTable
from models.contract.catalogue.catalogue import Catalogue
from models.contract.catalogue.manifest import CatalogueManifest, fingerprint_folder
from models.contract.column_table import Column, ColumnData, ColumnTable, read_float32
from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec

if TYPE_CHECKING:
    from loadtest.peers.pydantic_schemas import CandidateColumns as PydanticColumns
    from loadtest.peers.pydantic_schemas import RerankRequest  # Not every peer has pydantic.

NumberColumn = Sequence[float | None] | str
"""Numbers, None where one is missing, or base64 of little-endian float32."""


def own_table(request: PeerRequest | RerankRequest) -> CandidateTable:
    """Return what a request says of its candidates."""
    candidates = request.candidates
    return ObjectTable(candidates) if isinstance(candidates, list) else ColumnTable(_columns(candidates))


def newest_catalogue(root: Path, spec: FeatureSpec) -> Catalogue:
    """Open the newest catalogue under `root` for a spec. Raises `CatalogueError`, or `ValueError` for none."""
    versions = fingerprint_folder(root, spec.fingerprint)
    names = versions_in(versions)
    if not names:
        raise ValueError(f"{versions}: there is no catalogue for the bundle's feature spec")
    folder = versions / names[-1]
    return Catalogue(CatalogueManifest.read(folder), folder)


def _columns(columns: CandidateColumns | PydanticColumns) -> ColumnData:
    rows = len(columns.id)
    return ColumnData(
        ids=columns.id,
        scores={name: _numbers(column) for name, column in columns.scores.items()},
        price=None if columns.price is None else _numbers(columns.price),
        features=_values(columns.features),
        embeddings=None if columns.embedding is None else _embeddings(columns.embedding, rows),
        tags=_values(columns.tags),
    )


def _numbers(column: NumberColumn) -> Floats:
    return np.array(_decode(column) if isinstance(column, str) else column, np.float64)


def _decode(text: str) -> Floats32:
    return read_float32(binascii.a2b_base64(text))


def _values(columns: Mapping[str, Sequence[Scalar] | str]) -> dict[str, Column]:
    return {name: _numbers(column) if isinstance(column, str) else column for name, column in columns.items()}


def _embeddings(column: Sequence[Sequence[float] | None] | str, rows: int) -> Floats | Floats32:
    """Return embeddings [n, E], NaN where one is missing."""
    if isinstance(column, str):
        return _decode(column).reshape(rows, -1)
    missing = [np.nan] * max((len(row) for row in column if row is not None), default=1)
    return np.array([missing if row is None else row for row in column], np.float64)
