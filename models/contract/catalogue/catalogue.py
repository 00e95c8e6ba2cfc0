"""Look items up in an open catalogue, and offer what it knows of the candidates of a request.

Axis letters: n candidates, k places that are asked for, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.contract.arrays import Bools, Floats, Floats32, Ints
from models.contract.catalogue.manifest import CatalogueManifest
from models.contract.catalogue.segment import Opener
from models.contract.categories import CategoryColumn
from models.contract.features import Encoder
from models.contract.scalars import Scalar


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
        raise NotImplementedError

    def __len__(self) -> int:
        return self.manifest.items

    def locate(self, ids: Sequence[str]) -> Ints:
        """Find ids [k]: numbers that name rows of segments, −1 for an unknown or deleted one."""
        raise NotImplementedError

    def layer(self, ids: Sequence[str], encoder: Encoder) -> CatalogueLayer:
        """Offer what is known of candidates with these `ids` [n], looked up when they are first asked for."""
        raise NotImplementedError

    def items(self, ids: Sequence[str]) -> list[CatalogueItem | None]:
        """Return whole items, None for an unknown one."""
        raise NotImplementedError


class CatalogueLayer:
    """Be the `ItemLayer` of one catalogue for one request."""

    def known(self, places: Ints) -> Bools:
        """Tell which candidates [k] the catalogue has."""
        raise NotImplementedError

    def rows(self, column: CategoryColumn, places: Ints) -> Ints:
        raise NotImplementedError

    def numbers(self, name: str, places: Ints) -> Floats:
        raise NotImplementedError

    def prices(self, places: Ints) -> Floats:
        raise NotImplementedError

    def values(self, name: str, places: Ints) -> Sequence[Scalar]:
        raise NotImplementedError

    def embeddings(self, places: Ints) -> Floats32:
        raise NotImplementedError

    def has_embeddings(self, places: Ints) -> bool:
        raise NotImplementedError
