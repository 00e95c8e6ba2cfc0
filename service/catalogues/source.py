"""Define a source of values of items that change by the minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.contract.arrays import Ints
from models.contract.layers import ItemLayer


class LiveLayer(ItemLayer, Protocol):
    """Offer what a live source has said of one request's items; nothing before it was read.

    Reading never raises and takes a bounded time: what has not come by then is missing, and counted.
    """

    async def read_prices(self) -> None:
        """Read the price of every candidate, since a formula of a queue asks for it."""

    async def read(self, places: Ints) -> None:
        """Read what is known of the candidates that are encoded."""


class LiveSource(Protocol):
    """Offer live values of items."""

    def layer(self, fingerprint: str, ids: Sequence[str]) -> LiveLayer:
        """Return the layer of one request, to a model whose spec has this fingerprint."""

    async def close(self) -> None:
        """Close connections."""
