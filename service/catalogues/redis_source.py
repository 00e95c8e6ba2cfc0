"""Offer values of items that lie in Redis and change by the minute.

Axis letters: n candidates, k places that are asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final, Self, cast

import numpy as np

from models.contract.arrays import Floats, Floats32, Ints
from models.contract.categories import CategoryColumn
from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec
from service.catalogues.live_cache import UNKNOWN, Unknown
from service.catalogues.live_values import PRICE, Column, field_column, spec_columns
from service.catalogues.redis_link import RedisLink, show_url
from service.catalogues.redis_reader import RedisReader
from service.catalogues.redis_store import RedisStore
from service.catalogues.source import LiveObserver

_log = logging.getLogger(__name__)
_NONE: Final[dict[int, Scalar]] = {}
_MOST_SPECS: Final = 64


class RedisSource:
    """Be the `LiveSource` of one process. Used from the event loop only."""

    def __init__(
        self, name: str, reader: RedisReader, store: RedisStore, observer: LiveObserver, seconds: float
    ) -> None:
        self._name = name
        self._columns: dict[str, dict[str, Column]] = {}
        self._reader = reader
        self._store = store
        self._observer = observer
        self._seconds = seconds

    @classmethod
    def make(cls, url: str, observer: LiveObserver, *, prefix: str, seconds: float, ttl_seconds: float) -> Self:
        """Make the source; it connects later. Raises `ValueError` for a URL that cannot work.

        A request may spend `seconds` on it; a value is used for at most `ttl_seconds`.
        """
        store = RedisStore(prefix, observer, seconds=ttl_seconds)
        reader = RedisReader(RedisLink(url), store, observer, seconds=seconds)
        return cls(show_url(url), reader, store, observer, seconds=seconds)

    def layer(self, spec: FeatureSpec, ids: Sequence[str]) -> RedisLayer:
        columns = self._columns.get(spec.fingerprint)
        if columns is None:
            if len(self._columns) >= _MOST_SPECS:
                self._columns.clear()
            columns = self._columns[spec.fingerprint] = spec_columns(spec)
        return RedisLayer(
            self._reader, self._store, self._observer, spec.fingerprint, columns, ids, seconds=self._seconds
        )

    async def open(self) -> None:
        fault = await self._reader.open()
        if fault is None:
            _log.info("live values of items come from %s", self._name)
        else:
            _log.warning("live values of items: %s cannot be reached: %s; it is tried again", self._name, fault)

    async def close(self) -> None:
        await self._reader.close()


class RedisLayer:
    """Be the `LiveLayer` of one request."""

    def __init__(
        self,
        reader: RedisReader,
        store: RedisStore,
        observer: LiveObserver,
        fingerprint: str,
        columns: dict[str, Column],
        ids: Sequence[str],
        *,
        seconds: float,
    ) -> None:
        self._reader = reader
        self._store = store
        self._observer = observer
        self._fingerprint = fingerprint
        self._columns = columns
        self._ids = ids
        self._left = seconds
        self._values: dict[str, dict[int, Scalar]] = {}

    async def read_ahead(self, prices: Ints, fields: Mapping[str, Ints], until: float) -> None:
        asked = {self._column(name): places.tolist() for name, places in fields.items()}
        if len(prices):
            asked[PRICE] = prices.tolist()
        await self._read(asked, until)

    async def read(self, places: Ints, until: float) -> None:
        await self._read(dict.fromkeys((PRICE, *self._columns.values()), places.tolist()), until)

    def rows(self, column: CategoryColumn, places: Ints) -> Ints:
        found = self.values(column.name, places)
        return np.array([-1 if value is None else column.row(value) for value in found], np.int64)

    def numbers(self, name: str, places: Ints) -> Floats:
        return _numbers(self.values(name, places))

    def prices(self, places: Ints) -> Floats:
        return np.array(self._at(PRICE, places), np.float64)  # None becomes NaN.

    def values(self, name: str, places: Ints) -> list[Scalar]:
        return self._at(self._column(name), places)

    def embeddings(self, places: Ints) -> Floats32:
        return np.zeros((len(places), 1), np.float32)

    def has_embeddings(self, places: Ints) -> bool:  # noqa: ARG002 - there are none at all.
        return False

    def _column(self, name: str) -> Column:
        return self._columns.get(name) or field_column(name, number=False)

    def _at(self, column: Column, places: Ints) -> list[Scalar]:
        return list(map(self._values.get(column.key, _NONE).get, places.tolist()))

    async def _read(self, asked: Mapping[Column, Sequence[int]], until: float) -> None:
        """Take what is cached, and ask for the rest in the time left.

        `asked` has the places of each column.
        """
        if not self._store.fits(self._fingerprint):
            self._observer.read("wrong-fingerprint")
            return
        missing = self._take(asked)
        if not missing:
            self._observer.read("cached")
            return
        began = perf_counter()
        ids = {column: [self._ids[place] for place in places] for column, places in missing.items()}
        result = await self._reader.read(ids, min(self._left, until - began))
        self._left -= perf_counter() - began
        if self._store.fits(self._fingerprint):
            self._take(missing)
        else:
            self._values.clear()
            result = "wrong-fingerprint"
        self._observer.read(result)

    def _take(self, asked: Mapping[Column, Sequence[int]]) -> dict[Column, Sequence[int]]:
        """Take what is cached; return the places of which something must be asked."""
        missing: dict[Column, Sequence[int]] = {}
        ids = self._ids
        for column, places in asked.items():
            values = self._values.setdefault(column.key, {})
            wanted = [place for place in places if place not in values] if values else places
            found = self._store.find(column, [ids[place] for place in wanted])
            if UNKNOWN in found:
                unknown = [place for place, value in zip(wanted, found, strict=True) if value is UNKNOWN]
                missing[column] = unknown
                if len(unknown) < len(found):
                    values.update({p: v for p, v in zip(wanted, found, strict=True) if not isinstance(v, Unknown)})
            else:
                values.update(zip(wanted, cast(Sequence[Scalar], found), strict=True))
        return missing


def _numbers(values: Sequence[Scalar]) -> Floats:
    """Return values as numbers, NaN for what is none."""
    return np.array([math.nan if v is None or isinstance(v, str) else float(v) for v in values], np.float64)
