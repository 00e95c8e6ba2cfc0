"""Put what a request says of its items over what a catalogue knows of them.

Axis letters: n candidates, k places that are asked for, E embedding width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.candidates import CandidateTable, Group
from models.contract.categories import CategoryColumn
from models.contract.scalars import Scalar


class ItemLayer(Protocol):
    """Offer what one source knows of the items of one request.

    Methods look at the candidates at `places` [k], and answer in their order.
    """

    def rows(self, column: CategoryColumn, places: Ints) -> Ints:
        """Return an item feature [k] as rows of the embedding table, −1 where it is missing."""

    def numbers(self, name: str, places: Ints) -> Floats:
        """Return an item feature [k] as numbers, NaN where it is missing or no number."""

    def prices(self, places: Ints) -> Floats:
        """Return prices [k], NaN where one is missing."""

    def values(self, name: str, places: Ints) -> Sequence[Scalar]:
        """Return a field [k] as it came, None where it is missing; it need not be in the spec."""

    def embeddings(self, places: Ints) -> Floats32:
        """Return embeddings [k, E ≥ 1] at length 1, zeros where one is missing."""

    def has_embeddings(self, places: Ints) -> bool:
        """Tell whether any of some candidates has an embedding."""


class LayeredTable(CandidateTable):
    """Offer a request's candidates, with what is missing taken from layers: the first that knows it wins.

    Scores, tags and ids are the request's own.
    """

    def __init__(self, own: CandidateTable, layers: Sequence[ItemLayer]) -> None:
        self._own = own
        self._layers = tuple(layers)

    @property
    def ids(self) -> Sequence[str]:
        return self._own.ids

    def path(self, place: int, field: str) -> str:
        return self._own.path(place, field)

    def name(self, place: int) -> str:
        return self._own.name(place)

    def score(self, name: str) -> Floats:
        return self._own.score(name)

    def score_at(self, name: str, places: Ints) -> Floats:
        return self._own.score_at(name, places)

    def score_names(self) -> Iterable[str]:
        return self._own.score_names()

    def prices(self) -> Floats:
        raise NotImplementedError

    def values(self, name: str, places: Ints) -> Sequence[Scalar]:
        raise NotImplementedError

    def tags(self, name: str) -> Sequence[Scalar]:
        return self._own.tags(name)

    def rows(self, column: CategoryColumn, places: Ints) -> Sequence[int]:
        raise NotImplementedError

    def numbers(self, name: str, places: Ints) -> Floats:
        raise NotImplementedError

    def embeddings(self, places: Ints) -> Floats32:
        raise NotImplementedError

    def has_embeddings(self, places: Ints) -> bool:
        raise NotImplementedError

    def others(self, group: Group, places: Ints, known: frozenset[str], values: int) -> frozenset[str]:
        return self._own.others(group, places, known, values)
