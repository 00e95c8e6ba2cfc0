"""Logged lists small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Sequence

from models.data.records import Candidate, ListRecord, Split


def logged_list(
    clicks: Sequence[int],
    *,
    name: str = "r",
    ctr: Sequence[float] | None = None,
    price: Sequence[float] | None = None,
    purchases: Sequence[int] | None = None,
    split: Split = "test",
) -> ListRecord:
    """A list shown as item a, b, c, …; a purchase brings its price. Candidates stand in the opposite order."""
    n = len(clicks)
    scores = [0.1] * n if ctr is None else ctr
    prices = [10.0] * n if price is None else price
    items = [
        Candidate(id=chr(ord("a") + i), scores={"ctr": scores[i], "cvr": 0.5}, price=prices[i], features={"stars": 3.0})
        for i in range(n)
    ]
    return ListRecord(
        request_id=name,
        candidates=(*reversed(items), Candidate(id="unseen", scores={"ctr": 0.9, "cvr": 0.9}, price=1.0)),
        exposed=tuple(reversed(range(n))),
        clicks=tuple(clicks),
        purchases=None if purchases is None else tuple(purchases),
        gmv=None if purchases is None else tuple(p * bought for p, bought in zip(prices, purchases, strict=True)),
        split=split,
    )
