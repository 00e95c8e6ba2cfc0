"""Look items up in a catalogue, and offer what it knows of a request's candidates.

Axis letters: n candidates, k places or ids that are asked for, C categorical columns, F number columns, E embedding
width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import AnyArray, Bools, Floats, Floats32, Ints
from models.contract.catalogue.gather import Known, Segments
from models.contract.catalogue.lookup import hash_ids
from models.contract.catalogue.manifest import CatalogueError, CatalogueManifest
from models.contract.catalogue.segment import Opener, arrays_of, open_segment
from models.contract.categories import CategoryColumn
from models.contract.features import Encoder
from models.contract.scalars import Scalar

_NOT_LOOKED_UP: Final = -2


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """Hold what a catalogue knows of one item, as rules read a shown item."""

    id: str
    features: Mapping[str, Scalar]
    embedding: Sequence[float] | None
    tags: Mapping[str, Scalar] = field(default_factory=dict)


class Catalogue:
    """Hold one open version. Never changes; safe to share between threads."""

    def __init__(self, manifest: CatalogueManifest, folder: Path, opener: Opener | None = None) -> None:
        """Map the files in `folder`, or where `opener` says; raises `CatalogueError`.

        Checksums are not looked at.
        """
        self.opener = opener
        self.manifest = manifest
        self.folder = folder
        opened = [open_segment(entry, manifest, opener or folder.joinpath) for entry in manifest.segments]
        self.segments = Segments(opened, manifest.embedding_width)
        self.arrays: Sequence[AnyArray] = [values for segment in opened for _, values in arrays_of(segment)]
        """All arrays that are mapped."""
        self.fields: Mapping[str, int] = {known.name: k for k, known in enumerate(manifest.fields)}
        self._layout: _Layout | None = None

    def __len__(self) -> int:
        return self.manifest.items

    def locate(self, ids: Sequence[str]) -> Ints:
        """Find ids [k]: numbers that name rows of segments, −1 for an unknown or deleted one."""
        return self.segments.find(hash_ids(ids))

    def layer(self, ids: Sequence[str], encoder: Encoder) -> CatalogueLayer:
        """Offer what is known of candidates with these `ids` [n].

        They are looked up when they are first asked for. Raises `CatalogueError` if the encoder's spec is not the one
        that it was encoded for.
        """
        layout = self._layout
        if layout is None or layout.encoder is not encoder:
            layout = self._layout = _Layout(encoder, self)
        return CatalogueLayer(self, ids, layout)

    def items(self, ids: Sequence[str]) -> list[CatalogueItem | None]:
        """Return whole items, None for an unknown one."""
        numbers = self.locate(ids)
        known = Known(self.segments, numbers)
        columns = {name: known.values(k) for name, k in self.fields.items()}
        embeddings = known.embeddings
        given = np.any(embeddings, axis=1).tolist()
        found: list[CatalogueItem | None] = [None] * len(ids)
        for i in np.flatnonzero(numbers >= 0).tolist():
            features = {name: value for name, values in columns.items() if (value := values[i]) is not None}
            found[i] = CatalogueItem(ids[i], features, embeddings[i].tolist() if given[i] else None)
        return found


class _Layout:
    """Tell where the fields of a spec stand among the columns of a catalogue."""

    def __init__(self, encoder: Encoder, catalogue: Catalogue) -> None:
        """Find the columns; raises `CatalogueError` for another spec than the catalogue's."""
        spec, own = encoder.spec.fingerprint, catalogue.manifest.fingerprint
        if spec != own:
            raise CatalogueError(f"catalogue.fingerprint: is {own!r}, the spec's {spec!r}")
        self.encoder = encoder
        self.columns = {column.name: i for i, column in enumerate(encoder.item_columns)}
        self.numbers = {number.name: i for i, number in enumerate(encoder.spec.own_item_numbers)}


class CatalogueLayer:
    """Be the `ItemLayer` of one catalogue for one request.

    It remembers what it has gathered for the last `places`, since one field after the other asks for the same ones.
    """

    def __init__(self, catalogue: Catalogue, ids: Sequence[str], layout: _Layout) -> None:
        self._catalogue, self._ids, self._layout = catalogue, ids, layout
        self._numbers: Ints | None = None
        self._places: Ints | None = None
        self._last: Known | None = None

    def known(self, places: Ints) -> Bools:
        """Tell which candidates [k] the catalogue has."""
        return self._locate(places) >= 0

    def rows(self, column: CategoryColumn, places: Ints) -> Ints:
        rows: Ints = self._at(places).columns[self._layout.columns[column.name]]
        return rows

    def numbers(self, name: str, places: Ints) -> Floats:
        place = self._layout.numbers.get(name)
        if place is None:
            values = self.values(name, places)
            return np.array([v if isinstance(v, (bool, float)) else np.nan for v in values], np.float64)
        numbers: Floats = self._at(places).numbers[place]
        return numbers

    def prices(self, places: Ints) -> Floats:
        return self._at(places).prices

    def values(self, name: str, places: Ints) -> list[Scalar]:
        field = self._catalogue.fields.get(name)
        return [None] * len(places) if field is None else self._at(places).values(field)

    def embeddings(self, places: Ints) -> Floats32:
        return self._at(places).embeddings

    def has_embeddings(self, places: Ints) -> bool:
        return self._at(places).has_embeddings

    def _at(self, places: Ints) -> Known:
        """Return what is known of the candidates at `places`."""
        if self._last is None or self._places is not places:
            self._last = Known(self._catalogue.segments, self._locate(places))
            self._places = places
        return self._last

    def _locate(self, places: Ints) -> Ints:
        """Return the numbers of the candidates at `places`, each looked up once."""
        if self._numbers is None and len(places) >= len(self._ids):
            self._numbers = self._catalogue.locate(self._ids)
        if self._numbers is None:
            self._numbers = np.full(len(self._ids), _NOT_LOOKED_UP)
            new = places
        else:
            numbers: Ints = self._numbers[places]
            new = places[numbers == _NOT_LOOKED_UP]
            if not len(new):
                return numbers
        self._numbers[new] = self._catalogue.locate([self._ids[place] for place in new.tolist()])
        return self._numbers[places]
