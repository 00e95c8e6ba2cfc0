"""Put what a request says of its items over what a catalogue knows of them.

Axis letters: n candidates, k places that are asked for, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import numpy as np

from models.contract.arrays import Bools, Floats, Floats32, Ints
from models.contract.candidates import CandidateTable, Group
from models.contract.categories import CategoryColumn
from models.contract.scalars import FeatureError, Scalar

_MISSING: Final = -1


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
        """Return a field [k] as it came, None where it is missing.

        It need not be in the spec.
        """

    def embeddings(self, places: Ints) -> Floats32:
        """Return embeddings [k, E ≥ 1] at length 1, zeros where one is missing."""

    def has_embeddings(self, places: Ints) -> bool:
        """Tell whether any of some candidates has an embedding."""


class LayeredTable(CandidateTable):
    """Offer a request's candidates, with what is missing taken from layers.

    The first layer that knows it wins. Scores, tags and ids are the request's own.
    """

    def __init__(self, own: CandidateTable, layers: Sequence[ItemLayer]) -> None:
        self._own = own
        self._layers = tuple(layers)
        self._prices: Floats | None = None

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
        if self._prices is None:
            places = np.arange(len(self._own))
            self._prices = _complete(self._own.prices(), self._layers, lambda layer: layer.prices(places))
        return self._prices

    def prices_at(self, places: Ints) -> Floats:
        if self._prices is None:
            return _complete(self._own.prices_at(places), self._layers, lambda layer: layer.prices(places))
        prices: Floats = self._prices[places]
        return prices

    def values(self, name: str, places: Ints) -> Sequence[Scalar]:
        found = self._own.values(name, places) if self._own.has_values(name, places) else None
        for layer in self._layers:
            if found is None:
                found = layer.values(name, places)
            elif None in found:
                pairs = zip(found, layer.values(name, places), strict=True)
                found = [known if value is None else value for value, known in pairs]
        return [None] * len(places) if found is None else found

    def has_values(self, name: str, places: Ints) -> bool:
        return bool(self._layers) or self._own.has_values(name, places)

    def tags(self, name: str) -> Sequence[Scalar]:
        return self._own.tags(name)

    def rows(self, column: CategoryColumn, places: Ints) -> Ints:
        found: Ints | None = None
        if self._own.has_values(column.name, places):
            values = self._own.values(column.name, places)
            found = np.array(column.rows(values), np.int64)
            if None not in values:
                return found
            found[[value is None for value in values]] = _MISSING
        for layer in self._layers:
            rows = layer.rows(column, places)
            found = rows if found is None else np.where(found == _MISSING, rows, found)
        missing = column.row(None)  # The first row of the field: the least that a row can be.
        return np.full(len(places), missing) if found is None else np.maximum(found, missing)

    def numbers(self, name: str, places: Ints) -> Floats:
        layers = self._layers
        if self._own.has_values(name, places) or not layers:
            own, below = self._own.numbers(name, places), layers
        else:
            own, below = layers[0].numbers(name, places), layers[1:]
        return _complete(own, below, lambda layer: layer.numbers(name, places))

    def embeddings(self, places: Ints) -> Floats32:
        found = self._own.embeddings(places) if self._own.has_embeddings(places) else None
        for layer in self._layers:
            rows, known = layer.embeddings(places), layer.has_embeddings(places)
            if found is None:
                found = rows if known else None
            elif rows.shape[1] == found.shape[1]:
                found = np.where(self._without(found, places)[:, np.newaxis], rows, found)
            elif known or rows.shape[1] > 1:  # One column of zeros is that of a layer without embeddings.
                raise self._other_width(places, found.shape[1], rows.shape[1])
        return np.zeros((len(places), 1), np.float32) if found is None else found

    def has_embeddings(self, places: Ints) -> bool:
        return self._own.has_embeddings(places) or any(layer.has_embeddings(places) for layer in self._layers)

    def others(self, group: Group, places: Ints, known: frozenset[str], values: int) -> frozenset[str]:
        # Layers have some of the known features, so their number does not tell whether the request has others.
        return self._own.others(group, places, known, -1 if group == "item" else values)

    def _without(self, rows: Floats32, places: Ints) -> Bools:
        """Tell which candidates have no embedding [k]: one of zeros that the request has is one."""
        without: Bools = np.logical_not(np.any(rows, axis=1))
        if self._own.has_embeddings(places[without]):
            for i in np.flatnonzero(without).tolist():
                without[i] = not self._own.has_embeddings(places[i : i + 1])
        return without

    def _other_width(self, places: Ints, own: int, known: int) -> FeatureError:
        """Make the error at the first candidate that has an embedding of its own."""
        place = next(place for i, place in enumerate(places.tolist()) if self._own.has_embeddings(places[i : i + 1]))
        return FeatureError(self._own.path(place, "embedding"), f"has {own} numbers, those of the catalogue {known}")


def _complete(own: Floats, layers: Sequence[ItemLayer], ask: Callable[[ItemLayer], Floats]) -> Floats:
    """Put what the layers know wherever a number [k] is missing."""
    for layer in layers:
        missing = np.isnan(own)
        count = np.count_nonzero(missing)
        if count == len(own):
            own = ask(layer)
        elif count:
            own = np.where(missing, ask(layer), own)
    return own
