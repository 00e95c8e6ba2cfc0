"""Hold the list record: a request, the list shown for it, and its outcomes.

Every dataset adapter yields these, and a list file (Parquet, one row per request) holds them, so it is also the one
format in which users bring data of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.contract.scalars import Scalar

Split = Literal["train", "valid", "test"]


class ListFileError(ValueError):
    """Report a list file that cannot be used, by file, row (from 0) and column."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold an item that the ranking stage proposed, with that stage's scores."""

    id: str
    scores: Mapping[str, float] = field(default_factory=dict)
    price: float | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class ListRecord:
    """Hold one request, the list shown for it and its outcomes.

    `exposed` are indices into `candidates` in the order shown; the labels run along it. `clicks` and `purchases` are 0
    or 1 per exposed position and `gmv` is currency; `purchases` and `gmv` are None where the log does not record them,
    which is not the same as none having happened.
    """

    request_id: str
    candidates: tuple[Candidate, ...]
    exposed: tuple[int, ...]
    clicks: tuple[int, ...]
    purchases: tuple[int, ...] | None = None
    gmv: tuple[float, ...] | None = None
    user: Mapping[str, Scalar] = field(default_factory=dict)
    context: Mapping[str, Scalar] = field(default_factory=dict)
    split: Split = "train"
