"""Read live values as requests do, and note what is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import monotonic
from typing import Final

import numpy as np

from models.contract.spec import FeatureSpec
from service.catalogues.redis_source import RedisSource
from service.catalogues.source import LiveLayer, ReadResult, ValueState
from tests.service.tiny_bundle import SPEC

PLENTY: Final = 30.0
"""Seconds that no read needs, however busy the machine is."""

NEVER: Final = float("inf")
WAIT_SECONDS: Final = 60


class Counts:
    """A `LiveObserver` that keeps what it is told."""

    def __init__(self) -> None:
        self.reads: list[ReadResult] = []
        self.values_seen: Counter[ValueState] = Counter()
        self.exchanges: list[float] = []

    def read(self, result: ReadResult) -> None:
        self.reads.append(result)

    def exchanged(self, seconds: float) -> None:
        self.exchanges.append(seconds)

    def values(self, counts: Mapping[ValueState, int]) -> None:
        self.values_seen.update(counts)


@contextlib.asynccontextmanager
async def source(
    url: str, counts: Counts, *, seconds: float = PLENTY, ttl_seconds: float = PLENTY, prefix: str = "listwright:"
) -> AsyncIterator[RedisSource]:
    made = RedisSource.make(url, counts, prefix=prefix, seconds=seconds, ttl_seconds=ttl_seconds)
    try:
        yield made
    finally:
        await made.close()


async def read(made: RedisSource, ids: Sequence[str], spec: FeatureSpec = SPEC) -> LiveLayer:
    """A layer that has read all it can of these ids."""
    layer = made.layer(spec, ids)
    await layer.read(np.arange(len(ids)), NEVER)
    return layer


async def prices(made: RedisSource, ids: Sequence[str], spec: FeatureSpec = SPEC) -> list[float | None]:
    """Prices as one request reads them, None for a missing one."""
    layer = made.layer(spec, ids)
    places = np.arange(len(ids))
    await layer.read_ahead(places, {}, NEVER)
    return [None if np.isnan(price) else price for price in layer.prices(places).tolist()]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; it is a failure if it does not come."""
    deadline = monotonic() + WAIT_SECONDS
    while not condition():
        assert monotonic() < deadline
        await asyncio.sleep(0.005)
