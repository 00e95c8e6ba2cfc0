"""Offer the candidates of one request field by field, whatever form they came in.

A table reads each score and price once, for queues and encoding both. Axis letters: n candidates, k places that are
asked for, E embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol, get_args

import numpy as np

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.categories import CategoryColumn
from models.contract.embeddings import unit_embeddings
from models.contract.scalars import Scalar, read_numbers

Group = Literal["item", "scores"]
"""A group of fields that candidates have: features of items, or scores."""

GROUPS: Final[tuple[Group, ...]] = get_args(Group)

_NO_VALUES: Final[Mapping[str, Scalar]] = {}
_FEW: Final = 32  # Of more names each is looked at where it is: looking for it in every table would take too long.


class CandidateLike(Protocol):
    """Offer a candidate's fields, as those of requests and list records do."""

    @property
    def id(self) -> str: ...
    @property
    def scores(self) -> Mapping[str, float | None]: ...
    @property
    def price(self) -> float | None: ...
    @property
    def features(self) -> Mapping[str, Scalar]: ...
    @property
    def embedding(self) -> Sequence[float] | None: ...


class CandidateTable(ABC):
    """Offer n candidates field by field.

    Methods that take `places` [k] look at those candidates only, and answer in their order. Arrays that all callers
    share must not be changed. A missing number is NaN, a missing value None.
    """

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Ids of the candidates."""

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def path(self, place: int, field: str) -> str:
        """Name a candidate's field for people, such as ``candidates[3].scores.ctr``."""

    def name(self, place: int) -> str:
        """Name a candidate for people."""
        return f"candidates[{place}]"

    @abstractmethod
    def score(self, name: str) -> Floats:
        """Return a score of all candidates [n], read once and shared."""

    def score_at(self, name: str, places: Ints) -> Floats:
        """Return a score of some candidates [k]."""
        scores: Floats = self.score(name)[places]
        return scores

    @abstractmethod
    def score_names(self) -> Iterable[str]:
        """Name the scores that candidates have, in their order; a name may come twice."""

    @abstractmethod
    def prices(self) -> Floats:
        """Return the prices of all candidates [n], read once and shared."""

    def prices_at(self, places: Ints) -> Floats:
        """Return the prices of some candidates [k]."""
        prices: Floats = self.prices()[places]
        return prices

    @abstractmethod
    def values(self, name: str, places: Ints) -> Sequence[Scalar]:
        """Return an item feature [k] as it came."""

    @abstractmethod
    def tags(self, name: str) -> Sequence[Scalar]:
        """Return a tag of all candidates [n]."""

    def has_values(self, name: str, places: Ints) -> bool:
        """Tell whether any of some candidates may have an item feature.

        Where it is null for all, either answer is right.
        """
        return any(value is not None for value in self.values(name, places))

    def rows(self, column: CategoryColumn, places: Ints) -> Sequence[int] | Ints:
        """Return an item feature [k] as rows of the embedding table."""
        return column.rows(self.values(column.name, places))

    def numbers(self, name: str, places: Ints) -> Floats:
        """Return an item feature [k] as numbers. Raises `FeatureError` naming the first that is none."""
        paths = (self.path(place, f"features.{name}") for place in places.tolist())
        return read_numbers(self.values(name, places), paths)

    @abstractmethod
    def embeddings(self, places: Ints) -> Floats32:
        """Return embeddings [k, E ≥ 1] at length 1; zeros where one is missing or zero."""

    @abstractmethod
    def has_embeddings(self, places: Ints) -> bool:
        """Tell whether any of some candidates has an embedding; it need not have been decoded."""

    @abstractmethod
    def others(self, group: Group, places: Ints, known: frozenset[str], values: int) -> frozenset[str]:
        """Name the fields of some candidates, other than null, that are not `known`.

        So many `values` of known fields are there: where that is all there is, nothing needs to be looked at.
        """


