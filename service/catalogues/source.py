"""Define a source of values of items that change by the minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol, get_args

from models.contract.arrays import Ints
from models.contract.layers import ItemLayer
from models.contract.spec import FeatureSpec

ReadResult = Literal["ok", "cached", "late", "error", "wrong-fingerprint", "skipped"]
READ_RESULTS: Final[tuple[ReadResult, ...]] = get_args(ReadResult)
"""What became of one read of a request. ok: the source was asked and answered. cached: nothing had to be asked for.
late: it did not answer in time. error: it could not be reached, or its answer made no sense. wrong-fingerprint: its
values are for another spec. skipped: it was not asked, as it has failed lately, or no time was left."""

ValueState = Literal["known", "missing", "refused"]
VALUE_STATES: Final[tuple[ValueState, ...]] = get_args(ValueState)
"""What came for one value that the source was asked for. missing: it has none. refused: it has one that cannot be
used."""


class LiveObserver(Protocol):
    """Count what a live source does."""

    def read(self, result: ReadResult) -> None:
        """Count one read of a request."""

    def exchanged(self, seconds: float) -> None:
        """Count one exchange with the source, whether it was answered or not."""

    def values(self, counts: Mapping[ValueState, int]) -> None:
        """Count the values of one answer."""


class LiveLayer(ItemLayer, Protocol):
    """Offer what a live source has said of one request's items.

    It knows nothing before it was read. Reading never raises and takes a bounded time: what has not come by then is
    missing, and counted. All reads of one request share that time, and none goes on past `until`, on `perf_counter`'s
    clock.
    """

    async def read_ahead(self, prices: Ints, fields: Mapping[str, Ints], until: float) -> None:
        """Read what formulas and rules ask for before anything is dealt.

        These are the prices at some places, and some fields by name, which need not be in the spec, at places each.
        """

    async def read(self, places: Ints, until: float) -> None:
        """Read all that the spec asks for, of the candidates that are encoded."""


class LiveSource(Protocol):
    """Offer live values of items."""

    def layer(self, spec: FeatureSpec, ids: Sequence[str]) -> LiveLayer:
        """Return the layer of one request, to a model with this spec."""

    async def open(self) -> None:
        """Connect before the first request comes, and log how that went; never raises."""

    async def close(self) -> None:
        """Close connections; requests that still come get nothing."""
