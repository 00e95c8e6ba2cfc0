"""Decode the embeddings of a request's candidates where they are asked for, and no others.

Most candidates stand in no queue, and their embeddings are most of a body. So a fault in one that is not asked for goes
unnoticed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from models.contract.arrays import Floats32, Ints
from models.contract.candidates import CandidateTable
from models.contract.embeddings import unit_embeddings
from models.contract.scalars import FeatureError
from service.contract.refusals import locate
from service.contract.values import Embedding

_decode: Final = msgspec.json.Decoder(Embedding | None).decode
_NULL: Final = b"null"


class RawEmbeddings(CandidateTable):
    """Offer embeddings that are still JSON; a subclass has the JSON, and calls `__init__`.

    `embeddings` raises `FeatureError` naming the first candidate asked for whose embedding is none, or has another
    width than those that were asked for before.
    """

    def __init__(self) -> None:
        self._embeddings_read: dict[int, Sequence[float] | None] = {}
        self._widths: set[int] = set()

    @abstractmethod
    def raw(self, places: Sequence[int]) -> Sequence[Raw | UnsetType]:
        """Return the JSON of some candidates' embeddings."""

    def embeddings(self, places: Ints) -> Floats32:
        asked = places.tolist()
        raw = self.raw(asked)
        if raw.count(UNSET) == len(raw):
            return np.zeros((len(raw), 1), np.float32)
        try:
            found = [None if json is UNSET else _decode(json) for json in raw]
        except msgspec.DecodeError:
            raise self._fault(sorted(zip(asked, raw, strict=True), key=lambda pair: pair[0])) from None
        self._embeddings_read.update(zip(asked, found, strict=True))
        self._widths.update(len(embedding) for embedding in found if embedding is not None)
        if len(self._widths) > 1:
            raise self._other_width()
        return unit_embeddings(found)

    def has_embeddings(self, places: Ints) -> bool:
        return any(json is not UNSET and bytes(json) != _NULL for json in self.raw(places.tolist()))

    def _fault(self, pairs: Iterable[tuple[int, Raw | UnsetType]]) -> FeatureError:
        """Name the first embedding that cannot be read."""
        for place, json in pairs:
            try:
                if json is not UNSET:
                    _decode(json)
            except msgspec.DecodeError as error:
                inner, problem = locate(str(error))
                return FeatureError(self.path(place, "embedding") + inner, problem)
        raise AssertionError("all can be read")

    def _other_width(self) -> FeatureError:
        """Name the first embedding with another width than those before it."""
        widths = [(place, len(self._embeddings_read[place] or ())) for place in sorted(self._embeddings_read)]
        (first, width), *others = [(place, count) for place, count in widths if count]
        other, count = next((place, count) for place, count in others if count != width)
        return FeatureError(
            self.path(other, "embedding"), f"has {count} numbers, but that of {self.name(first)} has {width}"
        )