class ObjectTable(CandidateTable):
    """Offer candidates that came as objects, such as those of list records."""

    def __init__(self, candidates: Sequence[CandidateLike]) -> None:
        self._candidates = candidates
        self._scores: dict[str, Floats] = {}
        self._prices: Floats | None = None
        self._ids: Sequence[str] | None = None
        self._score_tables: list[Mapping[str, float | None]] | None = None
        self._looked_at: Ints | None = None
        self._features: list[Mapping[str, Scalar]] = []

    @property
    def ids(self) -> Sequence[str]:
        if self._ids is None:
            self._ids = [candidate.id for candidate in self._candidates]
        return self._ids

    def __len__(self) -> int:
        return len(self._candidates)

    def path(self, place: int, field: str) -> str:
        return f"candidates[{place}].{field}"

    def score(self, name: str) -> Floats:
        known = self._scores.get(name)
        if known is None:
            known = self._scores[name] = self._read(name, self._all_scores())
        return known

    def score_at(self, name: str, places: Ints) -> Floats:
        known = self._scores.get(name)
        if known is None:
            return self._read(name, [self._candidates[place].scores for place in places.tolist()], places)
        scores: Floats = known[places]
        return scores

    def score_names(self) -> Iterable[str]:
        return (name for scores in self._all_scores() for name, value in scores.items() if value is not None)

    def prices(self) -> Floats:
        if self._prices is None:
            self._prices = np.array([candidate.price for candidate in self._candidates], np.float64)
        return self._prices

    def prices_at(self, places: Ints) -> Floats:
        if self._prices is None:
            return np.array([self._candidates[place].price for place in places.tolist()], np.float64)
        prices: Floats = self._prices[places]
        return prices

    def values(self, name: str, places: Ints) -> list[Scalar]:
        return [features.get(name) for features in self._features_at(places)]

    def has_values(self, name: str, places: Ints) -> bool:
        tables = self._features_at(places)
        return any(tables) and any(name in features for features in tables)

    def tags(self, name: str) -> list[Scalar]:
        # Records of lists have none, and a request may have null for them.
        return [(getattr(candidate, "tags", None) or _NO_VALUES).get(name) for candidate in self._candidates]

    def embeddings(self, places: Ints) -> Floats32:
        return unit_embeddings([self._candidates[place].embedding for place in places.tolist()])

    def has_embeddings(self, places: Ints) -> bool:
        return any(self._candidates[place].embedding for place in places.tolist())

    def others(self, group: Group, places: Ints, known: frozenset[str], values: int) -> frozenset[str]:
        tables: Sequence[Mapping[str, Scalar]] = (
            self._features_at(places)
            if group == "item"
            else [self._candidates[place].scores for place in places.tolist()]
        )
        # As many keys as known values: there are no others, and reading them can be left out.
        return frozenset() if sum(map(len, tables)) == values else other_names(tables, known)

    def _read(self, name: str, tables: Sequence[Mapping[str, float | None]], places: Ints | None = None) -> Floats:
        values = [scores.get(name) for scores in tables]
        asked = range(len(values)) if places is None else places.tolist()
        return read_numbers(values, (self.path(place, f"scores.{name}") for place in asked))

    def _all_scores(self) -> list[Mapping[str, float | None]]:
        if self._score_tables is None:
            self._score_tables = [candidate.scores for candidate in self._candidates]
        return self._score_tables

    def _features_at(self, places: Ints) -> list[Mapping[str, Scalar]]:
        """Return the features of some candidates [k], which one field after the other asks for."""
        if self._looked_at is not places:
            # A request may have null for them.
            self._features = [self._candidates[place].features or _NO_VALUES for place in places.tolist()]
            self._looked_at = places
        return self._features


Candidates = CandidateTable | Sequence[CandidateLike]
"""What functions of the contract take: a table, or objects."""


def as_table(candidates: Candidates) -> CandidateTable:
    """Return a table of the candidates, which may be one already."""
    return candidates if isinstance(candidates, CandidateTable) else ObjectTable(candidates)


def other_names(tables: Collection[Mapping[str, object]], known: frozenset[str]) -> frozenset[str]:
    """Name what is in any of the tables, other than null, and not known."""
    names = set[str]().union(*tables) - known
    if len(names) > _FEW:
        return frozenset(n for table in tables for n, value in table.items() if value is not None and n in names)
    return frozenset(name for name in names if any(table.get(name) is not None for table in tables))
